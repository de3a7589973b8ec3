"""Whether any process has changed the store: asked often by whoever waits for another's decision, so it is cheap."""

from __future__ import annotations

import contextlib
import sqlite3
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock, settings
from guardrail.store import engine, forks, postgres, sqlite
from guardrail.store.prepared import Asked, Prepared, together

if TYPE_CHECKING:
    from sqlalchemy import Connection

_POLL_SECONDS: Final = 1.0


def tell(connection: Connection) -> None:
    """Tell those who wait, in any process, that something has changed, once this transaction is through."""
    together(connection, *telling(connection))


def telling(connection: Connection) -> list[Asked]:
    """Return the statement that does what `tell` does, where one is needed: SQLite's file says so itself."""
    return [] if connection.dialect.name == "sqlite" else [(_notify(), {})]


@cache
def _notify() -> Prepared:
    from sqlalchemy import func, select  # noqa: PLC0415 - loaded by who uses the store

    return Prepared(select(func.pg_notify("guardrail_review", "").label("told")))


class Changes:
    """Tells whether any process has changed the store since it was last asked. For one thread."""

    def __init__(self) -> None:
        self._seen: _File | _Server | None = None

    def wait(self, seconds: float) -> bool:
        """Return whether the store has changed since the last call, waiting at most so long; True at the first.

        Raises:
            StoreError: The store cannot be read.
        """
        if self._seen is None or isinstance(self._seen, _Server) != engine.shared():
            self.close()
            self._seen = _Server() if engine.shared() else _File()
            self._seen.wait(0.0)
            return True
        return self._seen.wait(seconds)

    def close(self) -> None:
        """Let go of file or server."""
        seen, self._seen = self._seen, None
        if seen is not None:
            seen.close()


class _File:
    """Looks at SQLite's own counter of changes, which costs 8 µs."""

    def __init__(self) -> None:
        self._opened: tuple[Path, tuple[int, int] | None] | None = None
        self._connection: sqlite3.Connection | None = None
        self._seen: int | None = None

    def wait(self, seconds: float) -> bool:
        clock.sleep(seconds)
        here = engine.path()
        there = (here, sqlite.identity(here))
        try:
            with forks.apart():
                if self._connection is None or there != self._opened:
                    self.close()
                    self._connection = sqlite3.connect(f"{here.as_uri()}?mode=ro", uri=True, isolation_level=None)
                    self._opened, self._seen = there, None
                now: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as problem:
            self.close()
            raise sqlite.explained(problem, here) from None
        changed, self._seen = now != self._seen, now
        return changed

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _Server:
    """Listens to what PostgreSQL tells; and says every second that something may have changed, since poolers lose LISTEN."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._looked = float("-inf")

    def wait(self, seconds: float) -> bool:
        import psycopg  # noqa: PLC0415 - an extra

        url = settings.current().database_url
        try:
            with forks.apart():
                if self._connection is None and url is not None:
                    self._connection = psycopg.connect(
                        url.reveal(), autocommit=True, connect_timeout=5, application_name="guardrail watch",
                        keepalives_idle=10, keepalives_interval=5, keepalives_count=3,
                    )  # fmt: skip
                    self._connection.execute("LISTEN guardrail_review")
                listening: Any = self._connection
                told = any(True for _ in listening.notifies(timeout=seconds, stop_after=1))
        except (psycopg.Error, OSError) as problem:
            self.close()
            raise postgres.explained(problem) from None
        now = clock.now()
        if told or now - self._looked >= _POLL_SECONDS:
            self._looked = now
            return True
        return False

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()
