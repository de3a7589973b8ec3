"""Fork and exit in one place: who starts afresh in a child, and who finishes in which order, within a bound."""

from __future__ import annotations

import atexit
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
    until = clock.now() + timeout
    done: list[bool] = []
    ran: list[Callable[[float], bool]] = []
    with _ending:
        while left := [finish for _, finish in _endings if finish not in ran]:
            ran.append(left[0])
            done.append(left[0](max(0.0, until - clock.now())))
    return all(done)


def arm() -> None:
    """Make sure that this process finishes in order at its exit. Called at the first guarded call, not at import.

    A child of `multiprocessing` ends with `os._exit` and runs no atexit hooks, only multiprocessing's own finalizers.
    """
    global _armed_pid  # noqa: PLW0603 - one flag per process
    if _armed_pid == os.getpid():
        return
    if _armed_pid is None:
        atexit.register(finish_all, EXIT_SECONDS)
    _armed_pid = os.getpid()
    from multiprocessing import process, util  # noqa: PLC0415 - only a process that makes guarded calls pays for it

    if process.parent_process() is not None:
        util.Finalize(None, finish_all, args=(EXIT_SECONDS,), exitpriority=100)


def _in_child() -> None:
    global _ending  # noqa: PLW0603 - a fresh lock: another thread may have held the inherited one
    _ending = threading.Lock()
    for start_afresh in _afresh:
        start_afresh()


os.register_at_fork(after_in_child=_in_child)
