"""The tree of a lane whose records are in a database, and its checkpoints: signed here, stored there."""

from __future__ import annotations

from typing import Final

from guardrail import clock
from guardrail.ledger import merkle, notes
from guardrail.ledger.postgres.manifest import SharedManifest
from guardrail.ledger.postgres.spool import Note
from guardrail.ledger.record import iso
from guardrail.ledger.seals import EVERY_RECORDS, EVERY_SECONDS
from guardrail.ledger.signing import SigningKey

JUMP_SECONDS: Final = 5.0  # a wall clock that jumps by more is signed across: a verifier would see a time without checkpoints
LEAST_SECONDS: Final = 0.25  # between two checkpoints under load


class SharedSeals:
    """Keeps the tree of one lane and signs what it looks like. Used by the ledger's thread alone.

    Args:
        name: The lane's.

    Attributes:
        tree: Over all durable records.
        key: What checkpoints are signed with; None as long as the ledger is not known, since its database was never reached.
        origin: First line of the lane's checkpoints; "" as long as the ledger is not known.
        waiting: Checkpoints that the database does not have yet.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.tree = merkle.Range()
        self.key: SigningKey | None = None
        self.origin = ""
        self.waiting: list[Note] = []
        self._fresh: list[bytes] = []
        self._keys: list[SigningKey] = []
        self._signed = 0
        self._signed_at = clock.now()
        self._offset = clock.wall() - self._signed_at  # of the wall clock, when signed
        self._unusable: str | None = None

    def add(self, leaves: list[bytes]) -> None:
        """Take the leaves of records that are durable."""
        if not self._fresh and self._signed == self.tree.size:
            self._signed_at = clock.now()
        self._fresh += leaves

    def segment_closed(self, first: int, last: int, failed: str | None) -> None:
        """Do nothing: files of a spool are no part of the ledger."""

    def abandon(self) -> None:
        """Do nothing: no file is open."""

    def know(self, origin: str, key: SigningKey) -> None:
        """Take what checkpoints are called and signed with; of a key that changes, both sign the next one."""
        if self.key is None or self.key.key_id != key.key_id:
            self._keys = [each for each in (self.key, key) if each is not None]
        self.origin, self.key = origin, key

    def follow_key(self, manifest: SharedManifest) -> None:
        """Take up the key that a rotation has put in place of ours."""
        latest = manifest.key_id
        if self.key is None or latest in {None, self.key.key_id, self._unusable}:
            return
        try:
            self.know(self.origin, manifest.signer())
        except OSError:  # another host's: this lane ends with the key that it began with
            self._unusable = latest

    def due(self, now: float) -> bool:
        """Tell whether a checkpoint is due at a moment (monotonic)."""
        new = self.tree.size + len(self._fresh) - self._signed
        waited = now - self._signed_at
        if new > 0 and abs(clock.wall() - clock.now() - self._offset) > JUMP_SECONDS:
            return True
        return (new >= EVERY_RECORDS and waited >= LEAST_SECONDS) or (new > 0 and waited >= EVERY_SECONDS)

    def sign(self, now: float) -> Note | None:
        """Sign the tree as it is, if it has grown since; the checkpoint waits for the database."""
        self.tree.extend(self._fresh)
        self._fresh = []
        if self.key is None or self.tree.size == self._signed:
            return None
        note = notes.Note(self.origin, self.tree.size, self.tree.root(), iso(clock.wall()))
        made = (self.tree.size, f"{notes.sign(note, self._keys)}\n".encode())
        self._keys = [self.key]
        self._signed, self._signed_at, self._offset = self.tree.size, now, clock.wall() - clock.now()
        self.waiting.append(made)
        return made
