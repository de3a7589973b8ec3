"""`budget`: one absolute deadline for a call and all below it: time for attempts, and a reserve for the fallback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from guardrail import clock
from guardrail.errors import BudgetExceeded, ConfigError
from guardrail.policies.options import Frozen, written

if TYPE_CHECKING:
    from guardrail.call import Call

LEAST_RESERVE: Final = 0.01  # seconds: a smaller reserve is not worth starting a fallback for
_MOST: Final = 0.5  # the least reserve never takes more than this share of a very small budget
_DEFAULT_ABANDONED: Final = 8


class Budget(Frozen):
    """How long a call may take, and what happens when it takes longer.

    Args:
        total: For the whole call: validation, waiting, every attempt, the fallback. "250ms", seconds or a timedelta.
        attempt: For each attempt; less than the total. None: an attempt may take all that is left.
        reserve: The share of the total, from 0 to below 1, that attempts may not use, so that a fallback or a review can still
            be reached when the function hangs. Applies only where one of the two follows; 10 ms at the least (but never more than
            half of the total because of that), unless it is 0.
        enforce: "thread": the function runs on a worker thread, which is left behind when time is up. "report": it runs in the
            caller's thread, and an overrun is reported while it happens. "process": it runs in a child process, which is killed.
            An async function is cancelled under "thread", and only reported under "report".
        on_late: "raise" for "thread" and "process", where a call that is late has no answer; for "report", "return" (the default:
            the late answer is returned, marked) or "raise".
        max_abandoned: How many abandoned calls of this guard may still be running; more are refused at once. For "thread".

    Attributes:
        total: Seconds.
        attempt: Seconds, or None.
        on_late: "raise" or "return", as it applies.

    Raises:
        ConfigError: A value is out of range, or two of them contradict each other.
    """

    __slots__ = ("attempt", "enforce", "max_abandoned", "on_late", "reserve", "total")

    total: float
    attempt: float | None
    reserve: float
    enforce: str
    on_late: str
    max_abandoned: int

    def __init__(
        self,
        total: clock.Duration,
        *,
        attempt: clock.Duration | None = None,
        reserve: float = 0.2,
        enforce: Literal["thread", "report", "process"] = "thread",
        on_late: Literal["raise", "return"] | None = None,
        max_abandoned: int = _DEFAULT_ABANDONED,
    ) -> None:
        whole = clock.seconds(total, "the budget")
        each = None if attempt is None else clock.seconds(attempt, "Budget(attempt=...)")
        if each is not None and each >= whole:
            raise ConfigError(
                "Budget(attempt=...) is not less than the total, so that it would never apply",
                hint='write Budget("250ms", attempt="100ms"), or leave attempt out',
            )
        if enforce not in ("thread", "report", "process"):
            raise ConfigError("Budget(enforce=...) is unknown", hint='write "thread", "report" or "process"')
        _check_abandoned(max_abandoned, enforce)
        put = {"total": whole, "attempt": each, "reserve": _share(reserve), "enforce": enforce}
        self._set(**put, on_late=_late(on_late, enforce), max_abandoned=max_abandoned)

    def __repr__(self) -> str:
        """Return it as one would write it, without what goes without saying."""
        words = [repr(written(self.total))]
        if self.attempt is not None:
            words.append(f"attempt={written(self.attempt)!r}")
        if self.reserve != 0.2:  # noqa: PLR2004 - the default above
            words.append(f"reserve={self.reserve!r}")
        if self.enforce != "thread":
            words.append(f"enforce={self.enforce!r}")
        if self.enforce == "report" and self.on_late == "raise":
            words.append("on_late='raise'")
        if self.max_abandoned != _DEFAULT_ABANDONED:
            words.append(f"max_abandoned={self.max_abandoned!r}")
        return f"Budget({', '.join(words)})"


def budget_of(option: Any) -> Budget | None:
    """Return the object behind the option `budget=`: a duration, an object or None."""
    return option if option is None or isinstance(option, Budget) else Budget(option)


def _share(reserve: object) -> float:
    if isinstance(reserve, bool) or not isinstance(reserve, int | float) or not 0 <= reserve < 1:
        raise ConfigError("Budget(reserve=...) is a share of the total", hint="write a number from 0 to below 1, such as 0.2")
    return float(reserve)


def _late(on_late: object, enforce: str) -> str:
    if on_late not in (None, "raise", "return"):
        raise ConfigError("Budget(on_late=...) is unknown", hint='write "raise" or "return"')
    if enforce == "report":
        return "return" if on_late is None else str(on_late)
    if on_late == "return":
        left = "abandoned on its thread" if enforce == "thread" else "killed"
        raise ConfigError(
            f"Budget(on_late='return') has nothing to return under enforce={enforce!r}: when time is up the function is {left}, "
            "and there is no answer",
            hint='write Budget(..., enforce="report") to get late answers, marked as late, or give the guard a fallback',
        )
    return "raise"


def _check_abandoned(most: object, enforce: str) -> None:
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ConfigError("Budget(max_abandoned=...) must be a whole number of 1 or more", hint="write max_abandoned=8")
    if most != _DEFAULT_ABANDONED and enforce != "thread":
        raise ConfigError(
            f"Budget(max_abandoned=...) means nothing under enforce={enforce!r}: no call is abandoned there",
            hint="leave max_abandoned out",
        )


class Deadline:
    """Sets the end of the whole call, and the end of its attempts where something must still come after them.

    Args:
        budget: The option.
        guard_name: Named in refusals.
        reserve_needed: Whether a fallback or a review follows.
    """

    def __init__(self, budget: Budget, guard_name: str, reserve_needed: bool) -> None:  # noqa: FBT001 - one fact of three
        self._total = budget.total
        self._name = guard_name
        self._share = budget.reserve if reserve_needed else 0.0
        self._kept = self._reserve(budget.total)

    def _reserve(self, whole: float) -> float:
        """Return what attempts may not use of so many seconds."""
        share = self._share
        kept = whole * share
        if kept >= LEAST_RESERVE or not share:
            return kept
        return max(kept, min(LEAST_RESERVE, whole * _MOST))

    def enter(self, call: Call) -> None:
        """Fix the deadlines; the one inherited from an outer call wins when it is nearer.

        Raises:
            BudgetExceeded: The inherited deadline has passed already.
        """
        start = call.start
        until = start + self._total
        inherited = call.deadline
        if inherited is None or inherited >= until:
            call.last_moment = until
            call.deadline = until - self._kept
            return
        if inherited <= start:
            raise BudgetExceeded(
                f"the deadline that {self._name} inherited had passed before it began, so that it was not run",
                guard=self._name,
                policy="budget",
                decision_id=call.id,
                hint="give the guard around it a larger budget, or do less before this call",
            )
        call.last_moment = inherited
        call.deadline = inherited - self._reserve(inherited - start)


class AttemptDeadline:
    """Sets the end of one attempt; the innermost policy, so that waiting before it is not the function's time.

    Args:
        budget: The option.
    """

    def __init__(self, budget: Budget) -> None:
        self._attempt = budget.attempt

    def enter(self, call: Call) -> None:
        """Fix `call.until`.

        Raises:
            BudgetExceeded: The time was used up before the function could start.
        """
        now = clock.now()
        until = call.deadline
        if until is not None and now >= until:
            call.until = until
            raise too_late(call, "it was spent before the function could start")
        attempt = self._attempt
        if attempt is not None and (until is None or now + attempt < until):
            until = now + attempt
        call.until = until


def too_late(call: Call, what_became_of_it: str) -> BudgetExceeded:
    """Return the error for a call whose time is up.

    Args:
        call: The call; its time is what lies between its start and the end of the present phase.
        what_became_of_it: Says what happened to the work, such as "the function was cancelled".
    """
    until = call.until or call.deadline
    had = "" if until is None else f" of {span(max(0.0, until - call.start))}"
    return BudgetExceeded(
        f"no answer from {call.plan.name} within the time{had} that it had: {what_became_of_it}",
        guard=call.plan.name,
        policy="budget",
        decision_id=call.id,
        hint="give it a larger budget, or a fallback",
    )


def span(seconds: float) -> str:
    """Return seconds as one would write them: "250ms", "10s"."""
    return f"{seconds * 1000:.6g}ms" if seconds < 1 else f"{seconds:.6g}s"
