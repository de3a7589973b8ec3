"""What a record says that may be told anywhere: guard, event, outcome, error type; never an input, an output, or a person's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

import orjson

from guardrail.delivery.sink import Item

Severity = Literal["info", "warning", "error", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "error", "critical")

_OUTCOMES: Final[Mapping[str, Severity]] = {
    "stale": "warning",
    "fallback": "warning",
    "deferred": "warning",
    "refused": "warning",
    "cancelled": "warning",
    "late": "error",
    "failed": "error",
}
_EVENTS: Final[Mapping[str, Severity]] = {"gap": "critical", "incident": "critical", "mode": "warning", "erase": "warning"}
_WORD: Final = re.compile(r"[A-Za-z0-9_.:-]{1,80}")
_SHOWN: Final = 120  # characters of a guard's name


def parsed(item: Item) -> dict[str, Any]:
    """Return what a line says, nothing where somebody has changed it into something else than a JSON object."""
    try:
        found = item.record
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def as_json(item: Item, record: Mapping[str, Any]) -> bytes:
    """Return the line as it may stand inside other JSON: as it is, or as a text where it is no record any more."""
    return item.line if record else orjson.dumps(item.line.decode(errors="replace"))


def micros(record: Mapping[str, Any]) -> int | None:
    """Return when a record was made, in microseconds since the epoch; None where it does not say."""
    try:
        moment = datetime.fromisoformat(record["ts"])
    except (KeyError, TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        return None
    return round(moment.timestamp() * 1e6)


def severity(record: Mapping[str, Any]) -> Severity:
    """Return how bad it is."""
    found = _EVENTS.get(word(record.get("event"))) or _OUTCOMES.get(word(record.get("outcome")))
    return found or "info"


def worst(records: Iterable[Mapping[str, Any]]) -> Severity:
    """Return how bad the worst of several is."""
    return SEVERITIES[max((SEVERITIES.index(severity(record)) for record in records), default=0)]


def word(value: object) -> str:
    """Return a single word, "" for anything else: what may be a sentence may be about a person."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def guard(record: Mapping[str, Any]) -> str:
    """Return the guard's name on one line, "" where there is none."""
    found = record.get("guard")
    if not isinstance(found, str):
        return ""
    plain = "".join(each if each.isprintable() else " " for each in found)
    return plain if len(plain) <= _SHOWN else plain[: _SHOWN - 1] + "…"


def kind(record: Mapping[str, Any]) -> str:
    """Return what happened, in one word: the outcome of a call, otherwise the event."""
    return word(record.get("outcome")) or word(record.get("event")) or "record"


def why(record: Mapping[str, Any]) -> str:
    """Return the type of the error and the policy that spoke, as far as there are such."""
    error = record.get("error")
    if not isinstance(error, dict):
        return ""
    return " by ".join(filter(None, (word(error.get("type")), word(error.get("policy")))))
