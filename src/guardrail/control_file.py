"""The file of the run-time switches: read leniently, replaced whole under a lock, so that no reader sees half of it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, cast

from guardrail import clock, notices
from guardrail.settings.values import MODES

FILE: Final = "control.json"
LOCK_SECONDS: Final = 5.0
_MAX_BYTES: Final = 1_048_576
_FAR: Final = 253_402_300_800.0  # the year 10000: what lies behind it is no moment

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Switch:
    """What was switched for one guard, or for all of them under the name `*`.

    Attributes:
        mode: The mode that is in force instead of the configured one, None: the configured one.
        killed: Whether the function is not to be run.
        reason: Why it was killed.
        by: Who switched last.
        known_by: How that person was known: "os" or "asserted".
        at: When, in seconds since the epoch.
    """

    mode: str | None = None
    killed: bool = False
    reason: str | None = None
    by: str = ""
    known_by: str = "asserted"
    at: float = 0.0


@contextlib.contextmanager
def alone(path: Path) -> Generator[None]:
    """Hold the lock between processes for the length of a block, waiting a bounded time for it.

    Raises:
        TimeoutError: Another process does not let go of it.
    """
    from guardrail.store import file_lock  # noqa: PLC0415 - needed only for a change

    until = clock.now() + LOCK_SECONDS
    while True:
        with file_lock.held(path, block=False) as mine:
            if mine:
                yield
                return
        if clock.now() >= until:
            raise TimeoutError(errno.ETIMEDOUT, f"another process has held the lock for {LOCK_SECONDS:g} s", str(path))
        clock.sleep(0.02)


def stamp_of(path: Path) -> Stamp | None:
    """Return what tells one version of the file from another, None where there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half the cost of Path.stat, and it is polled
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size, found.st_ctime_ns


def read(path: Path) -> bytes:
    """Return the content of the file; raises ValueError where it is too long to be ours."""
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError("the file is too long")
    return content


def parse(content: bytes, last_good: Mapping[str, Switch]) -> dict[str, Switch]:
    """Return the switches of a file. What is odd in one entry does not hide the others, least of all a kill.

    Raises:
        ValueError: It is no mapping in JSON.
    """
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it holds no mapping")  # noqa: TRY004 - one kind of error for a file that cannot be used
    parsed = {}
    for name, entry in cast("dict[str, dict[str, object] | None]", found).items():
        if not isinstance(entry, dict):
            notices.say("control-entry", "an entry of the run-time switches is not understood and passed over", guard=name)
            continue
        switched = entry.get("mode")
        if switched is not None and switched not in MODES[:-1]:
            notices.say(
                "control-entry",
                "a mode that this release does not have was switched on; the last one stays",
                guard=name,
            )
            switched = last_good[name].mode if name in last_good else None
        at = entry.get("at")
        parsed[name] = Switch(
            mode=switched,
            killed=entry.get("killed", False) not in (False, None),  # anything odd counts as a kill
            reason=_words(entry.get("reason")) or None,
            by=_words(entry.get("by")),
            known_by=_words(entry.get("known_by")) or "asserted",
            at=float(at) if isinstance(at, int | float) and 0 <= at < _FAR else 0.0,
        )
    return parsed


def _words(value: object) -> str:
    return value if isinstance(value, str) else ""


def to_change(path: Path, last_good: Mapping[str, Switch]) -> dict[str, Switch]:
    """Return what is switched now; a file that makes no sense is put aside, so that a kill can still be written."""
    try:
        return parse(read(path), last_good)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        aside = path.with_name(f"{FILE}.broken")
        path.replace(aside)
        notices.say("control", f"{path} could not be understood ({why(error)}) and was put aside as {aside.name}")
        return dict(last_good)


def write(path: Path, now: Mapping[str, Switch]) -> None:
    """Replace the file whole: a reader sees the old or the new one, even after a power failure."""
    content = json.dumps({name: asdict(each) for name, each in sorted(now.items())}, indent=1).encode()
    new = path.with_name(f"{FILE}.new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(handle, "wb") as file:  # noqa: PTH123 - from a descriptor
        file.write(content)
        file.flush()
        os.fsync(handle)
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def why(error: BaseException) -> str:
    """Return what went wrong without any path or content."""
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else type(error).__name__
