"""`enforce="report"`: the caller's own thread, and a report while a call is late."""

import asyncio
import gc
import logging
import os
import threading
import time
import weakref
from types import SimpleNamespace

import pytest

from guardrail import clock, notices
from guardrail.call import Call
from guardrail.drivers import watchdog
from guardrail.errors import BudgetExceeded
from guardrail.ledger import writer
from guardrail.policies.budget import Budget

LONG = 30.0  # seconds: more than any test waits
RETURN = Budget(1, enforce="report")
RAISE = Budget(1, enforce="report", on_late="raise")


def a_call(*args, within=LONG, name="loans", budget=RETURN, **kwargs):
    call = Call(SimpleNamespace(name=name, budget=budget), args, kwargs, None, clock.now())
    call.until = None if within is None else clock.now() + within
    return call


def until(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def reported(call):
    return [report for report in list(watchdog.reports) if report.decision_id == call.id]


@pytest.fixture
def events(monkeypatch):
    """The ledger's events, caught before the writer."""
    seen = []
    monkeypatch.setattr(writer, "event", lambda kind, **fields: seen.append((kind, fields)))
    return seen


@pytest.fixture
def still(monkeypatch, events):
    """A watchdog that looks only when the test says so, at a time that the test sets."""
    monkeypatch.setattr(watchdog, "parked", False)
    monkeypatch.setattr(watchdog, "running", {})
    monkeypatch.setattr(watchdog, "_seen", {})
    monkeypatch.setattr(watchdog, "_logged", {})
    notices.reset()
    watchdog.reports.clear()
    moment = [1000.0]
    monkeypatch.setattr(clock, "now", lambda: moment[0])
    return moment


# ── around the function ───────────────────────────────────────────────────────────────────────────────────────────────
def test_the_function_runs_in_the_callers_thread():
    """On the call's arguments; what it returns comes back, and nothing stays watched."""
    call = a_call(1, key=2)
    assert watchdog.perform(call, lambda *args, **kwargs: (args, kwargs, threading.get_ident())) == (
        (1,),
        {"key": 2},
        threading.get_ident(),
    )
    assert call not in watchdog.running
    assert not call.late


@pytest.mark.parametrize("budget", [RETURN, RAISE])
def test_permits_come_back_when_the_work_ends(budget):
    """Whether it returns, raises, or is late."""
    for work in (lambda: 1, lambda: 1 / 0, lambda: time.sleep(0.01)):
        back = []
        call = a_call(within=0.005, budget=budget)
        call.held = (lambda back=back: back.append(1),)
        try:
            watchdog.perform(call, work)
        except (ZeroDivisionError, BudgetExceeded):
            pass
        assert (back, call.held) == ([1], ())


def test_a_late_answer_returns_marked(still):
    """The default of enforce="report"."""
    call = a_call(within=1.0)

    def works():
        still[0] += 2
        return "late answer"

    assert watchdog.perform(call, works) == "late answer"
    assert call.late


def test_a_late_answer_is_dropped_where_asked(still):
    """`on_late="raise"`: the caller never gets it."""
    call = a_call(within=1.0, budget=RAISE)

    def works():
        still[0] += 2

    with pytest.raises(BudgetExceeded, match="loans.*within the time of 1s.*dropped"):
        watchdog.perform(call, works)
    assert call.late


def test_the_functions_own_exception_passes_even_when_it_is_late(still):
    """It says more than that it was late, and the call is marked all the same."""
    call = a_call(within=1.0, budget=RAISE)

    def fails():
        still[0] += 2
        raise KeyError

    with pytest.raises(KeyError):
        watchdog.perform(call, fails)
    assert call.late


def test_a_call_without_an_end_is_never_late(still):
    """Nor reported."""
    call = a_call(within=None)

    def works():
        still[0] += 1e6
        watchdog.look()
        return 1

    assert watchdog.perform(call, works) == 1
    assert not call.late
    assert not watchdog.reports


@pytest.mark.parametrize("budget", [RETURN, RAISE])
def test_async_functions_are_judged_alike(still, budget):
    """`aperform` marks, raises and gives back as `perform` does."""
    back = []
    call = a_call(within=1.0, budget=budget)
    call.held = (lambda: back.append(1),)

    async def works():
        still[0] += 2
        return "late answer"

    if budget is RAISE:
        with pytest.raises(BudgetExceeded):
            asyncio.run(watchdog.aperform(call, works))
    else:
        assert asyncio.run(watchdog.aperform(call, works)) == "late answer"
    assert (back, call.late, call in watchdog.running) == ([1], True, False)


# ── reports ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_overrun_is_reported_once_while_it_happens(still, events):
    """With guard, decision, lateness and the places on the stack, as a report and as an incident in the ledger."""
    call = a_call(within=1.0, name="slow")

    def overruns():
        still[0] += 1.25
        watchdog.look()
        watchdog.look()
        return list(watchdog.reports)

    (report,) = watchdog.perform(call, overruns)
    assert (report.guard, report.decision_id, report.late) == ("slow", call.id, pytest.approx(0.25))
    assert report.stack[-1].endswith(" test_an_overrun_is_reported_once_while_it_happens.<locals>.overruns")
    assert report.stack[-1].startswith(f"{__file__}:")
    assert not any("watchdog.py" in place for place in report.stack if "test_watchdog" not in place)
    ((kind, event),) = events
    assert (kind, event["guard"]) == ("incident", "slow")
    assert event["fields"] == {
        "what": "overrun", "decision": call.id, "late_ms": pytest.approx(250.0), "stack": list(report.stack),
    }  # fmt: skip


def test_the_ledger_takes_the_incident():
    """The writer accepts the event under its own rules."""
    watchdog._report(a_call(), 0.5, ("model.py:3 predict",))  # noqa: SLF001
    assert writer.flush(5)


def test_a_call_in_time_is_not_reported(still):
    """Up to one look after its end, which the scan cannot tell apart."""

    def works():
        watchdog.look()
        still[0] += 1 + watchdog.PERIOD / 2
        watchdog.look()

    watchdog.perform(a_call(within=1.0), works)
    assert not watchdog.reports


def test_each_attempt_of_a_call_may_be_reported(still):
    """A retry is another chance to hang."""
    call = a_call()
    for _ in range(2):
        call.until = still[0] + 1

        def overruns():
            still[0] += 2
            watchdog.look()

        watchdog.perform(call, overruns)
    assert len(watchdog.reports) == 2


def test_the_log_says_it_once_and_then_now_and_then(still, caplog):
    """A guard's first overrun is logged at once, later ones every ten seconds at the most, with how many were left out."""

    def overruns():
        still[0] += 2
        watchdog.look()

    with caplog.at_level(logging.WARNING, "guardrail"):
        for _ in range(4):
            watchdog.perform(a_call(within=1.0, name="slow"), overruns)
        assert len(caplog.records) == 1
        assert "slow" in caplog.text
        assert "still running 1s after" in caplog.text
        still[0] += watchdog.QUIET
        watchdog.perform(a_call(within=1.0, name="slow"), overruns)
    assert len(caplog.records) == 2
    assert "3 more overruns" in caplog.records[1].getMessage()
    assert len(watchdog.reports) == 5
    assert notices.counts()["slow", "overrun"][0] == 5


def test_reports_show_places_and_never_values(still, events, caplog):
    """A secret argument is in the frames, and in nothing that we write."""

    def overruns(secret):
        still[0] += 2
        watchdog.look()
        return secret

    with caplog.at_level(logging.WARNING, "guardrail"):
        watchdog.perform(a_call("hunter2", within=1.0), overruns)
    assert "hunter2" not in f"{watchdog.reports} {events} {caplog.text} {notices.counts()}"


def test_what_ended_leaves_nothing_behind(still):
    """The watchdog keeps no call, and so none of the user's objects, alive."""
    call = a_call(within=1.0)

    def overruns():
        still[0] += 2
        watchdog.look()

    watchdog.perform(call, overruns)
    dead = weakref.ref(call)
    del call
    watchdog.look()
    gc.collect()
    assert dead() is None


# ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_thread_reports_a_function_that_hangs():
    """Found by itself, while the function is still running."""
    call = a_call(within=0.02)
    watchdog.perform(call, lambda: until(lambda: reported(call)))
    (report,) = reported(call)
    assert report.late > 0


def test_the_thread_reports_a_blocked_event_loop():
    """A sync block inside `async def` cannot be cancelled; its place is named."""
    call = a_call(within=0.02)

    async def blocks():
        until(lambda: reported(call))

    asyncio.run(watchdog.aperform(call, blocks))
    assert any("blocks" in place for place in reported(call)[0].stack)


def test_a_task_that_is_cancelled_in_time_is_not_reported():
    """The async driver's own pieces: watch, unwatch."""
    call = a_call(within=0.05)

    async def main():
        watchdog.watch(call)
        try:
            async with asyncio.timeout(0.05):
                await asyncio.sleep(LONG)
        except TimeoutError:
            pass
        finally:
            watchdog.unwatch(call)

    asyncio.run(main())
    time.sleep(3 * watchdog.PERIOD)
    assert not reported(call)


def test_the_thread_parks_when_nothing_runs_and_wakes_for_the_next_call(monkeypatch):
    """An idle process is not woken a hundred times a second."""
    monkeypatch.setattr(watchdog, "IDLE_ROUNDS", 3)
    watchdog.perform(a_call(), int)
    until(lambda: watchdog.parked)
    call = a_call(within=0.02)
    watchdog.perform(call, lambda: until(lambda: reported(call)))
    assert len([thread for thread in threading.enumerate() if thread.name == "guardrail-watchdog"]) == 1


def test_the_thread_survives_a_ledger_that_fails(monkeypatch):
    """It counts the failure and goes on watching."""
    notices.reset()

    def fails(*_args, **_fields):
        raise OSError

    monkeypatch.setattr(writer, "event", fails)
    for _ in range(2):
        call = a_call(within=0.02)
        watchdog.perform(call, lambda call=call: until(lambda: reported(call)))
    until(lambda: (None, "watchdog") in notices.counts())


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_a_watchdog_of_its_own():
    """The thread is not inherited; the forking call goes on, and new ones are watched."""
    watchdog.perform(a_call(), int)

    def forks():
        pid = os.fork()
        if pid == 0:
            try:
                call = a_call(within=0.02)
                watchdog.perform(call, lambda: until(lambda: reported(call)))
                os._exit(0 if len(watchdog.running) == 1 else 3)
            finally:
                os._exit(2)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert watchdog.perform(a_call(), forks) == 0
