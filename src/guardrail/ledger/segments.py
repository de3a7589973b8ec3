"""The ledger's files as they lie on the disk: which lanes and segments there are, and their lines, forwards and backwards.

A closed segment may be compressed (`.jsonl.gz`); places in it are counted in what it unpacks to, so they stay the same.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol, cast

import orjson

from guardrail.ledger.disk import FOLDER
from guardrail.ledger.schema import LINE_LIMIT
from guardrail.ledger.unzip import Unzipped, regions_backwards

BLOCK: Final = 65_536
_LINE: Final = 2_048  # bytes read at once where one line is wanted
PACKED: Final = ".gz"
_SEGMENT: Final = re.compile(r"(\d{20})\.jsonl(\.gz)?")
_MOMENT: Final = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{6})Z-")

Record = dict[str, Any]


class Segment(NamedTuple):
    """One file of a lane.

    Attributes:
        path: Where it is.
        first: Number of its first record.
        upto: Number of the next file's first record, which this one's must stay below: after a failed write the next file
            holds them again. None for the last file.
    """

    path: Path
    first: int
    upto: int | None


def lanes(home: Path) -> list[Path]:
    """Return the folders of all lanes, the oldest first."""
    try:
        return sorted(
            each for each in (home / FOLDER).iterdir() if each.is_dir() and not each.is_symlink() and each.name != "blobs"
        )
    except FileNotFoundError:
        return []


def segments(lane: Path) -> list[Segment]:
    """Return the files of a lane in order.

    Raises:
        OSError: The folder cannot be read.
    """
    names = _names(lane)
    firsts = sorted(names)
    return [Segment(lane / names[first], first, upto) for first, upto in zip_longest(firsts, firsts[1:])]


def segment_of(lane: Path, first: int) -> Segment | None:
    """Return the file of a lane that begins with a number, None where there is none; however many others there are.

    Raises:
        OSError: The folder cannot be read.
    """
    names = _names(lane)
    if first not in names:
        return None
    return Segment(lane / names[first], first, min((each for each in names if each > first), default=None))


def _names(lane: Path) -> dict[int, str]:
    """Return the names of a lane's files by the numbers of their first records."""
    found: dict[int, str] = {}
    for name in os.listdir(lane):  # noqa: PTH208 - a lane may have thousands, and a `Path` costs as much as all the rest
        match = _SEGMENT.fullmatch(name)
        if match is not None and not (match[2] and int(match[1]) in found):  # of a file just being compressed, the plain one
            found[int(match[1])] = name
    return found


def written(path: Path) -> float:
    """Return when a segment was written last, in seconds since the epoch; 0 where it is gone."""
    for each in (path, _packed(path)):
        try:
            return each.stat().st_mtime
        except FileNotFoundError:
            continue
    return 0.0


def open_segment(path: Path) -> tuple[BinaryIO, bool]:
    """Open a segment and say whether it is compressed, which it may have become since its name was read.

    Raises:
        FileNotFoundError: It is gone.
    """
    try:
        return path.open("rb", buffering=0), path.name.endswith(PACKED)
    except FileNotFoundError:
        return _packed(path).open("rb", buffering=0), True


def _packed(path: Path) -> Path:
    return path if path.name.endswith(PACKED) else path.with_name(path.name + PACKED)


def begun(lane: Path) -> str | None:
    """Return when a lane's name says that it began, as records spell moments; None where it says nothing."""
    match = _MOMENT.match(lane.name)
    return None if match is None else "{}-{}-{}T{}:{}:{}.{}Z".format(*match.groups())


class _Readable(Protocol):
    def read(self, most: int, /) -> bytes: ...


def forwards(path: Path, at: int = 0) -> Iterator[bytes]:
    """Yield the lines of a file, each with its newline; only a torn last one has none.

    A file that fits into one block is closed before its lines are used, so that many short lanes need few handles.

    Args:
        path: The segment, plain or compressed. Where compressed content is damaged, one line that is no record ends it.
        at: Where to begin, in bytes of the content: the beginning of a line.
    """
    file, packed = open_segment(path)
    with file:
        if packed:
            content = Unzipped(file)
            content.skip(at)
            yield from _on(content, content.read(BLOCK))
            if content.trouble:
                yield content.trouble
            return
        if at:
            file.seek(at)
        block = file.read(BLOCK)
        if len(block) == BLOCK:
            yield from _on(file, block)
            return
    yield from block.splitlines(keepends=True) if b"\r" not in block else _split(block)


def _on(file: _Readable, block: bytes) -> Iterator[bytes]:
    rest = b""
    while block:
        lines = _split(rest + block)
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        yield from lines
        if len(rest) > LINE_LIMIT:  # no line of ours is as long: give it away in pieces, none of which can be read
            yield rest
            rest = b""
        block = file.read(BLOCK)
    if rest:
        yield rest


def _split(block: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in block.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def backwards(path: Path, begin: int = 0) -> Iterator[bytes]:
    """Yield the lines of a file from its end, each with its newline; only a torn last one of the file has none.

    Args:
        path: The segment, plain or compressed.
        begin: Where to stop, in bytes of the content: the beginning of a line.
    """
    file, packed = open_segment(path)
    with file:
        rest = b""
        for piece, is_first in regions_backwards(file, begin) if packed else _blocks_backwards(file, begin):
            if is_first:
                file.close()
            lines = _split(piece + rest)
            rest = b""
            if not is_first:
                rest = lines.pop(0)
                if len(rest) > LINE_LIMIT + 1:
                    lines.insert(0, rest)
                    rest = b""
            yield from reversed(lines)


def _blocks_backwards(file: BinaryIO, begin: int) -> Iterator[tuple[bytes, bool]]:
    at = file.seek(0, 2)
    while at > begin:
        size = min(BLOCK, at - begin)
        at = file.seek(at - size)
        yield file.read(size), at == begin


def line_at(file: BinaryIO, at: int) -> bytes:
    """Return the line that begins at a place in a plain file, with its newline; b"" where there is none."""
    file.seek(at)
    line = b""
    while len(line) <= LINE_LIMIT:
        block = file.read(_LINE)
        end = block.find(b"\n")
        if end >= 0 or not block:
            return line + block[: end + 1] if end >= 0 else b""
        line += block
    return b""


def parsed(line: bytes, segment: Segment, skipped: Counter[str] | None) -> Record | None:
    """Return the record of a line; None, counted, where it is torn or is not one, and where a later file holds it again."""
    if not line.endswith(b"\n"):
        found = None
        trouble = "torn"
    else:
        trouble = "corrupt"
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            found = None
    if not isinstance(found, Mapping) or not isinstance(found.get("ts"), str) or not isinstance(found.get("seq"), int):
        if skipped is not None:
            skipped[trouble] += 1
        return None
    if segment.upto is not None and found["seq"] >= segment.upto:
        return None
    return cast("Record", found)
