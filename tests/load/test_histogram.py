"""Durations: quantiles within the stated error, merged or not."""

from __future__ import annotations

import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardrail.load.histogram import ERROR, Histogram

DURATIONS = st.lists(st.floats(0, 10_000), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DURATIONS, DURATIONS, st.floats(0.001, 1))
def test_a_quantile_is_never_too_small_and_hardly_too_large(some, more, share):
    """By one part in 1024, or a nanosecond; a merged histogram says the same as one that saw everything."""
    merged, other, whole = Histogram(), Histogram(), Histogram()
    for each in some:
        merged.add(each)
        whole.add(each)
    for each in more:
        other.add(each)
        whole.add(each)
    merged.merge(other)
    exact = sorted(some + more)[max(1, math.ceil(share * len(some + more) - 1e-9)) - 1]
    assert exact - 1e-9 <= merged.quantile(share) <= exact * (1 + ERROR) + 2e-9
    assert merged.quantile(share) == whole.quantile(share)
    assert (merged.count, merged.largest) == (whole.count, max(some + more))


def test_of_nothing():
    """There is no quantile, and no mean."""
    nothing = Histogram()
    assert (nothing.quantile(0.5), nothing.mean, nothing.curve((0.5,))) == (None, None, [])


def test_a_curve_ends_where_the_calls_do():
    """A share that so few calls cannot tell apart is left out."""
    some = Histogram()
    for at in range(100):
        some.add(at / 1000)
    assert [share for share, _ in some.curve((0.5, 0.9, 0.99, 0.999))] == [0.5, 0.9, 0.99]
