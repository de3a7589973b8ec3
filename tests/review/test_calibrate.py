"""Thresholds with a guarantee: what they promise holds by simulation, where the naive one breaks, and stale ones are refused."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from fractions import Fraction
from math import comb

import pytest

from guardrail import (
    Confidence,
    ConfigError,
    Deferred,
    NoThreshold,
    Outcome,
    Threshold,
    batch,
    calibrate,
    confident,
    decide,
    guard_of,
    guarded,
    with_options,
)
from guardrail.review.calibrate import binomial_cdf, interval
from guardrail.testing import fake_clock
from guardrail.thresholds.threshold import Point


def world(many: int, seed: int, harder: float = 1.0) -> tuple[list[float], list[bool]]:
    """A model that is wrong the more often, the less sure it is: with sureness c it is wrong with probability 0.4 (1 - c)."""
    chance = random.Random(seed)
    sure = [chance.random() for _ in range(many)]
    return sure, [chance.random() >= min(1.0, harder * 0.4 * (1 - each)) for each in sure]


def true_risk(at_least: float) -> float:
    """The share of errors of that model among answers that reach a threshold."""
    return 0.4 * (1 - at_least) / 2


@pytest.mark.parametrize(
    ("errors", "cases", "share"), [(0, 10, 0.02), (3, 40, 0.05), (7, 60, 0.1), (59, 60, 0.9), (30, 60, 0.5), (5, 5, 0.3)]
)
def test_the_binomial_distribution_is_exact(errors, cases, share):
    """Beside the sum of its terms in rational numbers."""
    p = Fraction(share)
    exact = sum(comb(cases, k) * p**k * (1 - p) ** (cases - k) for k in range(errors + 1))
    assert binomial_cdf(errors, cases, share) == pytest.approx(float(exact), rel=1e-10)


def test_intervals_are_those_of_clopper_and_pearson():
    """At their ends the tails are 2.5 % each; with no errors and with nothing but errors they are one-sided."""
    low, high = interval(3, 100)
    assert 1 - binomial_cdf(2, 100, low) == pytest.approx(0.025, rel=1e-6)
    assert binomial_cdf(3, 100, high) == pytest.approx(0.025, rel=1e-6)
    assert interval(0, 50) == (0.0, pytest.approx(1 - 0.025 ** (1 / 50)))
    assert interval(50, 50)[1] == 1.0


def test_the_guarantee_holds_and_the_naive_threshold_breaks_it():
    """Over many draws of labels the true risk is above the promise in at most delta of them; the lowest threshold that looks
    good enough on the same labels breaks the promise about every other time.
    """
    broken = naive = none = 0
    draws = 120
    for seed in range(draws):
        sure, right = world(600, seed)
        found = calibrate(sure, right, max_error=0.08, delta=0.1)
        if isinstance(found, Threshold):
            broken += true_risk(found.at_least) > 0.08
        else:
            none += 1
        ranked = sorted(zip(sure, right, strict=True), reverse=True)
        errors, looks_good = 0, 1.0
        for place, (each, good) in enumerate(ranked, 1):
            errors += not good
            if errors / place <= 0.08:
                looks_good = each
        naive += true_risk(looks_good) > 0.08
    assert broken / draws <= 0.1
    assert naive / draws >= 0.3
    assert none / draws <= 0.5


def test_a_threshold_says_what_it_is_worth():
    """Coverage with its interval, the curve, reviews a day, and reviewers."""
    sure, right = world(4_000, 1)
    found = calibrate(sure, right, max_error=0.1, delta=0.05, version="2")
    assert isinstance(found, Threshold)
    reached = sum(each >= found.at_least for each in sure)
    assert found.coverage == reached / 4_000
    low, high = found.coverage_interval
    assert low < found.coverage < high
    assert (found.labels, found.version, found.max_error, found.delta) == (4_000, "2", 0.1, 0.05)
    certified = [point for point in found.points if point.certified]
    assert certified[-1].at_least == found.at_least
    assert [point.at_least for point in found.points] == sorted((point.at_least for point in found.points), reverse=True)
    assert found.points[-1].coverage == 1.0
    expected, fewest, most = found.reviews_a_day(1_000)
    assert fewest < expected < most
    assert expected == pytest.approx(1_000 * (1 - found.coverage))
    assert found.reviewers_needed(1_000, 50) == pytest.approx(expected / 50)
    frame = found.curve()
    assert list(frame.columns) == [*Point._fields, "risk", "risk_low", "risk_high"]
    assert ((frame.risk_low <= frame.risk) & (frame.risk <= frame.risk_high)).all()
    assert len(frame) == len(found.points)


def test_too_few_labels_say_how_many_are_missing():
    """And there is no threshold that would pretend."""
    few = calibrate(*world(30, 1), max_error=0.02)
    assert isinstance(few, NoThreshold)
    assert (few.labels, few.labels_needed > 30) == (30, True)
    hopeless = calibrate([0.9] * 1_000, [True, False] * 500)
    assert isinstance(hopeless, NoThreshold)
    assert hopeless.labels_needed == 0
    assert "too many answers are wrong" in hopeless.reason
    some = calibrate(*world(400, 2), max_error=0.03)
    assert isinstance(some, NoThreshold)
    assert 400 < some.labels_needed < 100_000
    enough = [calibrate(*world(2 * some.labels_needed, seed), max_error=0.03) for seed in range(5)]
    assert any(isinstance(each, Threshold) for each in enough)


def test_groups_each_have_the_promise():
    """The common threshold is strict enough for the worst group; each has one of its own."""
    easy, hard = world(3_000, 3), world(3_000, 4, harder=2.0)
    sure, right = easy[0] + hard[0], easy[1] + hard[1]
    names = ["easy"] * 3_000 + ["hard"] * 3_000
    alone = calibrate(sure, right, max_error=0.1, delta=0.1)
    found = calibrate(sure, right, max_error=0.1, delta=0.1, groups=names)
    assert isinstance(alone, Threshold)
    assert isinstance(found, Threshold)
    assert set(found.groups) == {"easy", "hard"}
    assert found.groups["easy"].at_least < found.groups["hard"].at_least
    assert found.at_least > alone.at_least
    assert 2 * true_risk(found.at_least) <= 0.1
    assert found.groups["hard"].delta == 0.05


def test_a_guard_takes_a_threshold(home):
    """In every way in which it takes a number; what reaches it passes, what does not is deferred."""
    found = calibrate(*world(4_000, 1), max_error=0.1)
    for make in (guarded(confidence=found), guarded(confidence=Confidence(found, of=lambda pair: pair[1])), confident(found)):
        predict = make(lambda sure: ("yes", sure))
        assert predict(found.at_least) == ("yes", found.at_least)
        with pytest.raises(Deferred):
            predict(math.nextafter(found.at_least, 0))
    assert decide(predict, 0.99).threshold == found.at_least


def test_without_a_threshold_everything_is_deferred(home):
    """Also what is as sure as can be, and the reason says why."""
    predict = guarded(confidence=calibrate(*world(30, 1)))(lambda sure: ("yes", sure))
    decision = decide(predict, 1.0)
    assert decision.outcome is Outcome.deferred
    assert "no threshold is certified" in decision.reasons
    table = guarded(confidence=NoThreshold(1, 2, "few"), batch=True)(lambda rows: [("yes", 1.0) for _ in rows])
    assert [each.outcome for each in decide(table, [1, 2]).error.batch] == [Outcome.deferred] * 2


def test_a_stale_threshold_is_refused_and_ends_while_it_is_used(home):
    """Another version's, or an expired one, at decoration; and from its end on everything is deferred."""
    with fake_clock() as time:
        found = calibrate(*world(4_000, 1), max_error=0.1, version="1", expires="1d")
        with pytest.raises(ConfigError, match="another version"):
            guarded(confidence=found, version="2")(lambda sure: ("yes", sure))
        predict = guarded(confidence=found, version="1", name="p")(lambda sure: ("yes", sure))
        assert predict(0.99) == ("yes", 0.99)
        time.advance("2d")
        decision = decide(predict, 0.99)
        assert decision.outcome is Outcome.deferred
        assert "the threshold has expired" in decision.reasons
        with pytest.raises(ConfigError, match="has expired"):
            guarded(confidence=found)(lambda sure: ("yes", sure))


@pytest.mark.parametrize("table", [False, True])
def test_what_is_observed_says_what_the_gate_says(home, table):
    """Without a threshold, and with one that has expired while it was used: in the words of the deferral itself."""
    with fake_clock() as time:
        ends = calibrate(*world(4_000, 1), max_error=0.1, expires="1d")
        for given, why in ((NoThreshold(1, 2, "few"), "no threshold is certified"), (ends, "the threshold has expired")):
            run = (lambda rows: [("yes", 0.99) for _ in rows]) if table else (lambda sure: ("yes", sure))
            asked = [0.99] if table else 0.99
            seen = guarded(confidence=given, mode="observe", batch=table)(run)
            held = guarded(confidence=given, batch=table)(run)
            seen(asked)
            time.advance("2d" if given is ends else 0)
            deferred = decide(held, asked)
            assert (deferred.error.batch[0] if table else deferred).reasons == (why,)
            would = batch(seen, asked)[0].would if table else decide(seen, asked).would
            assert would == (f"confidence: {'low' if table else 'deferred'} ({why})",)


def test_an_expired_threshold_holds_back_what_is_kept_too(home):
    """What a cache has kept is judged like a fresh answer, alone and in tables."""
    with fake_clock() as time:
        ends = calibrate(*world(4_000, 1), max_error=0.1, expires="1d")
        one = guarded(confidence=ends, cache="9d")(lambda sure: ("yes", sure))
        table = guarded(confidence=ends, cache="9d", batch=True)(lambda rows: [("yes", row) for row in rows])
        assert [decide(one, 0.99).outcome for _ in range(2)] == ["answered", "cached"]
        assert [table([0.99]) for _ in range(2)] == [[("yes", 0.99)]] * 2
        time.advance("2d")
        assert decide(one, 0.99).outcome is Outcome.deferred
        assert [each.outcome for each in decide(table, [0.99]).error.batch] == [Outcome.deferred]


def test_a_threshold_cannot_be_weakened_by_options(home):
    """As a number cannot."""
    predict = guarded(confidence=NoThreshold(1, 2, "few"))(lambda sure: ("yes", sure))
    with pytest.raises(ConfigError, match="cannot weaken"):
        with_options(predict, confidence=0.5)
    assert "confidence" in guard_of(predict).policies()


def test_a_threshold_is_deployed_as_json():
    """Whole, with its groups, and compared by value."""
    sure, right = world(3_000, 1)
    found = calibrate(sure, right, max_error=0.1, groups=["a", "b"] * 1_500)
    assert Threshold.from_json(found.to_json()) == found
    assert found.expires.tzinfo is UTC
    with pytest.raises(ConfigError, match="no threshold"):
        Threshold.from_json('{"at_least": 0.5}')
    assert calibrate(sure, right, max_error=0.1, expires=None).expires is None
    assert isinstance(datetime.now(UTC), datetime)


def test_arrays_and_series_are_taken_as_lists_are():
    """numpy's and pandas' own, and NaN as never sure."""
    np, pd = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    sure, right = world(2_000, 1)
    plain = calibrate(sure, right, max_error=0.1, expires=None)
    assert calibrate(np.array(sure), np.array(right), max_error=0.1, expires=None) == plain
    assert calibrate(pd.Series(sure), pd.Series(right), max_error=0.1, expires=None) == plain
    holes = calibrate([*sure, math.nan], [*right, True], max_error=0.1, expires=None)
    assert holes.coverage < plain.coverage


@pytest.mark.parametrize(
    ("confidence", "correct", "more", "said"),
    [
        ([0.5], [True, False], {}, "different lengths"),
        ([], [], {}, "no labelled cases"),
        ([1.5], [True], {}, "outside"),
        ([0.5], ["yes"], {}, "booleans"),
        (["0.5"], [True], {}, "numbers"),
        (0.5, [True], {}, "sequence"),
        ([[0.5]], [True], {}, "one dimension"),
        ([0.5], [True], {"max_error": 0}, "max_error"),
        ([0.5], [True], {"delta": 1.0}, "delta"),
        ([0.5], [True], {"groups": []}, "different lengths"),
        ([0.5], [True], {"version": ""}, "version"),
    ],
)
def test_what_is_wrong_is_named(confidence, correct, more, said):
    """And what to write instead."""
    with pytest.raises(ConfigError, match=said):
        calibrate(confidence, correct, **more)
