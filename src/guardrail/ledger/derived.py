"""The leaf hashes of a lane, read from its file of them or made anew from its segments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from guardrail.ledger import disk, merkle
from guardrail.ledger.segments import Segment, forwards, segments

LEAVES: Final = "leaves"
CHECKPOINTS: Final = "checkpoints"
_HEAD: Final = len('{"v":1,"id":"00000000-0000-7000-8000-000000000000",')


class Line(NamedTuple):
    """One stored line.

    Attributes:
        seq: Its number by its place.
        at: Where it begins in its file, in bytes.
        content: With its newline, if it has one.
        linked: Whether it ends with a newline, has this number, and links to the line before.
    """

    seq: int
    at: int
    content: bytes
    linked: bool


def stored(segment: Segment, leaf: bytes | None) -> Iterator[Line]:
    """Yield the lines of a file, without those that a later file holds again.

    Args:
        segment: The file.
        leaf: Hash of the record before its first; None: the first link is not checked.
    """
    seq, at = segment.first, 0
    for content in forwards(segment.path):
        if segment.upto is not None and seq >= segment.upto:
            return
        linked = content.endswith(b"\n") and content[_HEAD:].startswith(b'"seq":%d,"prev":"' % seq)
        if linked and leaf is not None:
            linked = content[_HEAD:].startswith(b'"seq":%d,"prev":"%b"' % (seq, leaf.hex().encode()))
        yield Line(seq, at, content, linked)
        leaf = merkle.leaf(content[:-1])
        at += len(content)
        seq += 1


def read_leaves(folder: Path, many: int | None = None) -> list[bytes]:
    """Return leaf hashes as the file has them, of the first `many` records; fewer where it is shorter."""
    content = b"".join(disk.read_from(folder / LEAVES, 0, None if many is None else many * merkle.SIZE))
    end = len(content) // merkle.SIZE * merkle.SIZE
    return [content[at : at + merkle.SIZE] for at in range(0, end, merkle.SIZE)]


def hashes(folder: Path, upto: int) -> Iterator[bytes]:
    """Yield the leaf hashes of the records 1 to `upto`, from the segments as far as they are there; what was pruned comes from
    the file. It ends where a record is missing.
    """  # noqa: D205 - one sentence and what it leaves out
    expected = 1
    for segment in segments(folder):
        if segment.first > expected:
            pruned = read_leaves(folder, min(segment.first - 1, upto))[expected - 1 :]
            yield from pruned
            expected += len(pruned)
        if segment.first != expected:
            return
        for line in stored(segment, None):
            if line.seq > upto or not line.content.endswith(b"\n"):
                return
            yield merkle.leaf(line.content[:-1])
            expected = line.seq + 1
