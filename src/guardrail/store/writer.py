"""The one thread that writes the store: what many callers ask for at once shares one transaction and one sync."""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import InvalidStateError
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from guardrail import notices
from guardrail.settings import folder
from guardrail.store import file_lock, forks, sqlite
from guardrail.store.promise import Promise

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")
_MOST: Final = 256  # pieces of work in one transaction
_LOG_BYTES: Final = 4 * 2**20  # size of the write-ahead log above which it is written back into the file when nobody waits
_LOG_MOST: Final = 8 * _LOG_BYTES  # the same while there is work: whoever comes next waits for it
_IDLE: Final = 0.05  # seconds without work


class Work(NamedTuple):
    """One piece of work: a function of a connection, which may be run again if the first run was rolled back."""

    fn: Callable[[Connection], Any]
    future: Promise[Any]


class Writer:
    """A thread with its inbox and its connection. `stop` ends it after all that was put in before.

    Args:
        path: The store's file; its folder, the home folder, is made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.parent
        self._lock_path = path.with_name(path.name + ".lock")
        self._log_path = path.with_name(path.name + "-wal")
        self._inbox: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._write_back_at = _LOG_BYTES
        self._large = False  # whether the log is to be written back as soon as nobody waits
        self._done = 0  # batches
        self._thread = threading.Thread(target=self._serve, name="guardrail-store", daemon=True)
        self._thread.start()

    def put(self, fn: Callable[[Connection], T]) -> Promise[T]:
        """Have a piece of work done; its future is settled when the result is on disk."""
        future: Promise[T] = Promise(lambda: self._done)
        self._inbox.put(Work(fn, future))
        return future

    def stop(self) -> None:
        """Let the thread end when it has done what it was given. Nothing may be put in afterwards."""
        self._inbox.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for the end of the thread; return whether it came."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            batch = [self._next()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < _MOST:
                    batch.append(self._inbox.get_nowait())
            self._settle([work for work in batch if work is not None])
            self._done += 1
            if None in batch:
                return self._close()
            del batch  # an idle thread keeps nothing of the user's alive

    def _next(self) -> Work | None:
        if self._large:
            try:
                return self._inbox.get(timeout=_IDLE)
            except queue.Empty:
                self._large = False
                with contextlib.suppress(OSError), file_lock.held(self._lock_path), forks.apart():
                    self._write_back(self._write_back_at)
        return self._inbox.get()

    def _settle(self, batch: Sequence[Work]) -> None:
        if not batch:
            return
        try:
            if self._connection is None and not self._folder.is_dir():
                folder.make(self._folder)
            with file_lock.held(self._lock_path), forks.apart():
                self._open()
                self._commit([work for work in batch if work.future.set_running_or_notify_cancel()])
                self._write_back(self._write_back_at + _LOG_MOST - _LOG_BYTES)
        except BaseException as problem:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            self._drop()
            for work in batch:
                with contextlib.suppress(InvalidStateError):
                    if not work.future.done():
                        work.future.set_exception(sqlite.explained(problem, self._path))

    def _open(self) -> None:
        if self._connection is not None and sqlite.identity(self._path) == self._identity:
            return
        self._drop()
        from guardrail.store import schema  # noqa: PLC0415 - with SQLAlchemy, on this thread

        sqlite.make_private(self._path)
        self._connection = sqlite.engine(self._path, writing=True).connect()
        with sqlite.begin_to_write(self._connection):
            schema.prepare(self._connection)
        self._identity = sqlite.identity(self._path)

    def _commit(self, batch: Sequence[Work]) -> None:
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - as above

        connection = self._connection
        if not batch or connection is None:
            return
        transaction = sqlite.begin_to_write(connection)  # what goes wrong here concerns all of them
        outcomes: list[tuple[Any, Exception | None]] = []
        try:
            with transaction:
                if len(batch) == 1:  # its failure undoes nobody else's
                    outcomes.append((batch[0].fn(connection), None))
                else:
                    outcomes.extend(self._attempt(connection, work) for work in batch)
        except Exception as problem:
            ours = isinstance(problem, DBAPIError | sqlite3.Error)
            if len(batch) == 1:
                batch[0].future.set_exception(sqlite.explained(problem, self._path) if ours else problem)
            elif ours:  # SQLite gave up the whole transaction. One piece of work may be to blame (too large for the disk, say).
                for work in batch:
                    self._commit([work])
            else:
                raise
            return
        for work, (value, error) in zip(batch, outcomes, strict=True):
            if error is None:
                work.future.set_result(value)
            else:
                work.future.set_exception(error)

    def _attempt(self, connection: Connection, work: Work) -> tuple[Any, Exception | None]:
        """Do one piece of work so that its failure undoes only itself."""
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - as above

        raw = sqlite.raw(connection)  # SQLAlchemy's own savepoints cost 150 µs more
        raw.execute("SAVEPOINT work")
        try:
            value = work.fn(connection)
        except Exception as problem:
            if not raw.in_transaction:  # SQLite rolled back everything: nothing is left to go on with
                raise
            raw.execute("ROLLBACK TO work")
            raw.execute("RELEASE work")
            return None, sqlite.explained(problem, self._path) if isinstance(problem, DBAPIError | sqlite3.Error) else problem
        raw.execute("RELEASE work")
        return value, None

    def _write_back(self, from_size: int) -> None:
        """Move the log into the file if it is that large; readers at work postpone it, and never wait for it."""
        connection = self._connection
        try:
            try:
                size = os.stat(self._log_path).st_size  # noqa: PTH116 - asked with every case, as in `sqlite.identity`
            except FileNotFoundError:
                return
            if connection is None:
                return
            self._large = size >= self._write_back_at
            if size < from_size:
                return
            raw = sqlite.raw(connection)
            raw.execute("PRAGMA busy_timeout = 0")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            raw.execute(f"PRAGMA busy_timeout = {sqlite.BUSY_SECONDS * 1000:.0f}")
            self._write_back_at = self._log_path.stat().st_size + _LOG_BYTES
            self._large = False
        except Exception as problem:  # noqa: BLE001 - what was asked for is on disk; only the log stays large
            notices.say("store", f"the log of the store was not written back: {sqlite.explained(problem, self._path)}")
            self._drop()

    def _drop(self) -> None:
        connection, self._connection, self._identity = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def _close(self) -> None:
        # So that the file alone is the whole store while nobody uses it. The last connection to close writes the log back
        # as well, so this too happens under the lock.
        with contextlib.suppress(OSError), file_lock.held(self._lock_path), forks.apart():
            self._write_back(1)
            self._drop()
        self._drop()
