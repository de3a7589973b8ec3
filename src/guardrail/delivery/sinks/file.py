"""Appends records to a file that other programs read, and follows it when it is rotated away."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from guardrail.errors import ConfigError

# Without O_NONBLOCK, opening a pipe that nobody reads would never end.
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_PIPE: Final = "a pipe or device would hold up or lose records: write to a file, or to stdout: and pipe that"


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
            ConfigError: It is no ordinary file.
            OSError: It cannot be opened or written.
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
            self._handle, self._identity = self._opened()
        return self._handle

    def _opened(self) -> tuple[int, tuple[int, int]]:
        try:
            handle = os.open(self.path, _FLAGS, 0o600)
        except OSError as problem:
            if problem.errno == errno.ENXIO:  # a pipe that nobody reads, or a socket
                raise ConfigError(f"{self.path} is no ordinary file", hint=_PIPE) from None
            raise
        now = os.fstat(handle)
        if not stat.S_ISREG(now.st_mode):
            os.close(handle)
            raise ConfigError(f"{self.path} is no ordinary file", hint=_PIPE)
        return handle, (now.st_dev, now.st_ino)
