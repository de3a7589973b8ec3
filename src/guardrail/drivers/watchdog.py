"""Reports a call that runs over its time while it does so: `enforce="report"`, and event loops that something blocks.

One shared thread looks every 10 ms through the calls that are running. It needs the interpreter lock to do so: an
overrun inside one C call that keeps the lock is reported when that ends.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import sys
import threading
from _thread import allocate_lock, get_ident
from collections.abc import Awaitable, Callable
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from guardrail import clock, lifecycle, notices
from guardrail.policies.budget import span, too_late

if TYPE_CHECKING:
    from guardrail.call import Call

PERIOD: Final = 0.01  # seconds between two looks, and how late a call may be before it is worth a report
IDLE_ROUNDS: Final = 100  # looks with nothing running before the thread parks
QUIET: Final = 10.0  # seconds between two log lines about the same guard; reports and records have no such limit
DEEPEST: Final = 30  # frames in a report

_log: Final = logging.getLogger("guardrail")
_OURS: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120 - compared with co_filename, a plain text
_DROPPED: Final = "its answer came too late and was dropped"


class Report(NamedTuple):
    """One overrun, seen while it happened.

    Attributes:
        guard: The guard's name.
        decision_id: The call's id, as in its record.
        late: Seconds past the end of the attempt.
        stack: Where the thread was, innermost last, as "file:line function". No values.
    """

    guard: str
    decision_id: str
    late: float
    stack: tuple[str, ...]


running: dict[Call, int] = {}  # each watched call and the thread that runs it; armed by a store, disarmed by a delete
reports: collections.deque[Report] = collections.deque(maxlen=100)
parked = True  # whether somebody must wake the thread

_lock = threading.RLock()  # a signal handler may call a guard while its thread is in `wake`
_bell = allocate_lock()  # held while nobody rings
_bell.acquire()
_thread: threading.Thread | None = None
_seen: dict[Call, float] = {}  # what has been reported, with the end of the attempt that it was about
_logged: dict[str, tuple[float, int]] = {}  # by guard: when its last line was written, and how many were left out since


# ── around the function ───────────────────────────────────────────────────────────────────────────────────────────────
def perform(call: Call, fn: Callable[..., Any]) -> Any:
    """Run the function on the call's arguments in this thread, watched; then give the call's permits back.

    A call that comes back after `call.until` is marked late.

    Raises:
        BudgetExceeded: It came back late, and `Budget(on_late="raise")`.
        BaseException: The function's own exception, late or not.
    """
    try:
        running[call] = get_ident()
        if parked:
            wake()
        result = fn(*call.args, **call.kwargs)
    finally:
        late = _end(call)
    if late:
        _judge(call)
    return result


async def aperform(call: Call, fn: Callable[..., Awaitable[Any]]) -> Any:
    """Await the function on the call's arguments, watched; otherwise as `perform`."""
    try:
        watch(call)
        result = await fn(*call.args, **call.kwargs)
    finally:
        late = _end(call)
    if late:
        _judge(call)
    return result


def _end(call: Call) -> bool:
    """Disarm, give the permits back, and return whether the call is late, which it is then marked as."""
    running.pop(call, None)
    held, call.held = call.held, ()
    for give_back in held:
        give_back()
    if call.until is None or clock.now() <= call.until:
        return False
    call.late = True
    return True


def _judge(call: Call) -> None:
    budget = call.plan.budget
    if budget is not None and budget.on_late == "raise":
        raise too_late(call, _DROPPED)


def watch(call: Call) -> None:
    """Have a call reported if it is still running at `call.until`; the running thread is the one that is to blame.

    Made for async drivers too: a task that is cancelled in time is gone before the next look, and one that is not
    is held up by whatever blocks the loop's thread, or refuses its cancellation.
    """
    running[call] = get_ident()
    if parked:
        wake()


def unwatch(call: Call) -> None:
    """End what `watch` began."""
    running.pop(call, None)


# ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────────────
def wake() -> None:
    """Have the thread look again, starting it first if there is none."""
    global parked, _thread  # noqa: PLW0603 - one watchdog per process
    with _lock:
        if not parked:
            return
        parked = False
        if _thread is not None:
            with contextlib.suppress(RuntimeError):  # it rings already
                _bell.release()
            return
        _thread = threading.Thread(target=_watch, name="guardrail-watchdog", daemon=True)
        try:
            _thread.start()
        except RuntimeError:  # out of threads, or the interpreter is ending: the call must not suffer from it
            _thread, parked = None, True
            notices.say("no-watchdog", "no thread could be started for the watchdog: overruns are only seen when they end")


def _watch() -> None:
    global parked  # noqa: PLW0603 - as above
    idle = 0
    while True:
        if running:
            idle = 0
        elif idle < IDLE_ROUNDS:
            idle += 1
        else:
            parked = True
            if not running:  # a call that was stored before this line is seen here, one after it rings
                _bell.acquire()
            parked = False
            idle = 0
        _bell.acquire(timeout=PERIOD)
        try:
            look()
        except Exception as error:  # noqa: BLE001 - it must go on watching
            notices.say("watchdog", f"the watchdog failed to report an overrun: {type(error).__name__}")


def look() -> None:
    """Look once through everything that runs, and report what is over its time for the first time."""
    now = clock.now()
    calls = list(running.items())  # one step for the interpreter, so that no call is stored or deleted meanwhile
    stacks: dict[int, Any] | None = None
    for call, ident in calls:
        until = call.until
        if until is None or now - until < PERIOD or _seen.get(call) == until:
            continue
        if call not in running:  # it has ended since the list was made
            continue
        _seen[call] = until
        if stacks is None:
            stacks = sys._current_frames()  # noqa: SLF001 - documented for this purpose
        _report(call, now - until, _names(stacks.get(ident)))
    if _seen:
        for call in _seen.keys() - dict(calls).keys():
            del _seen[call]


def _names(frame: Any) -> tuple[str, ...]:
    """Return the places on a stack, innermost last, without this library's own frames and without any value."""
    places: list[str] = []
    while frame is not None and len(places) < DEEPEST:
        code: CodeType = frame.f_code
        if not code.co_filename.startswith(_OURS):
            places.append(f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}")
        frame = frame.f_back
    return tuple(reversed(places))


def _report(call: Call, late: float, stack: tuple[str, ...]) -> None:
    name = call.plan.name
    report = Report(name, call.id, late, stack)
    reports.append(report)
    _say(report)
    from guardrail.ledger import writer  # noqa: PLC0415 - only an overrun needs it here

    fields = {"what": "overrun", "decision": report.decision_id, "late_ms": round(late * 1000, 1), "stack": list(stack)}
    writer.event("incident", guard=name, fields=fields)


def _say(report: Report) -> None:
    text = (
        f"call {report.decision_id} is still running {span(report.late)} after its time was up; "
        f"its thread is at {' > '.join(report.stack) or 'a place outside Python'}"
    )
    notices.say("overrun", text, guard=report.guard)  # counts every one and logs the first
    now = clock.now()
    before, left_out = _logged.setdefault(report.guard, (now, -1))
    if left_out < 0 or now - before < QUIET:
        _logged[report.guard] = (before, left_out + 1)
        return
    _logged[report.guard] = (now, 0)
    more = f" ({left_out} more overruns since the last line)" if left_out else ""
    _log.warning("%s: %s%s", report.guard, text, more)


def _in_child() -> None:
    """Start without a thread; of what was running, only the forking thread's own calls go on."""
    global parked, _lock, _bell, _thread  # noqa: PLW0603 - as above
    parked, _thread = True, None
    _lock = threading.RLock()
    _bell = allocate_lock()
    _bell.acquire()
    me = get_ident()
    for call, ident in list(running.items()):
        if ident != me:
            del running[call]
    _seen.clear()
    _logged.clear()
    reports.clear()


lifecycle.after_fork(_in_child)
