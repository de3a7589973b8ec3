"""Fork, exit and SIGTERM in one place: who starts afresh in a child, and who finishes in which order, within a bound."""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import threading
from collections.abc import Callable
from typing import Final

from guardrail import clock

EXIT_SECONDS: Final = 2.0  # the most that an interpreter's exit waits for us

_afresh: list[Callable[[], None]] = [clock.reseed]
_endings: list[tuple[int, Callable[[float], bool]]] = []
_ending = threading.Lock()
_armed_pid: int | None = None
_heeding = False
_finishing: int | None = None  # the thread that runs the endings
_told_to_die = False


def after_fork(start_afresh: Callable[[], None]) -> None:
    """Have a function called in every forked child: it makes new locks and drops what the child only inherited."""
    _afresh.append(start_afresh)


def at_exit(order: int, finish: Callable[[float], bool]) -> None:
    """Have `finish(seconds left) -> all done?` called by `finish_all`, lower orders first."""
    _endings.append((order, finish))
    _endings.sort(key=lambda ending: ending[0])


def finish_all(timeout: float) -> bool:
    """Run every ending within one bound, in seconds; return whether all of them finished.

    What an ending loads may have an ending of its own (the last records, a sink), which is run in its turn.
    """
    global _finishing  # noqa: PLW0603 - set only under the lock
    until = clock.now() + timeout
    done: list[bool] = []
    ran: list[Callable[[float], bool]] = []
    with _ending:
        _finishing = threading.get_ident()
        try:
            while left := [finish for _, finish in _endings if finish not in ran]:
                ran.append(left[0])
                done.append(left[0](max(0.0, until - clock.now())))
        finally:
            _finishing = None
    if _told_to_die:
        _die()
    return all(done)


def arm() -> None:
    """Make sure that this process finishes in order at its exit. Called at the first guarded call, not at import.

    A child of `multiprocessing` ends with `os._exit` and runs no atexit hooks, only multiprocessing's own finalizers. SIGTERM
    ends a process without either, unless the application handles it; so where it does not, and this is the main thread, we do.
    """
    global _armed_pid  # noqa: PLW0603 - one flag per process
    _heed_sigterm()
    if _armed_pid == os.getpid():
        return
    if _armed_pid is None:
        atexit.register(finish_all, EXIT_SECONDS)
    _armed_pid = os.getpid()
    from multiprocessing import process, util  # noqa: PLC0415 - only a process that makes guarded calls pays for it

    if process.parent_process() is not None:
        util.Finalize(None, finish_all, args=(EXIT_SECONDS,), exitpriority=100)


def _heed_sigterm() -> None:
    """Finish before SIGTERM ends the process, if nobody else handles it. Python allows that on the main thread only."""
    global _heeding  # noqa: PLW0603 - one flag per process; a forked child inherits the handler, too
    if _heeding or threading.current_thread() is not threading.main_thread():
        return
    import signal  # noqa: PLC0415 - only a process that makes guarded calls pays for it

    _heeding = True
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError):  # a subinterpreter
            signal.signal(signal.SIGTERM, _terminated)


def _terminated(_signal: int, _frame: object) -> None:
    """Finish, within the bound, and end as the signal would have ended us.

    On a thread of its own: the main thread, which this interrupts, may hold any lock that is needed to finish.
    """
    global _told_to_die  # noqa: PLW0603 - as above
    if _finishing == threading.get_ident():
        _told_to_die = True  # it is finishing already, and dies right afterwards
        return
    done = _thread.allocate_lock()
    done.acquire()

    def finish() -> None:
        try:
            finish_all(EXIT_SECONDS)
        finally:
            done.release()

    with contextlib.suppress(RuntimeError):  # no thread can be started
        _thread.start_new_thread(finish, ())
        done.acquire(timeout=EXIT_SECONDS)
    _die()


def _die() -> None:
    import signal  # noqa: PLC0415 - as above

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def _in_child() -> None:
    global _ending, _finishing, _told_to_die
    # A fresh lock: another thread may have held the inherited one.
    _ending, _finishing, _told_to_die = threading.Lock(), None, False
    for start_afresh in _afresh:
        start_afresh()


os.register_at_fork(after_in_child=_in_child)
