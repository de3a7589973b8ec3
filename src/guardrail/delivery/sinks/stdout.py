"""Sends records to the standard output stream, one JSON line each, for those who collect a container's output."""

from __future__ import annotations

import sys


class StdoutSink:
    """The sink of `stdout:`."""

    def write(self, lines: list[bytes]) -> None:
        """Write lines to whatever the stream is at this moment.

        Raises:
            OSError: It cannot be written.
            ValueError: It is closed.
        """
        sys.stdout.write(b"".join(lines).decode("utf-8"))
        sys.stdout.flush()

    def close(self) -> None:
        """Leave the stream open: it is the application's."""
