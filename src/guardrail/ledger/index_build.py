"""Brings the index up to date: reads on in each segment from where the last one stopped, in bounded batches."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from guardrail import clock
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.index_rows import FIXED_WORDS, FORMAT, INDEXES, SHIFT, TABLES, links, packed, words_of
from guardrail.ledger.moments import micros
from guardrail.ledger.segments import Segment, forwards, lanes, open_segment, parsed, segments
from guardrail.store import forks
from guardrail.store.sqlite import make_private

Tell = Callable[[int], None]
_BATCH: Final = 5_000  # records of one transaction
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


class Builder:
    """Writes the index. Only whoever holds the file lock makes one.

    Args:
        path: Where the index is, or will be. A damaged one is replaced, and so is one of an earlier release.
        anew: Make it from nothing, beside the one that there is, which `close` replaces: three times as fast, since its
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

    def sweep(self, home: Path) -> None:
        """Drop what was indexed of segments that are gone, and the words that no record has any more."""
        with forks.apart():
            known = cursors(self._db)
        there = lanes(home)
        self._forget({each.name for each in there}, known, set(known.done))
        for lane in there:
            self._prune(lane.name, {each.first for each in segments(lane)}, None)
        used = " UNION ".join(f"SELECT {name} FROM record" for name in ("event", "outcome", "guard", "actor"))  # noqa: S608 - names of ours
        self._words.clear()
        self._write([(f"DELETE FROM word WHERE n > ? AND n NOT IN ({used})", [(FIXED_WORDS,)])])  # noqa: S608 - as above
        self._commit()

    def extend(self, home: Path, seconds: float | None, tell: Tell | None) -> None:
        """Read on, the newest lanes first, for so many seconds at most."""
        try:
            self._extend(home, None if seconds is None else clock.now() + seconds, tell)
        finally:
            self._commit()

    def _extend(self, home: Path, until: float | None, tell: Tell | None) -> None:
        with forks.apart():
            done = dict(self._db.execute("SELECT name, changed FROM lane").fetchall())
            known = cursors(self._db)
        ended = _closed(home)
        there = lanes(home)
        self._forget({each.name for each in there}, known, set(done))
        read = 0
        for lane in reversed(there):
            changed = lane.stat().st_mtime_ns
            if done.get(lane.name) == changed:
                continue
            if lane.name in done:
                self._open_again(lane.name)
                with forks.apart():
                    known = cursors(self._db)
            whole = True
            files = segments(lane)
            self._prune(lane.name, {each.first for each in files}, known)
            for segment in files:
                for many in self._segment(lane.name, segment, known.parts.get((lane.name, segment.first))):
                    read += many
                    if tell is not None:
                        tell(read)
                    if until is not None and clock.now() >= until:
                        return
                whole = whole and self._whole(lane.name, segment)
            if whole and lane.name in ended:
                self._write([("INSERT OR REPLACE INTO lane VALUES (?, ?)", [(lane.name, changed)])])

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

    def _segment(self, lane: str, segment: Segment, part: Part | None) -> Iterator[int]:
        """Index what a segment has got since the last time; yield the number of records of each batch."""
        if part is not None and part.closed:
            return
        try:
            if part is not None and not _is_still(segment.path, part):
                self._drop(part.n)
                part = None
            file, zipped = open_segment(segment.path)
            with file:
                status = os.fstat(file.fileno())
            if part is not None and not zipped and status.st_size == part.upto:
                return
            if part is None:
                part = self._new(lane, segment.first)
            yield from self._read(segment, part, status.st_mtime_ns, zipped=zipped)
        except FileNotFoundError:  # pruned, or taken back by a process whose disk is full
            return

    def _read(self, segment: Segment, part: Part, written: int, *, zipped: bool) -> Iterator[int]:
        lines = forwards(segment.path, part.upto)
        at, tail, length = part.upto, part.tail, part.length
        while True:
            rows: list[tuple[Any, ...]] = []
            named: list[tuple[str, int]] = []
            many = 0
            last = b""
            ended = True
            for line in itertools.islice(lines, _BATCH):
                many += 1
                if not line.endswith(b"\n"):
                    ended = zipped
                    many = -1
                    break
                record = parsed(line, segment._replace(upto=None), None)
                if record is not None:
                    place = part.n << SHIFT | at
                    rows.append((place, record["seq"], micros(record["ts"]), *self._fields(record)))
                    named += [(text, place) for text in links(record)]
                at += len(line)
                last = line
            if last:
                tail, length = _digest(last), len(last)
            over = many != _BATCH
            self._write(
                [
                    ("INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows),
                    ("INSERT OR IGNORE INTO link VALUES (?, ?)", named),
                    (
                        "UPDATE part SET upto = ?, written = ?, tail = ?, length = ?, closed = ? WHERE n = ?",
                        [(at, written, tail, length, over and ended and zipped, part.n)],
                    ),
                ]
            )
            yield len(rows)
            if over:
                return

    def _fields(self, record: dict[str, Any]) -> tuple[Any, ...]:
        business_id = record.get("business_id")
        return (
            packed(str(record.get("id", ""))),
            *(self._word(each) for each in words_of(record)),
            business_id if isinstance(business_id, str) else None,
        )

    def _word(self, text: str) -> int:
        found = self._words.get(text)
        if found is None:
            self._write([("INSERT OR IGNORE INTO word (text) VALUES (?)", [(text,)])])
            with forks.apart():
                found = int(self._db.execute("SELECT n FROM word WHERE text = ?", (text,)).fetchone()[0])
            if len(self._words) >= _WORDS:
                self._words.clear()
            self._words[text] = found
        return found

    def _new(self, lane: str, first: int) -> Part:
        self._write(
            [
                (
                    "INSERT INTO part (lane, first, upto, written, tail, length, closed) VALUES (?, ?, 0, 0, x'', 0, 0)",
                    [(lane, first)],
                )
            ]
        )
        with forks.apart():
            row = self._db.execute("SELECT n FROM part WHERE lane = ? AND first = ?", (lane, first)).fetchone()
        return Part(row[0], 0, 0, b"", 0, closed=False)

    def _whole(self, lane: str, segment: Segment) -> bool:
        """Return whether a segment is indexed to its end."""
        with forks.apart():
            row = self._db.execute("SELECT upto, closed FROM part WHERE lane = ? AND first = ?", (lane, segment.first)).fetchone()
        if row is None:
            return False
        with contextlib.suppress(FileNotFoundError):
            return bool(row[1]) or segment.path.stat().st_size == row[0]
        return False

    def _forget(self, there: set[str], known: Cursors, done: set[str]) -> None:
        for lane in {*(lane for lane, _ in known.parts), *done} - there:
            self._prune(lane, set(), None)
            self._write([("DELETE FROM lane WHERE name = ?", [(lane,)])])

    def _open_again(self, lane: str) -> None:
        self._write([("DELETE FROM lane WHERE name = ?", [(lane,)])])

    def _prune(self, lane: str, firsts: set[int], known: Cursors | None) -> None:
        """Drop what is indexed of segments that are gone."""
        if known is not None and all(first in firsts for each, first in known.parts if each == lane):
            return
        with forks.apart():
            rows = self._db.execute("SELECT n, first FROM part WHERE lane = ?", (lane,)).fetchall()
        for n, first in rows:
            if first not in firsts:
                self._drop(n)

    def _drop(self, n: int) -> None:
        ends = [(n << SHIFT, (n + 1) << SHIFT)]
        self._write(
            [
                ("DELETE FROM link WHERE place >= ? AND place < ?", ends),
                ("DELETE FROM record WHERE place >= ? AND place < ?", ends),
                ("DELETE FROM part WHERE n = ?", [(n,)]),
            ]
        )

    def _write(self, steps: list[tuple[str, list[tuple[Any, ...]]]]) -> None:
        """Write in the open transaction, which ends when it has grown large: many short lanes share one."""
        db = self._db
        with forks.apart():
            if not db.in_transaction:
                db.execute("BEGIN IMMEDIATE")
            for step, rows in steps:
                if rows:
                    db.executemany(step, rows)
                    self._pending += len(rows)
        if self._pending >= _BATCH:
            self._commit()

    def _commit(self) -> None:
        self._pending = 0
        with forks.apart():
            if self._db.in_transaction:
                self._db.execute("COMMIT")


def _empty(db: sqlite3.Connection, *, indexes: bool) -> None:
    """Lay the tables out anew in a file that is empty or of an earlier release."""
    for kind, name in db.execute("SELECT type, name FROM sqlite_master WHERE type = 'table'").fetchall():
        db.execute(f"DROP {kind} {name}")
    db.executescript(f"BEGIN; {TABLES} {INDEXES if indexes else ''} COMMIT;")


def _closed(home: Path) -> set[str]:
    """Return the lanes that will not grow any more, as the manifest says; none where there is no manifest."""
    found: set[str] = set()
    with contextlib.suppress(OSError), (home / FOLDER / "manifest.jsonl").open("rb") as file:
        for line in file:
            if b'"close"' in line:
                with contextlib.suppress(orjson.JSONDecodeError):
                    said = orjson.loads(line)
                    if isinstance(said, dict) and said.get("event") == "close" and isinstance(said.get("lane"), str):
                        found.add(said["lane"])
    return found


def _is_still(path: Path, part: Part) -> bool:
    """Return whether a segment is the one that was indexed: what was its last line then still stands there."""
    file, zipped = open_segment(path)
    with file:
        if zipped:
            return True  # its checksum guards its content, and each hit is checked anyhow
        status = os.fstat(file.fileno())
        if status.st_size < part.upto:
            return False
        if status.st_mtime_ns == part.written or not part.length:
            return True
        file.seek(part.upto - part.length)
        return _digest(file.read(part.length)) == part.tail


def _digest(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()[:16]
