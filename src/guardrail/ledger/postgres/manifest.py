"""The manifest in PostgreSQL: all hosts append to it under one advisory lock, a line and its checkpoint in one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from guardrail import notices
from guardrail.ledger import merkle
from guardrail.ledger.manifest import LOCK_SECONDS, NAME, Manifest
from guardrail.ledger.manifest_lines import ManifestLines
from guardrail.ledger.postgres.link import Link

LOCK_KEY: Final = 0x67756172646D616E  # "guardman"; of the whole database
_LINES: Final = "SELECT n, line FROM guardrail_manifest WHERE n >= %s ORDER BY n"


class SharedManifest(Manifest):
    """The manifest of the ledger in a database.

    Args:
        link: To the database.
    """

    def __init__(self, link: Link) -> None:
        super().__init__(Path("guardrail_manifest"))  # what its notices call it
        self._link = link

    def refresh(self) -> None:
        """Read what others have appended meanwhile."""
        known = self._read.tree.size
        rows = self._link.run(_LINES, (max(known, 1),))
        if known and (not rows or rows[0][0] != known or merkle.leaf(rows[0][1]) != self._read.leaf):
            notices.say("manifest-cut", "the manifest in the database was cut or changed; `guardrail audit verify` says more")
            self._read = ManifestLines()
            rows = self._link.run(_LINES, (1,))
        elif known:
            del rows[0]
        self._take([line for _, line in rows])

    @contextlib.contextmanager
    def locked(self, seconds: float = LOCK_SECONDS) -> Iterator[None]:
        """Keep all other processes from appending inside the block; what is appended is there once the block has ended."""
        try:
            with self._link.transaction(seconds):
                self._link.run("SELECT set_config('lock_timeout', %s, true)", (f"{max(1, int(seconds * 1e3))}ms",))
                self._link.run("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
                self.refresh()
                yield
        except BaseException:
            self._read = ManifestLines()  # nobody knows what of it is there
            raise

    def _torn(self) -> int:
        return 0

    def _put(self, lines: list[bytes]) -> None:
        first = self._read.tree.size + 1
        rows = [(first + at, line) for at, line in enumerate(lines)]
        self._link.many("INSERT INTO guardrail_manifest (n, line) VALUES (%s, %b)", rows)

    def _put_note(self, note: str) -> None:
        query = "INSERT INTO guardrail_notes (lane, size, note) VALUES (%s, %s, %b)"
        self._link.run(query, (NAME, self._read.tree.size, f"{note}\n".encode()))

    def _first_note(self) -> bytes:
        rows = self._link.run("SELECT note FROM guardrail_notes WHERE lane = %s ORDER BY size LIMIT 1", (NAME,))
        return bytes(rows[0][0]) if rows else b""
