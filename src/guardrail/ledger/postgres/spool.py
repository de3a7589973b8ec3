"""The local files of a lane while its database is away, read back in order: by its own process, or by the next one after a crash."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from guardrail.ledger import disk, merkle, notes
from guardrail.ledger.derived import CHECKPOINTS
from guardrail.ledger.segments import segments

AT_ONCE: Final = 2 * 2**20  # bytes that are read, and sent, at once
HEAD: Final = re.compile(rb'\{"v":\d{1,4},"id":"[^"\\]{1,64}","seq":([1-9]\d{0,17}),"prev":"([0-9a-f]{64})"')

Note = tuple[int, bytes]  # size, and the signed note with the empty line behind it


class Damaged(Exception):
    """A spool is not what its process can have left; the text says how."""


class Line(NamedTuple):
    """A whole line of a spool.

    Attributes:
        seq: Its number.
        content: Without its newline.
        leaf: Its hash.
    """

    seq: int
    content: bytes
    leaf: bytes


class Spool:
    """Reads one lane's spool from its beginning to its end, however it grows meanwhile.

    Args:
        folder: Of the lane.

    Attributes:
        torn: Bytes behind the last whole line, as far as it was read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.torn = 0
        self._first = 0  # of the file that is being read
        self._at = 0  # in it
        self._seq = 0
        self._leaf: bytes | None = None

    @property
    def place(self) -> tuple[int, int, int, bytes | None]:
        """How far it was read; may be set back to an earlier place."""
        return self._first, self._at, self._seq, self._leaf

    @place.setter
    def place(self, earlier: tuple[int, int, int, bytes | None]) -> None:
        self._first, self._at, self._seq, self._leaf = earlier

    def more(self) -> list[Line]:
        """Return the next lines, some megabytes of them; none where there is no more now.

        Raises:
            Damaged: A line is not the one that was written there, or files are missing.
            OSError: It cannot be read.
        """
        found: list[Line] = []
        for segment in segments(self.folder) if self.folder.is_dir() else []:
            if segment.first < self._first:
                continue
            if segment.first > self._first:
                self._first, self._at = segment.first, 0
            with segment.path.open("rb") as file:
                file.seek(self._at)
                block = file.read(AT_ONCE)
            whole = block.rfind(b"\n") + 1
            for content in block[:whole].split(b"\n")[:-1]:
                if segment.upto is not None and self._seq + 1 >= segment.upto:
                    break  # what a write that failed has left: the next file has it again
                found.append(self._line(content, segment.first))
            self._at += whole
            self.torn = 0 if segment.upto is not None else len(block) - whole
            if found:
                break
        return found

    def _line(self, content: bytes, first: int) -> Line:
        head = HEAD.match(content)
        number = self._seq + 1 if self._seq else first
        if head is None or int(head[1]) != number:
            raise Damaged(f"record {number} is not where it was written")
        if self._leaf is not None and head[2].decode() != self._leaf.hex():
            raise Damaged(f"record {number} does not follow the one before it")
        self._seq, self._leaf = number, merkle.leaf(content)
        return Line(number, content, self._leaf)


def checkpoints(folder: Path) -> list[Note]:
    """Return the checkpoints of a spool.

    Raises:
        Damaged: They cannot be read.
    """
    content = b"".join(disk.read_from(folder / CHECKPOINTS, 0))
    content = content[: notes.whole(content)]
    found: list[Note] = []
    try:
        sizes = [note.size for note, _ in notes.parse_all(content)]
    except ValueError:
        raise Damaged("its checkpoints cannot be read") from None
    pieces = content.split(b"\n\n")[:-1]
    for at, size in enumerate(sizes):
        found.append((size, pieces[2 * at] + b"\n\n" + pieces[2 * at + 1] + b"\n\n"))
    return found


def clear(folder: Path, *, keep: tuple[str, ...] = ()) -> bool:
    """Remove the files of a lane of which nothing is left to replay, and the folder where nothing is kept; return if all went."""
    with contextlib.suppress(OSError):
        for path in _files(folder):
            if path.name not in keep:
                path.unlink()
        if keep:
            disk.sync_folder(folder)
        else:
            folder.rmdir()
        return True
    return False


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted((each for each in folder.iterdir() if each.is_file()), key=lambda each: each.name == "lock")
