"""Appends records to a file that other programs read, and follows it when it is rotated away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class FileSink:
    """The sink of `file:///path`.

    Args:
        path: The file; made readable for its owner only. Its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        self._identity = (0, 0)

    def write(self, lines: list[bytes]) -> None:
        """Append lines, in one write where the disk takes them.

        Raises:
            OSError: The file cannot be opened or written.
        """
        handle = self._open()
        rest = memoryview(b"".join(lines))
        while rest:
            rest = rest[os.write(handle, rest) :]

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self) -> int:
        """Return the handle of the file that now has the name."""
        try:
            found = self.path.stat()
            moved = (found.st_dev, found.st_ino) != self._identity
        except FileNotFoundError:
            moved = True
        if moved:
            self.close()
        if self._handle is None:
            self._handle = os.open(self.path, _FLAGS, 0o600)
            now = os.fstat(self._handle)
            self._identity = (now.st_dev, now.st_ino)
        return self._handle
