"""The folder that the embedded store lives in: finding it, making it, and what kind of file system it stands on."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

MOUNTS: Final = Path("/proc/self/mountinfo")
_MARKERS: Final = ("guardrail.toml", "pyproject.toml", ".git")
_PASSING: Final = frozenset({"aufs", "devtmpfs", "fuse.fuse-overlayfs", "overlay", "ramfs", "tmpfs"})
_REMOTE: Final = frozenset({
    "9p", "afs", "beegfs", "blobfuse", "blobfuse2", "ceph", "cifs", "coda", "davfs", "davfs2", "gcsfuse", "glusterfs", "goofys",
    "lustre", "mount-s3", "nfs", "nfs4", "rclone", "s3fs", "smb2", "smb3", "smbfs", "sshfs", "vboxsf",
})  # fmt: skip
_temporary: list[tuple[int, Path]] = []


class FileSystem(NamedTuple):
    """What a path stands on.

    Attributes:
        kind: As the kernel names it: "ext4", "overlay", "nfs4"…
        mount: Where it is mounted.
        passing: Its content ends with the container or the machine's uptime.
        remote: File locks, syncs and SQLite cannot be relied upon there.
    """

    kind: str
    mount: str
    passing: bool
    remote: bool


def nearest_toml(start: Path) -> Path | None:
    """Return the guardrail.toml of the nearest parent that holds one."""
    for folder in (start, *start.parents):
        found = folder / _MARKERS[0]
        if found.is_file():
            return found
    return None


def default(start: Path) -> Path:
    """Return `.guardrail` in the nearest parent that looks like a project, else in the folder itself."""
    for folder in (start, *start.parents):
        if any((folder / marker).exists() for marker in _MARKERS):
            return folder / ".guardrail"
    return start / ".guardrail"


def under_pytest(environ: Mapping[str, str]) -> bool:
    """Tell whether pytest runs this process; it says so itself from the start of the session."""
    return "PYTEST_VERSION" in environ or "PYTEST_CURRENT_TEST" in environ


def temporary() -> Path:
    """Return a path for a folder that this process removes at its exit. It is not made yet."""
    import tempfile  # noqa: PLC0415 - only test runs pay for these
    from multiprocessing import process, util  # noqa: PLC0415

    path = Path(tempfile.gettempdir()) / f"guardrail-{os.urandom(12).hex()}"
    _temporary.append((os.getpid(), path))
    if process.parent_process() is not None:  # a child of multiprocessing runs its own finalizers, never atexit
        util.Finalize(None, remove_temporary, exitpriority=0)
    return path


def remove_temporary() -> None:
    """Remove the temporary folders that this process chose; a forked child leaves its parent's alone."""
    for pid, path in _temporary:
        if pid == os.getpid():
            import shutil  # noqa: PLC0415 - only test runs pay for it

            shutil.rmtree(path, ignore_errors=True)


atexit.register(remove_temporary)  # registered at import, so that it runs after the last flush, which registers later


def make(path: Path) -> None:
    """Make the folder, private to its owner, with a .gitignore that keeps all of it out of version control.

    A folder that someone else made gets no .gitignore: it may be the root of a repository.

    Raises:
        OSError: It cannot be made.
    """
    missing = [each for each in path.parents if not each.is_dir()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(mode=0o700)
        for each in (path, *missing):  # or a power failure takes it, and the ledger in it
            _sync(each.parent)
    except FileExistsError:
        if not path.is_dir():
            raise NotADirectoryError(20, "Not a directory", str(path)) from None
        if path.name != ".guardrail":
            return
    ignore = path / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every folder that can be written can be read, or synced
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def file_system(path: Path, mounts: Path = MOUNTS) -> FileSystem | None:
    """Return what a path stands on, or will, from Linux's mountinfo (proc(5)); None where there is no such list.

    Args:
        path: It need not exist.
        mounts: Another list in the same format.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = os.path.realpath(path)
    found: FileSystem | None = None
    for line in lines:
        before, dash, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if not dash or len(fields) < 5:  # noqa: PLR2004 - the mount point is the fifth field
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = real == mount or real.startswith(mount.rstrip("/") + "/")
        if inside and (found is None or len(mount) >= len(found.mount)):  # the last of equals lies on top
            kind = kinds[0]
            found = FileSystem(kind, mount, passing=kind in _PASSING, remote=kind.removeprefix("fuse.") in _REMOTE)
    return found
