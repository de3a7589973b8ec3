"""Statements that the busiest paths run: compiled once by SQLAlchemy, run by the driver itself at a fraction of the cost.

Only for columns that both drivers take and return as they are: texts, numbers, bytes. (Of a truth value SQLite returns 0 or 1.)
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from guardrail.store import sqlite

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import Connection, Delete, Insert, Select, Update

Asked: TypeAlias = "tuple[Prepared, Mapping[str, Any]]"  # a statement with its values


class Said(NamedTuple):
    """What came of one of several statements.

    Attributes:
        rows: What it returned, each row by the names of its columns.
        changed: How many rows it changed, or returned.
    """

    rows: list[dict[str, Any]]
    changed: int

    @property
    def first(self) -> dict[str, Any] | None:
        """The first row, None where there is none."""
        return self.rows[0] if self.rows else None


def together(connection: Connection, *asked: Asked) -> list[Said]:
    """Run statements one after another; on a server in one go, which takes one journey there and back for all.

    Each sees what those before it did. Where one fails none of them counts, nor what else the transaction did.
    """
    if connection.dialect.name == "sqlite":
        return [statement.ask(connection, values) for statement, values in asked]
    texts = [(statement, *statement.text(connection, values)) for statement, values in asked]
    with _explained(connection) as raw:
        with raw.pipeline():
            cursors = [raw.execute(text, values) for _, text, values in texts]
        return [statement.said(cursor) for (statement, *_), cursor in zip(texts, cursors, strict=True)]


class Prepared:
    """A statement with its text for each driver, made at first use.

    Args:
        statement: One whose parameters are all given by name, none of which stands for a list. Columns that an insert or
            update sets are given by their names too, where the statement does not set them itself.
    """

    def __init__(self, statement: Insert | Select[Any] | Update | Delete) -> None:
        self._statement = statement
        self._texts: dict[tuple[str, ...], tuple[str, list[str], dict[str, Any]]] = {}  # by dialect and what is given
        self._columns = tuple(map(str, statement.exported_columns.keys()))

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run it for what it does; return how many rows it changed."""
        cursor = self._cursor(connection, values)
        count: int = cursor.rowcount
        cursor.close()
        return count

    def ask(self, connection: Connection, values: Mapping[str, Any]) -> Said:
        """Run it; return all that came of it."""
        return self.said(self._cursor(connection, values))

    def said(self, cursor: Any) -> Said:
        """Return all that came of it, from the cursor that it was run with."""
        rows = cursor.fetchall() if self._columns else ()  # an insert into a table that counts may return what nobody asked for
        count: int = cursor.rowcount
        cursor.close()
        return Said([dict(zip(self._columns, row, strict=True)) for row in rows], count)

    def first(self, connection: Connection, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the first row by the names of its columns, None where there is none."""
        cursor = self._cursor(connection, values)
        row = cursor.fetchone()
        cursor.close()  # an open one would keep SQLite's log from being written back
        return None if row is None else dict(zip(self._columns, row, strict=True))

    def all(self, connection: Connection, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return all rows by the names of their columns."""
        cursor = self._cursor(connection, values)
        rows = cursor.fetchall()
        cursor.close()
        return [dict(zip(self._columns, row, strict=True)) for row in rows]

    def _cursor(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        if connection.dialect.name == "sqlite":
            text, names, constants = self._made(connection, values)
            raw: sqlite3.Connection = sqlite.raw(connection)
            known = {**constants, **values} if constants else values
            return raw.execute(text, [known[name] for name in names])
        with _explained(connection) as server:
            return server.execute(*self.text(connection, values))

    def text(self, connection: Connection, values: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
        """Return the statement as psycopg takes it, with all its values."""
        text, _, constants = self._made(connection, values)
        return text.encode(), {**constants, **values}

    def _made(self, connection: Connection, values: Mapping[str, Any]) -> tuple[str, list[str], dict[str, Any]]:
        given = (connection.dialect.name, *values)
        made = self._texts.get(given)
        if made is None:
            made = self._texts[given] = self._compiled(connection, tuple(values))
        return made

    def _compiled(self, connection: Connection, given: tuple[str, ...]) -> tuple[str, list[str], dict[str, Any]]:
        compiled: Any = self._statement.compile(dialect=connection.dialect, column_keys=given)
        constants = {name: value for name, value in compiled.params.items() if name not in given}
        return str(compiled), list(compiled.positiontup or ()), constants


@contextlib.contextmanager
def _explained(connection: Connection) -> Iterator[psycopg.Connection[Any]]:
    """Give psycopg's own connection; what goes wrong on it is told as SQLAlchemy tells it."""
    import psycopg  # noqa: PLC0415 - an extra, which is there by now
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - loaded by who uses the store

    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)  # noqa: S101 - tells the type checker what the store made
    try:
        yield raw
    except psycopg.Error as problem:
        lost = raw.closed
        if lost:
            connection.invalidate(problem)
        raise DBAPIError(None, None, problem, hide_parameters=True, connection_invalidated=lost) from problem
