"""The folder of this home: whether it can be written, who may look into it, and what it stands on."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from guardrail import settings
from guardrail.doctor.finding import Finding, Level, reason

_LITTLE: Final = 2**30  # bytes of free disk below which a ledger soon stands still
_NO_ROOM: Final = 100 * 2**20


def home() -> Iterator[Finding]:
    """Yield what is found of the folder."""
    path = settings.home(create=False)
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if there == path:
        yield from _writable(path)
    elif there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        yield Finding("info", "home", f"{path} is made at the first guarded call")
    else:
        yield Finding("bad", "home", f"{path} cannot be made in {there}; set GUARDRAIL_HOME to a folder that can be written")
    yield from _ground(path, there)


def _writable(path: Path) -> Iterator[Finding]:
    probe = path / f".doctor-{secrets.token_hex(8)}"
    try:
        handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, b"a test of guardrail doctor\n")
            os.fsync(handle)
        finally:
            os.close(handle)
            probe.unlink()
    except OSError as error:
        yield Finding("bad", "home", f"{path} cannot be written: {reason(error)}")
        return
    yield Finding("ok", "home", f"{path} can be written")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("warn", "home", f"{path} is open to other users: chmod 700 {path}")


def _ground(path: Path, there: Path) -> Iterator[Finding]:
    stands_on = settings.file_system(path)
    if stands_on is None:
        yield Finding("info", "home", "what file system it stands on cannot be told on this system")
    elif stands_on.passing:
        yield Finding(
            "bad", "home",
            f"stands on {stands_on.kind}: records and tickets end with the container or the machine's uptime;"
            " set GUARDRAIL_HOME to a folder on a lasting volume",
        )  # fmt: skip
    elif stands_on.remote:
        yield Finding("bad", "home", f"stands on {stands_on.kind}, where file locks and syncs may fail; keep it on a local disk")
    else:
        yield Finding("ok", "home", f"stands on {stands_on.kind}")
    free = shutil.disk_usage(there).free
    level: Level = "bad" if free < _NO_ROOM else "warn" if free < _LITTLE else "ok"
    yield Finding(level, "home", f"{free / 2**30:.1f} GiB of disk are free")
