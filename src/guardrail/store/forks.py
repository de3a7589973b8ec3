"""Keeps forks apart from SQLite and from imports: a child forked while a thread is inside may inherit a lock that nobody frees."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Final

from guardrail import clock

PATIENCE: Final = 1.0  # seconds that a fork waits for SQLite at most
LOADING: Final = 10.0  # the same for imports, which other busy threads can make slow

_changed = threading.Condition(threading.Lock())
_inside = 0
_patience = PATIENCE
_forking = False
_mine = threading.local()


@contextlib.contextmanager
def apart(patience: float = PATIENCE) -> Iterator[None]:
    """Use SQLite or import inside the block: a fork waits for its end, and the block for the end of a fork. A block within one is nothing.

    Args:
        patience: Seconds that a fork waits at most: `LOADING` where modules are imported inside.
    """
    global _inside, _patience  # noqa: PLW0603 - the count is of the process
    if getattr(_mine, "inside", False):
        yield
        return
    with _changed:
        while _forking:
            _changed.wait()
        _inside += 1
        _patience = max(_patience, patience)
    _mine.inside = True
    try:
        yield
    finally:
        _mine.inside = False
        with _changed:
            _inside = max(0, _inside - 1)  # in a child that was forked inside the block it is 0 already
            if not _inside:
                _patience = PATIENCE
            _changed.notify_all()


def _before() -> None:
    global _forking  # noqa: PLW0603 - as above
    with _changed:
        _forking = True
        begun, own = clock.now(), int(getattr(_mine, "inside", False))  # a fork inside a block does not wait for itself
        while _inside > own and (left := begun + _patience - clock.now()) > 0:
            _changed.wait(left)


def _in_parent() -> None:
    global _forking  # noqa: PLW0603 - as above
    with _changed:
        _forking = False
        _changed.notify_all()


def _in_child() -> None:
    global _changed, _forking, _inside, _patience, _mine
    _changed, _forking, _inside, _patience, _mine = threading.Condition(threading.Lock()), False, 0, PATIENCE, threading.local()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
