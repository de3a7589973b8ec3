"""What lies in a ledger's files may be anything: the verifier, the readers and the recovery say so, and in no other way."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guardrail import clock
from guardrail.ledger import columns, holds, merkle, reader, recovery, seals, verify
from guardrail.ledger.lane import Lane
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.manifest_lines import ManifestLines
from guardrail.ledger.record import event_body

LANE = "20261123T230216242163Z-h-1-aa"
FIRST = "00000000000000000001.jsonl"
ID = "00000000-0000-7000-8000-000000000001"
RECORD = {
    "v": 1, "id": ID, "seq": 1, "prev": "0" * 64, "ts": "2026-11-23T23:02:16.242163Z", "event": "call", "outcome": "answered", "guard": "g",
    "seconds": {"total": 0.1}, "actor": {"id": "anna"}, "business_id": "b", "subject": "s", "ticket": "t", "parent": ID, "batch": "x",
    "output": {"value": [1]}, "confidence": 0.5, "policy": "review", "error": {"type": "E", "text": "x"}, "attempts": 2, "inputs": {"digest": "d"},
}  # fmt: skip
EDITS = (
    b"\0\0\0\0", b"\0\0\x50\1X", b"\0\0\xff\x40", b"\0\1\x20\0\n", b"\1\0\x10\1\xff", b'\1\0\xa0\x08"event":', b"\2\0\3\1\0", b"\3\0\x30\1A", b"\4\0\x30\1A",
    b"\0\xff\xff\0" + json.dumps(RECORD).encode() + b"\n", b"\1\xff\xff\0{}\n", b"\3\xff\xff\0",
    b"\x92\2.\0\3.\1\0",
)  # fmt: skip
LINES = (
    json.dumps({"event": "open", "lane": LANE, "key_id": "k", "host": "h", "boot": "b", "pid": 1, "sdk": "0"}).encode(),
    json.dumps({"event": "segment", "lane": LANE, "first": 1, "last": 3, "root_at_last": "00"}).encode(),
    json.dumps({"event": "close", "lane": LANE, "size": 3, "root": "00", "recovered": {"by": "x", "cut_bytes": 0}}).encode(),
    json.dumps({"event": "prune", "lane": LANE, "from": 1, "upto": 2, "root_at_upto": "00"}).encode(),
    json.dumps({"event": "hold", "hold": "case", "reason": "r", "by": {"id": "anna"}, "what": {"guard": ["g"], "since": 1.0, "until": 2.0}}).encode(),
    json.dumps({"event": "key", "key": "ElPmrw4YVR41FI3NaiMGOs4on/gNS69nBzb0J+389l4=", "key_id": "82a1445cedeb0109", "by": "x"}).encode(),
)  # fmt: skip


def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that vanishes, in memory where there is such a place: thousands are made, and synced."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    return tempfile.TemporaryDirectory(dir=os.environ.get("FUZZ_FOLDER", memory))


@functools.cache
def _left_open(_: str) -> tempfile.TemporaryDirectory[str]:
    """Leave a ledger as a killed process does: three records, a checkpoint over two of them."""
    folder = _folder()
    home = Path(folder.name)

    def body(at: int) -> bytes:
        return event_body(f"{ID[:-1]}{at}", float(at), "feedback", guard=None, fields={"n": at}, around={})

    one = Lane(home)
    one.append([body(1), body(2)])
    one.upkeep(clock.now() + seals.EVERY_SECONDS)
    one.append([body(3)])
    one.abandon()
    return folder


@contextmanager
def _edited(data: bytes) -> Iterator[Path]:
    """Yield the home of a copy with one of its files edited: which (a byte), where (two), how much is taken out (one), what is put in."""
    source = _left_open(os.environ.get("XDG_CONFIG_HOME", "")).name  # where the key lies that signed it
    with _folder() as folder:
        home = Path(folder) / "home"
        shutil.copytree(source, home)
        lane = next(each for each in (home / "ledger").iterdir() if each.is_dir())
        files = [lane / FIRST, home / "ledger" / "manifest.jsonl", lane / "leaves", lane / "checkpoints", home / "ledger" / "manifest.notes"]  # fmt: skip
        if len(data) >= 4:  # noqa: PLR2004 - the head of an edit
            file = files[data[0] % len(files)]
            content, at = file.read_bytes(), int.from_bytes(data[1:3])
            at %= len(content) + 1
            file.write_bytes(data[4:] if data[1:3] == b"\xff\xff" else content[:at] + data[4:] + content[at + data[3] :])
        yield home


def verified(data: bytes) -> None:
    """Verify an edited ledger."""
    with _edited(data) as home:
        _reported(home)


def _reported(home: Path) -> None:
    report = verify.verify(verify.Files(str(home)), policy_seconds=60.0, now=2e9)
    json.dumps(report.as_dict())
    "\n".join(report.text())


def recovered(data: bytes) -> None:
    """Have the next process look after an edited lane, and read what is left."""
    with _edited(data) as home:
        manifest = Manifest(home / "ledger")
        for _ in recovery.recover(manifest, "another"):
            pass
        for _ in reader.read(home):
            pass


def read(data: bytes) -> None:
    """Read an edited ledger in every way."""
    with _edited(data) as home:
        _all_ways(home)


def record(data: bytes) -> None:
    """Read and verify a ledger that has one line, right in form or not."""
    with _folder() as folder:
        home = Path(folder)
        (home / "ledger" / LANE).mkdir(parents=True)
        (home / "ledger" / LANE / FIRST).write_bytes(data + b"\n" + json.dumps(RECORD).encode() + b"\n")
        _all_ways(home)
        _reported(home)


def _all_ways(home: Path) -> None:
    wants: tuple[dict[str, Any], ...] = (
        {}, {"guard": "g", "outcome": "answered", "event": "call", "since": 0.0, "until": 2e9}, {"ids": [ID]},
        {"business_id": "b", "actor": "anna", "subject": "s"},
    )  # fmt: skip
    for want in wants:
        for newest_first in (False, True):
            for _ in reader.read(home, newest_first=newest_first, **want):
                pass
    for each in reader.stored(reader.wanted(), home):
        columns.row(each)
    for _ in reader.mentions([ID], home):
        pass


def manifest_line(data: bytes) -> None:
    """Take a line that links to the one before it, with anything behind its head, as whoever has the key may write it."""
    fields = data.strip(b"\n").removeprefix(b"{")
    lines, leaf = ManifestLines(), bytes(32)
    with _folder() as folder:
        place = Path(folder) / "ledger"
        place.mkdir()
        first = (
            b'{"v":1,"n":1,"prev":"%b","ts":"2026-11-23T23:02:16.367169Z","event":"ledger","ledger":"72fb1323e051b23a"}'
            % leaf.hex().encode()
        )
        head = b'{"v":1,"n":2,"prev":"%b","ts":"2026-11-23T23:02:16.367169Z",' % merkle.leaf(first).hex().encode()
        second = head + fields.replace(b"\n", b" ")
        lines.take([first, second])
        lines.content(), lines.lanes(), lines.open_lanes(), lines.knows("x")
        (place / "manifest.jsonl").write_bytes(first + b"\n" + second + b"\n")
        holds.in_force(Manifest(place))
        _reported(place.parent)


PARSERS: dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
    "ledger, verified": (verified, EDITS),
    "ledger, read": (read, EDITS),
    "ledger, recovered": (recovered, EDITS),
    "record of a ledger": (record, (json.dumps(RECORD).encode(),)),
    "line of the manifest": (manifest_line, LINES),
}
