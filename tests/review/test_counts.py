"""The interval of a count: beside tables, beside its definition, and as often right as it says."""

from __future__ import annotations

import math
import random

import pytest

from guardrail.review.counts import count_interval, load, poisson_cdf


@pytest.mark.parametrize(
    ("events", "low", "high"),
    [
        (0, 0.0, 3.688879),
        (1, 0.025318, 5.571643),
        (2, 0.242209, 7.224688),
        (10, 4.795389, 18.390356),
        (100, 81.363991, 121.626794),
    ],
)
def test_it_is_what_tables_say(events: int, low: float, high: float) -> None:
    """Half the quantiles of chi-square with 2 k and 2 k + 2 degrees of freedom."""
    assert count_interval(events) == pytest.approx((low, high), abs=1e-5)


def test_both_ends_leave_half_the_level_outside() -> None:
    """By the distribution, summed here term by term; also of a large count, where the normal one is close."""
    for events in (3, 40):
        low, high = count_interval(events, 0.1)
        at_most = [
            math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(events + 1)) for mean in (low, high)
        ]
        exactly = math.exp(events * math.log(low) - low - math.lgamma(events + 1))
        assert 1 - at_most[0] + exactly == pytest.approx(0.05)
        assert at_most[1] == pytest.approx(0.05)
    low, high = count_interval(1_000_000)
    assert (low, high) == pytest.approx((1_000_000 - 1_960, 1_000_000 + 1_960), abs=5)
    assert poisson_cdf(0, 2.0) == pytest.approx(math.exp(-2))
    assert poisson_cdf(500, 2.0) == 1.0


def test_it_holds_the_mean_as_often_as_it_says() -> None:
    """Of two thousand days with six cases each on average, at least 95 in 100."""
    chance = random.Random(7)

    def day() -> int:
        events, time = 0, chance.expovariate(6.0)
        while time < 1:
            events, time = events + 1, time + chance.expovariate(6.0)
        return events

    held = [low <= 6.0 <= high for low, high in (count_interval(day()) for _ in range(2_000))]
    assert sum(held) / len(held) >= 0.95


def test_the_busiest_come_first() -> None:
    """By name, with both ends."""
    assert list(load(["ben", "anna", "anna"])) == ["anna", "ben"]
    assert load([]) == {}
