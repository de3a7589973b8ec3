"""Where a ledger must not be kept: file systems on which neither locks nor a finished sync mean what they say."""

from __future__ import annotations

import errno
from pathlib import Path

from guardrail.settings import folder


class PlaceRefused(OSError):
    """The file system under the ledger cannot keep its promises. The text says why, and what to do."""


def refused(path: Path, mounts: Path = folder.MOUNTS) -> str | None:
    """Return why a ledger cannot be kept at a path, None if it can, or if this system does not tell what is mounted.

    Args:
        path: It need not exist.
        mounts: Another list than /proc/self/mountinfo, in the same format.
    """
    stands_on = folder.file_system(path, mounts)
    if stands_on is None or not stands_on.remote:
        return None
    return (
        f"{path} stands on {stands_on.kind} (mounted at {stands_on.mount}), where a record that was acknowledged may be lost and"
        " two machines may hold one lock; set GUARDRAIL_HOME to a folder on a disk of this machine"
    )


def check(path: Path) -> None:
    """Refuse a place where the ledger's promises do not hold.

    Raises:
        PlaceRefused: It is such a place.
    """
    why = refused(path)
    if why is not None:
        raise PlaceRefused(errno.EOPNOTSUPP, why)
