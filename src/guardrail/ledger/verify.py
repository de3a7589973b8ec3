"""Verify a guardrail ledger: one file, Python's standard library, no network. Made to be read before it is trusted.

    python verify.py PATH [--key FILE|VKEY]… [--anchor FILE]… [--max-unanchored 24h] [--json]

PATH is the folder `ledger` (or the home folder around it). Every record is one line; its leaf is SHA-256(0x00 || line). Each
line names the leaf before it (`prev`) and its number (`seq`). Over the leaves of a lane stands the Merkle tree of RFC 9162;
its roots are signed now and then (Ed25519; C2SP signed notes, in `checkpoints`). `manifest.jsonl` is built in the same way
(`manifest.notes`) and names all lanes, keys, closed segments and prunings. The file `leaves` repeats the leaves, so that
damage can be named, and so that proofs outlive pruned records. Anchors are copies of signed notes kept elsewhere.

Exit codes, the worst in the order 1, 2, 5, 4, 3, 0: 0 proven; 1 altered (a byte, a record too many, out of order or twice, a
fork signed anew); 2 truncated (a tail, segment or lane is missing, or all is an older copy); 3 a benign torn tail, as a crash
leaves it; 4 the part without anchor is older than --max-unanchored; 5 wrong use, or a key is missing.

Without --key the keys come from the manifest itself, beside what they prove: then whoever could rewrite the whole ledger could
put in keys of their own, and only anchors would show it.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import hashlib
import json
import os
import re
import stat
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

sha256 = hashlib.sha256
LINE = 65_535  # bytes of a line, at most
NOTE = 65_536  # bytes of a note, at most
SEGMENT = 2**30  # bytes that one segment may unpack to
BLOCK = 2**20
NAMED = 50  # findings that are named for each lane; the rest is counted
SHOWN = 40  # lanes that the text tells of even if all is well
UNSIGNED, UNSIGNED_SECONDS = 20_000, 60.0  # checkpoints come every 1,000 records or 10 s: more than this there never is without
WORST_FIRST = (1, 2, 5, 4, 3, 0)
VERDICTS = ("proven", "altered", "truncated", "proven, with a benign torn tail", "not anchored for too long", "not verified")
_RECORD = re.compile(rb'\{"v":\d{1,4},"(?:id":"[^"\\]{1,64}","seq|n)":([1-9]\d{0,17}),"prev":"([0-9a-f]{64})"')
_LANE = re.compile(r"(?!manifest$)[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SEGMENT = re.compile(r"(\d{20})\.jsonl(\.gz)?")
_TS = re.compile(rb'"ts":"([^"]{10,40})"')


class Finding(NamedTuple):
    """What is wrong, and where."""

    code: int
    what: str
    lane: str | None  # None: the manifest, or the ledger as a whole
    segment: str | None
    seq: int | None
    text: str


# ── Ed25519 (RFC 8032): the library `cryptography` where it is installed, else this ───────────────────────────────────
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int, int, int]  # extended coordinates: X, Y, Z, X*Y/Z
_ZERO: Point = (0, 1, 1, 0)


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _decoded(data: bytes) -> Point | None:
    y = int.from_bytes(data, "little") & (2**255 - 1)
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (v * x * x - u) % P or (not x and data[31] >> 7):
        return None
    x = P - x if x & 1 != data[31] >> 7 else x
    return x, y, 1, x * y % P


def _table(point: Point) -> list[list[Point]]:
    """Return, for each hexadecimal digit of a factor, the 16 multiples of a point that it may stand for."""
    rows = []
    for _ in range(64):
        row = [_ZERO]
        for _ in range(15):
            row.append(_add(row[-1], point))
        rows.append(row)
        point = _add(row[-1], point)
    return rows


@functools.lru_cache(16)
def _tables(public: bytes) -> tuple[list[list[Point]], list[list[Point]]] | None:
    key, base = _decoded(public), _decoded(bytes([0x58]) + bytes([0x66]) * 31)
    return None if key is None or base is None else (_table(base), _table((P - key[0], key[1], 1, P - key[3])))


def ed25519(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether a signature is right, in plain Python: some milliseconds."""
    tables, s = _tables(public), int.from_bytes(signature[32:], "little")
    if tables is None or len(signature) != 64 or s >= L:  # noqa: PLR2004
        return False
    h, total = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L, _ZERO
    for rows, factor in zip(tables, (s, h)):  # noqa: B905 - both are two
        for at, row in enumerate(rows):
            total = _add(total, row[factor >> 4 * at & 15])
    inverse = pow(total[2], -1, P)
    x, y = total[0] * inverse % P, total[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


@functools.lru_cache(16)
def _checker(public: bytes) -> Callable[[bytes, bytes], bool]:
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

        key = Ed25519PublicKey.from_public_bytes(public)
    except Exception:  # noqa: BLE001 - not installed, or cannot be used here
        return functools.partial(ed25519, public)

    def check(signature: bytes, message: bytes) -> bool:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return check


# ── the tree and the notes ────────────────────────────────────────────────────────────────────────────────────────────
class Tree:
    """A Merkle tree (RFC 9162, 2.1) that grows: of each level only the node that has no partner yet."""

    def __init__(self) -> None:
        self.levels: list[bytes] = []

    def extend(self, nodes: bytes) -> None:
        """Add leaves, 32 bytes each."""
        at = 0
        while nodes:
            if at == len(self.levels):
                self.levels.append(b"")
            nodes, self.levels[at] = self.levels[at] + nodes, b""
            if len(nodes) % 64:
                nodes, self.levels[at] = nodes[:-32], nodes[-32:]
            nodes = b"".join([sha256(b"\1%b" % nodes[i : i + 64]).digest() for i in range(0, len(nodes), 64)])
            at += 1

    def root(self, more: bytes = b"") -> bytes:
        """Return the root, as it would be with one more leaf if one is given."""
        tree = self
        if more:
            tree = Tree()
            tree.levels = self.levels[:]
            tree.extend(more)
        found = b""
        for each in tree.levels:
            found = sha256(b"\1" + each + found).digest() if each and found else each or found
        return found or sha256(b"").digest()


class Note(NamedTuple):
    """A checkpoint: the first `size` records have this root."""

    origin: str
    size: int
    root: bytes
    time: str
    message: bytes  # what is signed
    signatures: list[tuple[str, bytes, bytes]]  # name and hash of the key, signature


def unbase64(text: str, size: int) -> bytes:
    """Decode base64 that is spelled in the one right way, of something of a known size; raise ValueError."""
    data = base64.b64decode(text, validate=True)
    if len(data) != size or base64.b64encode(data).decode() != text:
        raise ValueError("base64")
    return data


def note_of(raw: bytes) -> Note:
    """Read a signed note (C2SP signed-note, tlog-checkpoint); raise ValueError where it is none."""
    text = raw.decode()
    body, gap, signed = text.rpartition("\n\n\u2014 ")
    lines = body.split("\n")
    if not gap or len(lines) < 3 or not re.fullmatch(r"0|[1-9]\d{0,17}", lines[1]) or not signed.endswith("\n"):  # noqa: PLR2004
        raise ValueError("no checkpoint")
    signatures = []
    for line in signed[:-1].split("\n\u2014 "):
        name, _, encoded = line.partition(" ")
        value = unbase64(encoded, 68)
        signatures.append((name, value[:4], value[4:]))
    moment = lines[3][5:] if len(lines) > 3 and lines[3].startswith("time ") else ""  # noqa: PLR2004
    return Note(lines[0], int(lines[1]), unbase64(lines[2], 32), moment, f"{body}\n".encode(), signatures)


def notes_in(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, str]]:
    """Yield what stands in a file of notes: each note with "", or something else with what is wrong: "torn" or "broken"."""
    rest = body = b""
    for block in blocks:
        *pieces, rest = (rest + block).split(b"\n\n")
        for piece in pieces:
            if piece.startswith(b"\xe2\x80\x94 "):
                yield body + piece + b"\n", "" if body else "broken"
                body = b""
            else:
                if body:
                    yield body, "broken"
                body = piece + b"\n\n"
        if len(rest) > NOTE:
            yield rest[:100], "broken"
            return
    if body + rest:
        yield body + rest, "torn"


def key_hash(name: str, public: bytes) -> bytes:
    """Return what a signature calls its key by (C2SP signed-note)."""
    return sha256(name.encode() + b"\n\x01" + public).digest()[:4]


def signers(note: Note, keys: Iterable[bytes]) -> tuple[set[bytes], str]:
    """Return the keys that have signed a note, and what is wrong with its signatures, if anything is."""
    known = {key_hash(note.origin, key): key for key in keys}
    found, wrong = set(), ""
    for name, hashed, value in note.signatures:
        key = known.get(hashed) if name == note.origin else None
        if key is None:
            wrong = wrong or "is signed with an unknown key"
        elif _checker(key)(value, note.message):
            found.add(key)
        else:
            wrong = "has a signature that is not right"
    return found, wrong


# ── where it is read from ─────────────────────────────────────────────────────────────────────────────────────────────
class Source:
    """What a ledger is read from. The lane None is the manifest. Segments are pairs (name, number of the first record)."""

    def lanes(self) -> list[str]:
        """Return the names of all lanes that hold anything."""
        raise NotImplementedError

    def segments(self, lane: str | None) -> list[tuple[str, int]]:
        """Return the segments of a lane, in order."""
        raise NotImplementedError

    def lines(self, lane: str | None, segment: str) -> Iterator[tuple[list[bytes], bytes]]:
        """Yield lines without their newlines, many at a time, each time with what stands behind the last newline of all.

        Raises OSError where they cannot be read, ValueError where they cannot be unpacked.
        """
        raise NotImplementedError

    def stored(self, lane: str | None) -> int:
        """Return how many leaf hashes are stored."""
        raise NotImplementedError

    def leaves(self, lane: str | None, at: int, many: int) -> bytes:
        """Return stored leaf hashes from a place (0: the first) on; fewer where there are fewer."""
        raise NotImplementedError

    def notes(self, lane: str | None) -> Iterator[bytes]:
        """Return the stored notes in blocks of bytes, as they are at this moment."""
        raise NotImplementedError

    def begun(self, lane: str) -> bool:  # noqa: ARG002 - only folders are such places
        """Tell whether there is a place for a lane, even if nothing is in it."""
        return False

    def close(self) -> None:
        """Let go of what is held for a lane."""


class Files(Source):
    """A ledger in a folder. No link is followed, nothing but regular files is opened."""

    def __init__(self, path: str) -> None:
        inner = os.path.join(path, "ledger")  # noqa: PTH118 - no pathlib: names may be hostile, and there are many
        self.path = inner if os.path.isdir(inner) else path  # noqa: PTH112
        self._leaves = -1  # of one lane at a time
        if not os.path.isdir(self.path):  # noqa: PTH112
            raise FileNotFoundError(f"{path!a} is no folder")

    def lanes(self) -> list[str]:
        """Return the folders that are lanes by their name or by what is in them; linked ones, too: they are reported."""
        with os.scandir(self.path) as found:
            return sorted(each.name for each in found if (each.is_symlink() and each.name[:1].isdigit()) or self._holds(each))

    def _holds(self, folder: os.DirEntry[str]) -> bool:
        if not folder.is_dir(follow_symlinks=False):
            return False
        with os.scandir(folder.path) as found:
            return any(_SEGMENT.fullmatch(each.name) for each in found)

    def segments(self, lane: str | None) -> list[tuple[str, int]]:
        """Return the segments; of one that is plain and compressed, the plain one."""
        if lane is None:
            return [("manifest.jsonl", 1)]
        folder = os.path.join(self.path, lane)  # noqa: PTH118
        found: dict[int, str] = {}
        if not os.path.islink(folder) and os.path.isdir(folder):  # noqa: PTH112, PTH114
            for name in sorted(os.listdir(folder), reverse=True):  # noqa: PTH208
                match = _SEGMENT.fullmatch(name)
                if match:
                    found[int(match[1])] = name
        return [(found[first], first) for first in sorted(found)]

    def open(self, lane: str | None, name: str) -> int:
        """Open a regular file that is no link, in a folder that is none."""
        folder = os.open(os.path.join(self.path, lane or ""), os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if lane else 0))  # noqa: PTH118
        try:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError("it is no regular file")
        return handle

    def lines(self, lane: str | None, segment: str) -> Iterator[tuple[list[bytes], bytes]]:
        """Yield the lines of a segment, unpacked."""
        try:
            handle = self.open(lane, segment)
        except FileNotFoundError:  # it has been compressed since its name was read
            segment += ".gz"
            handle = self.open(lane, segment)
        try:
            rest, total = b"", 0
            for block in _unpacked(handle) if segment.endswith(".gz") else iter(lambda: os.read(handle, BLOCK), b""):
                total += len(block)
                if total > SEGMENT:
                    raise ValueError(f"it is longer than {SEGMENT} bytes")
                lines = (rest + block).split(b"\n")
                rest = lines.pop()[: 2 * LINE]  # of a line without end only the beginning
                yield lines, b""
            yield [], rest
        finally:
            os.close(handle)

    def stored(self, lane: str | None) -> int:
        """Count what is in the lane's file `leaves`; the manifest has none."""
        self.close()
        if lane is not None:
            with contextlib.suppress(OSError):
                self._leaves = self.open(lane, "leaves")
        return os.fstat(self._leaves).st_size // 32 if self._leaves >= 0 else 0

    def leaves(self, lane: str | None, at: int, many: int) -> bytes:  # noqa: ARG002 - it is the lane of `stored`
        """Read from the file that `stored` has opened."""
        return os.pread(self._leaves, 32 * many, 32 * at) if self._leaves >= 0 else b""

    def notes(self, lane: str | None) -> Iterator[bytes]:
        """Read `checkpoints`, or `manifest.notes`."""
        try:
            handle = self.open(lane, "manifest.notes" if lane is None else "checkpoints")
        except OSError:
            return iter(())
        return self._blocks(handle, os.fstat(handle).st_size)

    def _blocks(self, handle: int, end: int) -> Iterator[bytes]:
        try:
            for at in range(0, end, BLOCK):
                yield os.pread(handle, min(BLOCK, end - at), at)
        finally:
            os.close(handle)

    def begun(self, lane: str) -> bool:
        """Tell whether there is a folder, which a process makes before the manifest hears of its lane."""
        folder = os.path.join(self.path, lane)  # noqa: PTH118
        return os.path.isdir(folder) and not os.path.islink(folder)  # noqa: PTH112, PTH114

    def close(self) -> None:
        """Close what is open between two calls."""
        if self._leaves >= 0:
            os.close(self._leaves)
            self._leaves = -1


def _unpacked(handle: int) -> Iterator[bytes]:
    """Yield what a gzip file holds, at most a block at a time, whatever it is blown up to."""
    inner, data = zlib.decompressobj(31), b""
    try:
        while True:
            data = data or os.read(handle, BLOCK)
            if inner.eof:
                if not data:
                    return
                inner = zlib.decompressobj(31)
            block = inner.decompress(data, BLOCK)
            if block:
                yield block
            elif not data:
                raise ValueError("its compressed content ends too early")
            data = inner.unused_data if inner.eof else inner.unconsumed_tail
    except zlib.error:
        raise ValueError("its compressed content is damaged") from None


# ── one lane, or the manifest ─────────────────────────────────────────────────────────────────────────────────────────
class Due(NamedTuple):
    """The root that a lane must have at a size, as somebody else says."""

    size: int
    by: str  # "segment", "close", "prune" or "anchor"
    root: bytes
    line: int = 0  # of the manifest


@dataclass
class Facts:
    """What is known of a lane before it is read."""

    size: int | None = None  # when it was closed
    segments: dict[int, tuple[int, bool]] = field(default_factory=dict)  # first: last, and whether a write to it failed
    pruned: list[tuple[int, int]] = field(default_factory=list)
    dues: set[Due] = field(default_factory=set)
    wanted: dict[int, list[tuple[str, int, int]]] = field(default_factory=dict)  # records that must tell of a pruning


@dataclass
class Proof:
    """What is proven of a lane: the records 1 to `proven` by a signature, 1 to `anchored` also by an anchor."""

    lane: str
    records: int = 0
    pruned: int = 0
    proven: int = 0
    proven_at: str = ""
    anchored: int = 0
    unanchored_since: str = ""
    findings: int = 0


class Scan:
    """Reads one lane from its beginning to its end and compares it with everything that is known of it."""

    def __init__(self, run: Run, lane: str | None, facts: Facts, keys: set[bytes]) -> None:
        self.run, self.source, self.lane, self.facts, self.keys = run, run.source, lane, facts, keys
        self.proof = Proof(lane or "manifest")
        self.skip, self.word = (7, '"n":') if lane is None else (51, '"seq":')
        self.next, self.prev, self.tree = 1, "0" * 64, Tree()
        self.segment, self.upto = "", 0
        self.dues = sorted(facts.dues, reverse=True)
        self.signers: set[bytes] = set()  # of the note that is compared next
        self.good: list[tuple[int, set[bytes]]] = []  # sizes of notes with the right root, and who signed them
        self.off = False  # the tree has gone wrong, and that was said
        self.gone: set[int] = set()  # numbers that are missing so far
        self.wrong: dict[int, int] = {}  # numbers at which a line is wrong: place of the finding
        self.unanchored = self.unsigned = self.latest = b""  # the first record without an anchor, without a checkpoint; the last
        self.cut = self.blank = False
        self.stored = self.source.stored(lane)  # before the records are read: whatever it has, they had before
        self.notes = self._good_notes(self.source.notes(lane))
        self.note: Note | None = next(self.notes, None)

    def find(self, code: int, what: str, seq: int | None, text: str, segment: str | None = None) -> None:
        """Report something."""
        self.proof.findings += 1
        if self.proof.findings <= NAMED:
            self.run.findings.append(Finding(code, what, self.lane, segment or self.segment or None, seq, text))
        self.run.codes.add(code)

    # ── what others say of it ──
    def _good_notes(self, blocks: Iterator[bytes]) -> Iterator[Note]:
        """Yield the notes of the lane in order, each read and with its signatures checked."""
        name = "manifest.notes" if self.lane is None else "checkpoints"
        origin, latest = f"guardrail/{self.run.ledger}/{self.lane or 'manifest'}", -1
        for raw, wrong in notes_in(blocks):
            if wrong == "torn" and self.facts.size is None:
                self.find(3, "torn", None, "the last checkpoint was cut off while it was written", name)
                continue
            try:
                note = note_of(raw)
                found, problem = signers(note, self.keys) if self.keys else ({b""}, "")
            except ValueError:
                self.find(1, "checkpoint", None, f"what follows the checkpoint over {max(latest, 0)} records is none", name)
                continue
            if note.origin != origin:
                problem, found = f"is of another log, {note.origin[:200]!a}", set()
            elif note.size < latest:
                problem = "stands behind a later one"
            if problem:
                self.find(
                    1,
                    "fork" if "unknown" in problem else "checkpoint",
                    note.size,
                    f"the checkpoint over {note.size} records {problem}",
                    name,
                )
            if found and note.size >= latest:
                latest, self.signers = note.size, found
                yield note

    def _due(self) -> int:
        """Return the next size at which somebody else knows the root; 0 for none."""
        while self.dues and self.dues[-1].size < self.next - 1:
            self.dues.pop()
        while self.note is not None and self.note.size < self.next - 1:
            self.note = next(self.notes, None)
        sizes = [each.size for each in (self.note, self.dues[-1] if self.dues else None) if each is not None]
        return min(sizes, default=0)

    def _known_root(self) -> bytes | None:
        """Return the root that the tree must have once the next record is in it, if anybody knows it."""
        if self._due() != self.next or self.off:
            return None
        return self.note.root if self.note is not None and self.note.size == self.next else self.dues[-1].root

    def _compare(self) -> None:
        """Compare the tree with all that is known of its size."""
        size, root, text = self.next - 1, b"", f"records {self.proof.proven + 1} to {self.next - 1} are not those of the "
        while self._due() == size and (self.note or self.dues):
            root = root or self.tree.root()
            if self.note is not None and self.note.size == size:
                note, found, self.note = self.note, self.signers, next(self.notes, None)
                if note.root == root:
                    self._proven(size, note.time)
                    self.good.append((size, found))
                elif not self.off:
                    self.find(1, "altered", size, f"{text}checkpoint over {size}")
                    self.off = True
                continue
            due = self.dues.pop()
            if due.by == "anchor":
                if due.root == root:
                    self._anchored(size)
                elif not self.off:
                    self.find(1, "fork", size, f"{text}anchor over {size}: what was signed then has been replaced")
            elif due.root == root:
                if self.proof.proven < size:
                    self._proven(size, "")
                if due.line <= self.run.manifest.anchored:
                    self._anchored(size)
            elif not self.off:
                self.find(1, "prune" if due.by == "prune" else "altered", size, f"{text}manifest's line {due.line}")
                self.off = True

    def _proven(self, size: int, moment: str) -> None:
        self.proof.proven, self.proof.proven_at, self.unsigned = size, moment, b""

    def _anchored(self, size: int) -> None:
        self.proof.anchored, self.unanchored = size, b""

    # ── its records ──
    def steps(self) -> Iterator[int]:
        """Read it all; yield now and then how many bytes were read since."""
        files = self.source.segments(self.lane)
        self._compare()
        if self.run.newest and self.lane is not None and len(files) > 1:
            self._pass_over(files[-1][1])
            files = files[-1:]
        for at, (name, first) in enumerate(files):
            if first > self.next:
                self._hole(first, name)
            self.segment, self.upto = name, files[at + 1][1] if at + 1 < len(files) else 0
            held: bytes | None = None  # a line waits for the next one, whose link tells whether it is right
            rest = b""
            try:
                for lines, rest in self.source.lines(self.lane, name):  # noqa: B007 - used below
                    if lines:
                        whole = lines if held is None else [held, *lines]
                        held = whole.pop()
                        self._take(whole, held)
                        yield sum(map(len, lines))
            except ValueError as problem:
                self.find(1, "unreadable", self.next, f"behind record {self.next - 1 + (held is not None)} {problem}")
            except OSError as problem:
                self.find(2, "unreadable", self.next, f"it cannot be read: {problem.strerror or problem}")
            if held is not None:
                self._take([held], None)
            if rest:
                self._torn(rest)
        self._end()

    def _take(self, lines: list[bytes], after: bytes | None) -> None:
        """Take lines; `after` is the one behind them, None where nobody knows."""
        at = 0
        head = None if self.prev or not lines else _RECORD.match(lines[0])
        if head:  # nobody knows what stood before
            self.prev = head[2].decode()
        while at < len(lines):
            if self.upto and self.next >= self.upto:  # a later file holds these numbers
                self._again(lines[at:])
                return
            room = [len(lines) - at, 10 ** len(str(self.next)) - self.next]  # of one length, so that links stand at one place
            room += [self.upto - self.next] * bool(self.upto) + [self._due() - self.next + 1] * (self._due() >= self.next)
            part = lines[at : at + min(room)]
            at += len(part)
            behind = lines[at] if at < len(lines) else after
            if not self._fast(part, behind):
                for line, then in zip(part, [*part[1:], behind]):  # noqa: B905 - as long as each other
                    self._slow(line, then)

    def _fast(self, lines: list[bytes], after: bytes | None) -> bool:
        """Take lines that are all as they should be; return False, and do nothing, if one is not."""
        first, many = self.next, len(lines)
        begin = self.skip
        middle = begin + len(self.word) + len(str(first)) + 9  # ,"prev":"
        end = middle + 64
        leaves = b"".join([sha256(b"\0" + line).digest() for line in lines])
        links = self.prev + leaves[:-32].hex()
        heads = "".join([f'{self.word}{seq},"prev":"' for seq in range(first, first + many)])
        if b"".join([line[middle:end] for line in lines]) != links.encode():
            return False
        if b"".join([line[begin:middle] for line in lines]) != heads.encode():
            return False
        if self.stored >= first:
            stored = self.source.leaves(self.lane, first - 1, min(many, self.stored - first + 1))
            if not leaves.startswith(stored):
                return False
        if after is not None and _link(after) != leaves[-32:].hex():
            return False
        self._accept(lines, leaves)
        return True

    def _accept(self, lines: list[bytes], leaves: bytes) -> None:
        self.unanchored, self.unsigned, self.latest = self.unanchored or lines[0], self.unsigned or lines[0], lines[-1]
        for seq in self.facts.wanted.keys() & range(self.next, self.next + len(lines)):
            self.run.pruner(self.facts.wanted[seq], self.lane, seq, lines[seq - self.next])
        if self.lane is None:
            for at, line in enumerate(lines):
                self.run.told(self.next + at, line)
        self.tree.extend(leaves)
        self.next += len(lines)
        self.proof.records += len(lines)
        self.prev = leaves[-32:].hex()
        self._compare()

    def _slow(self, line: bytes, after: bytes | None) -> None:
        """Take one line of some of which at least one is wrong, and say what is wrong with it."""
        number, head = self.next, _RECORD.match(line)
        if self.blank:
            return
        if b"\0" in line and not self.upto and self._in_use(number) and not self._stored(number):
            self.find(3, "torn", number, f"from record {number} on blocks were never written, as a power failure leaves them")
            self.blank = True
            return
        own, seq, prev = sha256(b"\0" + line).digest(), int(head[1]) if head else 0, head[2].decode() if head else ""
        if seq != number and head and self._stored(seq) == own:  # another record of this lane, as it was
            if seq > number:
                self._missing(seq, "deleted", 1)
                self._slow(line, after)
            elif not self._explained(seq, number):
                self.find(1, "replayed", seq, f"record {seq} stands once more behind record {number - 1}")
            return
        stored, link = self._stored(number), bytes.fromhex(_link(after)) if after is not None else b""
        true = self._true_leaf(number, own, stored, link, after)
        if true == own and seq == number and len(line) <= LINE:
            if stored and stored != own:
                self.find(1, "leaves", number, f"the stored hash of record {number} is not that of the record", "leaves")
            elif not stored and number <= self.stored:
                code = 3 if self._in_use(number) else 1
                self.find(
                    code, "leaves", number, f"the stored hash of record {number} is blank, as a power failure leaves it", "leaves"
                )
            if prev != self.prev and not self.off:
                self.find(1, "altered", number - 1, f"record {number - 1} is not the one that record {number} links to")
                self.off = True
            self._accept([line], own)
            return
        if not stored and seq < number and head:
            self.find(1, "inserted", seq, f"a line with the number {seq} stands behind record {number - 1}")
            return
        if not stored and seq > number:
            self._missing(seq, "deleted", 1)
            self._slow(line, after)
            return
        self.wrong[number] = len(self.run.findings) if self.proof.findings < NAMED else -1
        self.find(1, "altered", number, f"record {number} is not the one that was written")
        self._accept([line], true or own)

    def _true_leaf(self, number: int, own: bytes, stored: bytes, link: bytes, after: bytes | None) -> bytes:
        """Return the leaf that the record with a number had when it was written: two of three agree, or a root decides."""
        root = self._known_root()
        if root is not None:
            for each in (own, stored, link):
                if each and self.tree.root(each) == root:
                    return each
        if link and link == stored:
            return link
        if link == own or not (stored or link):
            return own
        if stored == own and after is not None and link:  # who is wrong, this record or the next one's link?
            then = self._stored(number + 1)
            return link if then and sha256(b"\0" + after).digest() == then else own
        return stored or link

    def _explained(self, seq: int, number: int) -> bool:
        """Tell whether a record that was missed or found wrong at its place is here instead; then that is said better."""
        if seq in self.gone:
            self.gone.discard(seq)
            self._rename(seq, "reordered", f"record {seq} stands behind record {number - 1}")
        elif seq in self.wrong:
            self._rename(seq, "inserted", f"a line that is no record of this lane stands before record {seq}")
        else:
            return False
        return True

    def _in_use(self, number: int) -> bool:
        """Tell whether a record is of a lane that nobody has closed, and behind all that anybody has signed."""
        return self.lane is not None and self.facts.size is None and self._due() < number

    def _stored(self, seq: int) -> bytes:
        """Return a stored hash; none where it is blank, which no hash is."""
        found = self.source.leaves(self.lane, seq - 1, 1) if 0 < seq <= self.stored else b""
        return found if any(found) else b""

    def _rename(self, seq: int, what: str, text: str) -> None:
        """Say better what was found before: the number of a later line has shown what it is."""
        at = self.wrong.pop(seq, -1)
        if at >= 0:
            self.run.findings[at] = self.run.findings[at]._replace(what=what, text=text)

    def _missing(self, upto: int, what: str, code: int) -> None:
        """Pass over records up to a number, which are not there."""
        first, self.wrong[self.next] = self.next, len(self.run.findings) if self.proof.findings < NAMED else -1
        self.find(code, what, first, f"{_records(first, upto - 1)} missing")
        if upto - first <= NAMED:
            self.gone |= set(range(first, upto))
            self.wrong |= dict.fromkeys(range(first, upto), self.wrong[first])
        self._pass_over(upto)

    def _pass_over(self, upto: int) -> None:
        """Go on behind records that are not there, with their stored leaves."""
        while self.next < upto:
            due = self._due()
            many = min(upto, due + 1 if due >= self.next else upto, self.next + 32_768) - self.next
            leaves = self.source.leaves(self.lane, self.next - 1, many)
            if len(leaves) < 32 * many:
                self.next, self.prev, self.off = upto, "", True
                return
            self.tree.extend(leaves)
            self.next, self.prev = self.next + many, leaves[-32:].hex()
            self._compare()

    def _hole(self, upto: int, segment: str) -> None:
        """Tell of records that no segment holds: pruned lawfully, or gone."""
        self.segment = segment
        for first, last in [*sorted(self.facts.pruned), (upto, upto)]:
            if last < self.next or self.next >= upto:
                continue
            if first > self.next:
                until = min(first, upto)
                name = f"{self.next:020d}.jsonl" if self.next in self.facts.segments else segment
                self.segment = name
                self._missing(until, "segment removed" if name != segment else "cut", 2)
            if self.next < upto and first < upto:
                before = self.next
                self._pass_over(min(last + 1, upto))
                self.proof.pruned += self.next - before
                if self.off:
                    self.find(
                        2,
                        "leaves",
                        before,
                        f"the stored hashes of the pruned {_records(before, self.next - 1)} missing",
                        "leaves",
                    )

    def _again(self, lines: list[bytes]) -> None:
        """Tell of lines whose numbers the next file has again: a write that failed leaves such, and nothing else does."""
        for line in lines[: len(self.wrong)]:
            head = _RECORD.match(line)
            if head and self._stored(int(head[1])) == sha256(b"\0" + line).digest() and self._explained(int(head[1]), self.next):
                lines = lines[1:]
        if not lines:
            return
        last, failed = self.facts.segments.get(int(self.segment[:20]), (0, False))
        if not failed:
            self.find(
                1 if last else 3, "replayed" if last else "torn", self.next, f"{len(lines)} lines stand behind the last record"
            )

    def _torn(self, rest: bytes) -> None:
        """Judge what stands behind the last newline of a segment."""
        if self.blank:
            return
        number, stored = self.next, self._stored(self.next)
        if self.upto and number >= self.upto:
            self._again([rest])
        elif stored and sha256(b"\0" + rest[:-1]).digest() == stored:
            self.find(1, "altered", number, f"the newline of record {number} is not the one that was written")
            self._accept([rest[:-1]], stored)
        elif stored or self.upto or self._due() >= number:
            self.find(2, "cut", number, f"the file ends within record {number}")
            self.cut = True
        elif self.facts.size is not None:
            self.find(1, "inserted", number, f"something stands behind record {number - 1}, the last")
        else:
            self.find(3, "torn", number, f"record {number} was cut off while it was written; nothing vouched for it yet")

    def _end(self) -> None:
        """Compare where the lane ends with where it should."""
        pruned = max((last for _, last in self.facts.pruned), default=0)
        if self.next <= pruned:
            self._hole(pruned + 1, "")
        size, proof, closed = self.next - 1, self.proof, self.facts.size
        signed = max([self.note.size if self.note else 0, *(each.size for each in self.notes)])
        known = max([signed, closed or 0, self.stored, *(each.size for each in self.dues if each.by != "anchor")])
        anchor = max([0, *(each.size for each in self.dues)])
        if known > size and not self.cut:
            whole = not size and self.lane is not None
            self.find(
                2, "lane removed" if whole else "cut", size + 1, f"{_records(size + 1, max(known, anchor))} missing at the end"
            )
        elif anchor > size and not self.cut:
            self.find(2, "rollback", size + 1, f"an anchor knows {anchor} records: this is an older copy, or its end was cut off")
        if closed is not None and size > closed:
            self.find(1, "inserted", closed + 1, f"{_records(closed + 1, size)} here, though the lane was closed before")
        if closed and max([signed, *(each for each, _ in self.good)]) < closed and not self.off:
            self.find(2, "checkpoint", closed, f"the last checkpoint, over {closed} records, is missing", "checkpoints")
        if self.lane is not None and self.stored < proof.proven:
            text = (
                f"the stored hashes of {_records(self.stored + 1, proof.proven)} missing; they can be made anew from the records"
            )
            self.find(3 if closed is None else 2, "leaves", self.stored + 1, text, "leaves")
        begun, ended = _seconds(self.unsigned), _seconds(self.latest)
        long = size - proof.proven > UNSIGNED or (begun and ended and ended - begun > UNSIGNED_SECONDS)
        if long and self.lane is not None and not self.off and proof.proven < size:
            text = f"{_records(proof.proven + 1, size)} without a checkpoint, far more than there ever are: they were removed"
            self.find(2, "checkpoint", proof.proven + 1, text, "checkpoints")
        if proof.anchored < size:
            proof.unanchored_since = _moment(self.unanchored)
        self.source.close()


def _link(line: bytes) -> str:
    """Return the hash that a line gives for the one before it."""
    head = _RECORD.match(line)
    return head[2].decode() if head else ""


def _moment(line: bytes) -> str:
    found = _TS.search(line)
    return found[1].decode(errors="replace") if found else ""


def _seconds(line: bytes) -> float:
    """Return when a line says that it was made, in seconds since the epoch; 0 where it says nothing."""
    try:
        return datetime.fromisoformat(_moment(line)).timestamp()
    except ValueError:
        return 0.0


def _records(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"


# ── the whole ledger ──────────────────────────────────────────────────────────────────────────────────────────────────
class Key(NamedTuple):
    """A line of the manifest that names a key."""

    line: int
    public: bytes
    by: str
    signature: bytes


@dataclass
class Report:
    """What came out."""

    ledger: str
    keys: list[str]  # ids of the keys that vouch for it
    beside: bool  # the keys lay beside the ledger
    findings: list[Finding]
    lanes: list[Proof]  # the manifest first
    codes: set[int]
    anchors: int  # notes of this ledger that lie elsewhere

    @property
    def code(self) -> int:
        """The verdict."""
        found = self.codes | {each.code for each in self.findings}
        return next((code for code in WORST_FIRST if code in found), 0)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        more = {"verdict": VERDICTS[self.code], "code": self.code, "key_from": "beside the ledger" if self.beside else "given"}
        findings = [each._asdict() for each in self.findings]
        return more | {**asdict(self), "codes": sorted(self.codes), "findings": findings}

    def text(self) -> Iterator[str]:
        """Yield it as lines for people."""
        yield f"ledger {self.ledger or 'unknown'}: {VERDICTS[self.code]}"
        yield f"keys {', '.join(self.keys) or 'none'}, " + ("taken from the ledger itself: whoever could rewrite all of it could have put"
            " in others; give --key from elsewhere" if self.beside else "given from outside")  # fmt: skip
        yield (
            f"{self.anchors} anchored checkpoints"
            if self.anchors
            else "no anchor: an older or newly signed copy of all would not show"
        )
        for each in self.lanes:
            if (
                len(self.lanes) > SHOWN
                and each is not self.lanes[0]
                and not each.findings
                and each.proven == each.records + each.pruned
            ):
                continue
            size = each.records + each.pruned
            text = f"{each.lane}: {each.records} records" + (f", {each.pruned} pruned" if each.pruned else "")
            text += f"; proven up to {each.proven}" + (f", {each.proven_at}" if each.proven_at else "")
            text += f"; {size - each.proven} not signed yet" if size > each.proven else ""
            if self.anchors and size > each.anchored:
                text += f"; anchored up to {each.anchored}, nothing since {each.unanchored_since}"
            yield text + (f"; {each.findings} findings" if each.findings else "")
        for found in self.findings:
            where = [found.lane or "manifest", found.segment or "", "" if found.seq is None else f"#{found.seq}"]
            yield f"[{found.code}] {found.what}: {' '.join(filter(None, where))}: {found.text}"


class Run:
    """One verification, in steps, so that it can be spread over time.

    Args:
        source: Where the ledger is.
        keys: Public keys (32 bytes) that are known from elsewhere.
        anchors: For each anchor its notes, in blocks of bytes.
        policy_seconds: The most that a record may be without an anchor; None: as long as it likes.
        now: Seconds since the epoch.
        newest: Read only the newest segment of each lane, relying on the stored leaves for those before.
        only: Read only these lanes.
        ledgers: Ids of ledgers that the keys are known for, if any.
    """

    def __init__(
        self, source: Source, keys: Iterable[bytes] = (), anchors: Iterable[Iterable[bytes]] = (), policy_seconds: float | None = None,
        now: float | None = None, *, newest: bool = False, only: set[str] | None = None, ledgers: Iterable[str] = (),
    ) -> None:  # fmt: skip
        self.source, self.given, self.policy, self.newest, self.only = source, set(keys), policy_seconds, newest, only
        self.now = time.time() if now is None else now
        self.ledgers, self.ledger = set(ledgers), ""
        self.findings: list[Finding] = []
        self.codes: set[int] = set()
        self.manifest = Proof("manifest")
        self.proofs = [self.manifest]
        self.events: list[tuple[int, dict[str, Any]]] = []
        self.facts: dict[str, Facts] = {}
        self.unproven: dict[tuple[str, int, int, int], str] = {}
        self.anchors: dict[str, dict[Due, Note]] = {}
        self._given_anchors = anchors
        self._vouched: set[bytes] = set()

    def find(self, code: int, what: str, text: str, lane: str | None = None, seq: int | None = None) -> None:
        """Report something of the ledger as a whole."""
        self.findings.append(Finding(code, what, lane, None, seq, text))

    def report(self) -> Report:
        """Return what was found so far."""
        keys = sorted(sha256(each).hexdigest()[:16] for each in self._vouched)
        return Report(
            self.ledger, keys, not self.given, self.findings, self.proofs, self.codes, sum(map(len, self.anchors.values()))
        )

    def steps(self) -> Iterator[int]:
        """Do it; yield now and then how many bytes were read since."""
        there = set(self.source.lanes())  # before the manifest: a lane that begins meanwhile is in it
        said = self._said()
        if not self.ledger:
            self.find(2 if there else 5, "manifest", "the manifest is missing" if there else "there is no ledger here")
            return
        keys = self.given | {each.public for each in said}
        self._read_anchors(keys)
        scan = Scan(self, None, Facts(dues=set(self.anchors.get("manifest", ()))), keys)
        self.manifest = self.proofs[0] = scan.proof
        yield from scan.steps()
        signed = self._vouch(said, scan, empty=not (there or self.anchors))
        if not self._vouched:
            self.find(5, "key", "the manifest names no key that can be used, and none was given")
            return
        self._apply(signed)
        if signed < scan.next - 1:
            scan.find(
                3,
                "torn",
                signed + 1,
                f"its lines from {signed + 1} on have no checkpoint of a trusted key, and are not relied upon",
            )
        for lane in sorted(there - self.facts.keys()):
            self.find(1, "foreign lane", f"the manifest knows nothing of {lane[:300]!a}")
        for lane in sorted((self.anchors.keys() - {"manifest"}) | self.facts.keys()):
            facts = self.facts.get(lane)
            if facts is None:
                self.find(2, "lane removed", f"an anchor knows {lane[:300]!a}, the manifest does not")
            elif not _LANE.fullmatch(lane):
                self.find(1, "manifest", f"it has {lane[:300]!a}, which cannot be the name of a lane")
            elif self.only is None or lane in self.only:
                facts.dues |= set(self.anchors.get(lane, ()))
                if lane not in there and facts.size is None and not facts.dues and not facts.pruned and self.gone(lane):
                    if self.source.begun(lane):
                        self.find(3, "torn", f"{lane} was begun and holds nothing: its process was killed at once", lane)
                    else:
                        self.find(2, "lane removed", f"nothing is left of {lane}", lane)
                scan = Scan(self, lane, facts, self._vouched)
                self.proofs.append(scan.proof)
                yield from scan.steps()
        if self.only is None and not self.newest:
            for (lane, seq, _, upto), of in sorted(self.unproven.items()):
                if not any(first <= seq <= last for first, last in self.facts.get(lane, Facts()).pruned):
                    self.find(
                        1,
                        "prune",
                        f"record {seq} of {lane[:300]!a} should tell that {of} was pruned up to {upto}, and does not",
                        of,
                    )
        self._judge_age()

    def gone(self, lane: str) -> bool:
        """Tell whether not even the notes of a lane are there."""
        return next(self.source.notes(lane), None) is None

    # ── what the manifest says ──
    def _said(self) -> list[Key]:
        """Read the ledger's id and its keys, before anything is proven."""
        ids: list[str] = []
        found: list[Key] = []
        number = 0
        for lines, _ in self._manifest_lines():
            for line in lines:
                number += 1
                if b'"event":"ledger"' not in line and b'"event":"key"' not in line:
                    continue
                event = _json(line)
                if event.get("event") == "ledger":
                    ids.append(str(event.get("ledger"))[:64])
                elif event.get("event") == "key":
                    with contextlib.suppress(KeyError, ValueError, TypeError):
                        public, by = unbase64(event["key"], 32), str(event["by"])
                        signature = unbase64(event["signature"], 64) if by == "rotated" else b""
                        if event.get("key_id") == sha256(public).hexdigest()[:16]:
                            found.append(Key(number, public, by, signature))
        for raw, _ in notes_in(self.source.notes(None)):
            kind, _, rest = raw[:200].split(b"\n")[0].decode(errors="replace").partition("/")
            if kind == "guardrail" and rest.endswith("/manifest"):
                ids.append(rest[:-9])
            if len(ids) > 2:  # noqa: PLR2004 - two against one
                break
        ids = [each for each in ids if re.fullmatch(r"[0-9a-f]{16}", each)]
        self.ledger = max(ids, key=ids.count, default="")
        return found

    def _manifest_lines(self) -> Iterator[tuple[list[bytes], bytes]]:
        for name, _ in self.source.segments(None):
            with contextlib.suppress(OSError, ValueError):
                yield from self.source.lines(None, name)

    def told(self, number: int, line: bytes) -> None:
        """Keep what a line of the manifest says; it counts once a trusted key has signed it."""
        event = _json(line)
        if event.get("event") in {"open", "segment", "close", "prune"} and isinstance(event.get("lane"), str):
            known = ("event", "lane", "size", "root", "first", "last", "root_at_last", "failed", "from", "upto", "by")
            self.events.append((number, {name: event[name] for name in known if name in event}))

    def _vouch(self, said: list[Key], scan: Scan, *, empty: bool) -> int:
        """Find the keys to trust; return how many lines of the manifest they have signed. In an empty ledger there is no lane."""
        trusted = set(self.given) or {each.public for each in said if each.by != "rotated"}
        for each in said:
            message = f"guardrail key {self.ledger} {sha256(each.public).hexdigest()[:16]}\n".encode()
            before = [one.public for one in said if one.line < each.line]
            if each.by == "rotated" and not any(_checker(key)(each.signature, message) for key in before[::-1]):
                scan.find(1, "key", each.line, "no key before it has signed this one")
            elif each.by == "rotated" and any(_checker(key)(each.signature, message) for key in before if key in trusted):
                trusted.add(each.public)
        signed = max((size for size, by in scan.good if by & trusted), default=0)
        trusted |= {each.public for each in said if each.line <= signed}  # a trusted key has signed that these are its own
        signed = max((size for size, by in scan.good if by & trusted), default=0)
        self._vouched = trusted
        if not signed and empty and not (self.given or scan.good):
            scan.find(3, "torn", None, "it was begun, holds nothing, and its process was killed before the first checkpoint")
        elif not signed:
            scan.find(1 if self.given else 2, "fork", None, "none of its checkpoints is signed with a key that is trusted")
        elif signed < max(size for size, _ in scan.good):
            scan.find(
                5,
                "key",
                signed + 1,
                "it goes on with a key that no trusted key vouches for: give that one, too, or doubt the rest",
            )
        if self.ledgers and self.ledger not in self.ledgers:
            scan.find(
                1, "fork", None, f"the key that was given is of the ledger {', '.join(sorted(self.ledgers))}, not of this one"
            )
        return signed

    def _apply(self, signed: int) -> None:
        """Sort what the manifest says by lanes."""
        for number, event in self.events:
            facts = self.facts.setdefault(event["lane"], Facts())
            with contextlib.suppress(KeyError, ValueError, TypeError):
                if number > signed or event["event"] == "open":
                    continue
                if event["event"] == "segment":
                    facts.segments[_number(event["first"])] = _number(event["last"]), bool(event.get("failed"))
                    facts.dues.add(Due(_number(event["last"]), "segment", bytes.fromhex(event["root_at_last"]), number))
                elif event["event"] == "close":
                    facts.size = _number(event["size"])
                    facts.dues.add(Due(facts.size, "close", bytes.fromhex(event["root"]), number))
                else:
                    first, upto, by = _number(event["from"]), _number(event["upto"]), event["by"]
                    place = str(by["lane"]), _number(by["seq"])
                    facts.dues.add(Due(upto, "prune", bytes.fromhex(event["root"]), number))
                    facts.pruned.append((first, upto))
                    self.unproven[*place, first, upto] = event["lane"]
                    self.facts.setdefault(place[0], Facts()).wanted.setdefault(place[1], []).append((event["lane"], first, upto))
        self.events.clear()

    def pruner(self, wanted: list[tuple[str, int, int]], lane: str | None, seq: int, line: bytes) -> None:
        """Look at a record that should tell of a pruning."""
        record = _json(line)
        for of, first, upto in wanted:
            if record.get("event") == "prune" and (record.get("lane"), record.get("from"), record.get("upto")) == (
                of,
                first,
                upto,
            ):
                self.unproven.pop((lane or "", seq, first, upto), None)

    # ── what is elsewhere ──
    def _read_anchors(self, keys: set[bytes]) -> None:
        others: set[str] = set()
        for blocks in self._given_anchors:
            for raw, _ in notes_in(blocks):
                try:
                    note = note_of(raw)
                except ValueError:
                    self.find(3, "anchor", "what stands in an anchor is no checkpoint")
                    continue
                kind, _, rest = note.origin.partition("/")
                ledger, _, lane = rest.partition("/")
                if kind == "guardrail" and ledger == self.ledger:
                    self.anchors.setdefault(lane, {})[Due(note.size, "anchor", note.root)] = note
                else:
                    others.add(ledger[:64])
        if others and not self.anchors:
            self.find(1, "fork", f"the anchors are of {', '.join(map(ascii, sorted(others)[:5]))}, not of this ledger")
        for lane, notes in self.anchors.items():
            latest = max(notes.values(), key=lambda note: note.size)
            found, wrong = signers(latest, keys)
            if not found:
                self.find(
                    1, "fork", f"the anchor over {latest.size} of {lane[:300]!a} {wrong}: this ledger may be a fork, signed anew"
                )

    def _judge_age(self) -> None:
        """Find the part that has been without an anchor for too long."""
        if self.policy is None:
            return
        for each in self.proofs:
            since = _seconds(b'"ts":"%b"' % each.unanchored_since.encode())
            if since and self.now - since > self.policy:
                lane = None if each is self.manifest else each.lane
                self.find(4, "unanchored", f"nothing since {each.unanchored_since} is anchored", lane, each.anchored + 1)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**18:
        raise ValueError("no number")
    return value


def _json(line: bytes) -> dict[str, Any]:
    """Read a line; what is no object, or is nested or long beyond reason, reads as an empty one."""
    try:
        found = json.loads(line) if len(line) <= LINE else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def verify(
    source: Source, keys: Iterable[bytes] = (), anchors: Iterable[Iterable[bytes]] = (), policy_seconds: float | None = None,
    now: float | None = None, *, ledgers: Iterable[str] = (),
) -> Report:  # fmt: skip
    """Verify a ledger; the arguments are those of `Run`."""
    run = Run(source, keys, anchors, policy_seconds, now, ledgers=ledgers)
    for _ in run.steps():
        pass
    return run.report()


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────
class Usage(Exception):
    """The command was not used as it must be."""


def read_key(text: str) -> tuple[bytes, str]:
    """Read a public key, a C2SP verifier key or 32 bytes in base64; return it and the id of the ledger that it names, or ""."""
    match = re.fullmatch(r"([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{44})", text.strip())
    try:
        if match is None:
            return unbase64(text.strip(), 32), ""
        public = unbase64(match[3], 33)
    except ValueError:
        raise Usage("a key is a verifier key (name+hash+base64) or a public key of 32 bytes in base64") from None
    if public[:1] != b"\1" or key_hash(match[1], public[1:]).hex() != match[2]:
        raise Usage(f"the verifier key of {match[1]!a} is misspelled: its parts do not fit each other")
    ledger = re.match(r"guardrail/([0-9a-f]{16})/", match[1])
    return public[1:], ledger[1] if ledger else ""


def read_keys(given: Iterable[str]) -> tuple[set[bytes], set[str]]:
    """Read keys, given themselves or as files with one on each line; return them and the ledgers that they name."""
    keys, ledgers = set(), set()
    for each in given:
        lines = [each]
        if os.path.exists(each):  # noqa: PTH110
            with open(each, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                lines = [line for line in file.read(NOTE).splitlines() if line.strip() and not line.startswith("#")]
        for line in lines:
            key, ledger = read_key(line)
            keys.add(key)
            ledgers |= {ledger} - {""}
    return keys, ledgers


def blocks_of(path: str) -> Iterator[bytes]:
    """Yield a file of notes in blocks, or all files of a folder of them."""
    names = sorted(os.listdir(path)) if os.path.isdir(path) else [""]  # noqa: PTH112, PTH208
    for name in names:
        with open(os.path.join(path, name) if name else path, "rb") as file:  # noqa: PTH118, PTH123
            while block := file.read(BLOCK):
                yield block
            yield b"\n\n" if name else b""


def seconds(text: str) -> float:
    """Read a duration: 90s, 15m, 24h, 7d."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise Usage("--max-unanchored is written 90s, 15m, 24h or 7d")
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        description="Verify a guardrail ledger.", epilog="Exit codes: " + str(__doc__).partition("Exit codes, ")[2]
    )
    parser.add_argument("path", metavar="PATH", help="the folder `ledger`, or the home folder around it")
    parser.add_argument("--key", action="append", default=[], metavar="FILE|VKEY", help="a public key known from elsewhere")
    parser.add_argument(
        "--anchor", action="append", default=[], metavar="FILE", help="a file, or a folder, of anchored checkpoints"
    )
    parser.add_argument("--max-unanchored", metavar="24h", help="the most that a record may be without an anchor")
    parser.add_argument("--json", action="store_true", help="print JSON")
    try:
        given = parser.parse_args(argv)
        keys, ledgers = read_keys(given.key)
        policy = seconds(given.max_unanchored) if given.max_unanchored else None
        for path in given.anchor:
            os.stat(path)  # noqa: PTH116
        report = verify(Files(given.path), keys, map(blocks_of, given.anchor), policy, ledgers=ledgers)
    except (Usage, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)  # noqa: T201
        return 5
    except SystemExit as ended:  # of argparse, whose code for wrong use is 2
        return 5 if ended.code else 0
    print(json.dumps(report.as_dict(), indent=2) if given.json else "\n".join(report.text()))  # noqa: T201
    return report.code


if __name__ == "__main__":
    sys.exit(main())
