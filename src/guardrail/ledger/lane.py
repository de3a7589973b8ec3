"""One process's part of the ledger: a folder of append-only files that nobody else writes, each begun where the last ended.

`<home>/ledger/<lane>/<number of the first record, 20 digits>.jsonl`, `leaves`, `checkpoints` and `lock`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock
from guardrail.ledger import disk, places
from guardrail.ledger.disk import FOLDER, sync_folder
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.record import seal_all
from guardrail.ledger.seals import Seals
from guardrail.ledger.surroundings import boot_id, sdk_version

if TYPE_CHECKING:
    from guardrail.ledger.recovery import Recovered

SEGMENT_BYTES: Final = 64 * 2**20
SEGMENT_SECONDS: Final = 86_400.0
LOCK: Final = "lock"
CLOSE_SECONDS: Final = 1.0  # the most that the end of a process waits for the manifest
_TRIES: Final = 2  # in two files, before the trouble is taken to be the disk's

_FLAGS: Final = os.O_WRONLY | os.O_EXCL | os.O_APPEND | disk.FLAGS
_sync = disk.sync


def lane_name() -> str:
    """Return a name that sorts by time and that no other process has: moment, host, pid and chance."""
    at = clock.wall()
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(at)) + f"{int(at % 1 * 1_000_000):06d}Z"
    host = re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-")[:24] or "host"
    return f"{moment}-{host}-{os.getpid()}-{secrets.token_hex(4)}"


class Lane:
    """Appends lines to this process's own files and makes them durable. Used by one thread at a time.

    Nothing exists before the first `append`, which enters the lane in the manifest. What need not happen before records are
    acknowledged (hashes of the tree, checkpoints, the manifest's lines about closed files) is left to `upkeep`.

    Args:
        home: The folder of the embedded store.

    Attributes:
        home: As given.
        url: Of the database that it is in, None where it is in files.
        name: The lane's own, as its folder is called.
        next: Number of the next record.
        problem: Why the latest `append` left something undone, None if it did not.
        lost: Whether its files are gone, so that the next record belongs into another lane.
        manifest: Of the ledger.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url: str | None = None
        self.name = lane_name()
        self.folder = home / FOLDER / self.name
        self.next = 1
        self.problem: OSError | None = None
        self.lost = False
        self.manifest = Manifest(home / FOLDER)
        self._seals: Seals | None = None
        self._lock: int | None = None
        self._handle: int | None = None
        self._path = self.folder
        self._size = 0
        self._first = 0  # number of the open segment's first record
        self._opened = 0.0
        self._leaf = bytes(32)  # of the latest durable record

    @property
    def begun(self) -> bool:
        """Whether the manifest knows of it."""
        return self._seals is not None

    @property
    def first(self) -> int:
        """Number of the first record of the latest file; 0 before there is one."""
        return self._first

    def append(self, bodies: list[bytes]) -> list[bytes]:
        """Write records in order and wait until they are durable.

        A file whose write or sync failed is never written again: what it could not take goes into a new one, at once and
        then whenever this is called again. Readers prefer the later file where two hold the same number.

        Args:
            bodies: Lines without number, hash link and newline.

        Returns:
            The lines that are durable now; fewer than given if something is wrong (`problem`). Offer the rest again, to
            another lane where this one is `lost`.
        """
        try:
            seals = self._seals or self._begin()
        except OSError as problem:
            self.problem = problem
            return []
        done: list[bytes] = []
        failures = 0
        while len(done) < len(bodies) and failures < _TRIES and not self.lost:
            durable = 0
            lines: list[bytes] = []
            leaves: list[bytes] = []
            try:
                self._ready()
                lines, leaves = seal_all(bodies[len(done) :] if done else bodies, self.next, self._leaf)
                durable = self._write(lines)
            except OSError as problem:
                self.problem = problem
            if durable:
                self._leaf = leaves[durable - 1]
                seals.add(leaves[:durable])
                self.next += durable
            done = done + lines[:durable] if done else lines[:durable]
            failures = 0 if durable else failures + 1
            if len(done) < len(bodies):
                self._retire()
        if len(done) == len(bodies):
            self.problem = None
        return done

    def upkeep(self, now: float) -> None:
        """Do what was left undone: fold the tree, tell the manifest of closed files, sign a checkpoint where one is due.

        Args:
            now: Monotonic seconds.

        Raises:
            OSError: Something could not be made durable. Records are not concerned, and it is tried again.
        """
        seals = self._seals
        if seals is None or self.lost:
            return
        if self._handle is not None and now - self._opened >= SEGMENT_SECONDS:
            self._leave(None)
        if seals.due(now):
            seals.settle(now)

    def recover(self) -> Iterator[Recovered | None]:
        """Close the lanes of ended processes, one for each step; see `recovery.recover`."""
        from guardrail.ledger import recovery  # noqa: PLC0415 - it needs what is in here

        return recovery.recover(self.manifest, self.name)

    def close(self) -> None:
        """Sign the last checkpoint, tell the manifest that the lane ends here, and let go of its files.

        Every record is durable already. What fails here is left to the next process, which finds the lane without an owner.

        Raises:
            OSError: The manifest does not know that the lane was closed.
        """
        seals = self._seals
        try:
            if seals is not None and not self.lost:
                self._let_go()
                seals.finish(CLOSE_SECONDS)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of every file without a word: in a forked child, or where the files are gone."""
        self._let_go()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._seals is not None:
            self._seals.abandon()

    # ── the files ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _begin(self) -> Seals:
        """Enter the lane in the manifest, with a folder and a lock that lasts as long as the process."""
        places.check(self.folder)
        manifest = self.manifest
        with manifest.locked():
            key = manifest.signer()
            if self._lock is None:
                while manifest.knows(self.name):  # by the strangest of chances
                    self.name = lane_name()
                    self.folder = self._path = self.home / FOLDER / self.name
                self._lock = self._locked()
            facts: dict[str, Any] = {"host": socket.gethostname(), "boot": boot_id(), "pid": os.getpid(), "sdk": sdk_version()}
            manifest.append_all([("open", {"lane": self.name, "key_id": key.key_id, **facts})], [key])
        self._seals = Seals(self.folder, self.name, manifest, key)
        return self._seals

    def _locked(self) -> int:
        if not self.folder.is_dir():
            disk.make_folder(self.folder)
        handle = os.open(self.folder / LOCK, os.O_RDWR | disk.FLAGS, disk.MODE)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise
        return handle

    def _ready(self) -> None:
        """Have an open file, another one where the last is full or old."""
        if self._handle is not None:
            if not os.fstat(self._handle).st_nlink:
                self.lost = True  # somebody removed it: its numbers must not go on as if it were there
                raise FileNotFoundError(errno.ENOENT, "the lane was removed while it was in use", str(self._path))
            if self._size < SEGMENT_BYTES and clock.now() - self._opened < SEGMENT_SECONDS:
                return
            self._leave(None)
        self._path = self.folder / f"{self.next:020d}.jsonl"
        try:
            self._handle = os.open(self._path, _FLAGS, disk.MODE)
        except FileNotFoundError:
            self.lost = True
            raise
        self._size = 0
        self._first = self.next
        self._opened = clock.now()
        sync_folder(self.folder)

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
        if self._first != self.next:
            self._leave(self.problem)
            return
        self._let_go()
        try:
            self._path.unlink()
        except OSError:
            self.lost = True  # the file that holds its name stays, so the next number cannot have one

    def _leave(self, problem: OSError | None) -> None:
        """Close the open file; the manifest is told later, and why, where it was left before it was full."""
        self._let_go()
        if self._seals is not None and self._first < self.next:
            self._seals.segment_closed(self._first, self.next - 1, None if problem is None else problem.strerror or str(problem))

    def _let_go(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
