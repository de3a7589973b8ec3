"""Puts records into a bucket, many in one object, which is never written over."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar, Final

import orjson

from guardrail import clock
from guardrail.delivery.address import COMMON, Address, Option
from guardrail.delivery.sink import Caps, Item, Result, ok, retry
from guardrail.errors import ConfigError
from guardrail.settings.values import flag, text

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_THERE: Final = {"PreconditionFailed", "412"}
_REFUSED: Final = {
    "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "403", "401",
}  # fmt: skip


class S3Sink:
    """The sink of `s3://bucket/prefix`: an object of JSON lines for each stretch of a lane.

    Args:
        address: Where, with options. Without user and password, credentials are those that boto3 finds by itself.

    Raises:
        ConfigError: The URL does not name a bucket.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "region": Option(text, None, "the bucket's region"),
        "endpoint": Option(text, None, "the URL of another server that speaks S3"),
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

    def send(self, batch: Sequence[Item]) -> list[Result]:
        """Put an object for each lane in the batch; one that is there already has arrived before."""
        results: list[Result] = []
        for lane, items in _stretches(batch):
            name = f"{self._prefix}{lane}/{items[0].seq:020}-{items[-1].seq:020}-{len(items)}.jsonl"
            results += [self._put(name, b"".join(item.line + b"\n" for item in items))] * len(items)
        return results

    def probe(self) -> str:
        """Put a small object under `<prefix>test/`.

        Raises:
            OSError: It was not taken.
        """
        test = orjson.dumps({"event": "test", "sink": self._address.name, "text": "a test record of guardrail"})
        name = f"{self._prefix}test/{int(clock.wall() * 1e6)}.jsonl"
        result = self._put(name, test + b"\n")
        if result.kind != "ok":
            raise OSError(5, result.reason)
        return f"the bucket {self._address.host} takes a test object under {self._prefix}test/"

    def close(self) -> None:
        """Hang up."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _put(self, name: str, content: bytes) -> Result:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an extra

        more: dict[str, Any] = {"ContentType": "application/x-ndjson"}
        if self._address.options["gzip"]:
            # Without a time in its header, so that the same records are the same bytes.
            name, content, more = f"{name}.gz", gzip.compress(content, 6, mtime=0), {"ContentType": "application/gzip"}
        try:
            self._connected().put_object(Bucket=self._address.host, Key=name, Body=content, IfNoneMatch="*", **more)
        except ClientError as problem:
            code = str(problem.response.get("Error", {}).get("Code", ""))
            if code in _THERE:
                return ok
            said = code if code.isalnum() else "an error"
            return retry(reason=f"S3 answers {said}", credentials=code in _REFUSED)
        except BotoCoreError as problem:
            self.close()
            refused = type(problem).__name__ in {"NoCredentialsError", "PartialCredentialsError"}
            return retry(reason="S3 has no credentials of ours" if refused else "S3 does not answer", credentials=refused)
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
            verify = False if options["insecure"] else None
            self._client = boto3.client(
                "s3", config=config, verify=verify, **{name: value for name, value in given.items() if value is not None}
            )
        return self._client


def _stretches(batch: Sequence[Item]) -> Iterator[tuple[str, list[Item]]]:
    for lane, items in groupby(batch, key=lambda item: item.lane):
        yield lane, list(items)
