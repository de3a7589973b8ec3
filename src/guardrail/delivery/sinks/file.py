"""Appends records to a file that other programs read, and follows it when it is rotated away."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

import orjson

from guardrail.delivery.address import Address, Option
from guardrail.delivery.sink import Caps, Item, Result, ok
from guardrail.errors import ConfigError
from guardrail.ledger import disk
from guardrail.settings.values import flag

# Without O_NONBLOCK, opening a pipe that nobody reads would never end.
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_PIPE: Final = "a pipe or device would hold up or lose records: write to a file, or to stdout: and pipe that"


class FileSink:
    """The sink of `file:///absolute/path`: one JSON line for each record, as the ledger has it.

    Args:
        address: Where the file is; it is made readable for its owner only, and its folder must exist.

    Raises:
        ConfigError: The URL does not name one file by its absolute path.
    """

    OPTIONS: ClassVar[Mapping[str, Option | None]] = {
        "timeout": None,  # a disk knows none
        "insecure": None,
        "sync": Option(flag, True, "wait until the disk has what was written before it counts as arrived"),  # noqa: FBT003 - a default
    }
    caps = Caps(items=5_000, size=8_000_000)

    def __init__(self, address: Address) -> None:
        if address.host not in {"", "localhost"} or not address.path.startswith("/") or address.path.endswith("/"):
            raise ConfigError(f"{address.where} does not name one file by its absolute path", hint='write "file:///path"')
        self._name = address.name
        self.path = Path(address.path)
        self._sync = bool(address.options["sync"])
        self._handle: int | None = None
        self._identity = (0, 0)

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Append a batch, in one write where the disk takes it.

        Raises:
            ConfigError: It is no ordinary file.
            OSError: It cannot be opened or written; what is there of the batch is cut off again, as far as that goes.
        """
        self._append(b"".join(item.line + b"\n" for item in batch))
        return [ok] * len(batch)

    def probe(self) -> str:
        """Append a line that says what it is."""
        self._append(orjson.dumps({"event": "test", "sink": self._name, "text": "a test line of guardrail"}) + b"\n")
        return f"{self.path} takes a test line"

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _append(self, content: bytes) -> None:
        handle = self._open()
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            content = b"\n" + content  # a crash has left a part of a line: what follows is not to be glued to it
        written = 0
        try:
            while written < len(content):
                written += os.write(handle, memoryview(content)[written:])
            if self._sync:
                disk.sync(handle)
        except OSError:
            # A full disk is tried again and again: what it took of a batch must not gather. Where there is more, another writes, too.
            with contextlib.suppress(OSError):
                if os.fstat(handle).st_size == size + written:
                    os.ftruncate(handle, size)
            self.close()  # after a failed sync the file is opened anew
            raise

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
