"""Puts records into a table of another PostgreSQL: the line as it is, what is asked for beside it, and each record once."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, Final, NamedTuple

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
_LOOK: Final = 0.1  # seconds between two looks whether a statement has had its time
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # the one character that JSON may hold and jsonb may not
# A server that refuses to connect gives no code; of its words only what they come to is repeated.
_WORDS: Final = (
    ("authentication failed", "it does not accept user and password", True),
    ("no password supplied", "it asks for a password", True),
    ("pg_hba.conf", "it does not let this host or user in", True),
    ('role ".*" (does not exist|is not permitted)', "it does not let this user in", True),
    ('database ".*" does not exist', "it has no such database", True),
    ("certificate", "its certificate is not accepted", False),
    ("host name", "its name is not known", False),
    ("connection refused", "it refuses the connection", False),
)

_inherited: list[Any] = []  # a parent's connections: a child must not close them in the server's eyes


def _table(word: str, where: str) -> str:
    if not _NAME.fullmatch(word):
        raise ConfigError(f"{where} is not the name of a table", hint="write table=guardrail_records or table=audit.records")
    return word


class PostgresSink:
    """The sink of `postgresql://user@host/database`.

    Args:
        address: Where, with options.

    Raises:
        ConfigError: The URL does not say one host and a database, or has an option that says nothing here.
    """

    OPTIONS: ClassVar[Mapping[str, Option | None]] = {
        "insecure": None,  # libpq's sslmode says it
        "table": Option(_table, "guardrail_records", "the table, with its schema if it needs one"),
        "create": Option(flag, False, "make the table where it is missing; its user must be allowed to"),  # noqa: FBT003 - a default
        "sslmode": Option(choice(*_MODES), "prefer", "libpq's own: how far the connection is encrypted and the server proven"),
        "sslrootcert": Option(text, None, "libpq's own: the file with the authority's certificate"),
        "sslcert": Option(text, None, "libpq's own: the file with a certificate of our own"),
        "sslkey": Option(text, None, "libpq's own: the file with its key"),
    }
    caps = Caps(items=2_000, size=4_000_000)

    def __init__(self, address: Address) -> None:
        if not address.host or "," in address.host or not address.path.strip("/"):
            raise ConfigError(
                f"{address.where} does not say one host and a database",
                hint='write "postgresql://user:${env:PASSWORD}@host/database"',
            )
        self._address = address
        self._table: str = address.options["table"]
        self._connection: Any = None
        self._pid = 0

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Insert a batch in one statement; what is there already stays as it is."""
        import psycopg  # noqa: PLC0415 - an extra

        try:
            return self._put(self._connected(), [_row(item) for item in batch])
        except psycopg.Error as problem:
            self.close()
            return [_result(problem)] * len(batch)

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
                (result,) = self._put(connection, [_row(Item("test", int(clock.wall() * 1e6), test))])
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            self.close()
            raise ConfigError(
                f"the table that {self._address.where} names is not there, or not as it should be",
                hint=f"write create=true, or run: {_TABLE.format(self._table)}",
            ) from None
        except psycopg.Error as problem:
            self.close()
            raise OSError(5, _result(problem).reason) from None
        if result.kind != "ok":
            raise OSError(5, result.reason)
        return f"the table {self._table} takes a test record"

    def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._pid != os.getpid():
            _inherited.append(connection)
            return
        with contextlib.suppress(Exception):
            connection.close()

    def _put(self, connection: Any, rows: list[_Row]) -> list[Result]:
        """Insert rows; where one of several is at fault, find it by halves."""
        import psycopg  # noqa: PLC0415 - an extra

        try:
            connection.execute(self._insert(), [list(column) for column in zip(*rows, strict=True)])
        except (psycopg.DataError, psycopg.IntegrityError) as problem:
            if len(rows) > 1:
                half = len(rows) // 2
                return self._put(connection, rows[:half]) + self._put(connection, rows[half:])
            # jsonb does not take all that JSON may say: the line has it all the same.
            if isinstance(problem, psycopg.DataError) and rows[0].record is not None:
                return self._put(connection, [rows[0]._replace(record=None)])
            return [reject(f"PostgreSQL answers {problem.sqlstate}")]
        return [ok] * len(rows)

    def _insert(self) -> str:
        return (
            f"INSERT INTO {self._table} (lane, seq, at, event, guard, outcome, record, line)"  # noqa: S608 - the name was checked
            " SELECT * FROM unnest(%s::text[], %s::bigint[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::jsonb[],"
            " %s::bytea[]) ON CONFLICT (lane, seq) DO NOTHING"
        )

    def _connected(self) -> Any:
        until = clock.now() + self._address.timeout
        if self._connection is not None:
            self._connection.until = until
            return self._connection
        where, options = self._address, self._address.options
        milliseconds = max(1, int(where.timeout * 1000))
        given = {
            "host": where.host, "port": where.port, "dbname": where.path.strip("/"),
            "user": None if where.user is None else where.user.reveal(),
            "password": None if where.password is None else where.password.reveal(),
            "sslmode": options["sslmode"], "sslrootcert": options["sslrootcert"],
            "sslcert": options["sslcert"], "sslkey": options["sslkey"],
        }  # fmt: skip
        connection = _bounded().connect(
            **{name: value for name, value in given.items() if value is not None}, autocommit=True,
            connect_timeout=max(2, int(where.timeout)),  # libpq takes no less
            application_name="guardrail", options=f"-c statement_timeout={milliseconds}", tcp_user_timeout=milliseconds,
            keepalives_idle=10, keepalives_interval=5, keepalives_count=3,
        )  # fmt: skip
        connection.until = until
        self._connection, self._pid = connection, os.getpid()
        if options["create"]:
            connection.execute(_TABLE.format(self._table).replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS").encode())
        return connection


class _Row(NamedTuple):
    """What is inserted for an item, in the order of the statement."""

    lane: str
    seq: int
    at: datetime | None
    event: str | None
    guard: str | None
    outcome: str | None
    record: str | None
    line: bytes


def _row(item: Item) -> _Row:
    record = parsed(item)
    whole = item.line.decode() if record and not _NUL.search(item.line) else None
    event, guard, outcome = (_word(record, name) for name in ("event", "guard", "outcome"))
    return _Row(item.lane, item.seq, _moment(record), event, guard, outcome, whole, item.line)


def _moment(record: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(record["ts"])
    except (KeyError, TypeError, ValueError):
        return None


def _word(record: Mapping[str, Any], name: str) -> str | None:
    found = record.get(name)
    return found.replace("\0", "\ufffd") if isinstance(found, str) else None


def _result(problem: Any) -> Result:
    """Return what a server's error says, without its text: that may quote what was sent, or who we are."""
    code = problem.sqlstate
    if code:
        return retry(reason=f"PostgreSQL answers {code}", credentials=code.startswith(_REFUSED))
    text = str(problem).lower()
    said, refused = next(
        ((said, refused) for words, said, refused in _WORDS if re.search(words, text)), ("it does not answer", False)
    )
    return retry(reason=said, credentials=refused)


@cache
def _bounded() -> Any:
    """Return the class of connections whose answers come until a moment (monotonic), or not at all.

    A server that is stopped, or behind a network that swallows everything, keeps no timeout of its own.
    """
    import psycopg  # noqa: PLC0415 - an extra

    class Bounded(psycopg.Connection[Any]):
        until = float("inf")

        def wait(self, gen: Any, *_: Any, **__: Any) -> Any:
            return super().wait(self._in_time(gen), _LOOK)

        def _in_time(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
            try:
                wants = next(gen)
                while True:
                    ready = yield wants
                    if clock.now() >= self.until:
                        raise psycopg.OperationalError("no answer in time")
                    wants = gen.send(ready)
            except StopIteration as end:
                return end.value

    return Bounded
