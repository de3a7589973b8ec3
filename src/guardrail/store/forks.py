"""Keeps fork and SQLite apart: a child forked while a thread is inside SQLite may inherit a mutex that nobody frees."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Final

from guardrail import clock

_PATIENCE: Final = 1.0  # seconds that a fork waits for SQLite at most

_changed = threading.Condition(threading.Lock())
_inside = 0
_forking = False


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Use SQLite inside the block: a fork waits for its end, and the block for the end of a fork. Not to be nested."""
    global _inside  # noqa: PLW0603 - the count is of the process
    with _changed:
        while _forking:
            _changed.wait()
        _inside += 1
    try:
        yield
    finally:
        with _changed:
            _inside -= 1
            _changed.notify_all()


def _before() -> None:
    global _forking  # noqa: PLW0603 - as above
    with _changed:
        _forking = True
        until = clock.now() + _PATIENCE
        while _inside and (left := until - clock.now()) > 0:
            _changed.wait(left)


def _in_parent() -> None:
    global _forking  # noqa: PLW0603 - as above
    with _changed:
        _forking = False
        _changed.notify_all()


def _in_child() -> None:
    global _changed, _forking, _inside
    _changed, _forking, _inside = threading.Condition(threading.Lock()), False, 0


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
