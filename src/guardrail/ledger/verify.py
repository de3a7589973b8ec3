# ruff: noqa: PTH110, PTH112, PTH114, PTH116, PTH118, PTH123, PTH208, T201, PLR2004, D102
# (names may be hostile and many: os and no pathlib; a command prints; a format has numbers; what a Source does, Files says)
"""Verify a guardrail ledger: one file, Python's standard library, no network. Made to be read, top down, before it is trusted.

    python verify.py PATH [--key FILE|VKEY]… [--anchor FILE]… [--max-unanchored 24h] [--json]

PATH is the folder `ledger` (or the home folder around it). Every record is one line; its leaf is SHA-256(0x00 || line). Each
line names the leaf before it (`prev`) and its number (`seq`). Over the leaves of a lane stands the Merkle tree of RFC 9162;
its roots are signed now and then (Ed25519; C2SP signed notes, in `checkpoints`). `manifest.jsonl` is built in the same way
(`manifest.notes`) and names all lanes, keys, closed segments and prunings. The file `leaves` repeats the leaves, so that
damage can be named, and so that proofs outlive pruned records. Anchors are copies of signed notes kept elsewhere. Signatures are
checked by the package `cryptography` where it is installed, else in here: slower, some 6 ms for each (one for 1,000 records).

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
import heapq
import io
import itertools
import json
import os
import re
import stat
import sys
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple, Protocol

sha256 = hashlib.sha256
LINE = 65_535  # bytes of a line, at most
NOTE = 65_536  # bytes of a note, at most
SEGMENT = 2**30  # bytes that one segment may unpack to
BLOCK = 2**20
MOST = 10**18  # no number is as high
NAMED = 50  # findings that are named for each lane; the rest is counted
SHOWN = 40  # lanes that the text tells of even if all is well
UNSIGNED, UNSIGNED_SECONDS = 20_000, 60.0  # checkpoints come every 1,000 records or 10 s: more than this there never is without
WORST_FIRST = (1, 2, 5, 4, 3, 0)
VERDICTS = ("proven", "altered", "truncated", "proven, with a benign torn tail", "not anchored for too long", "not verified")
_RECORD = re.compile(rb'\{"v":\d{1,4},"(?:id":"[^"\\]{1,64}","seq|n)":([1-9]\d{0,17}),"prev":"([0-9a-f]{64})"')
_LANE = re.compile(r"(?!manifest$)[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SEGMENT = re.compile(r"(\d{20})\.jsonl(\.gz)?")
_BEGUN = re.compile(  # what a crash can leave of a note that was being written; zeros, too, are left by a power failure
    rb"""([ -~]+\n)*[ -~]*                                           # within its text,
    | ([ -~]+\n)+\n(\xe2\x80\x94[ ]\S+[ ][A-Za-z0-9+/]{91}=\n)*     # or between its signatures,
      (\xe2|\xe2\x80|\xe2\x80\x94([ ]\S*([ ][A-Za-z0-9+/]{0,91}=?)?)?)?  # or within one""",
    re.VERBOSE,
)
# the last member of a compressed segment: empty, with a hash in its extra field `gr` (RFC 1952)
_SEAL = b"\x1f\x8b\x08\4" + bytes(5) + b"\xff\x24\0gr\x20\0%b\3" + bytes(9)
_TS = re.compile(rb'"ts":"([^"]{10,40})"')


class Finding(NamedTuple):
    """What is wrong, and where."""

    code: int
    what: str
    lane: str | None  # None: the manifest, or the ledger as a whole
    segment: str | None
    seq: int | None
    text: str


class Due(NamedTuple):
    """The root that a lane must have at a size, as somebody says."""

    size: int
    by: str  # "note", "anchor", or the event of the manifest: "segment", "close", "prune"
    root: bytes
    line: int = 0  # of the manifest
    time: str = ""  # of a note
    signers: frozenset[bytes] = frozenset()  # of a note


NOBODY = Due(MOST, "", b"")  # behind the last one


@dataclass
class Facts:
    """What is known of a lane before it is read."""

    size: int | None = None  # when it was closed
    segments: dict[int, tuple[int, bool]] = field(default_factory=dict)  # first: last, and whether a write to it failed
    pruned: list[tuple[int, int]] = field(default_factory=list)
    dues: set[Due] = field(default_factory=set)
    untold: dict[int, list[tuple[str, int, int]]] = field(default_factory=dict)  # prunings that a record here has to tell of


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


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _leaf(line: bytes) -> bytes:
    return sha256(b"\0" + line).digest()


def _head(line: bytes) -> tuple[int, bytes]:
    """Return the number of a line, and the leaf that it gives for the one before it; 0 and nothing where it has no head."""
    head = _RECORD.match(line)
    return (int(head[1]), bytes.fromhex(head[2].decode())) if head else (0, b"")


def _json(line: bytes) -> dict[str, Any]:
    """Read a line; what is no object, or is nested or long beyond reason, reads as an empty one."""
    try:
        found = json.loads(line) if len(line) <= LINE else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MOST:
        raise ValueError("no number")
    return value


def _moment(line: bytes) -> str:
    found = _TS.search(line)
    return found[1].decode(errors="replace") if found else ""


def _seconds(moment: str) -> float:
    """Return a moment in seconds since the epoch; 0 for none."""
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return 0.0


def _id(public: bytes) -> str:
    return sha256(public).hexdigest()[:16]


def _records(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"


# ── the tree ──────────────────────────────────────────────────────────────────────────────────────────────────────────
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
            nodes = b"".join([sha256(b"\1" + nodes[i : i + 64]).digest() for i in range(0, len(nodes), 64)])
            at += 1

    def root(self, more: bytes = b"") -> bytes:
        """Return the root, as it would be with more leaves if some are given."""
        tree = Tree()
        tree.levels = self.levels[:]
        tree.extend(more)
        found = b""
        for each in tree.levels:
            found = sha256(b"\1" + each + found).digest() if each and found else each or found
        return found or sha256(b"").digest()


# ── signatures: Ed25519 (RFC 8032) by the library `cryptography` where it is installed, else by this ──────────────────
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


def _point(data: bytes) -> Point | None:
    y = int.from_bytes(data, "little") & (2**255 - 1)
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (v * x * x - u) % P or (not x and data[31] >> 7):
        return None
    x = P - x if x & 1 != data[31] >> 7 else x
    return x, y, 1, x * y % P


def ed25519(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether a signature is right, in plain Python: some 6 ms, where the library takes 0.1. Checkpoints are few enough."""
    key, base, s = _point(public), _point(b"\x58" + b"\x66" * 31), int.from_bytes(signature[32:], "little")
    if key is None or base is None or len(signature) != 64 or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    minus, total = (P - key[0], key[1], 1, P - key[3]), _ZERO
    choices = (_ZERO, base, minus, _add(base, minus))
    for bit in range(252, -1, -1):  # s * base - h * key must be the point in the signature
        total = _add(_add(total, total), choices[(s >> bit & 1) + 2 * (h >> bit & 1)])
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


# ── signed notes ──────────────────────────────────────────────────────────────────────────────────────────────────────
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
    body, gap, signed = raw.decode().rpartition("\n\n\u2014 ")
    lines = body.split("\n")
    if not gap or len(lines) < 3 or not re.fullmatch(r"0|[1-9]\d{0,17}", lines[1]) or not signed.endswith("\n"):
        raise ValueError("no checkpoint")
    signatures = []
    for line in signed[:-1].split("\n\u2014 "):
        name, _, encoded = line.partition(" ")
        value = unbase64(encoded, 68)
        signatures.append((name, value[:4], value[4:]))
    moment = lines[3][5:] if len(lines) > 3 and lines[3].startswith("time ") else ""
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
        yield body + rest, "torn" if b"\0" in rest or _BEGUN.fullmatch(body + rest) else "broken"


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
class Source(Protocol):
    """What a ledger is read from: `Files`, which says what each of these does. Within the library it may be a database, too."""

    def lanes(self) -> list[str]: ...
    def begun(self, lane: str) -> bool: ...
    def segments(self, lane: str | None) -> list[tuple[str, int]]: ...
    def lines(self, lane: str | None, segment: str) -> Iterator[tuple[list[bytes], bytes]]: ...
    def stored(self, lane: str | None) -> int: ...
    def leaves(self, lane: str | None, at: int, many: int) -> bytes: ...
    def notes(self, lane: str | None) -> Iterator[bytes]: ...


class Files:
    """A ledger in a folder. No link is followed, nothing but regular files is opened. The lane None is the manifest."""

    def __init__(self, path: str) -> None:
        inner = os.path.join(path, "ledger")
        self.path = inner if os.path.isdir(inner) else path
        if not os.path.isdir(self.path):
            raise FileNotFoundError(f"{path!a} is no folder")

    def lanes(self) -> list[str]:
        """Return the folders with segments in them; links that are named like a lane, too: they are reported."""
        with os.scandir(self.path) as found:
            linked = {each.name: each.is_symlink() for each in found if each.is_symlink() or each.is_dir()}
        return sorted(name for name in linked if (linked[name] and name[:1].isdigit()) or self.segments(name))

    def begun(self, lane: str) -> bool:
        """Tell whether there is a folder, which a process makes before the manifest hears of its lane."""
        folder = os.path.join(self.path, lane)
        return os.path.isdir(folder) and not os.path.islink(folder)

    def segments(self, lane: str | None) -> list[tuple[str, int]]:
        """Return name and first number of each segment, in order; of one that is plain and compressed, the plain one."""
        if lane is None:
            return [("manifest.jsonl", 1)]
        names = sorted(os.listdir(os.path.join(self.path, lane)), reverse=True) if self.begun(lane) else []
        found = {int(name[:20]): name for name in names if _SEGMENT.fullmatch(name)}
        return [(found[first], first) for first in sorted(found)]

    def _open(self, lane: str | None, name: str) -> io.FileIO:
        folder = os.open(os.path.join(self.path, lane or ""), os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if lane else 0))
        try:
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
        file = _File(handle, "rb")
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            file.close()
            raise OSError("it is no regular file")
        return file

    def lines(self, lane: str | None, segment: str) -> Iterator[tuple[list[bytes], bytes]]:
        """Yield lines without their newlines, many at a time, each time with what stands behind the last newline of all.

        Raises OSError where they cannot be read, ValueError where they cannot be unpacked.
        """
        try:
            file = self._open(lane, segment)
        except FileNotFoundError:  # it has been compressed since its name was read
            segment += ".gz"
            file = self._open(lane, segment)
        with file:
            rest, total = b"", 0
            for block in _unpacked(file) if segment.endswith(".gz") else _blocks(file, MOST):
                total += len(block)
                if total > SEGMENT:
                    raise ValueError(f"it is longer than {SEGMENT} bytes")
                lines = (rest + block).split(b"\n")
                rest = lines.pop()[: 2 * LINE]  # of a line without end only the beginning
                yield lines, b""
            yield [], rest

    def stored(self, lane: str | None) -> int:
        """Count the stored leaves, which stand in the lane's file `leaves`; the manifest has none."""
        with contextlib.suppress(OSError), self._open(lane, "leaves") as file:
            return file.seek(0, os.SEEK_END) // 32 if lane else 0
        return 0

    def leaves(self, lane: str | None, at: int, many: int) -> bytes:
        """Return stored leaves from a place (0: the first) on; fewer where there are fewer."""
        with contextlib.suppress(OSError), self._open(lane, "leaves") as file:
            return os.pread(file.fileno(), 32 * many, 32 * at) if lane and many else b""
        return b""

    def notes(self, lane: str | None) -> Iterator[bytes]:
        """Return the stored notes in blocks of bytes, as they are when this is called, whenever they are taken."""
        try:
            file = self._open(lane, "checkpoints" if lane else "manifest.notes")
        except OSError:
            return iter(())
        return _blocks(file, os.fstat(file.fileno()).st_size)


class _File(io.FileIO):
    """A file that is closed without a warning where whoever reads it gives up in the middle, as a background check may."""

    def __del__(self) -> None:
        self.close()


def _blocks(file: io.FileIO, end: int) -> Iterator[bytes]:
    with file:
        while block := file.read(min(BLOCK, end)):
            end -= len(block)
            yield block


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """Yield what a compressed segment holds, at most a block at a time, whatever it is blown up to.

    It is many members of gzip, of which the last is empty and holds the hash of all bytes before: no byte of gzip's own, of
    which some say nothing, can be another without being noticed.
    """
    inner, data, packed = zlib.decompressobj(31), b"", sha256()
    left = max(0, os.fstat(file.fileno()).st_size - len(_SEAL % bytes(32)))
    try:
        while data or left or not inner.eof:
            if not data:
                data = file.read(min(BLOCK, left))
                left -= len(data)
                packed.update(data)
                if not data:
                    raise ValueError("its compressed content ends too early")
            if inner.eof:
                inner = zlib.decompressobj(31)
            if block := inner.decompress(data, BLOCK):
                yield block
            data = inner.unused_data if inner.eof else inner.unconsumed_tail
    except zlib.error:
        raise ValueError("its compressed content is damaged") from None
    if file.read() != _SEAL % packed.digest():
        raise ValueError("its compressed form is not the one that was written")


# ── one lane, or the manifest ─────────────────────────────────────────────────────────────────────────────────────────
class Scan:
    """Reads one lane from its beginning to its end and compares it with everything that is known of it."""

    def __init__(self, run: Run, lane: str | None, facts: Facts, keys: set[bytes]) -> None:
        self.run, self.report, self.source = run, run.report, run.source
        self.lane, self.facts, self.keys = lane, facts, keys
        self.proof, self.tree = Proof(lane or "manifest"), Tree()
        self.next, self.prev = 1, bytes(32)  # the number that comes now, and what it must link to; b"": nobody knows
        self.segment, self.upto = "", MOST  # the file that is read, and the first number of the file behind it
        self.good: list[tuple[int, frozenset[bytes]]] = []  # sizes of notes with the right root, and who signed them
        self.wrong: dict[int, tuple[int, str]] = {}  # numbers that are missed or wrong: place of the finding, its better name
        self.off = False  # the tree has gone wrong, and that was said
        self.cut = self.blank = False  # the last line is not whole; the rest was never written
        self.unanchored = self.unsigned = self.latest = b""  # the first record without an anchor, without a checkpoint; the last
        self.stored = self.source.stored(lane)  # before the records are read: whatever it has, they had before
        self.files = self.source.segments(lane)
        self.dues = heapq.merge(self._notes(self.source.notes(lane)), sorted(facts.dues), key=lambda each: each.size)
        self.due = next(self.dues, NOBODY)  # the next one

    def find(self, code: int, what: str, seq: int | None, text: str, segment: str = "") -> int:
        """Report something; return its place, -1 if it is only counted."""
        self.proof.findings += 1
        if self.proof.findings > NAMED:
            self.report.codes.add(code)
            return -1
        self.report.find(code, what, text, self.lane, segment=segment or self.segment, seq=seq)
        return len(self.report.findings) - 1

    # what others say of it
    def _notes(self, blocks: Iterator[bytes]) -> Iterator[Due]:
        """Yield the notes of the lane in order, each read and with its signatures checked."""
        name, latest = "checkpoints" if self.lane else "manifest.notes", 0
        origin = f"guardrail/{self.report.ledger}/{self.lane or 'manifest'}"
        for raw, wrong in notes_in(blocks):
            if wrong == "torn" and self.facts.size is None:
                self.find(3, "torn", None, "the last checkpoint was cut off while it was written", name)
                continue
            try:
                note = note_of(raw)
            except ValueError:
                self.find(1, "checkpoint", None, f"what follows the checkpoint over {latest} records is none", name)
                continue
            found, problem = signers(note, self.keys) if self.keys else ({b""}, "")
            if note.origin != origin:
                found, problem = set(), f"is of another log, {note.origin[:200]!a}"
            elif note.size < latest:
                found, problem = set(), "stands behind a later one"
            if problem:
                what = "fork" if "unknown" in problem else "checkpoint"
                self.find(1, what, note.size, f"the checkpoint over {note.size} records {problem}", name)
            if found:
                latest = note.size
                yield Due(note.size, "note", note.root, 0, note.time, frozenset(found))

    def _compare(self) -> None:
        """Compare the tree with all that is known of its size."""
        size, root, proof = self.next - 1, b"", self.proof
        while self.due.size <= size:
            due, self.due = self.due, next(self.dues, NOBODY)
            root = root or self.tree.root()
            if due.root == root:
                if due.by == "note":
                    self.good.append((size, due.signers))
                if due.by == "note" or (due.by != "anchor" and proof.proven < size):
                    proof.proven, proof.proven_at, self.unsigned = size, due.time, b""
                if due.by == "anchor" or 0 < due.line <= self.report.lanes[0].anchored:
                    proof.anchored, self.unanchored = size, b""
            elif not self.off:
                what = {"anchor": "fork", "prune": "prune"}.get(due.by, "altered")
                whose = f"manifest's line {due.line}" if due.line else f"{due.by.replace('note', 'checkpoint')} over {size}"
                self.find(1, what, size, f"records {proof.proven + 1} to {size} are not those of the {whose}")
                self.off = due.by != "anchor"

    # its records
    def steps(self) -> Iterator[int]:
        """Read it all; yield now and then how many bytes were read since."""
        self._compare()
        for (name, first), (_, upto) in itertools.pairwise([*self.files, ("", MOST)]):
            if first > self.next:
                self._hole(first, name)
            self.segment, self.upto = name, upto
            held: list[bytes] = []  # a line waits for the next one, whose link tells whether it is right
            rest = b""
            try:
                for lines, rest in self.source.lines(self.lane, name):  # noqa: B007 - used below
                    if lines:
                        self._take([*held, *lines[:-1]], lines[-1])
                        held = lines[-1:]
                        yield sum(map(len, lines))
            except ValueError as problem:
                self.find(1, "unreadable", self.next, f"behind record {self.next - 1 + len(held)} {problem}")
            except OSError as problem:
                self.find(2, "unreadable", self.next, f"it cannot be read: {problem.strerror or problem}")
            self._take(held, None)
            if rest and not self.blank:
                self._torn(rest)
        self._end()

    def _take(self, lines: list[bytes], after: bytes | None) -> None:
        """Take lines; `after` is the one behind them, None where nobody knows."""
        if lines and not self.prev:
            self.prev = _head(lines[0])[1]
        while lines:
            if self.next >= self.upto:  # a later file holds these numbers
                self._again(lines)
                return
            many = min(self.due.size + 1, self.upto) - self.next
            part, lines = lines[:many], lines[many:]
            behind = lines[0] if lines else after
            leaves = b"".join([sha256(b"\0" + line).digest() for line in part])
            stored = self.source.leaves(self.lane, self.next - 1, max(0, min(len(part), self.stored - self.next + 1)))
            linked = behind is None or _head(behind)[1] == leaves[-32:]
            if linked and leaves.startswith(stored) and self._in_order(part, self.prev + leaves):
                self._accept(part, leaves)
            else:  # at least one is wrong
                for line, then in zip(part, [*part[1:], behind], strict=True):
                    self._judge(line, then)

    def _in_order(self, lines: list[bytes], links: bytes) -> bool:
        """Tell whether each line has the next number and names the leaf before it. The head is spelled in one way only."""
        head, at = (b'"n":%d,"prev":"%b"', 7) if self.lane is None else (b'"seq":%d,"prev":"%b"', 51)  # behind {"v":1,"id":"…",
        heads = [head % each for each in enumerate(links.hex(" ", 32).encode().split(), self.next)]
        return all(map(bytes.startswith, lines, heads, itertools.repeat(at)))

    def _accept(self, lines: list[bytes], leaves: bytes) -> None:
        self.unanchored, self.unsigned, self.latest = self.unanchored or lines[0], self.unsigned or lines[0], lines[-1]
        numbers = range(self.next, self.next + len(lines))
        for seq in [each for each in self.facts.untold if each in numbers]:
            event = _json(lines[seq - self.next])
            pruning = event.get("lane"), event.get("from"), event.get("upto")
            if event.get("event") == "prune":
                self.facts.untold[seq] = [each for each in self.facts.untold[seq] if each != pruning]
        self.tree.extend(leaves)
        self.next, self.prev = numbers.stop, leaves[-32:]
        self.proof.records += len(lines)
        self._compare()

    def _judge(self, line: bytes, after: bytes | None) -> None:
        """Take one line of some of which at least one is wrong, and say what is wrong with it."""
        number, own, (seq, prev), stored = self.next, _leaf(line), _head(line), self._stored(self.next)
        if self.blank:
            return
        if b"\0" in line and self.upto == MOST and self._in_use() and not stored:
            self.find(3, "torn", number, f"from record {number} on blocks were never written, as a power failure leaves them")
            self.blank = True
            return
        known = seq != number and self._stored(seq) == own  # another record of this lane, as it was
        true = b"" if known else self._true_leaf(own, stored, after)
        if true == own and seq == number and len(line) <= LINE:
            if stored and stored != own:
                self.find(1, "leaves", number, f"the stored hash of record {number} is not that of the record", "leaves")
            elif not stored and number <= self.stored:
                text = f"the stored hash of record {number} is blank, as a power failure leaves it"
                self.find(3 if self._in_use() else 1, "leaves", number, text, "leaves")
            if prev != self.prev and not self.off:
                self.find(1, "altered", number - 1, f"record {number - 1} is not the one that record {number} links to")
                self.off = True
            self._accept([line], own)
        elif seq > number and (known or not stored):
            self._missing(seq, "deleted", 1)
            self._judge(line, after)
        elif known:
            if not self._explained(seq):
                self.find(1, "replayed", seq, f"record {seq} stands once more behind record {number - 1}")
        elif 0 < seq < number and not stored:
            self.find(1, "inserted", seq, f"a line with the number {seq} stands behind record {number - 1}")
        else:
            place = self.find(1, "altered", number, f"record {number} is not the one that was written")
            self.wrong[number] = place, "inserted"
            self._accept([line], true or own)

    def _true_leaf(self, own: bytes, stored: bytes, after: bytes | None) -> bytes:
        """Return the leaf that the next record had when it was written: a root decides, or two of three agree."""
        link = _head(after)[1] if after is not None else b""
        if self.due.size == self.next and not self.off:
            for each in (own, stored, link):
                if each and self.tree.root(each) == self.due.root:
                    return each
        if link == stored and link:
            return link
        if link == own or not (stored or link):
            return own
        if stored == own and after is not None and link:  # who is wrong, this record or the next one's link?
            return link if _leaf(after) == self._stored(self.next + 1) else own
        return stored or link

    def _stored(self, seq: int) -> bytes:
        """Return a stored hash; none where it is blank, which no hash is."""
        found = self.source.leaves(self.lane, seq - 1, 1) if 0 < seq <= self.stored else b""
        return found if any(found) else b""

    def _in_use(self) -> bool:
        """Tell whether the next record is of a lane that nobody has closed, and behind all that anybody has signed."""
        return self.lane is not None and self.facts.size is None and self.due is NOBODY

    def _explained(self, seq: int) -> bool:
        """Tell whether a record that was missed or found wrong at its place is here instead; then that is said better."""
        place, what = self.wrong.pop(seq, (-1, ""))
        if place >= 0:
            text = f"record {seq} stands behind record {self.next - 1}" + ", and another line before it" * (what == "inserted")
            self.report.findings[place] = self.report.findings[place]._replace(what=what, text=text)
        return bool(what)

    # what is not there, or should not be
    def _missing(self, upto: int, what: str, code: int) -> None:
        """Pass over records up to a number, which are not there."""
        place, few = self.find(code, what, self.next, f"{_records(self.next, upto - 1)} missing"), upto - self.next <= NAMED
        self.wrong |= dict.fromkeys(range(self.next, upto if few else self.next + 1), (place, "reordered" if few else "inserted"))
        self._pass_over(upto)

    def _pass_over(self, upto: int) -> None:
        """Go on behind records that are not there, with their stored leaves."""
        while self.next < upto:
            many = min(upto, self.due.size + 1, self.next + 32_768) - self.next
            leaves = self.source.leaves(self.lane, self.next - 1, many)
            if len(leaves) == 32 * many:
                self.tree.extend(leaves)
                self.next, self.prev = self.next + many, leaves[-32:]
                self._compare()
                continue
            self.next, self.prev, self.off = upto, b"", True
            while self.due.size < upto:
                self.due = next(self.dues, NOBODY)

    def _hole(self, upto: int, segment: str) -> None:
        """Tell of records that no segment holds: pruned lawfully, or gone."""
        self.segment = segment
        for first, last in [*sorted(self.facts.pruned), (upto, upto)]:
            if last < self.next or self.next >= upto:
                continue
            if first > self.next:
                self.segment = f"{self.next:020d}.jsonl" if self.next in self.facts.segments else segment
                self._missing(min(first, upto), "segment removed" if self.segment != segment else "cut", 2)
            if self.next < upto and first < upto:
                before = self.next
                self._pass_over(min(last + 1, upto))
                self.proof.pruned += self.next - before
                if self.off:
                    text = f"the stored hashes of the pruned {_records(before, self.next - 1)} missing"
                    self.find(2, "leaves", before, text, "leaves")

    def _again(self, lines: list[bytes]) -> None:
        """Tell of lines whose numbers the next file has again: a write that failed leaves such, and nothing else does."""
        while lines and self.wrong:
            seq, _ = _head(lines[0])
            if self._stored(seq) != _leaf(lines[0]) or not self._explained(seq):
                break
            lines = lines[1:]
        last, failed = self.facts.segments.get(int(self.segment[:20]), (0, False))
        if lines and not failed:
            text = f"{len(lines)} lines stand behind the last record"
            self.find(1 if last else 3, "replayed" if last else "torn", self.next, text)

    def _torn(self, rest: bytes) -> None:
        """Judge what stands behind the last newline of a segment."""
        number, stored = self.next, self._stored(self.next)
        if number >= self.upto:
            self._again([rest])
        elif stored and _leaf(rest[:-1]) == stored:
            self.find(1, "altered", number, f"the newline of record {number} is not the one that was written")
            self._accept([rest[:-1]], stored)
        elif stored or self.upto < MOST or self.due is not NOBODY:
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
        later: dict[str, int] = {}  # what is known beyond the end, by who knows it
        while self.due is not NOBODY:
            later[self.due.by], self.due = self.due.size, next(self.dues, NOBODY)
        anchor = later.pop("anchor", 0)
        known = max(self.stored, closed or 0, *later.values())
        if known > size and not self.cut:
            what = "cut" if size or self.lane is None else "lane removed"
            self.find(2, what, size + 1, f"{_records(size + 1, max(known, anchor))} missing at the end")
        elif anchor > size and not self.cut:
            self.find(2, "rollback", size + 1, f"an anchor knows {anchor} records: this is an older copy, or its end was cut off")
        if closed is not None and size > closed:
            self.find(1, "inserted", closed + 1, f"{_records(closed + 1, size)} here, though the lane was closed before")
        if closed and max([later.get("note", 0), *(each for each, _ in self.good)]) < closed and not self.off:
            self.find(2, "checkpoint", closed, f"the last checkpoint, over {closed} records, is missing", "checkpoints")
        if self.lane is not None and self.stored < proof.proven:
            text = f"the stored hashes of {_records(self.stored + 1, proof.proven)} missing; they can be made anew"
            self.find(3 if closed is None else 2, "leaves", self.stored + 1, text, "leaves")
        begun, ended = _seconds(_moment(self.unsigned)), _seconds(_moment(self.latest))
        long = size - proof.proven > UNSIGNED or (begun and ended and ended - begun > UNSIGNED_SECONDS)
        if long and self.lane is not None and not self.off and proof.proven < size:
            text = f"{_records(proof.proven + 1, size)} without a checkpoint, far more than there ever are: they were removed"
            self.find(2, "checkpoint", proof.proven + 1, text, "checkpoints")
        if proof.anchored < size:
            proof.unanchored_since = _moment(self.unanchored)


# ── the whole ledger ──────────────────────────────────────────────────────────────────────────────────────────────────
class Key(NamedTuple):
    """A line of the manifest that names a key."""

    line: int
    public: bytes
    by: str
    signature: bytes


@dataclass
class Report:
    """What has come out so far."""

    ledger: str = ""  # its id
    keys: list[str] = field(default_factory=list)  # ids of the keys that vouch for it
    beside: bool = True  # the keys lay beside the ledger
    findings: list[Finding] = field(default_factory=list)
    lanes: list[Proof] = field(default_factory=lambda: [Proof("manifest")])  # the manifest first
    codes: set[int] = field(default_factory=set)
    anchors: int = 0  # notes of this ledger that lie elsewhere

    def find(
        self, code: int, what: str, text: str, lane: str | None = None, *, segment: str = "", seq: int | None = None
    ) -> None:
        """Add a finding."""
        self.codes.add(code)
        self.findings.append(Finding(code, what, lane, segment or None, seq, text))

    @property
    def code(self) -> int:
        """The verdict."""
        return next((code for code in WORST_FIRST if code in self.codes), 0)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        more = {"verdict": VERDICTS[self.code], "code": self.code, "key_from": "beside the ledger" if self.beside else "given"}
        return more | asdict(self) | {"codes": sorted(self.codes), "findings": [each._asdict() for each in self.findings]}

    def text(self) -> Iterator[str]:
        """Yield it as lines for people."""
        yield f"ledger {self.ledger or 'unknown'}: {VERDICTS[self.code]}"
        origin = "given from outside"
        if self.beside:
            origin = "taken from the ledger itself: who could rewrite all of it could put in others; give --key from elsewhere"
        yield f"keys {', '.join(self.keys) or 'none'}, {origin}"
        none = "no anchor: an older or newly signed copy of all would not show"
        yield f"{self.anchors} anchored checkpoints" if self.anchors else none
        for each in self.lanes:
            size = each.records + each.pruned
            if len(self.lanes) > SHOWN and each.proven == size and not each.findings and each is not self.lanes[0]:
                continue
            text = f"{each.lane}: {each.records} records" + f", {each.pruned} pruned" * (each.pruned > 0)
            text += f"; proven up to {each.proven}" + f", {each.proven_at}" * bool(each.proven_at)
            text += f"; {size - each.proven} not signed yet" * (size > each.proven)
            if self.anchors and size > each.anchored:
                text += f"; anchored up to {each.anchored}, nothing since {each.unanchored_since}"
            yield text + f"; {each.findings} findings" * (each.findings > 0)
        for found in self.findings:
            where = [found.lane or "manifest", found.segment or "", "" if found.seq is None else f"#{found.seq}"]
            yield f"[{found.code}] {found.what}: {' '.join(filter(None, where))}: {found.text}"


@dataclass
class Run:
    """One verification, in steps, so that it can be spread over time."""

    source: Source
    keys: Collection[bytes] = ()  # public ones (32 bytes) that are known from elsewhere
    anchors: Iterable[Iterable[bytes]] = ()  # of each its notes, in blocks of bytes
    policy_seconds: float | None = None  # the most that a record may be without an anchor; None: as long as it likes
    now: float | None = None  # seconds since the epoch
    ledgers: Collection[str] = ()  # ids of ledgers that the keys are known for, if any
    report: Report = field(default_factory=Report)
    facts: dict[str, Facts] = field(default_factory=dict)  # of each lane, once the manifest has been read
    trusted: set[bytes] = field(default_factory=set)  # keys, from then on, too
    anchored: dict[str, set[Due]] = field(default_factory=dict)  # what anchors say of each lane
    _there: set[str] = field(default_factory=set)  # lanes that hold anything

    def steps(self) -> Iterator[int]:
        """Do it; yield now and then how many bytes were read since."""
        yield from self.manifest_steps()
        if not self.trusted:
            return
        for lane in sorted(self._there - self.facts.keys()):
            self.report.find(1, "foreign lane", f"the manifest knows nothing of {lane[:300]!a}")
        for lane in sorted(self.facts.keys() | (self.anchored.keys() - {"manifest"})):
            if lane not in self.facts:
                self.report.find(2, "lane removed", f"an anchor knows {lane[:300]!a}, the manifest does not")
            elif not _LANE.fullmatch(lane):
                self.report.find(1, "manifest", f"it has {lane[:300]!a}, which cannot be the name of a lane")
            else:
                yield from self.lane_steps(lane)
        self.judge()

    def manifest_steps(self) -> Iterator[int]:
        """Read the manifest: which keys are trusted, and what it says of the lanes."""
        self._there = set(self.source.lanes())  # before the manifest: a lane that begins meanwhile is in it
        events, named = self._said()
        if not self.report.ledger:
            there = bool(self._there)
            self.report.find(2 if there else 5, "manifest", "the manifest is missing" if there else "there is no ledger here")
            return
        keys = {*self.keys, *(each.public for each in named)}
        self._read_anchors(keys)
        scan = Scan(self, None, Facts(dues=self.anchored.get("manifest", set())), keys)
        self.report.lanes[0] = scan.proof
        yield from scan.steps()
        signed = self._trust(named, scan)
        self.report.keys, self.report.beside = sorted(_id(each) for each in self.trusted), not self.keys
        if not self.trusted:
            self.report.find(5, "key", "the manifest names no key that can be used, and none was given")
            return
        self._apply(events, signed)
        if signed < scan.next - 1:
            scan.find(3, "torn", signed + 1, "from here on no checkpoint of a trusted key covers it: this is not relied upon")

    def lane_steps(self, lane: str) -> Iterator[int]:
        """Read one lane."""
        facts = self.facts[lane]
        facts.dues |= self.anchored.get(lane, set())
        known = lane in self._there or facts.size is not None or facts.dues or facts.pruned
        if not known and next(self.source.notes(lane), None) is None:
            if self.source.begun(lane):
                self.report.find(3, "torn", f"{lane} was begun and holds nothing: its process was killed at once", lane)
            else:
                self.report.find(2, "lane removed", f"nothing is left of {lane}", lane)
        scan = self.scan(lane, facts)
        self.report.lanes.append(scan.proof)
        yield from scan.steps()

    def scan(self, lane: str, facts: Facts) -> Scan:
        """Begin to read a lane."""
        return Scan(self, lane, facts, self.trusted)

    # what the manifest says
    def _said(self) -> tuple[list[tuple[int, dict[str, Any]]], list[Key]]:
        """Read its lines with their numbers, the keys that it names, and the ledger's id. Nothing of it is proven yet."""
        events: list[tuple[int, dict[str, Any]]] = []
        keys: list[Key] = []
        with contextlib.suppress(OSError, ValueError):
            for name, _ in self.source.segments(None):
                for lines, _ in self.source.lines(None, name):
                    events += [(_head(line)[0] or MOST, _json(line)) for line in lines]
        for number, event in events:
            with contextlib.suppress(KeyError, ValueError, TypeError):
                if event["event"] == "key":
                    public, by = unbase64(event["key"], 32), str(event["by"])
                    signature = unbase64(event["signature"], 64) if by == "rotated" else b""
                    keys += [Key(number, public, by, signature)] * (event.get("key_id") == _id(public))
        ids = [str(event.get("ledger")) for _, event in events if event.get("event") == "ledger"]
        origins = (re.match(rb"guardrail/([0-9a-f]{16})/manifest\n", raw) for raw, _ in notes_in(self.source.notes(None)))
        ids += [each[1].decode() for each in itertools.islice(filter(None, origins), 2)]  # two against one
        ids = [each for each in ids if re.fullmatch(r"[0-9a-f]{16}", each)]
        self.report.ledger = max(ids, key=ids.count, default="")
        return events, keys

    def _trust(self, named: list[Key], scan: Scan) -> int:
        """Find the keys to trust; return how many lines of the manifest they have signed."""
        trusted = set(self.keys) or {each.public for each in named if each.by != "rotated"}
        for each in named:
            if each.by == "rotated":
                message = f"guardrail key {self.report.ledger} {_id(each.public)}\n".encode()
                before = {one.public for one in named if one.line < each.line}
                by = {key for key in before if _checker(key)(each.signature, message)}
                if not by:
                    scan.find(1, "key", each.line, "no key before it has signed this one")
                elif by & trusted:
                    trusted.add(each.public)
        signed = max((size for size, by in scan.good if by & trusted), default=0)
        trusted |= {each.public for each in named if each.line <= signed}  # a trusted key has signed that these are its own
        signed = max((size for size, by in scan.good if by & trusted), default=0)
        self.trusted = trusted
        if not (signed or scan.good or self._there or self.anchored or self.keys):
            scan.find(3, "torn", None, "it was begun, holds nothing, and its process was killed before the first checkpoint")
        elif not signed:
            scan.find(1 if self.keys else 2, "fork", None, "none of its checkpoints is signed with a key that is trusted")
        elif signed < max(size for size, _ in scan.good):
            text = "no trusted key vouches for the key that goes on here: give that one, too, or doubt it"
            scan.find(5, "key", signed + 1, text)
        if self.ledgers and self.report.ledger not in self.ledgers:
            scan.find(1, "fork", None, f"the key that was given is that of {', '.join(sorted(self.ledgers))}, another ledger")
        return signed

    def _apply(self, events: list[tuple[int, dict[str, Any]]], signed: int) -> None:
        """Sort what the signed lines of the manifest say by lanes."""
        for number, event in events:
            lane, kind = event.get("lane"), str(event.get("event"))
            if kind not in {"open", "segment", "close", "prune"} or not isinstance(lane, str):
                continue
            facts = self.facts.setdefault(lane, Facts())
            if number > signed or kind == "open":
                continue
            with contextlib.suppress(KeyError, ValueError, TypeError):
                size = _number(event[{"segment": "last", "close": "size", "prune": "upto"}[kind]])
                root = bytes.fromhex(event["root_at_last" if kind == "segment" else "root"])
                if kind == "segment":
                    facts.segments[_number(event["first"])] = size, bool(event.get("failed"))
                elif kind == "close":
                    facts.size = size
                else:
                    first, by, seq = _number(event["from"]), str(event["by"]["lane"]), _number(event["by"]["seq"])
                    facts.pruned.append((first, size))
                    self.facts.setdefault(by, Facts()).untold.setdefault(seq, []).append((lane, first, size))
                facts.dues.add(Due(size, kind, root, number))

    # what is elsewhere
    def _read_anchors(self, keys: set[bytes]) -> None:
        others: set[str] = set()
        latest: dict[str, Note] = {}
        for raw, _ in itertools.chain.from_iterable(map(notes_in, self.anchors)):
            try:
                note = note_of(raw)
            except ValueError:
                self.report.find(3, "anchor", "what stands in an anchor is no checkpoint")
                continue
            kind, _, rest = note.origin.partition("/")
            ledger, _, lane = rest.partition("/")
            if kind == "guardrail" and ledger == self.report.ledger:
                self.anchored.setdefault(lane, set()).add(Due(note.size, "anchor", note.root))
                latest[lane] = max(note, latest.get(lane, note), key=lambda each: each.size)
            else:
                others.add(ledger[:64])
        self.report.anchors = sum(map(len, self.anchored.values()))
        if others and not self.anchored:
            text = f"the anchors are of {', '.join(map(ascii, sorted(others)[:5]))}, not of this ledger"
            self.report.find(1, "fork", text)
        for lane, note in latest.items():
            found, wrong = signers(note, keys)
            if not found:
                text = f"the anchor over {note.size} of {lane[:300]!a} {wrong}: this ledger may be a fork, signed anew"
                self.report.find(1, "fork", text)

    # once all is read
    def judge(self) -> None:
        """Find prunings that no record tells of, and what has been without an anchor for too long."""
        for by, facts in sorted(self.facts.items()):
            for seq, prunings in sorted(facts.untold.items()):
                for lane, first, upto in prunings if not any(begin <= seq <= end for begin, end in facts.pruned) else ():
                    text = f"record {seq} of {by[:300]!a} should tell that {lane} was pruned from {first} to {upto}, and does not"
                    self.report.find(1, "prune", text, lane)
        now = time.time() if self.now is None else self.now
        for at, each in enumerate(self.report.lanes if self.policy_seconds is not None else ()):
            since = _seconds(each.unanchored_since)
            if since and self.policy_seconds is not None and now - since > self.policy_seconds:
                text = f"nothing since {each.unanchored_since} is anchored"
                self.report.find(4, "unanchored", text, each.lane if at else None, seq=each.anchored + 1)


def verify(
    source: Source, keys: Collection[bytes] = (), anchors: Iterable[Iterable[bytes]] = (), policy_seconds: float | None = None,
    now: float | None = None, *, ledgers: Collection[str] = (),
) -> Report:  # fmt: skip
    """Verify a ledger; the arguments are those of `Run`."""
    run = Run(source, keys, anchors, policy_seconds, now, ledgers)
    for _ in run.steps():
        pass
    return run.report


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────
class Usage(Exception):
    """The command was not used as it must be."""


def read_keys(given: Iterable[str]) -> tuple[set[bytes], set[str]]:
    """Read public keys, given themselves or as files with one on each line; return them and the ledgers that they name.

    A key is a C2SP verifier key (name+hash+base64), or 32 bytes in base64.
    """
    keys, ledgers = set(), set()
    for each in given:
        lines = [each]
        if os.path.exists(each):
            with open(each, encoding="utf-8", errors="replace") as file:
                lines = [line for line in file.read(NOTE).splitlines() if line.strip() and not line.startswith("#")]
        for line in map(str.strip, lines):
            match = re.fullmatch(r"([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{44})", line)
            try:
                public = unbase64(match[3], 33) if match else b"\1" + unbase64(line, 32)
            except ValueError:
                raise Usage("a key is a verifier key (name+hash+base64) or a public key of 32 bytes in base64") from None
            if public[:1] != b"\1" or (match and key_hash(match[1], public[1:]).hex() != match[2]):
                raise Usage(f"the verifier key of {line.partition('+')[0]!a} is misspelled: its parts do not fit each other")
            keys.add(public[1:])
            ledgers |= set(re.findall(r"^guardrail/([0-9a-f]{16})/", match[1] if match else ""))
    return keys, ledgers


def blocks_of(path: str) -> Iterator[bytes]:
    """Yield a file of notes in blocks, or all files of a folder of them."""
    for each in sorted(os.scandir(path), key=lambda each: each.name) if os.path.isdir(path) else [path]:
        with open(each, "rb") as file:
            yield from iter(lambda: file.read(BLOCK), b"")
        yield b"\n\n" if each is not path else b""


def seconds(text: str) -> float:
    """Read a duration: 90s, 15m, 24h, 7d."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise Usage("--max-unanchored is written 90s, 15m, 24h or 7d")
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    codes = "Exit codes: " + str(__doc__).partition("Exit codes, ")[2]
    parser = argparse.ArgumentParser(description="Verify a guardrail ledger.", epilog=codes)
    parser.add_argument("path", metavar="PATH", help="the folder `ledger`, or the home folder around it")
    parser.add_argument("--key", action="append", default=[], metavar="FILE|VKEY", help="a public key known from elsewhere")
    parser.add_argument("--anchor", action="append", default=[], metavar="FILE", help="anchored checkpoints: a file, or a folder")
    parser.add_argument("--max-unanchored", metavar="24h", help="the most that a record may be without an anchor")
    parser.add_argument("--json", action="store_true", help="print JSON")
    try:
        given = parser.parse_args(argv)
        keys, ledgers = read_keys(given.key)
        policy = seconds(given.max_unanchored) if given.max_unanchored else None
        for path in given.anchor:
            os.stat(path)
        report = verify(Files(given.path), keys, map(blocks_of, given.anchor), policy, ledgers=ledgers)
    except (Usage, OSError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 5
    except SystemExit as ended:  # of argparse, whose code for wrong use is 2
        return 5 if ended.code else 0
    print(json.dumps(report.as_dict(), indent=2) if given.json else "\n".join(report.text()))
    return report.code


if __name__ == "__main__":
    sys.exit(main())
