"""What metrics are made of: counts of this process since its begin, never set back, with a bounded number of labels.

Kept by the ledger's thread, batch by batch; a call itself pays nothing.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, TypeAlias

from guardrail import lifecycle, notices
from guardrail.ledger.entry import Entry
from guardrail.telemetry import names
from guardrail.telemetry.names import Metric

GUARDS: Final = 500  # names with labels of their own; the others share "other"
STAGES: Final = 50  # names of stages of one guard, likewise
OTHER: Final = "other"
NAME_LIMIT: Final = 200  # characters

Labels: TypeAlias = tuple[str, ...]
Histogram: TypeAlias = tuple[float, tuple[int, ...]]  # sum of the values; count of each bucket, the last one without a bound
Value: TypeAlias = Any  # a number, or a Histogram
Figures: TypeAlias = dict[Metric, dict[Labels, Value]]


class _Sizes:
    """Counts values by size."""

    __slots__ = ("bounds", "buckets", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, values: Sequence[float]) -> None:
        self.sum += sum(values)
        buckets = self.buckets
        for at, many in Counter(map(bisect_left, repeat(self.bounds), values)).items():
            buckets[at] += many


class _Ended:
    """Calls of a guard that ended alike."""

    __slots__ = ("calls", "durations", "retries")

    def __init__(self) -> None:
        self.calls = 0
        self.retries = 0
        self.durations = _Sizes(names.SECONDS)


class _Guard:
    """What is counted for one guard."""

    __slots__ = ("budget", "ended", "stages", "used", "would")

    def __init__(self) -> None:
        self.ended: dict[tuple[str, str], _Ended] = {}  # by outcome and what the cache did
        self.budget: float | None = None  # seconds
        self.used: _Sizes | None = None
        self.stages: dict[str, _Sizes] = {}
        self.would = 0


_lock = threading.Lock()
_guards: dict[str, _Guard] = {}
_lost: dict[str, int] = {}


def add(plan: Any, run: Sequence[Entry], outcomes: Mapping[str, int], took: Sequence[float], attempts: Sequence[int]) -> None:
    """Count calls of one plan.

    Args:
        plan: Theirs.
        run: What they left.
        outcomes: How many ended how.
        took: Their durations in seconds, in their order.
        attempts: How often each started the function.
    """
    words = plan.cache_words
    with _lock:
        guard = _of(plan.name)
        for outcome in outcomes:
            key = (outcome, words.get(outcome, ""))
            ended = guard.ended.get(key)
            if ended is None:
                ended = guard.ended[key] = _Ended()
            if len(outcomes) == 1:
                mine, tries = took, attempts
            else:
                chosen = [at for at, entry in enumerate(run) if entry[4] == outcome]
                mine, tries = [took[at] for at in chosen], [attempts[at] for at in chosen]
            ended.calls += len(mine)
            ended.durations.add(mine)
            if max(tries) > 1:
                ended.retries += sum(each - 1 for each in tries if each > 1)
        guard.budget = None if plan.budget_ms is None else plan.budget_ms / 1e3
        if guard.budget and not tabular(plan):
            _add_used(guard, guard.budget, took)


def add_rare(plan: Any, run: Sequence[Entry]) -> None:
    """Count what few calls have: stages, verdicts of mode observe, and the time of calls over tables. They need an `extra`."""
    with _lock:
        guard = _of(plan.name)
        for entry in run:
            extra: Mapping[str, Any] = entry[9] or {}
            if "rows" in extra:
                if plan.budget_ms:
                    _add_used(guard, plan.budget_ms / 1e3, (entry[2],))
            elif extra.get("would"):
                guard.would += 1
            for name, seconds in (extra.get("stages") or {}).items():
                sizes = guard.stages.get(name)
                if sizes is None:
                    label = label_of(name)
                    if label not in guard.stages and len(guard.stages) >= STAGES:
                        label = OTHER
                    sizes = guard.stages.setdefault(label, _Sizes(names.SECONDS))
                sizes.add((seconds,))


def lose(reason: str, many: int) -> None:
    """Count records that were lost."""
    with _lock:
        _lost[reason] = _lost.get(reason, 0) + many


def figures() -> Figures:
    """Return everything that was counted, by metric and labels."""
    found: Figures = {
        names.CALLS: {}, names.DURATION: {}, names.RETRIES: {}, names.WOULD: {}, names.BUDGET: {}, names.USED: {}, names.STAGE: {},
    }  # fmt: skip
    with _lock:
        for name, guard in _guards.items():
            for (outcome, cache), ended in guard.ended.items():
                labels = (name, outcome, cache)
                found[names.CALLS][labels] = ended.calls
                found[names.DURATION][labels] = _shown(ended.durations)
                if ended.retries:
                    found[names.RETRIES][labels] = ended.retries
            if guard.would:
                found[names.WOULD][name,] = guard.would
            if guard.budget is not None:
                found[names.BUDGET][name,] = guard.budget
            if guard.used is not None:
                found[names.USED][name,] = _shown(guard.used)
            for stage, sizes in guard.stages.items():
                found[names.STAGE][name, stage] = _shown(sizes)
        found[names.LOST] = {(reason,): many for reason, many in _lost.items()}
    return found


def merge(into: Figures, more: Figures) -> None:
    """Add figures to others: sums are added, and of what all processes see alike the greatest counts."""
    for metric, series in more.items():
        known = into.setdefault(metric, {})
        for labels, value in series.items():
            before = known.get(labels)
            if before is None:
                known[labels] = value
            elif isinstance(value, tuple):
                known[labels] = (before[0] + value[0], tuple(a + b for a, b in zip(before[1], value[1], strict=True)))
            else:
                known[labels] = max(before, value) if metric.shared else before + value


def reset() -> None:
    """Begin anew. For tests: what people's tools have seen must never fall."""
    with _lock:
        _guards.clear()
        _lost.clear()


def guard_label(name: str) -> str:
    """Return the label under which a guard is counted: its name, unless there are too many. Needs to have been counted."""
    label = label_of(name)
    return label if label in _guards else OTHER


def stage_label(guard: str, stage: str) -> str:
    """Return the label under which a stage of a guard is counted, likewise."""
    label = label_of(stage)
    return label if guard in _guards and label in _guards[guard].stages else OTHER


def labels(plan: Any, outcome: str) -> Labels:
    """Return the labels of calls that ended alike: guard, outcome, what the cache did."""
    return guard_label(plan.name), outcome, plan.cache_words.get(outcome, "")


def tabular(plan: Any) -> bool:
    """Return whether the entries of a plan are rows of tables, whose budget is that of the whole table."""
    return getattr(getattr(plan, "snapshot", None), "place", None) is not None


def _of(name: str) -> _Guard:
    found = _guards.get(name)
    if found is None:
        label = label_of(name)
        if label not in _guards and len(_guards) >= GUARDS:
            notices.say("metrics-guards", f"metrics tell {GUARDS} guards apart; the others count as {OTHER!r}")
            label = OTHER
        found = _guards.setdefault(label, _Guard())
    return found


def label_of(name: str) -> str:
    """Return a name as every tool can keep it: not too long, and without what no encoding has."""
    return name[:NAME_LIMIT].encode("utf-8", "replace").decode()


def _add_used(guard: _Guard, budget: float, took: Iterable[float]) -> None:
    if guard.used is None:
        guard.used = _Sizes(names.SHARES)
    guard.used.add([each / budget for each in took])


def _shown(sizes: _Sizes) -> Histogram:
    return sizes.sum, tuple(sizes.buckets)


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.Lock()
    _guards.clear()
    _lost.clear()


lifecycle.after_fork(_in_child)
