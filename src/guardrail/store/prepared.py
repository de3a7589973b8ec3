"""Statements that the busiest paths run: compiled once by SQLAlchemy, run by SQLite's own driver at a tenth of the cost.

Only for columns that the driver returns as they are: texts, numbers, bytes. On PostgreSQL SQLAlchemy runs them as ever.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Insert, Select

from guardrail.store import sqlite


class Prepared:
    """A statement with its text for SQLite, made at first use.

    Args:
        statement: A select or insert whose parameters are all given by name, none of which stands for a list.
    """

    def __init__(self, statement: Insert | Select[Any]) -> None:
        self._statement = statement
        self._texts: dict[tuple[str, ...], tuple[str, list[str]]] = {}  # by what is given: the text, its parameters in order
        self._columns = tuple(statement.selected_columns.keys()) if isinstance(statement, Select) else ()

    def run(self, connection: Connection, values: Mapping[str, Any]) -> None:
        """Run it for what it does."""
        if connection.dialect.name == "sqlite":
            self._cursor(connection, values).close()
        else:
            connection.execute(self._statement, values)

    def first(self, connection: Connection, values: Mapping[str, Any]) -> Mapping[Any, Any] | None:
        """Return the first row by the names of its columns, None where there is none."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, values).mappings().first()
        cursor = self._cursor(connection, values)
        row = cursor.fetchone()
        cursor.close()  # an open one would keep the log from being written back
        return None if row is None else dict(zip(self._columns, row, strict=True))

    def _cursor(self, connection: Connection, values: Mapping[str, Any]) -> sqlite3.Cursor:
        given = tuple(values)
        made = self._texts.get(given)
        if made is None:
            compiled: Any = self._statement.compile(dialect=connection.dialect, column_keys=given)
            made = self._texts[given] = str(compiled), list(compiled.positiontup)
        text, names = made
        return sqlite.raw(connection).execute(text, [values[name] for name in names])
