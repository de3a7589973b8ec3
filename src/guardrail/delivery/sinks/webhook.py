"""Posts records to a webhook, signed as Standard Webhooks has it (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import ClassVar, Final

import orjson

from guardrail import clock, notices
from guardrail.delivery import http
from guardrail.delivery.address import Address, Option, choice
from guardrail.delivery.answers import Answer
from guardrail.delivery.plain import as_json, parsed
from guardrail.delivery.sink import Caps, Item, Result
from guardrail.errors import ConfigError

_PREFIX: Final = "whsec_"
_TYPES: Final = {"record": "application/json", "json": "application/json", "ndjson": "application/x-ndjson"}


class WebhookSink:
    """The sink of `webhook://host/path`: one record for each request, or batches.

    Args:
        address: Where, with options.

    Raises:
        ConfigError: The URL names no host, gives a password and a token, or would send a secret in plain text.
    """

    SECRET_PATH: ClassVar[bool] = True
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "secret": Option(None, None, "the key that requests are signed with: whsec_ and base64, or any text"),
        "token": Option(None, None, "a token for `Authorization: Bearer`"),
        "query": Option(None, None, "what stands behind the question mark of the receiver's own URL"),
        "format": Option(choice(*_TYPES), "record", "one record for each request, or a batch as a JSON array or as JSON lines"),
        **http.options(gzip=False),
    }

    def __init__(self, address: Address) -> None:
        options = address.options
        self._where, self._name = address.where, address.name
        self._secret, self._token, self._query = options["secret"], options["token"], options["query"]
        self._user, self._password = address.user, address.password
        if self._token is not None and (self._user is not None or self._password is not None):
            raise ConfigError(f"{address.where} gives a token and a password", hint="one of them is enough")
        self._format: str = options["format"]
        self._gzip: bool = options["gzip"]
        self._client = http.Client.of(address, kept=(self._secret,))
        self.caps = Caps(items=1) if self._format == "record" else Caps()

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Post a batch in one request; it arrives or fails as a whole."""
        if not batch:
            return []
        answer = self._post(identity(batch), self._body(batch))
        if answer.status == HTTPStatus.GONE:
            notices.say(f"sink-{self._name}-gone", f"{self._where}: the receiver says that it wants no more (HTTP 410); unset it")
        return [answer.result(alone=len(batch) == 1)] * len(batch)

    def probe(self) -> str:
        """Post a record that says what it is.

        Raises:
            ConfigError: It is not taken.
        """
        text = {"event": "test", "sink": self._name, "text": "a test record of guardrail"}
        test = Item("test", int(clock.wall() * 1e6), orjson.dumps(text))
        return self._post(identity([test]), self._body([test])).proof(self._where, "a test record")

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _body(self, batch: Sequence[Item]) -> bytes:
        if self._format == "record":
            return batch[0].line
        if self._format == "ndjson":
            return b"".join(item.line + b"\n" for item in batch)
        return b"[" + b",".join(as_json(item, parsed(item)) for item in batch) + b"]"

    def _post(self, name: str, body: bytes) -> Answer:
        moment = str(int(clock.wall()))
        headers = {"Content-Type": _TYPES[self._format], "webhook-id": name, "webhook-timestamp": moment}
        if self._secret is not None:
            key = signing_key(self._secret.reveal(), self._secret.where)
            headers["webhook-signature"] = signature(key, name, moment, body)
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.reveal()}"
        elif self._user is not None or self._password is not None:
            headers["Authorization"] = http.basic(self._user, self._password)
        path = self._client.path or "/"
        if self._query is not None:
            path += "?" + self._query.reveal().removeprefix("?")
        return self._client.post(path, body, headers, compress=self._gzip)


def identity(batch: Sequence[Item]) -> str:
    """Return what a request is called: the item's id, or for several their ends and a hash of all their ids.

    Ends alone would not do: after a restart a batch may have more between the same ends, and a receiver that removes
    duplicates would lose it.
    """
    if len(batch) == 1:
        return batch[0].id
    digest = hashlib.sha256("\n".join(item.id for item in batch).encode()).hexdigest()[:16]
    return f"{batch[0].id}-{batch[-1].id}-{digest}"


def signing_key(secret: str, where: str) -> bytes:
    """Return the bytes of a signing secret.

    Raises:
        ConfigError: What follows `whsec_` is not base64.
    """
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        encoded = secret.removeprefix(_PREFIX)
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if not key:
        raise ConfigError(
            f"{where} begins with whsec_, and what follows is not base64",
            hint="put base64 of 24 to 64 random bytes behind whsec_",
        ) from None
    return key


def signature(key: bytes, name: str, moment: str, body: bytes) -> str:
    """Return the header `webhook-signature`: HMAC-SHA256 over id, timestamp and body, joined by full stops."""
    digest = hmac.digest(key, f"{name}.{moment}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"
