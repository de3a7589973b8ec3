"""The open loop: what is due is due, whatever became of the calls before."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from guardrail import LimitExceeded, batch, guarded, stage
from guardrail.errors import ConfigError
from guardrail.load.findings import curves
from guardrail.load.runner import Runner
from guardrail.load.schedule import Step, even
from guardrail.load.tally import ELSEWHERE, WAITING
from guardrail.load.targets import Plain, target_of
from guardrail.samples import Sample


def load(fn, *steps, item=lambda _: Sample((), {}), in_flight=1000, drain=5.0, budget=None, tables=False, warm_up=0):
    runner = Runner(target_of(fn, "f", tables=tables), item, gaps=even, in_flight=in_flight, drain=drain, budget=budget)
    return runner.run(list(steps), warm_up=warm_up)


def stalls_once(seconds):
    turns = iter([0, 0, 0, 0, 0, seconds])

    def f():
        time.sleep(next(turns, 0))

    return f


def test_one_stall_is_seen_by_all_that_were_due_meanwhile():
    """From the moment each call was due; from its start, as in a closed loop, it would be one slow call among a hundred."""
    (tally,) = load(stalls_once(0.3), Step(200, 200, 0.5, workers=1))
    assert (tally.offered, tally.ended, tally.not_sent) == (100, 100, 0)
    assert tally.latency.quantile(0.9) > 10 * tally.service.quantile(0.9)
    assert tally.latency.quantile(0.75) > 0.2 * tally.service.largest
    assert tally.service.quantile(0.98) < 0.5 * tally.service.largest
    assert tally.stages[WAITING].all.sum > 10 * tally.stages[ELSEWHERE].all.quantile(0.9)


def test_what_nobody_can_begin_with_is_counted():
    """One runs, two wait, and the others are not sent; what is still running at the end counts with its latency so far."""
    end = threading.Event()
    try:
        (tally,) = load(lambda: end.wait(20), Step(100, 100, 0.2, workers=1), in_flight=3, drain=0.1, budget=0.05)
    finally:
        end.set()
    assert tally.offered == 20
    assert (tally.ended, tally.unfinished, tally.not_sent) == (0, 1, 19)
    assert tally.latency.count == 1
    assert tally.breaks
    assert tally.pending == 0
    assert curves([tally])[0].knee is tally


@pytest.mark.parametrize("workers", [None, 2])
def test_tasks_in_a_loop(workers):
    """An async function is asked in one loop, by as many at a time as allowed; every arrival has an end."""
    running, most = 0, 0

    @guarded
    async def f(x: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return x

    (tally,) = load(f, Step(300, 300, 0.2, workers=workers), item=lambda _: Sample((), {"x": 1}), warm_up=1)
    assert tally.offered == tally.ended == tally.outcomes["answered"] == 60
    assert (most <= 2) if workers else (most > 2)


def test_a_loop_that_hangs_is_left():
    """Tasks that never began were not sent; those that run are cancelled, and count as not back yet."""

    async def f():
        await asyncio.sleep(60)

    (tally,) = load(f, Step(100, 100, 0.1, workers=1), in_flight=4, drain=0.05)
    assert (tally.offered, tally.ended, tally.unfinished, tally.not_sent) == (10, 0, 1, 9)


def test_outcomes_are_those_of_decide():
    """Answered, cached, deferred, refused, late, failed: each counted, none raised, with the type of the error."""

    @guarded(cache="1m", budget="50ms", confidence=0.5, review="loans")
    def f(how: str) -> tuple[str, float]:
        if how == "fails":
            raise KeyError(how)
        if how == "hangs":
            time.sleep(0.3)
        if how == "full":
            raise LimitExceeded("full")
        return how, 0.1 if how == "unsure" else 0.9

    hows = iter(["fine", "fine", "fails", "hangs", "full", "unsure", "fine", "none"] * 2)
    (tally,) = load(f, Step(8, 8, 1, workers=1), item=lambda _: Sample((), {"how": next(hows)}))
    assert tally.outcomes == {"answered": 2, "cached": 2, "failed": 1, "late": 1, "refused": 1, "deferred": 1}
    assert tally.errors == {"KeyError": 1, "BudgetExceeded": 1, "LimitExceeded": 1, "Deferred": 1}
    assert tally.served_share == 5 / 8


def test_arguments_that_do_not_fit_are_failed_calls():
    """Python's own TypeError is no end of the load."""

    @guarded
    def f(x: int) -> int:
        return x

    (tally,) = load(f, Step(20, 20, 0.1), item=lambda _: Sample((), {"y": 1}))
    assert tally.outcomes == {"failed": 2}
    assert tally.errors == {"TypeError": 2}


def test_rows_by_the_table():
    """A call has many rows; outcomes are the rows', latencies the calls', and a stage of the call counts once."""

    @guarded(batch=True)
    def f(rows: list[int]) -> list[int]:
        with stage("model"):
            time.sleep(0.01)
        return [row * 2 for row in rows]

    assert list(batch(f, [1]).values) == [2]
    one, ten = load(f, Step(20, 20, 0.2, rows=1), Step(20, 20, 0.2, rows=10), item=lambda step: [1] * step.rows, tables=True)
    assert (one.outcomes["answered"], ten.outcomes["answered"]) == (4, 40)
    assert one.ended == ten.ended == 4
    assert [(curve.rows, len(curve.steps)) for curve in curves([one, ten])] == [(1, 1), (10, 1)]


def test_wrong_use_ends_the_load():
    """It would be the same for every call."""

    @guarded(confidence=0.5, review="q")
    def f() -> str:
        return "no confidence here"

    with pytest.raises(ConfigError, match="of="):
        load(f, Step(20, 20, 5))


def test_functions_that_cannot_be_asked():
    """Generators have no one answer; several rows need a guard that takes a table; no guard is said to be none."""

    def generator():
        yield 1

    @guarded
    def stream():
        yield 1

    @guarded
    def one(x):
        return x

    for fn, tables in ((generator, False), (stream, False), (one, True), (len, True), (3, False)):
        with pytest.raises(ConfigError):
            target_of(fn, "f", tables=tables)
    plain = target_of(len, "len", tables=False)
    assert isinstance(plain, Plain)
    assert "not guarded" in plain.notes[0]


def test_ctrl_c_ends_the_step_and_keeps_its_figures():
    """What was measured by then is returned; the steps after it are not begun."""
    seen = []

    def watch(tally):
        seen.append(tally)
        if tally.offered >= 5:
            raise KeyboardInterrupt

    runner = Runner(target_of(lambda: None, "f", tables=False), lambda _: Sample((), {}), gaps=even, in_flight=9, drain=1)

    def once(tally):
        if not runner.stopped.is_set():
            watch(tally)

    (tally,) = runner.run([Step(50, 50, 60), Step(50, 50, 60)], once)
    assert tally.interrupted
    assert 5 <= tally.offered == tally.ended < 1000
    assert tally.offered_rate == pytest.approx(50, rel=0.5)
