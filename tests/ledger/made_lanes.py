"""Lanes written by hand, for tests of reading."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson

from guardrail.ledger.record import iso

T = 1_700_000_000.0
A, B = "20231114T221320000000Z-h-1-aa", "20231114T221321000000Z-h-2-bb"


def identity(number: int, at: float = T) -> str:
    """Return a UUIDv7."""
    moment = f"{int(at * 1000):012x}"
    return f"{moment[:8]}-{moment[8:]}-7000-8000-{number:012x}"


def line(seq: int, at: float, **fields: Any) -> bytes:
    plain = {
        "v": 1,
        "id": identity(seq, at),
        "seq": seq,
        "prev": "0" * 64,
        "ts": iso(at),
        "event": "call",
        "outcome": "answered",
        "guard": "g",
    }
    return orjson.dumps(plain | fields) + b"\n"


def write(home: Path, lane: str, first: int, lines: list[bytes], *, packed: bool = False) -> Path:
    folder = home / "ledger" / lane
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{first:020d}.jsonl"
    path.write_bytes(b"".join(lines))
    return pack(path) if packed else path


def pack(path: Path) -> Path:
    """Compress a segment as retention does: the new file appears whole, then the plain one goes."""
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), 1))
    path.unlink()
    return packed


def close(home: Path, *lanes: str) -> None:
    """Say in the manifest that lanes are closed."""
    with (home / "ledger" / "manifest.jsonl").open("ab") as file:
        for lane in lanes:
            file.write(orjson.dumps({"v": 1, "event": "close", "lane": lane, "size": 1}) + b"\n")
