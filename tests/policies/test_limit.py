"""The option `Limit`, its permits and its rate: nobody gets in who should not, and no permit is ever lost or made up."""

import asyncio
import gc
import os
import random
import threading
import time
from collections import Counter
from types import SimpleNamespace

import cloudpickle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail import clock
from guardrail.call import Call
from guardrail.errors import BudgetExceeded, ConfigError, LimitExceeded
from guardrail.policies.by_key import ByKey
from guardrail.policies.limit import Limit, Limiting, limit_of
from guardrail.policies.permits import Permits
from guardrail.policies.rate import Rate
from guardrail.principal import Principal, acting_as


def limiting(*args, **options):
    """The policy with a state of its own."""
    option = Limit(*args, **options)
    permits = None if option.concurrency is None else Permits(option)
    rate = None if option.rate is None else Rate(option)
    return Limiting(option, permits, rate)


def a_call(parent=None, deadline=None):
    call = Call(SimpleNamespace(name="bureau"), (), {}, parent, clock.now())
    call.deadline = deadline
    return call


def release(call):
    held, call.held = call.held, ()
    for give_back in held:
        give_back()


def in_use(policy):
    return policy.permits.snapshot()["in_use"]


# ── the option ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_number_is_the_concurrency():
    """limit=8 is eight at once, and waits for nobody."""
    assert limit_of(8) == Limit(8) == Limit(concurrency=8, wait=0)
    assert limit_of(None) is None
    assert limit_of(Limit(2, rate="5/m")) == Limit(2, rate="5/m")


@pytest.mark.parametrize("option", [True, False, 2.0, "8", "100/s", [8]])
def test_a_wrong_option_is_refused_with_what_to_write(option):
    """A wrong type is a ConfigError that shows the right spelling."""
    with pytest.raises(ConfigError, match="write limit="):
        limit_of(option)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"concurrency": 0},
        {"concurrency": -1},
        {"concurrency": True},
        {"concurrency": 1.5},
        {"rate": "fast"},
        {"rate": "0/s"},
        {"rate": "100"},
        {"rate": 100},
        {"rate": "1.5/s"},
        {"rate": "5/0s"},
        {"rate": "-5/s"},
        {"concurrency": 8, "wait": -1},
        {"concurrency": 8, "wait": "soon"},
        {"concurrency": 8, "per": "user"},
    ],
)
def test_wrong_fields_are_refused_when_built(options):
    """Each field is checked at once, not at the first call."""
    with pytest.raises(ConfigError):
        Limit(**options)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("100/s", (100, 1)),
        ("5/m", (5, 60)),
        ("1000/h", (1000, 3600)),
        ("10/30s", (10, 30)),
        (" 7 / d ", (7, 86400)),
        ("1/500ms", (1, 0.5)),
    ],
)
def test_rates_are_written_as_people_say_them(text, meaning):
    """A count, a slash, and a unit or a duration."""
    assert clock.rate(text) == meaning


def test_the_option_is_a_value():
    """Equal by value, hashable, frozen, and cloudpickle carries it."""
    assert Limit(8, wait="50ms") == Limit(8, wait=0.05)
    assert hash(Limit(8)) == hash(Limit(8))
    with pytest.raises(AttributeError):
        Limit(8).concurrency = 9
    option = Limit(8, rate="5/m", per="tenant")
    assert cloudpickle.loads(cloudpickle.dumps(option)) == option


# ── concurrency ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_one_too_many_is_refused_at_once(fake_clock):
    """And as soon as one ends, the next may run."""
    policy = limiting(2)
    first, second, third = a_call(), a_call(), a_call()
    policy.enter(first)
    policy.enter(second)
    with pytest.raises(LimitExceeded, match=r"all permits \(2\) are taken") as caught:
        policy.enter(third)
    assert (caught.value.guard, caught.value.policy, caught.value.retry_after) == ("bureau", "limit", None)
    assert "wait=" in caught.value.hint
    release(first)
    assert policy.enter(third) is None
    assert policy.permits.snapshot() == {"permits": 2, "in_use": 2, "waiting": 0, "refused": 1, "keys": 0}


def test_a_permit_comes_back_however_the_work_ends(driven):
    """A failure, an interrupt and an answer all give it back."""
    policy = limiting(1)
    for error in (ValueError(), KeyboardInterrupt(), asyncio.CancelledError()):

        def fails(error=error):
            assert in_use(policy) == 1
            raise error

        with pytest.raises(type(error)):
            driven(fails, policy)()
        assert in_use(policy) == 0


def test_giving_back_twice_makes_no_second_permit():
    """A driver that gives back twice invents nothing."""
    policy = limiting(1)
    call = a_call()
    policy.enter(call)
    (give_back,) = call.held
    give_back()
    give_back()
    policy.enter(a_call())
    with pytest.raises(LimitExceeded):
        policy.enter(a_call())


def test_permits_are_made_when_needed():
    """A huge limit costs nothing before it is used."""
    policy = limiting(10**12)
    call = a_call()
    policy.enter(call)
    assert in_use(policy) == 1
    assert len(policy.permits.common._made) == 1


def test_a_nested_call_takes_no_second_permit(driven):
    """limit=1 and recursion do not block each other; a permit of the outer call's own is all it takes."""
    policy = limiting(1)
    seen = []

    def factorial(n):
        seen.append(in_use(policy))
        return 1 if n == 0 else n * driven(factorial, policy)(n - 1)

    assert driven(factorial, policy)(5) == 120
    assert seen == [1] * 6
    assert in_use(policy) == 0


def test_a_nested_call_of_another_guard_takes_its_own(driven):
    """Permits are no pass for other guards, and an outer guard in between changes nothing."""
    inner, outer = limiting(1), limiting(1)

    def work(depth):
        assert (in_use(outer), in_use(inner)) == (1, 0 if depth == 2 else 1)
        return driven(work, inner if depth == 2 else outer)(depth - 1) if depth else "done"

    assert driven(work, outer)(2) == "done"


def test_a_call_that_has_ended_lends_nothing():
    """What outlives its caller takes a permit of its own: the outer work is over, or will be."""
    policy = limiting(1)
    outer = a_call()
    policy.enter(outer)
    outer.ended = True
    with pytest.raises(LimitExceeded):
        policy.enter(a_call(parent=outer))
    outer.ended = False
    assert policy.enter(a_call(parent=outer)) is None
    release(outer)
    nested = a_call(parent=outer)
    policy.enter(nested)
    assert in_use(policy) == 1


def test_nothing_begins_after_the_deadline(fake_clock):
    """It is shed before any work, and takes neither a permit nor a token."""
    policy = limiting(1, rate="1/h")
    with pytest.raises(BudgetExceeded):
        policy.enter(a_call(deadline=fake_clock.seconds))
    assert in_use(policy) == 0
    assert policy.rate.snapshot()["free"] == 1


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def stand(policy, call=None):
    """Begin to wait; return the generator, which stands at its ask."""
    asks = policy.enter(call or a_call())
    return asks, next(asks)


def end(asks, came):
    """Answer the ask; return None where the hook then lets the call pass."""
    with pytest.raises(StopIteration) as stopped:
        asks.send(came)
    return stopped.value.value


def test_first_come_first_served(fake_clock):
    """A permit goes to who waits longest, and a newcomer does not jump the line."""
    policy = limiting(1, wait="10s")
    holder, first, second = a_call(), a_call(), a_call()
    policy.enter(holder)
    one, asked = stand(policy, first)
    two, later = stand(policy, second)
    assert policy.permits.snapshot()["waiting"] == 2
    release(holder)
    assert (asked.signal.done(), later.signal.done()) == (True, False)
    assert policy.enter(a_call()).__class__ is one.__class__  # stands in line
    assert end(one, came=True) is None
    assert first.held
    release(first)
    assert later.signal.done()
    assert end(two, came=True) is None


def test_the_wait_ends_with_the_option_or_the_deadline(fake_clock):
    """Whichever is first."""
    policy = limiting(1, wait="2s")
    policy.enter(a_call())
    assert stand(policy)[1].until == fake_clock.seconds + 2
    asks, ask = stand(policy, a_call(deadline=fake_clock.seconds + 1))
    assert ask.until == fake_clock.seconds + 1
    with pytest.raises(LimitExceeded, match="none came free in time"):
        asks.send(False)
    assert policy.permits.snapshot()["refused"] == 1


def test_a_permit_granted_in_the_last_instant_is_used(fake_clock):
    """The time is up and the permit is there: then it is taken, not given away."""
    policy = limiting(1, wait="2s")
    holder, waiter = a_call(), a_call()
    policy.enter(holder)
    asks, _ = stand(policy, waiter)
    release(holder)
    assert end(asks, came=False) is None
    assert in_use(policy) == 1
    release(waiter)
    assert in_use(policy) == 0


@pytest.mark.parametrize("ending", [asyncio.CancelledError, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("granted", [True, False])
def test_who_is_cancelled_in_line_takes_nothing_along(fake_clock, ending, granted):
    """Granted in that very instant or not: the permit is there for the next."""
    policy = limiting(1, wait="2s")
    holder = a_call()
    policy.enter(holder)
    asks, _ = stand(policy)
    behind, ask = stand(policy)
    if granted:
        release(holder)
    with pytest.raises(ending):
        asks.throw(ending())
    if not granted:
        release(holder)
    assert ask.signal.done()
    assert end(behind, came=True) is None
    assert in_use(policy) == 1


def test_a_waiter_that_is_dropped_takes_nothing_along(fake_clock):
    """Its loop was closed and nobody ever answered: collecting it gives the permit back."""
    policy = limiting(1, wait="2s")
    holder = a_call()
    policy.enter(holder)
    asks, _ = stand(policy)
    release(holder)
    assert in_use(policy) == 1
    del asks
    gc.collect()
    assert in_use(policy) == 0


def test_a_line_of_those_who_gave_up_is_not_in_the_way(fake_clock):
    """They neither keep others out nor pile up while nothing comes back."""
    policy = limiting(1, wait="2s")
    holder = a_call()
    policy.enter(holder)
    for _ in range(1000):
        asks, _ = stand(policy)
        with pytest.raises(LimitExceeded):
            asks.send(False)
    assert len(policy.permits.common.line) == 0
    asks, _ = stand(policy)
    others = [stand(policy)[0] for _ in range(3)]
    for other in others:
        with pytest.raises(LimitExceeded):
            other.send(False)
    release(holder)
    assert end(asks, came=True) is None
    assert in_use(policy) == 1


def test_who_cannot_expect_a_permit_in_time_does_not_wait(fake_clock):
    """Known from how fast they came back lately; the first in line always waits, so that it is found out anew."""
    policy = limiting(1, wait="10s")
    holder = a_call()
    policy.enter(holder)
    for _ in range(3):  # one permit comes back every 4 seconds
        waiter = a_call()
        asks, _ = stand(policy, waiter)
        fake_clock.seconds += 4
        release(holder)
        end(asks, came=True)
        holder = waiter
    in_line = [stand(policy), stand(policy)]
    turn = policy.enter(a_call())
    with pytest.raises(LimitExceeded):
        next(turn)
    with pytest.raises(LimitExceeded):
        next(policy.enter(a_call(deadline=fake_clock.seconds + 3)))
    assert policy.permits.snapshot()["waiting"] == len(in_line)
    policy.permits.reset()  # knows nothing any more, and so waits
    in_line.append(stand(policy))
    assert policy.permits.snapshot()["waiting"] == 3


def test_a_task_waits_for_the_permit_of_a_thread(driven):
    """One line for both kinds of caller."""
    policy = limiting(1, wait="5s")
    begun, go = threading.Event(), threading.Event()

    def work():
        begun.set()
        go.wait()
        return "thread"

    async def task():
        return "task"

    thread = threading.Thread(target=driven(work, policy))
    thread.start()
    begun.wait()

    async def main():
        waiting = asyncio.create_task(driven(task, policy).later())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        go.set()
        return await waiting

    assert asyncio.run(main()) == "task"
    thread.join()
    assert in_use(policy) == 0


# ── rate ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_rate_allows_its_count_at_once_and_then_spreads(fake_clock):
    """5/s: five now, then one every 200 ms; a refusal says when."""
    policy = limiting(rate="5/s")
    for _ in range(5):
        assert policy.enter(a_call()) is None
    with pytest.raises(LimitExceeded, match="the rate of 5/s is used up") as caught:
        policy.enter(a_call())
    assert caught.value.retry_after == pytest.approx(0.2)
    fake_clock.seconds += 0.2
    assert policy.enter(a_call()) is None
    with pytest.raises(LimitExceeded):
        policy.enter(a_call())
    fake_clock.seconds += 100
    assert policy.rate.snapshot() == {"rate": "5/s", "free": 5, "refused": 2, "keys": 0}
    assert [policy.enter(a_call()) for _ in range(5)] == [None] * 5


@given(
    gaps=st.lists(st.floats(0, 0.5), min_size=1, max_size=200),
    count=st.integers(1, 20),
    period=st.sampled_from(["s", "100ms", "2s"]),
)
@settings(max_examples=100, deadline=None)
def test_no_window_ever_sees_more_than_the_bucket_allows(gaps, count, period):
    """In any stretch of time t: at most count + t / interval calls, whatever the arrivals."""
    rate = Rate(Limit(rate=f"{count}/{period}"))
    moment, real = 0.0, clock.now
    granted = []
    try:
        clock.now = lambda: moment
        for gap in gaps:
            moment += gap
            if rate.take(None) == 0:
                granted.append(moment)
    finally:
        clock.now = real
    for at, first in enumerate(granted):
        for later, last in enumerate(granted[at:], 1):
            assert later <= count + (last - first) / rate.interval + 1e-3
    assert granted  # and the first always passes


def test_waiting_for_the_rate_keeps_the_order(fake_clock, driven):
    """Callers are spaced out, each at the moment that is his."""
    policy = limiting(rate="1/s", wait="3s")
    assert policy.enter(a_call()) is None
    turns = [policy.enter(a_call()) for _ in range(3)]
    assert [next(turn).seconds for turn in turns] == pytest.approx([1, 2, 3])
    with pytest.raises(LimitExceeded) as caught:
        next(policy.enter(a_call()))
    assert caught.value.retry_after == pytest.approx(4)
    turns.pop().close()  # who goes away leaves his token to the next
    assert next(policy.enter(a_call())).seconds == pytest.approx(3)
    assert policy.rate.snapshot()["refused"] == 1


def test_a_refused_call_uses_no_token_up(fake_clock):
    """The concurrency is full: the rate is not drained by those it turns away."""
    policy = limiting(1, rate="2/h")
    policy.enter(a_call())
    for _ in range(10):
        with pytest.raises(LimitExceeded):
            policy.enter(a_call())
    assert policy.rate.snapshot()["free"] == 1
    policy = limiting(1, rate="2/h", wait="1s")
    policy.enter(a_call())
    asks, ask = stand(policy)
    with pytest.raises(LimitExceeded):
        asks.send(False)
    asks, ask = stand(policy)
    with pytest.raises(asyncio.CancelledError):
        asks.throw(asyncio.CancelledError())
    assert policy.rate.snapshot()["free"] == 1


def test_a_refusal_by_rate_holds_no_permit(fake_clock):
    """The rate is used up: no permit is taken."""
    policy = limiting(5, rate="1/h")
    policy.enter(a_call())
    with pytest.raises(LimitExceeded, match="rate"):
        policy.enter(a_call())
    assert in_use(policy) == 1


def test_both_may_be_waited_for(fake_clock, driven):
    """First for the token, then for the permit, within one bound."""
    policy = limiting(1, rate="1/s", wait="5s")
    assert driven(lambda: "a", policy)() == "a"
    assert driven(lambda: "b", policy)() == "b"
    assert fake_clock.slept == pytest.approx([1])
    holder = a_call()
    fake_clock.seconds += 10
    policy.enter(holder)
    asks, ask = stand(policy)
    assert ask.seconds == pytest.approx(1)
    fake_clock.seconds += 1
    wait = asks.send(None)
    assert wait.until == pytest.approx(fake_clock.seconds + 4)
    release(holder)
    assert end(asks, came=True) is None


def test_the_rate_counts_exactly_under_threads(fake_clock):
    """64 threads at one instant get the count of the rate, not one more."""
    policy = limiting(rate="100/s")
    granted, start = [], threading.Barrier(64)

    def work():
        start.wait()
        for _ in range(10):
            try:
                policy.enter(a_call())
            except LimitExceeded:
                continue
            granted.append(1)

    run_all(work, 64)
    assert len(granted) == 100
    assert policy.rate.snapshot()["refused"] == 540


def run_all(work, count, *args):
    threads = [threading.Thread(target=work, args=args) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# ── per principal, per tenant ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("options", [{"concurrency": 1}, {"rate": "1/h"}, {"concurrency": 1, "rate": "1/h"}])
def test_each_principal_has_a_limit_of_their_own(fake_clock, options):
    """One loud caller does not lock the others out; those without a name share one limit."""
    policy = limiting(**options, per="principal")
    for name in ("ann", "ben"):
        with acting_as(name):
            policy.enter(a_call())
            with pytest.raises(LimitExceeded):
                policy.enter(a_call())
    policy.enter(a_call())
    with pytest.raises(LimitExceeded):
        policy.enter(a_call())
    state = policy.permits or policy.rate
    assert state.snapshot()["keys"] == 2


def test_each_tenant_has_a_limit_of_its_own(fake_clock):
    """Whoever acts for it; a principal without a tenant shares the common one."""
    policy = limiting(1, per="tenant")
    with acting_as(Principal("ann", tenant="north")):
        policy.enter(a_call())
    with acting_as(Principal("ben", tenant="north")), pytest.raises(LimitExceeded):
        policy.enter(a_call())
    with acting_as(Principal("ann", tenant="south")):
        policy.enter(a_call())
    with acting_as("carl"):
        policy.enter(a_call())
    with pytest.raises(LimitExceeded):
        policy.enter(a_call())


def test_a_nested_call_for_somebody_else_takes_their_permit(driven):
    """The same principal's nested call takes none."""
    policy = limiting(1, per="principal")

    def inner():
        return policy.permits.snapshot()["in_use"]

    def outer():
        mine = driven(inner, policy)()
        with acting_as("ben"):
            return mine, driven(inner, policy)()

    with acting_as("ann"):
        assert driven(outer, policy)() == (1, 2)


def test_idle_keys_are_dropped_and_busy_ones_kept():
    """Memory stays bounded whoever comes, and no permit that is out is forgotten."""
    policy = limiting(1, per="principal")
    policy.permits._keys._most = 100
    busy = a_call()
    with acting_as("busy"):
        policy.enter(busy)
    for number in range(5000):
        with acting_as(f"user {number}"):
            call = a_call()
            policy.enter(call)
            release(call)
    assert policy.permits.snapshot()["keys"] <= 101
    with acting_as("busy"), pytest.raises(LimitExceeded):
        policy.enter(a_call())


def test_a_line_keeps_its_key(fake_clock):
    """Somebody waits there: the pool is not dropped, even in an instant without a permit out."""
    policy = limiting(1, per="principal", wait="5s")
    policy.permits._keys._most = 1
    holder, waiter = a_call(), a_call()
    with acting_as("ann"):
        policy.enter(holder)
        asks, _ = stand(policy, waiter)
        pool = policy.permits._keys.find("ann")
        assert pool.pins == 1
        release(holder)
        for number in range(10):
            with acting_as(f"user {number}"):
                policy.enter(a_call())
        assert policy.permits._keys.find("ann") is pool
        end(asks, came=True)
        assert pool.pins == 0
        assert policy.enter(a_call()).__class__.__name__ == "generator"


def test_keys_drop_the_longest_unused_first():
    """LRU among the idle."""
    keys = ByKey(list, lambda state: not state, most=3)
    for key in "abc":
        keys.find(key)
    keys.find("a")
    keys.find("d").append("busy")
    assert set(keys._states) == set("cad")
    keys.find("e")
    keys.find("f")
    assert "d" in keys._states
    assert len(keys) <= 3


# ── after a fork, under load ──────────────────────────────────────────────────────────────────────────────────────────
def test_a_forked_child_has_all_its_permits(driven):
    """What the parent's calls hold is not held in the child; and what the forking call holds makes no extra one there."""
    policy = limiting(2)
    forked = a_call()
    policy.enter(a_call())
    policy.enter(forked)
    pid = os.fork()
    if pid == 0:
        policy.permits.after_fork()
        taken = [a_call(), a_call()]
        for call in taken:
            policy.enter(call)
        release(forked)
        try:
            policy.enter(a_call())
        except LimitExceeded:
            release(taken[0])
            os._exit(0 if policy.enter(a_call()) is None else 2)
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert in_use(policy) == 2


def test_reset_leaves_permits_out(fake_clock):
    """Counts are forgotten; who runs goes on running, and nobody is let in for it."""
    policy = limiting(1, rate="1/h")
    call = a_call()
    policy.enter(call)
    with pytest.raises(LimitExceeded):
        policy.enter(a_call())
    policy.permits.reset()
    policy.rate.reset()
    assert policy.permits.snapshot()["refused"] == policy.rate.snapshot()["refused"] == 0
    assert policy.rate.snapshot()["free"] == 1
    with pytest.raises(LimitExceeded, match="permits"):
        policy.enter(a_call())
    release(call)
    assert policy.enter(a_call()) is None


class Load:
    """Counts who is inside together, and how calls ended."""

    def __init__(self):
        self.inside = 0
        self.most = 0
        self.lock = threading.Lock()
        self.endings = Counter()

    def come(self):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def go(self):
        with self.lock:
            self.inside -= 1

    def count(self, ending):
        with self.lock:
            self.endings[ending] += 1


@pytest.mark.parametrize("wait", [0, "20ms", "20s"])
@pytest.mark.timeout(120)
def test_512_threads_lose_and_invent_no_permit(driven, wait):
    """Never more than 8 inside; afterwards all 8 are free; with enough patience everybody has had a turn."""
    policy, load = limiting(8, wait=wait), Load()

    def work():
        load.come()
        time.sleep(0.0005)
        load.go()

    def caller():
        for _ in range(4):
            try:
                driven(work, policy)()
            except LimitExceeded:
                load.count("refused")
            else:
                load.count("ok")

    run_all(caller, 512)
    assert load.most <= 8
    assert sum(load.endings.values()) == 2048
    assert policy.permits.snapshot() | {"in_use": 0, "waiting": 0} == policy.permits.snapshot()
    assert load.endings["ok"] >= 8
    if wait == "20s":
        assert load.endings["ok"] == 2048
    assert_all_free(policy, 8)


@pytest.mark.timeout(120)
def test_5000_tasks_lose_and_invent_no_permit(driven):
    """A third of them are cancelled at random moments, most while they stand in line."""
    policy, load = limiting(8, wait="30s"), Load()
    dice = random.Random(7)

    async def work():
        load.come()
        try:
            await asyncio.sleep(0)
        finally:
            load.go()

    async def main():
        tasks = [asyncio.create_task(driven(work, policy).later()) for _ in range(5000)]
        victims = dice.sample(tasks, 1700)
        for number, victim in enumerate(victims):
            victim.cancel()
            if number % 20 == 0:
                await asyncio.sleep(0)
        return await asyncio.gather(*tasks, return_exceptions=True)

    endings = Counter(type(ending).__name__ for ending in asyncio.run(main()))
    assert load.most <= 8
    assert endings["NoneType"] >= 3300
    assert endings["NoneType"] + endings["CancelledError"] == 5000
    assert_all_free(policy, 8)


@pytest.mark.timeout(120)
def test_threads_and_tasks_share_one_line(driven):
    """Two loops and 64 threads, short patience, cancelled tasks: nothing is lost, nothing made up."""
    policy, load = limiting(4, wait="30ms"), Load()

    def work():
        load.come()
        time.sleep(0.001)
        load.go()

    async def awork():
        load.come()
        try:
            await asyncio.sleep(0.001)
        finally:
            load.go()

    def caller():
        for _ in range(10):
            try:
                driven(work, policy)()
            except LimitExceeded:
                load.count("refused")
            else:
                load.count("ok")

    def loop(seed):
        dice = random.Random(seed)

        async def main():
            tasks = [asyncio.create_task(driven(awork, policy).later()) for _ in range(400)]
            for task in tasks:
                if dice.random() < 0.3:
                    asyncio.get_running_loop().call_later(dice.random() * 0.05, task.cancel)
            for ending in await asyncio.gather(*tasks, return_exceptions=True):
                load.count(type(ending).__name__)

        asyncio.run(main())

    threads = [threading.Thread(target=caller) for _ in range(64)]
    threads += [threading.Thread(target=loop, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load.most <= 4
    assert sum(load.endings.values()) == 640 + 800
    assert set(load.endings) <= {"ok", "refused", "NoneType", "LimitExceeded", "CancelledError"}
    assert_all_free(policy, 4)


def assert_all_free(policy, size):
    """Exactly `size` calls get in now."""
    calls = [a_call() for _ in range(size)]
    for call in calls:
        assert policy.enter(call) is None
    assert not policy.permits._take(a_call(), policy.permits.common)
    assert in_use(policy) == size
    for call in calls:
        release(call)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_order_of_events_keeps_every_permit(data):
    """Calls come, wait, give up, are cancelled, end, in any order: permits out + free is always the size, and fair."""
    size = data.draw(st.integers(1, 3))
    policy = limiting(size, wait="1h")
    running, waiting = [], []
    for _ in range(data.draw(st.integers(1, 60))):
        choice = data.draw(st.sampled_from(["come", "come", "end", "give up", "cancel", "notice"]))
        if choice == "come":
            call = a_call()
            turn = policy.enter(call)
            if turn is None:
                running.append(call)
            else:
                waiting.append((turn, next(turn), call))
        elif choice == "end" and running:
            release(running.pop(data.draw(st.integers(0, len(running) - 1))))
        elif choice in ("give up", "cancel") and waiting:
            turn, ask, call = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
            try:
                if choice == "cancel":
                    turn.throw(asyncio.CancelledError())
                else:
                    turn.send(ask.signal.done())
            except (asyncio.CancelledError, LimitExceeded):
                pass
            except StopIteration:
                running.append(call)
        elif choice == "notice":
            done = [entry for entry in waiting if entry[1].signal.done()]
            assert done == waiting[: len(done)]  # first come first served
            for entry in done:
                waiting.remove(entry)
                with pytest.raises(StopIteration):
                    entry[0].send(True)
                running.append(entry[2])
        granted = sum(entry[1].signal.done() for entry in waiting)
        assert in_use(policy) == len(running) + granted <= size
        assert granted == len(waiting) or in_use(policy) == size  # nobody waits beside a free permit
    for turn, _, _ in waiting:
        turn.close()
    for call in running:
        release(call)
    assert in_use(policy) == 0
