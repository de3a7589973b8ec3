"""Compresses closed segments to `.jsonl.gz`: many gzip members of whole lines, byte-identical when read back, then a seal.

A reader finds the plain file or the whole compressed one, never neither; a crash leaves both, and the next round goes on.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guardrail import clock
from guardrail.ledger import disk, keeping
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.keeping import Pace
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.manifest_lines import LaneFacts
from guardrail.ledger.segments import PACKED, segments, written
from guardrail.ledger.unzip import Unzipped

AFTER_SECONDS: Final = 86_400.0
MEMBER: Final = 2**20  # bytes of content
PART: Final = ".part"  # ends the name of what is being made
_LEVEL: Final = 6
_GZIP: Final = 31  # zlib's number for its largest window within gzip's head and checksum
# The last member (RFC 1952): its extra field `gr` holds the SHA-256 of all compressed bytes before. Without it, the moment in
# a head or the bits that fill up the last byte of a member could be changed and nobody would see it.
SEAL: Final = b"\x1f\x8b\x08\4" + bytes(5) + b"\xff\x24\0gr\x20\0%b\3" + bytes(9)


@dataclass
class Compressed:
    """What was done.

    Attributes:
        segments: How many were compressed.
        before: Bytes that they took, after: bytes that they take.
        problems: By lane and file, why one was left as it is.
    """

    segments: int
    before: int
    after: int
    problems: list[str]


def compress(home: Path, *, older_than: float = AFTER_SECONDS, pace: Pace = keeping.unhurried) -> Compressed:
    """Compress the closed segments of all lanes, one after the other.

    Args:
        home: The folder of the embedded store.
        older_than: Seconds since a segment was written last.
        pace: Called with the bytes handled since the last time.

    Raises:
        OSError: The manifest cannot be read.
    """
    done = Compressed(0, 0, 0, [])
    folder = home / FOLDER
    for path in closed(home, clock.wall() - older_than):
        try:
            with keeping.alone(folder, keeping.WORK):
                sizes = pack(path, pace)
        except FileNotFoundError:  # another process has compressed or pruned it
            continue
        except OSError as problem:
            done.problems.append(f"{path.parent.name}/{path.name}: {problem.strerror or problem}")
            continue
        done.segments += 1
        done.before += sizes[0]
        done.after += sizes[1]
    return done


def closed(home: Path, before: float) -> Iterator[Path]:
    """Yield the plain files that will not grow: of closed lanes all, of others those that the manifest says are closed.

    Args:
        home: The folder of the embedded store.
        before: Only what was written last before this moment, in seconds since the epoch.

    Raises:
        OSError: The manifest cannot be read.
    """
    folder = home / FOLDER
    for facts in Manifest(folder).lanes().values():
        try:
            files = segments(folder / facts.name)
        except OSError:  # the lane is gone, or cannot be read: `verify` says so
            continue
        for each in files:
            if not each.path.name.endswith(PACKED) and _ended(facts, each.first) and 0 < written(each.path) <= before:
                yield each.path


def _ended(facts: LaneFacts, first: int) -> bool:
    return facts.closed or any(first == begun for begun, _, _ in facts.segments)


def pack(path: Path, pace: Pace = keeping.unhurried) -> tuple[int, int]:
    """Put a compressed file in the place of a plain one. The caller holds the lock `keeping.WORK`.

    Args:
        path: A segment that will not grow.
        pace: As above.

    Returns:
        Bytes before and after.

    Raises:
        FileNotFoundError: It is gone.
        OSError: The plain file stays, for it could not be read, or the compressed one not be written or read back.
    """
    making = path.with_name(f".{path.name}{PACKED}{PART}")
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        status = os.fstat(source)
        try:
            size = _checked(making, status, _write(source, making, pace), pace)
            _unchanged(status, os.fstat(source))
            making.replace(path.with_name(path.name + PACKED))
            disk.sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                making.unlink()
            raise
        _forget(source)
    finally:
        os.close(source)
    path.unlink()
    disk.sync_folder(path.parent)
    return status.st_size, size


def _write(source: int, making: Path, pace: Pace) -> tuple[bytes, int]:
    """Write the members; return digest and length of the content."""
    digest, length, packed = hashlib.sha256(), 0, hashlib.sha256()
    handle = os.open(making, os.O_WRONLY | os.O_TRUNC | disk.FLAGS, disk.MODE)
    try:
        for content in _members(source):
            digest.update(content)
            length += len(content)
            packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
            member = packer.compress(content) + packer.flush()
            packed.update(member)
            disk.write_all(handle, member)
            pace(len(content))
        disk.write_all(handle, SEAL % packed.digest())
        os.fsync(handle)
    finally:
        os.close(handle)
    return digest.digest(), length


def _checked(making: Path, status: os.stat_result, expected: tuple[bytes, int], pace: Pace) -> int:
    """Read the compressed file back, give it the moments of the plain one, and return its size."""
    with making.open("rb") as file:
        handle = file.fileno()
        os.utime(handle, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(handle)
        _forget(handle)
        if _digest(Unzipped(file), pace) != expected:
            raise OSError(errno.EIO, "the compressed file does not read back as it was written")
        return os.fstat(handle).st_size


def _unchanged(before: os.stat_result, after: os.stat_result) -> None:
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError(errno.EBUSY, "somebody has written to it, though it was closed")


def _members(source: int) -> Iterator[bytes]:
    """Yield the content in parts that end with a line; only the last one may be cut short, as a failed write leaves it."""
    rest, any_yet = b"", False
    while block := os.read(source, MEMBER):
        content = rest + block
        end = content.rfind(b"\n") + 1 or len(content)
        rest = content[end:]
        any_yet = True
        yield content[:end]
    if rest or not any_yet:
        yield rest


def _digest(content: Unzipped, pace: Pace) -> tuple[bytes, int]:
    digest, length = hashlib.sha256(), 0
    while block := content.read(MEMBER):
        digest.update(block)
        length += len(block)
        pace(len(block) // 8)  # unpacking is that much cheaper
    return (b"", -1) if content.trouble else (digest.digest(), length)


def _forget(handle: int) -> None:
    """Let the system drop its copy in memory: what is read back comes from the disk, and others keep their cache."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
