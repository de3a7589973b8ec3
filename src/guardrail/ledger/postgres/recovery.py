"""Lanes of this home whose process is gone: what is in their files is replayed, and they are closed in the manifest."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from guardrail import clock
from guardrail.ledger import merkle, notes
from guardrail.ledger.lane import LOCK
from guardrail.ledger.postgres import SPOOL, rows, spool
from guardrail.ledger.postgres.lane import COMMIT_SECONDS, OPEN
from guardrail.ledger.postgres.link import READ_SECONDS, Away, Link
from guardrail.ledger.postgres.manifest import SharedManifest
from guardrail.ledger.record import iso
from guardrail.ledger.recovery import Recovered


def waiting(home: Path) -> list[tuple[str, int]]:
    """Return the lanes of a home that have files to be replayed, each with their bytes."""
    found: list[tuple[str, int]] = []
    for folder in _folders(home):
        with contextlib.suppress(OSError):
            size = sum(each.stat().st_size for each in folder.glob("*.jsonl"))
            if size:
                found.append((folder.name, size))
    return found


def replay(home: Path, url: str) -> list[Recovered]:
    """Replay and close every lane of a home whose process is gone, now; for `guardrail store replay`.

    Raises:
        OSError: The database cannot be used.
    """
    link = Link(url)
    try:
        link.ready(READ_SECONDS)
        return [each for each in recover(home, link, SharedManifest(link), "") if each is not None]
    finally:
        link.drop()


def recover(home: Path, link: Link, manifest: SharedManifest, own: str) -> Iterator[Recovered | None]:
    """Look at every lane of a home but one's own, the oldest first, one for each step.

    Yields:
        What was done, None where the lane's process lives.

    Raises:
        Away: The database does not answer.
    """
    for folder in _folders(home):
        if folder.name != own:
            yield _one(link, manifest, folder, own)


def _folders(home: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(each for each in (home / SPOOL).iterdir() if each.is_dir() and not each.is_symlink())
    return []


def _one(link: Link, manifest: SharedManifest, folder: Path, own: str) -> Recovered | None:
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None  # it is just being made, or cleared away
    except OSError as problem:
        return Recovered(folder.name, 0, 0, f"its lock cannot be opened ({problem.strerror})")
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        try:
            return _close(link, manifest, folder, own)
        except spool.Damaged as problem:
            return Recovered(folder.name, 0, 0, str(problem))
        except Away:
            raise
        except OSError as problem:
            return Recovered(folder.name, 0, 0, problem.strerror or str(problem))
    finally:
        os.close(handle)


def _close(link: Link, manifest: SharedManifest, folder: Path, own: str) -> Recovered | None:
    """Bring a dead lane into the database, and close it. The caller holds its lock."""
    facts = manifest.lanes().get(folder.name)
    if facts is not None and facts.closed:
        spool.clear(folder)
        return None
    name, kept = folder.name, spool.Spool(folder)
    first = kept.more()
    if facts is None and not first and not rows.last(link, name):
        spool.clear(folder)  # it ended before it had anything
        return None
    if facts is None:
        with manifest.locked():
            key = manifest.signer()
            manifest.append_all([("open", {**_said(folder), "key_id": key.key_id})], [key])
    while first:
        contents, leaves = [each.content for each in first], [each.leaf for each in first]
        rows.insert(link, name, first[0].seq, contents, leaves, [], 4 * COMMIT_SECONDS)
        first = kept.more()
    rows.insert(link, name, 0, [], [], spool.checkpoints(folder), 4 * COMMIT_SECONDS)
    tree = merkle.Range()
    for seq, leaf in rows.leaves(link, name):
        if seq != tree.size + 1:
            raise spool.Damaged(f"record {tree.size + 1} is missing")
        tree.add(leaf)
    with manifest.locked():
        key = manifest.signer()
        fields = {"lane": name, "size": tree.size, "root": tree.root().hex(), "recovered": {"by": own, "cut_bytes": kept.torn}}
        if tree.size:
            note = notes.Note(manifest.origin(name), tree.size, tree.root(), iso(clock.wall()))
            rows.insert(link, name, 0, [], [], [(tree.size, f"{notes.sign(note, [key])}\n".encode())], COMMIT_SECONDS)
        manifest.append_all([("close", fields)], [key])
    spool.clear(folder)
    return Recovered(name, tree.size, kept.torn, None)


def _said(folder: Path) -> dict[str, Any]:
    """Return what a lane that began while the database was away wanted to say of itself."""
    plain = {"lane": folder.name, "host": socket.gethostname(), "boot": "", "pid": 0, "sdk": ""}
    try:
        found = json.loads((folder / OPEN).read_bytes())
        return plain | {each: found[each] for each in plain} | {"lane": folder.name}
    except (OSError, ValueError, KeyError, TypeError):
        return plain
