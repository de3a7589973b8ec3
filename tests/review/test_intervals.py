"""Intervals around numbers: their coverage holds by simulation, and the gate lets only narrow ones out."""

from __future__ import annotations

import math
import random

import pytest

from guardrail import Confidence, ConfigError, Deferred, Outcome, Prediction, decide, guarded, with_options
from guardrail.review import Interval, intervals
from guardrail.testing import fake_clock
from guardrail.thresholds.interval import Intervals

DRAWS = 300


def world(many: int, seed: int) -> tuple[list[float], list[float], list[float]]:
    """A model whose errors are the larger, the larger its prediction: predicted, actual, and how large it expects the error."""
    chance = random.Random(seed)
    said = [chance.uniform(1, 10) for _ in range(many)]
    return said, [each + chance.gauss(0, each) for each in said], said


def covered(made: Intervals, *, scaled: bool) -> float:
    """The probability, exact for this world, that a truth lies inside, over 200 predictions."""
    shares = []
    for at in range(200):
        said = 1 + 9 * (at + 0.5) / 200
        margin = made.margin * (said if scaled else 1.0)
        shares.append(math.erf(margin / said / math.sqrt(2)))
    return math.fsum(shares) / len(shares)


@pytest.mark.parametrize("scaled", [False, True])
def test_the_coverage_holds(scaled):
    """Over 300 draws of 99 labels a new truth lies inside in 90 % of cases on the average, and by little more: the promise is
    about the average over draws, which the tolerance (four standard errors) allows for. The margin that looks right on the
    labels alone, without the finite-sample correction, stays below it.
    """
    shares, naive = [], []
    for seed in range(DRAWS):
        said, true, size = world(19, seed)
        made = intervals(said, true, scale=size if scaled else None, alpha=0.1)
        shares.append(covered(made, scaled=scaled))
        errors = sorted(abs(t - s) / (z if scaled else 1) for s, t, z in zip(said, true, size, strict=True))
        naive.append(covered(Intervals(errors[math.ceil(19 * 0.9) - 2], 0.1, made.kind, 19), scaled=scaled))
    spread = math.sqrt(0.9 * 0.1 / 21 / DRAWS)  # of a mean of Beta(18, 2), which the coverage of 19 labels is
    mean = math.fsum(shares) / DRAWS
    assert 0.9 - 4 * spread <= mean <= 0.9 + 4 * spread
    assert math.fsum(naive) / DRAWS < 0.9 - 4 * spread


def test_quantiles_are_widened_until_they_hold():
    """Quantiles of a model that is too sure of itself; and narrowed where it is not sure enough."""
    said, true, size = world(999, 1)
    sure = [s - 0.1 * z for s, z in zip(said, size, strict=True)], [s + 0.1 * z for s, z in zip(said, size, strict=True)]
    unsure = [s - 90.0 for s in said], [s + 90.0 for s in said]
    for pair, sign in ((sure, 1), (unsure, -1)):
        made = intervals(pair, true, alpha=0.2)
        assert math.copysign(1, made.margin) == sign
        fresh, truth, _ = world(999, 2)
        ends = {id(sure): lambda s: (s - 0.1 * s, s + 0.1 * s), id(unsure): lambda s: (s - 90.0, s + 90.0)}[id(pair)]
        inside = [t in made.between(*ends(s)) for s, t in zip(fresh, truth, strict=True)]
        assert 0.76 <= sum(inside) / len(inside) <= 0.84  # three standard errors
    assert made.between(0.0, 10.0).value == 5.0


def test_the_margin_is_the_right_one_of_the_errors():
    """The ceil((n + 1)(1 - alpha))-th smallest; with one label too few there is none, and it says how many are needed."""
    errors = [float(each) for each in range(1, 20)]
    made = intervals([0.0] * 19, errors, alpha=0.05)
    assert (made.margin, made.kind, made.labels) == (19.0, "absolute", 19)
    assert intervals([0.0] * 19, errors, alpha=0.3).margin == 14.0
    few = intervals([0.0] * 18, errors[1:], alpha=0.05)
    assert few.margin == math.inf
    assert few.labels_needed == 19
    assert "19 labels are needed" in repr(few)
    assert few.around(3.0).width == math.inf


def test_narrow_intervals_go_out_and_wide_ones_to_people(home):
    """The width decides, not a confidence; the reason says how wide."""
    said, true, size = world(400, 1)
    made = intervals(said, true, scale=size, version="2")

    @guarded(confidence=Confidence(made, max_width=10.0), version="2")
    def price(size: float) -> Interval:
        return made.around(100.0, scale=size)

    assert price(1.0).value == 100.0
    assert price(1.0).width == pytest.approx(2 * made.margin)
    decision = decide(price, 9.0)
    assert decision.outcome is Outcome.deferred
    assert decision.reasons == (f"the interval is {18 * made.margin:,.6g} wide, more than 10",)
    assert decision.ticket.provisional["low"] == pytest.approx(100 - 9 * made.margin)
    assert (decision.confidence, decision.threshold) == (None, None)
    cached = with_options(price, cache="1h")
    assert [decide(cached, each).outcome for each in (1.0, 1.0, 9.0, 9.0)] == ["answered", "cached", "deferred", "deferred"]


@pytest.mark.parametrize(
    ("answer", "of", "passes"),
    [
        (Interval(1, 0, 5), None, True),
        ((0.0, 5.0), None, True),
        ((0.0, 5.1), None, False),
        ((5.0, 0.0), None, False),
        ((0.0, math.nan), None, False),
        ((-math.inf, math.inf), None, False),
        ({"low": 0, "high": 4, "value": 2}, None, True),
        (Prediction(Interval(1, 0, 6), 0.99), None, False),
        ({"price": 3, "interval": (1, 4)}, "interval", True),
        ({"price": 3, "spread": 6.0}, "spread", False),
        ((3.0, {"low": 0, "high": 9}), lambda answer: answer[1], False),
        (3.0, lambda answer: 5.0, True),
    ],
)
def test_widths_are_read_in_the_documented_ways(home, answer, of, passes):
    """And only a width of 0 to the most lets an answer out."""
    decision = decide(guarded(confidence=Confidence(max_width=5.0, of=of))(lambda: answer))
    assert decision.outcome is (Outcome.answered if passes else Outcome.deferred)


def test_rows_of_a_table_are_judged_by_width_too(home):
    """From a list of intervals, and from an array with both ends; in mode observe the verdict is the same."""
    np = pytest.importorskip("numpy")
    for make in (lambda rows: [(0.0, each) for each in rows], lambda rows: np.array([[0.0, each] for each in rows])):
        predict = guarded(confidence=Confidence(max_width=5.0), batch=True)(make)
        assert [each.outcome for each in decide(predict, [1.0, 9.0]).error.batch] == [Outcome.answered, Outcome.deferred]
    seen = guarded(confidence=Confidence(max_width=5.0), mode="observe")(lambda high: (0.0, high))
    assert decide(seen, 9.0).would == ("confidence: deferred (the interval is 9 wide, more than 5)",)
    assert decide(seen, 4.0).would == ()


def test_stale_intervals_are_refused_and_end_while_they_are_used(home):
    """Another version's or expired ones at decoration; from their end on every interval is without one, and all is deferred."""
    with fake_clock() as time:
        made = intervals(*world(100, 1)[:2], version="1", expires="1d")
        with pytest.raises(ConfigError, match="another version"):
            guarded(confidence=Confidence(made, max_width=99.0), version="2")(lambda: made.around(1.0))
        bound = guarded(confidence=Confidence(made, max_width=99.0), version="1", name="bound")(lambda: made.around(1.0))
        loose = guarded(confidence=Confidence(max_width=99.0), name="loose")(lambda: made.around(1.0))
        assert bound() == loose()
        time.advance("2d")
        assert decide(bound).reasons == ("the threshold has expired",)
        assert decide(loose).reasons == ("the interval has no end",)
        with pytest.raises(ConfigError, match="has expired"):
            Confidence(made, max_width=99.0)


def test_a_width_cannot_be_weakened_by_options(home):
    """Neither by a wider one nor by a confidence in its place; a narrower one is allowed."""
    predict = guarded(confidence=Confidence(max_width=5.0))(lambda high: (0.0, high))
    for weaker in (Confidence(max_width=6.0), 0.9, None):
        with pytest.raises(ConfigError, match="cannot weaken"):
            with_options(predict, confidence=weaker)
    with pytest.raises(Deferred):
        with_options(predict, confidence=Confidence(max_width=1.0))(4.0)


def test_intervals_are_deployed_as_json():
    """Whole, also those without an end."""
    for made in (intervals(*world(50, 1)[:2]), intervals([1.0], [2.0], expires=None)):
        assert Intervals.from_json(made.to_json()) == made
    with pytest.raises(ConfigError, match="no intervals"):
        Intervals.from_json('{"margin": 3}')


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: intervals([1.0], [1.0, 2.0]), "different lengths"),
        (lambda: intervals([], []), "no labelled cases"),
        (lambda: intervals([math.nan], [1.0]), "finite"),
        (lambda: intervals(["1"], [1.0]), "finite"),
        (lambda: intervals([1.0], [1.0], alpha=1), "alpha"),
        (lambda: intervals([1.0], [1.0], scale=[0.0]), "above 0"),
        (lambda: intervals(([1.0], [2.0]), [1.0], scale=[1.0]), "at once"),
        (lambda: intervals([1.0], [1.0], version=""), "version"),
        (lambda: intervals([1.0], [1.0]).around(1.0, scale=2.0), "a scale belongs"),
        (lambda: intervals([1.0], [1.0], scale=[1.0]).around(1.0), "a scale belongs"),
        (lambda: intervals([1.0], [1.0]).between(1.0, 2.0), "around"),
        (lambda: intervals(([1.0], [2.0]), [1.0]).around(1.0), "between"),
        (lambda: Confidence(intervals([1.0], [1.0])), "without a width"),
        (lambda: Confidence(0.8, max_width=2.0), "at once"),
        (lambda: Confidence(max_width=-1.0), "max_width"),
        (lambda: Confidence(max_width=math.nan), "max_width"),
    ],
)
def test_what_is_wrong_is_named(make, said):
    """And what to write instead."""
    with pytest.raises(ConfigError, match=said):
        make()


def test_an_answer_without_an_interval_says_so(home):
    """At the first call, by name of its type."""
    with pytest.raises(ConfigError, match="no interval can be read"):
        guarded(confidence=Confidence(max_width=5.0))(lambda: 3.0)()
