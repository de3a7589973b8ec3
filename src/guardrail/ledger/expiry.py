"""Which segments may be pruned: old enough, proven to be what was signed, held by nobody, and passed by every sink."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from guardrail.ledger import blobs, derived, disk, merkle, verify
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.holds import Holds
from guardrail.ledger.keeping import Pace
from guardrail.ledger.lane import SEGMENT_SECONDS
from guardrail.ledger.record import iso
from guardrail.ledger.segments import Segment, forwards, segments, written

_TS: Final = b'"ts":"'
_MOMENT: Final = len("2026-01-31T12:00:00.000000Z")
_PACE: Final = 1_000  # lines between two calls of the pace
_SOUND: Final = frozenset({"segment", "close", "prune"})  # what the manifest knows roots by

Needed = Callable[[Path, str], int | None]  # home and lane: the first record that is still needed, None for none


class Part(NamedTuple):
    """Records of one lane that may go: whole segments, one after the other.

    Attributes:
        lane: Its name.
        first: Number of the first record.
        last: Number of the last one.
        root: Of the lane's tree at that size.
        files: The segments.
        size: Bytes that they take.
        blobs: Hashes of the files with the content of long records.
        pruned: Whether the manifest says already that they are gone: a crash has left them.
    """

    lane: str
    first: int
    last: int
    root: bytes
    files: tuple[Segment, ...]
    size: int
    blobs: tuple[str, ...]
    pruned: bool


class Kept(NamedTuple):
    """A segment that is old enough, and stays.

    Attributes:
        lane: Its name.
        first: Number of the segment's first record.
        why: What keeps it: "hold case-17", "sink splunk", or what does not verify.
        bad: Whether it does not verify.
    """

    lane: str
    first: int
    why: str
    bad: bool


class Untrusted(OSError):
    """The manifest does not verify: nothing that it says of segments can be relied upon."""


def signed(run: verify.Run, pace: Pace) -> dict[str, verify.Facts]:
    """Return what lines of the manifest say, by lanes, that are linked and covered by a good signature.

    Args:
        run: A verification that has not begun.
        pace: Called with the bytes read since the last time.

    Raises:
        Untrusted: The manifest does not verify.
    """
    for many in run.manifest_steps():
        pace(many)
    bad = [each for each in run.report.findings if each.lane is None and each.code in {1, 2, 5}]
    if bad:
        raise Untrusted(f"the manifest does not verify: {bad[0].text}; `guardrail audit verify` says more")
    return run.facts


@dataclass
class _Old:
    """A segment that is old enough to be looked at."""

    segment: Segment
    last: int
    root: bytes = b""
    blobs: list[str] = field(default_factory=list)


class Expiry:
    """Looks for what may be pruned.

    Args:
        home: The folder of the embedded store.
        before: Only segments whose every record was made before this moment, in seconds since the epoch.
        holds: The legal holds.
        needed: By the name of a sink, what says from which record on it still needs a lane.
        pace: Called with the bytes read since the last time.

    Raises:
        Untrusted: The manifest does not verify.
        OSError: It cannot be read.
    """

    def __init__(self, home: Path, before: float, holds: Holds, needed: Mapping[str, Needed], pace: Pace) -> None:
        self._home = home
        self._before = iso(before).encode()
        self._surely = iso(before - SEGMENT_SECONDS).encode()
        self._written = before
        self._holds = holds
        self._needed = needed
        self._pace = pace
        self.facts = signed(verify.Run(verify.Files(str(home / FOLDER))), pace)

    def lane(self, name: str) -> Iterator[Part | Kept]:
        """Yield what may go of a lane, and what stays though it is old.

        Raises:
            OSError: Its files cannot be read.
        """
        facts = self.facts[name]
        old = self._old(name, facts)
        if not old:
            return
        folder = self._home / FOLDER / name
        trouble = self._rooted(folder, facts, old)
        floors = [(sink, at) for sink, needed in self._needed.items() if (at := needed(self._home, name)) is not None]
        run: list[_Old] = []
        for one in old:
            gone = _within(facts, one.segment.first, one.last)
            why = trouble if not one.root else None
            bad = why is not None
            if why is None:
                why, bad = self._look(folder, one)
            if why is None and not gone:
                why = next((f"sink {sink}" for sink, at in floors if at <= one.last), None)
            if why == "":  # not old enough after all
                continue
            if why is not None:
                yield Kept(name, one.segment.first, why, bad)
                continue
            if run and (run[-1].last + 1 != one.segment.first or _within(facts, run[-1].segment.first, run[-1].last) != gone):
                yield self._part(name, facts, run)
                run = []
            run.append(one)
        if run:
            yield self._part(name, facts, run)

    def _old(self, name: str, facts: verify.Facts) -> list[_Old]:
        """Return the closed segments that seem old enough, by their first record and when they were written last."""
        found: list[_Old] = []
        try:
            files = segments(self._home / FOLDER / name)
        except FileNotFoundError:
            return found
        for each in files:
            if each.first in facts.segments:
                last = facts.segments[each.first][0]
            elif facts.size is not None:
                last = facts.size if each.upto is None else each.upto - 1
            else:
                continue  # open, or nobody has said yet where it ends
            if each.first > last:  # an empty one, as a crash leaves it: not worth a word
                continue
            first = next(iter(forwards(each.path)), b"")
            at = moment(first)
            if at < self._surely or (at < self._before and written(each.path) < self._written):
                found.append(_Old(each, last))
        return found

    def _rooted(self, folder: Path, facts: verify.Facts, old: list[_Old]) -> str:
        """Give each segment the root of the tree at its last record, as far as stored leaves agree with signed roots."""
        signed = {due.size: due.root for due in facts.dues if due.by in _SOUND and due.size}
        ends: dict[int, list[_Old]] = {}
        for one in old:
            ends.setdefault(one.last, []).append(one)
        tree = merkle.Range()
        waiting: list[tuple[_Old, bytes]] = []
        sizes = sorted(signed.keys() | ends.keys())
        handle = os.open(folder / derived.LEAVES, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            for size in sizes:
                while tree.size < size:
                    many = min(size - tree.size, 32_768)
                    block = os.pread(handle, merkle.SIZE * many, merkle.SIZE * tree.size)
                    if len(block) < merkle.SIZE * many:
                        return f"its stored hashes end before record {size}"
                    tree.extend(block[at : at + merkle.SIZE] for at in range(0, len(block), merkle.SIZE))
                    self._pace(len(block))
                root = tree.root()
                waiting += [(one, root) for one in ends.get(size, ())]
                if size in signed:
                    if signed[size] != root:
                        return f"its stored hashes are not those that were signed at record {size}"
                    for one, found in waiting:
                        one.root = found
                    waiting.clear()
            return "no signed root covers it"
        finally:
            os.close(handle)

    def _look(self, folder: Path, one: _Old) -> tuple[str | None, bool]:
        """Read a segment: compare each record with its leaf, and ask its age and the holds; return what keeps it, and if it is bad.

        A text that is empty says that it is not old enough.
        """
        first, last = one.segment.first, one.last
        leaves = _leaves(folder, first, last)
        number, read, at = first, 0, 0
        held = None
        for line in forwards(one.segment.path):
            if number > last:
                break  # what a failed write left there stands in the next file again
            read += len(line)
            if number % _PACE == 0:
                self._pace(read)
                read = 0
            content = line[:-1]  # of a torn one too much, so that it is not what was signed
            if merkle.leaf(content) != leaves[at : at + merkle.SIZE]:
                return f"record {number} is not the one that was signed", True
            number, at = number + 1, at + merkle.SIZE
            if held is not None:
                continue
            if moment(content) >= self._before:
                return "", False
            if self._holds or b'"blob":{' in content:
                record = orjson.loads(content)
                name = blobs.named(record)
                if name is not None:
                    one.blobs.append(name)
                hold = self._holds.keeps(record)
                held = None if hold is None else f"hold {hold}"
        self._pace(read)
        if number <= last:
            return f"record {number} is missing", True
        return held, False

    def _part(self, name: str, facts: verify.Facts, run: list[_Old]) -> Part:
        return Part(
            name,
            run[0].segment.first,
            run[-1].last,
            run[-1].root,
            tuple(each.segment for each in run),
            sum(_size(each.segment.path) for each in run),
            tuple(name for each in run for name in each.blobs),
            _within(facts, run[0].segment.first, run[0].last),
        )


def _within(facts: verify.Facts, first: int, last: int) -> bool:
    return any(begin <= first and last <= end for begin, end in facts.pruned)


def _leaves(folder: Path, first: int, last: int) -> bytes:
    handle = os.open(folder / derived.LEAVES, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.pread(handle, merkle.SIZE * (last - first + 1), merkle.SIZE * (first - 1))
    finally:
        os.close(handle)


def moment(line: bytes) -> bytes:
    """Return when a record was made, as it says itself; what says nothing is never old."""
    at = line.find(_TS)
    return line[at + len(_TS) : at + len(_TS) + _MOMENT] if at >= 0 else b"~"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return path.with_name(f"{path.name}.gz").stat().st_size


def sync_leaves(folder: Path) -> None:
    """Make the stored hashes of a lane durable: once records are gone they cannot be made anew.

    Raises:
        OSError: They are not.
    """
    handle = os.open(folder / derived.LEAVES, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    disk.sync_folder(folder)
