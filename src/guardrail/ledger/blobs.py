"""The content of records that are too long for a line: each in a sealed file of its own, named by the hash of its bytes.

`<home>/ledger/blobs/<2 hex>/<SHA-256 of the file>`, AES-256-GCM under the key of the record's subject, so that whoever destroys that
key erases the file's content too, while the record, its hash and every proof stay as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from guardrail import notices, settings
from guardrail.errors import ConfigError
from guardrail.ledger import disk, opening, sealing
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.schema import BODY_LIMIT

BLOBS: Final = "blobs"
_FIELD: Final = "blob"
_CONTENT: Final = (("input", "value"), ("output", "value"), ("sealed", None))
_HASH: Final = 64  # characters
_ROOM: Final = 300  # bytes that the record needs to name its file


def moved(line: bytes, at: float, subject: str | None) -> bytes:
    """Return a record's line without its content, as much of it as must go, which is in a file by then.

    Args:
        line: The line, too long.
        at: The moment of the record, in seconds since the epoch.
        subject: Whose it is, by their own id.

    Returns:
        The line as it was where the file cannot be written or sealed (said once).
    """
    record: dict[str, Any] = orjson.loads(line)
    taken: dict[str, Any] = {}
    left = len(line)
    for size, side, name in sorted(_sizes(record), reverse=True):
        if left <= BODY_LIMIT - _ROOM or size <= _ROOM:  # it fits, or nothing is gained by more
            break
        if name is None:
            taken[side] = record.pop(side)
        else:
            taken[f"{side}.{name}"] = record[side].pop(name)
        left -= size
    if not taken:
        return line
    body = orjson.dumps(taken)
    key = sealing.ready({subject: at})[subject]
    if key is None:
        return line
    box = sealing.sealed(key, _FIELD, body, record["id"], at)
    if "ct" in box:
        try:
            sealed = sealing.raw(box.pop("ct"))
            box |= {"sha256": put(settings.home(), sealed), "size": len(sealed)}
        except (OSError, ConfigError) as problem:
            why = getattr(problem, "strerror", None) or type(problem).__name__
            notices.say("blobs", f"the content of a long record could not be put into a file of its own ({why}) and was cut")
            return line
    tags = record.pop("tags", None)
    record["blob"] = {**box, "holds": [*taken]}
    if tags is not None:
        record["tags"] = tags
    return orjson.dumps(record)


def _sizes(record: Mapping[str, Any]) -> Iterator[tuple[int, str, str | None]]:
    for side, name in _CONTENT:
        found = record.get(side)
        if isinstance(found, dict) and (name is None or name in found):
            yield len(orjson.dumps(found if name is None else found[name])), side, name or None


def put(home: Path, content: bytes) -> str:
    """Write a file durably under the hash of its bytes, and return that.

    Raises:
        OSError: It is not durable.
    """
    name = hashlib.sha256(content).hexdigest()
    path = path_of(home, name)
    if not path.parent.is_dir():
        with contextlib.suppress(FileExistsError):
            disk.make_folder(path.parent)
    making = path.with_name(f".{name}.{os.urandom(4).hex()}")
    handle = os.open(making, os.O_WRONLY | os.O_EXCL | disk.FLAGS, disk.MODE)
    try:
        try:
            disk.write_all(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        making.replace(path)
    except BaseException:
        making.unlink(missing_ok=True)
        raise
    disk.sync_folder(path.parent)
    return name


def path_of(home: Path, name: str) -> Path:
    """Return where the file of a hash is."""
    return home / FOLDER / BLOBS / name[:2] / name


def named(record: Mapping[str, Any]) -> str | None:
    """Return the hash of the file that holds a record's content; None where it has none."""
    found = record.get("blob")
    name = found.get("sha256") if isinstance(found, Mapping) else None
    return name if isinstance(name, str) and len(name) == _HASH and set(name) <= set("0123456789abcdef") else None


def whole(record: Mapping[str, Any], home: Path | None = None) -> dict[str, Any]:
    """Return a record with its content in its place again, what is personal in it still sealed.

    Where the file is gone or altered, or its key destroyed, the record stays as it is, and `blob` says why in `trouble`.
    """
    name = named(record)
    if name is None:
        return dict(record)
    box = record["blob"]
    try:
        content = path_of(settings.home(create=False) if home is None else home, name).read_bytes()
    except OSError as problem:
        return {**record, "blob": {**box, "trouble": f"the file cannot be read ({problem.strerror})"}}
    if hashlib.sha256(content).hexdigest() != name:
        return {**record, "blob": {**box, "trouble": "the file was altered"}}
    found = opening.opened({_FIELD: {**box, "ct": sealing.spelled(content)}}, str(record["id"]))[_FIELD]
    if not isinstance(found, dict):
        return {**record, "blob": {**box, "trouble": str(found)}}
    full = dict(record)
    for place, value in found.items():
        side, _, inner = place.partition(".")
        full[side] = {**(full.get(side) or {}), inner: value} if inner else value
    return full
