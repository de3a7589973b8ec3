"""What each guard did since the last time it was told: a few numbers every few seconds, so that nobody has to count calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from guardrail import call as calls
from guardrail import clock
from guardrail.ledger.queued import Event
from guardrail.ledger.record import iso
from guardrail.telemetry import stats

SECONDS: Final = 5.0  # between two beats of a guard that is called


class Beats:
    """Makes the `beat` events of this process, from the sums that are kept anyway. Nothing is done for a single call."""

    def __init__(self) -> None:
        self._told = stats.totals()
        self._since = clock.wall()
        self._at = clock.now()

    def due(self, now: float) -> bool:
        """Tell whether it is time to look again (monotonic seconds)."""
        return now - self._at >= SECONDS

    def take(self, now: float) -> Iterator[Event]:
        """Yield one event for each guard that was called since the last time."""
        found = stats.totals()
        wall = clock.wall()
        for name, sums in found.items():
            before = self._told.get(name, {})
            if sums["calls"] < before.get("calls", 0):
                before = {}  # somebody began anew with its sums
            counts = _less(sums, before)
            if counts.get("calls"):
                fields = {"counts": counts, "from": iso(self._since), "to": iso(wall)}
                identity = calls.decision_id(wall, calls.next_seq())
                yield Event(identity, wall, "beat", guard=name, fields=fields, future=None)
        self._told, self._since, self._at = found, wall, now


def _less(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in now.items():
        less = _less(value, before.get(name, {})) if isinstance(value, dict) else value - before.get(name, 0)
        if less:
            found[name] = less
    return found
