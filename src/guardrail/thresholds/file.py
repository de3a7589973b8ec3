"""A threshold, or those of single groups, as a file that goes with the model: JSON, signed, so that nobody lowers it unseen."""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Any, Final

from guardrail.errors import ConfigError

_INDENT: Final = 1


def save(path: Path, found: dict[str, Any]) -> str:
    """Write a threshold, signed with the key that signs this user's ledgers (Ed25519, RFC 8032), and return the public key.

    Args:
        path: Where to; replaced as a whole.
        found: The threshold as plain data.

    Raises:
        OSError: It cannot be written, or the key must not be used.
    """
    from guardrail.ledger.signing import signing_key  # noqa: PLC0415 - only who writes one has a key

    key = signing_key()
    public = base64.b64encode(key.public).decode()
    signature = base64.b64encode(key.sign(_signed(found))).decode()
    text = json.dumps({"threshold": found, "signature": {"key": public, "value": signature}}, indent=_INDENT)
    making = path.with_name(f".{path.name}.{os.getpid()}")
    making.write_text(f"{text}\n", encoding="utf-8")
    making.replace(path)
    return public


def load(path: Path, signed_by: str | None = None) -> Any:
    """Return the plain data of a threshold's file.

    Args:
        path: The file.
        signed_by: The public key that must have signed it, base64; None for any, or none at all.

    Raises:
        ConfigError: It cannot be read, is no threshold, was changed after it was signed, or is not signed by that key.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigError(
            f"the threshold in {path} cannot be read: {problem.strerror}",
            hint="write one there with threshold.save(path), or name another file",
        ) from None
    except (ValueError, RecursionError):
        raise _none(path) from None
    if not isinstance(found, dict):
        raise _none(path)
    if "signature" not in found and signed_by is None:
        return found.get("threshold", found)
    try:
        key, value = str(found["signature"]["key"]), str(found["signature"]["value"])
        good = _verified(key, value, _signed(found["threshold"]))
    except (KeyError, TypeError, ValueError, binascii.Error):
        good, key = False, ""
    if not good:
        raise ConfigError(
            f"the threshold in {path} is not as it was signed", hint="put the file back that `guardrail calibrate --out` wrote"
        )
    if signed_by is not None and key != signed_by:
        raise ConfigError(f"the threshold in {path} was signed by another key", hint="have it signed by the one that you trust")
    return found["threshold"]


def _none(path: Path) -> ConfigError:
    return ConfigError(f"there is no threshold in {path}", hint="write what `guardrail calibrate --out` wrote")


def _signed(found: Any) -> bytes:
    """Return the bytes that the signature is of; the first line keeps it from being one of anything else."""
    return b"guardrail threshold 1\n" + json.dumps(found, sort_keys=True, separators=(",", ":")).encode()


def _verified(key: str, value: str, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - 50 ms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
    try:
        public.verify(base64.b64decode(value, validate=True), message)
    except InvalidSignature:
        return False
    return True
