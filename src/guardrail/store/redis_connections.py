"""Connections to one Redis server: each command is answered within its seconds, or fails. The only module that imports redis."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else the first lookup of a host imports it, on a thread that a fork would leave behind
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from guardrail import clock

MOST_AT_ONCE: Final = 16  # commands under way; more wait their turn, since it is one processor that feeds them all
ANSWER_SECONDS = 0.1  # the most that the server has for a command, connecting included
FIRST_SECONDS: Final = 0.5  # the same for the first connection, before any call runs
TURN_SECONDS: Final = 1.0  # the most that a command waits for its turn
_CONNECT_SECONDS: Final = 1.0  # a connection that comes too late for the call that asked serves the next one

# Whatever the URL's query says of these: it must not make a call wait longer, and what comes back is bytes.
_OURS: Final[dict[str, Any]] = {
    "socket_connect_timeout": _CONNECT_SECONDS,
    "retry_on_timeout": False,
    "retry_on_error": [],
    "health_check_interval": 0,
    "decode_responses": False,
    "protocol": 2,
    "max_connections": 2**31 - 1,  # the pool only makes connections; how many is counted here
}


class BusyError(Exception):
    """There was no answer in time, and the server is not to blame for it: others of ours stood in front."""


class Connections:
    """Connections of one process, for any thread.

    They are made on threads of their own, since looking up the name of a host knows no time limit.

    Args:
        url: redis://, rediss:// or unix://.

    Raises:
        Exception: The URL has an option that the client does not know.
    """

    def __init__(self, url: str) -> None:
        asked: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # in every release so far
        options = {**asked, **_OURS, "socket_timeout": FIRST_SECONDS, "retry": Retry(NoBackoff(), 0)}
        self._pool: Any = redis.ConnectionPool(**options)
        self._pool.make_connection()  # connects to nothing yet, but finds unknown options
        self._idle: deque[Any] = deque()
        self._turns = threading.BoundedSemaphore(MOST_AT_ONCE)

    def run(self, command: tuple[Any, ...], left: float, well: Callable[[], bool], seconds: float | None = None) -> Any:
        """Return the server's answer.

        Args:
            command: Its parts.
            left: Seconds that the caller has.
            well: Asked after a wait for this command's turn: whether the server still answers the others.
            seconds: That the server has, None for the usual time.

        Raises:
            BusyError: Its turn did not come in time.
            Exception: The server cannot be reached, does not answer in time, or refuses the command.
        """
        end = clock.now() + left
        if not self._turns.acquire(blocking=False):
            if not self._turns.acquire(timeout=min(left, TURN_SECONDS)):
                raise BusyError
            if not well():
                self._turns.release()
                raise BusyError
        try:
            until = min(end, clock.now() + (ANSWER_SECONDS if seconds is None else seconds))
            while True:
                try:
                    connection = self._idle.pop()
                except IndexError:
                    return self._ask(self._connect(until), command, until)
                try:
                    return self._ask(connection, command, until)
                except redis.ConnectionError:
                    continue  # closed while it was idle; no command of ours does harm when it is sent twice
        finally:
            self._turns.release()

    def _ask(self, connection: Any, command: tuple[Any, ...], until: float) -> Any:
        try:
            connection.send_command(*command)
            if not connection.can_read(timeout=max(0.0, until - clock.now())):
                raise redis.TimeoutError  # noqa: TRY301 - so that it ends as the client's own
            answer = connection.read_response()
        except redis.ResponseError:
            self._idle.append(connection)
            raise
        except BaseException:
            connection.disconnect()
            raise
        self._idle.append(connection)
        return answer

    def _connect(self, until: float) -> Any:
        made: Future[Any] = Future()

        def connect() -> None:
            connection = self._pool.make_connection()
            try:
                connection.connect()
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                if made.set_running_or_notify_cancel():
                    made.set_exception(error)
                return
            if made.set_running_or_notify_cancel():
                made.set_result(connection)
            else:
                self._idle.append(connection)

        threading.Thread(target=connect, name="guardrail-redis", daemon=True).start()
        try:
            return made.result(max(0.0, until - clock.now()))
        except FutureTimeout:
            if made.cancel():
                raise redis.TimeoutError from None
            return made.result()

    def close(self) -> None:
        """Close what is idle; a later command connects again."""
        while self._idle:
            self._idle.pop().disconnect()
