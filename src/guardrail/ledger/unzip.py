"""Reads compressed segments: on from any place in them, and backwards, each with a bounded part of them in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

_PACKED: Final = 65_536  # bytes taken from the file at once
_REGION: Final = 4 * 2**20  # bytes of content that reading backwards holds at once
_GZIP: Final = 31  # zlib's number for its largest window within gzip's head and checksum
TORN: Final = b"\0"
DAMAGED: Final = b"\0\n"


class Unzipped:
    """What a gzip file (RFC 1952, one member or several) unpacks to, read like a file from its beginning.

    Args:
        file: The open file, unbuffered or not.

    Attributes:
        trouble: What stands for content that cannot be read: nothing, `TORN` where the file ends too early, `DAMAGED` where
            its checksum or its form is wrong. No line of ours can look like either.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.trouble = b""
        self._file = file
        self._inner = zlib.decompressobj(_GZIP)
        self._rest = b""
        self._begun = False

    def read(self, most: int) -> bytes:
        """Return the next bytes of the content, at most so many and at least one; b"" at its end."""
        try:
            while not self.trouble:
                if self._inner.eof:
                    self._rest = self._rest or self._file.read(_PACKED)
                    if not self._rest:
                        return b""
                    self._inner = zlib.decompressobj(_GZIP)
                given = self._rest or self._file.read(_PACKED)
                self._begun = self._begun or bool(given)
                found = self._inner.decompress(given, most)
                self._rest = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
                if found:
                    return found
                if not given and not self._inner.eof:
                    self.trouble = TORN if self._begun else b""
                    return b""
        except zlib.error:
            self.trouble = DAMAGED
        return b""

    def skip(self, many: int) -> None:
        """Pass over so many bytes of the content."""
        while many > 0 and (passed := self.read(min(many, _PACKED))):
            many -= len(passed)

    def mark(self) -> tuple[int, bytes, zlib._Decompress]:
        """Return from where on the content can be read again."""
        return self._file.tell(), self._rest, self._inner.copy()

    def back_to(self, mark: tuple[int, bytes, zlib._Decompress]) -> None:
        """Go back to a mark, which stays good."""
        at, self._rest, inner = mark
        self._file.seek(at)
        self._inner = inner.copy()
        self.trouble = b""


def regions_backwards(file: BinaryIO, begin: int = 0) -> Iterator[tuple[bytes, bool]]:
    """Yield the content from its end back to a place in pieces of 4 MiB, each with whether it is the last to come.

    It is unpacked twice: once to remember zlib's state (some 40 kB) at the beginning of each piece, and once to read it.
    """
    content = Unzipped(file)
    content.skip(begin)
    marks = []
    while True:
        mark = content.mark()
        if not _region(content):
            break
        marks.append(mark)
    trouble = content.trouble
    for at in range(len(marks) - 1, -1, -1):
        content.back_to(marks.pop())
        piece = _region(content) + trouble
        trouble = b""
        yield piece, at == 0
    if trouble:
        yield trouble, True


def _region(content: Unzipped) -> bytes:
    found = []
    missing = _REGION
    while missing and (piece := content.read(min(missing, _PACKED))):  # what a failing step unpacks is lost with it
        found.append(piece)
        missing -= len(piece)
    return b"".join(found)
