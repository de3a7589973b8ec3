"""Drives tenacity through its own sans-IO `iter(state)`: it says whether and how long to pause, our drivers wait."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import Any, Final, cast

import tenacity
import tenacity.asyncio.retry as async_retry

from guardrail import clock
from guardrail.asks import Ask, Do, Sleep
from guardrail.call import Call
from guardrail.errors import ConfigError
from guardrail.theirs import set_context, set_traceback

Rule = Callable[[float, float | None], str | None]  # (pause, seconds that the sender asks for) -> why to stop, None to go on
_ONLY_ERRORS: Final = (
    tenacity.retry_if_exception,
    tenacity.retry_if_exception_cause_type,
    async_retry.retry_if_exception,
)
_RESULTS_TOO: Final = (tenacity.retry_unless_exception_type, tenacity.retry_if_not_exception_message)


def engine(attempts: int, wait: float, max_wait: float) -> tenacity.Retrying:
    """Return a retrying object with full jitter: uniform in [0, min(max_wait, wait * 2 ** n)] before retry n, from 0.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def full_jitter(state: tenacity.RetryCallState) -> float:
        return clock.chance() * min(max_wait, wait * 2.0 ** min(state.attempt_number - 1, 64))

    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts), wait=full_jitter, retry=tenacity.retry_always, reraise=True
    )


def attempts_of(stop: object) -> int | None:
    """Return how many attempts a stop strategy allows in all, None where it does not count them."""
    if isinstance(stop, tenacity.stop_after_attempt):
        return int(stop.max_attempt_number)
    if isinstance(stop, tenacity.stop_any | tenacity.stop_all):
        counts = [attempts_of(inner) for inner in stop.stops]
        known = [count for count in counts if count is not None]
        if isinstance(stop, tenacity.stop_any):
            return min(known, default=None)
        return max(known) if known and len(known) == len(counts) else None
    return None


def with_attempts(stop: Any, attempts: int) -> Any:
    """Return a stop strategy that allows so many attempts in all, and else stops as before."""
    if isinstance(stop, tenacity.stop_after_attempt):
        return tenacity.stop_after_attempt(attempts)
    if isinstance(stop, tenacity.stop_any | tenacity.stop_all) and attempts_of(stop) is not None:
        return type(stop)(*(with_attempts(inner, attempts) if attempts_of(inner) else inner for inner in stop.stops))
    return tenacity.stop_any(stop, tenacity.stop_after_attempt(attempts))


def judges_results(strategy: object) -> bool:
    """Return whether a retry strategy may ask for another attempt after one that returned something."""
    if isinstance(strategy, tenacity.retry_any | async_retry.retry_any):
        return any(map(judges_results, strategy.retries))
    if isinstance(strategy, tenacity.retry_all | async_retry.retry_all):
        return all(map(judges_results, strategy.retries))
    if strategy is tenacity.retry_never:
        return False
    return isinstance(strategy, _RESULTS_TOO) or not isinstance(strategy, _ONLY_ERRORS)


def wants_another(retrying: tenacity.BaseRetrying, error: BaseException) -> bool:
    """Return whether a retrying object would try again after an error; asks only its strategy."""
    state = tenacity.RetryCallState(retrying, fn=None, args=(), kwargs={})
    state.set_exception((type(error), error, error.__traceback__))
    return bool(_at_once(retrying.retry(state), "the strategy"))


class Tries:
    """What tenacity knows of one call, from its first judged attempt to its last. Lives on the call, never in a policy.

    Args:
        retrying: The retrying object; a copy of it is driven, since it keeps the state of an iteration in itself.
        call: The call.
    """

    def __init__(self, retrying: tenacity.BaseRetrying, call: Call) -> None:
        waits = isinstance(retrying, tenacity.AsyncRetrying)
        self.reason: str | None = None
        self._waits = waits
        self._stop = retrying.stop
        self._wait = retrying.wait
        self._asked: float | None = None
        self._rule: Rule | None = None
        # tenacity's own RetryError would hide the original exception; a class that the user chose is raised as he said.
        reraise = retrying.reraise or retrying.retry_error_cls is tenacity.RetryError
        stop: Any = self._stop_later if waits else self._stop_now
        wait: Any = self._wait_later if waits else self._wait_now
        self._engine = retrying.copy(stop=stop, wait=wait, reraise=reraise)
        self._engine.begin()
        fn = getattr(call.plan, "fn", None)
        self._state = tenacity.RetryCallState(self._engine, fn=fn, args=call.args, kwargs=call.kwargs)
        self._state.start_time = call.start

    @property
    def number(self) -> int:
        """The number of the present attempt, from 1; attempts that a policy refused to start count too."""
        return self._state.attempt_number

    def begin(self) -> Generator[Ask, Any, None]:
        """Run the hook `before` of the retrying object: the next attempt starts."""
        yield from self._iter()

    def judge(self, call: Call, asked: float | None, rule: Rule) -> Generator[Ask, Any, float | None]:
        """Show tenacity the end of an attempt, and return the pause before the next one; None when this was the last.

        Args:
            call: The call; gets the error or the result that tenacity ends with (`retry_error_cls`,
                `retry_error_callback`).
            asked: How many seconds the sender of the error asks to wait.
            rule: Our own reasons to stop.
        """
        self._listen(asked, rule)
        state, error = self._state, call.error
        frames = None if error is None else error.__traceback__
        context = None if error is None else error.__context__
        if error is None:
            state.set_result(call.result)
        else:
            state.set_exception((type(error), error, frames))
        state.outcome_timestamp = clock.now()
        try:
            turn = yield from self._iter()
        except Exception as final:  # noqa: BLE001 - tenacity ends by raising: the error itself, or the one it was told to raise
            state.outcome = None
            if final is error:
                set_traceback(final, frames)  # as the function left it
                set_context(final, context)
            else:
                call.error = final
            return None
        state.outcome = None
        if isinstance(turn, tenacity.DoSleep):
            return float(turn)
        if self.reason is not None:  # stopped, and `retry_error_callback` had an answer
            call.result, call.error = turn, None
        return None

    def pause(self, seconds: float) -> Generator[Ask, Any, None]:
        """Wait before the next attempt, in the way of the retrying object if it has one of its own."""
        sleep = self._engine.sleep
        self._state.prepare_for_next_attempt()
        if sleep is tenacity.nap.sleep or getattr(sleep, "__name__", None) == "_portable_async_sleep":
            yield Sleep(seconds)
        else:
            yield Do(_OWN_SLEEP, sleep, seconds)

    def _listen(self, asked: float | None, rule: Rule) -> None:
        self._asked, self._rule, self.reason = asked, rule, None

    def _iter(self) -> Generator[Ask, Any, Any]:
        if self._waits:
            return (yield Do(_ITER, self._engine, self._state))
        return self._engine.iter(self._state)

    def _wait_now(self, state: tenacity.RetryCallState) -> float:
        return max(float(self._wait(state)), self._asked or 0.0)

    def _stop_now(self, state: tenacity.RetryCallState) -> bool:
        return self._stopped(state, self._stop(state))

    async def _wait_later(self, state: tenacity.RetryCallState) -> float:
        return max(float(await _value(self._wait(state))), self._asked or 0.0)

    async def _stop_later(self, state: tenacity.RetryCallState) -> bool:
        return self._stopped(state, await _value(self._stop(state)))

    def _stopped(self, state: tenacity.RetryCallState, own: object) -> bool:
        reason = cast("Rule", self._rule)(state.upcoming_sleep, self._asked)
        self.reason = "attempts" if own else reason
        return self.reason is not None


async def _value(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _at_once(value: Any, what: str) -> Any:
    """Return the value of a coroutine that does not really wait.

    Raises:
        ConfigError: It does, and there is no event loop to wait on.
    """
    if not inspect.iscoroutine(value):
        return value
    try:
        value.send(None)
    except StopIteration as end:
        return end.value
    value.close()
    raise ConfigError(
        f"{what} of the AsyncRetrying has to be awaited, and the guarded function is not async",
        policy="retry",
        hint="give it a tenacity.Retrying",
    )


class _Iter:
    """`iter(state)` of a tenacity.AsyncRetrying."""

    def now(self, *args: Any) -> Any:
        retrying, state = args
        return _at_once(retrying.iter(state), "a hook")

    async def later(self, *args: Any) -> Any:
        retrying, state = args
        return await retrying.iter(state)


class _OwnSleep:
    """The `sleep` that a retrying object brought along."""

    def now(self, *args: Any) -> None:
        sleep, seconds = args
        _at_once(sleep(seconds), "the sleep")

    async def later(self, *args: Any) -> None:
        sleep, seconds = args
        await _value(sleep(seconds))


_ITER: Final = _Iter()
_OWN_SLEEP: Final = _OwnSleep()
