"""A sink's URL, taken apart and checked when the settings are read: nothing is connected to, no client library imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.settings.secrets import REFERENCE, Secret
from guardrail.settings.values import flag, nearest, text

_FIRST_MARK: Final = 0xE000  # private-use characters stand for references while the URL is taken apart
_MOST_REFERENCES: Final = 64


class Option(NamedTuple):
    """One option behind the question mark of a sink's URL.

    Attributes:
        parse: Turns text into a value, given the text and what an error calls it; it raises ConfigError. None: the value is
            a `Secret`.
        default: The value where nothing is written.
        doc: What it means, for the reference page.
    """

    parse: Callable[[str, str], Any] | None
    default: Any
    doc: str


def count(most: int) -> Callable[[str, str], int]:
    """Return a parser for a whole number from 1 up."""

    def parse(word: str, where: str) -> int:
        if not word.isascii() or not word.isdigit() or not 1 <= int(word[:20]) <= most:
            raise ConfigError(f"{where} must be a whole number from 1 to {most}")
        return int(word)

    return parse


def choice(*words: str) -> Callable[[str, str], str]:
    """Return a parser for one word out of a few."""

    def parse(word: str, where: str) -> str:
        if word not in words:
            raise ConfigError(f"{where} must be one of {', '.join(words)}")
        return word

    return parse


COMMON: Final[Mapping[str, Option]] = {
    "batch": Option(count(100_000), None, "the most records of one request"),
    "size": Option(count(2**30), None, "the most bytes of one request, before compression"),
    "rate": Option(clock.rate, None, 'the most records sent, as "100/s"'),
    "timeout": Option(clock.seconds, 10.0, "how long one request may take"),
    "linger": Option(clock.seconds, 0.0, "how long a batch that is not full is waited for"),
    "start": Option(
        choice("now", "beginning"), "now",
        "where a sink begins that was never served before: with what is recorded from now on, or with all that the ledger holds",
    ),
    "insecure": Option(flag, False, "do not check the certificate of the other side"),  # noqa: FBT003 - a default
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    """Where a sink is, and how to talk to it.

    Attributes:
        name: The sink's own name, in lower case.
        where: What an error calls the setting.
        url: As configured, masked in every text; its parts are below.
        scheme: In lower case, with what stands behind a `+`.
        host: Without the port; "" where there is none; where several are listed, all of them with their ports.
        port: None where there is none.
        path: Without escapes, with its first slash.
        user: None where there is none.
        password: None where there is none.
        options: The value of each option, defaults included.
        given: The names of the options that the URL gives.
    """

    name: str
    where: str
    url: Secret
    scheme: str
    host: str
    port: int | None
    path: str
    user: Secret | None
    password: Secret | None
    options: Mapping[str, Any] = field(repr=False)
    given: frozenset[str] = frozenset()

    @property
    def timeout(self) -> float:
        """Seconds that one request may take."""
        return float(self.options["timeout"])

    def secrets(self) -> list[Secret]:
        """Return all secrets of this address."""
        return [each for each in (self.user, self.password, *self.options.values()) if isinstance(each, Secret)]

    def shown(self) -> str:
        """Return scheme and host, or the path where there is no host: all of an address that may be shown."""
        port = "" if self.port is None else f":{self.port}"
        if self.host:
            return f"{self.scheme}://{self.host}{port}"
        return f"{self.scheme}://{self.path}" if self.path.startswith("/") else f"{self.scheme}:"


def address(
    name: str, value: object, where: str, options: Mapping[str, Option | None], example: str, *, secret_path: bool = False
) -> Address:
    """Take a URL apart.

    Args:
        name: The sink's name.
        value: The URL. Any part may hold references to secrets.
        where: What an error calls it.
        options: What the scheme knows, besides what all know; None for one of those that says nothing here.
        example: What to write, for errors.
        secret_path: Whether the path may hold references to secrets.

    Raises:
        ConfigError: It is no URL, or an option is unknown or has a value that it cannot have.
    """
    from urllib.parse import parse_qsl, unquote, urlsplit  # noqa: PLC0415 - only who has a sink pays for it

    url = Secret(text(value, where), where)
    please = f'write "{example}"'
    references: list[str] = []

    def mark(hit: Any) -> str:
        references.append(hit[0])
        return chr(_FIRST_MARK + len(references) - 1)

    marked = REFERENCE.sub(mark, text(value, where))
    if len(references) > _MOST_REFERENCES or any("\ue000" <= each <= "\uf8ff" for each in REFERENCE.sub("", text(value, where))):
        raise ConfigError(f"{where} is not a URL", hint=please)

    def whole(part: str) -> str:
        return "".join(
            references[ord(each) - _FIRST_MARK] if 0 <= ord(each) - _FIRST_MARK < len(references) else each for each in part
        )

    try:
        parts = urlsplit(marked)
        hosts = parts.netloc.rpartition("@")[2]
        port = None if "," in hosts else parts.port
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ConfigError(f"{where} is not a URL", hint=please) from None
    if parts.netloc.count("@") > 1 or "@" in parts.path:
        raise ConfigError(
            f"{where} has a reserved character in its password", hint="write /, ?, # and @ as %2F, %3F, %23 and %40"
        )
    text(unquote(parts.netloc + parts.path), where)  # what was escaped is no way around the check
    if parts.fragment:
        raise ConfigError(f"{where} has a #, which means nothing here", hint=please)
    known = {key: option for key, option in {**COMMON, **options}.items() if option is not None}
    values: dict[str, Any] = {key: option.default for key, option in known.items()}
    given: set[str] = set()
    for key, word in pairs:
        if key not in known:
            raise ConfigError(f"{where} has an unknown option", hint=nearest(key, known))
        if key in given:
            raise ConfigError(f"{where} gives {key} twice", hint="leave one of them out")
        given.add(key)
        here = f"{where}: {key}"
        parse = known[key].parse
        values[key] = Secret(whole(word), here) if parse is None else parse(Secret(whole(word), here).reveal().strip(), here)

    if REFERENCE.search(whole(hosts) if secret_path else whole(hosts + parts.path)):
        raise ConfigError(f"{where} has a reference where it is not followed", hint="secrets are users, passwords and options")

    def secret(part: str | None, what: str) -> Secret | None:
        return None if not part else Secret(whole(unquote(part)), f"{where}: {what}")

    return Address(
        name, where, url, parts.scheme.lower(), whole(hosts if "," in hosts else parts.hostname or ""), port, whole(unquote(parts.path)),
        secret(parts.username, "user"), secret(parts.password, "password"), values, frozenset(given),
    )  # fmt: skip
