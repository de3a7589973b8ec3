"""What makes a lane provable: its tree, the file of leaf hashes, signed checkpoints, and its lines in the manifest."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final, NamedTuple

from guardrail import clock
from guardrail.ledger import derived, disk, manifest, merkle, notes
from guardrail.ledger.derived import CHECKPOINTS, LEAVES
from guardrail.ledger.manifest import Event, Manifest
from guardrail.ledger.record import iso
from guardrail.ledger.signing import SigningKey

EVERY_RECORDS: Final = 1_000
EVERY_SECONDS: Final = 10.0
SYNC_SECONDS: Final = 1.0  # under load checkpoints come by the hundred, and are synced this often
SYNC_RECORDS: Final = 10_000  # and this often, lest a power failure takes so many that a verifier takes them for removed
JUMP_SECONDS: Final = 5.0  # a wall clock that jumps by more is signed across: a verifier would see a time without checkpoints
_LONGEST_WAIT: Final = 5.0  # seconds between two tries on a disk that refuses
_sync = disk.sync


class _Closed(NamedTuple):
    """A segment that the manifest does not know to be closed yet."""

    first: int
    last: int
    root: bytes
    failed: str | None


class Seals:
    """Keeps the tree of one lane and signs what it looks like. Used by the ledger's thread alone.

    Args:
        folder: The lane's.
        name: The lane's.
        of: The ledger's manifest, in which the lane is entered.
        key: What it was entered with.
    """

    def __init__(self, folder: Path, name: str, of: Manifest, key: SigningKey) -> None:
        self._folder = folder
        self._name = name
        self._manifest = of
        self._key = key
        self._tree = merkle.Range()
        self._fresh: list[bytes] = []  # leaves that are not in the tree yet
        self._owed: list[bytes] = []  # leaves in the tree that are not in the file yet
        self._closed: list[_Closed] = []
        self._leaves: int | None = None
        self._checkpoints: int | None = None
        self._checkpoints_end = 0
        self._signed = 0  # records of the latest checkpoint
        self._signed_at = clock.now()
        self._offset = clock.wall() - clock.now()  # of the wall clock, when signed
        self._synced_at = self._signed_at
        self._synced = 0  # records of the latest checkpoint that is known to be durable
        self._unsynced = False
        self._broken = False  # the file of leaves could not be synced, so nobody knows what the disk has of it
        self._keys = [key]  # that sign the next checkpoint
        self._unusable: str | None = None  # id of a later key that this process has no file of
        self._retry_at = 0.0
        self._pause = 0.0

    def add(self, leaves: list[bytes]) -> None:
        """Take the leaves of records that are durable."""
        if not self._fresh and self._signed == self._tree.size:
            self._signed_at = clock.now()  # the first new record since: ten seconds from here
        self._fresh += leaves

    def segment_closed(self, first: int, last: int, failed: str | None) -> None:
        """Remember that a file was closed after the record `last`, because it was full or old, or because it `failed`."""
        self._fold(last)
        self._closed.append(_Closed(first, last, self._tree.root(), failed))

    def due(self, now: float) -> bool:
        """Tell whether there is anything to settle at a moment (monotonic)."""
        if now < self._retry_at:
            return False
        if self._closed:
            return True
        return self._note_due(now) or (self._unsynced and now - self._synced_at >= SYNC_SECONDS)

    def _many_unsynced(self) -> bool:
        return self._tree.size + len(self._fresh) - self._synced >= SYNC_RECORDS

    def _note_due(self, now: float) -> bool:
        new = self._tree.size + len(self._fresh) - self._signed
        if new <= 0 or new >= EVERY_RECORDS:
            return new > 0
        jumped = abs(clock.wall() - clock.now() - self._offset) > JUMP_SECONDS
        return jumped or bool(self._closed) or now - self._signed_at >= EVERY_SECONDS

    def settle(self, now: float) -> None:
        """Write leaves, a checkpoint where there is something new, and the manifest's lines about closed files.

        Raises:
            OSError: Something of it is not durable. It is tried again, after growing pauses.
        """
        try:
            self._follow_key()
            sync = bool(self._closed) or now - self._synced_at >= SYNC_SECONDS or self._many_unsynced()
            self._checkpoint(now, note=self._note_due(now), sync=sync)
            if self._closed:
                self._tell(self._closed_events(), manifest.LOCK_SECONDS)
        except OSError:
            self._pause = min(max(0.1, self._pause * 2), _LONGEST_WAIT)
            self._retry_at = clock.now() + self._pause
            raise
        self._pause = self._retry_at = 0.0

    def finish(self, seconds: float) -> None:
        """Sign the last checkpoint and close the lane in the manifest.

        Args:
            seconds: The most to wait for other processes that write the manifest.

        Raises:
            OSError: It is not durable.
        """
        self._follow_key()
        self._checkpoint(clock.now(), note=True, sync=True)
        closing = ("close", {"lane": self._name, "size": self._tree.size, "root": self._tree.root().hex()})
        self._tell([*self._closed_events(), closing], seconds)

    def abandon(self) -> None:
        """Let go of the files."""
        for handle in (self._leaves, self._checkpoints):
            if handle is not None:
                os.close(handle)
        self._leaves = self._checkpoints = None

    # ── the manifest and the key ──────────────────────────────────────────────────────────────────────────────────────
    def _closed_events(self) -> list[Event]:
        return [
            ("segment", {"lane": self._name, "first": one.first, "last": one.last, "root_at_last": one.root.hex(), "failed": one.failed})
            for one in self._closed
        ]  # fmt: skip

    def _tell(self, events: list[Event], seconds: float) -> None:
        with self._manifest.locked(seconds):
            known = self._manifest.key_id in {None, self._key.key_id}
            self._manifest.append_all(events, [self._key] if known else None)
        self._closed.clear()

    def _follow_key(self) -> None:
        """Take up the key that a rotation has put in place of ours; both sign the next checkpoint."""
        self._manifest.refresh()
        latest = self._manifest.key_id
        if latest in {None, self._key.key_id, self._unusable}:
            return
        try:
            key = self._manifest.signer()
        except OSError:  # another user's, or on another machine: this lane ends with the key that it began with
            self._unusable = latest
            return
        self._keys, self._key = [self._key, key], key

    # ── the tree and its files ────────────────────────────────────────────────────────────────────────────────────────
    def _fold(self, upto: int | None = None) -> None:
        many = len(self._fresh) if upto is None else upto - self._tree.size
        leaves, self._fresh = self._fresh[:many], self._fresh[many:]
        self._tree.extend(leaves)
        self._owed += leaves

    def _checkpoint(self, now: float, *, note: bool, sync: bool) -> None:
        self._fold()
        if self._broken:
            self._mend()
        self._write_leaves()
        if note and self._tree.size > self._signed:
            self._sign(now)
        if sync and self._unsynced:
            self._sync()
            self._synced_at, self._synced = now, self._signed

    def _write_leaves(self) -> None:
        if not self._owed:
            return
        if self._leaves is None:
            self._leaves = os.open(self._folder / LEAVES, os.O_WRONLY | disk.FLAGS, disk.MODE)
        rest = memoryview(b"".join(self._owed))
        at = merkle.SIZE * (self._tree.size - len(self._owed))
        while rest:  # by place, so that a try that failed half-way is simply written over
            wrote = os.pwrite(self._leaves, rest, at)
            rest, at = rest[wrote:], at + wrote
        self._owed.clear()
        self._unsynced = True

    def _sign(self, now: float) -> None:
        note = notes.Note(self._manifest.origin(self._name), self._tree.size, self._tree.root(), iso(clock.wall()))
        content = f"{notes.sign(note, self._keys)}\n".encode()
        if self._checkpoints is None:
            self._checkpoints = os.open(self._folder / CHECKPOINTS, os.O_WRONLY | disk.FLAGS, disk.MODE)
        try:
            os.lseek(self._checkpoints, self._checkpoints_end, os.SEEK_SET)
            disk.write_all(self._checkpoints, content)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._checkpoints, self._checkpoints_end)
            raise
        self._checkpoints_end += len(content)
        self._keys = [self._key]
        self._signed, self._signed_at, self._offset = self._tree.size, now, clock.wall() - clock.now()
        self._unsynced = True

    def _sync(self) -> None:
        try:
            for handle in (self._leaves, self._checkpoints):
                if handle is not None:
                    _sync(handle)
        except OSError:
            self._broken = True
            raise
        self._unsynced = False

    def _mend(self) -> None:
        """After a failed sync nobody knows what the disk has: both files are made anew, from what is known."""
        self.abandon()
        checkpoints = b"".join(disk.read_from(self._folder / CHECKPOINTS, 0))
        checkpoints = checkpoints[: notes.whole(checkpoints[: self._checkpoints_end])]
        leaves = b"".join(derived.hashes(self._folder, self._tree.size))
        if len(leaves) < merkle.SIZE * self._tree.size:
            raise OSError(errno.EIO, "the leaf hashes of the lane cannot be made anew from its files")
        disk.replace(self._folder / LEAVES, leaves)
        disk.replace(self._folder / CHECKPOINTS, checkpoints)
        self._owed.clear()
        self._checkpoints_end = len(checkpoints)
        self._broken = False
