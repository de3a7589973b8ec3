"""Runs a function on a worker thread and stops waiting when its time is up: `enforce="thread"`.

No thread can be stopped from outside: work that is given up goes on in its thread, holds its permits until it ends, and is
counted and capped. A C call that keeps the interpreter lock keeps the waiting caller too; only a child process ends that.
"""

from __future__ import annotations

import itertools
import sys
import threading
from _thread import allocate_lock
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock, lifecycle, notices
from guardrail.drivers.affinity import explain_affinity
from guardrail.errors import LimitExceeded
from guardrail.policies.budget import too_late

if TYPE_CHECKING:
    from guardrail.call import Call

_MISSING: Final = object()
_NOT_STARTED: Final = "it was spent before the function could start"
_ABANDONED: Final = "the function was abandoned; it goes on in its thread, and what comes of it is dropped"


class _Worker:
    """One daemon thread and its one job at a time.

    It serves one calling thread, so that what the function keeps per thread (a connection, a session) is there at the next call.
    `go` and `done` are signals: locks that are held until someone releases them. `claim` decides a tie: the worker takes it to
    deliver, the caller to give up, and only one of them gets it.
    """

    __slots__ = ("args", "claim", "context", "done", "error", "fn", "go", "held", "key", "kwargs", "result", "until")

    def __init__(self) -> None:
        self.go = allocate_lock()
        self.done = allocate_lock()
        self.claim = allocate_lock()
        self.go.acquire()
        self.done.acquire()
        self.fn: Callable[..., Any] | None = None
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        self.context: Context | None = None
        self.held: tuple[Callable[[], None], ...] = ()
        self.until: float | None = None
        self.key = ""
        self.result: Any = None
        self.error: BaseException | None = None

    def retire(self) -> None:
        """Have the parked thread end."""
        try:
            self.go.release()
        except RuntimeError:  # its process is the one that this one was forked from
            return


class _Keeper:
    """Holds the worker of one calling thread, and retires it when that thread ends."""

    __slots__ = ("worker",)

    def __init__(self) -> None:
        self.worker: _Worker | None = None

    def __del__(self) -> None:
        if self.worker is not None:
            self.worker.retire()


class _Place(threading.local):
    """Where the running thread stands: what keeps the worker that serves it, and the worker that it is itself."""

    keeper: _Keeper | None = None
    me: _Worker | None = None


_numbers = itertools.count(1)
_lock = threading.Lock()
_place = _Place()
_left_behind: dict[str, set[_Worker]] = {}  # by guard: abandoned work that is still running
_dropped: dict[str, int] = {}
_epoch = object()  # another one in every forked child


# ── the worker's side ─────────────────────────────────────────────────────────────────────────────────────────────────
def _serve(worker: _Worker) -> None:
    """Do one job after the other, until there is none, or one comes to its end that nobody waits for any more."""
    epoch = _epoch
    _place.me = worker
    go, claim, done = worker.go, worker.claim, worker.done
    while True:
        go.acquire()
        if worker.fn is None:
            return
        try:
            worker.result = worker.context.run(worker.fn, *worker.args, **worker.kwargs)  # type: ignore[union-attr]
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            error.__traceback__ = error.__traceback__.tb_next  # type: ignore[union-attr]  # without this frame
            worker.error = error
        held = worker.held
        worker.fn = worker.context = None
        worker.args, worker.kwargs, worker.held = (), {}, ()
        for give_back in held:
            give_back()
        del held
        delivers = claim.acquire(False)  # noqa: FBT003 - by keyword it costs more
        if _left_behind:
            _left_behind.get(worker.key, set()).discard(worker)
        if not delivers:
            _drop(worker)
            return
        if epoch is not _epoch:  # the function forked and this is the child, where nobody waits for the answer
            return
        done.release()


def _drop(worker: _Worker) -> None:
    """Let go of what came of abandoned work, and count it."""
    worker.result = worker.error = None
    with _lock:
        _dropped[worker.key] = _dropped.get(worker.key, 0) + 1


# ── the caller's side ─────────────────────────────────────────────────────────────────────────────────────────────────
def perform(call: Call, fn: Callable[..., Any]) -> Any:
    """Run the function on the call's arguments, on a worker, until `call.until` (monotonic, None for ever).

    Takes over `call.held`: the permits are given back when the work ends, also when nobody waits for it any more. Context variables
    are copied in, and those that the function changed are set in the caller's context, unless the work was abandoned.
    A call from a worker runs in place where the worker is bounded by the same moment or an earlier one. A lock that the caller
    holds is not the worker's: an RLock cannot be entered again from there.

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

    Like `perform`, but what is abandoned here has a cap of its own: a fallback stays reachable when the function's cap is reached.
    """
    return _hand_off(call, fn, args, kwargs, until, _aside_key(call.plan.name))


def _hand_off(
    call: Call, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], until: float | None, key: str
) -> Any:
    me = _place.me
    if me is not None and _bounds(me, until):
        return _in_place(call, fn, args, kwargs)
    if _left_behind:
        _check_room(key, call)
    timeout = -1.0
    if until is not None:
        timeout = min(until - clock.now(), threading.TIMEOUT_MAX)
        if timeout <= 0:
            raise too_late(call, _NOT_STARTED)
    keeper = _place.keeper
    if keeper is None:
        keeper = _place.keeper = _Keeper()
    context = copy_context()
    # Taken out while it is busy: a signal handler may call a guard meanwhile. From here to `go` nothing is called but `_start`,
    # so that an interrupt cannot come in between and lose the worker.
    worker, keeper.worker = keeper.worker, None
    if worker is None:
        worker = _start(call)
        if worker is None:
            return _in_place(call, fn, args, kwargs)
    worker.fn, worker.args, worker.kwargs, worker.context = fn, args, kwargs, context
    worker.until, worker.key = until, key
    worker.held, call.held = call.held, ()
    try:
        worker.go.release()
        came = worker.done.acquire(True, timeout)  # noqa: FBT003 - by keyword it costs more
    except BaseException:  # an interrupt, or what a signal handler raises: it passes, and the work is abandoned
        if not _give_up(worker):
            worker.retire()  # its answer was just coming in, and nobody wants it now
        raise
    if not came:
        if _give_up(worker):
            raise too_late(call, _ABANDONED)
        worker.done.acquire()  # it ended in that very moment
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
    cause = error.__context__
    try:
        raise error
    finally:
        if cause is not None:
            error.__context__ = cause  # `raise` puts there what the caller is handling, over what the function was handling
        del error, cause  # or the traceback would hold this frame, and the frame the error


def _bounds(me: _Worker, until: float | None) -> bool:
    """Return whether the caller of a worker waits no longer than until a moment, so that what runs on it needs no second bound."""
    if until is None:
        return True
    if me.until is None or me.until > until:
        return False
    return not (_left_behind and me in _left_behind.get(me.key, ()))  # abandoned work is bounded by nobody


def _in_place(call: Call, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return fn(*args, **kwargs)
    finally:
        held, call.held = call.held, ()
        for give_back in held:
            give_back()


def _start(call: Call) -> _Worker | None:
    """Return a new worker, or None where the interpreter is ending and starts no more threads."""
    worker = _Worker()
    thread = threading.Thread(target=_serve, args=(worker,), name=f"guardrail-worker-{next(_numbers)}", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        if sys.is_finalizing() or "shutdown" in str(error):
            notices.say("no-thread", "a call at interpreter exit ran without its budget: no thread can start", guard=call.plan.name)
            return None
        raise LimitExceeded(
            f"no thread can be started for {call.plan.name}, so that its budget cannot be kept; it was not run",
            guard=call.plan.name,
            policy="budget",
            decision_id=call.id,
            hint="this process is at its limit of threads; give the guard a limit=...",
        ) from error
    return worker


# ── work that was given up ────────────────────────────────────────────────────────────────────────────────────────────
def _give_up(worker: _Worker) -> bool:
    """Leave a worker behind; return False when it has just delivered instead."""
    running = _left_behind.setdefault(worker.key, set())
    running.add(worker)  # before the claim: the worker takes itself out after it
    if worker.claim.acquire(False):  # noqa: FBT003 - by keyword it costs more
        return True
    running.discard(worker)
    return False


def _check_room(key: str, call: Call) -> None:
    running, budget = _left_behind.get(key), call.plan.budget
    if not running or budget is None:
        return
    most = budget.max_abandoned
    if len(running) >= most:
        raise LimitExceeded(
            f"{len(running)} abandoned calls of {key} are still running, and no more than {most} may be; this one was not started",
            guard=call.plan.name,
            policy="budget",
            decision_id=call.id,
            hint='end the work from within by timeout=guardrail.remaining(), kill it with Budget(..., enforce="process"), '
            "or allow more with Budget(..., max_abandoned=...)",
        )


def _aside_key(name: str) -> str:
    return f"the fallback of {name}"


def abandoned(name: str | None = None) -> int:
    """Return how many abandoned calls of a guard (None: of all) are still running, those of its fallback among them."""
    if name is None:
        return sum(len(running) for running in list(_left_behind.values()))
    return sum(len(_left_behind.get(key, ())) for key in (name, _aside_key(name)))


def dropped(name: str) -> int:
    """Return how many results of a guard came when nobody waited for them any more."""
    with _lock:
        return _dropped.get(name, 0) + _dropped.get(_aside_key(name), 0)


def _in_child() -> None:
    """Start without workers: a fork takes only the thread that forks along."""
    global _lock, _place, _left_behind, _dropped, _epoch  # noqa: PLW0603 - one set of workers per process
    _lock = threading.Lock()
    _place = _Place()
    _left_behind = {}
    _dropped = {}
    _epoch = object()


lifecycle.after_fork(_in_child)
