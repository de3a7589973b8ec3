"""The option `Breaker`, its circuit and its two hooks: when it opens, who may try again, and what says nothing."""

import asyncio
import os
import threading
import time

import cloudpickle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail import clock, notices
from guardrail.errors import AccessDenied, BudgetExceeded, CircuitOpen, ConfigError, InvalidOutput, LimitExceeded
from guardrail.policies.breaker import Breaker, Breaking, breaker_of
from guardrail.policies.circuit import Circuit
from guardrail.policies.retry import Retry, Retrying
from guardrail.policies.retry_budget import RetryBudget


class Dependency:
    """Does what it is told: `error` is raised if there is one, and a call takes `takes` seconds of the test's clock."""

    def __init__(self, fake_clock=None):
        self.fake_clock = fake_clock
        self.error = None
        self.takes = 0.0
        self.calls = 0

    def __call__(self, *_):
        self.calls += 1
        if self.takes:
            self.fake_clock.seconds += self.takes
        if self.error is not None:
            raise self.error
        return "answer"


def breaking(**options):
    """The policy with a circuit of its own; small numbers unless said otherwise."""
    option = Breaker(**{"min_calls": 4, "window": "10s", "open_for": "5s", "probes": 2} | options)
    return Breaking(option, Circuit(option))


@pytest.fixture
def setup(fake_clock, driven):
    """A guard with a breaker in front of a dependency."""

    def make(**options):
        fake_clock.chance = 0.0
        dependency = Dependency(fake_clock)
        guard = driven(dependency, breaking(**options))
        return guard, dependency, guard.policies[0].circuit

    return make


def ask(guard, times=1):
    """Call, and return how the calls ended: "ok" or the class of the error."""
    endings = []
    for _ in range(times):
        try:
            guard()
        except Exception as error:  # noqa: BLE001
            endings.append(type(error).__name__)
        else:
            endings.append("ok")
    return endings


def trip(guard, dependency, error=None):
    """Open the breaker, and mend the dependency."""
    dependency.error = error or ConnectionError()
    ask(guard, 4)
    dependency.error = None
    assert guard.policies[0].circuit.state == "open"


# ── the option ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_true_means_the_defaults():
    """breaker=True is Breaker(); False and None are none."""
    assert breaker_of(True) == Breaker()
    assert breaker_of(False) is breaker_of(None) is None
    assert breaker_of(Breaker("bureau")) == Breaker("bureau")


@pytest.mark.parametrize("option", [1, 0.5, "bureau", [], Breaker])
def test_a_wrong_option_is_refused_with_what_to_write(option):
    """A wrong type is a ConfigError that shows the right spelling."""
    with pytest.raises(ConfigError, match="write breaker="):
        breaker_of(option)


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": 5},
        {"failure_rate": 0},
        {"failure_rate": 1.1},
        {"failure_rate": True},
        {"slow_rate": "half"},
        {"slow_after": 0},
        {"window": "soon"},
        {"open_for": -1},
        {"min_calls": 0},
        {"min_calls": 2.0},
        {"probes": True},
        {"counts": KeyError},
        {"counts": 5},
    ],
)
def test_wrong_fields_are_refused_when_built(options):
    """Each field is checked at once, not at the first failure."""
    with pytest.raises(ConfigError):
        Breaker(**options)


def test_the_option_is_a_value():
    """Equal by value, hashable, frozen, and cloudpickle carries it."""
    assert Breaker(window="1m") == Breaker(window=60)
    assert hash(Breaker("a")) == hash(Breaker("a"))
    with pytest.raises(AttributeError):
        Breaker().window = 5
    copy = cloudpickle.loads(cloudpickle.dumps(Breaker("a", counts=lambda error: isinstance(error, KeyError))))
    assert copy.name == "a"
    assert copy.counts(KeyError())


# ── opening ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_it_opens_at_the_failure_rate(setup):
    """Half of at least four calls; from then on nobody reaches the dependency."""
    guard, dependency, circuit = setup()
    ask(guard, 2)
    dependency.error = ConnectionError()
    assert ask(guard, 3) == ["ConnectionError", "ConnectionError", "CircuitOpen"]
    assert dependency.calls == 4
    assert circuit.snapshot()["state"] == "open"
    with pytest.raises(CircuitOpen, match="the breaker of bureau is open: 2 of the last 4 calls failed") as caught:
        guard()
    assert caught.value.retry_after == 5
    assert (caught.value.guard, caught.value.policy) == ("bureau", "breaker")


def test_few_calls_open_nothing(setup):
    """Below min_calls there is no rate to speak of."""
    guard, dependency, circuit = setup(min_calls=100)
    dependency.error = ConnectionError()
    assert ask(guard, 99) == ["ConnectionError"] * 99
    assert circuit.state == "closed"
    ask(guard)
    assert circuit.state == "open"


def test_old_failures_are_forgotten(setup, fake_clock):
    """Only the window counts, and it moves by tenths."""
    guard, dependency, circuit = setup(window="10s", min_calls=4)
    dependency.error = ConnectionError()
    ask(guard, 3)
    fake_clock.seconds += 10.0
    assert ask(guard, 3) == ["ConnectionError"] * 3
    assert circuit.state == "closed"
    assert circuit.snapshot()["calls"] == 3
    fake_clock.seconds += 1000
    assert circuit.snapshot()["calls"] == 0


def test_successes_leave_the_window_too(setup, fake_clock):
    """A long good past does not cover a present outage."""
    guard, dependency, circuit = setup(window="10s")
    for _ in range(1000):
        guard()
    fake_clock.seconds += 11
    dependency.error = ConnectionError()
    ask(guard, 4)
    assert circuit.state == "open"


def test_successes_within_the_window_count(setup, fake_clock):
    """One failure in three, spread over the window, is below one half."""
    guard, dependency, circuit = setup(window="10s")
    for _ in range(30):
        ask(guard, 2)
        dependency.error = ConnectionError()
        ask(guard, 1)
        dependency.error = None
        fake_clock.seconds += 0.9
    assert circuit.state == "closed"
    assert circuit.snapshot()["failures"] * 3 == circuit.snapshot()["calls"]


def test_slow_calls_open_it_as_failures_do(setup):
    """A dependency that crawls takes its callers down as surely as one that fails."""
    guard, dependency, circuit = setup(slow_after="1s", slow_rate=0.5)
    ask(guard, 2)
    dependency.takes = 1.5
    assert ask(guard, 3) == ["ok", "ok", "CircuitOpen"]
    assert circuit.snapshot()["slow"] == 2
    assert "2 of the last 4 calls were slow" in str(guard.last.error)


def test_without_slow_after_no_call_is_slow(setup):
    """The slow rate alone says nothing."""
    guard, dependency, circuit = setup()
    dependency.takes = 0.9
    assert set(ask(guard, 20)) == {"ok"}
    assert circuit.state == "closed"


@given(endings=st.lists(st.booleans(), max_size=60), least=st.integers(1, 10), rate=st.floats(0.01, 1))
@settings(max_examples=150, deadline=None)
def test_it_opens_exactly_when_the_rate_is_reached(endings, least, rate):
    """Compared with counting by hand, within one bucket."""
    option = Breaker(min_calls=least, failure_rate=rate, window="1h")
    policy = Breaking(option, Circuit(option))
    bad = 0
    for calls, good in enumerate(endings, 1):
        call = _call()
        policy.enter(call)
        call.attempts, call.error = 1, None if good else OSError()
        policy.leave(call)
        bad += not good
        should = calls >= least and bad >= rate * calls and not good
        assert (policy.circuit.state == "open") is should
        if should:
            return


def _call():
    from types import SimpleNamespace

    from guardrail.call import Call

    return Call(SimpleNamespace(name="bureau"), (), {}, None, clock.now())


# ── what counts ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "error",
    [
        InvalidOutput("x"), LimitExceeded("x"), AccessDenied("x"), CircuitOpen("x"), ConfigError("x"), KeyboardInterrupt(),
        asyncio.CancelledError(), GeneratorExit(),
    ],
)  # fmt: skip
def test_what_says_nothing_of_the_dependency_is_not_counted(setup, error):
    """Refusals of ours, wrong values and callers that went away are neutral."""
    guard, dependency, circuit = setup()
    dependency.error = error
    for _ in range(50):
        with pytest.raises(type(error)):
            guard()
    assert circuit.snapshot() | {"state": "closed", "calls": 0} == circuit.snapshot()


def test_the_deadline_of_an_attempt_is_a_failure(setup):
    """It counts once; one that passed before the work began does not."""
    guard, dependency, circuit = setup()
    dependency.error = BudgetExceeded("late")
    assert ask(guard, 4) == ["BudgetExceeded"] * 4
    assert circuit.state == "open"
    circuit.reset()

    class Late:
        def enter(self, call):
            raise BudgetExceeded("too late to begin")

    guard.policies = (*guard.policies, Late())
    ask(guard, 50)
    assert circuit.snapshot()["calls"] == 0


def test_counts_decides_about_the_functions_errors(setup):
    """What it says no to is a good call: the dependency answered."""
    guard, dependency, circuit = setup(counts=lambda error: isinstance(error, ConnectionError))
    dependency.error = KeyError("unknown customer")
    ask(guard, 50)
    assert circuit.snapshot() | {"state": "closed", "calls": 50, "failures": 0} == circuit.snapshot()


def test_a_predicate_that_fails_counts_and_is_said_once(setup):
    """The function's own error is raised."""

    def broken(error):
        raise ZeroDivisionError

    guard, dependency, circuit = setup(counts=broken)
    dependency.error = KeyError()
    assert ask(guard, 4) == ["KeyError"] * 4
    assert circuit.state == "open"
    count, text = notices.counts()["bureau", "breaker_predicate"]
    assert count == 4
    assert "ZeroDivisionError" in text


# ── trying again ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_good_probes_close_it(setup, fake_clock):
    """After open_for a few callers try; all good, and everybody may pass, with a clean past."""
    guard, dependency, circuit = setup(probes=2)
    trip(guard, dependency)
    fake_clock.seconds += 4.9
    assert ask(guard) == ["CircuitOpen"]
    fake_clock.seconds += 0.2
    assert ask(guard) == ["ok"]
    assert circuit.state == "half_open"
    assert ask(guard) == ["ok"]
    assert circuit.state == "closed"
    assert circuit.snapshot()["calls"] == 0


def test_one_bad_probe_opens_it_again(setup, fake_clock):
    """For another open_for."""
    guard, dependency, circuit = setup(probes=3)
    trip(guard, dependency)
    fake_clock.seconds += 5.1
    ask(guard)
    dependency.error = ConnectionError()
    assert ask(guard, 2) == ["ConnectionError", "CircuitOpen"]
    assert circuit.snapshot() | {"state": "open", "opened": 2, "retry_after": 5.0} == circuit.snapshot()


def test_a_slow_probe_is_a_bad_one(setup, fake_clock):
    """A dependency that still crawls is not back."""
    guard, dependency, circuit = setup(slow_after="1s")
    trip(guard, dependency)
    fake_clock.seconds += 5.1
    dependency.takes = 2
    assert ask(guard) == ["ok"]
    assert circuit.state == "open"


def test_the_time_it_stays_open_is_jittered(setup, fake_clock):
    """Up to a tenth longer, so that a fleet does not come back in step."""
    guard, dependency, circuit = setup()
    fake_clock.chance = 1.0
    trip(guard, dependency)
    assert circuit.snapshot()["retry_after"] == 5.5


def test_only_so_many_probes_at_once(fake_clock, driven):
    """Others are refused while they are under way, and told when it is worth asking again."""
    policy = breaking(probes=2)
    policy.circuit.force("half_open")
    calls = [_call() for _ in range(3)]
    policy.enter(calls[0])
    fake_clock.seconds += 1
    policy.enter(calls[1])
    with pytest.raises(CircuitOpen, match="half open") as caught:
        policy.enter(calls[2])
    assert caught.value.retry_after == 4


@pytest.mark.parametrize("ending", [asyncio.CancelledError(), LimitExceeded("full"), KeyboardInterrupt()])
def test_a_probe_that_says_nothing_gives_its_lease_back(fake_clock, driven, ending):
    """A cancelled trial call does not leave the breaker half open for ever."""
    policy = breaking(probes=1)
    policy.circuit.force("half_open")

    def asks():
        raise ending

    with pytest.raises(type(ending)):
        driven(asks, policy)()
    assert policy.circuit.state == "half_open"
    assert driven(Dependency(), policy)() == "answer"
    assert policy.circuit.state == "closed"


def test_a_probe_that_hangs_makes_room_for_another(fake_clock, driven):
    """After open_for somebody else may try; what the first one finds still counts."""
    policy = breaking(probes=1, open_for="5s")
    policy.circuit.force("half_open")
    hung, second = _call(), _call()
    policy.enter(hung)
    fake_clock.seconds += 5
    policy.enter(second)
    hung.attempts = 1
    policy.leave(hung)
    assert policy.circuit.state == "closed"


@pytest.mark.parametrize("error", [None, OSError()])
def test_an_ending_from_an_earlier_period_is_ignored(fake_clock, error):
    """A call that began before the breaker opened neither closes it nor opens it again."""
    policy = breaking(probes=1, min_calls=1)
    stale = [_call(), _call()]
    for call in stale:
        policy.enter(call)
        call.attempts, call.error = 1, error
    policy.circuit.force("open")
    policy.leave(stale[0])
    assert policy.circuit.state == "open"
    policy.circuit.force("half_open")
    policy.leave(stale[1])
    assert policy.circuit.state == "half_open"
    policy.circuit.force("closed")
    assert policy.circuit.snapshot()["calls"] == 0


def test_a_stale_probe_does_not_close_the_next_period(fake_clock):
    """A probe of the first half-open period comes back in the second."""
    policy = breaking(probes=2)
    policy.circuit.force("half_open")
    late, bad = _call(), _call()
    for call in (late, bad):
        policy.enter(call)
        call.attempts = 1
    bad.error = OSError()
    policy.leave(bad)
    policy.circuit.force("half_open")
    policy.leave(late)
    assert policy.circuit._passed == 0


def test_every_attempt_inside_a_retry_counts(fake_clock, driven):
    """Retry → breaker: the breaker opens within one call, and the retry does not hammer an open breaker."""
    dependency = Dependency()
    dependency.error = ConnectionError()
    option = Retry(9)
    guard = driven(dependency, Retrying(option, RetryBudget(option)), breaking(min_calls=4, open_for="1m"))
    assert ask(guard) == ["CircuitOpen"]
    assert (dependency.calls, guard.last.stop_reason) == (4, "retry_after")


def test_guards_of_one_name_share_a_circuit(fake_clock, driven):
    """What one learns of a dependency the others know."""
    option = Breaker("bureau", min_calls=2)
    circuit = Circuit(option)
    first, second = Dependency(), Dependency()
    first.error = ConnectionError()
    ask(driven(first, Breaking(option, circuit), name="a"), 2)
    with pytest.raises(CircuitOpen, match="the breaker of bureau is open"):
        driven(second, Breaking(option, circuit), name="b")()
    assert second.calls == 0


# ── forcing, resetting, forking ───────────────────────────────────────────────────────────────────────────────────────
def test_forced_open_it_stays_open(setup, fake_clock):
    """Until somebody says otherwise; nobody can say when that is."""
    guard, dependency, circuit = setup()
    circuit.force("open")
    fake_clock.seconds += 1e6
    with pytest.raises(CircuitOpen, match="it was forced open") as caught:
        guard()
    assert caught.value.retry_after is None
    assert circuit.snapshot()["retry_after"] is None
    circuit.force("closed")
    assert ask(guard) == ["ok"]
    with pytest.raises(ConfigError, match='"half_open"'):
        circuit.force("ajar")


def test_reset_closes_and_forgets(setup):
    """As if it had just been made."""
    guard, dependency, circuit = setup()
    trip(guard, dependency)
    circuit.reset()
    assert circuit.snapshot() == {
        "state": "closed", "calls": 0, "failures": 0, "slow": 0, "opened": 0, "retry_after": 0.0,
    }  # fmt: skip
    assert ask(guard) == ["ok"]


def test_an_observing_guard_may_run_on(fake_clock):
    """Refused, and run all the same: its ending is not counted."""
    policy = breaking()
    policy.circuit.force("open")
    call = _call()
    with pytest.raises(CircuitOpen):
        policy.enter(call)
    policy.leave(call)
    call.error = OSError()
    policy.leave(call)
    assert policy.circuit.state == "open"


def test_a_forked_child_is_not_stuck(fake_clock):
    """A lock that another thread held, and probes that run in the parent, do not exist in the child."""
    policy = breaking(probes=1)
    policy.circuit.force("half_open")
    policy.enter(_call())
    policy.circuit._lock.acquire()
    pid = os.fork()
    if pid == 0:
        policy.circuit.after_fork()
        call = _call()
        policy.enter(call)
        call.attempts = 1
        policy.leave(call)
        os._exit(0 if policy.circuit.state == "closed" else 1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


# ── threads ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_no_lock_is_held_during_the_call(driven):
    """Four callers of one breaker run side by side."""
    together = threading.Barrier(4, timeout=10)
    guard_of_each = [driven(together.wait, policy) for policy in [breaking()] * 4]
    threads = [threading.Thread(target=guard) for guard in guard_of_each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [guard.last.error for guard in guard_of_each] == [None] * 4


def test_nothing_is_lost_in_the_counts_under_threads():
    """512 threads, successes without the lock and failures with it: every one is counted."""
    option = Breaker(min_calls=10**9, window="1h")
    policy = Breaking(option, Circuit(option))
    start = threading.Event()

    def work(number):
        start.wait()
        for n in range(50):
            call = _call()
            policy.enter(call)
            call.attempts = 1
            call.error = OSError() if (n + number) % 5 == 0 else None
            policy.leave(call)
            if n % 10 == 0:
                policy.circuit.snapshot()  # reading must not count

    threads = [threading.Thread(target=work, args=(number,)) for number in range(512)]
    for thread in threads:
        thread.start()
    start.set()
    for thread in threads:
        thread.join()
    seen = policy.circuit.snapshot()
    assert (seen["calls"], seen["failures"]) == (512 * 50, 512 * 10)


def test_probes_are_bounded_under_threads():
    """Of 64 callers who come at once when it is half open, no more than `probes` are let in."""
    policy = breaking(probes=3, open_for="1h")
    policy.circuit.force("half_open")
    inside, most, refused = [], [], []
    start, lock = threading.Barrier(64), threading.Lock()

    def work():
        call = _call()
        start.wait()
        try:
            policy.enter(call)
        except CircuitOpen:
            refused.append(1)
            return
        with lock:
            inside.append(1)
            most.append(len(inside))
        time.sleep(0.05)
        with lock:
            inside.pop()
        call.attempts, call.error = 1, asyncio.CancelledError()
        policy.leave(call)

    threads = [threading.Thread(target=work) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 3
    assert len(refused) + len(most) == 64
    assert not policy.circuit._leases


def test_an_async_function_is_guarded_as_well(fake_clock, driven):
    """Its failures open the breaker."""

    async def fails():
        raise OSError

    guard = driven(fails, breaking())

    async def main():
        for _ in range(4):
            with pytest.raises(OSError):
                await guard.later()
        with pytest.raises(CircuitOpen):
            await guard.later()

    asyncio.run(main())
