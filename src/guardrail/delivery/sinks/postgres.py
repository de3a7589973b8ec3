"""Puts records into a table of another PostgreSQL: the line as it is, what is asked for beside it, and each record once."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final

import orjson

from guardrail import clock
from guardrail.delivery.address import Address, Option, choice
from guardrail.delivery.plain import parsed
from guardrail.delivery.sink import Caps, Item, Result, ok, reject, retry
from guardrail.errors import ConfigError
from guardrail.settings.values import flag, text

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")
_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TABLE: Final = (
    'CREATE TABLE {} (lane text COLLATE "C" NOT NULL, seq bigint NOT NULL, at timestamptz, event text, guard text, outcome text,'
    " record jsonb, line bytea NOT NULL, PRIMARY KEY (lane, seq))"
)
_REFUSED: Final = ("28", "42501")  # classes and codes of errors that mean: not let in, or not allowed
_DATA: Final = "22"  # the class of errors that are about a value


def _table(word: str, where: str) -> str:
    if not _NAME.fullmatch(word):
        raise ConfigError(f"{where} is not the name of a table", hint="write table=guardrail_records or table=audit.records")
    return word


class PostgresSink:
    """The sink of `postgresql://user@host/database`.

    Args:
        address: Where, with options.

    Raises:
        ConfigError: The URL does not say which database.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "table": Option(_table, "guardrail_records", "the table, with its schema if it needs one"),
        "create": Option(flag, False, "make the table where it is missing; its user must be allowed to"),  # noqa: FBT003 - a default
        "sslmode": Option(choice(*_MODES), "prefer", "libpq's own: how far the connection is encrypted and the server proven"),
        "sslrootcert": Option(text, None, "libpq's own: the file with the authority's certificate"),
    }
    caps = Caps(items=2_000, size=4_000_000)

    def __init__(self, address: Address) -> None:
        if not address.host or not address.path.strip("/"):
            raise ConfigError(
                f"{address.where} does not say host and database", hint='write "postgresql://user:${env:PASSWORD}@host/database"'
            )
        self._address = address
        self._table: str = address.options["table"]
        self._connection: Any = None

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Insert a batch in one statement; what is there already stays as it is."""
        import psycopg  # noqa: PLC0415 - an extra

        try:
            connection = self._connected()
            try:
                connection.execute(self._insert(), _columns(batch))
            except psycopg.errors.UntranslatableCharacter:  # jsonb takes no U+0000: the line has it all the same
                connection.execute(self._insert(), _columns(batch, jsonb=False))
        except psycopg.Error as problem:
            self.close()
            result = _result(problem, alone=len(batch) == 1)
            return [result] * len(batch)
        return [ok] * len(batch)

    def probe(self) -> str:
        """Insert a record that says what it is, and take it back.

        Raises:
            ConfigError: The table is not there, or not as it should be; the text says what to type.
            OSError: The server cannot be used.
        """
        import psycopg  # noqa: PLC0415 - an extra

        test = orjson.dumps({"event": "test", "sink": self._address.name, "text": "a test record of guardrail"})
        try:
            connection = self._connected()
            with connection.transaction(force_rollback=True):
                connection.execute(self._insert(), _columns([Item("test", int(clock.wall() * 1e6), test)]))
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            self.close()
            raise ConfigError(
                f"the table that {self._address.where} names is not there, or not as it should be",
                hint=f"write create=true, or run: {_TABLE.format(self._table)}",
            ) from None
        except psycopg.Error as problem:
            self.close()
            raise OSError(5, _said(problem)) from None
        return f"the table {self._table} takes a test record"

    def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def _insert(self) -> str:
        return (
            f"INSERT INTO {self._table} (lane, seq, at, event, guard, outcome, record, line)"  # noqa: S608 - the name was checked
            " SELECT * FROM unnest(%s::text[], %s::bigint[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::jsonb[],"
            " %s::bytea[]) ON CONFLICT (lane, seq) DO NOTHING"
        )

    def _connected(self) -> Any:
        if self._connection is not None:
            return self._connection
        import psycopg  # noqa: PLC0415 - an extra

        where, options = self._address, self._address.options
        milliseconds = max(1, int(where.timeout * 1000))
        given = {
            "host": where.host, "port": where.port, "dbname": where.path.strip("/"),
            "user": None if where.user is None else where.user.reveal(),
            "password": None if where.password is None else where.password.reveal(),
            "sslmode": options["sslmode"], "sslrootcert": options["sslrootcert"],
        }  # fmt: skip
        connection = psycopg.connect(
            **{name: value for name, value in given.items() if value is not None}, autocommit=True,
            connect_timeout=max(2, int(where.timeout)),  # libpq takes no less
            application_name="guardrail", options=f"-c statement_timeout={milliseconds}", tcp_user_timeout=milliseconds,
            keepalives_idle=10, keepalives_interval=5, keepalives_count=3,
        )  # fmt: skip
        self._connection = connection
        if options["create"]:
            connection.execute(_TABLE.format(self._table).replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS").encode())
        return connection


def _columns(batch: Sequence[Item], *, jsonb: bool = True) -> list[list[Any]]:
    rows = []
    for item in batch:
        record = parsed(item)
        whole = item.line.decode() if jsonb and record else None
        rows.append(
            [
                item.lane,
                item.seq,
                _moment(record),
                *(_word(record, name) for name in ("event", "guard", "outcome")),
                whole,
                item.line,
            ]
        )
    return [list(column) for column in zip(*rows, strict=True)]


def _moment(record: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(record["ts"])
    except (KeyError, TypeError, ValueError):
        return None


def _word(record: Mapping[str, Any], name: str) -> str | None:
    found = record.get(name)
    return found.replace("\0", "\ufffd") if isinstance(found, str) else None


def _result(problem: Any, *, alone: bool) -> Result:
    code = problem.sqlstate or ""
    said = _said(problem)
    if code.startswith(_REFUSED) or "authentication failed" in str(problem):
        return retry(reason=said, credentials=True)
    return reject(said) if alone and code.startswith(_DATA) else retry(reason=said)


def _said(problem: Any) -> str:
    """Return what a server's error says, without its text: that may quote what was sent, or the password's user."""
    return f"PostgreSQL answers {problem.sqlstate}" if problem.sqlstate else "PostgreSQL does not answer"
