"""Runs a function in a child process and kills it when its time is up: `enforce="process"`.

Nothing else ends a C call that hangs. Children are kept warm, one for each caller at a time; starting one never counts
against a budget. Arguments, results and exceptions travel by pickle between a parent and its own child, in memory.
Context variables do not travel; the deadline does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock
from guardrail.drivers import channel
from guardrail.drivers.channel import dumps, loads
from guardrail.drivers.child import LEFT
from guardrail.drivers.children import START_SECONDS, Child, Pool, died, pool_of, start, wait_ready
from guardrail.errors import ConfigError
from guardrail.policies.budget import too_late
from guardrail.theirs import add_note

if TYPE_CHECKING:
    from guardrail.call import Call

_NOT_STARTED: Final = "it was spent before the function could start"
_STILL_STARTING: Final = "the child process was still starting when the time of the call around it was up"
_KILLED: Final = "the process that ran the function was killed"


def perform(call: Call, fn: Callable[..., Any]) -> Any:
    """Run the function on the call's arguments in a child process, until `call.until` (monotonic, None for ever).

    The time that a child takes to start is added to the call's deadlines, within those it inherited. Takes over
    `call.held`: the permits are given back when the child has answered, or is dead.

    Returns:
        A copy of what the function returned.

    Raises:
        BudgetExceeded: Time is up; the child was killed.
        ConfigError: The function, an argument or the result cannot be sent between processes.
        ChildProcessError: The child died of itself.
        LimitExceeded: No process can be started.
        BaseException: The function's own exception, with a note that holds its traceback.
    """
    pool = pool_of(fn, call.plan.name)
    arguments = _pack(call)
    child = _ready_child(pool, call)
    until = call.until
    left = math.inf if until is None else until - clock.now()
    if left <= 0:
        pool.put(child)
        raise too_late(call, _NOT_STARTED)
    held, call.held = call.held, ()
    try:
        child.channel.send(channel.JOB, LEFT.pack(left), arguments, until=until)
        del arguments
        kind, answer = child.channel.receive(until)
    except BaseException as error:
        _after_failure(child, call, error)
        raise
    finally:
        for give_back in held:
            give_back()
    pool.put(child)
    return _unpack(kind, answer, call)


def warm(fn: Callable[..., Any], guard: str) -> None:
    """Have one child of a function ready before the first call.

    Raises:
        ConfigError, ChildProcessError, LimitExceeded: As `perform`.
    """
    pool = pool_of(fn, guard)
    child = pool.take() or start(pool, guard)
    wait_ready(child, guard, clock.now() + START_SECONDS)
    pool.put(child)


def _after_failure(child: Child, call: Call, error: BaseException) -> None:
    """Kill the child; raise in place of a failure to talk to it what that means for the call."""
    if isinstance(error, EOFError | ConnectionError):
        raise died(child, call.plan.name) from None
    child.kill()
    if isinstance(error, TimeoutError):
        raise too_late(call, _KILLED) from None


def _ready_child(pool: Pool, call: Call) -> Child:
    """Return a child that waits for a job; what its start takes is not the call's time."""
    child = pool.take()
    if child is not None and child.ready:
        return child
    began = clock.now()
    parent = call.parent
    inherited = None if parent is None or parent.ended else parent.until or parent.deadline
    child = child or start(pool, call.plan.name)
    try:
        wait_ready(child, call.plan.name, began + START_SECONDS, inherited)
    except TimeoutError:
        pool.put(child)  # it goes on starting, for the next call
        raise too_late(call, _STILL_STARTING) from None
    except BaseException:
        child.kill()
        raise
    _postpone(call, clock.now() - began, inherited)
    return child


def _postpone(call: Call, by: float, inherited: float | None) -> None:
    """Move the deadlines of a call, but not beyond the one that it inherited."""
    end = call.last_moment or call.deadline or call.until
    if inherited is not None and end is not None:
        by = min(by, max(0.0, inherited - end))
    if call.until is not None:
        call.until += by
    if call.deadline is not None:
        call.deadline += by
    if call.last_moment is not None:
        call.last_moment += by


# ── what travels ──────────────────────────────────────────────────────────────────────────────────────────────────────
def _pack(call: Call) -> bytes:
    try:
        return dumps((call.args, call.kwargs))
    except Exception as error:  # noqa: BLE001 - an argument may have its own way of being packed
        name, value = next(
            (pair for pair in (*enumerate(call.args, 1), *call.kwargs.items()) if not _travels(pair[1])), (None, None)
        )
        which = "the arguments" if name is None else f"argument {name}, of type {type(value).__qualname__},"
        raise ConfigError(
            f'enforce="process": {which} cannot be sent to a child process ({type(error).__name__})',
            guard=call.plan.name,
            policy="budget",
            decision_id=call.id,
            hint='pass what can be pickled, or use Budget(..., enforce="thread")',
        ) from None


def _travels(value: Any) -> bool:
    try:
        dumps(value)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _unpack(kind: bytes, answer: bytearray, call: Call) -> Any:
    """Return the function's answer or raise its exception."""
    if kind == channel.VALUE:
        return loads(answer)
    if kind == channel.ERROR:
        error, cause, where = loads(answer)
        if error is None:
            error = RuntimeError(f"{cause} was raised in the child process, and such an exception cannot be sent to its parent")
        elif cause is not None:
            error.__cause__ = cause
        if where:
            add_note(error, f"Traceback in the child process (most recent call last):\n{where}")
        try:
            raise error
        finally:
            del error  # or the traceback would hold this frame, and the frame the error
    what = f"the result, of type {answer.decode()}, cannot be sent back"
    if kind == channel.UNREADABLE:
        what = f"the arguments cannot be rebuilt in the child process ({answer.decode()})"
    raise ConfigError(
        f'enforce="process": {what}',
        guard=call.plan.name,
        policy="budget",
        decision_id=call.id,
        hint="send what can be pickled and belongs to a module; `pip install cloudpickle` for classes of a notebook",
    )
