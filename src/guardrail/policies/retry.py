"""`retry`: another attempt after an error that may be gone by then, within the deadline and within a retry budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from guardrail import clock, notices
from guardrail.asks import AGAIN, Asks, Turn
from guardrail.call import MISSING, Call
from guardrail.errors import BudgetExceeded, CircuitOpen, ConfigError, GuardrailError, InvalidOutput, LimitExceeded
from guardrail.policies.options import Frozen, is_share, is_whole
from guardrail.policies.retry_budget import RetryBudget
from guardrail.policies.transient import is_transient, retry_after
from guardrail.theirs import add_note, notes

if TYPE_CHECKING:
    from guardrail.policies.tenacious import Tries

_UNCOUNTED: Final = 20  # attempts to leave tokens for, where a tenacity object does not count them
_OURS: Final = (
    BudgetExceeded,
    CircuitOpen,
    InvalidOutput,
    LimitExceeded,
)  # the own errors that another attempt may cure
_SAID: Final = "guardrail: tried "

StopReason = Literal["attempts", "deadline", "retry_budget", "not_retryable", "retry_after"]


class Retry(Frozen):
    """Try again after a transient error, with full jitter, never past the deadline, never past the retry budget.

    Args:
        attempts: Attempts in all: 3 is the first and two more.
        on: What is transient: exception types, or a predicate on the exception. Default: timeouts, connection errors,
            and HTTP 408, 429 and 5xx (but 501 and 505) of the common clients.
        wait: Upper end of the first pause; it doubles with each, and the pause is drawn evenly from nought up to it.
        max_wait: The longest pause. Without a deadline also the longest `Retry-After` that is honoured.
        budget: Retries that a success earns, in (0, 1]: 0.1 allows one retry for ten successes in the long run, after a
            start that suffices for one call's attempts. An outage is then not multiplied by `attempts`.

    Raises:
        ConfigError: A value is of the wrong type or out of range.
    """

    __slots__ = ("attempts", "budget", "max_wait", "on", "tenacity", "wait")

    attempts: int
    on: tuple[type[Exception], ...] | Callable[[Exception], bool] | None
    wait: float
    max_wait: float
    budget: float
    tenacity: Any  # the user's own retrying object, which then decides; only `retry_of` sets it

    def __init__(
        self,
        attempts: int = 3,
        *,
        on: Sequence[type[Exception]] | Callable[[Exception], bool] | None = None,
        wait: clock.Duration = "100ms",
        max_wait: clock.Duration = "5s",
        budget: float = 0.1,
    ) -> None:
        if not is_whole(attempts):
            raise ConfigError(
                "the attempts of retry must be a whole number of at least 1, the first one counted",
                hint="write retry=3 for the first attempt and two more, retry=None for no retry",
            )
        if not is_share(budget):
            raise ConfigError(
                "Retry(budget=...) must be a share in (0, 1]: how many retries each success earns",
                hint="write budget=0.1",
            )
        first = clock.seconds(wait, "wait of retry", zero=True)
        longest = clock.seconds(max_wait, "max_wait of retry", zero=True)
        if longest < first:
            raise ConfigError("max_wait of retry is shorter than its wait", hint='write wait="100ms", max_wait="5s"')
        self._set(
            attempts=attempts,
            on=_transient_types(on),
            wait=first,
            max_wait=longest,
            budget=float(budget),
            tenacity=None,
        )

    @classmethod
    def _of_tenacity(cls, retrying: Any) -> Retry:
        from guardrail.policies import tenacious  # noqa: PLC0415 - whoever hands in such an object has imported it already

        attempts = tenacious.attempts_of(retrying.stop)
        option = cls(_UNCOUNTED if attempts is None else max(1, attempts))
        option._set(tenacity=retrying)
        return option

    def but(self, **fields: Any) -> Retry:
        """Return the same with some fields changed; a tenacity object keeps all but the number of its attempts.

        Raises:
            ConfigError: They do not go together with the others.
        """
        if self.tenacity is None:
            return super().but(**fields)
        from guardrail.policies import tenacious  # noqa: PLC0415 - as above

        attempts = Retry(**fields).attempts
        return self._of_tenacity(self.tenacity.copy(stop=tenacious.with_attempts(self.tenacity.stop, attempts)))

    def __repr__(self) -> str:
        if self.tenacity is None:
            return super().__repr__()
        # Without an address, and without what it holds: the plan's digest is made from this, in every process the same.
        return f"Retry(<tenacity.{type(self.tenacity).__name__}, {self.attempts} attempts>)"


def retry_of(option: Any) -> Retry | None:
    """Return the object behind the option `retry=`: attempts in all, a tenacity object, a Retry or None."""
    if option is None or isinstance(option, Retry):
        return option
    if isinstance(option, int) and not isinstance(option, bool):
        return Retry(option)
    if any(kind.__name__ == "BaseRetrying" and kind.__module__ == "tenacity" for kind in type(option).__mro__):
        return Retry._of_tenacity(option)  # noqa: SLF001 - the one other way to make one
    raise ConfigError(
        f"retry is of type {type(option).__name__}",
        hint="write retry=3 (attempts in all), Retry(...), tenacity.Retrying(...) or None",
    )


def _transient_types(on: Any) -> tuple[type[Exception], ...] | Callable[[Exception], bool] | None:
    hint = "write on=[TimeoutError, ConnectionError] or on=lambda error: ..."
    if isinstance(on, type):
        on = (on,)
    elif on is None or callable(on):
        return on  # type: ignore[no-any-return]
    if isinstance(on, str | bytes) or not isinstance(on, Sequence | set | frozenset) or not on:
        raise ConfigError("Retry(on=...) names no exception types and is no predicate", hint=hint)
    for kind in on:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise ConfigError("Retry(on=...) holds something that is no exception type", hint=hint)
        if not issubclass(kind, Exception):
            raise ConfigError(f"{kind.__name__} is never retried: it ends the program or the task", hint=hint)
        if issubclass(kind, GuardrailError) and not issubclass(kind, _OURS):
            raise ConfigError(
                f"{kind.__name__} is never retried: the next attempt would meet the same answer",
                hint="of our own errors, on= takes BudgetExceeded, CircuitOpen, LimitExceeded and InvalidOutput",
            )
    return tuple(on)


class Retrying:
    """The retries of one guard. tenacity is imported by the first transient failure, or came with the user's object.

    Args:
        option: How often, on what, and how long between.
        budget: The tokens, which belong to the guard's name.
    """

    def __init__(self, option: Retry, budget: RetryBudget) -> None:
        self.option = option
        self.budget = budget
        self._engine = option.tenacity
        self._enabled = bool(getattr(option.tenacity, "enabled", True))
        self._judges_results = False
        self._before = False
        if option.tenacity is not None:
            from guardrail.policies import tenacious  # noqa: PLC0415 - as in `retry_of`

            self._judges_results = self._enabled and tenacious.judges_results(option.tenacity.retry)
            before = option.tenacity.before
            wanted = before is not None and getattr(before, "__name__", "") != "before_nothing"
            self._before = wanted and self._enabled
        if self._before:
            self.enter = self._begin

    def warm(self) -> None:
        """Import tenacity before it is needed: 40 ms that would otherwise fall into the first call that fails."""
        self._tenacity()

    def leave(self, call: Call) -> Turn:
        """Send a call in again after a transient error; else let its own error pass, with a note on what was tried."""
        error = call.error
        if error is None:
            if self._judges_results:
                return self._again(call)
            if self.budget.short:
                self.budget.earn(call)
            if call.tries is not None:
                call.tries = None
            return None
        if not isinstance(error, Exception):
            call.tries = None
            return None
        reason = self._flat_reason(call, error)
        if reason is None:
            return self._again(call)
        self._stop(call, reason)
        return None

    def _flat_reason(self, call: Call, error: Exception) -> StopReason | None:
        """Return why there is no further attempt, as far as that is known without tenacity."""
        if call.misshapen or not self._may_pass(error, call.plan.name):
            return "not_retryable"
        if self.option.tenacity is None:
            last = self.option.attempts <= (1 if call.tries is None else call.tries.number)
            # Its own refusals cost the dependency nothing. An outage, where most calls end here, stays cheap.
            if not isinstance(error, CircuitOpen | LimitExceeded) and not self.budget.spend() and not last:
                return "retry_budget"
            if last and call.tries is None:
                return "attempts"
        return "deadline" if call.deadline is not None and clock.now() >= call.deadline else None

    def would_retry(self, error: BaseException, guard: str | None = None) -> bool:
        """Return whether an error is one that is tried again, budget and deadline aside. Nothing is spent."""
        if not isinstance(error, Exception) or self.option.attempts == 1 or not self._may_pass(error, guard):
            return False
        if self.option.tenacity is None:
            return True
        from guardrail.policies import tenacious  # noqa: PLC0415 - as above

        return tenacious.wants_another(self.option.tenacity, error)

    def _may_pass(self, error: Exception, guard: str | None) -> bool:
        """Return whether an error is transient; with a tenacity object, whether that may be asked at all."""
        if isinstance(error, GuardrailError):
            if not isinstance(error, _OURS):
                return False
            if isinstance(error, CircuitOpen | LimitExceeded) and error.retry_after is None:
                return False
        if self.option.tenacity is not None:
            return self._enabled
        on = self.option.on
        if on is None:
            return is_transient(error)
        if isinstance(on, tuple):
            return isinstance(error, on)
        try:
            return bool(on(error))
        except Exception as problem:  # noqa: BLE001 - the function's own error must not be lost to a bug in the predicate
            notices.say(
                "retry_predicate",
                f"the predicate of Retry(on=...) raised {type(problem).__name__}: such errors are not retried",
                guard=guard,
            )
            return False

    def _tenacity(self) -> Any:
        if self._engine is None:
            from guardrail.policies import tenacious  # noqa: PLC0415 - 40 ms, which a guard that never fails does not pay

            option = self.option
            self._engine = tenacious.engine(option.attempts, option.wait, option.max_wait)
        return self._engine

    def _tries(self, call: Call) -> Tries:
        from guardrail.policies import tenacious  # noqa: PLC0415 - as above

        tries: Tries | None = call.tries
        if tries is None:
            tries = call.tries = tenacious.Tries(self._tenacity(), call)
        return tries

    def _begin(self, call: Call) -> Asks:
        """Run the hook `before` of the user's tenacity object ahead of the first attempt."""
        try:
            yield from self._tries(call).begin()
        except BaseException:
            call.tries = None
            raise
        return None

    def _again(self, call: Call) -> Asks:
        tries = self._tries(call)
        try:
            pause = yield from tries.judge(call, retry_after(call.error), partial(self._reason, call))
            if pause is None:
                if tries.reason is None and call.error is None:
                    self._accept(call)
                else:
                    self._stop(call, tries.reason or "not_retryable")
                return None
            self.budget.count(None)
            yield from tries.pause(pause)
            if self._before:
                yield from tries.begin()
        except BaseException:
            call.tries = None
            raise
        call.error = None
        call.result = MISSING
        return AGAIN

    def _reason(self, call: Call, pause: float, asked: float | None) -> StopReason | None:
        """Return why there must be no further attempt although tenacity would make one, None if there may be one."""
        if (
            self.option.tenacity is not None
            and not isinstance(call.error, CircuitOpen | LimitExceeded)
            and not self.budget.spend()
        ):
            return "retry_budget"
        if call.deadline is None:
            return "retry_after" if asked is not None and asked > self.option.max_wait else None
        latest = call.deadline - self.budget.typical  # an attempt begun later would only be cut off
        now = clock.now()
        if asked is not None and now + asked >= latest:
            return "retry_after"
        return "deadline" if now + pause >= latest else None

    def _accept(self, call: Call) -> None:
        call.tries = None
        if self.budget.short:
            self.budget.earn(call)

    def _stop(self, call: Call, reason: str) -> None:
        call.tries = None
        call.stop_reason = reason
        self.budget.count(reason)
        error = call.error
        if error is None or not call.attempts:
            return
        if call.attempts == 1 and reason in ("attempts", "not_retryable"):  # there was no retry, and none was held back
            return
        times = "once" if call.attempts == 1 else f"{call.attempts} times"
        mine = f"({call.plan.name})"
        said = notes(error)
        if isinstance(said, list):  # one exception object may be raised again and again: the newest note stays
            said[:] = [note for note in said if not (str(note).startswith(_SAID) and str(note).endswith(mine))]
        add_note(error, f"{_SAID}{times} in {clock.now() - call.start:.2f} s; stopped: {reason} {mine}")
