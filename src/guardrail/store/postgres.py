"""The store of all processes and hosts that share a PostgreSQL database: many writers, each piece of work a transaction.

Nothing here waits without end for a server that has gone, and nothing makes or changes tables.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from guardrail import clock
from guardrail.settings.values import SecretText
from guardrail.store import forks
from guardrail.store.lane import Lane
from guardrail.store.promise import Promise
from guardrail.store.sqlite import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

T = TypeVar("T")
_WRITERS: Final = 4  # threads, and with them transactions at one time
_TRIES: Final = 3
_SECONDS: Final = 30.0  # for one statement
_CONNECT: Final = 5
_CLOCK_SECONDS: Final = 60.0  # between two looks at the server's clock
_AGAIN: Final = ("40001", "40P01", "57P01", "57P02", "57P03")  # serialisation, deadlock; the server is going down or coming up


class SharedStore:
    """One PostgreSQL database. What `write` runs may run again where nobody knows whether it was committed.

    Args:
        url: As libpq takes it.
    """

    def __init__(self, url: SecretText) -> None:
        self.path = url  # what tells this store from another
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._inbox: queue.SimpleQueue[tuple[Callable[[Connection], Any], Promise[Any]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._waiting = 0
        self._done = 0
        self._lane: Lane | None = None
        self._ahead = 0.0  # seconds that the server's clock is ahead of ours
        self._asked = float("-inf")

    def write(self, fn: Callable[[Connection], T]) -> Promise[T]:
        """Have `fn` run in a transaction of its own; see `engine.write`."""
        future: Promise[T] = Promise(lambda: self._done)
        with self._lock:
            self._inbox.put((fn, future))
            self._waiting += 1
            if self._waiting > self._idle and len(self._threads) < _WRITERS:
                thread = threading.Thread(target=self._serve, args=(self._inbox,), name="guardrail-store", daemon=True)
                try:
                    thread.start()
                except RuntimeError as problem:  # an interpreter that is shutting down starts no thread
                    if not self._threads:
                        future.set_exception(explained(problem))
                else:
                    self._threads.append(thread)
        return future

    def aside(self, do: Callable[[], T]) -> Promise[T]:
        """Have something done on a thread of ours that may block."""
        with self._lock:
            self._lane = self._lane or Lane("guardrail-store-read")
            return self._lane.put(do)

    def read(self, fn: Callable[[Connection], T], _within: float = 0.0) -> T:
        """Run `fn` on one consistent view of the store, in the calling thread; see `engine.read`."""
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError  # noqa: PLC0415 - loaded by who uses the store

        for left in reversed(range(_TRIES)):
            try:
                with self._connected() as connection:
                    seen = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
                    with seen.begin():
                        return fn(seen)
            except SQLAlchemyError as problem:
                if not left or not isinstance(problem, DBAPIError) or not _passing(problem):
                    raise explained(problem) from None
        raise AssertionError

    def now(self) -> float:
        """Return the server's time, as far as is known, in seconds since the epoch."""
        return clock.wall() + self._ahead

    def finish(self, seconds: float) -> bool:
        """Do what was asked for, then close; return whether that was possible in time. Later use opens it again."""
        with self._lock:
            inbox, self._inbox = self._inbox, queue.SimpleQueue()
            threads, self._threads = self._threads, []
            lane, self._lane = self._lane, None
            made, self._engine = self._engine, None
            self._idle = self._waiting = 0
        if lane is not None:
            lane.stop()
        for _ in threads:
            inbox.put(None)
        until = clock.now() + seconds
        for thread in threads:
            thread.join(max(0.0, until - clock.now()))
        done = not any(thread.is_alive() for thread in threads)
        if made is not None and done:
            with forks.apart():
                made.dispose()
        return done

    def write_back(self, _seconds: float) -> bool:
        """Say that the store has no log of its own; what was deleted goes with the server's own cleaning (VACUUM)."""
        return True

    def _serve(self, inbox: queue.SimpleQueue[Any]) -> None:
        while True:
            with self._lock:
                self._idle += inbox is self._inbox
            asked = inbox.get()
            with self._lock:
                if inbox is self._inbox:
                    self._idle -= 1
                    self._waiting -= asked is not None
            if asked is None:
                return
            fn, future = asked
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._through(fn))
                except BaseException as problem:  # noqa: BLE001 - it belongs to whoever waits
                    future.set_exception(problem)
            self._done += 1
            del asked, fn, future  # an idle thread keeps nothing of the user's alive

    def _through(self, fn: Callable[[Connection], T]) -> T:
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError  # noqa: PLC0415 - as above

        for left in reversed(range(_TRIES)):
            try:
                with self._connected() as connection, connection.begin():
                    return fn(connection)
            except SQLAlchemyError as problem:
                if not left or not isinstance(problem, DBAPIError) or not _passing(problem):
                    raise explained(problem) from None
        raise AssertionError

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        with forks.apart():
            made = self._ready()
            pool = made.pool
            try:
                with made.connect() as connection:
                    yield connection
            finally:
                if self._engine is not made:  # the store was closed meanwhile
                    pool.dispose()

    def _ready(self) -> Engine:
        made = self._engine
        if made is None:
            with self._lock:
                made = self._engine
                if made is None:
                    made = self._engine = self._make()
        if clock.now() - self._asked > _CLOCK_SECONDS:
            self._asked = clock.now()
            with made.connect() as connection:
                self._look_at_clock(connection.connection.dbapi_connection)
        return made

    def _make(self) -> Engine:
        from sqlalchemy import create_engine, event  # noqa: PLC0415 - 150 ms, paid by who uses the store
        from sqlalchemy.pool import QueuePool  # noqa: PLC0415 - as above

        try:
            from guardrail.ledger.postgres.link import Bounded  # noqa: PLC0415 - an extra
        except ImportError:
            raise StoreError("the review queue in PostgreSQL needs psycopg", hint="install guardrail-sdk[postgres]") from None

        def connect() -> Any:
            raw = Bounded.connect(
                self.path.reveal(), connect_timeout=_CONNECT, application_name="guardrail",
                keepalives_idle=10, keepalives_interval=5, keepalives_count=3,
            )  # fmt: skip
            raw.each = _SECONDS
            return raw

        made = create_engine(
            "postgresql+psycopg://", creator=connect, poolclass=QueuePool, pool_size=_WRITERS + 2, max_overflow=8, pool_timeout=_SECONDS,
            hide_parameters=True,  # an error must not carry the user's values
        )  # fmt: skip

        def begin(raw: Any, _record: Any) -> None:
            raw.execute("SELECT set_config('statement_timeout', '30s', false), set_config('lock_timeout', '10s', false)")
            raw.execute(
                "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
            )
            self._look_at_clock(raw)
            raw.commit()

        event.listen(made, "connect", begin)
        from guardrail.store import schema  # noqa: PLC0415 - as above

        try:
            with made.connect() as connection:
                schema.check(connection)
        except BaseException:
            made.dispose()
            raise
        return made

    def _look_at_clock(self, raw: Any) -> None:
        before = clock.wall()
        (theirs,) = raw.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        self._ahead = theirs - (before + clock.wall()) / 2
        self._asked = clock.now()


def _passing(problem: Any) -> bool:
    """Return whether another try may go well: the connection was lost, or transactions got into each other's way."""
    return bool(problem.connection_invalidated) or getattr(problem.orig, "sqlstate", None) in _AGAIN


def explained(problem: BaseException) -> StoreError:
    """Return what went wrong as a `StoreError`, without a word of the server's, which may quote what was sent."""
    if isinstance(problem, StoreError):
        return StoreError(str(problem.args[0]), hint=problem.hint)
    original = getattr(problem, "orig", problem)
    code = getattr(original, "sqlstate", None)
    if code is not None:
        return StoreError(
            f"the review queue in PostgreSQL: the server answers {code} ({type(original).__name__})",
            hint="the server's log says more; `guardrail doctor` tries it",
        )
    try:
        from guardrail.ledger.postgres.link import explained as said  # noqa: PLC0415 - an extra
    except ImportError:
        return StoreError(f"the review queue in PostgreSQL: {type(original).__name__}", hint="`guardrail doctor` tries it")
    text = said(original).strerror if isinstance(original, Exception) else type(original).__name__
    return StoreError(f"the review queue in PostgreSQL: {text}", hint="see that the server is up: `guardrail doctor`")
