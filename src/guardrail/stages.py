"""The time that is left of a call, and its named parts."""

from __future__ import annotations

import contextvars
from contextlib import AbstractAsyncContextManager, AbstractContextManager

from guardrail import clock
from guardrail.call import Call, current
from guardrail.errors import BudgetExceeded, ConfigError

_stage_limit: contextvars.ContextVar[tuple[Call | None, float] | None] = contextvars.ContextVar("guardrail_stage", default=None)


def _limit() -> tuple[float | None, Call | None]:
    """Return the deadline in force (monotonic) and the call it belongs to. It ends with its call."""
    call = current.get()
    if call is not None and call.ended:
        call = None
    until = None if call is None else call.until or call.deadline
    stage_limit = _stage_limit.get()
    if stage_limit is not None:
        owner, stage_until = stage_limit
        if owner is call and (until is None or stage_until < until):
            until = stage_until
    return until, call


def remaining() -> float | None:
    """Return the seconds left of the deadline in force, never below 0, or None where there is none.

    Made for clients that take a timeout: `httpx.get(url, timeout=remaining())`.
    """
    until, _ = _limit()
    return None if until is None else max(0.0, until - clock.now())


def check_deadline() -> None:
    """Raise when the deadline in force, or the budget of the present stage, has passed.

    Raises:
        BudgetExceeded: It has; a loop that calls this can be stopped where no thread can be interrupted.
    """
    until, call = _limit()
    if until is not None and clock.now() >= until:
        raise BudgetExceeded(
            "the deadline has passed",
            guard=None if call is None else call.plan.name,
            policy="budget",
            decision_id=None if call is None else call.id,
            hint="do less in the time, or give the outermost guard a larger budget",
        )


class Stage(AbstractContextManager[None], AbstractAsyncContextManager[None]):
    """One named part of a call; see `stage`."""

    def __init__(self, name: str, budget: float | None) -> None:
        self.name = name
        self.budget = budget
        self._entered: list[tuple[Call | None, float, tuple[Call | None, float] | None]] = []

    def __enter__(self) -> None:
        call = current.get()
        if call is not None and call.ended:
            call = None
        start = clock.now()
        outer = _stage_limit.get()
        self._entered.append((call, start, outer))
        if call is not None:
            if call.inside is None:
                call.inside = []
            call.inside.append((self.name, start))
        if self.budget is not None:
            until = start + self.budget
            if outer is not None and outer[0] is call:
                until = min(until, outer[1])
            _stage_limit.set((call, until))

    def __exit__(self, *exc: object) -> None:
        call, start, outer = self._entered.pop()
        if self.budget is not None:
            _stage_limit.set(outer)
        if call is not None and not call.ended and _leave(call, (self.name, start)):
            took = clock.now() - start
            note_stage(call, self.name, took)
            if self.budget is not None and took > self.budget:
                call.reasons = (*call.reasons, f"stage {self.name} took longer than its budget")

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *exc: object) -> None:
        self.__exit__(*exc)


def _leave(call: Call, begun: tuple[str, float]) -> bool:
    """Take a stage off those that have begun; return whether it stood there, and was not cut off meanwhile."""
    if call.inside is None or begun not in call.inside:
        return False
    call.inside.remove(begun)
    return True


def cut_off_stages(call: Call) -> None:
    """Note the stages that abandoned work was in, up to now: which of them the time went into is what one wants to know."""
    begun, call.inside = call.inside, None
    for name, start in begun or ():
        note_stage(call, name, clock.now() - start)


def note_stage(call: Call, name: str, took: float) -> None:
    """Add seconds to a stage of a call; a stage entered twice counts as one."""
    stages = call.stages
    if stages is None:
        stages = call.stages = {}
    stages[name] = stages.get(name, 0.0) + took


def stage(name: str, *, budget: clock.Duration | None = None) -> Stage:
    """Name a part of the present call; its time lands in the decision's `timings`. Works with `with` and `async with`.

    Args:
        name: Any short word; the same name twice adds up.
        budget: A smaller deadline inside the block, for `remaining()` and `check_deadline()`. An overrun is recorded; it
            raises only through `check_deadline()`.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError("a stage needs a name", hint='write stage("retrieve")')
    return Stage(name, None if budget is None else clock.seconds(budget, f"budget of stage {name!r}"))
