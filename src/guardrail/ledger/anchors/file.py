"""An anchor in a file: on another volume, best one that another machine exports and that takes appends only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from guardrail.ledger.disk import BLOCK, FLAGS, MODE, sync_folder, write_all
from guardrail.settings.anchors import Anchor


def make(anchor: Anchor) -> File:
    """Return the place of `file:///path`."""
    return File(Path(unquote(urlsplit(anchor.url.reveal()).path)))


class File:
    """Appends checkpoints to one file.

    Args:
        path: The file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def push(self, notes: list[bytes]) -> None:
        """Append in one write, and wait until it is durable.

        Raises:
            OSError: It is not.
        """
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | FLAGS, MODE)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is no regular file")
            content = b"".join(notes)
            if status.st_size and os.pread(handle, 2, max(0, status.st_size - 2)) != b"\n\n":
                content = b"\n\n" + content  # what a crash left of the last one
            write_all(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        if not status.st_size:
            sync_folder(self.path.parent)

    def read(self, ledger: str) -> Iterator[bytes]:
        """Yield the whole file, of whatever ledgers."""
        del ledger  # the verifier passes over the others
        with self.path.open("rb") as file:
            while block := file.read(BLOCK):
                yield block

    def check(self, home: Path) -> str:
        """See whether the file can be written, and whether it is elsewhere than the ledger."""
        folder = self.path.parent
        if not os.access(self.path if self.path.exists() else folder, os.W_OK):
            raise PermissionError(f"{self.path} cannot be written")
        there = next(each for each in (home, *home.parents) if each.exists())
        if folder.stat().st_dev == there.stat().st_dev:
            raise OSError(f"{self.path} is on the same volume as the ledger: whoever can change one can change the other")
        return f"{self.path} can be written; it proves as much as its volume is out of reach"

    def close(self) -> None:
        """Nothing stays open."""
