"""The file of the index, an SQLite database: how it is opened, written in bounded transactions, and put in place whole."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from guardrail.ledger.index_rows import FIXED_WORDS, FORMAT, INDEXES, SHIFT, TABLES
from guardrail.ledger.segments import Segment
from guardrail.store import forks
from guardrail.store.sqlite import make_private

BATCH: Final = 5_000  # rows of one transaction
_WORDS: Final = 100_000  # words kept in memory
_CACHE: Final = 32 * 1024  # KiB of the file that SQLite keeps in memory while it is written
_CORRUPT: Final = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


class Later(Exception):
    """The index is of a later release, which is to keep it."""


class Part(NamedTuple):
    """How far a segment is indexed.

    Attributes:
        n: Number of the part.
        upto: Bytes of its content.
        written: When the file was written last, as it was seen then, in nanoseconds.
        tail: Digest of the last line.
        length: Bytes of that line.
        closed: Whether it is compressed and indexed to its end.
    """

    n: int
    upto: int
    written: int
    tail: bytes
    length: int
    closed: bool


class Cursors(NamedTuple):
    """How far the index reaches.

    Attributes:
        done: Lanes that are indexed whole and will not grow.
        parts: Of the segments of the other lanes, by lane and first number.
    """

    done: frozenset[str]
    parts: Mapping[tuple[str, int], Part]

    def has(self, lane: str, first: int, at: int) -> bool:
        """Return whether a place was indexed when these were read."""
        if lane in self.done:
            return True
        part = self.parts.get((lane, first))
        return part is not None and at < part.upto

    def begin(self, lane: str, segment: Segment) -> int | None:
        """Return where in a segment the part begins that is not indexed; None where there is none."""
        part = self.parts.get((lane, segment.first))
        if lane in self.done or (part is not None and part.closed):
            return None
        return 0 if part is None else part.upto


def cursors(db: sqlite3.Connection) -> Cursors:
    """Return how far an open index reaches."""
    done = frozenset(name for (name,) in db.execute("SELECT name FROM lane"))
    rows = db.execute(
        "SELECT lane, first, n, upto, written, tail, length, closed FROM part WHERE lane NOT IN (SELECT name FROM lane)"
    )
    return Cursors(done, {(lane, first): Part(*rest) for lane, first, *rest in rows})


class IndexFile:
    """The file, open to be written. Only whoever holds the file lock makes one.

    Args:
        path: Where the index is, or will be. A damaged one is replaced, and so is one of an earlier release.
        anew: Make it from nothing, beside the one that there is, which `finish` replaces: three times as fast, since its
            B-trees are sorted at the end.

    Raises:
        Later: The index is not ours to write.
        sqlite3.Error: It cannot be written.
        OSError: As above.
    """

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self._final = path
        self._path = path.with_name(f"{path.name}.new") if anew else path
        self._anew = anew
        self._words: dict[str, int] = {}
        self._pending = 0
        if anew:
            self._remove()
        try:
            self._db = self._opened()
        except sqlite3.DatabaseError as problem:
            if not getattr(problem, "sqlite_errorname", "").startswith(_CORRUPT):
                raise
            self._remove()
            self._db = self._opened()

    def close(self) -> None:
        """Let go of the file."""
        with forks.apart():
            self._db.close()
        if self._anew:
            self._remove()

    def finish(self) -> None:
        """Put an index that was made anew in its place."""
        with forks.apart():
            self._db.executescript(f"BEGIN; {INDEXES} COMMIT;")
            self._db.close()
        handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        self._final.with_name(f"{self._final.name}-journal").unlink(missing_ok=True)
        self._path.replace(self._final)

    def read(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Return the rows of a query."""
        with forks.apart():
            return self._db.execute(query, values).fetchall()

    def cursors(self) -> Cursors:
        """Return how far it reaches."""
        with forks.apart():
            return cursors(self._db)

    def write(self, steps: list[tuple[str, list[tuple[Any, ...]]]]) -> None:
        """Write in the open transaction, which ends when it has grown large: many short lanes share one."""
        db = self._db
        with forks.apart():
            if not db.in_transaction:
                db.execute("BEGIN IMMEDIATE")
            for step, rows in steps:
                if rows:
                    db.executemany(step, rows)
                    self._pending += len(rows)
        if self._pending >= BATCH:
            self.commit()

    def commit(self) -> None:
        """End the open transaction."""
        self._pending = 0
        with forks.apart():
            if self._db.in_transaction:
                self._db.execute("COMMIT")

    def word(self, text: str) -> int:
        """Return the number of a word, which it is given if it has none."""
        found = self._words.get(text)
        if found is None:
            self.write([("INSERT OR IGNORE INTO word (text) VALUES (?)", [(text,)])])
            found = int(self.read("SELECT n FROM word WHERE text = ?", (text,))[0][0])
            if len(self._words) >= _WORDS:
                self._words.clear()
            self._words[text] = found
        return found

    def drop_words(self) -> None:
        """Drop the words that no record has any more."""
        used = " UNION ".join(f"SELECT {name} FROM record" for name in ("event", "outcome", "guard", "actor"))  # noqa: S608 - names of ours
        self._words.clear()
        self.write([(f"DELETE FROM word WHERE n > ? AND n NOT IN ({used})", [(FIXED_WORDS,)])])  # noqa: S608 - as above

    def new_part(self, lane: str, first: int) -> Part:
        """Begin the part of a segment."""
        self.write(
            [
                (
                    "INSERT INTO part (lane, first, upto, written, tail, length, closed) VALUES (?, ?, 0, 0, x'', 0, 0)",
                    [(lane, first)],
                )
            ]
        )
        rows = self.read("SELECT n FROM part WHERE lane = ? AND first = ?", (lane, first))
        return Part(rows[0][0], 0, 0, b"", 0, closed=False)

    def drop_part(self, n: int) -> None:
        """Drop a part with all that it has."""
        ends = [(n << SHIFT, (n + 1) << SHIFT)]
        self.write(
            [
                ("DELETE FROM link WHERE place >= ? AND place < ?", ends),
                ("DELETE FROM record WHERE place >= ? AND place < ?", ends),
                ("DELETE FROM part WHERE n = ?", [(n,)]),
            ]
        )

    def _opened(self) -> sqlite3.Connection:
        make_private(self._path)
        with forks.apart():
            db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0)
            try:
                safety = (
                    ("journal_mode = OFF", "synchronous = OFF")
                    if self._anew
                    else ("journal_mode = TRUNCATE", "synchronous = NORMAL")
                )
                for pragma in (*safety, f"cache_size = -{_CACHE}", "trusted_schema = OFF", "secure_delete = ON"):
                    db.execute(f"PRAGMA {pragma}").fetchall()
                found = db.execute("PRAGMA user_version").fetchone()[0]
                if found < FORMAT:
                    _empty(db, indexes=not self._anew)
                db.execute("SELECT count(*) FROM part").fetchone()
            except BaseException:
                db.close()
                raise
            if found > FORMAT:
                db.close()
                raise Later
            return db

    def _remove(self) -> None:
        for each in (self._path, self._path.with_name(f"{self._path.name}-journal")):
            each.unlink(missing_ok=True)


def _empty(db: sqlite3.Connection, *, indexes: bool) -> None:
    """Lay the tables out anew in a file that is empty or of an earlier release."""
    for kind, name in db.execute("SELECT type, name FROM sqlite_master WHERE type = 'table'").fetchall():
        db.execute(f"DROP {kind} {name}")
    db.executescript(f"BEGIN; {TABLES} {INDEXES if indexes else ''} COMMIT;")
