"""An anchor in a PostgreSQL table that its user may only insert into. `SQL` makes table and role; an administrator runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from guardrail.ledger import anchors
from guardrail.settings.anchors import OWN, Anchor

if TYPE_CHECKING:
    import psycopg

SQL: Final = """\
CREATE TABLE guardrail_anchors (
    n         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin    text NOT NULL,
    size      bigint NOT NULL,
    note      bytea NOT NULL,
    pushed_at timestamptz NOT NULL DEFAULT now(),
    pushed_by text NOT NULL DEFAULT session_user
);
CREATE ROLE guardrail_anchor LOGIN PASSWORD '…';
REVOKE ALL ON guardrail_anchors FROM PUBLIC;
GRANT INSERT (origin, size, note) ON guardrail_anchors TO guardrail_anchor;
CREATE ROLE guardrail_auditor LOGIN PASSWORD '…';
GRANT SELECT ON guardrail_anchors TO guardrail_auditor;
"""
_SECONDS: Final = 10
_ROWS: Final = 1_000


def make(anchor: Anchor) -> Table:
    """Return the place of `postgresql://user:password@host/database?table=guardrail_anchors`."""
    try:
        import psycopg  # noqa: F401, PLC0415 - an extra
    except ImportError as problem:
        raise anchors.lacking(anchor, "postgres") from problem
    parts = urlsplit(anchor.url.reveal())
    theirs = [(name, value) for name, value in parse_qsl(parts.query) if name not in OWN]
    url = urlunsplit(parts._replace(query=urlencode(theirs, quote_via=quote)))
    return Table(url, anchor.options.get("table", "guardrail_anchors"))


class Table:
    """Inserts one row for every checkpoint.

    Args:
        url: Of the database, as libpq takes it.
        table: Its name, with that of its schema if need be.
    """

    def __init__(self, url: str, table: str) -> None:
        self._url = url
        self._names = table.split(".")
        self._connection: psycopg.Connection[Any] | None = None

    def push(self, notes: list[bytes]) -> None:
        """Insert the checkpoints in one transaction; committed when this returns.

        Raises:
            AnchorFailed: The database did not take them.
        """
        rows = []
        for note in notes:
            origin, size, _ = note.split(b"\n", 2)
            rows.append((origin.decode(), int(size), note))
        self._do("INSERT INTO {} (origin, size, note) VALUES (%s, %s, %s)", rows)

    def read(self, ledger: str) -> Iterator[bytes]:
        """Yield the rows of a ledger; only who may select can."""
        after = 0
        while rows := self._do(
            "SELECT n, note FROM {} WHERE n > %s AND starts_with(origin, %s) ORDER BY n LIMIT %s",
            [(after, f"guardrail/{ledger}/", _ROWS)], returning=True,
        ):  # fmt: skip
            after = rows[-1][0]
            yield b"".join(bytes(note) for _, note in rows)

    def check(self, home: Path) -> str:
        """See whether the table is there, and whether its user may do more than insert."""
        del home
        name = ".".join(self._names)
        query = "SELECT " + ", ".join(f"has_table_privilege('{{}}', '{each}')" for each in ("UPDATE", "DELETE", "TRUNCATE"))
        more = self._do(query + ", has_column_privilege('{}', 'note', 'INSERT')", [()], returning=True)[0]
        if not more[3]:
            raise anchors.AnchorFailed(f"its user may not insert into {name}")
        if any(more[:3]):
            raise anchors.AnchorFailed(
                f"its user may do more than insert into {name}: whoever has its password may delete anchors"
            )
        return f"the table {name} takes inserts, and nothing else, from its user"

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _do(self, query: str, rows: list[Any], *, returning: bool = False) -> list[Any]:
        """Run one query for each row of values, in one transaction; a connection that fails is not used again."""
        import psycopg  # noqa: PLC0415 - `make` has seen that it is there
        from psycopg import sql  # noqa: PLC0415

        name = sql.Identifier(*self._names)
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(
                    self._url, connect_timeout=_SECONDS, application_name="guardrail anchor",
                    options=f"-c statement_timeout={_SECONDS * 1000}",
                )  # fmt: skip
            asked = query.replace("{}", name.as_string(None)).encode()  # a name of letters, digits and _, in quotes
            with self._connection.transaction(), self._connection.cursor() as cursor:
                for row in rows:
                    cursor.execute(asked, row or None)
                return cursor.fetchall() if returning else []
        except psycopg.Error as problem:
            self.close()
            why = f"PostgreSQL answers {problem.sqlstate}" if problem.sqlstate else "PostgreSQL cannot be reached"
            raise anchors.AnchorFailed(f"{why} ({type(problem).__name__})") from None
