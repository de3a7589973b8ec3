"""Checkpoints as C2SP signed notes: what a tree looked like at a moment, said by the holder of a key.

https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint; Ed25519 signatures, type byte 0x01.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

DASH: Final = "\u2014 "  # begins the line of a signature
_ED25519: Final = b"\x01"
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_HASH: Final = 4  # bytes of a key's hash in a signature
_ROOT: Final = 32
_SIGNATURE: Final = 64


class Signer(Protocol):
    """What a note is signed with: see `signing.SigningKey`."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return an Ed25519 signature of 64 bytes."""
        ...


class Signature(NamedTuple):
    """One signature of a note.

    Attributes:
        name: Of the key, as its line says.
        key_hash: 4 bytes that tell keys of one name apart.
        value: The signature itself.
    """

    name: str
    key_hash: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """What one checkpoint says.

    Attributes:
        origin: Which log: `guardrail/<ledger id>/<lane>`; it is the name of the key, too.
        size: Records of the tree.
        root: Its hash, 32 bytes.
        time: When it was made, ISO 8601 in UTC; "" where it does not say.
    """

    origin: str
    size: int
    root: bytes
    time: str = ""

    def text(self) -> str:
        """Return what is signed."""
        time = f"time {self.time}\n" if self.time else ""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n{time}"


def key_hash(name: str, public: bytes) -> bytes:
    """Return the 4 bytes that stand for a key in signatures: SHA-256(name || 0x0A || 0x01 || public key), its beginning."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_HASH]


def vkey(name: str, public: bytes) -> str:
    """Return a public key as a C2SP verifier key, `<name>+<hash>+<base64>`."""
    return f"{name}+{key_hash(name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


def sign(note: Note, keys: Iterable[Signer]) -> str:
    """Return a note with the signature of each key, each under the name that is the note's origin."""
    text = note.text()
    message = text.encode()
    lines = [
        f"{DASH}{note.origin} {base64.b64encode(key_hash(note.origin, key.public) + key.sign(message)).decode()}\n"
        for key in keys
    ]
    return f"{text}\n{''.join(lines)}"


def opened(text: str) -> tuple[str, list[Signature]]:
    """Return the text of any signed note, with the newline that ends it, and its signatures, of which none is checked.

    Raises:
        ValueError: It is not one signed note.
    """
    body, empty, signed = text.rpartition(f"\n\n{DASH}")
    if not empty or not signed.endswith("\n") or "\n\n" in signed:
        raise ValueError("this is no signed note")
    return f"{body}\n", [_signature(line) for line in f"{DASH}{signed}".splitlines()]


def parse(text: str) -> tuple[Note, list[Signature]]:
    """Return a checkpoint and its signatures, of which none is checked.

    Raises:
        ValueError: It is not one checkpoint.
    """
    body, signatures = opened(text)
    origin, size, root, *more = body.split("\n")[:-1] + [""] * 3
    if not origin or not _SIZE.fullmatch(size):
        raise ValueError("this is no checkpoint")
    time = next((line.removeprefix("time ") for line in more if line.startswith("time ")), "")
    return Note(origin, int(size), _decoded(root, _ROOT), time), signatures


def parse_all(content: bytes) -> list[tuple[Note, list[Signature]]]:
    """Return all checkpoints of a file, in its order; a torn last one is left out.

    Raises:
        ValueError: Something else than checkpoints stands in it.
    """
    content = content[: whole(content)]
    blocks = content.decode().removesuffix("\n\n").split("\n\n") if content else []
    if len(blocks) % 2:
        raise ValueError("these are no checkpoints")
    return [parse(f"{body}\n\n{signed}\n") for body, signed in zip(blocks[::2], blocks[1::2], strict=True)]


def whole(content: bytes) -> int:
    """Return how many bytes of a file of notes are whole: all but what a crash left of its last one."""
    begin = len(content)
    while (end := content.rfind(b"\n\n", 0, begin)) >= 0:
        last = content[content.rfind(b"\n", 0, end) + 1 : end]
        if last.startswith(DASH.encode()):
            return end + 2
        begin = end
    return 0


def verify(text: str, signature: Signature, public: bytes) -> bool:
    """Tell whether a signature over the text of a note is right."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - 50 ms, for those who verify
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    if signature.key_hash != key_hash(signature.name, public):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature.value, text.encode())
    except InvalidSignature:
        return False
    return True


def _signature(line: str) -> Signature:
    name, blank, encoded = line.removeprefix(DASH).partition(" ")
    if not line.startswith(DASH) or not blank or not name:
        raise ValueError("this is no signature of a note")
    value = _decoded(encoded, _HASH + _SIGNATURE)
    return Signature(name, value[:_HASH], value[_HASH:])


def _decoded(text: str, size: int) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is not base64") from None
    if len(value) != size:
        raise ValueError("this has another length")
    return value
