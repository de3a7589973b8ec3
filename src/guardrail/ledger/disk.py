"""Small things that every file of the ledger needs: durable folders, whole writes, files that follow no link."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FOLDER: Final = "ledger"
MODE: Final = 0o600
FLAGS: Final = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
BLOCK: Final = 2**20

_unsure: set[Path] = set()  # files whose sync failed, and that could not be replaced yet


class _NotSynced(OSError):
    """Nobody knows what the disk has of a file."""


sync = getattr(os, "fdatasync", os.fsync)  # macOS has only fsync


def make_folder(folder: Path) -> None:
    """Make a folder and what is missing above it, private to its owner, each durably entered in its parent.

    Raises:
        OSError: It cannot be made, or is there already.
    """
    missing = [folder]
    while not missing[-1].parent.is_dir():
        missing.append(missing[-1].parent)
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=each is not folder)
        sync_folder(each.parent)


def have_folder(folder: Path) -> None:
    """Make a folder as `make_folder` does, unless it is there, also if another process is making it.

    Raises:
        OSError: It cannot be made.
    """
    if not folder.is_dir():
        try:
            make_folder(folder)
        except FileExistsError:
            if not folder.is_dir():
                raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, content: bytes) -> None:
    """Write everything, however often the system takes only a part."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def append(path: Path, content: bytes, *, at: int) -> None:
    """Put content at the end of a file and make it durable; what stands behind the known end is cut off before.

    Where a sync fails, the system may take pages for written that the disk never got, and the next sync of the same file
    succeeds without them. So a file whose sync failed is never appended to again: what it held is written anew, to another
    file that takes its place.

    Raises:
        OSError: It is not durable. Then whatever it left is cut off by the next `append`.
    """
    if path not in _unsure:
        try:
            _append(path, content, at)
        except _NotSynced:
            _unsure.add(path)
        else:
            return
    replace(path, content, head=at)
    _unsure.discard(path)


def _append(path: Path, content: bytes, at: int) -> None:
    handle = os.open(path, os.O_WRONLY | FLAGS, MODE)
    try:
        size = os.fstat(handle).st_size
        if size > at:
            os.ftruncate(handle, at)
        os.lseek(handle, at, os.SEEK_SET)
        try:
            write_all(handle, content)
            _synced(handle)
        except OSError:
            with contextlib.suppress(OSError):  # nobody is to build upon what may be gone after the next crash
                os.ftruncate(handle, at)
            raise
    finally:
        os.close(handle)
    if not size:
        sync_folder(path.parent)


def _synced(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as problem:
        raise _NotSynced(*problem.args) from problem


def replace(path: Path, content: bytes, *, head: int = 0) -> None:
    """Put content in the place of a file, as a whole and durably.

    Args:
        path: The file.
        content: What it holds from now on.
        head: How many bytes of what it held stay before that.

    Raises:
        OSError: The file is as it was.
    """
    making = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    handle = os.open(making, os.O_WRONLY | os.O_EXCL | FLAGS, MODE)
    try:
        try:
            if head:
                for block in read_from(path, 0, head):
                    write_all(handle, block)
            write_all(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        making.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            making.unlink()
        raise
    sync_folder(path.parent)


def read_from(path: Path, at: int, upto: int | None = None) -> Iterator[bytes]:
    """Yield what stands in a file from a place on, up to another or its end, in blocks; nothing where there is no file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        while block := os.pread(handle, BLOCK if upto is None else min(BLOCK, upto - at), at):
            yield block
            at += len(block)
    finally:
        os.close(handle)
