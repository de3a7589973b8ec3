"""Sends records to Splunk's HTTP Event Collector, on request with the indexers' acknowledgement."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import orjson

from guardrail import clock
from guardrail.delivery import http
from guardrail.delivery.address import Address, Option
from guardrail.delivery.answers import Answer
from guardrail.delivery.plain import as_json, micros, parsed
from guardrail.delivery.sink import Caps, Item, Result, ok, pending, retry
from guardrail.errors import ConfigError
from guardrail.settings.values import flag, text

_PORT: Final = 8088
_CHANNELS: Final = uuid.UUID("5f7a1c5e-5c0e-5d6b-9a53-6d1a1f0f6b64")  # ours, for names of sinks
# What Splunk says of the token's own settings: no item is to blame, and nothing is taken before somebody changes them.
_SETTINGS: Final = {
    7: "the token may not write to this index",
    10: "the token wants indexer acknowledgement: add ack=true",
    11: "the token does not take this channel",
    14: "the token gives no acknowledgements: remove ack=true, or turn them on in Splunk",
}
_BUSY: Final = frozenset({8, 9, 18, 19, 20, 23, 24, 25, 26, 27})
_PROBED: Final = 30.0  # seconds that the indexers have for a probe's event; they take their time
_PAUSES: Final = (0.1, 2.0)  # between two questions about it, the first and the longest
_NO_ACK: Final = "it gave no acknowledgement to ask for: remove ack=true, or turn it on for the token"


class SplunkSink:
    """The sink of `splunk://:TOKEN@host:8088`.

    Args:
        address: Where, the token as password, with options.

    Raises:
        ConfigError: There is no token, or it would be sent in plain text.
    """

    SECRET_PATH: ClassVar[bool] = True
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "source": Option(text, "guardrail", "the events' source"),
        "sourcetype": Option(text, None, "their source type; where nothing is written, the token's own"),
        "index": Option(text, None, "the index; where nothing is written, the token's own"),
        "ack": Option(flag, False, "a record has arrived when the indexers say that it is indexed"),  # noqa: FBT003 - a default
        **http.options(gzip=True),
    }
    caps = Caps()

    def __init__(self, address: Address) -> None:
        if address.password is None or address.user is not None:
            raise ConfigError(
                f"{address.where} gives no token, or more than one", hint='write "splunk://:${file:/run/secrets/hec}@host:8088"'
            )
        options = address.options
        self._where, self._name, self._token = address.where, address.name, address.password
        self._fixed = {name: options[name] for name in ("source", "sourcetype", "index") if options[name] is not None}
        self._gzip: bool = options["gzip"]
        self._ack: bool = options["ack"]
        self._channel = str(uuid.uuid5(_CHANNELS, address.name))
        self._client = http.Client.of(address, _PORT)
        self._last = -1  # the greatest id of the counting that Splunk is at
        self._counting = 0  # how often it began anew

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Send a batch in one request."""
        if not batch:
            return []
        answer, said = self._post("event", b"".join(self._event(item) for item in batch))
        many = len(batch)
        code = said.get("code") if type(said.get("code")) is int else None
        if answer.taken and not code:
            return [self._taken(said)] * many
        if code in _SETTINGS:
            return [retry(answer.after, f"Splunk's code {code}: {_SETTINGS[code]}", credentials=True)] * many
        if code in _BUSY:
            found = retry(answer.after, f"Splunk's code {code}: it is busy")
        elif answer.taken:
            found = retry(answer.after, "Splunk did not say that it takes it")
        else:
            found = answer.result(alone=many == 1)
        # It takes events one by one, up to the first that it does not take, and tells its number. Some versions and codes
        # count from 0, some from 1: only what stands before both is known to be taken.
        number = said.get("invalid-event-number")
        before = 0
        if found.kind == "retry" and not found.credentials and not self._ack and type(number) is int:
            before = min(max(number - 1, 0), many - 1)
        return [ok] * before + [found] * (many - before)

    def poll(self, tokens: Sequence[str]) -> list[Result]:
        """Ask which of the acknowledgement ids are indexed. Splunk says "false" for unknown, waiting and failed alike.

        Ids of a counting that it has given up stand for other events by now: what they were for is sent again.
        """
        numbers = {token: number for token in tokens if (number := self._number(token)) is not None}
        again = retry(reason="Splunk counts its acknowledgements anew")
        if not numbers:
            return [again] * len(tokens)
        answer, said = self._post("ack", orjson.dumps({"acks": list(numbers.values())}))
        acks = said.get("acks")
        if not answer.taken or not isinstance(acks, dict):
            found = answer.result(alone=False)
            return [found if found.kind == "retry" else retry(reason="it does not tell of acknowledgements")] * len(tokens)
        return [
            again if token not in numbers else ok if acks.get(str(numbers[token])) is True else pending(token) for token in tokens
        ]

    def probe(self) -> str:
        """Send an event that says what it is, and with `ack=true` wait until the indexers have it.

        Raises:
            ConfigError: It is not taken, or not acknowledged within half a minute.
        """
        test = {"event": "test", "sink": self._name, "text": "a test event of guardrail"}
        result = self.send([Item("test", int(clock.wall() * 1e6), orjson.dumps(test))])[0]
        until, (pause, longest) = clock.now() + _PROBED, _PAUSES
        while result.kind == "pending":
            if clock.now() >= until:
                raise ConfigError(
                    f"{self._where}: it takes a test event, and the indexers did not acknowledge it within {_PROBED:g} s",
                    hint="behind a load balancer, turn on sticky sessions: the indexer that took it must be asked",
                )
            clock.sleep(pause)
            pause = min(2 * pause, longest)
            (result,) = self.poll([result.token])
        if result.kind != "ok":
            raise ConfigError(f"{self._where}: {result.reason}")
        return "it takes a test event" + (", and acknowledges" if self._ack else "")

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _taken(self, said: Mapping[str, Any]) -> Result:
        if not self._ack:
            return ok
        number = said.get("ackId")
        if type(number) is not int:
            return retry(reason=_NO_ACK, credentials=True)
        if number <= self._last:  # it has started again: what it says of older ids is about other events
            self._counting += 1
        self._last = number
        return pending(f"{number}.{self._counting}" if self._counting else str(number))

    def _number(self, token: str) -> int | None:
        """Return the id of a token; None where it is of an older counting."""
        number, _, counting = token.partition(".")
        return int(number) if int(counting or 0) == self._counting else None

    def _event(self, item: Item) -> bytes:
        record = parsed(item)
        around: dict[str, Any] = {"fields": {"event_id": item.id}, **self._fixed}
        if isinstance(record.get("host"), str):
            around["host"] = record["host"]
        at = micros(record)
        moment = b"" if at is None else b',"time":%d.%06d' % divmod(at, 1_000_000)
        return b'{"event":' + as_json(item, record) + moment + b"," + orjson.dumps(around)[1:]

    def _post(self, what: str, body: bytes) -> tuple[Answer, dict[str, Any]]:
        headers = {"Authorization": f"Splunk {self._token.reveal()}", "Content-Type": "application/json"}
        if self._ack:
            headers["X-Splunk-Request-Channel"] = self._channel
        answer = self._client.post(f"{self._client.path}/services/collector/{what}", body, headers, compress=self._gzip)
        try:
            said = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            said = {}
        return answer, said if isinstance(said, dict) else {}
