"""One process's part of the ledger: a folder of append-only files that nobody else writes, each begun where the last ended.

`<home>/ledger/<lane>/<number of the first record, 20 digits>.jsonl`
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import time
from pathlib import Path
from typing import Final

from guardrail import clock
from guardrail.ledger.record import seal

SEGMENT_BYTES: Final = 64 * 2**20
FOLDER: Final = "ledger"
_TRIES: Final = 2  # in two files, before the trouble is taken to be the disk's

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has only fsync


def lane_name() -> str:
    """Return a name that sorts by time and that no other process has: moment, host, pid and chance."""
    at = clock.wall()
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(at)) + f"{int(at % 1 * 1_000_000):06d}Z"
    host = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")[:24] or "host"
    return f"{moment}-{host}-{os.getpid()}-{secrets.token_hex(4)}"


class Lane:
    """Appends lines to this process's own files and makes them durable. Used by one thread at a time.

    Args:
        home: The folder of the embedded store.

    Attributes:
        home: As given.
        name: The lane's own, as its folder is called.
        next: Number of the next record.
        problem: Why the latest `append` left something undone, None if it did not.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.name = lane_name()
        self.folder = home / FOLDER / self.name
        self.next = 1
        self.problem: OSError | None = None
        self._handle: int | None = None
        self._path = self.folder
        self._size = 0
        self._first = 0  # number of the open segment's first record

    def append(self, bodies: list[bytes]) -> list[bytes]:
        """Write records in order and wait until they are durable.

        A file whose write or sync failed is never written again: what it could not take goes into a new one, at once and
        then whenever this is called again. Readers prefer the later file where two hold the same number.

        Args:
            bodies: Lines without number and newline.

        Returns:
            The lines that are durable now; fewer than given if something is wrong (`problem`). Offer the rest again.
        """
        done: list[bytes] = []
        failures = 0
        while len(done) < len(bodies) and failures < _TRIES:
            lines: list[bytes] = []
            durable = 0
            try:
                if self._handle is None or self._size >= SEGMENT_BYTES or not os.fstat(self._handle).st_nlink:
                    self._open()
                lines = [seal(body, self.next + at) for at, body in enumerate(bodies[len(done) :])]
                durable = self._write(lines)
            except OSError as problem:
                self.problem = problem
            done += lines[:durable]
            self.next += durable
            failures = 0 if durable else failures + 1
            if len(done) < len(bodies):
                self._retire()
        if len(done) == len(bodies):
            self.problem = None
        return done

    def close(self) -> None:
        """Let go of the open file. Everything in it is durable already."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self) -> None:
        self.close()
        if not self.folder.is_dir():
            _make(self.folder)
        self._path = self.folder / f"{self.next:020d}.jsonl"
        self._handle = os.open(self._path, _FLAGS, 0o600)
        self._size = 0
        self._first = self.next
        _sync_folder(self.folder)

    def _write(self, lines: list[bytes]) -> int:
        """Write and sync; return how many lines are durable. Raises OSError where none is."""
        assert self._handle is not None  # noqa: S101 - opened by the caller, two lines above
        blob = b"".join(lines)
        rest = memoryview(blob)
        problem: OSError | None = None
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError as failed:
            problem = failed
        written = len(blob) - len(rest)
        if not written and problem is not None:
            raise problem
        _sync(self._handle)
        self._size += written
        if problem is None:
            return len(lines)
        self.problem = problem
        return blob[:written].count(b"\n")

    def _retire(self) -> None:
        """Leave the open file for good. If no record in it is durable, the file goes too: its name is needed again."""
        if self._handle is None:
            return
        self.close()
        if self._first == self.next:
            try:
                self._path.unlink()
            except OSError:
                self.next += 1  # a number is left out rather than a record: the file that holds its name stays


def _make(folder: Path) -> None:
    """Make the folder of a lane and what is missing above it, private to its owner, each durably entered in its parent."""
    missing = [folder]
    while not missing[-1].parent.is_dir():
        missing.append(missing[-1].parent)
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=each is not folder)
        _sync_folder(each.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
