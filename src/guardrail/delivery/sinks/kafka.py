"""Produces records to a Kafka topic, idempotently, with the lane as the key: one lane's records stay in one partition, in order."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import orjson

from guardrail import clock
from guardrail.delivery import trust
from guardrail.delivery.address import Address, Option, choice
from guardrail.delivery.plain import kind, parsed
from guardrail.delivery.sink import Caps, Item, Result, ok, reject, retry
from guardrail.errors import ConfigError

_TOPIC: Final = re.compile(r"/[A-Za-z0-9._-]{1,249}")
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_TURN: Final = 0.05  # seconds of one look at what has come
_GRACE: Final = 0.5  # seconds after a message's own time in which librdkafka tells of it


class KafkaSink:
    """The sink of `kafka://broker-1,broker-2:9092/topic` and, over TLS, of `kafka+tls://…`.

    Args:
        address: Where, with options.

    Raises:
        ConfigError: The URL does not say brokers and topic, or would send a password in plain text.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "sasl": Option(choice(*_MECHANISMS), "SCRAM-SHA-512", "how user and password are proven"),
        **trust.FILES,
        "compression": Option(choice("none", "gzip", "lz4", "zstd", "snappy"), "lz4", "of a batch"),
    }
    caps = Caps(items=2_000, size=4_000_000, item_size=900_000)

    def __init__(self, address: Address) -> None:
        if not address.host or not _TOPIC.fullmatch(address.path):
            raise ConfigError(f"{address.where} does not say brokers and topic", hint='write "kafka://broker:9092/topic"')
        if (address.user is None) != (address.password is None):
            raise ConfigError(
                f"{address.where} gives only one of user and password",
                hint='write "kafka+tls://user:${env:PASSWORD}@broker:9093/topic"',
            )
        loopback = address.host in {"localhost", "127.0.0.1", "::1"}
        if address.password is not None and address.scheme == "kafka" and not loopback and not address.options["insecure"]:
            raise ConfigError(f"{address.where} would send a password in plain text", hint="write kafka+tls://")
        self._address = address
        self._trusted = trust.Trust.of(address)
        self._topic = address.path[1:]
        self._producer: Any = None
        self._pid = 0  # of the process that made it
        self._heard = 0  # the code of what the brokers have against the connection itself

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Produce a batch and wait for what becomes of each message.

        Raises:
            ConfigError: librdkafka does not take the settings.
        """
        from confluent_kafka import KafkaException  # noqa: PLC0415 - an extra

        results: list[Result | None] = [None] * len(batch)
        producer = self._made()

        def told(place: int) -> Any:
            def tell(error: Any, _: Any) -> None:
                results[place] = ok if error is None else self._result(error, alone=len(batch) == 1)

            return tell

        for place, item in enumerate(batch):
            headers = [("id", item.id.encode()), ("kind", kind(parsed(item)).encode())]
            try:
                producer.produce(self._topic, value=item.line, key=item.lane.encode(), headers=headers, on_delivery=told(place))
            except KafkaException as problem:  # one that is too long is known before it is sent
                results[place] = refused = self._result(problem.args[0], alone=True)
                if refused.kind == "retry":
                    break  # what is behind it must not come before it
            except BufferError:
                break  # the rest is sent again
        left = _flushed(producer, self._address.timeout + _GRACE)
        found = [self._untold() if each is None else each for each in results]
        if left or any(each.kind != "ok" for each in found):
            # A refusal is fatal for the producer that met it. What is left in its queue is sent again by another one, and must not
            # arrive beside that.
            self._drop()
        return found

    def probe(self) -> str:
        """Produce a record that says what it is.

        Raises:
            OSError: It was not confirmed.
        """
        test = orjson.dumps({"event": "test", "sink": self._address.name, "text": "a test record of guardrail"})
        (result,) = self.send([Item("test", int(clock.wall() * 1e6), test)])
        if result.kind != "ok":
            raise OSError(5, result.reason)
        return f"the topic {self._topic} takes a test record"

    def close(self) -> None:
        """Let the producer go; nothing waits in it between two batches."""
        self._drop()

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None and self._pid != os.getpid():
            # A parent's: its locks may be held for ever by threads that are not here, so it is neither asked nor freed.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(producer))
        elif producer is not None:
            producer.purge()
            # What is purged in flight leaves a gap, which this producer will not go over.
            _flushed(producer, _TURN)

    def _made(self) -> Any:
        if self._pid != os.getpid():
            self._drop()
        if self._producer is None:
            from confluent_kafka import KafkaException, Producer  # noqa: PLC0415 - an extra

            where = self._address
            milliseconds = int(where.timeout * 1000)
            brokers = ",".join(each if ":" in each else f"{each}:{where.port or 9092}" for each in where.host.split(","))
            # Gapless: where a batch fails for good, those behind it fail as well, and arrive after it.
            settings: dict[str, Any] = {
                "bootstrap.servers": brokers, "client.id": "guardrail", "enable.idempotence": True, "enable.gapless.guarantee": True,
                "acks": "all", "linger.ms": 5,
                "message.timeout.ms": milliseconds, "socket.timeout.ms": max(10, milliseconds), "compression.type": where.options["compression"],
                "message.max.bytes": 1_000_000, "log_level": 0, "logger": _Quiet(), "error_cb": self._hear,
                "reconnect.backoff.max.ms": 1_000, "socket.connection.setup.timeout.ms": max(1_000, milliseconds),
            }  # fmt: skip
            tls = where.scheme == "kafka+tls"
            if tls:
                settings["enable.ssl.certificate.verification"] = not where.options["insecure"]
                self._trusted.tell()
                files = {
                    "ssl.ca.location": self._trusted.ca, "ssl.certificate.location": self._trusted.cert,
                    "ssl.key.location": self._trusted.key or self._trusted.cert,
                }  # fmt: skip
                settings |= {name: file for name, file in files.items() if file is not None}
            if where.user is not None and where.password is not None:
                settings |= {
                    "sasl.mechanism": where.options["sasl"], "sasl.username": where.user.reveal(), "sasl.password": where.password.reveal(),
                }  # fmt: skip
            sasl = where.password is not None
            settings["security.protocol"] = {(0, 0): "PLAINTEXT", (1, 0): "SSL", (0, 1): "SASL_PLAINTEXT", (1, 1): "SASL_SSL"}[
                tls, sasl
            ]
            self._heard = 0
            try:
                self._producer, self._pid = Producer(settings), os.getpid()
            except KafkaException:  # its text quotes settings
                raise ConfigError(
                    f"{where.where} is not what librdkafka takes",
                    hint="look whether the files that ca=, cert= and key= name are there",
                ) from None
        return self._producer

    def _hear(self, error: Any) -> None:
        """Remember why no connection comes about: the messages themselves only tell that they have waited too long."""
        from confluent_kafka import KafkaError  # noqa: PLC0415 - an extra

        if error.code() in {KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED}:  # noqa: SLF001 - its way of naming
            self._heard = error.code()

    def _result(self, error: Any, *, alone: bool) -> Result:
        """Say what an error means for a message.

        Args:
            error: librdkafka's.
            alone: Whether it is about this message for sure. Brokers refuse batches as a whole.
        """
        from confluent_kafka import KafkaError  # noqa: PLC0415 - an extra

        code = error.code()
        if code == KafkaError._MSG_TIMED_OUT:  # noqa: SLF001 - its way of naming
            return self._untold()
        if alone and code in {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.INVALID_RECORD}:
            return reject(f"Kafka does not take it ({error.name()})")
        if code in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}:
            return retry(reason=f"Kafka does not let us in ({error.name()})", credentials=True)
        return retry(reason=f"Kafka does not take it ({error.name()})")

    def _untold(self) -> Result:
        """Say what it means that nobody has told of a message in time."""
        from confluent_kafka import KafkaError  # noqa: PLC0415 - an extra

        if self._heard == KafkaError._SSL:  # noqa: SLF001 - its way of naming
            return retry(reason="no TLS connection came about: its certificate is not accepted, or it speaks no TLS")
        if self._heard:
            return retry(reason=f"Kafka does not let us in ({KafkaError(self._heard).name()})", credentials=True)
        return retry(reason="Kafka did not confirm it in time")


def _flushed(producer: Any, seconds: float) -> int:
    """Wait until a producer has told what became of each message; return how many it has not told of.

    What is fatal for the producer itself, such as a batch that is refused for good, comes as an exception out of the call that hears
    of it, and the word on each message behind that. (`flush` of the client's own loses the word on a message in between.)
    """
    from confluent_kafka import KafkaException  # noqa: PLC0415 - whoever has a producer has it

    until = clock.now() + seconds
    while (left := len(producer)) and (time := until - clock.now()) > 0:
        with contextlib.suppress(KafkaException):
            producer.poll(min(time, _TURN))
    return left


class _Quiet:
    """Takes librdkafka's log lines, which name hosts and users: what matters of them comes back with each message."""

    def log(self, *_: Any, **__: Any) -> None:
        """Leave it out."""
