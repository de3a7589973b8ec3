"""When calls arrive: arithmetic alone, no time passes."""

from __future__ import annotations

import itertools

import pytest

from guardrail.errors import ConfigError
from guardrail.load import schedule
from guardrail.load.schedule import Step, by_chance, even


def test_even_arrivals_are_the_rate_times_the_seconds():
    """Fifty a second for two seconds are a hundred, the first at once, each a fiftieth after the one before."""
    found = list(Step(50, 50, 2).offsets(even()))
    assert len(found) == 100
    assert found == pytest.approx([at / 50 for at in range(100)])


def test_a_ramp_bends_time():
    """From 10 to 30 a second over 4 seconds: 80 in all, and after half the time 30 of them, the area under the rate."""
    found = list(Step(10, 30, 4).offsets(even()))
    assert len(found) == 80
    assert sum(each < 2 for each in found) == 30
    gaps = [after - before for before, after in itertools.pairwise(found)]
    assert gaps == sorted(gaps, reverse=True)


def test_a_ramp_may_fall():
    """To nothing: the arrivals end where the area does."""
    assert len(list(Step(20, 0, 2).offsets(even()))) == 20


def test_arrivals_by_chance_are_the_same_for_the_same_seed():
    """And as many as the rate says, give or take what chance takes."""
    step = Step(100, 100, 50)
    first, again, other = (list(step.offsets(by_chance(seed))) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == pytest.approx(5000, rel=0.06)
    assert first == sorted(first)
    gaps = [after - before for before, after in itertools.pairwise(first)]
    assert sum(gap > 0.01 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.03)  # 1/e, of an exponential distribution


@pytest.mark.parametrize(
    ("text", "steps", "means"),
    [("50", 6, [50]), ("10, 50,100", 6, [10, 50, 100]), ("10..160", 5, [10, 20, 40, 80, 160]), ("0.5..500", 3, [0.5, 15.8, 500])],
)
def test_rates(text, steps, means):
    """One, several, or a range in steps of the same factor."""
    assert schedule.rates(text, steps) == means


@pytest.mark.parametrize("text", ["", "0", "-1", "fast", "1,", "500..10", "10..10", "nan", "inf", "1..2..3", "1e9", "1.2.3..4"])
def test_no_rate(text):
    """What is none is said to be none, with what to write."""
    with pytest.raises(ConfigError, match=r"write --rate"):
        schedule.rates(text, 6)


def test_a_plan_is_all_that_was_listed():
    """For each number of workers and rows all the rates; a ramp joins where its parts meet."""
    plan = schedule.plan("10,20", 3, workers=schedule.counts("1,4", "--workers"), rows=schedule.counts(None, "--rows"))
    assert [(step.workers, step.rate, step.rows) for step in plan] == [(1, 10, None), (1, 20, None), (4, 10, None), (4, 20, None)]
    ramp = schedule.plan("10..40", 3, steps=3, ramp=True)
    assert [(step.low, step.high) for step in ramp] == [(10, 20), (20, 30), (30, 40)]
    for refused in (lambda: schedule.plan("10", 3, ramp=True), lambda: schedule.plan("1..2", 3, steps=1)):
        with pytest.raises(ConfigError):
            refused()
    for text in ("0", "a", "1,", "-1", "1.5"):
        with pytest.raises(ConfigError, match="whole numbers"):
            schedule.counts(text, "--rows")
