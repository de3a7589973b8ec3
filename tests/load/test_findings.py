"""Where the budget breaks, and who is to blame."""

from __future__ import annotations

import threading
import time

import pytest

from guardrail import guarded, stage
from guardrail.errors import ConfigError
from guardrail.load import findings, words
from guardrail.load.findings import Condition, curves
from guardrail.load.runner import Runner
from guardrail.load.schedule import Step, even
from guardrail.load.tally import ELSEWHERE, WAITING, Ended, Tally
from guardrail.load.targets import target_of
from guardrail.samples import Sample
from guardrail.testing import fake_clock


def tally_of(rate, calls, *, budget=0.1, lost=0, seconds=1.0):
    """A step whose calls took so long in each stage, each due when it was begun with."""
    with fake_clock() as time_:
        made = Tally(Step(rate, rate, seconds), budget)
        for stages in calls:
            due = time_.now()
            made.due(0.0)
            time_.advance(stages.get(WAITING, 0.0))
            key = made.start(due)
            told = {name: spent for name, spent in stages.items() if name not in (WAITING, ELSEWHERE)}
            time_.advance(sum(stages.values()) - stages.get(WAITING, 0.0))
            made.end(key, Ended({"answered": 1}, told))
        for _ in range(lost):
            made.due(0.0)
            made.lose()
        made.close()
    return made


def test_the_stage_whose_share_grew_most_is_to_blame():
    """Not the one with most of the time at every rate."""
    quick = tally_of(10, [{"model": 0.06, "bureau": 0.01}] * 20)
    slow = tally_of(20, [{"model": 0.06, "bureau": 0.2}] * 20)
    (curve,) = curves([slow, quick])
    assert [step.step.rate for step in curve.steps] == [10, 20]
    assert curve.kept is quick
    assert curve.broken.step is slow
    assert curve.broken.stage == "bureau"
    assert curve.broken.before == pytest.approx(1 / 7, rel=0.01)
    assert curve.broken.share == pytest.approx(20 / 26, rel=0.01)
    assert curve.broken.work is None


def test_behind_waiting_stands_what_the_work_is():
    """Where calls wait for a worker, the workers' own time says why."""
    quick = tally_of(10, [{"model": 0.01, "bureau": 0.03}] * 20)
    slow = tally_of(20, [{WAITING: 0.5, "model": 0.01, "bureau": 0.04}] * 20)
    (curve,) = curves([quick, slow])
    assert (curve.broken.stage, curve.broken.work[0]) == (WAITING, "bureau")
    assert curve.broken.work[1] == pytest.approx(0.8, rel=0.01)
    said = " ".join(words.sentences(curve, 0.1))
    assert "breaks at 20/s" in said
    assert "To blame: waiting to be started" in said
    assert "busy with stage bureau: 80 %" in said


def test_only_slow_calls_are_to_blame():
    """One in ten is slow, by another stage than the usual."""
    quick = tally_of(10, [{"model": 0.05}] * 50)
    slow = tally_of(20, [{"model": 0.05}] * 45 + [{"model": 0.05, "disk": 0.4}] * 5)
    assert curves([quick, slow])[0].broken.stage == "disk"


def test_what_was_not_sent_breaks_the_budget():
    """However quick the calls were that could be."""
    kept = tally_of(100, [{"model": 0.01}] * 99, lost=1)
    broken = tally_of(100, [{"model": 0.01}] * 90, lost=10)
    assert not kept.breaks
    assert broken.breaks
    assert "10 % of what was due could not be sent" in " ".join(words.sentences(curves([broken])[0], 0.1))


def test_a_real_function_with_a_slow_stage():
    """One after another gets at the bureau: it is named, though calls spend their time waiting."""
    one = threading.Lock()

    @guarded(budget="60ms")
    def f() -> str:
        with stage("features"):
            time.sleep(0.001)
        with stage("bureau"), one:
            time.sleep(0.01)
        return "x"

    runner = Runner(target_of(f, "f", tables=False), lambda _: Sample((), {}), gaps=even, in_flight=1000, drain=10)
    tallies = runner.run([Step(15, 15, 0.6, workers=8), Step(300, 300, 0.4, workers=8)], warm_up=2)
    assert tallies[1].breaks
    blamed = findings._broken(tallies[1], tallies[:1])
    assert blamed.stage == "bureau" or blamed.work[0] == "bureau"
    assert curves(tallies)[0].knee is not None


@pytest.mark.parametrize(
    ("text", "exceeded"),
    [
        ("p99>250ms", True), ("p99>3s", False), ("p50 > 250ms", False), ("max>=2s", False), ("mean>1ms", True),
        ("failed>1%", False), ("not_sent>0", True), ("not_sent>10%", False), ("unfinished>0", False), ("p99>250ms@5", False),
        ("p99>250ms@10", True), ("answered>=99", True), ("answered>99", False),
    ],
)  # fmt: skip
def test_conditions(text, exceeded):
    """A time, a count, a share; at rates up to a bound."""
    tally = tally_of(10, [{"model": 0.01}] * 97 + [{"model": 0.4}] * 2, lost=1)
    assert (Condition(text).broken_by([tally]) is tally) is exceeded


@pytest.mark.parametrize("text", ["", "p99", "p99<1s", "p98>1s", "p99>fast", "failed>x%", "speed>1", "p99>1s@", "p99>1s@1.2.3"])
def test_no_condition(text):
    """What is none is refused, with examples."""
    with pytest.raises(ConfigError):
        Condition(text)


def test_no_answer_exceeds_every_time():
    """Where nothing came back there is no p99 to be within a bound."""
    assert Condition("p99>1h").broken_by([tally_of(10, [], lost=5)]) is not None


def test_doubts_are_said():
    """Too few calls, and a generator that was late itself."""
    tally = tally_of(10, [{"model": 0.01}] * 3)
    tally.lag.add(0.5)
    assert len(findings.doubts([tally])) == 2
