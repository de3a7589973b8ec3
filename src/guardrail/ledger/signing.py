"""The key that checkpoints are signed with: an Ed25519 key in a file of the user's own, made on first use, never beside the ledger."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from guardrail import settings
from guardrail.ledger.disk import have_folder, sync_folder
from guardrail.ledger.keys import config_folder

FILE: Final = "signing.key"
SEED_BYTES: Final = 32
NEXT: Final = ".next"  # ends the name of a key that a rotation is about to put in place
_READ: Final = 4_096  # bytes of a file that should hold 45


class KeyRefused(OSError):
    """A key that must not be used, or is not there. Nothing is appended until that is mended; reading goes on.

    The text says what to do.
    """


class SigningKey:
    """An Ed25519 key pair.

    Args:
        seed: The private key, 32 bytes (RFC 8032).
        path: Where it was read from.

    Attributes:
        path: As given.
        public: The public key, 32 bytes.
        key_id: The first 16 hexadecimal digits of the SHA-256 of the public key.
    """

    __slots__ = ("_private", "key_id", "path", "public")

    def __init__(self, seed: bytes, path: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - 50 ms

        self.path = path
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._private.public_key().public_bytes_raw()
        self.key_id = key_id(self.public)

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id})"

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        return self._private.sign(message)


class Places(NamedTuple):
    """Where a key is looked for.

    Attributes:
        paths: Files, in this order.
        given: Whether `GUARDRAIL_SIGNING_KEY_FILE` names the only one: then it is never made by itself.
    """

    paths: list[Path]
    given: bool


def key_id(public: bytes) -> str:
    """Return the short name of a public key."""
    return hashlib.sha256(public).hexdigest()[:16]


def places(ledger_id: str | None = None) -> Places:
    """Return where the key of a ledger is looked for: the file that is configured, else in the user's configuration folder.

    There one key serves every ledger of the user; one that was rotated has a file of its own from then on.

    Raises:
        KeyRefused: The user has no home folder, and nothing else is configured.
        ConfigError: A setting cannot be used.
    """
    given = settings.current().signing_key_file
    if given is not None:
        return Places([given], given=True)
    try:
        folder = config_folder()
    except RuntimeError:
        raise KeyRefused("the user has no home folder for the signing key; set GUARDRAIL_SIGNING_KEY_FILE") from None
    own = [] if ledger_id is None else [folder / f"signing-{ledger_id}.key"]
    return Places([*own, folder / FILE], given=False)


def signing_key(ledger_id: str | None = None, expected: str | None = None, *, create: bool = True) -> SigningKey:
    """Return the key of a ledger; where there is none yet, it is made.

    Args:
        ledger_id: Of the ledger.
        expected: Id of the key that the ledger's manifest names last; None: it names none yet.
        create: Whether it may be made. Never where another is expected, nor where a file is configured.

    Raises:
        KeyRefused: It is not the expected one, is open to others, is no key, cannot be read or made, or must not be made.
    """
    where = places(ledger_id)
    other: Path | None = None
    for path in where.paths:
        found = _present(path)
        if found is not None and expected in {None, found.key_id}:
            return found
        other = other or (None if found is None else path)
    if expected is not None:
        for path in where.paths:
            found = _put_in_place(path, expected)
            if found is not None:
                return found
        what = f"has no signing key at {where.paths[-1]}" if other is None else f"was signed with another key than {other}"
        raise KeyRefused(
            f"this ledger {what}: bring back the key {expected}, or name its file in GUARDRAIL_SIGNING_KEY_FILE;"
            " if it is lost, `guardrail audit rotate --adopt` goes on with a new one, and the ledger says so for ever"
        )
    if where.given or not create:
        raise KeyRefused(f"there is no signing key at {where.paths[-1]}: `guardrail audit key --new` makes one there")
    return make(where.paths[-1])


def _present(path: Path) -> SigningKey | None:
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except KeyRefused:
        raise
    except OSError as problem:
        raise KeyRefused(f"the signing key {path} cannot be read ({problem.strerror}); give this user the right to") from problem


def read(path: Path) -> SigningKey:
    """Return the key in a file.

    Raises:
        FileNotFoundError: There is no such file.
        KeyRefused: Others may read or change it, or it is no key.
        OSError: It cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        regular = stat.S_ISREG(status.st_mode)
        content = os.read(handle, _READ) if regular else b""
    finally:
        os.close(handle)
    problem = _open_to(status)
    if problem is not None:
        raise KeyRefused(f"the signing key {path} {problem}; a key that others could have used proves nothing")
    seed = b""
    with contextlib.suppress(binascii.Error, ValueError):
        seed = base64.b64decode(content.strip(), validate=True)
    if not regular or len(seed) != SEED_BYTES:
        raise KeyRefused(f"{path} is no signing key: it has to hold 32 bytes in base64, as `guardrail audit key --new` makes it")
    return SigningKey(seed, path)


def make(path: Path) -> SigningKey:
    """Make a new key, 0600, where there is no file yet; of two processes at once both get the one that was there first.

    Raises:
        KeyRefused: It cannot be made.
    """
    try:
        make_file(path, SEED_BYTES)
    except OSError as problem:
        raise KeyRefused(
            f"the signing key {path} cannot be made ({problem.strerror}); make its folder writable,"
            " or name a key in GUARDRAIL_SIGNING_KEY_FILE"
        ) from problem
    return read(path)


def make_file(path: Path, size: int) -> None:
    """Write so many random bytes into a file of 0600, unless one is there: of two processes at once both find the first one's."""
    have_folder(path.parent)
    making = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    write(making, os.urandom(size))
    try:
        with contextlib.suppress(FileExistsError):
            os.link(making, path)  # unlike a rename it never replaces what another process has just made
    finally:
        making.unlink()
    sync_folder(path.parent)


def write(path: Path, seed: bytes) -> None:
    """Write a private key into a new file of 0600, durably."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(handle, base64.b64encode(seed) + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)


def beside(path: Path, home: Path) -> bool:
    """Tell whether a key lies where whoever may write the ledger finds it: in the same folder tree."""
    real, tree = os.path.realpath(path), os.path.realpath(home)
    return real.startswith(tree.rstrip("/") + "/") or os.path.dirname(real) == os.path.dirname(tree)  # noqa: PTH120


def _open_to(status: os.stat_result) -> str | None:
    """Say what is wrong with owner and permission bits: PostgreSQL's rule for keys, which fits mounted secrets, too."""
    if status.st_uid not in {0, os.geteuid()}:
        return "belongs to another user: chown it to the user of this process, or to root"
    allowed = 0o640 if status.st_uid == 0 and os.geteuid() != 0 else 0o600
    if stat.S_IMODE(status.st_mode) & ~allowed & 0o077:
        return "is open to other users: chmod 600 it (one of root's that is mounted for a group: 640)"
    return None


def _put_in_place(path: Path, expected: str) -> SigningKey | None:
    """Finish a rotation that was interrupted after the manifest had named the new key."""
    waiting = path.with_name(path.name + NEXT)
    try:
        found = read(waiting)
    except OSError:
        return None
    if found.key_id != expected:
        return None
    with contextlib.suppress(OSError):  # it can be used where it is
        waiting.replace(path)
        sync_folder(path.parent)
    return found
