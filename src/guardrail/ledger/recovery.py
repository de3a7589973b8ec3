"""Lanes whose process is gone: the torn end of the last file is cut, and the lane closed in the manifest. No other damage is touched."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from guardrail import clock
from guardrail.ledger import derived, disk, merkle, notes
from guardrail.ledger.lane import LOCK
from guardrail.ledger.manifest import Manifest, add_note
from guardrail.ledger.record import iso
from guardrail.ledger.segments import Segment, segments


class Recovered(NamedTuple):
    """What became of a lane whose process is gone.

    Attributes:
        lane: Its name.
        size: Records that it has.
        cut_bytes: What was cut off its end: a line that was being written, never acknowledged.
        problem: Why it was left as it is, None if it was closed.
    """

    lane: str
    size: int
    cut_bytes: int
    problem: str | None


class _Damaged(Exception):
    """A lane is not what its process can have left; the text says how."""


def recover(manifest: Manifest, own: str) -> Iterator[Recovered | None]:
    """Look at every lane that was never closed, the oldest first, one for each step.

    Args:
        manifest: Of the ledger.
        own: Name of the lane that does this; it is left out.

    Yields:
        What was done, None where the lane's process lives.

    Raises:
        OSError: The manifest cannot be read.
    """
    for name in [each for each in manifest.open_lanes() if each != own]:
        yield _one(manifest, name, own)


def _one(manifest: Manifest, name: str, own: str) -> Recovered | None:
    folder = manifest.folder / name
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as problem:
        return Recovered(name, 0, 0, f"its lock cannot be opened ({problem.strerror})")
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if name not in manifest.open_lanes():  # closed by another process, in the meantime
            return None
        try:
            return _close(manifest, folder, own)
        except _Damaged as problem:
            return Recovered(name, 0, 0, str(problem))
        except OSError as problem:
            return Recovered(name, 0, 0, problem.strerror or str(problem))
    finally:
        os.close(handle)


def _close(manifest: Manifest, folder: Path, own: str) -> Recovered:
    """Make a dead lane whole, and close it. The caller holds its lock."""
    files = segments(folder)
    tree, known = _known(manifest, folder, files)
    facts = manifest.lanes().get(folder.name)
    if facts is None:  # its name was found in a line that is none any more
        raise _Damaged("the manifest's line of it cannot be read")
    pruned = max((upto for _, upto in facts.pruned), default=0)
    fresh, cut = _scanned(files, tree, known, pruned)
    if cut is not None:
        _cut(*cut)
    cut_bytes = 0 if cut is None else cut[2]
    tree.extend(fresh)
    if tree.size:
        disk.append(folder / derived.LEAVES, b"".join(fresh), at=merkle.SIZE * (tree.size - len(fresh)))
    with manifest.locked():
        key = manifest.signer()
        if fresh:
            note = notes.Note(manifest.origin(folder.name), tree.size, tree.root(), iso(clock.wall()))
            add_note(folder / derived.CHECKPOINTS, notes.sign(note, [key]))
        fields = {"lane": folder.name, "size": tree.size, "root": tree.root().hex()}
        manifest.append_all([("close", {**fields, "recovered": {"by": own, "cut_bytes": cut_bytes}})], [key])
    return Recovered(folder.name, tree.size, cut_bytes, None)


def _known(manifest: Manifest, folder: Path, files: list[Segment]) -> tuple[merkle.Range, bytes]:
    """Return the tree up to the last checkpoint, and its last leaf, both as the leaves' file has them."""
    content = b"".join(disk.read_from(folder / derived.CHECKPOINTS, 0))
    try:
        checkpoints = notes.parse_all(content)
    except ValueError:
        raise _Damaged("its checkpoints cannot be read") from None
    tree = merkle.Range()
    if not checkpoints:
        return tree, bytes(32)
    last = checkpoints[-1][0]
    if last.origin != manifest.origin(folder.name):
        raise _Damaged("its last checkpoint is another lane's")
    leaves = derived.read_leaves(folder, last.size)
    if len(leaves) < last.size or merkle.root(leaves) != last.root:  # a crash may have taken what was not synced
        leaves = list(derived.hashes(folder, last.size)) if files else []
    tree.extend(leaves)
    if tree.size != last.size or tree.root() != last.root:
        raise _Damaged(f"its records are not those of its checkpoint over {last.size}")
    if merkle.root(derived.read_leaves(folder, last.size)) != last.root:
        disk.replace(folder / derived.LEAVES, b"".join(leaves))
    return tree, leaves[-1] if leaves else bytes(32)


def _scanned(
    files: list[Segment], tree: merkle.Range, leaf: bytes, pruned: int
) -> tuple[list[bytes], tuple[Path, int, int] | None]:
    """Return the leaves behind the last checkpoint, and what is torn: the file, where, and how many bytes."""
    fresh: list[bytes] = []
    expected, reached = tree.size + 1, pruned
    if files and files[0].first > pruned + 1:
        raise _Damaged(f"the file with record {pruned + 1} is missing")
    for segment in files:
        if segment.upto is not None and segment.upto <= expected:
            reached = max(reached, segment.upto - 1)
            continue
        if segment.first > expected:
            raise _Damaged(f"the file with record {expected} is missing")
        for line in derived.stored(segment, leaf if segment.first == expected else None):
            if line.seq < expected:
                reached = max(reached, line.seq if line.content.endswith(b"\n") else 0)
                continue
            if line.linked:
                leaf = merkle.leaf(line.content[:-1])
                fresh.append(leaf)
                expected += 1
                continue
            if segment.upto is None and _torn(segment.path, line):
                return fresh, (segment.path, line.at, segment.path.stat().st_size - line.at)
            raise _Damaged(f"record {line.seq} does not follow the one before it")
    if not fresh and reached < tree.size:
        raise _Damaged(f"record {tree.size} of its checkpoint is missing")
    return fresh, None


def _torn(path: Path, line: derived.Line) -> bool:
    """Tell whether a line is what a crash leaves: cut short at the end of the file, or blocks that were never written."""
    size = path.stat().st_size
    return (line.at + len(line.content) == size and not line.content.endswith(b"\n")) or b"\0" in line.content


def _cut(path: Path, at: int, _: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.ftruncate(handle, at)
        os.fsync(handle)
    finally:
        os.close(handle)
    with contextlib.suppress(OSError):
        disk.sync_folder(path.parent)
