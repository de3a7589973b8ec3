"""Where records may be sent (`SINK_<NAME>`) and which of them go there (`ROUTE_<NAME>`), parsed and checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from guardrail.errors import ConfigError
from guardrail.settings.values import nearest, text

if TYPE_CHECKING:
    from guardrail.delivery.address import Address

EVENTS: Final = (
    "call", "row", "beat", "gap", "mode", "ticket", "decision", "feedback", "override", "appeal", "profile", "incident",
    "config", "key", "prune", "erase", "read",
)  # fmt: skip
FIELDS: Final = ("event", "guard", "mode", "outcome")
_NAME: Final = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_PLEASE_ROUTE: Final = 'write "outcome:deferred,refused;guard:loan*": fields are joined by ";", alternatives by ","'


@dataclass(frozen=True, slots=True)
class Sink:
    """One place that records are sent to.

    Attributes:
        name: Its own name, in lower case.
        address: Its URL, taken apart; what is secret in it stays masked.
        kind: The class that delivers to it.
    """

    name: str
    address: Address
    kind: type[Any]


@dataclass(frozen=True, slots=True)
class Route:
    """Which records a sink takes.

    Attributes:
        text: As configured.
        wanted: Pairs of a record's field and the patterns of which one must fit it; every pair must hold.
    """

    text: str
    wanted: tuple[tuple[str, tuple[str, ...]], ...]

    def takes(self, record: Mapping[str, object], name: str | None = None) -> bool:
        """Return whether a record goes this way. A field that the record lacks fits only the pattern `*`.

        Args:
            record: The record.
            name: Of the sink: what names it in `notify`, as a case that has come to another level does, reaches it in any case.
        """
        told = record.get("notify")
        if name is not None and isinstance(told, list) and name in told:
            return True
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
        ConfigError: There is no such kind of sink, an option is unknown, or the extra that it needs is not installed.
    """
    from guardrail.delivery import schemes  # noqa: PLC0415 - only who has sinks pays for them

    return Sink(name, *schemes.read(name, value, where))


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
