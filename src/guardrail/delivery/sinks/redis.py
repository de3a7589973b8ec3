"""Appends records to a Redis stream, each once: beside the stream a script keeps a bit for each record that is in it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import orjson

from guardrail import clock
from guardrail.delivery import trust
from guardrail.delivery.address import Address, Option, count
from guardrail.delivery.answers import why
from guardrail.delivery.aside import Aside
from guardrail.delivery.plain import kind, parsed
from guardrail.delivery.sink import Caps, Item, Result, ok, retry
from guardrail.errors import ConfigError

_KEY: Final = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_DATABASE: Final = re.compile(r"/?|/[0-9]{1,5}/?")
_REFUSED: Final = re.compile(r"\b(NOAUTH|WRONGPASS|NOPERM)\b|can't run this command")
_CODE: Final = re.compile(r"[A-Z]{2,20}(?= )")
_PAGE: Final = 2**20  # records whose bits share a key: 128 KiB
_REMEMBERED: Final = 7 * 86_400  # seconds after the last of them
# A bit for each record rather than the last number of its lane: one that comes late, as a dead letter does that is sent again, is
# told from one that is there. The bit is set last, so that what was not appended is never taken for there.
_SCRIPT: Final = """
local added = 0
local touched = {}
for at = 3, #ARGV, 5 do
    local bits = KEYS[tonumber(ARGV[at])]
    local place = tonumber(ARGV[at + 1])
    if redis.call('GETBIT', bits, place) == 0 then
        local what = {'id', ARGV[at + 2], 'kind', ARGV[at + 3], 'record', ARGV[at + 4]}
        if ARGV[1] == '0' then
            redis.call('XADD', KEYS[1], '*', unpack(what))
        else
            redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(what))
        end
        redis.call('SETBIT', bits, place, 1)
        touched[bits] = true
        added = added + 1
    end
end
for bits in pairs(touched) do
    redis.call('EXPIRE', bits, ARGV[2])
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
        ConfigError: The URL does not say host and database number, or would send a password in plain text.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "stream": Option(
            _key, "guardrail", "the stream's key; what is in it is noted in keys that begin with `{<key>}:delivered:`"
        ),
        "maxlen": Option(count(10**12), None, "about how many entries the stream keeps; all of them if not given"),
        **trust.FILES,
    }
    caps = Caps(items=500, size=4_000_000)

    def __init__(self, address: Address) -> None:
        if not address.host or "," in address.host or not _DATABASE.fullmatch(address.path):
            raise ConfigError(f"{address.where} does not say one host and a database number", hint='write "redis://host:6379/0"')
        loopback = address.host in {"localhost", "127.0.0.1", "::1"}
        if address.password is not None and address.scheme == "redis" and not loopback and not address.options["insecure"]:
            raise ConfigError(
                f"{address.where} would send a password in plain text",
                hint="write rediss://, or add insecure=true where the network is yours",
            )
        self._address = address
        self._trusted = trust.Trust.of(address)
        self._stream: str = address.options["stream"]
        self._client: Any = None
        self._aside: Aside[Any] = Aside(address.timeout)
        self._script: Any = None

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Append a batch in one step; what is in the stream already is left out."""
        import redis  # noqa: PLC0415 - an extra

        if not batch:
            return []
        values: list[Any] = [self._address.options["maxlen"] or 0, _REMEMBERED]
        keys = {self._stream: 1}  # and their places
        for item in batch:
            page, place = divmod(item.seq, _PAGE)
            # They share a hash tag with the stream, so that a cluster keeps them together.
            bits = keys.setdefault(f"{{{self._stream}}}:delivered:{item.lane}:{page}", len(keys) + 1)
            values += [bits, place, item.id, kind(parsed(item)), item.line]
        try:
            self._connected()
            self._aside.call(lambda: self._script(keys=list(keys), args=values))
        except TimeoutError:
            self.close()
            return [retry(reason="it did not answer in time")] * len(batch)
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
            fields: dict[Any, Any] = {"id": f"test/{int(clock.wall() * 1e6)}", "record": test}
            self._aside.call(lambda: client.xadd(f"{self._stream}:test", fields, maxlen=1))
            self._aside.call(lambda: client.expire(f"{self._stream}:test", 10))
        except TimeoutError:
            self.close()
            raise OSError(5, "it did not answer in time") from None
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
            insecure = where.options["insecure"]
            tls: dict[str, Any] = {
                "ssl": True, "ssl_cert_reqs": "none" if insecure else "required", "ssl_check_hostname": not insecure,
                "ssl_ca_certs": self._trusted.ca, "ssl_certfile": self._trusted.cert, "ssl_keyfile": self._trusted.key or self._trusted.cert,
            }  # fmt: skip
            if where.scheme == "rediss":
                self._trusted.tell()
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
    from redis.exceptions import NoPermissionError  # noqa: PLC0415 - as above

    if isinstance(problem, redis.AuthenticationError | NoPermissionError) or _REFUSED.search(str(problem)):
        return retry(reason="it does not let us in", credentials=True)
    if isinstance(problem, redis.ConnectionError | redis.TimeoutError):
        cause = problem.__cause__ or problem.__context__
        return retry(reason=why(cause) if isinstance(cause, OSError) else "it does not answer")
    if "WRONGTYPE" in str(problem):
        return retry(reason="its key holds something else than a stream")
    said = _CODE.match(str(problem))
    return retry(reason=f"Redis answers {said[0]}" if said else "Redis answers with an error")
