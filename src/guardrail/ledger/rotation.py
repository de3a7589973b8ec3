"""A ledger goes on with another key: rotated, which the old key signs, or adopted, where the old one is lost."""

from __future__ import annotations

import base64
import contextlib
import os
from pathlib import Path

from guardrail.errors import ConfigError
from guardrail.ledger import signing
from guardrail.ledger.disk import sync_folder
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.signing import KeyRefused, SigningKey
from guardrail.ledger.sources import manifest_of


def statement(ledger_id: str, key_id: str) -> bytes:
    """Return what the old key signs when a new one takes its place."""
    return f"guardrail key {ledger_id} {key_id}\n".encode()


def rotate(folder: Path) -> tuple[SigningKey, SigningKey]:
    """Make a new key, have the old one sign it into the manifest, and put it in place.

    Processes that are running sign their next checkpoint with both keys, and go on with the new one. A key that only this
    ledger uses is written over; the user's common one stays, for other ledgers use it.

    Args:
        folder: The ledger's, `<home>/ledger`.

    Returns:
        The old key and the new one.

    Raises:
        KeyRefused: The old key cannot be used, or the new one cannot be made.
        ConfigError: There is no ledger yet.
        OSError: The manifest cannot be written; then the old key is still in force.
    """
    manifest = _begun(folder)
    with manifest.locked():
        old = manifest.signer()
        path = signing.places(manifest.ledger_id).paths[0]
        waiting = path.with_name(path.name + signing.NEXT)
        seed = os.urandom(signing.SEED_BYTES)
        try:
            with contextlib.suppress(FileNotFoundError):
                waiting.unlink()  # of a rotation that ended before the manifest knew of it
            signing.write(waiting, seed)
            sync_folder(path.parent)
        except OSError as problem:
            raise KeyRefused(
                f"a new key cannot be put beside {path} ({problem.strerror}); rotate where its folder can be written"
            ) from problem
        new = SigningKey(seed, path)
        said = base64.b64encode(old.sign(statement(str(manifest.ledger_id), new.key_id))).decode()
        manifest.append_all([("key", {**_public(new), "by": "rotated", "signature": said})], [old, new])
        waiting.replace(path)  # where this fails, whoever needs the key next does it
        sync_folder(path.parent)
    return old, new


def adopt(folder: Path) -> tuple[str, SigningKey]:
    """Go on with the key that is there, made where there is none, though the ledger knows another one: that one is lost.

    Nothing that comes later is bound to the lost key, and the ledger says so: who verifies it has to be told of the new key.

    Args:
        folder: The ledger's, `<home>/ledger`.

    Returns:
        The id of the lost key, and the new one.

    Raises:
        KeyRefused: There is no key where one is configured, or it cannot be used.
        ConfigError: There is no ledger yet, or its key is the one that is there.
        OSError: The manifest cannot be written.
    """
    manifest = _begun(folder)
    with manifest.locked():
        lost = str(manifest.key_id)
        where = signing.places(manifest.ledger_id)
        there = next((path for path in where.paths if path.exists()), None)
        if there is None and where.given:
            raise KeyRefused(f"there is no signing key at {where.paths[0]}: `guardrail audit key --new` makes one there")
        key = signing.make(where.paths[-1]) if there is None else signing.read(there)
        if key.key_id == lost:
            raise ConfigError("the ledger's key is not lost: it is the one that is in use", hint="guardrail audit rotate")
        manifest.append_all([("key", {**_public(key), "by": "adopted"})], [key])
    return lost, key


def _begun(folder: Path) -> Manifest:
    manifest = manifest_of(folder.parent)
    manifest.refresh()
    if manifest.key_id is None:
        raise ConfigError("there is no ledger yet, and so no key of it", hint="it is begun by the first record")
    return manifest


def _public(key: SigningKey) -> dict[str, str]:
    return {"key": base64.b64encode(key.public).decode(), "key_id": key.key_id}
