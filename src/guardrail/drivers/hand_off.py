"""Runs a function on a worker thread and stops waiting when its time is up: `enforce="thread"`.

No thread can be stopped from outside: work that is given up goes on in its thread, holds its permits until it ends, and
is counted and capped. A C call that keeps the interpreter lock keeps the waiting caller too; only a child process ends
that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock
from guardrail.drivers.affinity import explain_affinity
from guardrail.drivers.workers import Keeper, Worker, dropped_of, give_up, left_behind, place, start
from guardrail.errors import LimitExceeded
from guardrail.policies.budget import too_late
from guardrail.stages import cut_off_stages
from guardrail.theirs import set_context

if TYPE_CHECKING:
    from guardrail.call import Call

_MISSING: Final = object()
_NOT_STARTED: Final = "it was spent before the function could start"
_ABANDONED: Final = "the function was abandoned; it goes on in its thread, and what comes of it is dropped"


def perform(call: Call, fn: Callable[..., Any]) -> Any:
    """Run the function on the call's arguments, on a worker, until `call.until` (monotonic, None for ever).

    Takes over `call.held`: the permits are given back when the work ends, also when nobody waits for it any more.
    Context variables are copied in, and those that the function changed are set in the caller's context, unless the
    work was abandoned. A call from a worker runs in place where the worker is bounded by the same moment or an earlier
    one. A lock that the caller holds is not the worker's: an RLock cannot be entered again from there.

    Returns:
        What the function returned.

    Raises:
        BudgetExceeded: Time is up; the work was abandoned.
        LimitExceeded: Too many abandoned calls of this guard are still running, or no thread can be started.
        BaseException: The function's own exception, as it was raised.
    """
    return _hand_off(call, fn, call.args, call.kwargs, call.until, call.plan.name)


def aside(call: Call, fn: Callable[..., Any]) -> Any:
    """Run a fallback on the call's arguments until `call.until`; see `run_until`."""
    return run_until(fn, call.args, call.kwargs, call.until, call)


def run_until(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], until: float | None, call: Call) -> Any:
    """Run something else than the function itself, such as a fallback, until a moment (monotonic, None for ever).

    Like `perform`, but what is abandoned here has a cap of its own: a fallback stays reachable when the function's cap
    is reached.
    """
    return _hand_off(call, fn, args, kwargs, until, _aside_key(call.plan.name))


def _hand_off(  # noqa: PLR0917 - called once per call: a bundle of these would cost more than it tells
    call: Call, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], until: float | None, key: str
) -> Any:
    me = place.me
    if me is not None and _bounds(me, until):
        return _inplace(call, fn, args, kwargs)
    if left_behind:
        _check_room(key, call)
    timeout = -1.0
    if until is not None:
        timeout = min(until - clock.now(), threading.TIMEOUT_MAX)
        if timeout <= 0:
            raise too_late(call, _NOT_STARTED)
    keeper = place.keeper
    if keeper is None:
        keeper = place.keeper = Keeper()
    context = copy_context()
    # Taken out while it is busy: a signal handler may call a guard meanwhile. From here to `go` nothing is called but
    # `start`, so that an interrupt cannot come in between and lose the worker.
    worker, keeper.worker = keeper.worker, None
    if worker is None:
        worker = start(call)
        if worker is None:
            return _inplace(call, fn, args, kwargs)
    worker.fn, worker.args, worker.kwargs, worker.context = fn, args, kwargs, context
    worker.until, worker.key = until, key
    worker.held, call.held = call.held, ()
    try:
        worker.go.release()
        came = worker.done.acquire(True, timeout)  # noqa: FBT003 - by keyword it costs more
    except BaseException:  # an interrupt, or what a signal handler raises: it passes, and the work is abandoned
        if not give_up(worker):
            worker.retire()  # its answer was just coming in, and nobody wants it now
        raise
    if not came:
        if give_up(worker):
            cut_off_stages(call)
            raise too_late(call, _ABANDONED)
        worker.done.acquire()  # it ended in that very moment
    return _collect(worker, keeper, context)


def _collect(worker: Worker, keeper: Keeper, context: Context) -> Any:
    """Take over what a worker has delivered, and keep the worker for the next call."""
    worker.claim.release()
    result, error = worker.result, worker.error
    worker.result = worker.error = None
    if keeper.worker is None:
        keeper.worker = worker
    else:
        worker.retire()
    for variable, value in context.items():
        if variable.get(_MISSING) is not value:
            variable.set(value)
    if error is None:
        return result
    explain_affinity(error)
    handled = error.__context__
    try:
        raise error
    finally:
        if handled is not None:  # by the function; `raise` puts in its place what the caller is handling
            set_context(error, handled)
        del error, handled  # or the traceback would hold this frame, and the frame the error


def _bounds(me: Worker, until: float | None) -> bool:
    """Return whether a worker is given up by a moment anyway, so that what runs on it needs no bound of its own."""
    if until is None:
        return True
    if me.until is None or me.until > until:
        return False
    return not (left_behind and me in left_behind.get(me.key, ()))  # abandoned work is bounded by nobody


def _inplace(call: Call, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return fn(*args, **kwargs)
    finally:
        held, call.held = call.held, ()
        for give_back in held:
            give_back()


# ── work that was given up ────────────────────────────────────────────────────────────────────────────────────────────
def _check_room(key: str, call: Call) -> None:
    running, budget = left_behind.get(key), call.plan.budget
    if not running or budget is None:
        return
    most = budget.max_abandoned
    if len(running) >= most:
        raise LimitExceeded(
            f"{len(running)} abandoned calls of {key} are still running, and {most} may be; this one was not started",
            guard=call.plan.name,
            policy="budget",
            decision_id=call.id,
            hint="have it end by itself with timeout=guardrail.remaining(), have it killed with "
            'Budget(..., enforce="process"), or allow more with Budget(..., max_abandoned=...)',
        )


def _aside_key(name: str) -> str:
    return f"the fallback of {name}"


def abandoned(name: str | None = None) -> int:
    """Return how many abandoned calls of a guard (None: of all) are still running, those of its fallback among them."""
    if name is None:
        return sum(len(running) for running in list(left_behind.values()))
    return sum(len(left_behind.get(key, ())) for key in (name, _aside_key(name)))


def dropped(name: str) -> int:
    """Return how many results of a guard came when nobody waited for them any more."""
    return dropped_of(name) + dropped_of(_aside_key(name))
