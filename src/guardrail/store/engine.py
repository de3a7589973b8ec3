"""The store of this process: opened at first use, shared by all threads, opened anew after a fork, closed at exit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from guardrail import clock, lifecycle, settings
from guardrail.store import file_lock, forks, sqlite
from guardrail.store.lane import Lane
from guardrail.store.postgres import SharedStore
from guardrail.store.promise import Promise
from guardrail.store.sqlite import StoreError
from guardrail.store.writer import Writer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Pool

__all__ = [
    "StoreError",
    "aside",
    "exists",
    "finish",
    "now",
    "path",
    "read",
    "read_later",
    "result",
    "result_later",
    "shared",
    "warm",
    "where",
    "write",
]

T = TypeVar("T")
_NAME: Final = "store.db"
_CLOSING: Final = 0.5  # seconds that the end of a process waits for others that write
_LOOK: Final = 0.005  # seconds between two looks
PATIENCE: Final = sqlite.BUSY_SECONDS + 5.0  # seconds that a person's command waits for a store in use


class Store:
    """One SQLite file with one writer thread, a pool for reading, and a lane for reading on behalf of event loops."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._writer: Writer | None = None
        self._lane: Lane | None = None
        self._reader: tuple[Engine, tuple[int, int] | None] | None = None

    def write(self, fn: Callable[[Connection], T]) -> Promise[T]:
        """Have `fn` run in a transaction by the writer; see `write` below."""
        with self._lock:
            try:
                self._writer = self._writer or Writer(self.path)
            except RuntimeError as problem:  # an interpreter that is shutting down starts no thread
                refused: Promise[T] = Promise(lambda: 0)
                refused.set_exception(sqlite.explained(problem, self.path))
                return refused
            return self._writer.put(fn)

    def aside(self, do: Callable[[], T]) -> Promise[T]:
        """Have something done on a thread of ours that may block."""
        with self._lock:
            self._lane = self._lane or Lane("guardrail-store-read")
            return self._lane.put(do)

    def read(self, fn: Callable[[Connection], T], within: float) -> T:
        """Run `fn` on one consistent view of the store, in the calling thread; see `read` below."""
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - loaded by who uses the store

        try:
            engine = self._reading(within)
            pool = engine.pool
            try:
                with forks.apart(), engine.connect() as connection, connection.begin():
                    return fn(connection)
            finally:
                if self._reader is None or self._reader[0] is not engine:  # the store was closed meanwhile
                    self._close(pool)
        except SQLAlchemyError as problem:
            raise sqlite.explained(problem, self.path) from None

    def _reading(self, within: float) -> Engine:
        opened = self._reader
        if opened is not None and opened[1] == sqlite.identity(self.path):
            return opened[0]
        with self._opening:
            if self._reader is not opened and self._reader is not None:
                return self._reader[0]  # another thread was faster
            from guardrail.store import schema  # noqa: PLC0415 - as above

            if not self.path.is_file():
                result(self.write(_nothing), within)
            engine, identity = sqlite.engine(self.path, writing=False), sqlite.identity(self.path)
            try:
                with forks.apart(), engine.connect() as connection:
                    found = schema.revision(connection)
                if found is None or found < schema.HEAD:
                    result(self.write(_nothing), within)  # another process is just making it, or it is an earlier release's
            except BaseException:
                self._close(engine.pool)
                raise
            if opened is not None:
                with forks.apart():
                    opened[0].dispose()
            self._reader = engine, identity
            return engine

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return clock.wall()

    def finish(self, seconds: float) -> bool:
        """Do what was asked for, then close; return whether that was possible in time. Later use opens it again."""
        with self._lock:
            writer, self._writer = self._writer, None
            lane, self._lane = self._lane, None
        done = True
        if lane is not None:
            lane.stop()
        if writer is not None:
            writer.stop()
            done = writer.join(seconds)
        opened, self._reader = self._reader, None
        if opened is not None:
            self._close(opened[0].pool, min(seconds, _CLOSING))
        return done

    def write_back(self, seconds: float) -> bool:
        """Move the whole log into the file and empty it; return whether no reader kept it from that, within seconds.

        Raises:
            StoreError: The store cannot be used.
        """
        until = clock.now() + seconds
        while True:
            with file_lock.held(self.path.with_name(self.path.name + ".lock"), block=False) as alone, forks.apart():
                if alone and self._emptied():
                    return True
            if clock.now() >= until:
                return False
            clock.sleep(_LOOK)

    def _emptied(self) -> bool:
        try:
            with sqlite.engine(self.path, writing=True).connect() as connection:
                raw = sqlite.raw(connection)
                raw.execute("PRAGMA busy_timeout = 0")
                return not raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is told as the store's
            raise sqlite.explained(problem, self.path) from None

    def _close(self, pool: Pool, seconds: float = 0.0) -> None:
        """Close a pool's idle connections, with the file lock: the last connection to close writes the log back.

        What is in use meanwhile is closed by whoever uses it. Without the lock the system closes them, with the process.
        """
        until = clock.now() + seconds
        while self.path.exists():
            with file_lock.held(self.path.with_name(self.path.name + ".lock"), block=False) as alone, forks.apart():
                if alone:
                    pool.dispose()
                    return
            if clock.now() >= until:
                _left.append(pool)
                return
            clock.sleep(_LOOK)
        with forks.apart():
            pool.dispose()


def _nothing(_connection: Connection) -> None:
    """Be a piece of work whose whole effect is that the store was opened for it."""


_lock = threading.Lock()
_store: Store | SharedStore | None = None
_place: tuple[Path | None, object] = (
    None,
    None,
)  # the home folder and URL that the store is for: every case asks, so by identity
_left: list[Pool] = []  # what could not be closed safely stays referenced, or the garbage collector would close it
_inherited: list[Store | SharedStore] = []  # of the parent: SQLite forbids a child even to close them, so they stay referenced


def _current() -> Store | SharedStore:
    global _place, _store  # noqa: PLW0603 - one store per process
    home, url = settings.home(create=False), settings.current().database_url
    store = _store
    if store is not None and _place[0] is home and _place[1] is url:
        return store
    here = home / _NAME if url is None else url
    with _lock:
        if _store is not None and _store.path != here:
            _store.finish(0.0)
            _store = None
        if _store is None:
            lifecycle.arm()
            _store = Store(here) if isinstance(here, Path) else SharedStore(here)
        _place = home, url
        return _store


def shared() -> bool:
    """Return whether the store is a PostgreSQL database, which other hosts use too."""
    return settings.current().database_url is not None


def path() -> Path:
    """Return where the embedded store stands, or will: `store.db` in the home folder."""
    return settings.home(create=False) / _NAME


def where() -> object:
    """Return what tells the present store from another; it hides what is secret."""
    return _current().path


def now() -> float:
    """Return the store's own time, in seconds since the epoch: what leases and deadlines are told from.

    In a database that hosts with different clocks share it is the server's.
    """
    return _current().now()


def exists() -> bool:
    """Return whether anything may have been stored here; of a database that is not known without asking it."""
    return shared() or path().exists()


def write(fn: Callable[[Connection], T]) -> Promise[T]:
    """Have a function run in a transaction on the writer's thread, shared with what others ask for meanwhile.

    Args:
        fn: Takes a SQLAlchemy connection. It may be run again after its first run was rolled back, so it changes
            nothing but the store. What it raises undoes only its own changes.

    Returns:
        A future with what `fn` returned, settled once that is on disk. It raises what `fn` raised, or `StoreError`.
        Cancelling it works until the transaction has begun.
    """
    return _current().write(fn)


def read(fn: Callable[[Connection], T], within: float = PATIENCE) -> T:
    """Run a function on one consistent view of the store, in the calling thread; it cannot write.

    Args:
        fn: Takes a SQLAlchemy connection.
        within: Seconds to wait where the store must first be made.

    Raises:
        StoreError: The store cannot be read.
    """
    return _current().read(fn, within)


def read_later(fn: Callable[[Connection], T], within: float = PATIENCE) -> Promise[T]:
    """Do as `read` on a thread of ours, so that an event loop goes on meanwhile."""
    store = _current()
    return store.aside(lambda: store.read(fn, within))


def aside(do: Callable[[], T]) -> Promise[T]:
    """Have anything else that may block done on a thread of ours, one after another."""
    return _current().aside(do)


def result(future: Promise[T], within: float = PATIENCE) -> T:
    """Wait for what `write`, `read_later` or `aside` returned.

    Args:
        future: As returned.
        within: Seconds to wait without anything getting done, for others or for us; then the work is called off unless it
            has begun. A long line that moves is no reason to give up.

    Raises:
        StoreError: Time is up, or the store failed.
    """
    while True:
        done = future.progress()
        try:
            return future.result(within)
        except FutureTimeout:
            if future.progress() == done and not future.done():
                future.cancel()
                raise _too_slow(within) from None


async def result_later(future: Promise[T], within: float = PATIENCE) -> T:
    """Do as `result` without blocking the event loop."""
    waiting = asyncio.wrap_future(future)
    try:
        while True:
            done = future.progress()
            await asyncio.wait((waiting,), timeout=within)
            if waiting.done():
                return waiting.result()
            if future.progress() == done:
                raise _too_slow(within)
    finally:
        waiting.cancel()  # and with it the work, unless it has begun


def _too_slow(within: float) -> StoreError:
    return StoreError(
        f"the store {'in PostgreSQL' if shared() else path()} was not free within {within:g} s",
        hint="see `pg_stat_activity`"
        if shared()
        else "see which program holds store.db or store.db.lock, for instance with `fuser`",
    )


def warm() -> None:
    """Open the store now, so that no call has to.

    Raises:
        StoreError: It cannot be opened.
    """
    result(write(_nothing))
    read(_nothing)


def write_back(seconds: float) -> bool:
    """Empty the store's log, which still holds what was overwritten in the file; return whether that was possible in time.

    Raises:
        StoreError: The store cannot be used.
    """
    return _current().write_back(seconds)


def finish(seconds: float) -> bool:
    """Finish all writing and close the store, within a bound; return whether all was done. Later use opens it again."""
    store = _store
    return True if store is None else store.finish(seconds)


def _in_child() -> None:
    global _lock, _store  # noqa: PLW0603 - as above
    _lock = threading.Lock()
    if _store is not None:
        _inherited.append(_store)
        _store = None


lifecycle.after_fork(_in_child)
lifecycle.at_exit(70, finish)
