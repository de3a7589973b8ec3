"""Real lanes with many short segments, and a clock that can be put forward, for the tests of what becomes of old records."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from guardrail import clock, settings
from guardrail.ledger import derived, lane, merkle, notes, seals, segments, verify, writer
from guardrail.ledger.lane import Lane
from guardrail.ledger.record import event_body

DAY = 86_400.0
EACH = 4  # records in a segment of `made`


def body(number: int, **fields: Any) -> bytes:
    """Return a call without number and link, made a second after the one before."""
    at = clock.wall() + number / 1000
    identity = f"{int(at * 1000):012x}"
    identity = f"{identity[:8]}-{identity[8:]}-7000-8000-{number:012d}"
    plain = {"outcome": "answered", "business_id": f"loan-{number}", "n": number}
    return event_body(identity, at, "call", guard=fields.pop("guard", "loans"), fields=plain | fields, around={})


def made(home: Path, many: int = 20, *, close: bool = True, first: int = 0, **fields: Any) -> Lane:
    """Write a lane in segments of `EACH` records, each with a checkpoint; close it or leave it open and alive."""
    one = Lane(home)
    with small():
        for at in range(first, first + many):
            one.append([body(at, **fields)])
            one.upkeep(clock.now() + seals.EVERY_SECONDS)
    if close:
        one.close()
    return one


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Have a segment end after `EACH` records."""
    ready = Lane._ready

    def stepwise(self: Lane) -> None:
        if self._handle is not None and self.next - self._first >= EACH:
            self._leave(None)
        ready(self)

    Lane._ready = stepwise  # type: ignore[method-assign]
    try:
        yield
    finally:
        Lane._ready = ready  # type: ignore[method-assign]


def sync_fails_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the next sync of a segment fail, as a disk may, and all others succeed."""
    sync, fails = lane._sync, [True]

    def once(handle: int) -> None:
        if fails:
            fails.clear()
            raise OSError(errno.EIO, "Input/output error")
        sync(handle)

    monkeypatch.setattr(lane, "_sync", once)


@contextlib.contextmanager
def later(days: float) -> Iterator[None]:
    """Put the wall clock forward."""
    before = clock.wall
    clock.wall = lambda: before() + days * DAY
    try:
        yield
    finally:
        clock.wall = before


@contextlib.contextmanager
def earlier(days: float) -> Iterator[None]:
    """Put the wall clock back; files are given the moment as well by `aged`."""
    with later(-days):
        yield


def aged(home: Path, days: float) -> None:
    """Give every segment of a home a moment that lies so far back."""
    at = time.time() - days * DAY
    for path in (home / "ledger").rglob("*.jsonl*"):
        os.utime(path, (at, at))


def old(home: Path, many: int = 20, *, days: float = 200, close: bool = True, **fields: Any) -> Lane:
    """Write a lane as if so many days ago."""
    with earlier(days):
        one = made(home, many, close=close, **fields)
    at = time.time() - days * DAY
    for path in one.folder.glob("*.jsonl"):
        os.utime(path, (at, at))
    return one


def names(one: Lane | Path) -> list[str]:
    """Return the segments that a lane has."""
    return [each.path.name for each in segments.segments(one.folder if isinstance(one, Lane) else one)]


def verdict(home: Path, **options: Any) -> int:
    """Return what the verifier says, in this process."""
    return report(home, **options).code


def report(home: Path, **options: Any) -> verify.Report:
    return verify.verify(verify.Files(str(home / "ledger")), **options)


def stands_alone(home: Path, *more: str) -> int:
    """Return the exit code of the verifier as an auditor runs it: the file alone, without the library."""
    assert verify.__file__
    command = [sys.executable, "-I", verify.__file__, str(home / "ledger"), *more]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode


def proofs_hold(folder: Path, records: list[tuple[int, bytes]]) -> None:
    """Check, for every checkpoint of a lane, consistency with the latest and the inclusion of some records, from stored leaves."""
    checkpoints = [note for note, _ in notes.parse_all((folder / "checkpoints").read_bytes())]
    leaves = derived.read_leaves(folder)
    latest = checkpoints[-1]
    for note in checkpoints:
        path = merkle.consistency(leaves, note.size, latest.size)
        assert merkle.verify_consistency(note.size, latest.size, note.root, latest.root, path)
    for seq, line in records:
        path = merkle.inclusion(leaves, seq - 1, latest.size)
        assert merkle.verify_inclusion(merkle.leaf(line), seq - 1, latest.size, path, latest.root)


def lines(folder: Path) -> list[tuple[int, bytes]]:
    """Return number and line (without newline) of every record that a lane still has."""
    found = [line[:-1] for each in segments.segments(folder) for line in segments.forwards(each.path)]
    return [(orjson.loads(line)["seq"], line) for line in found]


def own_lane() -> Path:
    """Return the folder of this process's lane."""
    name = writer.lane()
    assert name is not None
    return settings.home() / "ledger" / name


__all__ = ["DAY", "EACH", "aged", "body", "earlier", "lane", "later", "lines", "made", "names", "old", "own_lane", "proofs_hold",
           "report", "small", "stands_alone", "verdict"]  # fmt: skip
