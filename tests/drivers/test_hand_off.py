"""`enforce="thread"`: who waits for whom, what travels between the threads, and what becomes of abandoned work."""

import asyncio
import contextvars
import gc
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from guardrail import clock
from guardrail.call import Call, current
from guardrail.drivers import hand_off
from guardrail.errors import BudgetExceeded, LimitExceeded
from guardrail.policies.budget import Budget

LONG = 30.0  # seconds: more than any test waits


def a_call(*args, within=LONG, name="loans", parent=None, budget=None, **kwargs):
    call = Call(SimpleNamespace(name=name, budget=budget or Budget(LONG)), args, kwargs, parent, clock.now())
    call.until = None if within is None else clock.now() + within
    return call


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("guardrail-worker")]


def until(condition: Callable[[], bool]):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class Hung:
    """A function that hangs until it is let go."""

    def __init__(self):
        self.go = threading.Event()
        self.ended = threading.Event()

    def __call__(self):
        self.go.wait(LONG)
        self.ended.set()
        return "late"


@pytest.fixture
def hung():
    function = Hung()
    yield function
    function.go.set()


def give_up(function, **options):
    with pytest.raises(BudgetExceeded):
        hand_off.perform(a_call(within=0.02, **options), function)


def in_thread(function):
    """Run something in a thread of its own, so that its worker ends with it."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(LONG)


# ── answers and exceptions ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("within", [LONG, None])
def test_the_caller_gets_what_the_function_returns(within):
    """Arguments go in, the result comes out, the same objects, with and without an end."""
    arg, kwarg = object(), object()
    call = a_call(arg, within=within, key=kwarg)
    assert hand_off.perform(call, lambda *args, **kwargs: (args, kwargs)) == ((arg,), {"key": kwarg})


def test_the_function_runs_on_a_worker_and_always_on_the_same_one():
    """So a connection that the function keeps per thread is found again."""

    def calls():
        return [hand_off.perform(a_call(), threading.get_ident) for _ in range(50)]

    first, *others = in_thread(calls)
    assert set(others) == {first}
    assert first != threading.get_ident()


def test_the_caller_gets_the_functions_own_exception_with_its_traceback():
    """The very object; its traceback shows the caller's frames, then the function's, and none of the worker's."""
    error = KeyError("mine")

    def fails():
        raise error

    def calls():
        hand_off.perform(a_call(), fails)

    with pytest.raises(KeyError) as caught:
        calls()
    assert caught.value is error
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names.index("calls") < names.index("fails") == len(names) - 1
    assert "_serve" not in names
    assert error.__context__ is None


def test_an_exception_keeps_what_it_was_raised_while_handling():
    """Also when the caller is handling something else at the time."""

    def fails():
        try:
            raise LookupError  # noqa: TRY301
        except LookupError:
            raise ValueError  # noqa: B904

    try:
        raise OSError  # noqa: TRY301
    except OSError:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            hand_off.perform(a_call(), fails)
    assert isinstance(caught.value.__context__, LookupError)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration, asyncio.CancelledError])
def test_every_kind_of_exception_passes(kind):
    """Those that are no Exception too, and the worker is as good as before."""

    def fails():
        raise kind

    def calls():
        with pytest.raises(kind):
            hand_off.perform(a_call(), fails)
        return hand_off.perform(a_call(), lambda: 1)

    assert in_thread(calls) == 1


@pytest.mark.parametrize("problem", ["sqlite", "signal", "loop", "running loop", "token"])
def test_an_error_of_thread_affinity_names_the_way_out(problem):
    """sqlite3, signal, event loops and tokens of the caller's context complain; the note tells of enforce="report"."""
    variable = contextvars.ContextVar[int]("variable")
    token = variable.set(1)
    connection = sqlite3.connect(":memory:")
    functions = {
        "sqlite": lambda: connection.execute("select 1"),
        "signal": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
        "loop": asyncio.get_event_loop,
        "running loop": asyncio.get_running_loop,
        "token": lambda: variable.reset(token),
    }
    with pytest.raises((sqlite3.ProgrammingError, ValueError, RuntimeError)) as caught:
        hand_off.perform(a_call(), functions[problem])
    assert 'enforce="report"' in caught.value.__notes__[0]
    connection.close()


@pytest.mark.parametrize("error", [ValueError("the number of threads must be positive"), KeyError("main thread")])
def test_other_errors_get_no_note(error):
    """A word alone is no sign, nor is the text without the kind of error."""

    def fails():
        raise error

    with pytest.raises(type(error)):
        hand_off.perform(a_call(), fails)
    assert not hasattr(error, "__notes__")


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_caller_is_back_in_time_from_a_function_that_sleeps(hung):
    """And the error says that the work was abandoned."""
    began = time.monotonic()
    with pytest.raises(BudgetExceeded, match="loans.*abandoned") as caught:
        hand_off.perform(a_call(within=0.2), hung)
    assert time.monotonic() - began < 1.0
    assert caught.value.policy == "budget"


def test_the_caller_is_back_in_time_from_a_function_that_computes():
    """Python code gives the interpreter lock up every few milliseconds."""
    stop = threading.Event()

    def computes():
        while not stop.is_set():
            pass

    began = time.monotonic()
    give_up(computes)
    took = time.monotonic() - began
    stop.set()
    assert took < 1.0


def test_nothing_is_started_without_time():
    """A call whose time is up already is refused before the function begins."""
    began = []
    call = a_call(within=0)
    call.until -= 1
    with pytest.raises(BudgetExceeded, match="before the function could start"):
        hand_off.perform(call, lambda: began.append(1))
    assert not began


def test_a_healthy_call_never_waits_behind_hung_ones():
    """Each abandoned worker is left behind, and the next call gets another."""
    functions = [Hung() for _ in range(6)]
    for function in functions:
        give_up(function)
    began = time.monotonic()
    assert hand_off.perform(a_call(), lambda: "healthy") == "healthy"
    assert time.monotonic() - began < 1.0
    for function in functions:
        function.go.set()


def test_a_result_that_comes_in_the_last_moment_is_delivered_or_abandoned_never_both():
    """Functions that end just when the time is up: each gives an answer or an error, and none stays counted."""
    outcomes = []
    for _ in range(100):
        call = a_call(within=0.002, budget=Budget(1, max_abandoned=1000))
        try:
            outcomes.append(hand_off.perform(call, lambda: time.sleep(0.0018) or "answer"))
        except BudgetExceeded:
            outcomes.append("late")
    assert set(outcomes) <= {"answer", "late"}
    until(lambda: hand_off.abandoned("loans") == 0)


# ── context variables ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_context_variables_travel_both_ways():
    """The function sees the caller's, and the caller sees what the function set, also where it raised."""
    given = contextvars.ContextVar("given", default="unset")
    taken = contextvars.ContextVar("taken", default="unset")
    given.set("by the caller")
    seen = []

    def works(fails):
        seen.append(given.get())
        taken.set(f"by the function, {fails}")
        if fails:
            raise ValueError

    hand_off.perform(a_call(False), works)
    assert taken.get() == "by the function, False"
    with pytest.raises(ValueError):  # noqa: PT011
        hand_off.perform(a_call(True), works)
    assert taken.get() == "by the function, True"
    assert seen == ["by the caller"] * 2


def test_context_is_compared_by_identity_alone():
    """A value whose == raises, as an array's truth does, may stand in a context variable."""

    class Touchy:
        def __eq__(self, other):
            raise TypeError

        __hash__ = object.__hash__

    variable = contextvars.ContextVar("touchy")
    first, second = Touchy(), Touchy()
    variable.set(first)
    hand_off.perform(a_call(), lambda: variable.set(second) and None)
    assert variable.get() is second


def test_abandoned_work_no_longer_changes_the_callers_context(hung):
    """What it sets after its caller has gone stays its own."""
    variable = contextvars.ContextVar("variable", default="before")

    def works():
        variable.set("after")
        hung()

    give_up(works)
    hung.go.set()
    until(lambda: hand_off.abandoned("loans") == 0)
    assert variable.get() == "before"


# ── abandoned work ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_too_much_abandoned_work_refuses_new_calls_of_its_guard_alone(hung):
    """At once and before any work; other guards and fallbacks go on, and so does this guard once the work has ended."""
    budget = Budget(1, max_abandoned=2)
    give_up(hung, name="hanging", budget=budget)
    give_up(hung, name="hanging", budget=budget)
    assert hand_off.abandoned("hanging") == 2
    began = []
    with pytest.raises(LimitExceeded, match="2 abandoned calls of hanging") as caught:
        hand_off.perform(a_call(name="hanging", budget=budget), lambda: began.append(1))
    assert (caught.value.policy, began) == ("budget", [])
    assert "remaining()" in caught.value.hint
    assert hand_off.perform(a_call(name="other", budget=budget), lambda: 1) == 1
    assert hand_off.aside(a_call(name="hanging", budget=budget), lambda: "fallback") == "fallback"
    hung.go.set()
    until(lambda: hand_off.abandoned("hanging") == 0)
    assert hand_off.perform(a_call(name="hanging", budget=budget), lambda: 1) == 1


def test_abandoned_fallbacks_have_a_cap_of_their_own(hung):
    """They are counted with their guard."""
    budget = Budget(1, max_abandoned=1)
    call = a_call(name="falls", budget=budget)
    with pytest.raises(BudgetExceeded):
        hand_off.run_until(hung, (), {}, clock.now() + 0.02, call)
    assert hand_off.abandoned("falls") == 1
    with pytest.raises(LimitExceeded):
        hand_off.aside(call, lambda: 1)
    assert hand_off.perform(call, lambda: 1) == 1


def test_late_results_are_dropped_and_counted(hung):
    """Nobody gets them, and nobody keeps them."""
    before = hand_off.dropped("dropping")
    give_up(hung, name="dropping")
    hung.go.set()
    until(lambda: hand_off.dropped("dropping") == before + 1)
    assert hand_off.abandoned("dropping") == 0


def test_permits_come_back_when_the_work_ends(hung):
    """At the end of a call that was in time; at the end of the work, not of the waiting, where it was abandoned."""
    back = []
    call = a_call()
    call.held = (lambda: back.append("one"), lambda: back.append("two"))
    hand_off.perform(call, lambda: back.append("work"))
    assert (back, call.held) == (["work", "one", "two"], ())

    back.clear()
    call = a_call(within=0.02)
    call.held = (lambda: back.append("one"),)
    with pytest.raises(BudgetExceeded):
        hand_off.perform(call, hung)
    assert (back, call.held) == ([], ())
    hung.go.set()
    until(lambda: back == ["one"])


def test_permits_come_back_from_a_function_that_raises():
    """And stay with the driver where nothing was started."""
    back = []
    call = a_call()
    call.held = (lambda: back.append(1),)
    with pytest.raises(ZeroDivisionError):
        hand_off.perform(call, lambda: 1 / 0)
    assert back == [1]
    call = a_call(within=-1)
    call.held = (lambda: back.append(2),)
    with pytest.raises(BudgetExceeded):
        hand_off.perform(call, lambda: 1)
    assert (back, len(call.held)) == ([1], 1)


def test_an_interrupt_of_the_waiting_caller_passes_and_abandons_the_work(hung):
    """Ctrl-C is never swallowed, and the next call is served by another worker."""
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        hand_off.perform(a_call(name="interrupted"), hung)
    assert hand_off.abandoned("interrupted") == 1
    assert hand_off.perform(a_call(), lambda: 1) == 1
    hung.go.set()
    until(lambda: hand_off.abandoned("interrupted") == 0)


def test_a_signal_handler_may_call_a_guard_while_its_thread_waits():
    """The busy worker is not asked again; both calls are answered."""
    answers = []
    before = signal.signal(signal.SIGUSR1, lambda *_: answers.append(hand_off.perform(a_call(), lambda: "inner")))
    try:

        def outer():
            while not answers:  # again until seen: CPython may miss a signal in the moment before it begins to wait
                os.kill(os.getpid(), signal.SIGUSR1)
                time.sleep(0.05)
            return "outer"

        assert hand_off.perform(a_call(), outer) == "outer"
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert set(answers) == {"inner"}


# ── nesting ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def nested(within, outer_within=LONG):
    """Return on which threads an outer function and one nested in it run."""

    def outer():
        call = a_call(within=within, name="inner", parent=current.get())
        if within == outer_within:
            call.until = current.get().until
        return threading.get_ident(), hand_off.perform(call, threading.get_ident)

    def calls():
        call = a_call(within=outer_within, name="outer")
        current.set(call)
        return hand_off.perform(call, outer)

    return contextvars.copy_context().run(calls)


@pytest.mark.parametrize("within", [LONG, LONG * 2, None])
def test_a_nested_call_that_ends_no_earlier_runs_in_place(within):
    """Its worker's caller goes away in time, so nothing is gained by another hand-off."""
    outer, inner = nested(within)
    assert inner == outer


def test_a_nested_call_that_must_end_earlier_is_handed_off_again():
    """Nobody else would stop it in time."""
    outer, inner = nested(LONG / 2)
    assert inner != outer


def test_a_nested_call_is_bounded_where_the_outer_one_is_not():
    """An outer call without an end bounds nothing."""
    outer, inner = nested(LONG, outer_within=None)
    assert inner != outer


def test_a_shorter_nested_deadline_is_kept(hung):
    """The inner call is late and the outer one handles it."""

    def outer():
        try:
            return hand_off.perform(a_call(within=0.02, parent=current.get()), hung)
        except BudgetExceeded:
            return "handled"

    assert hand_off.perform(a_call(), outer) == "handled"


def test_what_abandoned_work_calls_is_bounded_anew(hung):
    """Its own caller has gone, so it bounds nothing any more: a nested call with a budget is handed off."""
    threads = []

    def outer():
        hung()
        threads.append(threading.get_ident())
        threads.append(hand_off.perform(a_call(), threading.get_ident))

    give_up(outer)
    hung.go.set()
    until(lambda: len(threads) == 2)
    assert threads[0] != threads[1]


def test_permits_of_a_call_in_place_come_back():
    """The rule is the same for a nested call that needs no worker of its own."""
    back = []

    def outer():
        call = a_call(within=None)
        call.held = (lambda: back.append(1),)
        return hand_off.perform(call, lambda: "inner")

    assert hand_off.perform(a_call(), outer) == "inner"
    assert back == [1]


def test_recursion_goes_as_deep_as_without_a_guard():
    """One worker serves it all."""
    before = len(workers())

    def down(n):
        return 0 if n == 0 else 1 + hand_off.perform(a_call(n - 1, within=None), down)

    assert hand_off.perform(a_call(100), down) == 100
    assert len(workers()) <= before + 1


# ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_nothing_of_the_users_stays_on_a_parked_worker():
    """Arguments, results and exceptions are gone once the caller lets go of them."""

    class Thing:
        pass

    class Trouble(Exception):  # noqa: N818
        pass

    things = [Thing(), Thing(), Thing(), Trouble()]
    dead = [weakref.ref(thing) for thing in things]

    def fails(error):
        raise error

    hand_off.perform(a_call(things[0], key=things[1]), lambda _, key: things[2])
    with pytest.raises(Trouble):
        hand_off.perform(a_call(things[3]), fails)
    things.clear()
    gc.collect()
    assert [ref() for ref in dead] == [None] * 4


def test_late_results_do_not_stay_either(hung):
    """What abandoned work returns is let go of as it ends."""

    class Thing:
        pass

    dead = []

    def works():
        thing = Thing()
        dead.append(weakref.ref(thing))
        hung()
        return thing

    give_up(works)
    hung.go.set()
    until(lambda: hand_off.abandoned("loans") == 0)
    until(lambda: gc.collect() is not None and dead[0]() is None)


def test_512_threads_at_once_are_all_served():
    """Each has a worker of its own, and all those workers end with their threads."""
    before = len(workers())
    barrier = threading.Barrier(512)
    answers = []

    def caller(n):
        barrier.wait(LONG)
        answers.append(hand_off.perform(a_call(n), lambda n: n * 2))

    threads = [threading.Thread(target=caller, args=(n,)) for n in range(512)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert sorted(answers) == [n * 2 for n in range(512)]
    until(lambda: len(workers()) <= before)


def test_short_lived_threads_leak_no_workers():
    """A worker ends when the thread that it serves does."""
    before = len(workers())
    for _ in range(1000):
        thread = threading.Thread(target=hand_off.perform, args=(a_call(), int))
        thread.start()
        thread.join(LONG)
    until(lambda: len(workers()) <= before)


def test_tracing_for_threads_reaches_the_workers():
    """Coverage and debuggers see the function, as in any thread."""
    seen = set()
    before = threading.gettrace() if hasattr(threading, "gettrace") else None

    def tracer(frame, event, arg):
        seen.add(frame.f_code.co_name)

    def traced():
        return 1

    threading.settrace(tracer)
    try:
        in_thread(lambda: hand_off.perform(a_call(), traced))
    finally:
        threading.settrace(before)
    assert "traced" in seen


def test_a_refused_thread_is_a_refusal_that_says_so(monkeypatch):
    """A process at its limit of threads refuses the call; the permits are the driver's to give back."""

    def cannot(self):
        raise RuntimeError("can't start new thread")

    def calls():
        monkeypatch.setattr(threading.Thread, "start", cannot)
        call = a_call()
        call.held = (print,)
        try:
            with pytest.raises(LimitExceeded, match="no thread can be started for loans"):
                hand_off.perform(call, int)
        finally:
            monkeypatch.undo()
        return call.held

    assert in_thread(calls) == (print,)


# ── fork and exit ─────────────────────────────────────────────────────────────────────────────────────────────────────
def in_child(work):
    """Run something in a forked child and return its exit code; 0 means that it was true."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_workers_of_its_own(hung):
    """And counts its own abandoned calls only."""
    hand_off.perform(a_call(), int)
    give_up(hung, name="forked", budget=Budget(1, max_abandoned=1))

    def work():
        call = a_call(name="forked", budget=Budget(1, max_abandoned=1))
        return hand_off.abandoned("forked") == 0 and hand_off.perform(call, lambda: 7) == 7

    assert in_child(work) == 0
    assert hand_off.abandoned("forked") == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_function_may_fork_on_its_worker():
    """The child ends where its function does, and makes guarded calls until then; the parent's call goes on."""

    def forks():
        return in_child(lambda: hand_off.perform(a_call(within=5), lambda: 7) == 7)

    assert hand_off.perform(a_call(), forks) == 0


SCRIPT = """
import sys, threading, time, types
from guardrail import clock
from guardrail.call import Call
from guardrail.drivers import hand_off
from guardrail.errors import BudgetExceeded
from guardrail.policies.budget import Budget

def call(within):
    made = Call(types.SimpleNamespace(name="g", budget=Budget(1)), (), {}, None, clock.now())
    made.until = clock.now() + within
    return made

def computes():
    end = time.monotonic() + 60
    while time.monotonic() < end:
        pass

for function in (lambda: time.sleep(60), computes):
    try:
        hand_off.perform(call(0.05), function)
    except BudgetExceeded:
        print("late")
print(hand_off.perform(call(5), lambda: "healthy"))
"""


def test_a_hung_call_does_not_delay_the_end_of_the_program():
    """Nor does it write anything to the error output."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=LONG, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["late", "late", "healthy"], "")
    assert time.monotonic() - began < 20
