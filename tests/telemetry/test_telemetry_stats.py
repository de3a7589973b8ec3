"""Counts and durations by guard."""

from __future__ import annotations

import random

import pytest
from traced_calls import make_entry, make_plan

from guardrail.telemetry import stats


@pytest.mark.parametrize(
    "draw",
    [lambda: random.lognormvariate(-6, 1.5), lambda: random.uniform(0.001, 0.3), lambda: random.expovariate(20)],
    ids=["lognormal", "uniform", "exponential"],
)
def test_quantiles_are_within_five_percent(draw) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """p50, p95 and p99 of 20,000 durations, beside the sorted truth."""
    random.seed(7)
    durations = [draw() for _ in range(20_000)]
    stats.take([make_entry(took=took) for took in durations])
    found = stats.of("credit:predict")
    durations.sort()
    for share in (50, 95, 99):
        truth = durations[20_000 * share // 100 - 1]
        assert found[f"p{share}"] == pytest.approx(truth, rel=0.05)
    assert found["max"] == durations[-1]
    assert found["mean"] == pytest.approx(sum(durations) / 20_000)


@pytest.mark.parametrize("took", [0.0, 1e-9, 1e-6, 1e9])
def test_extreme_durations_are_counted(took: float) -> None:
    """A duration of nought, or of years, is counted and never lies above the maximum."""
    stats.take([make_entry(took=took)])
    found = stats.of("credit:predict")
    assert found["calls"] == 1
    assert 0 <= found["p99"] <= found["max"] == took


def test_everything_is_counted_by_guard() -> None:
    """Outcomes, cache, attempts, retries and verdicts of two guards are kept apart."""
    plan = make_plan(cache_words={"cached": "hit", "answered": "miss"})
    stats.take(
        [
            make_entry(attempts=3),
            make_entry(plan=plan, outcome="cached", attempts=0),
            make_entry(plan=plan, extra={"would": ("budget: late",)}),
            make_entry(plan=make_plan(name="other"), outcome="failed"),
        ]
    )
    found = stats.of("credit:predict")
    assert found["calls"] == 3
    assert found["outcomes"] == {"answered": 2, "cached": 1}
    assert found["cache"] == {"hit": 1, "miss": 1}
    assert (found["attempts"], found["retried"], found["would"]) == (4, 1, 1)
    assert stats.of("other")["outcomes"] == {"failed": 1}


def test_a_guard_without_calls_has_empty_counts() -> None:
    """Asking for an unknown guard is no error and keeps nothing."""
    found = stats.of("nobody")
    assert found["calls"] == 0
    assert found["p50"] is None
    assert stats.last("nobody") == []


def test_the_latest_entries_are_kept_newest_first() -> None:
    """At most 50, the newest first, as entries with named parts."""
    stats.take([tuple(make_entry(seq=at)) for at in range(60)])  # type: ignore[misc]
    assert [entry.seq for entry in stats.last("credit:predict", 3)] == [59, 58, 57]
    assert len(stats.last("credit:predict", 1_000)) == stats.RING
    assert stats.last("credit:predict", 0) == []


def test_forget_begins_anew() -> None:
    """After a reset of the guard nothing of it is left, and others are untouched."""
    stats.take([make_entry(), make_entry(plan=make_plan(name="other"))])
    stats.forget("credit:predict")
    assert stats.of("credit:predict")["calls"] == 0
    assert stats.of("other")["calls"] == 1
