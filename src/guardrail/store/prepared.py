"""Statements that the busiest paths run: compiled once by SQLAlchemy, run by the driver itself at a fraction of the cost.

Only for columns that both drivers take and return as they are: texts, numbers, bytes. (Of a truth value SQLite returns 0 or 1.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guardrail.store import sqlite

if TYPE_CHECKING:
    from sqlalchemy import Connection, Delete, Insert, Select, Update


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
        here = connection.dialect.name == "sqlite"
        given = (connection.dialect.name, *values)
        made = self._texts.get(given)
        if made is None:
            made = self._texts[given] = self._compiled(connection, tuple(values))
        text, names, constants = made
        if here:
            raw: sqlite3.Connection = sqlite.raw(connection)
            known = {**constants, **values} if constants else values
            return raw.execute(text, [known[name] for name in names])
        return _ask(connection, text, {**constants, **values})

    def _compiled(self, connection: Connection, given: tuple[str, ...]) -> tuple[str, list[str], dict[str, Any]]:
        compiled: Any = self._statement.compile(dialect=connection.dialect, column_keys=given)
        constants = {name: value for name, value in compiled.params.items() if name not in given}
        return str(compiled), list(compiled.positiontup or ()), constants


def _ask(connection: Connection, text: str, values: dict[str, Any]) -> Any:
    """Run a statement on psycopg's own connection; what goes wrong is told as SQLAlchemy tells it."""
    import psycopg  # noqa: PLC0415 - an extra, which is there by now
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - loaded by who uses the store

    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)  # noqa: S101 - tells the type checker what the store made
    try:
        return raw.execute(text.encode(), values)
    except psycopg.Error as problem:
        lost = raw.closed
        if lost:
            connection.invalidate(problem)
        raise DBAPIError(None, None, problem, hide_parameters=True, connection_invalidated=lost) from problem
