"""Counts and durations by guard name, kept by the ledger's thread and read by anyone: `guard_of(f).stats()` and `.last()`."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from typing import Any, Final

from guardrail import lifecycle
from guardrail.ledger.entry import Entry

RING: Final = 50  # latest entries kept for each guard
_SHORTEST: Final = 1e-6  # seconds; whatever is quicker counts as this
_RATIO: Final = 1.08  # width of a bucket: its middle is within 4 % of everything in it
_BUCKETS: Final = 300  # up to 2.9 hours
_PER_LOG: Final = 1 / math.log(_RATIO)
_OFFSET: Final = -math.log(_SHORTEST) * _PER_LOG

_log = math.log


class _Tally:
    """What is counted for one guard."""

    __slots__ = (
        "attempts", "buckets", "cache", "calls", "latest", "longest", "outcomes", "retried", "seconds", "tables", "would",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = 0
        self.outcomes: dict[str, int] = {}
        self.cache: Counter[str] = Counter()
        self.attempts = 0
        self.retried = 0
        self.would = 0
        self.tables = 0
        self.seconds = 0.0
        self.longest = 0.0
        self.buckets = [0] * _BUCKETS
        self.latest: deque[tuple[Any, ...]] = deque(maxlen=RING)

    def quantile(self, share: float) -> float | None:
        """Return the duration (s) that a share of the calls did not exceed, within 4 %; None without calls."""
        rank = math.ceil(share * self.calls)
        for at, count in enumerate(self.buckets):
            rank -= count
            if rank <= 0 and count:
                return min(_SHORTEST * math.pow(_RATIO, at + 0.5), self.longest)
        return None


_lock = threading.Lock()
_tallies: dict[str, _Tally] = {}


def take(entries: list[Entry]) -> None:
    """Count a batch of calls."""
    with _lock:
        for entry in entries:
            name = entry[3].name
            tally = _tallies.get(name)
            if tally is None:
                tally = _tallies[name] = _Tally()
            extra = entry[9]
            if extra is not None and "rows" in extra:  # a call over a table: its rows are the decisions, one entry each
                tally.tables += 1
                continue
            took = entry[2]
            outcome = entry[4]
            attempts = entry[8]
            tally.calls += 1
            outcomes = tally.outcomes
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            tally.attempts += attempts
            if attempts > 1:
                tally.retried += 1
            tally.seconds += took
            if took > tally.longest:  # noqa: PLR1730 - `max` costs three times as much
                tally.longest = took
            at = int(_log(took) * _PER_LOG + _OFFSET) if took > _SHORTEST else 0
            tally.buckets[at if at < _BUCKETS else -1] += 1
            # The facts in the plan's place: the plan holds the function, which may be long gone by the time somebody looks.
            tally.latest.append((*entry[:3], entry[3].facts, *entry[4:]))
            word = entry[3].cache_words.get(outcome)
            if word is not None:
                tally.cache[word] += 1
            if extra is not None and extra.get("would"):
                tally.would += 1


def of(name: str) -> dict[str, Any]:
    """Return what is known of one guard in this process, since its first call or the last `forget`.

    Returns:
        calls (of batch=True: rows, each with its share of the time); tables (calls over tables of rows); outcomes, by name;
        cache, by what it did; attempts in all; retried (calls with more than one attempt); would (calls of observe mode that
        enforcing would have changed); mean, p50, p95, p99 and max of the duration in seconds,
        None without calls. Quantiles are within 4 %.
    """
    with _lock:
        tally = _tallies.get(name) or _Tally()
        return {
            "calls": tally.calls,
            "tables": tally.tables,
            "outcomes": dict(tally.outcomes),
            "cache": dict(tally.cache),
            "attempts": tally.attempts,
            "retried": tally.retried,
            "would": tally.would,
            "mean": tally.seconds / tally.calls if tally.calls else None,
            "p50": tally.quantile(0.50),
            "p95": tally.quantile(0.95),
            "p99": tally.quantile(0.99),
            "max": tally.longest if tally.calls else None,
        }


def last(name: str, n: int = 10) -> list[Entry]:
    """Return the latest entries of one guard, the newest first; at most 50 are kept."""
    with _lock:
        tally = _tallies.get(name)
        kept = list(tally.latest) if tally is not None else []
    return [Entry._make(entry) for entry in reversed(kept[max(0, len(kept) - n) :])]


def forget(name: str) -> None:
    """Begin anew with one guard."""
    with _lock:
        _tallies.pop(name, None)


def reset() -> None:
    """Begin anew with all of them."""
    with _lock:
        _tallies.clear()


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.Lock()
    _tallies.clear()


lifecycle.after_fork(_in_child)
