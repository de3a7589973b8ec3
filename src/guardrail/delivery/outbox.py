"""The ledger as the outbox: what stands in each lane behind a number, in order, as it lies in files."""

from __future__ import annotations

import contextlib
import os
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import orjson

from guardrail import clock, notices
from guardrail.delivery.sink import Item
from guardrail.ledger import disk
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.schema import LINE_LIMIT
from guardrail.ledger.segments import PACKED, Segment, backwards, forwards, open_segment, segments

BLOCK: Final = 2**20  # bytes that are read at once
_TICK: Final = 1.0  # seconds, far more than the file system's time may lag behind


class Outbox(Protocol):
    """Where records are read that are on their way."""

    def lanes(self) -> list[str]:
        """Return the names of all lanes, the oldest first."""
        ...

    def read(self, lane: str, after: int, most: int) -> tuple[list[Item], int]:
        """Return the next records of a lane, and how many before them are gone.

        Args:
            lane: Its name.
            after: Number of the last record that was read.
            most: So many records at most.

        Raises:
            OSError: They cannot be read just now.
        """
        ...

    def last(self, lane: str) -> int:
        """Return the number of a lane's last record, 0 where it has none."""
        ...

    def owes(self, lane: str, sink: str) -> bool:
        """Return whether the process that wrote a lane began with this sink among its settings."""
        ...

    def closed(self) -> set[str]:
        """Return the lanes that nothing is going to be added to."""
        ...

    def close(self) -> None:
        """Let go of what is open."""

    def abandon(self) -> None:
        """In a forked child: let go of what is the parent's, without ending it for the parent."""


class _At(NamedTuple):
    """Where the next record of a lane begins."""

    seq: int
    first: int
    offset: int


class FileOutbox:
    """The lanes of a home's ledger.

    Args:
        home: The folder of the embedded store.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / disk.FOLDER
        self._manifest = Manifest(self._folder)
        self._seen: tuple[int, list[str]] = (-1, [])
        self._files: dict[str, tuple[int, list[Segment]]] = {}
        self._at: dict[str, _At] = {}

    def lanes(self) -> list[str]:
        """As the protocol says. The folder is listed again only where its own time has changed."""
        try:
            changed = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if changed != self._seen[0]:
            # A lane that is made within the same tick of the clock would not change the time again: looked at once more later.
            settled = clock.wall() - changed / 1e9 > _TICK
            names = [
                each.name for each in os.scandir(self._folder) if each.is_dir(follow_symlinks=False) and each.name != "blobs"
            ]
            self._seen = changed if settled else -1, sorted(names)
            for gone in self._at.keys() - set(names):
                del self._at[gone]
                self._files.pop(gone, None)
        return self._seen[1]

    def read(self, lane: str, after: int, most: int) -> tuple[list[Item], int]:
        """As the protocol says. What is read is made durable first, so that nothing is sent which a crash could take back."""
        gone = 0
        at = self._at.get(lane)
        if at is None or at.seq != after + 1:
            at, gone = self._find(lane, after + 1)
            if at is None:
                return [], 0
            after = at.seq - 1
        items: list[Item] = []
        while len(items) < most:
            segment = self._segment(lane, at.first)
            if segment is None:  # pruned, or removed, since it was found
                self._at.pop(lane, None)
                break
            lines = self._lines(segment, at.offset, most - len(items))
            if segment.upto is not None:
                lines = lines[: max(0, segment.upto - at.seq)]
            items += [Item(lane, at.seq + place, line[:-1]) for place, line in enumerate(lines)]
            at = at._replace(seq=at.seq + len(lines), offset=at.offset + sum(map(len, lines)))
            if not lines:
                if segment.upto is None or at.seq < segment.upto:
                    behind = self._fresh(lane, at.first)
                    if behind is None or behind.upto is None or at.seq < behind.upto:
                        break
                at = _At(at.seq, at.seq, 0)
        self._at[lane] = at
        return items, gone

    def last(self, lane: str) -> int:
        """As the protocol says."""
        found = self._segments(lane, again=True)
        for segment in reversed(found):
            with contextlib.suppress(FileNotFoundError):
                for line in backwards(segment.path):
                    seq = _number(line)
                    if seq is not None:
                        return seq
        return found[0].first - 1 if found else 0

    def owes(self, lane: str, sink: str) -> bool:
        """As the protocol says: the first record of a lane tells."""
        found = self._segments(lane)
        if not found:
            return True  # nothing is in it yet
        try:
            line = next(iter(forwards(found[0].path)), b"")
        except FileNotFoundError:
            return True
        return begun_with(line, sink)

    def closed(self) -> set[str]:
        """As the protocol says."""
        return {name for name, facts in self._manifest.lanes().items() if facts.closed}

    def close(self) -> None:
        """Nothing stays open."""

    def abandon(self) -> None:
        """Nothing is open."""

    # ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────
    def _find(self, lane: str, seq: int) -> tuple[_At | None, int]:
        """Return where a record begins, or the first one behind it that is still there, and how many are not."""
        found = self._segments(lane, again=True)
        if not found:
            return None, 0
        if seq < found[0].first:
            return _At(found[0].first, found[0].first, 0), found[0].first - seq
        segment = next(each for each in reversed(found) if each.first <= seq)
        offset = 0
        try:
            for line in islice(forwards(segment.path), seq - segment.first):
                offset += len(line)
        except FileNotFoundError:
            return None, 0
        return _At(seq, segment.first, offset), 0

    def _segments(self, lane: str, *, again: bool = False) -> list[Segment]:
        folder = self._folder / lane
        try:
            changed = folder.stat().st_mtime_ns
            known = self._files.get(lane)
            if again or known is None or known[0] != changed:
                known = self._files[lane] = changed, segments(folder)
        except FileNotFoundError:
            return []
        return known[1]

    def _segment(self, lane: str, first: int) -> Segment | None:
        return next((each for each in self._segments(lane) if each.first == first), None)

    def _fresh(self, lane: str, first: int) -> Segment | None:
        return next((each for each in self._segments(lane, again=True) if each.first == first), None)

    @staticmethod
    def _lines(segment: Segment, offset: int, most: int) -> list[bytes]:
        """Return whole lines from a place on."""
        if segment.path.name.endswith(PACKED):
            return [line for line in islice(forwards(segment.path, offset), most) if line.endswith(b"\n")]
        try:
            file, packed = open_segment(segment.path)
        except FileNotFoundError:
            return []
        with file:
            if packed:
                return [line for line in islice(forwards(segment.path, offset), most) if line.endswith(b"\n")]
            if os.fstat(file.fileno()).st_size <= offset:
                return []
            with contextlib.suppress(PermissionError):  # a file system that syncs only for who may write
                disk.sync(file.fileno())
            block = b""
            while b"\n" not in block:
                if len(block) > LINE_LIMIT:
                    notices.say(
                        "outbox", f"{segment.path} holds a line that is none of ours; `guardrail audit verify` says where"
                    )
                    return []
                more = os.pread(file.fileno(), BLOCK, offset + len(block))
                if not more:
                    return []  # it is being written
                block += more
        return [line + b"\n" for line in block[: block.rfind(b"\n")].split(b"\n")[:most]]


def _number(line: bytes) -> int | None:
    """Return the number in a whole line, None where it has none."""
    if not line.endswith(b"\n"):
        return None  # it is being written
    try:
        found = orjson.loads(line)["seq"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) else None


def begun_with(line: bytes, sink: str) -> bool:
    """Return whether the first record of a lane says that its process had a sink of this name."""
    try:
        found = orjson.loads(line)
        return sink in found["started"]["sinks"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False
