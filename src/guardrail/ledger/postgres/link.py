"""A connection to PostgreSQL that holds up nobody: every answer comes within its seconds, or counts as none."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final

import psycopg
from psycopg import waiting

from guardrail import clock
from guardrail.ledger.postgres import schema

CONNECT_SECONDS: Final = 5  # the most that one try may take on its own thread
READ_SECONDS: Final = 30.0
_FIRST_PAUSE: Final = 0.1  # seconds until the next try to connect, doubled each time
_LONGEST_PAUSE: Final = 5.0
_REASONS: Final = (
    ("connection refused", "nothing listens where PostgreSQL should"),
    ("timeout expired", "PostgreSQL does not answer"),
    ("authentication failed", "PostgreSQL does not accept user and password"),
    ("no pg_hba.conf entry", "PostgreSQL does not let this host or user in"),
    ("does not exist", "PostgreSQL has no such database or user"),
    ("host name", "the name of PostgreSQL's host is not known"),
    ("starting up", "PostgreSQL is starting up"),
    ("shutting down", "PostgreSQL is shutting down"),
    ("too many", "PostgreSQL has no connection left"),
    ("certificate", "PostgreSQL's certificate is not accepted"),
)
_LOST: Final = ("08", "57P")  # classes of errors after which nobody knows whether a statement took effect

_inherited: list[Any] = []  # a parent's connections: a child must not close them in the server's eyes


class Away(OSError):
    """The database does not answer, or takes nothing now. The text says why, without anything of the URL.

    Attributes:
        certain: Whether what was sent has certainly had no effect.
        refused: Whether the server has answered and refused, so that the connection is as good as before.
    """

    def __init__(self, text: str, *, certain: bool = True, refused: bool = False) -> None:
        super().__init__(errno.EHOSTUNREACH, text)
        self.certain = certain
        self.refused = refused


class Bounded(psycopg.Connection[Any]):
    """A connection whose answers come until a moment (monotonic), or within seconds each, or not at all."""

    until: float = float("inf")
    each: float = float("inf")

    def wait(self, gen: Any, *_: Any, **__: Any) -> Any:
        """Run one of psycopg's generators: it says what it waits for, and is told what is ready."""
        end = min(self.until, clock.now() + self.each)
        poll = select.poll()
        handle = self.pgconn.socket
        poll.register(handle, 0)
        try:
            wants = next(gen)
            while True:
                events = select.POLLIN if wants & waiting.WAIT_R else 0
                poll.modify(handle, events | (select.POLLOUT if wants & waiting.WAIT_W else 0))
                left = end - clock.now()
                found = poll.poll(None if left == float("inf") else max(0.0, left) * 1e3)
                if not found:
                    raise psycopg.OperationalError("no answer in time")
                event = found[0][1]
                ready = waiting.READY_R if event & ~select.POLLOUT else waiting.READY_NONE  # errors show when it is read
                if event & select.POLLOUT:
                    ready = waiting.Ready(ready | waiting.READY_W)
                wants = gen.send(ready)
        except StopIteration as end:
            return end.value


class Link:
    """One connection, used by one thread at a time, made anew where it was lost.

    It is made on a thread of its own, since looking up the name of a host knows no time limit.

    Args:
        url: As libpq takes it.
        writing: Whether it is for writing: then a server that takes no writes now counts as away.
    """

    def __init__(self, url: str, *, writing: bool = True) -> None:
        self._connection: Bounded | None = None
        self._pid = os.getpid()
        self._url = url
        self._writing = writing
        self._pending: Future[Bounded] | None = None
        self._retry_at = 0.0
        self._pause = 0.0
        self._why: OSError = Away("PostgreSQL was not asked yet")

    def __del__(self) -> None:
        if os.getpid() == self._pid:
            self.drop()

    def __repr__(self) -> str:
        return "Link(***)"

    @property
    def up(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None and not self._connection.closed

    def ready(self, seconds: float) -> Bounded:
        """Return the connection, after waiting for it so long at most; what is tried goes on without the caller.

        Raises:
            Away: There is none yet.
            SchemaRefused: The database is not one that this release can use.
        """
        if self.up:
            assert self._connection is not None  # noqa: S101 - as `up` says
            return self._connection
        self._connection = None
        if self._pending is None:
            if clock.now() < self._retry_at:
                raise self._why
            self._pending = Future()
            threading.Thread(target=self._connect, args=(self._pending,), name="guardrail-database", daemon=True).start()
        try:
            self._connection = self._pending.result(max(0.0, seconds))
        except FutureTimeout:
            raise Away("PostgreSQL does not answer") from None
        except OSError as problem:
            self._pending, self._why = None, problem
            self._pause = min(max(_FIRST_PAUSE, self._pause * 2), _LONGEST_PAUSE)
            self._retry_at = clock.now() + self._pause
            raise
        self._pending = None
        self._pause = self._retry_at = 0.0
        return self._connection

    def run(self, query: str, values: Sequence[Any] | Mapping[str, Any] = (), *, seconds: float = READ_SECONDS) -> list[Any]:
        """Run one statement, a transaction of its own unless inside `transaction`; return its rows.

        Raises:
            Away: It was not answered, or refused.
            SchemaRefused: As for `ready`.
        """
        until = clock.now() + seconds
        connection = self.ready(seconds)
        connection.until = min(until, connection.until) if connection.info.transaction_status else until
        try:
            cursor = connection.execute(query.encode(), values, binary=True)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as problem:
            raise self._gone(problem) from None
        finally:
            if not connection.closed and not connection.info.transaction_status:
                connection.until = float("inf")

    def many(self, query: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each row of values, inside `transaction`."""
        for each in rows:
            self.run(query, each)

    @contextlib.contextmanager
    def transaction(self, seconds: float) -> Iterator[None]:
        """Do what is in the block in one transaction, which has to end within these seconds.

        Raises:
            Away: It has not been committed, or nobody knows.
        """
        until = clock.now() + seconds
        connection = self.ready(seconds)
        connection.until = until
        try:
            connection.execute("BEGIN")
            yield
            connection.execute("COMMIT")
        except psycopg.Error as problem:
            raise self._gone(problem) from None
        finally:
            if not connection.closed:
                if connection.info.transaction_status:
                    with contextlib.suppress(psycopg.Error):
                        connection.execute("ROLLBACK")
                connection.until = float("inf")

    def drop(self) -> None:
        """Close the connection; the next use makes another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def abandon(self) -> None:
        """Forget the connection; in a forked child it is the parent's, and is not closed."""
        if os.getpid() == self._pid:
            self.drop()
            return
        _inherited.append((self._connection, self._pending))
        self._connection = self._pending = None

    def _gone(self, problem: psycopg.Error) -> Away:
        code = problem.sqlstate
        if code is None or code.startswith(_LOST):
            self.drop()
            return Away("PostgreSQL does not answer" if code is None else schema.said(problem), certain=False)
        if code.startswith("25"):  # it takes no writes: another try should find the server that does
            self.drop()
        return Away(schema.said(problem), refused=True)

    def _connect(self, made: Future[Bounded]) -> None:
        connection: Bounded | None = None
        try:
            connection = Bounded.connect(
                self._url, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="guardrail",
                keepalives_idle=10, keepalives_interval=5, keepalives_count=3,
            )  # fmt: skip
            connection.prepare_threshold = 2
            connection.until = clock.now() + CONNECT_SECONDS
            schema.begin(connection, writing=self._writing)
            connection.until = float("inf")
        except (psycopg.Error, OSError) as problem:
            if connection is not None:
                connection.close()
            made.set_exception(explained(problem))
        except Exception as problem:  # noqa: BLE001 - raised where the connection is wanted, without its text
            made.set_exception(Away(f"PostgreSQL cannot be used ({type(problem).__name__})"))
        else:
            made.set_result(connection)


def explained(problem: Exception) -> OSError:
    """Return what went wrong when connecting, in words of our own."""
    if isinstance(problem, OSError):
        return problem
    if isinstance(problem, psycopg.ProgrammingError) and problem.sqlstate is None:
        return Away("GUARDRAIL_DATABASE_URL is not what libpq takes: one of its options is unknown, or it is misspelled")
    if isinstance(problem, psycopg.Error) and problem.sqlstate is not None:
        return Away(schema.said(problem))
    text = str(problem).lower()  # a server that refuses to connect gives no code; of its words only what it comes to is repeated
    return Away(next((said for word, said in _REASONS if word in text), "PostgreSQL cannot be reached"))
