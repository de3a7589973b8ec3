"""How the store's SQLite file is opened, for writing and for reading, and what its errors mean in plain words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from guardrail.errors import GuardrailError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, RootTransaction

BUSY_SECONDS: Final = 30.0  # what SQLite itself waits for a program that does not know our file lock
_READERS: Final = 4  # connections kept open for reading; under load there are up to three times as many more

_MEANINGS: Final = {
    "SQLITE_FULL": ("the disk is full", "free some space; cases are kept in the spool meanwhile if it can be written"),
    "SQLITE_BUSY": ("another program holds it locked", "close the program that has the file open for writing"),
    "SQLITE_LOCKED": ("another program holds it locked", "close the program that has the file open for writing"),
    "SQLITE_CORRUPT": ("the file is damaged", "move it away and restore a backup; a new one is made at the next use"),
    "SQLITE_NOTADB": ("the file is not a store", "move it away; a new one is made at the next use"),
    "SQLITE_READONLY": ("it may not be written", "give this user the right to write, or set GUARDRAIL_HOME"),
    "SQLITE_CANTOPEN": ("the file cannot be opened", "see its permissions and its folder, or set GUARDRAIL_HOME"),
    "SQLITE_IOERR": ("the disk does not take it", "see the free space, the file size limit and the state of the disk"),
}


class StoreError(GuardrailError):
    """The embedded store did not do its work: it cannot be opened, or is locked, full, damaged or newer."""


def engine(path: Path, *, writing: bool) -> Engine:
    """Return an engine on the file, with one kept connection for writing or a small pool for reading.

    A writing engine must be used under the file lock only, after `begin_to_write`: it syncs every commit and never checkpoints
    by itself. A reading engine refuses to write.
    """
    from sqlalchemy import URL, create_engine, event  # noqa: PLC0415 - 150 ms, paid by who uses the store
    from sqlalchemy.pool import NullPool, QueuePool  # noqa: PLC0415 - as above

    made = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        hide_parameters=True,  # an error must not carry the user's values
        **({"poolclass": NullPool} if writing else {"poolclass": QueuePool, "pool_size": _READERS, "max_overflow": 12}),
    )
    pragmas = ["foreign_keys = ON", "trusted_schema = OFF", "wal_autocheckpoint = 0"]
    pragmas += ["journal_mode = WAL", "synchronous = FULL"] if writing else ["query_only = ON"]

    def set_up(raw: sqlite3.Connection, _record: Any) -> None:
        try:
            prepare(raw)
        except BaseException:
            raw.close()  # nobody else will
            raise

    def prepare(raw: sqlite3.Connection) -> None:
        raw.isolation_level = None  # we say BEGIN ourselves
        for pragma in pragmas:
            answer = raw.execute(f"PRAGMA {pragma}").fetchone()
            if pragma.startswith("journal_mode") and answer[0] != "wal":
                raise StoreError(
                    f"the folder of {path} is on a file system where SQLite's write-ahead log does not work",
                    hint="set GUARDRAIL_HOME to a folder on a local disk",
                )

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    event.listen(made, "connect", set_up)
    if not writing:
        event.listen(made, "begin", begin)
    return made


def begin_to_write(connection: Connection) -> RootTransaction:
    """Begin a transaction of a writing engine: in SQLite by its own driver, which takes a tenth of SQLAlchemy's time."""
    raw(connection).execute("BEGIN IMMEDIATE")
    return connection.begin()


def make_private(path: Path) -> None:
    """Make the file, for its owner only, unless it is there; SQLite gives its log the same permissions.

    An existing file is never opened: closing it again would drop every lock that this process holds on it.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells this file from one put in its place later, or None where there is no file."""
    try:
        there = os.stat(path)  # noqa: PTH116 - asked with every case, and `Path.stat` takes three times as long
    except OSError:
        return None
    return there.st_dev, there.st_ino


def raw(connection: Connection) -> sqlite3.Connection:
    """Return the driver's own connection, for what must happen outside any transaction."""
    inner = connection.connection.driver_connection
    assert isinstance(inner, sqlite3.Connection)  # noqa: S101 - tells the type checker what `engine` made
    return inner


def explained(problem: BaseException, path: Path) -> StoreError:
    """Return what went wrong as a `StoreError`; it names the file, never a value."""
    if isinstance(problem, StoreError):
        return StoreError(str(problem.args[0]), hint=problem.hint)  # one of its own for each who waits
    original = getattr(problem, "orig", problem)
    name = getattr(original, "sqlite_errorname", "")
    for code, (meaning, hint) in _MEANINGS.items():
        if name.startswith(code):
            return StoreError(f"the store {path}: {meaning}", hint=hint)
    if isinstance(original, OSError):
        return StoreError(f"the store {path}: {original.strerror or type(original).__name__}")
    return StoreError(f"the store {path}: {name or type(original).__name__}")
