"""Where copies of signed checkpoints go (`ANCHOR_<NAME>`), parsed and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.settings.values import SecretText, nearest, text

SCHEMES: Final[dict[str, tuple[str, ...]]] = {
    "file": ("every",),
    "s3": ("every", "retain", "region", "endpoint"),
    "postgresql": ("every", "table"),
}
OWN: Final = ("every", "table")  # of a PostgreSQL URL's options, those that are ours; the rest is libpq's
EVERY: Final = "60s"
_LEAST: Final = 1.0
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_TABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")
_PLEASE: Final = 'write "file:///absolute/path", "s3://bucket/prefix?retain=400d" or "postgresql://user:password@host/database"'


@dataclass(frozen=True, slots=True)
class Anchor:
    """One place that keeps copies of checkpoints.

    Attributes:
        name: Its own name, in lower case.
        url: As configured; `.reveal()` gives it in full.
        scheme: "file", "s3" or "postgresql".
        every: Seconds between two pushes, at least.
        options: What stands behind the question mark, of what is ours.
    """

    name: str
    url: SecretText
    scheme: str
    every: float
    options: Mapping[str, str]


def anchor(name: str, value: object, where: str) -> Anchor:
    """Return the anchor that a URL means.

    Raises:
        ConfigError: There is no such kind of anchor, or the rest of the URL does not say where it is.
    """
    from urllib.parse import parse_qsl, unquote, urlsplit  # noqa: PLC0415 - only who has an anchor pays for it

    url = text(value, where)
    try:
        parts = urlsplit(url)
        _ = parts.port if parts.scheme == "postgresql" else None
    except ValueError:
        raise ConfigError(f"{where} is not a URL", hint=_PLEASE) from None
    if parts.scheme not in SCHEMES:
        raise ConfigError(f"{where} is not an anchor that this release has", hint=_PLEASE)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme != "postgresql":
        unknown = sorted(set(options) - set(SCHEMES[parts.scheme]))
        if unknown:
            raise ConfigError(f"{where} has an unknown option", hint=nearest(unknown[0], SCHEMES[parts.scheme]))
    if parts.scheme == "file":
        path = unquote(parts.path)
        if parts.netloc not in {"", "localhost"} or not path.startswith("/") or path.endswith("/") or parts.fragment:
            raise ConfigError(f"{where} does not name one file by its absolute path", hint=_PLEASE)
    elif parts.scheme == "s3":
        if not _BUCKET.fullmatch(parts.netloc) or parts.fragment:
            raise ConfigError(f"{where} does not name a bucket", hint=_PLEASE)
        clock.seconds(options.get("retain", "400d"), f"{where}: retain")
    elif not parts.path.strip("/") or "@" in parts.path + parts.query or parts.netloc.count("@") > 1 or parts.fragment:
        raise ConfigError(f"{where} does not say host and database, or has a reserved character in its password", hint=_PLEASE)
    elif not _TABLE.fullmatch(options.get("table", "t")):
        raise ConfigError(f"{where}: table is not the name of one", hint="write table=guardrail_anchors or table=audit.anchors")
    every = clock.seconds(options.get("every", EVERY), f"{where}: every")
    if every < _LEAST:
        raise ConfigError(f"{where}: every must be 1s or more", hint="write every=10s")
    kept = {key: word for key, word in options.items() if key in SCHEMES[parts.scheme]}
    return Anchor(name, SecretText(url), parts.scheme, every, kept)
