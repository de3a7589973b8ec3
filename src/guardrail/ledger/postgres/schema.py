"""What a database must be before anything is written to it, and what its errors mean. Nothing here changes its tables."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import psycopg

NEEDED: Final = "0001"  # the least revision of the tables that this release works with; what comes later only adds to them
MIGRATE: Final = "run `guardrail store migrate` with GUARDRAIL_DATABASE_URL of a user who may create tables"
_MISSING: Final = "42P01"


class SchemaRefused(OSError):
    """The database has not the tables that this release needs, or is not one for them. The text says what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EPROTO, text)


def said(problem: psycopg.Error) -> str:
    """Return what a server's error says, without its text: that may quote what was sent."""
    return f"PostgreSQL answers {problem.sqlstate} ({type(problem).__name__})"


def revision(connection: psycopg.Connection[Any]) -> str | None:
    """Return the revision of the tables; None where there are none."""
    import psycopg  # noqa: PLC0415 - whoever has a connection has it

    try:
        row = connection.execute("SELECT version_num FROM guardrail_schema").fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return None if row is None else str(row[0])


def begin(connection: psycopg.Connection[Any], *, writing: bool) -> None:
    """Look a new connection over, and have it commit durably.

    Raises:
        SchemaRefused: The tables are not there, or are older than this release needs.
        psycopg.Error: The server takes no writes.
    """
    import psycopg  # noqa: PLC0415 - as above

    connection.execute("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
    connection.execute("SELECT set_config('statement_timeout', '60s', false), set_config('TimeZone', 'UTC', false)")
    found = revision(connection)
    if found is None:
        raise SchemaRefused(f"the database has no tables of guardrail: {MIGRATE}")
    if found < NEEDED:
        raise SchemaRefused(f"the database's tables are of revision {found}, and this release needs {NEEDED}: {MIGRATE}")
    if writing:
        row = connection.execute("SELECT current_setting('transaction_read_only')").fetchone()
        if row is None or row[0] != "off":
            raise psycopg.errors.ReadOnlySqlTransaction("the server takes no writes")
