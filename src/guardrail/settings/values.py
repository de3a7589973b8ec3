"""What a setting may hold: parsers that turn text or a Python value into a checked one, and say what to write.

No parser ever repeats a rejected value: it may be a secret that was put into the wrong variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from guardrail import clock
from guardrail.errors import ConfigError

MAX_CODES: Final = 64
MAX_TEXT: Final = 8192  # characters; more is an accident, such as a whole file pasted into a variable
MODES: Final = ("enforce", "observe", "off", "killed")
AUDITS: Final = ("buffered", "sync", "off")
TELEMETRIES: Final = ("auto", "otlp", "off")
LOGS: Final = ("off", "problems", "all")
_LATER_MODES: Final = ("shadow", "advise", "canary")
_DATABASES: Final = ("postgresql", "postgres")
_CACHES: Final = ("redis", "rediss", "unix")
_YES: Final = ("true", "1", "yes", "on")
_NO: Final = ("false", "0", "no", "off")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SHOWN: Final = 80  # characters of a name that an error repeats

Parser = Callable[[object, str], object]


class SecretText:
    """Text that shows itself only when asked to: `repr` and `str` give it masked, and it cannot be pickled.

    Args:
        text: The secret, a URL that may hold a password.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text

    def __str__(self) -> str:
        """Return the URL without what may be secret in it."""
        return masked(self._text)

    def __repr__(self) -> str:
        """Return the masked URL, marked as such."""
        return f"SecretText({masked(self._text)!r})"

    def __eq__(self, other: object) -> bool:
        """Two secrets are equal when they hide the same text; no secret equals a plain string."""
        return isinstance(other, SecretText) and other._text == self._text

    def __hash__(self) -> int:
        """Hash by content, as equality goes."""
        return hash((SecretText, self._text))

    def __reduce__(self) -> str:
        """Refuse: a pickle would hold the secret in plain text."""
        raise TypeError("a secret is never pickled; let the other process read its own settings")


def masked(url: str) -> str:
    """Return a URL with user, password and the values of its query replaced by stars; stars for what is no URL."""
    if "://" not in url:
        return "***"
    from urllib.parse import urlsplit, urlunsplit  # noqa: PLC0415 - it costs more than most processes need it for

    parts = urlsplit(url)
    _, at, place = parts.netloc.rpartition("@")
    pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
    query = "&".join(f"{name}=***" if equals else "***" for name, equals, _ in pairs)
    netloc = f"***@{place}" if at else place
    return urlunsplit((parts.scheme, netloc, parts.path, query, "***" if parts.fragment else ""))


def printable(name: str) -> str:
    """Return a name as an error may repeat it: escaped where it is not plain text, and cut where it is endless."""
    plain = _CONTROL.sub(lambda hit: f"\\x{ord(hit[0]):02x}", name).encode("ascii", "backslashreplace").decode()
    return plain if len(plain) <= _SHOWN else plain[:_SHOWN] + "..."


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a hint that names the known name most like this one, or all that there is to choose from.

    Args:
        name: What was written.
        known: What there is.
        prefix: What all names begin with, left out of the comparison, where it would make everything look alike.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only an error needs it

    names = {each.lower().removeprefix(prefix.lower()): each for each in sorted(known)}
    close = get_close_matches(name[:_SHOWN].lower().removeprefix(prefix.lower()), names, n=1, cutoff=0.5)
    return f"did you mean {names[close[0]]}?" if close else f"known are {', '.join(names.values())}"


def text(value: object, where: str) -> str:
    """Return one line of ordinary text, stripped.

    Raises:
        ConfigError: It is not text, too long, not UTF-8, or holds control characters.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{where} is of type {type(value).__name__}, not text", hint="put it into quotes")
    if len(value) > MAX_TEXT:
        raise ConfigError(f"{where} is longer than {MAX_TEXT} characters", hint="write less, or refer to a file")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{where} is not valid UTF-8", hint="write it anew, as UTF-8") from None
    stripped = value.strip()
    if _CONTROL.search(stripped):
        raise ConfigError(f"{where} holds control characters", hint="write it on one line, as plain text")
    return stripped


def flag(value: object, where: str) -> bool:
    """Return a switch written as a boolean, or as 1, true, yes, on and their opposites."""
    if isinstance(value, bool):
        return value
    word = text(value, where).lower()
    if word not in _YES + _NO:
        raise ConfigError(f"{where} must be one of {', '.join(_YES + _NO)}")
    return word in _YES


def one_of(allowed: tuple[str, ...]) -> Parser:
    """Return a parser for one word out of a few."""

    def parse(value: object, where: str) -> str:
        word = text(value, where).lower()
        if word not in allowed:
            raise ConfigError(f"{where} must be one of {', '.join(allowed)}")
        return word

    return parse


def codes(value: object, where: str) -> tuple[str, ...]:
    """Return a list of codes, as in "late_documents,duplicate".

    Raises:
        ConfigError: It is no list of lower-case words.
    """
    words = text(value, where).split(",") if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or len(words) > MAX_CODES:
        raise ConfigError(f"{where} is no list of codes", hint='write "late_documents,duplicate"')
    found = tuple(word.strip() for word in words if isinstance(word, str))
    if len(found) != len(words) or not all(
        each.isidentifier() and each == each.lower() and len(each) <= _SHOWN for each in found
    ):
        raise ConfigError(f"{where} holds a code that is no lower-case word", hint='write "late_documents,duplicate"')
    return found


def telemetry(value: object, where: str) -> str:
    """Return who sets OpenTelemetry up.

    Raises:
        ConfigError: It is none of the words, or `otlp` needs an extra that is not installed.
    """
    from importlib.util import find_spec  # noqa: PLC0415 - for who asks for it

    word = str(one_of(TELEMETRIES)(value, where))
    if word == "otlp":
        try:
            found = find_spec("opentelemetry.exporter.otlp.proto.http")
        except ModuleNotFoundError:  # a package above it is not there either
            found = None
        if found is None:
            raise ConfigError(f'{where} needs the extra otlp: pip install "guardrail-sdk[otlp]"', hint="or leave it out")
    return word


def often(value: object, where: str) -> float | None:
    """Return a duration in seconds, None for `off`."""
    if isinstance(value, str) and value.strip().lower() == "off":
        return None
    return clock.seconds(value.strip() if isinstance(value, str) else value, where)  # type: ignore[arg-type]


def mode(value: object, where: str) -> str:
    """Return the word of a mode that this release has."""
    word = text(value, where).lower()
    if word.partition(":")[0] in _LATER_MODES:
        raise ConfigError(
            f"{where}: the modes shadow, advise and canary come with the next release",
            hint=f"in this release: {', '.join(MODES)}",
        )
    if word not in MODES:
        raise ConfigError(f"{where} must be one of {', '.join(MODES)}")
    return word


def folder(value: object, where: str) -> Path:
    """Return an absolute path; `~` is the user's home, and what is relative starts at the working directory."""
    spelled = text(os.fspath(value) if isinstance(value, os.PathLike) else value, where)
    try:
        return Path(os.path.abspath(Path(spelled).expanduser()))  # noqa: PTH100 - Path.resolve would follow symbolic links
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"{where} cannot be made an absolute path", hint="write a path that begins with /") from error


def database_url(value: object, where: str) -> SecretText:
    """Return the URL of a shared database.

    Raises:
        ConfigError: The scheme is not postgresql, the rest does not say which database, or the extra is not installed.
    """
    from importlib.util import find_spec  # noqa: PLC0415 - for who has a database
    from urllib.parse import urlsplit  # noqa: PLC0415 - as above

    url = text(value, where)
    please = 'write "postgresql://user:password@host:5432/database"; reserved characters in the password as %XX'
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError(f"{where} is not a URL", hint=please) from None
    if parts.scheme not in _DATABASES:
        raise ConfigError(f"{where} must begin with postgresql://", hint=please)
    if not parts.path.strip("/") or "@" in parts.path + parts.query or parts.netloc.count("@") > 1 or parts.fragment:
        raise ConfigError(f"{where} names no database, or has a reserved character in its password", hint=please)
    if find_spec("psycopg") is None:
        raise ConfigError(f'{where} needs the extra postgres: pip install "guardrail-sdk[postgres]"', hint="or unset it")
    return SecretText(url)


def secret(value: object, where: str) -> SecretText:
    """Return a secret that is no URL: never shown, not even in part.

    Raises:
        ConfigError: It is not one line of text, or says nothing.
    """
    found = text(value, where)
    if not found:
        raise ConfigError(f"{where} is empty", hint="give it a value, or unset it")
    return SecretText(found)


def cache_url(value: object, where: str) -> SecretText:
    """Return the URL of a shared cache.

    Raises:
        ConfigError: The scheme is not redis, rediss or unix, or the rest does not say where the server is.
    """
    from urllib.parse import urlsplit  # noqa: PLC0415 - it costs more than most processes need it for

    url = text(value, where)
    please = 'write "redis://localhost:6379/0", "rediss://…" for TLS or "unix:///path/to/socket"'
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigError(f"{where} is not a URL", hint=please) from None
    if parts.scheme not in _CACHES:
        raise ConfigError(f"{where} must begin with redis://, rediss:// or unix://", hint=please)
    if parts.scheme == "unix":
        if not parts.path.startswith("/") or len(parts.path) == 1:
            raise ConfigError(f"{where} names no socket", hint=please)
    elif "@" in parts.path + parts.query or parts.fragment:
        raise ConfigError(
            f"{where} has a reserved character in its password", hint="write /, ?, # and @ as %2F, %3F, %23 and %40"
        )
    elif not parts.hostname or not re.fullmatch(r"/?|/[0-9]{1,5}/?", parts.path):
        raise ConfigError(f"{where} does not say host and database number", hint=please)
    return SecretText(url)
