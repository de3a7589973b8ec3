"""`enforce="process"`: what travels to a child and back, what kills it, and what it never outlives."""

import functools
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from types import SimpleNamespace

import pytest

from guardrail import clock
from guardrail.call import Call
from guardrail.drivers import channel, children, processes, target
from guardrail.errors import BudgetExceeded, ConfigError
from guardrail.policies.budget import Budget

LONG = 30.0  # seconds: more than any test waits
GONE = 5.0  # seconds within which a killed process must be gone

MODELS = '''
"""Functions as a user's module has them."""
import functools, os, re, signal, subprocess, sys, threading, time
from guardrail import remaining

started = time.monotonic()
calls = []

def decorated(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return "through the wrapper"
    return wrapper

def twice(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return 2 * fn(*args, **kwargs)
    return wrapper

@decorated
def predict(*args, **kwargs):
    return args, kwargs, os.getpid()

@decorated
@twice
def doubled(x):
    return x

class Model:
    def __init__(self, bias):
        self.bias = bias

    @decorated
    def predict(self, x):
        return x + self.bias

    @classmethod
    @decorated
    def named(cls, x):
        return cls.__name__, x

    @staticmethod
    @decorated
    def static(x):
        return -x

    def plain(self, x):
        return x * self.bias

class Trouble(Exception):
    def __init__(self, code, detail="none"):
        super().__init__(code)
        self.code, self.detail = code, detail

class Stubborn(Exception):
    def __init__(self, *, must):
        super().__init__("it cannot be rebuilt from its args")

@decorated
def fails(kind):
    if kind == "trouble":
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise Trouble(7, detail="more") from error
    if kind == "stubborn":
        raise Stubborn(must=True)
    if kind == "exit":
        raise SystemExit(3)
    raise TimeoutError("the function's own")

@decorated
def holds_the_lock():
    re.match(r"(a+)+$", "a" * 64 + "b")  # one C call of years, which never gives the interpreter lock up

@decorated
def spawns(path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(path, "w") as file:
        file.write(str(child.pid))
    time.sleep(60)

@decorated
def dies(how):
    os._exit(3) if how == "exit" else os.kill(os.getpid(), signal.SIGSEGV)

@decorated
def makes(what):
    return {"lambda": lambda: 1, "lock": threading.Lock(), "bytes": bytes(what) if isinstance(what, int) else b""}.get(what, b"x" * 1)

@decorated
def large(n):
    return bytes(n)

@decorated
def left():
    return remaining()

@decorated
def loud():
    print("said by the child")
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN

@decorated
def pid():
    return os.getpid()

@decorated
def slow(seconds):
    time.sleep(seconds)
    return os.getpid()
'''


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A module of a user's, importable here and in children, which is slow to import."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "processed_models.py").write_text(MODELS)
    (folder / "slow_models.py").write_text("import time\ntime.sleep(1.2)\n" + MODELS)
    (folder / "broken_models.py").write_text("import os\nif os.environ.get('BREAK'): import no_such_module\n" + MODELS)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("processed_models")
    sys.path.remove(str(folder))


@pytest.fixture(autouse=True)
def no_child_is_left():
    """What a test started ends with it, zombies included."""
    yield
    assert children._close_all(GONE)  # noqa: SLF001
    assert not children.living


def a_call(*args, within=LONG, name="loans", parent=None, **kwargs):
    call = Call(SimpleNamespace(name=name, budget=Budget(LONG, enforce="process")), args, kwargs, parent, clock.now())
    call.until = call.deadline = call.last_moment = None if within is None else clock.now() + within
    return call


def run(fn, *args, **kwargs):
    return processes.perform(a_call(*args, **kwargs), bare(fn))


def bare(fn):
    return getattr(fn, "__wrapped__", fn)


def alive(pid):
    """Return whether a process still runs; a zombie does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.strip().startswith("Z")


def gone(pid):
    end = time.monotonic() + GONE
    while alive(pid):
        assert time.monotonic() < end
        time.sleep(0.005)
    return True


# ── what travels ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_function_runs_in_a_child_that_is_kept(models):
    """Arguments go there and the result comes back; the next call finds the same child."""
    args, kwargs, pid = run(models.predict, 1, [2], key={"three": 3})
    assert (args, kwargs) == ((1, [2]), {"key": {"three": 3}})
    assert pid != os.getpid()
    assert run(models.pid) != pid  # another function, another child
    assert run(models.predict)[2] == pid


def test_the_child_runs_what_is_below_the_guard(models):
    """Found by name, then through `__wrapped__` down to the very function; decorators below the guard stay."""
    assert models.doubled(1) == "through the wrapper"
    assert run(models.doubled, 21) == 42
    assert target.locate(models.doubled.__wrapped__, "g") == ("processed_models", "doubled", 1)
    assert target.locate(models.doubled.__wrapped__.__wrapped__, "g") == ("processed_models", "doubled", 2)


def test_methods_of_every_kind_are_found(models):
    """Instance methods take their instance along; classmethods and staticmethods are found in their class."""
    model = models.Model(10)
    assert run(vars(models.Model)["predict"], model, 1) == 11
    assert processes.perform(a_call(models.Model, 2), vars(models.Model)["named"].__func__.__wrapped__) == ("Model", 2)
    assert processes.perform(a_call(3), vars(models.Model)["static"].__func__.__wrapped__) == -3


def test_bound_methods_and_partials_travel_by_value(models):
    """As a guarded method of a fitted model does."""
    assert run(models.Model(5).plain, 4) == 20
    assert run(functools.partial(models.Model(5).plain, x=3)) == 15


def test_a_function_without_a_module_needs_cloudpickle(models, monkeypatch):
    """It is sent by value where cloudpickle is installed; without it the error says what to do."""
    factor = 3
    assert run(lambda x: x * factor, 14) == 42
    monkeypatch.setattr(target, "has_cloudpickle", lambda: False)
    with pytest.raises(ConfigError, match="top of a module, or `pip install cloudpickle`"):
        run(lambda x: x)


def test_exceptions_come_back_as_they_were(models):
    """Type, args, attributes and cause; a note holds where it was raised in the child."""
    with pytest.raises(models.Trouble) as caught:
        run(models.fails, "trouble")
    error = caught.value
    assert (error.args, error.code, error.detail) == ((7,), 7, "more")
    assert isinstance(error.__cause__, KeyError)
    assert "processed_models.py" in error.__notes__[0]
    assert "in fails" in error.__notes__[0]
    with pytest.raises(SystemExit) as caught:
        run(models.fails, "exit")
    assert caught.value.code == 3
    with pytest.raises(TimeoutError, match="own") as caught:
        run(models.fails, "timeout")
    assert not isinstance(caught.value, BudgetExceeded)


def test_an_exception_that_cannot_travel_is_named(models):
    """The caller learns its type and where it was raised."""
    with pytest.raises(RuntimeError, match="processed_models.Stubborn") as caught:
        run(models.fails, "stubborn")
    assert "in fails" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("args", "kwargs", "which"),
    [((1, threading.Lock()), {}, "argument 2"), ((), {"key": threading.Lock()}, "argument key")],
)
def test_what_cannot_be_sent_is_named_by_its_type(models, args, kwargs, which):
    """An argument without a way to another process is a ConfigError that names it."""
    call = a_call(*args, **kwargs)
    call.held = (print,)
    with pytest.raises(ConfigError, match=f"{which}, of type lock"):
        processes.perform(call, bare(models.predict))
    assert call.held == (print,)  # nothing was started: the driver gives them back


def test_a_result_that_cannot_be_sent_is_named_by_its_type(models):
    """And the child is as good as before."""
    with pytest.raises(ConfigError, match="result, of type lock"):
        run(models.makes, "lock")
    assert run(models.makes, 0) == b"x"


def test_arguments_that_no_child_can_rebuild_are_said_to_be_so(models):
    """Without the value: the text of an error from rebuilding might hold it."""
    with pytest.raises(ConfigError, match=r"cannot be rebuilt in the child process \(ValueError\)") as caught:
        run(models.predict, Brittle())
    assert "hunter2" not in str(caught.value)


class Brittle:
    """Packs, and does not unpack."""

    def __reduce__(self):
        return int, ("hunter2",)


def test_large_values_travel_whole(models):
    """More than a socket takes at once, both ways."""
    whole = os.urandom(20_000_000)
    assert run(models.predict, whole)[0] == (whole,)
    assert len(run(models.large, 30_000_000)) == 30_000_000


def test_the_child_knows_how_much_time_is_left(models):
    """`remaining()` counts in there too; without an end it is None."""
    assert 0 < run(models.left, within=20) <= 20
    assert run(models.left, within=None) is None


def test_prints_of_the_child_are_not_lost(models, capfd):
    """They are written before the answer comes back; and Ctrl-C is the parent's to answer."""
    assert run(models.loud)
    assert "said by the child" in capfd.readouterr().out


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_c_call_that_keeps_the_interpreter_lock_is_killed_in_time(models):
    """The caller is back, the child is dead, and the next call gets another."""
    processes.warm(bare(models.holds_the_lock), "loans")
    (child,) = children.living
    began = time.monotonic()
    with pytest.raises(BudgetExceeded, match="loans.*killed") as caught:
        run(models.holds_the_lock, within=0.2)
    assert time.monotonic() - began < 1.0
    assert caught.value.policy == "budget"
    assert gone(child.process.pid)
    assert run(models.pid)


def test_what_the_function_has_started_is_killed_with_it(models, tmp_path):
    """Its child processes do not outlive the budget."""
    path = tmp_path / "pid"
    processes.warm(bare(models.spawns), "loans")
    with pytest.raises(BudgetExceeded):
        run(models.spawns, str(path), within=1.0)
    assert gone(int(path.read_text()))


def test_a_result_that_takes_too_long_to_come_over_is_late(models, monkeypatch):
    """A child that stops in the middle of its answer is killed in time too."""
    ours = channel.Channel.receive

    def stop_then_receive(self, until=None):
        kind, length = channel._HEAD.unpack(self._exactly(channel._HEAD.size, until))  # noqa: SLF001
        os.kill(child.process.pid, signal.SIGSTOP)
        return kind, self._exactly(length, until)

    processes.warm(bare(models.large), "loans")
    (child,) = children.living
    monkeypatch.setattr(channel.Channel, "receive", stop_then_receive)
    with pytest.raises(BudgetExceeded):
        run(models.large, 50_000_000, within=0.5)
    monkeypatch.setattr(channel.Channel, "receive", ours)
    assert gone(child.process.pid)


def test_starting_a_child_never_counts_against_the_budget(models):
    """A module that takes longer to import than the budget allows is answered at the first call; the deadlines move along."""
    slow = importlib.import_module("slow_models")
    call = a_call(within=0.6)
    before = call.until
    assert processes.perform(call, bare(slow.pid))
    assert call.until - before > 1.0
    assert call.until == call.deadline == call.last_moment


def test_starting_a_child_ends_with_an_inherited_deadline(models):
    """The outer call's time is not ours to extend; the child goes on starting, for the next call."""
    slow = importlib.import_module("slow_models")
    outer = a_call(within=0.1, name="outer")
    with pytest.raises(BudgetExceeded, match="still starting"):
        processes.perform(a_call(within=0.1, parent=outer), bare(slow.doubled).__wrapped__)
    (child,) = children.living
    assert processes.perform(a_call(21, within=0.6), bare(slow.doubled).__wrapped__) == 21
    assert list(children.living) == [child]


def test_deadlines_move_no_further_than_the_inherited_one(models):
    """The start is added, up to the moment at which the outer call ends."""
    outer = a_call(within=20, name="outer")
    call = a_call(within=None, parent=outer)
    call.until, call.deadline, call.last_moment = outer.until - 0.02, outer.until - 0.02, outer.until - 0.01
    last = call.last_moment
    assert processes.perform(call, bare(models.pid))
    assert call.last_moment == pytest.approx(outer.until)
    assert call.last_moment - last == pytest.approx(0.01)
    assert call.until == pytest.approx(outer.until - 0.01)


def test_permits_come_back_when_the_child_has_answered_or_is_dead(models):
    """After an answer, an exception, and a kill."""
    for fn, args, within in ((models.pid, (), LONG), (models.fails, ("timeout",), LONG), (models.slow, (LONG,), 0.2)):
        back = []
        call = a_call(*args, within=within)
        call.held = (lambda back=back: back.append(1),)
        try:
            processes.perform(call, bare(fn))
        except TimeoutError:
            pass
        assert (back, call.held) == ([1], ())


def test_an_interrupt_of_the_waiting_caller_kills_the_work(models):
    """Ctrl-C passes, and the permit comes back."""
    processes.warm(bare(models.slow), "loans")
    (child,) = children.living
    back = []
    call = a_call(LONG)
    call.held = (lambda: back.append(1),)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        processes.perform(call, bare(models.slow))
    assert back == [1]
    assert gone(child.process.pid)


# ── children ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_each_concurrent_caller_has_a_child_of_its_own(models):
    """They run at the same time, and are kept for the next ones."""
    pids = []
    barrier = threading.Barrier(3)

    def caller():
        barrier.wait(LONG)
        pids.append(run(models.slow, 0.5))

    threads = [threading.Thread(target=caller) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(set(pids)) == 3
    assert run(models.slow, 0) in pids


@pytest.mark.parametrize(("how", "says"), [("exit", "exit code 3"), ("signal", "SIGSEGV")])
def test_a_child_that_dies_is_an_ordinary_error(models, how, says):
    """It says how the child died, and the next call gets another."""
    with pytest.raises(ChildProcessError, match=says):
        run(models.dies, how)
    assert run(models.pid)


def test_an_idle_child_that_was_killed_is_replaced(models):
    """Nobody notices."""
    before = run(models.pid)
    os.kill(before, signal.SIGKILL)
    gone(before)
    assert run(models.pid) != before


def test_children_end_by_themselves_when_idle(models, monkeypatch):
    """They are not used shortly before they would."""
    before = run(models.pid)
    (child,) = children.living
    child.idle_since -= children._FRESH  # noqa: SLF001
    assert run(models.pid) != before
    assert gone(before)


def test_a_redefined_function_never_runs_in_its_predecessors_child(models):
    """Same guard, same name, another function object: another child."""
    first, second = (lambda: "first"), (lambda: "second")
    assert (run(first), run(second), run(first)) == ("first", "second", "first")


def test_a_module_that_cannot_be_imported_in_a_child_is_a_config_error(models, monkeypatch):
    """At the first call, with the name of what is missing."""
    broken = importlib.import_module("broken_models")
    monkeypatch.setenv("BREAK", "1")
    with pytest.raises(ConfigError, match="ModuleNotFoundError: No module named 'no_such_module'"):
        run(broken.pid)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_starts_its_own(models):
    """What it inherited is not its own; the parent's children go on serving the parent."""
    before = run(models.pid)
    pid = os.fork()
    if pid == 0:
        try:
            answer = run(models.pid)
            done = children._close_all(GONE)  # noqa: SLF001
            os._exit(0 if answer != before and done else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert run(models.pid) == before


SCRIPT = """
import os, sys, threading, time, types
from guardrail import clock
from guardrail.call import Call
from guardrail.drivers import processes
from guardrail.errors import BudgetExceeded
from guardrail.policies.budget import Budget

print("main runs", flush=True)

class Applicant:
    def __init__(self, income):
        self.income = income

def predict(applicant):
    return Applicant(applicant.income * 2), os.getpid()

def make(*args, within=20):
    made = Call(types.SimpleNamespace(name="g", budget=Budget(1)), args, {}, None, clock.now())
    made.until = clock.now() + within
    return made

answer, pid = processes.perform(make(Applicant(21)), predict)
print(type(answer) is Applicant, answer.income, pid, flush=True)
HOW
"""


def script(tmp_path, how):
    path = tmp_path / "main.py"
    path.write_text(SCRIPT.replace("HOW", textwrap.dedent(how)))
    return [sys.executable, str(path)]


def test_functions_and_classes_of_a_script_travel_both_ways_and_the_script_runs_once(tmp_path):
    """No `if __name__ == "__main__"` is needed, a class comes back as the same class, and nothing is left behind."""
    how = "from guardrail import lifecycle; lifecycle.arm()"
    done = subprocess.run(script(tmp_path, how), capture_output=True, text=True, timeout=LONG, check=False)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, lines[0], len(lines)) == (0, "", "main runs", 2)
    same, income, pid = lines[1].split()
    assert (same, income) == ("True", "42")
    assert gone(int(pid))


def test_children_die_with_a_parent_that_is_killed(tmp_path):
    """Also in the middle of a C call that never lets Python run."""
    how = """
        def holds_the_lock():
            import re
            print(os.getpid(), flush=True)
            re.match(r"(a+)+$", "a" * 64 + "b")
        processes.perform(make(), holds_the_lock)
    """
    parent = subprocess.Popen(script(tmp_path, how), stdout=subprocess.PIPE, text=True)
    parent.stdout.readline()
    idle = int(parent.stdout.readline().split()[2])
    busy = int(parent.stdout.readline())
    time.sleep(0.1)
    assert alive(idle)
    assert alive(busy)
    parent.kill()
    parent.wait(LONG)
    parent.stdout.close()
    assert gone(idle)
    assert gone(busy)
