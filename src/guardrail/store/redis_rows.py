"""The rows of a cache that processes share, in Redis: a port whose operations never wait long and never raise.

A row stands under its key with a time to live; beside it, while one call is finding out, a lease: a random token that only
its holder can remove, and that goes by itself when the holder dies. What a script does, the server does at once.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock, lifecycle, notices
from guardrail.errors import ConfigError, GuardrailError

if TYPE_CHECKING:
    from guardrail.settings import SecretText

LEAST_SECONDS: Final = 0.001  # with less time left it is not worth asking
MUCH: Final = 3600.0  # seconds that a call has that has no deadline
FIRST_PAUSE: Final = 0.1  # seconds in which a server that failed is not asked again; doubled at each further failure
LONGEST_PAUSE: Final = 5.0
_FORGET_SECONDS: Final = 5.0
_PAGE: Final = 1000  # keys

# KEYS: row, lease. ARGV: token, lease in ms, the most bytes of a row, the time to live (ms) of a row that is known already.
# Answers: ["row", body, time to live], ["lead"] (find out) or ["wait"] (another one is finding out).
_LOOK: Final = """
local size = redis.pcall('STRLEN', KEYS[1])
if type(size) == 'number' and size > 0 and size <= tonumber(ARGV[3]) then
  local left = redis.call('PTTL', KEYS[1])
  if left > tonumber(ARGV[4]) then return {'row', redis.call('GET', KEYS[1]), left} end
end
if redis.pcall('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'lead'} end
if redis.pcall('GET', KEYS[2]) == ARGV[1] then return {'lead'} end
return {'wait'}
"""
# KEYS: row. ARGV: the most bytes. Answers: ["row", body, time to live] or ["none"].
_PEEK: Final = """
local size = redis.pcall('STRLEN', KEYS[1])
if type(size) == 'number' and size > 0 and size <= tonumber(ARGV[1]) then
  return {'row', redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
end
return {'none'}
"""
# KEYS: row, lease. ARGV: token, body, time to live (ms), "1" to store without the lease. Answers: ["kept"] or ["lost"].
# A lease that is gone before its time was taken away by a reset, whose end the answer must not outlive.
_STORE: Final = """
local mine = redis.pcall('GET', KEYS[2]) == ARGV[1]
if not mine and ARGV[4] ~= '1' then return {'lost'} end
local done = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if mine then redis.call('DEL', KEYS[2]) end
if done.err then return done end
return {'kept'}
"""
# KEYS: lease. ARGV: token.
_RELEASE: Final = "if redis.pcall('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return {'gone'}"
_SCRIPTS: Final = {"look": _LOOK, "peek": _PEEK, "store": _STORE, "release": _RELEASE}


class _Health:
    """Whether the server is asked at all: after a failure it is left alone for a while, then one call tries it out."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._lock = threading.Lock()
        self._pause = 0.0
        self._until: float | None = None  # monotonic; None while all is well
        self._trying = False

    def allows(self) -> bool:
        """Return whether to ask; who is told so must report what came of it."""
        until = self._until
        if until is None:
            return True
        with self._lock:
            if self._trying or clock.now() < until:
                return False
            self._trying = True
            return True

    def well(self) -> bool:
        """Return whether nothing is known against the server."""
        return self._until is None

    def pauses(self) -> bool:
        """Return whether the server is left alone now."""
        until = self._until
        return until is not None and (self._trying or clock.now() < until)

    def worked(self) -> None:
        """Note an answer."""
        if self._until is not None:
            with self._lock:
                self._until, self._pause, self._trying = None, 0.0, False

    def undecided(self) -> None:
        """Note that nothing was learned."""
        self._trying = False

    def failed(self, error: Exception) -> None:
        """Note a failure."""
        with self._lock:
            if self._until is None or self._trying:  # calls that failed together count as one
                self._pause = min(LONGEST_PAUSE, self._pause * 2 or FIRST_PAUSE)
                self._until = clock.now() + self._pause
            self._trying = False
        notices.say(
            "cache",
            f"the shared cache at {self._shown} does not answer ({type(error).__name__}): calls are answered without it,"
            " and it is tried again every few seconds",
        )


class RedisRows:
    """One server, as this process sees it. A port: `now` and `later` take (verb, keys, args, seconds left).

    They return the answer of the verb's script, or None: the server is dead, slow, or left alone after a failure.

    Args:
        url: Where it is.

    Raises:
        ConfigError: The redis client is not installed, or does not know an option in the URL.
    """

    def __init__(self, url: SecretText) -> None:
        try:
            from guardrail.store import redis_connections as client  # noqa: PLC0415 - an extra
        except ImportError as problem:
            raise ConfigError("GUARDRAIL_CACHE_URL needs the extra redis", hint='pip install "guardrail-sdk[redis]"') from problem
        try:
            self._connections = client.Connections(url.reveal())
        except Exception as problem:  # noqa: BLE001 - whatever the client makes of the options
            raise ConfigError(
                f"the redis client cannot use GUARDRAIL_CACHE_URL ({type(problem).__name__})",
                hint="look at the options after its question mark",
            ) from None  # the text may hold the URL
        self._busy = client.BusyError
        self._threads = client.MOST_AT_ONCE
        self._first = client.FIRST_SECONDS
        self._patience = client.TURN_SECONDS + client.ANSWER_SECONDS
        self._executor: ThreadPoolExecutor | None = None
        self._health = _Health(str(url))

    def now(self, verb: str, keys: tuple[str, ...], args: tuple[Any, ...], left: float | None = None) -> Any:
        """Do something with rows, blocking the calling thread."""
        return self._run(("EVAL", _SCRIPTS[verb], len(keys), *keys, *args), MUCH if left is None else left)

    def _run(self, command: tuple[Any, ...], left: float, seconds: float | None = None) -> Any:
        if left < LEAST_SECONDS or not self._health.allows():
            return None
        try:
            answer = self._connections.run(command, left, self._health.well, seconds)
        except self._busy:
            self._health.undecided()
            return None
        except Exception as error:  # noqa: BLE001 - a cache that fails is a miss
            self._health.failed(error)
            return None
        except BaseException:
            self._health.undecided()
            raise
        self._health.worked()
        return answer

    async def later(self, verb: str, keys: tuple[str, ...], args: tuple[Any, ...], left: float | None = None) -> Any:
        """Do something with rows without blocking the event loop.

        On a thread: so all loops share the connections, none of which outlives its loop, and a loop that is busy does not make
        the server look slow.
        """
        if (left is not None and left < LEAST_SECONDS) or self._health.pauses():
            return None
        until = clock.now() + (MUCH if left is None else left)
        work = asyncio.wrap_future(self._submit(lambda: self.now(verb, keys, args, until - clock.now())))
        try:
            async with asyncio.timeout(min(until - clock.now(), self._patience)):
                return await work
        except TimeoutError:  # it stands behind others; whether the server is to blame, its thread finds out
            return None

    def _submit(self, work: Callable[[], Any]) -> Future[Any]:
        executor = self._executor
        if executor is None:
            executor = self._executor = ThreadPoolExecutor(self._threads, "guardrail-redis")
        return executor.submit(work)

    def connect(self, *, wait: bool) -> None:
        """Connect before a call needs it, or begin to; a server that is not there is noticed, not raised."""
        work = functools.partial(self._run, ("PING",), MUCH, self._first)
        if wait:
            work()
        else:
            self._submit(work)

    def forget(self, prefix: str) -> int:
        """Delete every key that begins with a prefix of letters, digits, `%`, `:`, `-`, `.`, `_` and `~`; return how many.

        A `*` in it stands for anything.

        Raises:
            GuardrailError: It could not be done, or not in time.
        """
        until, gone = clock.now() + _FORGET_SECONDS, 0
        try:
            for keys in self._pages(prefix, until):
                gone += self._patiently(("UNLINK", *keys), until) if keys else 0
        except Exception as error:  # noqa: BLE001 - whatever the client raises
            raise GuardrailError(
                f"the shared cache could not be emptied ({type(error).__name__}): other processes may still give its answers",
                policy="cache",
                hint="try again, or give the guard another version",
            ) from None
        return gone

    def _pages(self, prefix: str, until: float) -> Iterator[list[Any]]:
        cursor: Any = b"0"
        while True:
            cursor, keys = self._patiently(("SCAN", cursor, "MATCH", f"{prefix}*", "COUNT", _PAGE), until)
            yield keys
            if cursor == b"0":
                return

    def _patiently(self, command: tuple[Any, ...], until: float) -> Any:
        left = until - clock.now()
        if left <= 0:
            raise TimeoutError
        return self._connections.run(command, left, lambda: True, left)

    def count(self, prefix: str) -> int:
        """Return how many keys begin with a prefix as in `forget`.

        Raises:
            GuardrailError: The server cannot be asked, or not in time.
        """
        until = clock.now() + _FORGET_SECONDS
        try:
            return sum(len(keys) for keys in self._pages(prefix, until))
        except Exception as error:  # noqa: BLE001 - whatever the client raises
            raise GuardrailError(
                f"the shared cache could not be looked through ({type(error).__name__})",
                policy="cache",
                hint="try again when the server of GUARDRAIL_CACHE_URL answers; `guardrail doctor` asks it",
            ) from None

    def close(self) -> None:
        """Close what is idle; a later call begins anew."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)
        self._connections.close()


_servers: dict[SecretText, RedisRows] = {}
_lock = threading.Lock()


def at(url: SecretText) -> RedisRows:
    """Return the server at a URL, of which a process has one.

    Raises:
        ConfigError: As `RedisRows`.
    """
    with _lock:
        server = _servers.get(url)
        if server is None:
            server = _servers[url] = RedisRows(url)
        return server


def _close(_seconds: float) -> bool:
    while _servers:
        _servers.popitem()[1].close()
    return True


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - a fresh lock, and connections of its own: the inherited ones belong to the parent
    _lock = threading.Lock()
    _servers.clear()


lifecycle.at_exit(90, _close)
lifecycle.after_fork(_in_child)
