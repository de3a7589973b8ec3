"""Publishes records to NATS JetStream, with ids by which the stream leaves out duplicates."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, ClassVar, Final

import orjson

from guardrail import clock, notices
from guardrail.delivery import trust
from guardrail.delivery.address import Address, Option
from guardrail.delivery.answers import why
from guardrail.delivery.plain import kind, parsed
from guardrail.delivery.sink import Caps, Item, Result, ok, reject, retry
from guardrail.errors import ConfigError
from guardrail.settings.values import flag, text

_SUBJECT: Final = re.compile(r"/[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){0,15}")
_GRACE: Final = 1.0  # seconds in which the loop itself must come back
_WINDOW: Final = 900.0  # seconds in which a stream of ours leaves out duplicates: tries are up to 300 apart
_REFUSED: Final = ("authorization violation", "authentication", "permissions violation")


class NatsSink:
    """The sink of `nats://host:4222/subject` and, over TLS, of `nats+tls://…`.

    Args:
        address: Where, with options. Without a user the password is a token.

    Raises:
        ConfigError: The URL does not say host and subject, or would send a secret in plain text.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "stream": Option(text, None, "the stream that must take the subject; whichever does, if not given"),
        "create": Option(flag, False, "make the stream where it is missing"),  # noqa: FBT003 - a default
        **trust.OPTIONS,
    }
    caps = Caps(items=500, size=4_000_000, item_size=900_000)

    def __init__(self, address: Address) -> None:
        if not address.host or "," in address.host or not _SUBJECT.fullmatch(address.path):
            raise ConfigError(
                f"{address.where} does not say one host and a subject", hint='write "nats://host:4222/guardrail.records"'
            )
        loopback = address.host in {"localhost", "127.0.0.1", "::1"}
        if address.password is not None and address.scheme == "nats" and not loopback and not address.options["insecure"]:
            raise ConfigError(f"{address.where} would send a secret in plain text", hint="write nats+tls://")
        if address.options["create"] and not address.options["stream"]:
            raise ConfigError(f"{address.where} does not name the stream to make", hint="write stream=GUARDRAIL&create=true")
        self._address = address
        self._trusted = trust.Trust.of(address)
        self._subject = address.path[1:]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._client: Any = None
        self._refused = False  # whether the server has told that we may not publish: the message itself only gets no answer

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Publish a batch in order and wait for the stream's acknowledgements."""
        try:
            return self._run(self._publish(batch))
        except Exception as problem:  # noqa: BLE001 - nats-py raises whatever its sockets do
            result = self._result(problem)
            self.close()
            return [result] * len(batch)

    def probe(self) -> str:
        """Publish a record that says what it is.

        Raises:
            OSError: It was not acknowledged.
        """
        test = orjson.dumps({"event": "test", "sink": self._address.name, "text": "a test record of guardrail"})
        (result,) = self.send([Item("test", int(clock.wall() * 1e6), test)])
        if result.kind != "ok":
            raise OSError(5, result.reason)
        return f"the stream of {self._subject} takes a test record"

    def close(self) -> None:
        """Hang up, and end the loop."""
        loop, client, self._loop, self._client = self._loop, self._client, None, None
        if loop is None or self._pid != os.getpid():
            return  # in a forked child the connection is the parent's
        if client is not None:
            with contextlib.suppress(Exception):
                asyncio.run_coroutine_threadsafe(client.close(), loop).result(_GRACE)
        loop.call_soon_threadsafe(loop.stop)

    async def _publish(self, batch: Sequence[Item]) -> list[Result]:
        timeout = self._address.timeout
        stream = await asyncio.wait_for(self._connected(), timeout)
        sent = [
            asyncio.ensure_future(
                stream.publish(
                    self._subject, item.line, timeout=timeout, stream=self._address.options["stream"],
                    headers={"Nats-Msg-Id": item.id, "kind": kind(parsed(item))},
                )
            )
            for item in batch
        ]  # fmt: skip
        # Its own timeout is for the answer: on a connection that has just broken it waits for ever to be rid of the question.
        _, late = await asyncio.wait(sent, timeout=timeout)
        for each in late:
            each.cancel()
        answers = await asyncio.gather(*sent, return_exceptions=True)
        results = [self._result(each) if isinstance(each, BaseException) else ok for each in answers]
        if any(each.kind == "retry" for each in results):
            client, self._client = self._client, None
            await _hang_up(client)
        return results

    async def _connected(self) -> Any:
        from nats.aio.client import Client  # noqa: PLC0415 - an extra
        from nats.js.api import StreamConfig  # noqa: PLC0415 - as above
        from nats.js.errors import NotFoundError  # noqa: PLC0415 - as above

        if self._client is None or not self._client.is_connected:
            where = self._address
            secret = None if where.password is None else where.password.reveal()
            given: dict[str, Any] = {"token": secret} if where.user is None else {"user": where.user.reveal(), "password": secret}
            if where.scheme == "nats+tls":
                given |= {"tls": self._trusted.context(), "tls_hostname": self._trusted.named(where.host)}
            client = Client()
            self._refused = False
            try:
                await client.connect(
                    f"nats://{where.host}:{where.port or 4222}", name="guardrail", allow_reconnect=False, max_reconnect_attempts=0,
                    connect_timeout=max(1, int(where.timeout)), error_cb=self._hear, **{name: each for name, each in given.items() if each is not None},
                )  # fmt: skip
            except BaseException:
                await _hang_up(client)  # a server that does not let us in has left a connection
                raise
            self._client = client
            if where.options["create"]:
                manager = self._client.jsm(timeout=where.timeout)
                try:
                    await manager.stream_info(where.options["stream"])
                except NotFoundError:
                    await manager.add_stream(
                        StreamConfig(name=where.options["stream"], subjects=[self._subject], duplicate_window=_WINDOW)
                    )
            notices.say(
                f"sink-{where.name}-sync",
                f"the sink {where.name}: a NATS server acknowledges before its disk has a record, unless its sync_interval is"
                " `always` or the stream has replicas",
            )
        return self._client.jetstream(timeout=self._address.timeout)

    async def _hear(self, problem: Exception) -> None:
        """Take note of what the server says about us, instead of nats-py, which would log it."""
        self._refused = self._refused or _is_refusal(problem)

    def _result(self, problem: BaseException) -> Result:
        if isinstance(problem, trust.NotReadable):
            return retry(reason=str(problem), credentials=True)
        name = type(problem).__name__
        if self._refused or _is_refusal(problem):
            return retry(reason="it does not let us in", credentials=True)
        if name in {"NoStreamResponseError", "NotFoundError"}:
            return retry(reason="NATS has no stream for the subject: make one, or write stream=NAME&create=true")
        if name == "MaxPayloadError":
            return reject("it is longer than NATS takes")
        if name in {"APIError", "BadRequestError", "ServerError"}:
            return retry(reason=f"NATS answers with an error ({getattr(problem, 'err_code', None) or name})")
        if isinstance(problem, TimeoutError | asyncio.CancelledError):
            return retry(reason="it did not answer in time")
        return retry(reason=why(problem) if isinstance(problem, OSError) else "it does not answer")

    def _run(self, work: Coroutine[Any, Any, list[Result]]) -> list[Result]:
        """Run on a loop of our own, on a thread of its own; a forked child makes another."""
        if self._loop is None or self._pid != os.getpid():
            self._loop, self._pid, self._client = asyncio.new_event_loop(), os.getpid(), None
            threading.Thread(target=_serve, args=(self._loop,), name="guardrail-nats", daemon=True).start()
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(2 * self._address.timeout + _GRACE)
        except FutureTimeout:
            future.cancel()
            raise TimeoutError from None


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(_cancel_all())
    finally:
        loop.close()


async def _cancel_all() -> None:
    waiting = asyncio.all_tasks() - {asyncio.current_task()}
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.sleep(0)  # transports that were closed say goodbye in the loop's next turn


async def _hang_up(client: Any) -> None:
    """Close a connection that does not work: nats-py would wait for what never comes on it."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(client.close(), _GRACE / 10)


def _is_refusal(problem: BaseException) -> bool:
    return any(each in str(problem).lower() for each in _REFUSED)
