"""The key that wraps the keys of data subjects: 32 bytes in a file of the user's own, made on first use, never beside the ledger."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from guardrail import settings
from guardrail.ledger import signing
from guardrail.ledger.keys import config_folder

FILE: Final = "sealing.key"
KEY_BYTES: Final = 32
_READ: Final = 4_096  # bytes of a file that should hold 45


class KeysUnavailable(OSError):
    """The keys of data subjects cannot be used now: nothing personal is kept until that is mended. The text says what to do."""


def sealing_key(*, create: bool) -> bytes:
    """Return the key.

    Args:
        create: Whether it may be made. One that `GUARDRAIL_SEALING_KEY_FILE` names is never made.

    Raises:
        KeysUnavailable: It is not there, open to others, or no key.
    """
    given = settings.current().sealing_key_file
    path = config_folder() / FILE if given is None else given
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            if given is not None or not create:
                raise KeysUnavailable(
                    f"there is no sealing key at {path}: bring it back, or name its file in GUARDRAIL_SEALING_KEY_FILE;"
                    " without it nothing that was sealed can be read"
                ) from None
        signing.make_file(path, KEY_BYTES)
        return _read(path)
    except KeysUnavailable:
        raise
    except OSError as problem:
        raise KeysUnavailable(
            f"the sealing key {path} cannot be used ({problem.strerror or type(problem).__name__})"
        ) from problem


def _read(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        content = os.read(handle, _READ) if stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(handle)
    refuse_open(status, path)
    key = b""
    with contextlib.suppress(binascii.Error, ValueError):
        key = base64.b64decode(content.strip(), validate=True)
    if len(key) != KEY_BYTES:
        raise KeysUnavailable(f"{path} is no sealing key: it has to hold 32 bytes in base64")
    return key


def refuse_open(status: os.stat_result, path: Path) -> None:
    """Raise KeysUnavailable where others may read or change a file; one of root's that is mounted for a group may be 0640."""
    if status.st_uid not in {0, os.geteuid()}:
        raise KeysUnavailable(f"{path} belongs to another user: chown it to the user of this process, or to root")
    allowed = 0o640 if status.st_uid == 0 and os.geteuid() != 0 else 0o600
    if stat.S_IMODE(status.st_mode) & ~allowed & 0o077:
        raise KeysUnavailable(f"{path} is open to other users: chmod 600 it")
