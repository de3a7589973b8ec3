"""The worker threads of `enforce="thread"`: one for each calling thread, left behind when its work is given up."""

from __future__ import annotations

import itertools
import sys
import threading
from _thread import allocate_lock
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from guardrail import lifecycle, notices
from guardrail.errors import LimitExceeded
from guardrail.theirs import set_traceback

if TYPE_CHECKING:
    from guardrail.call import Call


class Worker:
    """One daemon thread and its one job at a time.

    It serves one calling thread, so that what the function keeps per thread (a connection, a session) is there at the
    next call. `go` and `done` are signals: locks that are held until someone releases them. `claim` decides a tie: the
    worker takes it to deliver, the caller to give up, and only one of them gets it.
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


class Keeper:
    """Holds the worker of one calling thread, and retires it when that thread ends."""

    __slots__ = ("worker",)

    def __init__(self) -> None:
        self.worker: Worker | None = None

    def __del__(self) -> None:
        if self.worker is not None:
            self.worker.retire()


class Place(threading.local):
    """Where the running thread stands: what keeps the worker that serves it, and the worker that it is itself."""

    keeper: Keeper | None = None
    me: Worker | None = None


_numbers = itertools.count(1)
_lock = threading.Lock()
place = Place()
left_behind: dict[str, set[Worker]] = {}  # by guard: abandoned work that is still running
_dropped: dict[str, int] = {}
_epoch = object()  # another one in every forked child


# ── the worker's side ─────────────────────────────────────────────────────────────────────────────────────────────────
def _serve(worker: Worker) -> None:
    """Do one job after the other, until there is none, or one comes to its end that nobody waits for any more."""
    epoch = _epoch
    place.me = worker
    go, claim, done = worker.go, worker.claim, worker.done
    while True:
        go.acquire()
        if worker.fn is None:
            return
        try:
            worker.result = worker.context.run(worker.fn, *worker.args, **worker.kwargs)  # type: ignore[union-attr]
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's
            set_traceback(error, sys.exc_info()[2].tb_next)  # type: ignore[union-attr]  # without this frame
            worker.error = error
        held = worker.held
        worker.fn = worker.context = None
        worker.args, worker.kwargs, worker.held = (), {}, ()
        for give_back in held:
            give_back()
        del held
        delivers = claim.acquire(False)  # noqa: FBT003 - by keyword it costs more
        if left_behind:
            left_behind.get(worker.key, set()).discard(worker)
        if not delivers:
            _drop(worker)
            return
        if epoch is not _epoch:  # the function forked and this is the child, where nobody waits for the answer
            return
        done.release()


def _drop(worker: Worker) -> None:
    """Let go of what came of abandoned work, and count it."""
    worker.result = worker.error = None
    with _lock:
        _dropped[worker.key] = _dropped.get(worker.key, 0) + 1


def start(call: Call) -> Worker | None:
    """Return a new worker, or None where the interpreter is ending and starts no more threads."""
    worker = Worker()
    thread = threading.Thread(target=_serve, args=(worker,), name=f"guardrail-worker-{next(_numbers)}", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        if sys.is_finalizing() or "shutdown" in str(error):
            notices.say(
                "no-thread",
                "a call at interpreter exit ran without its budget: no thread can start",
                guard=call.plan.name,
            )
            return None
        raise LimitExceeded(
            f"no thread can be started for {call.plan.name}, so that its budget cannot be kept; it was not run",
            guard=call.plan.name,
            policy="budget",
            decision_id=call.id,
            hint="this process is at its limit of threads; give the guard a limit=...",
        ) from error
    return worker


def give_up(worker: Worker) -> bool:
    """Leave a worker behind; return False when it has just delivered instead."""
    running = left_behind.setdefault(worker.key, set())
    running.add(worker)  # before the claim: the worker takes itself out after it
    if worker.claim.acquire(False):  # noqa: FBT003 - by keyword it costs more
        return True
    running.discard(worker)
    return False


def dropped_of(key: str) -> int:
    """Return how many results came when nobody waited for them any more."""
    with _lock:
        return _dropped.get(key, 0)


def _in_child() -> None:
    """Start without workers: a fork takes only the thread that forks along."""
    global _lock, _epoch  # noqa: PLW0603 - one set of workers per process
    _lock = threading.Lock()
    _epoch = object()
    place.keeper = place.me = None
    left_behind.clear()
    _dropped.clear()


lifecycle.after_fork(_in_child)
