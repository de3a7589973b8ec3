"""One process's part of a ledger in PostgreSQL: rows while the server takes them, else files of its own, replayed in order."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from guardrail import clock, notices
from guardrail.ledger import disk, merkle, places, signing
from guardrail.ledger.derived import CHECKPOINTS
from guardrail.ledger.lane import CLOSE_SECONDS, LOCK, Lane
from guardrail.ledger.manifest import add_note
from guardrail.ledger.postgres import SPOOL, rows, spool
from guardrail.ledger.postgres.link import Away, Link
from guardrail.ledger.postgres.manifest import SharedManifest
from guardrail.ledger.postgres.schema import SchemaRefused
from guardrail.ledger.postgres.seals import SharedSeals
from guardrail.ledger.signing import KeyRefused
from guardrail.ledger.surroundings import boot_id, sdk_version

if TYPE_CHECKING:
    from guardrail.ledger.recovery import Recovered
    from guardrail.ledger.seals import Seals

COMMIT_SECONDS: Final = 2.0  # the most that a commit waits for the server; then the records go into files
BEHIND: Final = 5_000  # records in one write: so many wait only where the server is slower than they come
REPLAY_SECONDS: Final = 0.25  # of replaying at one go
OPEN: Final = "open.json"  # in a lane's folder: what the manifest is to be told of it
KNOWN: Final = "ledger.json"  # in the folder of all: which ledger it was, for who begins while the server is away
_TELL_SECONDS: Final = 1.0  # a checkpoint without records to ride with waits so long
_FIRST_PAUSE: Final = 1.0  # seconds until the next try with a server that connects and does not answer, doubled each time
_LONGEST_PAUSE: Final = 30.0
_ID: Final = slice(13, 49)  # of the id in a line: {"v":1,"id":"…


class SharedLane(Lane):
    """Appends lines to this process's own lane of a ledger in PostgreSQL. Used by one thread at a time.

    Args:
        home: The folder of the embedded store; what the server cannot take now is kept in it.
        url: Of the database.
    """

    def __init__(self, home: Path, url: str) -> None:
        super().__init__(home)
        self.url = url
        self.folder = home / SPOOL / self.name
        self._path = self.folder
        self._link = Link(url)
        self.manifest: SharedManifest = SharedManifest(self._link)
        self._facts: dict[str, Any] = {
            "lane": self.name, "host": socket.gethostname(), "boot": boot_id(), "pid": os.getpid(), "sdk": sdk_version(),
        }  # fmt: skip
        self._entered = False  # whether the manifest knows the lane
        self._away = False
        self._stored = 0  # of the spooled records, up to which the database has them
        self._spool: spool.Spool | None = None
        self._unsure: tuple[int, list[bytes]] | None = None  # sent, perhaps stored, and not in files: first number, lines
        self._told_at = 0.0
        self._again_at = 0.0
        self._pause = 0.0

    # ── appending ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def append(self, bodies: list[bytes]) -> list[bytes]:
        """Write records in order and wait until they are durable: in the database, or in files while it is away.

        Args:
            bodies: As for a lane in files.

        Returns:
            As for a lane in files.
        """
        done: list[bytes] = []
        if self._unsure is not None:
            made = self._made_sure()
            if made is None:
                return []
            known = {line[_ID]: line for line in made}
            done = [known[body[_ID]] for body in bodies if body[_ID] in known]
            bodies = bodies[len(done) :]
            if not bodies:
                self.problem = None
                return done
        done += super().append(bodies)
        if self._unsure is not None and self.next >= self._unsure[0] + len(self._unsure[1]):
            self._unsure = None  # by another try they have got into a file
        return done

    def _begin(self) -> Seals:
        places.check(self.folder)
        if self._lock is None:
            self._lock = self._locked()
        seals = SharedSeals(self.name)
        self._seals = cast("Seals", seals)
        try:
            try:
                self._enter(seals, COMMIT_SECONDS)
            except Away as problem:
                self._go_away(problem)
                self._begin_apart(seals)
        except BaseException:
            self._seals = None
            raise
        return self._seals

    def _enter(self, seals: SharedSeals, seconds: float) -> None:
        """Enter the lane in the manifest."""
        if self._entered:
            return
        with self.manifest.locked(seconds):
            key = self.manifest.signer()
            self.manifest.append_all([("open", {**self._facts, "key_id": key.key_id})], [key])
        seals.know(self.manifest.origin(self.name), key)
        self._entered = True
        known = json.dumps({"ledger": self.manifest.ledger_id, "key_id": key.key_id}).encode()
        path = self.folder.parent / KNOWN
        with contextlib.suppress(OSError):  # the next process to begin without a server would sign nothing until it is back
            if not path.is_file() or path.read_bytes() != known:
                disk.replace(path, known)

    def _begin_apart(self, seals: SharedSeals) -> None:
        """Begin without the database, with what is known of the ledger from before."""
        disk.replace(self.folder / OPEN, json.dumps(self._facts).encode())
        try:
            known = json.loads((self.folder.parent / KNOWN).read_bytes())
            ledger, key_id = str(known["ledger"]), str(known["key_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        key = signing.signing_key(ledger, key_id, create=False)
        seals.know(f"guardrail/{ledger}/{self.name}", key)

    def _ready(self) -> None:
        if self._away:
            super()._ready()

    def _write(self, lines: list[bytes]) -> int:
        if not self._away and len(lines) >= BEHIND:
            self._go_away(Away("records come faster than it takes them"))
            super()._ready()
        if not self._away:
            first = self.next
            try:
                self._insert(first, lines, COMMIT_SECONDS)
            except Away as problem:
                if not problem.certain:
                    self._unsure = (first, lines)
                self._go_away(problem)
                super()._ready()
            else:
                return len(lines)
        return super()._write(lines)

    def _insert(self, first: int, lines: list[bytes], seconds: float) -> None:
        seals = cast("SharedSeals", self._seals)
        contents = [line[:-1] for line in lines]
        notes = [each for each in seals.waiting if each[0] < first]
        rows.insert(self._link, self.name, first, contents, list(map(merkle.leaf, contents)), notes, seconds)
        del seals.waiting[: len(notes)]
        if notes:
            self._told_at = clock.now()

    def _made_sure(self) -> list[bytes] | None:
        """Store what may be in the database already, there or in files, under its numbers; None where that cannot be done."""
        assert self._unsure is not None  # noqa: S101 - asked for only then
        first, lines = self._unsure
        lines = lines[self.next - first :]
        try:
            self._ready()
            durable = self._write(lines)
        except OSError as problem:
            self.problem = problem
            self._retire()
            return None
        leaves = [merkle.leaf(line[:-1]) for line in lines[:durable]]
        cast("SharedSeals", self._seals).add(leaves)
        self._leaf = leaves[-1]
        self.next += durable
        if durable < len(lines):
            self._retire()
            return None
        self._unsure = None
        return lines

    def _go_away(self, problem: Away) -> None:
        self._away = True
        self._stored = self.next - 1
        self._spool = spool.Spool(self.folder)
        notices.say(
            "ledger-database",
            f"the database does not take all records ({problem.strerror}): they are kept in {self.folder}, durably, and replayed",
        )

    # ── when nobody waits ─────────────────────────────────────────────────────────────────────────────────────────────
    def upkeep(self, now: float) -> None:
        """Replay what was kept in files, as far as the database is back, and sign a checkpoint where one is due."""
        if self._seals is None or self.lost:
            return
        seals = cast("SharedSeals", self._seals)
        if self._away and now >= self._again_at:
            self._come_back(now)
        if seals.due(now):
            self._checkpoint(seals, now)
        if not self._away and seals.waiting and now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            try:
                self.manifest.refresh()
                seals.follow_key(self.manifest)
                self._insert(self.next, [], COMMIT_SECONDS)
            except Away as problem:
                self._go_away(problem)

    def _come_back(self, now: float) -> None:
        try:
            self._link.ready(0.0)
        except Away:
            return
        except SchemaRefused as problem:
            notices.say("ledger-replay", f"what is kept in {self.folder} cannot be replayed: {problem.strerror}")
            return
        try:
            self._replay(now + REPLAY_SECONDS, 0.0)
        except Away:  # it lets us in and then does not answer: every try is a wait for whoever commits meanwhile
            self._pause = min(max(_FIRST_PAUSE, self._pause * 2), _LONGEST_PAUSE)
            self._again_at = clock.now() + self._pause
        else:
            self._pause = 0.0

    def _checkpoint(self, seals: SharedSeals, now: float) -> None:
        made = seals.sign(now)
        if made is not None and self._away:
            add_note(self.folder / CHECKPOINTS, made[1].decode().removesuffix("\n"))

    def _replay(self, until: float, wait: float) -> None:
        """Send spooled records until a moment; once all are there, go on with the database.

        Raises:
            Away: It is not back, or away again.
            OSError: The database, or the key, cannot be used; or the spool cannot be read.
        """
        seals, kept = cast("SharedSeals", self._seals), self._spool
        assert kept is not None  # noqa: S101 - made when the lane went away
        try:
            self._link.ready(wait)
            self._enter(seals, COMMIT_SECONDS)
            while True:
                before = kept.place
                found = kept.more()
                if not found and self._stored < self.next - 1:
                    raise spool.Damaged(f"record {self._stored + 1} is missing")  # noqa: TRY301 - told like the rest of them
                if not found:
                    break
                new = [each for each in found if each.seq > self._stored]
                try:
                    rows.insert(
                        self._link, self.name, new[0].seq if new else 0, [each.content for each in new], [each.leaf for each in new],
                        [], COMMIT_SECONDS,
                    )  # fmt: skip
                except Away:
                    kept.place = before
                    raise
                self._stored = max(self._stored, found[-1].seq)
                if clock.now() >= until:
                    return
        except (SchemaRefused, KeyRefused) as problem:
            notices.say("ledger-replay", f"what is kept in {self.folder} cannot be replayed: {problem.strerror or problem}")
            return
        except spool.Damaged as problem:
            notices.say("ledger-replay", f"{self.folder} was changed while it was in use: {problem}; another lane was begun")
            self.lost = True
            return
        self._insert(self.next, [], COMMIT_SECONDS)  # the checkpoints of meanwhile
        self._let_go()
        self._first = self.next
        self._away, self._spool = False, None
        if not spool.clear(self.folder, keep=(LOCK,)):
            self.lost = True  # what stays there must not be taken for the beginning of another outage

    def recover(self) -> Iterator[Recovered | None]:
        """Replay and close the lanes of this home whose process is gone; see `recovery.recover`."""
        from guardrail.ledger.postgres.recovery import recover  # noqa: PLC0415 - it needs what is above

        while True:
            if self._away:
                yield None
                continue
            try:
                yield from recover(self.home, self._link, self.manifest, self.name)
            except Away:
                yield None
            else:
                return

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def close(self) -> None:
        """Sign the last checkpoint and close the lane in the manifest; while the database is away, the next process does."""
        seals = cast("SharedSeals | None", self._seals)
        try:
            if seals is None or self.lost:
                return
            until = clock.now() + CLOSE_SECONDS
            self._checkpoint(seals, clock.now())
            if self._away:
                self._replay(until, CLOSE_SECONDS / 2)
            if self._away or self._unsure is not None:
                raise Away("the database was not back in time")
            self._insert(self.next, [], CLOSE_SECONDS)
            with self.manifest.locked(CLOSE_SECONDS):
                closing = {"lane": self.name, "size": seals.tree.size, "root": seals.tree.root().hex()}
                self.manifest.append_all([("close", closing)], None if seals.key is None else [seals.key])
            spool.clear(self.folder)
        finally:
            self._let_go()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None
            self._link.drop()

    def abandon(self) -> None:
        """Let go of everything without a word: in a forked child, or where the files are gone."""
        super().abandon()
        self._link.abandon()
