"""Decisions that took far less or far more time than others of the same queue and guard: a hint for the owner, never a verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from guardrail.review import upkeep
from guardrail.review.case import Row
from guardrail.review.measures import Rate, rate, votes_of
from guardrail.store import engine

FEWEST: Final = 20  # timed decisions of a queue and guard, from which on anything is said
FEWEST_OF_ONE: Final = 10  # timed decisions of a reviewer, from which on they are told apart
LIMIT: Final = 3.5  # of the modified z-score
_NORMAL: Final = 0.6745  # the 0.75 quantile of the normal distribution: what MAD is of its standard deviation
_MEAN_NORMAL: Final = 1.253314  # the square root of pi / 2: what a standard deviation is of the mean deviation
_HINT: Final = "a hint to look, not a finding: a quick answer may be right, and a slow one a telephone call"


@dataclass(frozen=True, slots=True)
class Person:
    """How one reviewer's times lie among those of all.

    Attributes:
        reviewer: Who.
        median: Half of their decisions took no longer, in seconds.
        fast: The share of their decisions that took far less time than others do.
        slow: The share that took far more.
    """

    reviewer: str
    median: float
    fast: Rate
    slow: Rate


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of one queue and guard.

    Attributes:
        queue: The queue.
        guard: The guard.
        timed: How many decisions have a time.
        median: Of their times, in seconds; None where there are fewer than twenty.
        fast_below: What takes less time is far from the others; slow_above: what takes more. None where times do not differ.
        people: Reviewers with ten timed decisions or more, those with the largest share of outliers first.
        unsaid: How many reviewers have fewer, of whom nothing is said.
    """

    queue: str
    guard: str
    timed: int
    median: float | None
    fast_below: float | None
    slow_above: float | None
    people: tuple[Person, ...] = ()
    unsaid: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what can be JSON."""
        people = [asdict(each) | {"fast": each.fast._asdict(), "slow": each.slow._asdict()} for each in self.people]
        return asdict(self) | {"people": people, "few": self.median is None}


@dataclass(frozen=True, slots=True)
class Paces:
    """The times of each queue and guard.

    Attributes:
        groups: One for each queue and guard.
        hint: How to read them.
    """

    groups: tuple[Pace, ...]
    hint: str = _HINT

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what can be JSON."""
        return {"groups": [each.to_dict() for each in self.groups], "hint": self.hint}

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Return lines for people: queue and guard, reviewer, decisions, median, too fast, too slow."""
        found = []
        for each in self.groups:
            if each.median is None:
                found.append((f"{each.queue}, {each.guard}", "", f"{each.timed:,}", f"fewer than {FEWEST}", "", ""))
                continue
            bounds = (
                ("", "") if each.fast_below is None else (f"below {_span(each.fast_below)}", f"above {_span(each.slow_above)}")
            )
            found.append((f"{each.queue}, {each.guard}", "all", f"{each.timed:,}", _span(each.median), *bounds))
            found += [
                ("", one.reviewer, f"{one.fast.cases:,}", _span(one.median), _share(one.fast), _share(one.slow))
                for one in each.people
            ]
            if each.unsaid:
                found.append(("", f"{each.unsaid} more", f"fewer than {FEWEST_OF_ONE}", "", "", ""))
        return found

    def _repr_html_(self) -> str:
        from guardrail.review.cards import figures_card  # noqa: PLC0415 - for notebooks

        heads = ("queue, guard", "reviewer", "timed", "median", "far faster", "far slower")
        return figures_card("how long decisions took", "hint", heads, self.rows(), (self.hint,))


def pace(queue: str | None = None, guard: str | None = None, since: float | None = None) -> Paces:
    """Return which decisions took far less or far more time than others of the same queue and guard.

    The time of a decision is that from claim to vote; who claims and votes in one go has none. Times are compared by their logarithms,
    robustly: 0.6745 (x - median) / MAD beyond 3.5 is an outlier (the modified z-score of Iglewicz and Hoaglin 1993, "How to detect
    and handle outliers", chapter 3); where MAD is 0 the mean deviation takes its place, times 1.2533. Shares have exact 95 % intervals
    (Clopper and Pearson 1934).

    Nothing is said of fewer than twenty decisions of a queue and guard, nor of a reviewer with fewer than ten. It is a hint for the
    owner of the queue: whoever decides most of its cases is compared with themselves.

    Args:
        queue: Only of this queue.
        guard: Only of this guard.
        since: Only votes since then, in seconds since the epoch.

    Raises:
        StoreError: The store cannot be read.
    """
    upkeep.catch_up_if_possible()
    votes = engine.read(lambda connection: votes_of(connection, queue, guard, since)) if engine.exists() else []
    return paces(votes)


def paces(votes: Sequence[Row]) -> Paces:
    """Return the same of votes that were read already, each with queue, guard, reviewer, claimed and voted."""
    groups: dict[tuple[str, str], dict[str, list[float]]] = {}
    for vote in votes:
        if vote["voted"] > vote["claimed"]:
            of_one = groups.setdefault((vote["queue"], vote["guard"]), {})
            of_one.setdefault(vote["reviewer"], []).append(math.log(vote["voted"] - vote["claimed"]))
    return Paces(tuple(_pace(*name, times) for name, times in sorted(groups.items())))


def _pace(queue: str, guard: str, times: Mapping[str, Sequence[float]]) -> Pace:
    every = [each for of_one in times.values() for each in of_one]
    if len(every) < FEWEST:
        return Pace(queue, guard, len(every), None, None, None)
    middle = statistics.median(every)
    reach = LIMIT * _spread(every, middle)
    low, high = (middle - reach, middle + reach) if reach else (-math.inf, math.inf)
    people = [
        Person(
            name,
            math.exp(statistics.median(of_one)),
            rate(sum(each < low for each in of_one), len(of_one)),
            rate(sum(each > high for each in of_one), len(of_one)),
        )
        for name, of_one in times.items()
        if len(of_one) >= FEWEST_OF_ONE
    ]
    people.sort(key=lambda each: (-max(each.fast.value, each.slow.value), each.reviewer))
    below, above = (math.exp(low), math.exp(high)) if reach else (None, None)
    return Pace(queue, guard, len(every), math.exp(middle), below, above, tuple(people), len(times) - len(people))


def _spread(times: Sequence[float], middle: float) -> float:
    """Return a robust standard deviation."""
    apart = [abs(each - middle) for each in times]
    return statistics.median(apart) / _NORMAL or statistics.fmean(apart) * _MEAN_NORMAL


def _span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds / 60:,.1f} min" if seconds >= 120 else f"{seconds:.2g} s"  # noqa: PLR2004 - two minutes


def _share(found: Rate) -> str:
    return f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})"
