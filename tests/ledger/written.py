"""Writes a ledger in its format, byte by byte and without the library, for the tests of what verifies one."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import struct
import zlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LEDGER = "0123456789abcdef"


def leaf(line):
    return hashlib.sha256(b"\0" + line).digest()


def root(leaves):
    """The tree as RFC 9162 writes it down, in 2.1.1: slow, and surely right."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    middle = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(leaves[:middle]) + root(leaves[middle:])).digest()


def packed(*parts):
    """A compressed segment: a gzip member for each part, and a last one with the hash of those."""
    members = b"".join(map(gzip.compress, parts))
    field = b"gr" + struct.pack("<H", 32) + hashlib.sha256(members).digest()
    head = b"\x1f\x8b" + struct.pack("<BBIBBH", 8, 4, 0, 0, 255, len(field))
    return members + head + field + zlib.compress(b"", wbits=-15) + struct.pack("<II", 0, 0)


class Key:
    def __init__(self, number=1):
        self.private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        self.public = self.private.public_key().public_bytes_raw()
        self.id = hashlib.sha256(self.public).hexdigest()[:16]

    def line(self, name, message):
        hashed = hashlib.sha256(name.encode() + b"\n\1" + self.public).digest()[:4]
        return f"\u2014 {name} {base64.b64encode(hashed + self.private.sign(message)).decode()}\n".encode()

    def vkey(self, name=f"guardrail/{LEDGER}/manifest"):
        hashed = hashlib.sha256(name.encode() + b"\n\1" + self.public).digest()[:4]
        public = base64.b64encode(b"\1" + self.public).decode()
        return f"{name}+{hashed.hex()}+{public}"


def moment(second):
    return f"2026-03-01T{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}.000000Z"


def note(name, leaves, keys, second=0):
    origin = f"guardrail/{LEDGER}/{name}"
    text = f"{origin}\n{len(leaves)}\n{base64.b64encode(root(leaves)).decode()}\ntime {moment(second)}\n".encode()
    return text + b"\n" + b"".join(key.line(origin, text) for key in keys) + b"\n"


class Book:
    """A ledger in memory: its files by their path. `write` puts it into a folder."""

    def __init__(self, key=None):
        self.key = key or Key()
        self.files = {}
        self.manifest = []
        self.lanes = {}
        self.tell("ledger", ledger=LEDGER)
        self.tell("key", key=base64.b64encode(self.key.public).decode(), key_id=self.key.id, by="first")

    def add(self, path, content):
        self.files[path] = self.files.get(path, b"") + content

    def tell(self, event, *, keys=None, signed=True, **fields):
        lines = self.manifest
        prev = leaf(lines[-1]).hex() if lines else "0" * 64
        head = {"v": 1, "n": len(lines) + 1, "prev": prev, "ts": moment(len(lines)), "event": event}
        lines.append(json.dumps(head | fields, separators=(",", ":")).encode())
        self.add("manifest.jsonl", lines[-1] + b"\n")
        if signed:
            self.add("manifest.notes", note("manifest", [leaf(line) for line in lines], keys or [self.key], len(lines)))

    def lane(self, name, segments, *, each=3, close=True, key=None, keys=None):
        """A lane of segments of so many records, a checkpoint every few."""
        self.lanes[name] = []
        self.tell("open", lane=name, key_id=(key or self.key).id, host="h", boot="b", pid=1, sdk="0")
        for at, many in enumerate(segments):
            self.records(name, many, each=each, keys=keys)
            if at < len(segments) - 1:
                self.end_segment(name)
        if close:
            self.close(name, keys=keys)

    def line(self, name, event="call", **fields):
        lines = self.lanes[name]
        seq = len(lines) + 1
        prev = leaf(lines[-1]).hex() if lines else "0" * 64
        identity = f"00000000-0000-7000-8000-{seq:012d}"
        record = {"v": 1, "id": identity, "seq": seq, "prev": prev, "ts": moment(seq), "event": event}
        return json.dumps(record | fields, separators=(",", ":")).encode()

    def record(self, name, **fields):
        lines = self.lanes[name]
        self.first = getattr(self, "first", {})
        self.first.setdefault(name, len(lines) + 1)
        lines.append(self.line(name, **fields))
        self.add(f"{name}/{self.first[name]:020d}.jsonl", lines[-1] + b"\n")
        self.add(f"{name}/leaves", leaf(lines[-1]))

    def records(self, name, many, *, each=3, keys=None):
        for _ in range(many):
            self.record(name)
            if len(self.lanes[name]) % each == 0:
                self.sign(name, keys)

    def leaves(self, name):
        return [leaf(line) for line in self.lanes[name]]

    def sign(self, name, keys=None):
        self.add(f"{name}/checkpoints", note(name, self.leaves(name), keys or [self.key], len(self.lanes[name])))

    def end_segment(self, name, **fields):
        last = len(self.lanes[name])
        self.tell(
            "segment", lane=name, first=self.first.pop(name), last=last, root_at_last=root(self.leaves(name)).hex(), **fields
        )

    def close(self, name, keys=None, **fields):
        size = len(self.lanes[name])
        if size and f"\n{size}\n".encode() not in self.files.get(f"{name}/checkpoints", b"")[-300:]:
            self.sign(name, keys)
        self.tell("close", lane=name, size=size, root=root(self.leaves(name)).hex(), **fields)

    def prune(self, name, first, upto, by):
        fields = {"lane": name, "from": first, "upto": upto, "root": root(self.leaves(name)[:upto]).hex()}
        self.record(by, event="prune", **fields)
        self.sign(by)
        self.tell("prune", **fields, by={"lane": by, "seq": len(self.lanes[by])})

    def write(self, folder: Path):
        for path, content in self.files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return folder
