"""Puts records into a bucket, many in one object, which is never written over."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import groupby
from typing import Any, ClassVar, Final

import orjson

from guardrail import clock, notices
from guardrail.delivery.address import COMMON, Address, Option
from guardrail.delivery.answers import after
from guardrail.delivery.aside import Aside
from guardrail.delivery.sink import Caps, Item, Result, ok, reject, retry
from guardrail.errors import ConfigError
from guardrail.settings.values import flag, text

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ENDPOINT: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+/?")
_NOT_LET_IN: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_CREDENTIALS: Final = frozenset({
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError", "SSOTokenLoadError",
    "UnauthorizedSSOTokenError", "LoginRefreshRequired",
})  # fmt: skip
_SAID: Final = re.compile(r"[A-Za-z]{1,40}")
_SLOWEST: Final = 100_000  # bytes a second that a line must carry


def _endpoint(word: str, where: str) -> str:
    if not _ENDPOINT.fullmatch(word):
        raise ConfigError(f"{where} is not the URL of a server", hint="write endpoint=https://host:port")
    return word


class S3Sink:
    """The sink of `s3://bucket/prefix`: an object of JSON lines for each stretch of a lane.

    Args:
        address: Where, with options. Without user and password, credentials are those that boto3 finds by itself.

    Raises:
        ConfigError: The URL does not name a bucket.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "region": Option(text, None, "the bucket's region"),
        "endpoint": Option(_endpoint, None, "the URL of another server that speaks S3"),
        "gzip": Option(flag, True, "compress objects"),  # noqa: FBT003 - a default
        "linger": COMMON["linger"]._replace(default=60.0),
    }
    caps = Caps(items=50_000, size=32_000_000)

    def __init__(self, address: Address) -> None:
        if not _BUCKET.fullmatch(address.host) or address.port is not None:
            raise ConfigError(f"{address.where} does not name a bucket", hint='write "s3://bucket/prefix"')
        self._address = address
        prefix = address.path.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._client: Any = None
        self._aside: Aside[Any] = Aside(address.timeout)

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Put an object for each lane in the batch; one that is there already has arrived before."""
        results: list[Result] = []
        for lane, items in _stretches(batch):
            name = f"{self._prefix}{lane}/{items[0].seq:020}-{items[-1].seq:020}-{len(items)}.jsonl"
            result = self._put(name, b"".join(item.line + b"\n" for item in items), alone=len(items) == 1)
            if result.kind == "retry":  # the others would take as long again
                return results + [result] * (len(batch) - len(results))
            results += [result] * len(items)
        return results

    def probe(self) -> str:
        """Put a small object under `<prefix>test/`.

        Raises:
            OSError: It was not taken.
        """
        test = orjson.dumps({"event": "test", "sink": self._address.name, "text": "a test record of guardrail"})
        name = f"{self._prefix}test/{int(clock.wall() * 1e6)}.jsonl"
        result = self._put(name, test + b"\n", alone=True)
        if result.kind != "ok":
            raise OSError(5, result.reason)
        return f"the bucket {self._address.host} takes a test object under {self._prefix}test/"

    def close(self) -> None:
        """Hang up."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _put(self, name: str, content: bytes, *, alone: bool) -> Result:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an extra

        more: dict[str, Any] = {"ContentType": "application/x-ndjson"}
        if self._address.options["gzip"]:
            # Without a time in its header, so that the same records are the same bytes.
            name, content, more = f"{name}.gz", gzip.compress(content, 6, mtime=0), {"ContentType": "application/gzip"}
        try:
            client = self._connected()
            self._aside.call(
                lambda: client.put_object(Bucket=self._address.host, Key=name, Body=content, IfNoneMatch="*", **more),
                more=len(content) / _SLOWEST,
            )
        except TimeoutError:
            self.close()
            return retry(reason="it did not answer in time")
        except ClientError as problem:
            return _result(problem.response, alone=alone)
        except BotoCoreError as problem:
            self.close()
            refused = type(problem).__name__ in _CREDENTIALS
            return retry(reason="there are no credentials for it" if refused else "it does not answer", credentials=refused)
        return ok

    def _connected(self) -> Any:
        if self._client is None:
            import boto3  # noqa: PLC0415 - an extra
            from botocore.config import Config  # noqa: PLC0415 - as above

            where, options = self._address, self._address.options
            config = Config(connect_timeout=where.timeout, read_timeout=where.timeout, retries={"total_max_attempts": 1})
            given = {
                "endpoint_url": options["endpoint"], "region_name": options["region"],
                "aws_access_key_id": None if where.user is None else where.user.reveal(),
                "aws_secret_access_key": None if where.password is None else where.password.reveal(),
            }  # fmt: skip
            verify = None
            if options["insecure"]:
                verify = False
                notices.say(
                    f"insecure-{where.where}", f"{where.where}: the certificate of the other side is not checked (insecure=true)"
                )
            # A session of its own: the library's keeps the credentials that it found first, and those may be replaced.
            self._client = boto3.Session().client(
                "s3", config=config, verify=verify, **{name: value for name, value in given.items() if value is not None}
            )
        return self._client


def _result(response: Any, *, alone: bool) -> Result:
    """Say what an answer means, other than that the object was taken."""
    about = response.get("ResponseMetadata", {})
    status, wait = about.get("HTTPStatusCode", 0), after(about.get("HTTPHeaders", {}).get("retry-after"))
    if status == HTTPStatus.PRECONDITION_FAILED:
        return ok  # it is there already
    code = str(response.get("Error", {}).get("Code", ""))
    said = f"S3 answers {code if _SAID.fullmatch(code) else status}"
    if code == "EntityTooLarge" or status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return reject(said) if alone else retry(wait, said)
    # Some of what is wrong with credentials is a 400, as ExpiredToken is.
    return retry(wait, said, credentials=status in _NOT_LET_IN or "Token" in code or "AccessKey" in code)


def _stretches(batch: Sequence[Item]) -> Iterator[tuple[str, list[Item]]]:
    for lane, items in groupby(batch, key=lambda item: item.lane):
        yield lane, list(items)
