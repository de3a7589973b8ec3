"""What a step of load came to: arrivals, endings, latencies from the moment each call was due, and where the time went."""

from __future__ import annotations

import math
import threading
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from guardrail import clock
from guardrail.load.histogram import Histogram
from guardrail.load.schedule import Step

QUANTILES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))
WAITING: Final = "waiting to start"  # from the moment a call was due until somebody began with it
ELSEWHERE: Final = "outside any stage"
OTHER: Final = "other stages"
SERVED: Final = frozenset({"answered", "cached", "stale", "fallback", "human", "deferred"})
_STAGES: Final = 40  # names of stages that are told apart
_LAST: Final = 0.02  # share of the last endings that say nothing about the rate: one straggler would stretch it
_TOLERATED: Final = 0.01  # share of arrivals that a p99 leaves out


class Ended(NamedTuple):
    """What became of one call.

    Attributes:
        outcomes: How its rows ended, by the words of `Outcome`: one for a call without rows.
        stages: Seconds by stage, as the call itself told them; None where it tells nothing.
        error: The type of the error it ended with.
    """

    outcomes: Mapping[str, int]
    stages: Mapping[str, float] | None = None
    error: str | None = None


class Stage:
    """The time that calls spent in one stage.

    Attributes:
        all: Seconds of each call that was in it.
        slow: Seconds in all, of the calls that took longer than the budget.
    """

    __slots__ = ("all", "slow")

    def __init__(self) -> None:
        self.all = Histogram()
        self.slow = 0.0


class Tally:
    """The figures of one step. Threads may add to it and read it at any time.

    Args:
        step: What was asked for.
        budget: Seconds that a call may take, None where nobody says.

    Attributes:
        offered: Calls that were due.
        not_sent: Those of them that nobody could begin with: too many were under way already.
        unfinished: Those that had not come back when waiting for them ended; their latency counts as what it was by then.
        latency: From the moment a call was due to its end.
        service: From its start to its end.
        lag: From the moment a call was due until the generator passed it on: the generator's own lateness.
        outcomes: Rows (or calls) by how they ended.
        errors: Calls by the type of their error.
        over: Calls that took longer than the budget, those unfinished among them.
        stages: By name.
        interrupted: Whether somebody stopped it.
    """

    def __init__(self, step: Step, budget: float | None = None) -> None:
        self.step = step
        self.budget = budget
        self.offered = self.not_sent = self.unfinished = self.over = 0
        self.latency, self.service, self.lag = Histogram(), Histogram(), Histogram()
        self.outcomes: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.stages: dict[str, Stage] = {}
        self.slow_seconds = 0.0  # of the latencies over the budget
        self.interrupted = False
        self.began = clock.now()
        self.asked = step.seconds  # for how long calls arrived: less, where it was interrupted
        self._ends = array("d")
        self._running: dict[int, tuple[float, float]] = {}
        self._keys = 0
        self._closed = False
        self._lock = threading.Lock()

    # ── filling ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def due(self, lag: float) -> None:
        """Note an arrival, and how late the generator noticed it."""
        with self._lock:
            self.offered += 1
            self.lag.add(lag)

    def lose(self, many: int = 1) -> None:
        """Note arrivals that nobody begins with."""
        with self._lock:
            self.not_sent += many

    def start(self, due: float) -> int | None:
        """Note that somebody begins with a call that was due at a moment.

        Returns:
            What `end` is given; None where the step is over, and the call is not to be made.
        """
        with self._lock:
            if self._closed:
                self.not_sent += 1
                return None
            self._keys += 1
            self._running[self._keys] = (due, clock.now())
            return self._keys

    def end(self, key: int, ended: Ended) -> None:
        """Note that a call has come back; one that comes when waiting for it has ended counts no more."""
        now = clock.now()
        with self._lock:
            if self._closed:
                return
            due, started = self._running.pop(key)
            self._ends.append(now)
            self.outcomes.update(ended.outcomes)
            if ended.error is not None:
                self.errors[ended.error] += 1
            self.service.add(now - started)
            self._took(now - due, self._split(started - due, now - started, ended.stages))

    def close(self) -> None:
        """End the step: what is still under way is counted as unfinished."""
        now = clock.now()
        with self._lock:
            self._closed = True
            for due, started in self._running.values():
                self.unfinished += 1
                self._took(now - due, {WAITING: started - due, "unfinished": now - started})
            self._running.clear()

    def _split(self, waited: float, took: float, stages: Mapping[str, float] | None) -> dict[str, float]:
        found = {WAITING: waited}
        if stages is not None:
            for name, seconds in stages.items():
                known = name in self.stages or len(self.stages) < _STAGES
                label = name if known else OTHER
                found[label] = found.get(label, 0.0) + seconds
        rest = took - sum(found.values()) + waited
        found[ELSEWHERE] = max(rest, 0.0)  # a stage inside another one counts twice
        return found

    def _took(self, seconds: float, parts: Mapping[str, float]) -> None:
        self.latency.add(seconds)
        slow = self.budget is not None and seconds > self.budget
        if slow:
            self.over += 1
            self.slow_seconds += seconds
        for name, spent in parts.items():
            stage = self.stages.setdefault(name, Stage())
            stage.all.add(spent)
            if slow:
                stage.slow += spent

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def ended(self) -> int:
        """How many calls have come back."""
        return len(self._ends)

    @property
    def pending(self) -> int:
        """How many calls are due and have not come back."""
        with self._lock:
            return self.offered - self.not_sent - len(self._ends) - self.unfinished

    @property
    def offered_rate(self) -> float:
        """Arrivals a second, as they were."""
        return self.offered / self.asked if self.asked else 0.0

    @property
    def achieved_rate(self) -> float:
        """Calls that came back, a second: from the first end to the last but the stragglers."""
        kept = math.ceil((1 - _LAST) * len(self._ends))
        if kept < 2 or self.offered < 2:  # noqa: PLR2004 - a rate is between two
            return self.ended / self.asked if self.asked else 0.0
        ends = sorted(self._ends)
        took = ends[kept - 1] - ends[0]
        return min((kept - 1) / took, self.offered_rate) if took > 0 else self.offered_rate

    @property
    def served_share(self) -> float:
        """The share of what was due that ended as it should: with an answer, or with a person who decides."""
        rows = self.outcomes.total()
        good = sum(many for word, many in self.outcomes.items() if word in SERVED) / rows if rows else 0.0
        return good * self.ended / self.offered if self.offered else 0.0

    @property
    def breaks(self) -> bool:
        """Whether more than one arrival in a hundred exceeded the budget; one that was not sent did, by any measure."""
        return self.budget is not None and self.over + self.not_sent > _TOLERATED * max(self.offered, 1)

    def shares(self, *, slow: bool = False) -> dict[str, float]:
        """Return which share of the calls' time each stage had; of the calls over the budget only, where `slow`."""
        with self._lock:
            whole = self.slow_seconds if slow else self.latency.sum
            spent = {name: stage.slow if slow else stage.all.sum for name, stage in self.stages.items()}
        return {name: seconds / whole for name, seconds in spent.items()} if whole else {}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON; times in seconds."""
        step = self.step
        return {
            "rate": step.rate, "rate_from": step.low, "rate_to": step.high, "seconds": self.asked, "workers": step.workers,
            "rows": step.rows, "interrupted": self.interrupted, "offered": self.offered, "offered_rate": self.offered_rate,
            "ended": self.ended, "achieved_rate": self.achieved_rate, "not_sent": self.not_sent, "unfinished": self.unfinished,
            "over_budget": self.over if self.budget is not None else None, "breaks_budget": self.breaks,
            "outcomes": dict(self.outcomes), "errors": dict(self.errors),
            "latency": figures(self.latency), "service": figures(self.service), "generator_lag": figures(self.lag),
            "stages": {
                name: {"share": share, "share_when_slow": self.shares(slow=True).get(name), **figures(self.stages[name].all)}
                for name, share in self.shares().items()
            },
        }  # fmt: skip


def figures(histogram: Histogram) -> dict[str, float | None]:
    """Return the quantiles, the mean and the largest of some durations, None of nothing."""
    found: dict[str, float | None] = {name: histogram.quantile(share) for name, share in QUANTILES}
    return {**found, "mean": histogram.mean, "max": histogram.largest if histogram.count else None}
