"""Where a case waits while the store cannot take it: one synced file per open key, moved into the store later."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import orjson

from guardrail import notices, settings
from guardrail.review.case import Row
from guardrail.store import engine, file_lock

_COARSE = 1.0  # seconds within which a folder may change twice and look the same
_empty: tuple[str, float] | None = None  # a folder, and when it was changed to be empty


def keep(row: Row) -> Row:
    """Keep a new ticket's row safely on disk.

    Args:
        row: As `Case.row` makes it.

    Returns:
        The row, or an earlier one with the same key that still waits here: one open ticket per key holds here too.

    Raises:
        OSError: The spool cannot be written either.
    """
    where = folder()
    settings.home()
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = _place(where, row)
    draft = where / f"{row['id']}.tmp"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(orjson.dumps({**row, "key": row["key"].hex()}))
            file.flush()
            os.fsync(file.fileno())
        while True:
            with contextlib.suppress(FileExistsError):
                os.link(draft, place)  # unlike a rename it never replaces another's case
                _sync(where)
                return row
            with contextlib.suppress(FileNotFoundError):  # it was moved into the store just now: ours is a new case again
                earlier = _load(place)
                if earlier is None:
                    _set_aside(place)
                else:
                    return earlier
    finally:
        draft.unlink(missing_ok=True)


def waiting() -> bool:
    """Return whether any case waits here. Asked with every case, so an unchanged empty folder is not read again."""
    global _empty  # noqa: PLW0603 - what this process last saw
    where = f"{settings.home(create=False)}/spool/review"
    try:
        changed = os.stat(where).st_mtime  # noqa: PTH116 - a `Path` costs as much as the question
    except OSError:
        return False
    if (where, changed) == _empty:
        return False
    if next(_files(), None) is not None:
        return True
    if time.time() - changed > _COARSE:  # not by our own clock, since the file system wrote the other time
        _empty = where, changed
    return False


def holds(ticket_id: str) -> bool:
    """Return whether the case of a ticket waits here."""
    return any(row["id"] == ticket_id for _, row in cases())


def count() -> int:
    """Return how many cases wait here."""
    return sum(1 for _ in _files())


def replay(within: float = engine.PATIENCE) -> int:
    """Move what waits here into the store, each case once even if several processes try; return how many were moved.

    Raises:
        StoreError: The store still does not take them; they stay here.
    """
    from guardrail.review import rows  # noqa: PLC0415 - with SQLAlchemy

    moved = 0
    with contextlib.suppress(FileNotFoundError), file_lock.held(folder() / "lock", block=False) as alone:
        if not alone:
            return 0
        found = list(cases())
        for some in (found[:1], found[1:]):  # one to try the store, then the others together
            stored = [engine.write(partial(rows.adopt, row=row)) for _, row in some]
            for (place, _), future in zip(some, stored, strict=True):
                engine.result(future, within)
                place.unlink()
                moved += 1
    return moved


def replace(place: Path, row: Row) -> None:
    """Put a case that waits here in its own place again, with other content. The caller holds the lock of the spool.

    Raises:
        OSError: It cannot be written.
    """
    where = place.parent
    draft = where / f"{row['id']}.tmp"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(orjson.dumps({**row, "key": row["key"].hex()}))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(_place(where, row))
    if place != _place(where, row):
        place.unlink()
    _sync(where)


def folder() -> Path:
    """Return where cases wait."""
    return settings.home(create=False) / "spool" / "review"


def _place(where: Path, row: Row) -> Path:
    return where / f"{hashlib.sha256(row['key']).hexdigest()[:32]}.json"


def _files() -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder()) as entries:
        for entry in entries:
            if entry.name.endswith(".json"):
                yield Path(entry.path)


def cases() -> Iterator[tuple[Path, Row]]:
    """Yield the cases that wait here, each with its file."""
    for place in _files():
        with contextlib.suppress(FileNotFoundError):
            row = _load(place)
            if row is None:
                _set_aside(place)
            else:
                yield place, row


def _load(place: Path) -> Row | None:
    try:
        row = orjson.loads(place.read_bytes())
        return {**row, "key": bytes.fromhex(row["key"])}
    except (ValueError, KeyError, TypeError):
        return None


def _set_aside(place: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        place.rename(place.with_suffix(".unreadable"))
    notices.say("review-spool", f"a case in {place.parent} could not be read and was set aside as *.unreadable")


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
