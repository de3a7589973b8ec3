"""The numbers and latest decisions of one guard, gathered from the ledger's thread and from its policies' states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guardrail.call import MISSING
from guardrail.decision import Decision, decision_of
from guardrail.drivers import hand_off
from guardrail.ledger import writer
from guardrail.telemetry import stats as tallies

if TYPE_CHECKING:
    from guardrail.guard import Guard


def stats(guard: Guard) -> Mapping[str, Any]:
    """Return counts, durations (seconds) and the state of breaker, limit, retry budget and cache.

    Everything that has ended before is in it.
    """
    writer.drain()
    figures = tallies.of(guard.name)
    for name, state in guard.parts.get("states", {}).items():
        figures[name] = state.snapshot()
    caching = guard.parts.get("cache")
    if caching is not None:
        figures["cached_rows"] = len(caching.rows)
    figures["abandoned"] = hand_off.abandoned(guard.name)
    return figures


def last(guard: Guard, n: int) -> Sequence[Decision[Any]]:
    """Return the latest decisions of a guard in this process, newest first."""
    writer.drain()
    return [decision_of(entry, MISSING) for entry in tallies.last(guard.name, n)]


def forget(guard: Guard) -> None:
    """Set a guard's counters to nought."""
    writer.drain()
    tallies.forget(guard.name)
