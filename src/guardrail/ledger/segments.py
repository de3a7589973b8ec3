"""The ledger's files as they lie on the disk: which lanes and segments there are, and their lines, forwards and backwards."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import orjson

from guardrail.ledger.lane import FOLDER
from guardrail.ledger.schema import LINE_LIMIT

BLOCK: Final = 65_536
_SEGMENT: Final = re.compile(r"(\d{20})\.jsonl")
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
        return sorted(each for each in (home / FOLDER).iterdir() if each.is_dir() and not each.is_symlink())
    except FileNotFoundError:
        return []


def segments(lane: Path) -> list[Segment]:
    """Return the files of a lane in order.

    Raises:
        OSError: The folder cannot be read.
    """
    found = sorted((int(match[1]), path) for path in lane.iterdir() if (match := _SEGMENT.fullmatch(path.name)) is not None)
    ends = [first for first, _ in found[1:]]
    return [Segment(path, first, upto) for (first, path), upto in zip_longest(found, ends)]


def begun(lane: Path) -> str | None:
    """Return when a lane's name says that it began, as records spell moments; None where it says nothing."""
    match = _MOMENT.match(lane.name)
    return None if match is None else "{}-{}-{}T{}:{}:{}.{}Z".format(*match.groups())


def forwards(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, each with its newline; only a torn last one has none.

    A file that fits into one block is closed before its lines are used, so that many short lanes need few handles.
    """
    with path.open("rb", buffering=0) as file:
        block = file.read(BLOCK)
        if len(block) == BLOCK:
            yield from _on(file, block)
            return
    yield from block.splitlines(keepends=True) if b"\r" not in block else _split(block)


def _on(file: Any, block: bytes) -> Iterator[bytes]:
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


def backwards(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file from its end, each with its newline; only a torn first one has none."""
    with path.open("rb", buffering=0) as file:
        at = file.seek(0, 2)
        rest = b""
        while at > 0:
            size = min(BLOCK, at)
            at = file.seek(at - size)
            rest = file.read(size) + rest
            if at == 0:
                file.close()
            lines = _split(rest)
            if at:
                rest = lines.pop(0)
                if len(rest) > LINE_LIMIT + 1:
                    lines.insert(0, rest)
                    rest = b""
            yield from reversed(lines)


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
