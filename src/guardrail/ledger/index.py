"""The index of the ledger, `<home>/ledger/index.db`: where the records of an id, a guard or a person are.

It is derived from the segments, brought up to date by whoever searches, and made anew where it is damaged. It is never the
record of truth: each hit is read from its segment and checked there. SQLite with a rollback journal, written under a file
lock only; no connection outlives a page of results, so forks and other processes never meet an open one.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from guardrail import clock
from guardrail.ledger import index_build as build
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.index_file import Cursors, IndexFile, Later, cursors
from guardrail.ledger.index_query import Question, Row
from guardrail.ledger.index_rows import FORMAT, SHIFT, packed
from guardrail.ledger.reader import Stored
from guardrail.ledger.segments import Segment, forwards, line_at, open_segment, parsed, segment_of
from guardrail.ledger.wanted import Wanted
from guardrail.store import file_lock, forks
from guardrail.store.sqlite import identity

FILE: Final = "index.db"
LOCK: Final = "index.lock"
PATIENCE: Final = 2.0  # seconds that a search spends on bringing the index up to date; what is left over it reads itself
_FIRST_PAGE: Final = 50
_PAGE: Final = 1_000
_FRESH: Final = 1.0  # seconds for which a process does not look again how far the index reaches
_PASSING: Final = (
    "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_PERM",
)  # fmt: skip


class Distrusted(Exception):
    """What the index says is not so: it is no index of these segments."""


class Unusable(Exception):
    """There is no index here, and none can be made."""


_latest: tuple[tuple[Path, tuple[int, int] | None], float, Cursors] | None = None


def damaged(problem: sqlite3.Error) -> bool:
    """Return whether a file of SQLite is to be made anew: it is not merely in use, not to be written, or on a full disk."""
    return not getattr(problem, "sqlite_errorname", "").startswith(_PASSING)


class Index:
    """The index of one home.

    Args:
        home: The folder of the embedded store.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER
        self.home = home
        self.path = self.folder / FILE

    def refresh(self, seconds: float | None = PATIENCE, tell: build.Tell | None = None) -> Cursors:
        """Bring the index up to date, unless another process is just doing so or it may not be written.

        Args:
            seconds: How long at most; None for as long as it takes.
            tell: Called with the number of records read so far, now and then.

        Returns:
            How far it reaches in each segment; what lies behind is to be read from the segments.

        Raises:
            Unusable: There is none, and none can be made.
            sqlite3.Error: It is damaged, or in use beyond patience.
        """
        global _latest  # noqa: PLW0603 - one tuple, swapped as a whole
        if not self.folder.is_dir():
            raise Unusable
        latest = _latest
        if (
            seconds == PATIENCE
            and latest is not None
            and latest[0] == (self.path, identity(self.path))
            and clock.now() < latest[1]
        ):
            return latest[2]  # what has been written since is read from the segments
        with contextlib.suppress(OSError), file_lock.held(self.folder / LOCK, block=seconds is None) as alone:
            if alone:
                try:
                    with contextlib.closing(IndexFile(self.path)) as file:
                        build.Builder(file, self.home).extend(seconds, tell)
                except Later:
                    raise Unusable from None
                except sqlite3.Error as problem:
                    if damaged(problem):
                        raise
        if not self.path.is_file():
            raise Unusable
        with forks.apart(), contextlib.closing(self._open()) as db:
            found = cursors(db)
        _latest = (self.path, identity(self.path)), clock.now() + _FRESH, found
        return found

    def forget(self) -> None:
        """Drop what is gone from the segments, and the words that only it had, so that the file does not hold them either.

        Raises:
            OSError: It cannot be written.
            sqlite3.Error: It is damaged, or in use beyond patience.
        """
        with contextlib.suppress(Later), file_lock.held(self.folder / LOCK):
            if self.path.is_file():
                with contextlib.closing(IndexFile(self.path)) as file:
                    build.Builder(file, self.home).sweep()

    def renew(self, tell: build.Tell | None = None) -> None:
        """Make the index anew from the segments; the one that there is serves until then.

        Raises:
            OSError: It cannot be written.
            sqlite3.Error: As above.
        """
        with file_lock.held(self.folder / LOCK), contextlib.closing(IndexFile(self.path, anew=True)) as file:
            build.Builder(file, self.home).extend(None, tell)
            file.finish()

    def discard(self) -> None:
        """Remove the index, so that the next search makes it anew."""
        with contextlib.suppress(OSError), file_lock.held(self.folder / LOCK):
            for name in (self.path, self.path.with_name(f"{FILE}-journal")):
                name.unlink(missing_ok=True)

    def search(self, wanted: Wanted, cursors: Cursors, *, newest_first: bool) -> Iterator[Stored]:
        """Yield the records that the index finds, by (ts, lane, seq), each read from its segment.

        Args:
            wanted: What they must be like.
            cursors: As `refresh` returned them: what was indexed later is left out.
            newest_first: The latest first.

        Raises:
            Distrusted: A segment says something else than the index.
            sqlite3.Error: The index is damaged.
        """
        question = Question(wanted, newest_first=newest_first)
        reading = _Reading(self.folder)
        after: Row | None = None
        size = _FIRST_PAGE
        while True:
            with forks.apart(), contextlib.closing(self._open()) as db:
                rows = question.page(db, after, size)
            known = [row for row in rows if cursors.has(row.lane, row.first, row.place & ((1 << SHIFT) - 1))]
            for found in reading.stored(known):
                if wanted.matches(found.record):
                    yield found
                elif wanted.begins is None:
                    raise Distrusted
            if len(rows) < size:
                return
            after, size = rows[-1], _PAGE

    def count(self) -> int:
        """Return how many records are in it."""
        with forks.apart(), contextlib.closing(self._open()) as db:
            return int(db.execute("SELECT count(*) FROM record").fetchone()[0])

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
        try:
            db.execute("PRAGMA trusted_schema = OFF")
            db.execute("PRAGMA query_only = ON")
            mine = db.execute("PRAGMA user_version").fetchone()[0] == FORMAT
        except BaseException:
            db.close()
            raise
        if not mine:  # another release's: it is left to that one
            db.close()
            raise Unusable
        return db


class _Reading:
    """Reads records from their segments by what the index says of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[tuple[str, int], Segment | None] = {}  # by lane and first number, as looked up once per search

    def stored(self, rows: list[Row]) -> Iterator[Stored]:
        """Yield what the rows speak of, in their order; nothing for what was pruned or superseded."""
        lines: dict[int, bytes] = {}
        by_file: dict[tuple[str, int], list[Row]] = {}
        for row in rows:
            by_file.setdefault((row.lane, row.first), []).append(row)
        for (lane, first), those in by_file.items():
            segment = self._segment(lane, first)
            if segment is not None:
                lines.update(_lines(segment, sorted(row.place for row in those)))
        for row in rows:
            segment = self._segment(row.lane, row.first)
            if segment is None or row.place not in lines:
                continue
            line = lines[row.place]
            record = parsed(line, segment, None)
            if record is not None and packed(str(record.get("id", ""))) == row.id and record["seq"] == row.seq:
                yield Stored(row.lane, row.seq, line, record)
            elif parsed(line, segment._replace(upto=None), None) is None or record is not None:
                raise Distrusted

    def _segment(self, lane: str, first: int) -> Segment | None:
        if (lane, first) not in self._files:
            try:
                self._files[lane, first] = segment_of(self._folder / lane, first)
            except OSError:
                self._files[lane, first] = None
        return self._files[lane, first]


def _lines(segment: Segment, places: list[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines at some places of a segment, in order; of a compressed one by reading it once."""
    mask = (1 << SHIFT) - 1
    try:
        file, zipped = open_segment(segment.path)
    except FileNotFoundError:
        return
    with file:
        if not zipped:
            for place in places:
                yield place, line_at(file, place & mask)
            return
    left = iter(places)
    place = next(left)
    at = 0
    for line in forwards(segment.path):
        if at == place & mask:
            yield place, line
            place = next(left, -1)
            if place < 0:
                return
        at += len(line)
