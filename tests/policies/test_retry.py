"""The option `Retry` and its two hooks: what is tried again, when, how often, and what the caller is told."""

import asyncio
import email.utils
import io
import json
import subprocess
import sys
import threading
import urllib.error
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import cloudpickle
import httpx
import pytest
import tenacity

from guardrail import notices
from guardrail.errors import (
    AccessDenied,
    BudgetExceeded,
    CircuitOpen,
    ConfigError,
    Deferred,
    InvalidInput,
    InvalidOutput,
    LimitExceeded,
)
from guardrail.policies.retry import Retry, Retrying, retry_of
from guardrail.policies.retry_budget import RetryBudget
from guardrail.policies.transient import is_transient, retry_after


def retrying(option=None, **options):
    """The policy with a state of its own."""
    option = Retry(**options) if option is None else retry_of(option)
    return Retrying(option, RetryBudget(option))


class Flaky:
    """Fails with each of some errors in turn, then answers."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, *_):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    async def later(self, *_):
        return self()


def always(error):
    """A function that never answers."""
    return Flaky(*[error] * 10_000)


# ── the option ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_number_counts_the_first_attempt():
    """retry=3 is the first attempt and two more."""
    assert retry_of(3) == Retry(3) == Retry(attempts=3)
    assert retry_of(None) is None
    assert retry_of(Retry(2)) == Retry(2)


@pytest.mark.parametrize("option", [True, False, 0, -1, 2.0, "3", [3], lambda: 3])
def test_a_wrong_option_is_refused_with_what_to_write(option):
    """A wrong type or number is a ConfigError that shows the right spelling."""
    with pytest.raises(ConfigError, match="write retry="):
        retry_of(option)


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": True},
        {"wait": "soon"},
        {"wait": -1},
        {"wait": "10s", "max_wait": "1s"},
        {"budget": 0},
        {"budget": 1.5},
        {"budget": True},
        {"on": []},
        {"on": "TimeoutError"},
        {"on": [TimeoutError("x")]},
        {"on": 5},
    ],
)
def test_wrong_fields_are_refused_when_built(options):
    """Each field is checked at once, not at the first failure."""
    with pytest.raises(ConfigError):
        Retry(**options)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, BaseException, InvalidInput, Deferred])
def test_what_is_never_retried_cannot_be_named(kind):
    """Naming an exception that ends the program, or one of our own final ones, is an error and not ignored."""
    with pytest.raises(ConfigError, match=f"{kind.__name__} is never retried"):
        Retry(on=[TimeoutError, kind])


def test_one_type_means_the_same_as_a_list_of_one():
    """A class is callable too, and must not be taken for a predicate that says yes to everything."""
    assert Retry(on=KeyError) == Retry(on=[KeyError])
    with pytest.raises(ConfigError, match="KeyboardInterrupt is never retried"):
        Retry(on=KeyboardInterrupt)


def test_the_option_is_a_value():
    """Equal by value, hashable, frozen, and cloudpickle carries it, predicate and tenacity object included."""
    assert Retry(2, wait="100ms") == Retry(2, wait=timedelta(seconds=0.1))
    assert hash(Retry(2)) == hash(Retry(2)) != hash(Retry(3))
    with pytest.raises(AttributeError):
        Retry().attempts = 5
    for option in (
        Retry(2, on=[KeyError]),
        Retry(on=lambda error: "again" in str(error)),
        retry_of(tenacity.Retrying()),
    ):
        copy = cloudpickle.loads(cloudpickle.dumps(option))
        assert (copy.attempts, copy.wait, copy.budget) == (option.attempts, option.wait, option.budget)
    assert cloudpickle.loads(cloudpickle.dumps(Retry(2, on=[KeyError]))) == Retry(2, on=[KeyError])


def test_the_text_of_an_option_is_the_same_in_every_process():
    """No address stands in it, so that a plan's digest means the same everywhere."""
    for option in (Retry(on=[KeyError]), Retry(on=lambda _: True), retry_of(tenacity.Retrying())):
        assert "0x" not in repr(option)
        assert "Retry" in repr(option)


# ── what is tried again ───────────────────────────────────────────────────────────────────────────────────────────────
def test_a_transient_error_is_tried_again(fake_clock, driven):
    """The answer of the second attempt is the answer of the call."""
    fn = Flaky(ConnectionResetError("gone"))
    guard = driven(fn, retrying())
    assert guard() == "answer"
    assert (fn.calls, guard.last.attempts, guard.last.stop_reason) == (2, 2, None)


def test_the_original_exception_is_raised(fake_clock, driven):
    """Same object, type, args and traceback, and one note that says how often and why it stopped."""
    error = ConnectionResetError(104, "reset")
    guard = driven(always(error), retrying(attempts=3))
    with pytest.raises(ConnectionResetError) as caught:
        guard()
    assert caught.value is error
    assert error.args == (104, "reset")
    assert guard.last.stop_reason == "attempts"
    assert [note.rsplit(" in ", 1)[0] for note in error.__notes__] == ["guardrail: tried 3 times"]
    assert error.__notes__[0].endswith("s; stopped: attempts (bureau)")
    frames = [frame.name for frame in caught.traceback]
    assert "iter" not in frames  # nothing of tenacity's in it
    assert frames[-1] == "__call__"


def test_an_exception_object_raised_again_and_again_keeps_one_note(fake_clock, driven):
    """A singleton exception does not collect a note for each call."""
    error = TimeoutError()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            driven(always(error), retrying(attempts=2))()
    assert len(error.__notes__) == 1
    with pytest.raises(TimeoutError):
        driven(always(error), retrying(attempts=2), name="outer")()
    assert len(error.__notes__) == 2


def test_an_attempt_that_was_not_repeated_gets_no_note(fake_clock, driven):
    """Where nothing was tried again and nothing was held back, the exception stays as it is."""
    for error, options in ((ValueError("bad"), {}), (TimeoutError(), {"attempts": 1})):
        guard = driven(always(error), retrying(**options))
        with pytest.raises(type(error)):
            guard()
        assert not hasattr(error, "__notes__")
        assert guard.last.attempts == 1
    assert guard.last.stop_reason == "attempts"


@pytest.mark.parametrize(
    "ending", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, type("Own", (BaseException,), {})]
)
@pytest.mark.parametrize("option", [Retry(5, on=lambda _: True), tenacity.Retrying(retry=tenacity.retry_always)])
def test_what_is_no_exception_passes_at_once(fake_clock, driven, ending, option):
    """Neither our predicate nor a tenacity strategy is even asked: no interrupt is swallowed, no cancelled task goes on."""
    fn = always(ending())
    with pytest.raises(ending):
        driven(fn, retrying(option))()
    assert fn.calls == 1


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("x"),
        AccessDenied("x"),
        Deferred("x"),
        ConfigError("x"),
        CircuitOpen("x"),
        LimitExceeded("x"),
        InvalidOutput("x"),
    ],
)
def test_our_own_refusals_are_not_tried_again(fake_clock, driven, error):
    """They would say the same again; a refusal of which nobody knows when it ends too."""
    for option in (Retry(3), tenacity.Retrying(stop=tenacity.stop_after_attempt(3))):
        if isinstance(error, InvalidOutput) and not isinstance(option, Retry):
            continue  # that one is for tenacity to judge
        fn = always(error)
        with pytest.raises(type(error)):
            driven(fn, retrying(option))()
        assert fn.calls == 1


def test_a_wrong_output_is_tried_again_if_it_is_named(fake_clock, driven):
    """A language model may do better the second time."""
    fn = Flaky(InvalidOutput("x"))
    assert driven(fn, retrying(on=[InvalidOutput]))() == "answer"


def test_an_open_breaker_is_waited_for_if_that_fits(fake_clock, driven):
    """With a known end inside the deadline it is worth waiting; it costs no token, since it cost the dependency nothing."""
    fn = Flaky(CircuitOpen("x", retry_after=2.0))
    guard = driven(fn, retrying(), deadline=10)
    assert guard() == "answer"
    assert fake_clock.slept == [2.0]
    assert guard.policies[0].budget.tokens == 10
    guard = driven(always(CircuitOpen("x", retry_after=2.0)), retrying(attempts=9), deadline=1)
    with pytest.raises(CircuitOpen):
        guard()
    assert guard.last.stop_reason == "retry_after"


def test_refused_attempts_count_as_attempts(fake_clock, driven):
    """A refusal that is always nearly over does not keep a call going for ever."""
    refused = Flaky()

    class Refuses:
        def enter(self, call):
            refused.calls += 1
            raise LimitExceeded("full", retry_after=0.01)

    guard = driven(Flaky(), retrying(attempts=4), Refuses())
    with pytest.raises(LimitExceeded):
        guard()
    assert (refused.calls, guard.last.attempts, guard.last.stop_reason) == (4, 0, "attempts")
    assert not hasattr(guard.last.error, "__notes__")  # nothing was tried


def test_a_late_attempt_is_tried_again_while_there_is_time(fake_clock, driven):
    """The deadline of one attempt is transient; the deadline of the call is the end."""

    def slow():
        fake_clock.seconds += 1
        if fake_clock.seconds < 1002:
            raise BudgetExceeded("late")
        return "answer"

    assert driven(slow, retrying(), deadline=10)() == "answer"
    guard = driven(always(BudgetExceeded("late")), retrying(), deadline=0)
    with pytest.raises(BudgetExceeded):
        guard()
    assert (guard.last.attempts, guard.last.stop_reason) == (1, "deadline")


def test_a_call_of_the_wrong_shape_is_not_tried_again(fake_clock, driven):
    """Python refused the arguments; it will again."""

    class Validation:
        def enter(self, call):
            call.misshapen = True
            raise TypeError

    guard = driven(Flaky(), retrying(on=[TypeError]), Validation())
    with pytest.raises(TypeError):
        guard()
    assert guard.last.stop_reason == "not_retryable"


def test_on_says_what_is_transient(fake_clock, driven):
    """Types replace the default, and so does a predicate."""
    assert driven(Flaky(KeyError()), retrying(on=[KeyError, LookupError]))() == "answer"
    with pytest.raises(TimeoutError):
        driven(Flaky(TimeoutError()), retrying(on=[KeyError]))()
    assert driven(Flaky(RuntimeError("again")), retrying(on=lambda error: "again" in str(error)))() == "answer"
    with pytest.raises(RuntimeError):
        driven(Flaky(RuntimeError("no")), retrying(on=lambda error: "again" in str(error)))()


def test_a_predicate_that_fails_loses_nothing(fake_clock, driven):
    """The function's own exception is raised, and the bug is said once."""

    def broken(error):
        raise ZeroDivisionError

    with pytest.raises(TimeoutError):
        driven(always(TimeoutError()), retrying(on=broken))()
    count, text = notices.counts()["bureau", "retry_predicate"]
    assert count == 1
    assert "ZeroDivisionError" in text


# ── how long between ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_pause_is_drawn_from_a_range_that_doubles(fake_clock, driven):
    """Full jitter: even in [0, wait * 2 ** n], never beyond max_wait."""
    fake_clock.chance = 1.0
    with pytest.raises(TimeoutError):
        driven(always(TimeoutError()), retrying(attempts=6, wait="100ms", max_wait="500ms"))()
    assert fake_clock.slept == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])
    fake_clock.slept.clear()
    fake_clock.chance = 0.0
    with pytest.raises(TimeoutError):
        driven(always(TimeoutError()), retrying(attempts=3))()
    assert fake_clock.slept == [0, 0]


def test_a_thousand_attempts_do_not_overflow(fake_clock, driven):
    """The doubling stops somewhere."""
    fake_clock.chance = 0.0
    fn = always(TimeoutError())
    with pytest.raises(TimeoutError):
        driven(fn, retrying(attempts=1500))()
    assert fn.calls == 1500


def test_no_pause_ends_after_the_deadline(fake_clock, driven):
    """Instead of it the call ends, while the fallback still has time."""
    fake_clock.chance = 1.0
    guard = driven(always(TimeoutError()), retrying(attempts=9, wait="1s"), deadline=4)
    with pytest.raises(TimeoutError) as caught:
        guard()
    assert fake_clock.slept == [1, 2]
    assert guard.last.stop_reason == "deadline"
    assert caught.value.__notes__ == ["guardrail: tried 3 times in 3.00 s; stopped: deadline (bureau)"]


def test_no_attempt_begins_that_has_no_time(fake_clock, driven):
    """What an attempt usually takes is known from those that succeeded lately."""
    policy = retrying(attempts=2, wait=0, max_wait="1s")

    def answers():
        fake_clock.seconds += 0.3
        return "answer"

    with pytest.raises(TimeoutError):
        driven(always(TimeoutError()), policy, deadline=0.001)()
    driven(answers, policy)()
    guard = driven(always(TimeoutError()), policy, deadline=0.25)
    with pytest.raises(TimeoutError):
        guard()
    assert (guard.last.attempts, guard.last.stop_reason) == (1, "deadline")
    assert "tried once" in guard.last.error.__notes__[-1]


@pytest.mark.parametrize("header", ["3", "3.0", "date"])
def test_retry_after_is_honoured(fake_clock, driven, header):
    """Seconds or a date: the pause is as long as the sender asks."""
    text = email.utils.formatdate(fake_clock.wall() + 3, usegmt=True) if header == "date" else header
    error = urllib.error.HTTPError("http://x", 503, "busy", {"Retry-After": text}, io.BytesIO())
    assert driven(Flaky(error), retrying(), deadline=60)() == "answer"
    assert fake_clock.slept == pytest.approx([3.0], abs=1)  # an HTTP date has whole seconds


def test_a_retry_after_that_does_not_fit_ends_the_call(fake_clock, driven):
    """Neither past the deadline nor, without one, longer than max_wait."""
    for deadline, asked, fits in ((10, 11, False), (10, 9, True), (None, 6, False), (None, 5, True)):
        error = httpx.HTTPStatusError(
            "",
            request=httpx.Request("GET", "http://x"),
            response=httpx.Response(429, headers={"Retry-After": str(asked)}),
        )
        guard = driven(Flaky(error), retrying(), deadline=deadline)
        if fits:
            assert guard() == "answer"
        else:
            with pytest.raises(httpx.HTTPStatusError):
                guard()
            assert guard.last.stop_reason == "retry_after"
            assert "tried once" in error.__notes__[0]


def test_what_a_sender_asks_for_is_read_with_care():
    """Ours, a timedelta, botocore's dictionary; nonsense is no answer."""
    assert retry_after(CircuitOpen(retry_after=1.5)) == 1.5
    for own, seconds in (
        (timedelta(seconds=2), 2),
        (3, 3),
        (-1, None),
        (float("nan"), None),
        (True, None),
        ("4", None),
    ):
        error = RuntimeError()
        error.retry_after = own
        assert retry_after(error) == seconds
    error = RuntimeError()
    error.response = {"ResponseMetadata": {"HTTPHeaders": {"retry-after": "7"}}}
    assert retry_after(error) == 7
    for text in ("soon", "", "-3", "inf", "Wed, 99 Nov 2026 99:99:99 GMT"):
        error = RuntimeError()
        error.headers = {"retry-after": text}
        assert retry_after(error) is None
    assert retry_after(None) is None


# ── how often ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_outage_is_not_multiplied(fake_clock, driven):
    """1,000 calls of 3 attempts each against a dead dependency make about 1,003 requests, not 3,000."""
    fn = always(ConnectionRefusedError())
    guard = driven(fn, retrying(attempts=3))
    for _ in range(1000):
        with pytest.raises(ConnectionRefusedError):
            guard()
    assert 1000 < fn.calls <= 1010
    assert guard.last.stop_reason == "retry_budget"
    assert guard.policies[0].budget.snapshot()["suppressed"] == pytest.approx(1000, abs=5)


@pytest.mark.parametrize("attempts", [2, 3, 5, 8, 30])
def test_the_retries_of_one_caller_work_from_the_first_call(fake_clock, driven, attempts):
    """A full budget suffices for every attempt of one call."""
    fn = always(TimeoutError())
    with pytest.raises(TimeoutError):
        driven(fn, retrying(attempts=attempts, wait=0))()
    assert fn.calls == attempts


def test_successes_earn_retries_back(fake_clock, driven):
    """After an outage the dependency's successes pay for further retries, ten for one."""
    policy = retrying(attempts=2)
    for _ in range(50):
        with pytest.raises(TimeoutError):
            driven(always(TimeoutError()), policy)()
    assert policy.budget.tokens == 0
    for successes, retried in ((60, False), (20, True)):
        for _ in range(successes):
            driven(Flaky(), policy)()
        fn = Flaky(TimeoutError())
        if retried:
            assert driven(fn, policy)() == "answer"
        else:
            policy.budget.tokens = 5.9
            with pytest.raises(TimeoutError):
                driven(fn, policy)()
    for _ in range(1000):
        driven(Flaky(), policy)()
    assert policy.budget.tokens == 10
    assert not policy.budget.short


def test_the_budget_counts_exactly_under_threads():
    """Tokens are neither lost nor made up when 8 threads spend and earn."""
    budget = RetryBudget(Retry(3, budget=1.0))
    budget.most = budget.tokens = 1e6

    def work():
        for _ in range(2000):
            budget.spend()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.tokens == 1e6 - 16_000
    budget.reset()
    assert (budget.tokens, budget.short) == (1e6, False)


# ── tenacity ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_tenacity_is_imported_by_the_first_failure_only():
    """A guard that never fails does not pay 40 ms for it; one that fails does, or `warm`."""
    code = """
import sys, json
from types import SimpleNamespace
from guardrail.call import Call
from guardrail.policies.retry import Retry, Retrying, RetryBudget, retry_of
policy = Retrying(retry_of(3), RetryBudget(Retry(3)))
call = Call(SimpleNamespace(name="g"), (), {}, None, 0.0)
seen = []
for error in (None, ValueError(), TimeoutError()):
    call.error = error
    turn = policy.leave(call)
    if turn is not None:
        next(turn)
    seen.append("tenacity" in sys.modules)
print(json.dumps(seen))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, False, True]


def test_a_tenacity_object_rules(fake_clock, driven):
    """Its stop, wait, retry and its hooks before, after and before_sleep are all heard."""
    heard = []
    own = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(4),
        wait=tenacity.wait_fixed(2) + tenacity.wait_incrementing(0, 1),
        retry=tenacity.retry_if_exception_type(KeyError),
        before=lambda state: heard.append(("before", state.attempt_number)),
        after=lambda state: heard.append(("after", state.attempt_number)),
        before_sleep=lambda state: heard.append(("before_sleep", state.next_action.sleep, state.fn.__name__)),
        reraise=True,
    )

    def unlucky():
        raise KeyError("k")

    guard = driven(unlucky, retrying(own))
    with pytest.raises(KeyError) as caught:
        guard()
    assert fake_clock.slept == [2, 3, 4]
    assert guard.last.stop_reason == "attempts"
    assert "tried 4 times" in caught.value.__notes__[0]
    assert heard == [
        ("before", 1), ("after", 1), ("before_sleep", 2.0, "unlucky"),
        ("before", 2), ("after", 2), ("before_sleep", 3.0, "unlucky"),
        ("before", 3), ("after", 3), ("before_sleep", 4.0, "unlucky"),
        ("before", 4), ("after", 4),
    ]  # fmt: skip
    fn = Flaky(TimeoutError())
    with pytest.raises(TimeoutError):
        driven(fn, retrying(own))()
    assert fn.calls == 1


def test_tenacity_is_bounded_by_the_deadline_too(fake_clock, driven):
    """Whatever it would like to wait, and its hooks are not told of a pause that does not come."""
    heard = []
    own = tenacity.Retrying(wait=tenacity.wait_fixed(2), before_sleep=lambda state: heard.append(state.attempt_number))
    guard = driven(always(TimeoutError()), retrying(own), deadline=5)
    with pytest.raises(TimeoutError):
        guard()
    assert fake_clock.slept == [2, 2]
    assert heard == [1, 2]
    assert guard.last.stop_reason == "deadline"


def test_an_endless_tenacity_object_is_bounded_by_the_retry_budget(fake_clock, driven):
    """stop_never does not multiply an outage for ever."""
    guard = driven(always(TimeoutError()), retrying(tenacity.Retrying(wait=tenacity.wait_fixed(1))))
    with pytest.raises(TimeoutError):
        guard()
    assert guard.last.stop_reason == "retry_budget"


def test_stop_after_delay_counts_from_the_start_of_the_call(fake_clock, driven):
    """On the library's clock."""
    own = tenacity.Retrying(stop=tenacity.stop_after_delay(5), wait=tenacity.wait_fixed(2))
    with pytest.raises(TimeoutError):
        driven(always(TimeoutError()), retrying(own))()
    assert fake_clock.slept == [2, 2, 2]


def test_a_retry_error_of_the_users_own_is_raised(fake_clock, driven):
    """The default RetryError is not: the original exception is."""

    class GaveUp(tenacity.RetryError):
        pass

    stop = tenacity.stop_after_attempt(2)
    with pytest.raises(TimeoutError):
        driven(always(TimeoutError()), retrying(tenacity.Retrying(stop=stop)))()
    error = TimeoutError()
    guard = driven(always(error), retrying(tenacity.Retrying(stop=stop, retry_error_cls=GaveUp)))
    with pytest.raises(GaveUp) as caught:
        guard()
    assert caught.value.__cause__ is error
    assert "stopped: attempts" in caught.value.__notes__[0]
    own = tenacity.Retrying(stop=stop, retry_error_callback=lambda state: ("instead", state.attempt_number))
    guard = driven(always(TimeoutError()), retrying(own))
    assert guard() == ("instead", 2)
    assert guard.last.stop_reason == "attempts"


def test_a_result_may_be_tried_again_by_tenacity(fake_clock, driven):
    """A strategy that looks at results sees them, and RetryError ends it if none will do."""
    answers = iter([None, None, 7])
    own = tenacity.Retrying(retry=tenacity.retry_if_result(lambda value: value is None), stop=tenacity.stop_after_attempt(3))
    guard = driven(lambda: next(answers), retrying(own))
    assert guard() == 7
    assert guard.last.attempts == 3
    with pytest.raises(tenacity.RetryError):
        driven(lambda: None, retrying(own))()
    with pytest.raises(TimeoutError):
        driven(always(TimeoutError()), retrying(own))()


@pytest.mark.parametrize(
    ("strategy", "looks"),
    [
        (tenacity.retry_if_exception_type(KeyError), False),
        (tenacity.retry_if_exception_type(KeyError) | tenacity.retry_if_exception_message(match="x"), False),
        (tenacity.retry_if_exception_type(KeyError) | tenacity.retry_if_result(bool), True),
        (tenacity.retry_if_exception_type(KeyError) & tenacity.retry_if_result(bool), False),
        (tenacity.retry_unless_exception_type(KeyError), True),
        (tenacity.retry_never, False),
        (lambda state: False, True),
    ],
)
def test_only_strategies_that_look_at_results_cost_a_success_anything(strategy, looks):
    """Where a strategy is about errors, a success does not reach tenacity."""
    assert retrying(tenacity.Retrying(retry=strategy))._judges_results is looks


def test_a_disabled_tenacity_object_retries_nothing(fake_clock, driven):
    """enabled=False is heard."""
    fn = always(TimeoutError())
    with pytest.raises(TimeoutError):
        driven(fn, retrying(tenacity.Retrying(enabled=False)))()
    assert fn.calls == 1


def test_the_sleep_of_a_tenacity_object_is_used(fake_clock, driven):
    """A function that sleeps its own way goes on doing so, awaited where it has to be."""
    slept = []

    async def asleep(seconds):
        slept.append(("async", seconds))

    own = tenacity.Retrying(sleep=slept.append, wait=tenacity.wait_fixed(2), stop=tenacity.stop_after_attempt(3))
    assert driven(Flaky(OSError()), retrying(own))() == "answer"
    assert slept == [2]
    own = tenacity.AsyncRetrying(sleep=asleep, wait=tenacity.wait_fixed(2))
    assert asyncio.run(driven(Flaky(OSError()).later, retrying(own)).later()) == "answer"
    assert slept == [2, ("async", 2)]
    assert fake_clock.slept == []


def test_an_async_tenacity_object_may_have_async_hooks(fake_clock, driven):
    """Each of its parts is awaited."""
    heard = []

    async def wait(state):
        await asyncio.sleep(0)
        return 2

    async def stop(state):
        await asyncio.sleep(0)
        return state.attempt_number >= 3

    async def before_sleep(state):
        await asyncio.sleep(0)
        heard.append(state.attempt_number)

    own = tenacity.AsyncRetrying(wait=wait, stop=stop, before_sleep=before_sleep)
    fn = always(OSError())
    guard = driven(fn.later, retrying(own))
    with pytest.raises(OSError):
        asyncio.run(guard.later())
    assert (fn.calls, heard, fake_clock.slept, guard.last.stop_reason) == (3, [1, 2], [2, 2], "attempts")
    with pytest.raises(ConfigError, match="give it a tenacity.Retrying"):
        driven(always(OSError()), retrying(own))()


def test_an_async_tenacity_object_without_waiting_parts_serves_a_plain_function(fake_clock, driven):
    """Only what really waits needs an event loop."""
    assert driven(Flaky(OSError()), retrying(tenacity.AsyncRetrying(wait=tenacity.wait_fixed(1))))() == "answer"
    assert fake_clock.slept == [1]


def test_tasks_that_share_a_tenacity_object_do_not_disturb_each_other(driven):
    """The state of an iteration is each call's own, also when hooks really wait in the middle of it."""

    async def wait(state):
        await asyncio.sleep(0.001)
        return 0

    own = tenacity.AsyncRetrying(wait=wait, stop=tenacity.stop_after_attempt(3))
    policy = retrying(own)
    policy.budget.most = policy.budget.tokens = 1000.0

    async def main():
        calls = [Flaky(OSError(), *[OSError()] * (n % 3)) for n in range(30)]
        answers = await asyncio.gather(*(driven(fn.later, policy).later() for fn in calls), return_exceptions=True)
        return [fn.calls for fn in calls], answers

    calls, answers = asyncio.run(main())
    assert calls == [min(3, 2 + n % 3) for n in range(30)]
    assert [isinstance(answer, OSError) for answer in answers] == [n % 3 == 2 for n in range(30)]


def test_a_cancelled_pause_ends_the_call_and_leaves_nothing(driven):
    """CancelledError passes through the pause; the call keeps no retry state."""
    fn = always(OSError())
    guard = driven(fn.later, retrying(on=[OSError], wait="10s", max_wait="10s"))

    async def main():
        task = asyncio.create_task(guard.later())
        while not fn.calls:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert guard.last.tries is None
    assert isinstance(guard.last.error, asyncio.CancelledError)


def test_no_state_of_a_call_stays_behind(fake_clock, driven):
    """Neither a success nor a failure after retries leaves the arguments or the exception on the call."""
    policy = retrying(attempts=2)
    for fn in (Flaky(TimeoutError()), always(TimeoutError()), Flaky(TimeoutError(), ValueError())):
        guard = driven(fn, policy)
        try:
            guard("secret")
        except (TimeoutError, ValueError):
            pass
        assert guard.last.tries is None


def test_an_observer_can_ask_without_spending(fake_clock):
    """What would be tried again is known without a token."""
    policy = retrying(attempts=2)
    assert policy.would_retry(TimeoutError())
    assert not policy.would_retry(ValueError())
    assert not policy.would_retry(KeyboardInterrupt())
    own = retrying(tenacity.Retrying(retry=tenacity.retry_if_exception_type(KeyError)))
    assert own.would_retry(KeyError())
    assert not own.would_retry(TimeoutError())
    assert policy.budget.tokens == 10


# ── which errors are transient ────────────────────────────────────────────────────────────────────────────────────────
def shaped(name, *bases, **facts):
    """An exception that looks like a client's, from package "package.Class"."""
    module, _, kind = name.rpartition(".")
    error = type(kind, bases or (Exception,), {"__module__": module})()
    for fact, value in facts.items():
        setattr(error, fact, value)
    return error


class Response:
    def __init__(self, status_code):
        self.status_code = status_code


@pytest.mark.parametrize(
    ("status", "transient"),
    [(200, False), (400, False), (401, False), (404, False), (408, True), (409, False), (422, False), (429, True), (500, True),
     (501, False), (502, True), (503, True), (504, True), (505, False), (529, True), (600, False), (0, False)],
)  # fmt: skip
@pytest.mark.parametrize("spelling", ["response", "status", "status_code", "code", "botocore"])
def test_http_statuses_are_found_however_they_are_spelt(status, transient, spelling):
    """requests and httpx, aiohttp, openai and anthropic, urllib, botocore."""
    if spelling == "response":
        error = shaped("requests.exceptions.HTTPError", response=Response(status))
    elif spelling == "botocore":
        facts = {"Error": {}, "ResponseMetadata": {"HTTPStatusCode": status}}
        error = shaped("botocore.exceptions.ClientError", response=facts)
    else:
        error = shaped("client.Error", **{spelling: status})
    assert is_transient(error) is transient


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (TimeoutError(), True),
        (ConnectionError(), True),
        (BrokenPipeError(), True),
        (ValueError(), False),
        (TypeError(), False),
        (KeyError(), False),
        (RuntimeError(), False),
        (FileNotFoundError(), False),
        (UnicodeDecodeError("utf-8", b"", 0, 1, ""), False),
        (httpx.ConnectError(""), True),
        (httpx.ReadTimeout(""), True),
        (httpx.UnsupportedProtocol(""), False),
        (httpx.LocalProtocolError(""), False),
        (httpx.InvalidURL(""), False),
        (httpx.DecodingError(""), False),
        (urllib.error.URLError(ConnectionRefusedError()), True),
        (urllib.error.URLError("unknown url type"), False),
        (shaped("requests.exceptions.ConnectionError", OSError), True),
        (shaped("requests.exceptions.InvalidURL", OSError, ValueError), False),
        (shaped("aiohttp.client_exceptions.ClientConnectionError"), True),
        (shaped("openai.APIConnectionError"), True),
        (shaped("anthropic.APIConnectionError"), True),
        (shaped("mine.APIConnectionError"), False),
        (shaped("mine.Strange", status="503", code="503"), False),
        (shaped("mine.Strange", status=True), False),
        (CircuitOpen(retry_after=1), True),
        (CircuitOpen(), False),
        (BudgetExceeded(), True),
        (InvalidOutput(), False),
    ],
)
def test_errors_are_judged_by_their_shape(error, transient):
    """No client is imported for it."""
    assert is_transient(error) is transient


def test_the_final_relatives_of_transient_errors_are_final():
    """A wrong certificate or password does not heal in a second."""
    base = type(shaped("requests.exceptions.ConnectionError"))
    assert not is_transient(shaped("requests.exceptions.SSLError", base))
    base = type(shaped("redis.exceptions.ConnectionError"))
    assert not is_transient(shaped("redis.exceptions.AuthenticationError", base))


@pytest.mark.parametrize(
    ("name", "transient"),
    [("UNAVAILABLE", True), ("DEADLINE_EXCEEDED", True), ("RESOURCE_EXHAUSTED", True), ("NOT_FOUND", False)],
)
def test_grpc_codes_are_read(name, transient):
    """A code is a method there."""

    class Code:
        pass

    Code.name = name
    assert is_transient(shaped("grpc.RpcError", code=lambda: Code)) is transient


def test_an_error_with_hostile_properties_is_only_looked_at():
    """A property that raises is no answer."""

    class Hostile(Exception):
        @property
        def response(self):
            raise RuntimeError

        def code(self, needed):
            raise RuntimeError

    assert not is_transient(Hostile())
    assert retry_after(Hostile()) is None


def test_against_a_real_server(driven, monkeypatch):
    """503 twice with Retry-After, then an answer, over a real socket."""
    statuses = [503, 429, 200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(statuses.pop(0))
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:

        def ask():
            response = httpx.get(f"http://127.0.0.1:{server.server_port}/", trust_env=False)
            response.raise_for_status()
            return response.text

        guard = driven(ask, retrying(wait="1ms", max_wait="5ms"))
        assert guard() == "ok"
        assert guard.last.attempts == 3
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    refused = driven(ask, retrying(wait="1ms", max_wait="5ms"))
    with pytest.raises(httpx.ConnectError):
        refused()
    assert refused.last.attempts == 3
