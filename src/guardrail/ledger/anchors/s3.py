"""An anchor in a bucket with S3 Object Lock: what is written there cannot be changed or deleted by anybody before its time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from guardrail import clock
from guardrail.ledger import anchors
from guardrail.settings.anchors import Anchor

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS: Final = 10.0  # for a connection, and for an answer
_THERE_ALREADY: Final = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}


def make(anchor: Anchor) -> Bucket:
    """Return the place of `s3://bucket/prefix?retain=400d`; credentials are those that boto3 finds by itself."""
    try:
        import boto3  # noqa: PLC0415 - an extra
        from botocore.config import Config  # noqa: PLC0415
    except ImportError as problem:
        raise anchors.lacking(anchor, "s3") from problem
    parts = urlsplit(anchor.url.reveal())
    options = anchor.options
    config = Config(connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": 1})
    where = {"endpoint_url": options.get("endpoint"), "region_name": options.get("region")}
    retain = clock.seconds(options.get("retain", "400d"), "retain")
    client = boto3.client("s3", config=config, **{name: value for name, value in where.items() if value})
    return Bucket(client, parts.netloc, parts.path.strip("/"), retain)


class Bucket:
    """Puts every push as an object of its own, locked in COMPLIANCE mode, never over one that is there.

    Args:
        client: boto3's client for S3.
        bucket: Its name; object lock must be enabled for it.
        prefix: Begins the names of objects.
        retain: Seconds for which an object is locked.
    """

    def __init__(self, client: Any, bucket: str, prefix: str, retain: float) -> None:
        self._client = client
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.retain = retain

    def push(self, notes: list[bytes]) -> None:
        """Put the checkpoints as one object; it is there for good when this returns.

        Raises:
            AnchorFailed: S3 did not take it.
        """
        content = b"".join(notes)
        ledger = notes[0].split(b"/", 2)[1].decode()
        now = datetime.fromtimestamp(clock.wall(), UTC)
        key = f"{self.prefix}{ledger}/{now:%Y/%m/%d/%H%M%S}-{hashlib.sha256(content).hexdigest()[:16]}.notes"
        _asked(
            self._client.put_object, Bucket=self.bucket, Key=key, Body=content, ContentType="text/plain; charset=utf-8",
            IfNoneMatch="*", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=now + timedelta(seconds=self.retain),
            ChecksumAlgorithm="SHA256",
        )  # fmt: skip

    def read(self, ledger: str) -> Iterator[bytes]:
        """Yield the objects of a ledger."""
        after = ""
        while True:
            found = _asked(self._client.list_objects_v2, Bucket=self.bucket, Prefix=f"{self.prefix}{ledger}/", StartAfter=after)
            for each in found.get("Contents", ()):
                after = each["Key"]
                answer = _asked(self._client.get_object, Bucket=self.bucket, Key=after)
                yield answer["Body"].read()
            if not found.get("IsTruncated"):
                return

    def check(self, home: Path) -> str:
        """See whether the bucket is there and locks objects."""
        del home
        found = _asked(self._client.get_object_lock_configuration, Bucket=self.bucket)
        if found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise anchors.AnchorFailed(f"the bucket {self.bucket} has no object lock: enable it, or anybody may delete")
        return f"the bucket {self.bucket} locks objects; ours for {self.retain / 86_400:g} days"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _asked(do: Callable[..., Any], **arguments: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - `make` has seen that it is there

    try:
        return do(**arguments)
    except ClientError as problem:
        code = str(problem.response.get("Error", {}).get("Code", "unknown"))
        if "IfNoneMatch" in arguments and code in _THERE_ALREADY:  # by its name, with this very content
            return None
        raise anchors.AnchorFailed(f"S3 answers {code}") from None
    except BotoCoreError as problem:
        raise anchors.AnchorFailed(f"S3 cannot be asked ({type(problem).__name__})") from None
