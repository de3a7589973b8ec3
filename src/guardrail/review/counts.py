"""How far chance alone moves a count: the exact interval of what is to be expected in as long a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

_LEVEL: Final = 0.05
_STEPS: Final = 60  # of the bisection: below what a float can tell apart


class Count(NamedTuple):
    """A count with its 95 % interval.

    Attributes:
        cases: How many there were.
        low: The lower end of how many are to be expected in as long a time; high the upper one.
    """

    cases: int
    low: float
    high: float


def load(reviewers: Iterable[str]) -> dict[str, dict[str, float]]:
    """Return how many answers each reviewer gave, the most first, each a `Count` as a dictionary.

    Args:
        reviewers: Who gave each answer.
    """
    return {name: Count(many, *count_interval(many))._asdict() for name, many in Counter(reviewers).most_common()}


@lru_cache(maxsize=4096)
def count_interval(events: int, level: float = _LEVEL) -> tuple[float, float]:
    """Return the exact two-sided interval of a Poisson mean (Garwood 1936), by bisection of the distribution.

    Its ends are half the quantiles of chi-square with 2 k and 2 k + 2 degrees of freedom. It holds for events that come one by one and know
    nothing of each other.

    Args:
        events: k, how many there were.
        level: The probability that the interval does not hold the mean.
    """
    low = 0.0 if not events else _where(1 - level / 2, events - 1)
    return low, _where(level / 2, events)


def _where(tail: float, upto: int) -> float:
    """Return the mean by which at most so many events have that probability."""
    low, high = 0.0, upto + 1.0
    while poisson_cdf(upto, high) > tail:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if poisson_cdf(upto, middle) > tail:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def poisson_cdf(events: int, mean: float) -> float:
    """Return the exact probability of at most so many events where so many are expected.

    Args:
        events: k.
        mean: Above 0.
    """
    # The smaller tail is summed, outwards from its largest term, so that nothing cancels.
    below = events <= mean
    at = events if below else events + 1
    term = math.exp(at * math.log(mean) - mean - math.lgamma(at + 1))
    total = 0.0
    while term > total * 1e-17:
        total += term
        if below:
            term *= at / mean
            at -= 1
        else:
            at += 1
            term *= mean / at
    return min(1.0, total) if below else max(0.0, 1.0 - total)
