"""Counts and durations by guard name, kept by the ledger's thread and read by anyone: `guard_of(f).stats()` and `.last()`."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Final

from guardrail import lifecycle
from guardrail.ledger.entry import Entry
from guardrail.telemetry import sums

RING: Final = 50  # latest entries kept for each guard
_SHORTEST: Final = 1e-6  # seconds; whatever is quicker counts as this
_RATIO: Final = 1.08  # width of a bucket: its middle is within 4 % of everything in it
_BUCKETS: Final = 300  # up to 2.9 hours
_PER_LOG: Final = 1 / math.log(_RATIO)
_OFFSET: Final = -math.log(_SHORTEST) * _PER_LOG

_log = math.log
_took, _plan, _outcome, _attempts, _extra = map(itemgetter, (2, 3, 4, 8, 9))  # parts of an `Entry`


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
        for each in _by_plan(entries):
            run, plan = each, each[0][3]
            tally = _tallies.get(plan.name)
            if tally is None:
                tally = _tallies[plan.name] = _Tally()
            extras = list(filter(None, map(_extra, run)))
            if extras:
                # Of a call over a table the rows are the decisions, one entry each.
                many = len(run)
                run = [entry for entry in run if "rows" not in (entry[9] or ())]
                tally.tables += many - len(run)
                tally.would += sum(1 for extra in extras if "rows" not in extra and extra.get("would"))
                if any(len(extra) > 1 or "span" not in extra for extra in extras):  # the span alone is nothing rare
                    sums.add_rare(plan, each)
            if run:
                _count(tally, plan, run)


def _by_plan(entries: list[Entry]) -> Iterable[list[Entry]]:
    plans = list(map(id, map(_plan, entries)))
    if plans.count(plans[0]) == len(plans):  # most batches are one guard's
        return (entries,)
    found: dict[int, list[Entry]] = {}
    for plan, entry in zip(plans, entries, strict=True):
        found.setdefault(plan, []).append(entry)
    return found.values()


def _count(tally: _Tally, plan: Any, run: list[Entry]) -> None:
    took, attempts = list(map(_took, run)), list(map(_attempts, run))
    tally.calls += len(run)
    tally.seconds += sum(took)
    tally.longest = max(tally.longest, *took)
    tally.attempts += sum(attempts)
    if max(attempts) > 1:
        tally.retried += sum(each > 1 for each in attempts)
    buckets = tally.buckets
    for each in took:
        at = int(_log(each) * _PER_LOG + _OFFSET) if each > _SHORTEST else 0
        buckets[at if at < _BUCKETS else -1] += 1
    outcomes = Counter(map(_outcome, run))
    sums.add(plan, run, outcomes, took, attempts)
    for outcome, many in outcomes.items():
        tally.outcomes[outcome] = tally.outcomes.get(outcome, 0) + many
        word = plan.cache_words.get(outcome)
        if word is not None:
            tally.cache[word] += many
    # The facts in the plan's place: the plan holds the function, which may be long gone by the time somebody looks.
    tally.latest.extend((*entry[:3], plan.facts, *entry[4:]) for entry in run[-RING:])


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


def totals() -> dict[str, dict[str, Any]]:
    """Return the sums of every guard: calls, attempts, retried, would, seconds, outcomes and cache by name."""
    with _lock:
        return {
            name: {
                "calls": tally.calls,
                "attempts": tally.attempts,
                "retried": tally.retried,
                "would": tally.would,
                "seconds": tally.seconds,
                "outcomes": dict(tally.outcomes),
                "cache": dict(tally.cache),
            }
            for name, tally in _tallies.items()
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


def forget_latest(name: str) -> None:
    """Drop the latest entries of one guard, and keep its counts."""
    with _lock:
        tally = _tallies.get(name)
        if tally is not None:
            tally.latest.clear()


def reset() -> None:
    """Begin anew with all of them."""
    with _lock:
        _tallies.clear()
    sums.reset()


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.Lock()
    _tallies.clear()


lifecycle.after_fork(_in_child)
