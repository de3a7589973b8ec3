"""Appends records to a Redis stream, each once: a script keeps the last number of each lane beside the stream."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import orjson

from guardrail import clock
from guardrail.delivery.address import Address, Option, count
from guardrail.delivery.plain import kind, parsed
from guardrail.delivery.sink import Caps, Item, Result, ok, retry
from guardrail.errors import ConfigError

_KEY: Final = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_DATABASE: Final = re.compile(r"/?|/[0-9]{1,5}/?")
_REFUSED: Final = ("NOAUTH", "WRONGPASS", "NOPERM")
# Both keys share a hash tag, so that a cluster keeps them together. What is not newer than its lane's last number is there.
_SCRIPT: Final = """
local added = 0
for at = 2, #ARGV, 4 do
    local last = tonumber(redis.call('HGET', KEYS[2], ARGV[at]) or '0')
    local seq = tonumber(ARGV[at + 1])
    if seq > last then
        local what = {'id', ARGV[at] .. '/' .. ARGV[at + 1], 'kind', ARGV[at + 2], 'record', ARGV[at + 3]}
        if ARGV[1] == '0' then
            redis.call('XADD', KEYS[1], '*', unpack(what))
        else
            redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(what))
        end
        redis.call('HSET', KEYS[2], ARGV[at], seq)
        added = added + 1
    end
end
return added
"""


def _key(word: str, where: str) -> str:
    if not _KEY.fullmatch(word):
        raise ConfigError(f"{where} is not a name for a stream", hint="use letters, digits and _ . : -")
    return word


class RedisSink:
    """The sink of `redis://host:6379/0` and `rediss://…`.

    Args:
        address: Where, with options.

    Raises:
        ConfigError: The URL does not say host and database number.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "stream": Option(_key, "guardrail", "the stream's key; the last number of each lane is kept in `{<key>}:delivered`"),
        "maxlen": Option(count(10**12), None, "about how many entries the stream keeps; all of them if not given"),
    }
    caps = Caps(items=500, size=4_000_000)

    def __init__(self, address: Address) -> None:
        if not address.host or not _DATABASE.fullmatch(address.path):
            raise ConfigError(f"{address.where} does not say host and database number", hint='write "redis://host:6379/0"')
        self._address = address
        self._stream: str = address.options["stream"]
        self._client: Any = None
        self._script: Any = None

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Append a batch in one step; what is in the stream already is left out."""
        import redis  # noqa: PLC0415 - an extra

        values: list[Any] = [self._address.options["maxlen"] or 0]
        for item in batch:
            values += [item.lane, item.seq, kind(parsed(item)), item.line]
        try:
            self._connected()
            self._script(keys=[self._stream, f"{{{self._stream}}}:delivered"], args=values)
        except redis.RedisError as problem:
            self.close()
            return [_result(problem)] * len(batch)
        return [ok] * len(batch)

    def probe(self) -> str:
        """Append a record that says what it is to the stream `<key>:test`, which vanishes after ten seconds.

        Raises:
            OSError: The server cannot be used.
        """
        import redis  # noqa: PLC0415 - an extra

        test = orjson.dumps({"event": "test", "sink": self._address.name, "text": "a test record of guardrail"})
        try:
            client = self._connected()
            client.xadd(f"{self._stream}:test", {"id": f"test/{int(clock.wall() * 1e6)}", "record": test}, maxlen=1)
            client.expire(f"{self._stream}:test", 10)
        except redis.RedisError as problem:
            self.close()
            raise OSError(5, _result(problem).reason) from None
        return f"the stream {self._stream}:test takes a test record"

    def close(self) -> None:
        """Hang up."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.close()

    def _connected(self) -> Any:
        if self._client is None:
            import redis  # noqa: PLC0415 - an extra
            from redis.backoff import NoBackoff  # noqa: PLC0415 - as above
            from redis.retry import Retry  # noqa: PLC0415 - as above

            where = self._address
            tls: dict[str, Any] = {"ssl": True, "ssl_cert_reqs": "none" if where.options["insecure"] else "required"}
            self._client = redis.Redis(
                host=where.host, port=where.port or 6379, db=int(where.path.strip("/") or 0),
                username=None if where.user is None else where.user.reveal(),
                password=None if where.password is None else where.password.reveal(),
                socket_timeout=where.timeout, socket_connect_timeout=where.timeout, retry=Retry(NoBackoff(), 0),
                **(tls if where.scheme == "rediss" else {}),
            )  # fmt: skip
            self._script = self._client.register_script(_SCRIPT)
        return self._client


def _result(problem: Any) -> Result:
    import redis  # noqa: PLC0415 - an extra

    if isinstance(problem, redis.AuthenticationError) or str(problem).startswith(_REFUSED):
        return retry(reason="Redis does not let us in", credentials=True)
    if isinstance(problem, redis.ConnectionError | redis.TimeoutError):
        return retry(reason="Redis does not answer")
    word = str(problem).split(" ", 1)[0]
    return retry(reason=f"Redis answers {word}" if word.isalpha() and word.isupper() else "Redis answers with an error")
