"""How far reviewers agree, beyond what chance would give: percent, Cohen's kappa, Gwet's AC1, Krippendorff's alpha.

One number misleads: where nearly all cases are of one kind, kappa and alpha fall to nought though people agree on 94 of 100,
and AC1 does not. So all are told beside each other, each with an interval.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Literal, NamedTuple

Ratings = Sequence[Sequence[Hashable | None]]
Scale = Literal["nominal", "ordinal", "interval"]
_DRAWS: Final = 1_000
_LEVEL: Final = 0.95
_PAIR: Final = 2


class Agreement(NamedTuple):
    """One measure of agreement.

    Attributes:
        value: 1 for perfect agreement, 0 for what chance gives (or for none at all, with percent); NaN where it has no value.
        low: The lower end of the 95 % interval; high the upper one.
        cases: How many cases with two or more answers it is told from.
    """

    value: float
    low: float
    high: float
    cases: int


class Agreements(NamedTuple):
    """All measures of the same answers."""

    percent: Agreement
    kappa: Agreement
    ac1: Agreement
    alpha: Agreement


def agreements(ratings: Ratings, *, scale: Scale = "nominal", seed: int = 0, draws: int = _DRAWS) -> Agreements:
    """Return how far people agree who answered the same cases.

    Args:
        ratings: One row for each case, one place for each reviewer; None where they gave no answer. Answers are compared by equality.
        scale: Of the answers, for alpha: "nominal" for names, "ordinal" for ranks, "interval" for numbers.
        seed: Of the bootstrap, so that the same answers give the same interval.
        draws: How many samples of the cases the intervals come from (percentile bootstrap; Efron and Tibshirani 1993, chapter 13).

    Returns:
        Each measure with its interval. Cases with fewer than two answers say nothing and are left out.
    """
    paired = [row for row in ratings if sum(each is not None for each in row) >= _PAIR]
    return Agreements(
        *(
            _with_interval(measure, paired, seed, draws)
            for measure in (percent, kappa, ac1, lambda rows: alpha(rows, scale=scale))
        )
    )


def percent(ratings: Ratings) -> float:
    """Return the share of pairs of answers to the same case that are equal, each case weighing the same."""
    shares = [_agreeing(row) for row in ratings]
    return math.nan if not shares else sum(shares) / len(shares)


def kappa(ratings: Ratings) -> float:
    """Return Fleiss' kappa for two or more reviewers, who need not be the same for each case (Fleiss 1971).

    For two reviewers who both answered everything it differs from Cohen's only in taking their habits together.
    """
    if not ratings:
        return math.nan
    shares = _shares(ratings)
    return _beyond(percent(ratings), sum(share * share for share in shares.values()))


def ac1(ratings: Ratings) -> float:
    """Return Gwet's AC1 (Gwet 2008, "Computing inter-rater reliability and its variance in the presence of high agreement")."""
    if not ratings:
        return math.nan
    shares = _shares(ratings)
    if len(shares) == 1:
        return 1.0
    return _beyond(percent(ratings), sum(share * (1 - share) for share in shares.values()) / (len(shares) - 1))


def alpha(ratings: Ratings, *, scale: Scale = "nominal") -> float:
    """Return Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"); answers may be missing."""
    units = [[each for each in row if each is not None] for row in ratings]
    units = [unit for unit in units if len(unit) >= _PAIR]
    counts = Counter(each for unit in units for each in unit)
    total = sum(counts.values())
    if total <= 1:
        return math.nan
    apart = _distance(counts, scale)
    observed = 0.0
    for unit in units:
        seen = Counter(unit)
        observed += sum(seen[one] * seen[other] * apart(one, other) for one in seen for other in seen) / (len(unit) - 1)
    expected = sum(counts[one] * counts[other] * apart(one, other) for one in counts for other in counts) / (total - 1)
    return 1.0 if not expected else 1 - observed / expected


def _distance(counts: Counter[Hashable], scale: Scale) -> Callable[[Hashable, Hashable], float]:
    if scale == "nominal":
        return lambda one, other: float(one != other)
    if scale == "interval":
        return lambda one, other: (float(one) - float(other)) ** 2  # type: ignore[arg-type]
    order = sorted(counts, key=float)  # type: ignore[arg-type]
    below: dict[Hashable, float] = {}
    passed = 0.0
    for each in order:  # half of one's own and all before: differences are then sums of ranks between two values
        below[each] = passed + counts[each] / 2
        passed += counts[each]
    return lambda one, other: (below[one] - below[other]) ** 2


def _agreeing(row: Sequence[Hashable | None]) -> float:
    """Return the share of pairs of answers to one case that are equal."""
    seen = Counter(each for each in row if each is not None)
    count = sum(seen.values())
    return sum(times * (times - 1) for times in seen.values()) / (count * (count - 1))


def _shares(ratings: Ratings) -> dict[Hashable, float]:
    """Return how often each answer is given, each case weighing the same."""
    shares: dict[Hashable, float] = {}
    for row in ratings:
        seen = Counter(each for each in row if each is not None)
        count = sum(seen.values())
        for each, times in seen.items():
            shares[each] = shares.get(each, 0.0) + times / count / len(ratings)
    return shares


def _beyond(agreed: float, by_chance: float) -> float:
    return 1.0 if by_chance >= 1 else (agreed - by_chance) / (1 - by_chance)


def _with_interval(measure: Callable[[Ratings], float], ratings: Ratings, seed: int, draws: int) -> Agreement:
    value = measure(ratings)
    if not ratings:
        return Agreement(value, math.nan, math.nan, 0)
    chance = random.Random(seed)  # noqa: S311 - a sample, not a secret
    found = sorted(each for _ in range(draws) if not math.isnan(each := measure(chance.choices(ratings, k=len(ratings)))))
    edge = int((1 - _LEVEL) / 2 * len(found))
    return Agreement(value, found[edge], found[-1 - edge], len(ratings))
