"""Where records may be sent (`SINK_<NAME>`) and which of them go there (`ROUTE_<NAME>`), parsed and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from guardrail.errors import ConfigError
from guardrail.settings.values import nearest, text

EVENTS: Final = (
    "call", "row", "beat", "gap", "mode", "ticket", "decision", "feedback", "override", "appeal", "profile", "incident",
    "config", "key", "prune", "erase", "read",
)  # fmt: skip
FIELDS: Final = ("event", "guard", "mode", "outcome")
_NAME: Final = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_PLEASE_SINK: Final = 'write "stdout:" or "file:///absolute/path.jsonl"; these two are what this release has'
_PLEASE_ROUTE: Final = 'write "outcome:deferred,refused;guard:loan*": fields are joined by ";", alternatives by ","'


@dataclass(frozen=True, slots=True)
class Sink:
    """One place that records are sent to.

    Attributes:
        name: Its own name, in lower case.
        url: As configured.
        path: The file of a `file:` sink, None for `stdout:`.
    """

    name: str
    url: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class Route:
    """Which records a sink takes.

    Attributes:
        text: As configured.
        wanted: Pairs of a record's field and the patterns of which one must fit it; every pair must hold.
    """

    text: str
    wanted: tuple[tuple[str, tuple[str, ...]], ...]

    def takes(self, record: Mapping[str, object]) -> bool:
        """Return whether a record goes this way. A field that the record lacks fits only the pattern `*`."""
        return all(
            any(fnmatchcase(str(record.get(field) or ""), pattern) for pattern in patterns) for field, patterns in self.wanted
        )


def sink_name(name: str, where: str) -> str:
    """Return the name of a sink in lower case.

    Raises:
        ConfigError: It holds more than letters, digits and single underscores, or ends like a `_FILE` variable.
    """
    lower = name.lower()
    if len(lower) > 64 or not _NAME.fullmatch(lower) or lower.endswith("_file"):  # noqa: PLR2004 - a name, not an essay
        raise ConfigError(
            f"{where} is not a name for a sink",
            hint="use letters, digits and single underscores, and no _FILE at the end",
        )
    return lower


def sink(name: str, value: object, where: str) -> Sink:
    """Return the sink that a URL means.

    Raises:
        ConfigError: It is neither `stdout:` nor `file:///absolute/path`.
    """
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - only who has such a sink pays for it

    url = text(value, where)
    if url == "stdout:":
        return Sink(name, url, None)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError(f"{where} is not a URL", hint=_PLEASE_SINK) from None
    if parts.scheme != "file":
        raise ConfigError(f"{where} is not a sink that this release has", hint=_PLEASE_SINK)
    path = text(unquote(parts.path), where)
    more = parts.netloc not in {"", "localhost"} or parts.query or parts.fragment
    if more or not path.startswith("/") or path.endswith("/"):
        raise ConfigError(f"{where} does not name one file by its absolute path", hint=_PLEASE_SINK)
    return Sink(name, url, Path(path))


def route(value: object, where: str) -> Route:
    """Return the filter that a text such as `outcome:deferred,refused;guard:loan*` means.

    Raises:
        ConfigError: A field is unknown, or no outcome or event fits its pattern.
    """
    from guardrail.decision import Outcome  # noqa: PLC0415 - only routes need it

    spelled = text(value, where)
    closed = {"event": EVENTS, "outcome": tuple(outcome.value for outcome in Outcome)}
    wanted = []
    for part in spelled.split(";"):
        field, _, listed = part.strip().partition(":")
        field = field.strip()
        patterns = tuple(pattern.strip() for pattern in listed.split(","))
        if field not in FIELDS or not all(patterns):
            raise ConfigError(f"{where} must give patterns for {', '.join(FIELDS)}", hint=_PLEASE_ROUTE)
        for pattern in patterns:
            if field in closed and not any(fnmatchcase(word, pattern) for word in closed[field]):
                raise ConfigError(f"{where}: there is no such {field}", hint=nearest(pattern, closed[field]))
        wanted.append((field, patterns))
    return Route(spelled, tuple(wanted))
