"""A lock between processes on a file beside the store. Whoever writes or checkpoints the store holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from guardrail import lifecycle

_held: set[int] = set()  # descriptors of this process that are, or are about to be, locked


@contextlib.contextmanager
def held(path: Path, *, block: bool = True) -> Iterator[bool]:
    """Hold an exclusive `flock` on a file, which is made when it is missing.

    Args:
        path: The side file; its folder exists.
        block: Whether to wait for as long as another holds it.

    Yields:
        Whether the lock is held: always True with `block`, else False while another holds it.

    Raises:
        OSError: The file cannot be opened, for instance because the disk is full.
    """
    fd, pid = _open_locked(path, block=block), os.getpid()
    try:
        yield fd is not None
    finally:
        if fd is not None and pid == os.getpid():  # in a forked child it is closed, and its number may be another file's
            # Unlocked first: closing alone leaves it locked while a child, forked a moment ago, shares the descriptor.
            fcntl.flock(fd, fcntl.LOCK_UN)
            _held.discard(fd)
            os.close(fd)


def _open_locked(path: Path, *, block: bool) -> int | None:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _held.add(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if block else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, fd):
                return fd
        except BlockingIOError:
            _close(fd)
            return None
        except BaseException:
            _close(fd)
            raise
        _close(fd)  # someone removed the file while we waited, so others lock a newer one


def _is_still(path: Path, fd: int) -> bool:
    try:
        there = os.stat(path)  # noqa: PTH116 - asked with every case, and `Path.stat` takes three times as long
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _close(fd: int) -> None:
    _held.discard(fd)
    os.close(fd)


def _drop_inherited() -> None:
    # Closed without unlocking: the lock is the parent's, and must not outlive the parent through us.
    for fd in _held:
        with contextlib.suppress(OSError):
            os.close(fd)
    _held.clear()


lifecycle.after_fork(_drop_inherited)
