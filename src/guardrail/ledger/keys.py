"""The secret that input digests are keyed with: without it, nobody can try out which input a digest stands for."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from guardrail.ledger.disk import have_folder, sync_folder

KEY_BYTES: Final = 32
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW


def config_folder() -> Path:
    """Return the user's own folder for settings and keys (XDG Base Directory Specification); it may not exist yet."""
    given = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(given) if given.startswith("/") else Path.home() / ".config"  # a relative one is to be ignored, it says
    return base / "guardrail"


def digest_key(folder: Path | None = None) -> bytes:
    """Return the key, made the first time: 32 random bytes in `digest.key`, readable by its owner only.

    Two processes that make it at the same time end up with the same one: the file appears whole, under one name, once.

    Raises:
        OSError: It can neither be read nor made, or what is there is not such a key.
    """
    folder = config_folder() if folder is None else folder
    path = folder / "digest.key"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    have_folder(folder)
    making = folder / f".digest.key.{os.urandom(8).hex()}"
    handle = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    try:
        try:
            os.write(handle, os.urandom(KEY_BYTES))
            os.fsync(handle)
        finally:
            os.close(handle)
        with contextlib.suppress(FileExistsError):
            os.link(making, path)  # unlike a rename it never replaces the key that another process has just made
    finally:
        making.unlink()
    sync_folder(folder)
    return _read(path)


def _read(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        status = os.fstat(handle)
        key = os.read(handle, KEY_BYTES + 1)
    finally:
        os.close(handle)
    if not stat.S_ISREG(status.st_mode) or len(key) != KEY_BYTES:
        raise OSError(f"{path} is not a key of {KEY_BYTES} bytes; move it away, and a new one is made")
    return key
