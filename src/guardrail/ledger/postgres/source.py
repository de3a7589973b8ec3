"""A ledger in PostgreSQL as the verifier reads it, and its export into files, for a verifier that knows nothing of databases."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from guardrail.errors import ConfigError
from guardrail.ledger import disk, merkle
from guardrail.ledger.derived import CHECKPOINTS, LEAVES
from guardrail.ledger.lane import SEGMENT_BYTES
from guardrail.ledger.manifest import FILE, NAME, NOTES
from guardrail.ledger.postgres import rows
from guardrail.ledger.postgres.link import READ_SECONDS, Link
from guardrail.ledger.postgres.spool import HEAD
from guardrail.ledger.verify import Source

ROWS: Final = "rows"  # what the only segment of a lane is called
_TAIL: Final = 16  # hashes of the page before that are kept: a verifier holds a line back until it sees the next
_LEAVES_AT_ONCE: Final = 50_000


class Rows(Source):
    """A ledger in a database. The lane None is the manifest; a lane is one segment.

    Args:
        url: Of the database.

    Raises:
        OSError: It cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._link = Link(url, writing=False)
        self._link.ready(READ_SECONDS)
        self._read: tuple[str | None, int, bytes] = None, 0, b""  # hashes of the pages read last: lane, first number, all of them

    def lanes(self) -> list[str]:
        """Return the names of all lanes that hold anything."""
        return [str(lane) for (lane,) in self._link.run(rows.LANES)]

    def begun(self, lane: str) -> bool:
        """Return False: there is no place for a lane before its first record."""
        del lane
        return False

    def segments(self, lane: str | None) -> list[tuple[str, int]]:
        """Return the one segment of a lane, from its first record that was not pruned."""
        if lane is None:
            return [(ROWS, 1)]
        query = "SELECT seq FROM guardrail_ledger WHERE lane = %s AND line IS NOT NULL ORDER BY seq LIMIT 1"
        return [(ROWS, int(seq)) for (seq,) in self._link.run(query, (lane,))]

    def lines(self, lane: str | None, segment: str) -> Iterator[tuple[list[bytes], bytes]]:
        """Yield the lines by their numbers, some thousands at a time."""
        del segment
        for page in self.pages(lane):
            self._remember(lane, page)
            yield [line for _, line, _ in page], b""
        yield [], b""

    def pages(self, lane: str | None, after: int = 0) -> Iterator[list[tuple[int, bytes, bytes]]]:
        """Yield number, line and stored hash of the records behind a number, a page at a time."""
        of = "guardrail_manifest WHERE n > %s AND %s::text IS NULL ORDER BY n LIMIT %s"
        query = f"SELECT n, line, ''::bytea FROM {of}"  # noqa: S608 - of our own words only
        if lane is not None:
            query = """
                SELECT seq, line, leaf FROM guardrail_ledger
                WHERE seq > %s AND lane = %s AND line IS NOT NULL ORDER BY seq LIMIT %s
            """
        while page := self._link.run(query, (after, lane, rows.PAGE)):
            yield page
            after = page[-1][0]

    def _remember(self, lane: str | None, page: list[tuple[int, bytes, bytes]]) -> None:
        known, first, hashes = self._read
        if lane is None or page[-1][0] - page[0][0] + 1 != len(page) or any(len(leaf) != merkle.SIZE for *_, leaf in page):
            self._read = None, 0, b""
            return
        fresh = b"".join(leaf for *_, leaf in page)
        if known == lane and first + len(hashes) // merkle.SIZE == page[0][0]:
            kept = hashes[-_TAIL * merkle.SIZE :]
            self._read = lane, page[0][0] - len(kept) // merkle.SIZE, kept + fresh
        else:
            self._read = lane, page[0][0], fresh

    def stored(self, lane: str | None) -> int:
        """Return the number of the last row, each of which has a hash."""
        return 0 if lane is None else rows.last(self._link, lane)

    def leaves(self, lane: str | None, at: int, many: int) -> bytes:
        """Return stored hashes; of a row that is gone what the next one says, or zeros where that is gone, too."""
        if lane is None:
            return b""
        known, first, hashes = self._read
        begin = (at + 1 - first) * merkle.SIZE
        if known == lane and begin >= 0 and begin + many * merkle.SIZE <= len(hashes):
            return hashes[begin : begin + many * merkle.SIZE]
        query = "SELECT seq, leaf FROM guardrail_ledger WHERE lane = %s AND seq > %s AND seq <= %s ORDER BY seq"
        found: dict[int, bytes] = dict(self._link.run(query, (lane, at, at + many)))
        if not found:
            return b""
        wanted = range(at + 1, max(found) + 1)
        gone = [seq + 1 for seq in wanted if seq not in found]
        if gone:  # whoever follows says what it was
            behind = "SELECT seq - 1, line FROM guardrail_ledger WHERE lane = %s AND seq = ANY(%s) AND line IS NOT NULL"
            found |= {seq: _link(line) for seq, line in self._link.run(behind, (lane, gone))}
        return b"".join(_hash(found.get(seq)) for seq in wanted)

    def notes(self, lane: str | None) -> Iterator[bytes]:
        """Return the checkpoints of a lane, as they are at this moment."""
        name = NAME if lane is None else lane
        top = self._link.run("SELECT size FROM guardrail_notes WHERE lane = %s ORDER BY size DESC LIMIT 1", (name,))
        return self._notes(name, int(top[0][0])) if top else iter(())

    def _notes(self, name: str, upto: int) -> Iterator[bytes]:
        query = "SELECT size, note FROM guardrail_notes WHERE lane = %s AND size > %s AND size <= %s ORDER BY size LIMIT %s"
        after = -1
        while page := self._link.run(query, (name, after, upto, rows.PAGE)):
            yield b"".join(note for _, note in page)
            after = page[-1][0]

    def newest_note(self, lane: str | None) -> bytes:
        """Return the newest checkpoint of a lane, b"" where there is none."""
        query = "SELECT note FROM guardrail_notes WHERE lane = %s ORDER BY size DESC LIMIT 1"
        found = self._link.run(query, (NAME if lane is None else lane,))
        return bytes(found[0][0]) if found else b""

    def lanes_since(self, moment: str) -> list[str]:
        """Return the lanes whose latest records are of a moment (as records spell it) or later."""
        latest = """
            SELECT coalesce(max(record ->> 'ts'), '') FROM (
                SELECT record FROM guardrail_ledger WHERE lane = %s ORDER BY seq DESC LIMIT 100
            ) AS latest
        """
        return [lane for lane in self.lanes() if self._link.run(latest, (lane,))[0][0] >= moment]

    def finish(self) -> None:
        """Close the connection."""
        self._link.drop()


def _link(line: bytes) -> bytes:
    head = HEAD.match(line)
    return b"" if head is None else bytes.fromhex(head[2].decode())


def _hash(found: bytes | None) -> bytes:
    return found if found is not None and len(found) == merkle.SIZE else bytes(merkle.SIZE)


def newest_notes(url: str, lanes: Iterable[str]) -> list[bytes]:
    """Return the newest checkpoint of each lane and of the manifest, each whole, with the empty line behind it."""
    source = Rows(url)
    try:
        return [note for note in map(source.newest_note, [*lanes, None]) if note]
    finally:
        source.finish()


class Exported(NamedTuple):
    """What an export into files has written.

    Attributes:
        lanes: How many.
        records: How many.
    """

    lanes: int
    records: int


def export_files(url: str, folder: Path, since: str | None = None) -> Exported:
    """Write the ledger in a database as a ledger in files, byte by byte what every verifier takes.

    Args:
        url: Of the database.
        folder: Where to: it must not exist, or be empty.
        since: Only lanes that have a record of this moment (as records spell them) or later. All the others then lack, which a
            verifier says; the manifest is whole.

    Raises:
        ConfigError: The folder has something in it.
        OSError: The database cannot be used, or the files cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty", hint="name a folder that does not exist yet")
    source = Rows(url)
    try:
        ledger = folder / disk.FOLDER
        ledger.mkdir(mode=0o700, parents=True)
        names = source.lanes() if since is None else source.lanes_since(since)
        records = sum(_lane(source, name, ledger) for name in names)
        _file(ledger / FILE, (b"".join(line + b"\n" for _, line, _ in page) for page in source.pages(None)))
        _file(ledger / NOTES, source.notes(None))
    finally:
        source.finish()
    return Exported(len(names), records)


def _lane(source: Rows, name: str, ledger: Path) -> int:
    """Write one lane: its checkpoints first, so that none speaks of a record that came after the others were read."""
    folder = ledger / name
    folder.mkdir(mode=0o700)
    _file(folder / CHECKPOINTS, source.notes(name))
    upto = source.stored(name)
    hashes = (source.leaves(name, at, min(_LEAVES_AT_ONCE, upto - at)) for at in range(0, upto, _LEAVES_AT_ONCE))
    _file(folder / LEAVES, hashes)
    records = size = 0
    handle = -1
    try:
        for page in source.pages(name):
            kept = [(seq, line + b"\n") for seq, line, _ in page if seq <= upto]
            if kept and (handle < 0 or size >= SEGMENT_BYTES):
                handle, size = _next(handle, folder / f"{kept[0][0]:020d}.jsonl"), 0
            block = b"".join(line for _, line in kept)
            disk.write_all(handle, block)
            size += len(block)
            records += len(kept)
    finally:
        if handle >= 0:
            os.close(handle)
    return records


def _next(handle: int, path: Path) -> int:
    if handle >= 0:
        os.close(handle)
    return os.open(path, os.O_WRONLY | os.O_EXCL | disk.FLAGS, disk.MODE)


def _file(path: Path, blocks: Iterator[bytes]) -> None:
    handle = _next(-1, path)
    try:
        for block in blocks:
            disk.write_all(handle, block)
    finally:
        os.close(handle)
