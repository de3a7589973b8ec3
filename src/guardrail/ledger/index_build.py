"""Brings the index up to date: reads on in each segment from where the last one stopped, in bounded batches."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from guardrail import clock
from guardrail.ledger import index_file
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.index_file import Cursors, IndexFile, Part
from guardrail.ledger.index_rows import SHIFT, links, packed, words_of
from guardrail.ledger.moments import micros
from guardrail.ledger.segments import Segment, forwards, lanes, open_segment, parsed, segments

Tell = Callable[[int], None]
_ENDED: Final = "DELETE FROM lane WHERE name = ?"


class Builder:
    """Fills the index of a home.

    Args:
        file: Its file.
        home: The folder of the embedded store.
    """

    def __init__(self, file: IndexFile, home: Path) -> None:
        self._file = file
        self._home = home

    def sweep(self) -> None:
        """Drop what was indexed of segments that are gone, and the words that no record has any more."""
        known = self._file.cursors()
        there = lanes(self._home)
        self._forget({each.name for each in there}, known, set(known.done))
        for lane in there:
            self._prune(lane.name, {each.first for each in segments(lane)}, None)
        self._file.drop_words()
        self._file.commit()

    def extend(self, seconds: float | None, tell: Tell | None) -> None:
        """Read on, the newest lanes first, for so many seconds at most."""
        try:
            self._extend(None if seconds is None else clock.now() + seconds, tell)
        finally:
            self._file.commit()

    def _extend(self, until: float | None, tell: Tell | None) -> None:
        done = dict(self._file.read("SELECT name, changed FROM lane"))
        known = self._file.cursors()
        ended = _closed(self._home)
        there = lanes(self._home)
        self._forget({each.name for each in there}, known, set(done))
        read = 0
        for lane in reversed(there):
            changed = lane.stat().st_mtime_ns
            if done.get(lane.name) == changed:
                continue
            if lane.name in done:
                self._file.write([(_ENDED, [(lane.name,)])])
                known = self._file.cursors()
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
                self._file.write([("INSERT OR REPLACE INTO lane VALUES (?, ?)", [(lane.name, changed)])])

    def _segment(self, lane: str, segment: Segment, part: Part | None) -> Iterator[int]:
        """Index what a segment has got since the last time; yield the number of records of each batch."""
        if part is not None and part.closed:
            return
        try:
            if part is not None and not _is_still(segment.path, part):
                self._file.drop_part(part.n)
                part = None
            file, zipped = open_segment(segment.path)
            with file:
                status = os.fstat(file.fileno())
            if part is not None and not zipped and status.st_size == part.upto:
                return
            if part is None:
                part = self._file.new_part(lane, segment.first)
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
            for line in itertools.islice(lines, index_file.BATCH):
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
            over = many != index_file.BATCH
            self._file.write(
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
            *(self._file.word(each) for each in words_of(record)),
            business_id if isinstance(business_id, str) else None,
        )

    def _whole(self, lane: str, segment: Segment) -> bool:
        """Return whether a segment is indexed to its end."""
        rows = self._file.read("SELECT upto, closed FROM part WHERE lane = ? AND first = ?", (lane, segment.first))
        with contextlib.suppress(FileNotFoundError):
            return any(closed or segment.path.stat().st_size == upto for upto, closed in rows)
        return False

    def _forget(self, there: set[str], known: Cursors, done: set[str]) -> None:
        for lane in {*(lane for lane, _ in known.parts), *done} - there:
            self._prune(lane, set(), None)
            self._file.write([(_ENDED, [(lane,)])])

    def _prune(self, lane: str, firsts: set[int], known: Cursors | None) -> None:
        """Drop what is indexed of segments that are gone."""
        if known is not None and all(first in firsts for each, first in known.parts if each == lane):
            return
        for n, first in self._file.read("SELECT n, first FROM part WHERE lane = ?", (lane,)):
            if first not in firsts:
                self._file.drop_part(n)


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
