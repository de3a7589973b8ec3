"""The files of a lane: how they are named and protected, and what becomes of writes that fail."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import orjson
import pytest
from kept import sync_fails_once

from guardrail.ledger import lane, record, segments
from guardrail.ledger.lane import Lane
from guardrail.ledger.record import event_body


def body(at: int = 0, size: int = 0) -> bytes:
    """Return a line without its number."""
    return event_body(
        f"00000000-0000-7000-8000-{at:012d}", float(at), "feedback", guard=None, fields={"n": at, "pad": "x" * size}, around={}
    )


def numbers(found: Lane) -> list[tuple[int, int]]:
    """Return (number in the lane, number of the event) of each record that a reader sees."""
    return [
        (record["seq"], record["n"])
        for segment in segments.segments(found.folder)
        for line in segments.forwards(segment.path)
        if (record := segments.parsed(line, segment, None)) is not None
    ]


def files(found: Lane) -> list[str]:
    """Return the names of a lane's segments."""
    return sorted(each.name for each in found.folder.glob("*.jsonl"))


class Faults:
    """Stands in for `os.write` and fails as told."""

    def __init__(self, *takes: int | None) -> None:
        self.takes = list(takes)
        self.write = os.write

    def __call__(self, handle: int, data: Any) -> int:
        take = self.takes.pop(0) if self.takes else None
        if take is None:
            return self.write(handle, data)
        if take == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.write(handle, bytes(data)[:take])


def test_files_are_private_and_named_by_their_first_record(tmp_path: Path) -> None:
    """Folder 0700, file 0600, named by 20 digits; nothing is made before there is something to write."""
    one = Lane(tmp_path)
    assert not (tmp_path / "ledger").exists()
    assert len(one.append([body(1), body(2)])) == 2
    assert files(one) == ["00000000000000000001.jsonl"]
    one.close()
    assert sorted(each.name for each in one.folder.iterdir()) == ["00000000000000000001.jsonl", "checkpoints", "leaves", "lock"]
    assert sorted(each.name for each in one.folder.parent.iterdir()) == [
        one.name, "manifest.jsonl", "manifest.lock", "manifest.notes",
    ]  # fmt: skip
    assert stat.S_IMODE(one.folder.stat().st_mode) == stat.S_IMODE(one.folder.parent.stat().st_mode) == 0o700
    found = [each for each in one.folder.parent.rglob("*") if each.is_file()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in found} == {0o600}


def test_names_of_lanes_sort_by_time_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later lane sorts behind an earlier one; two of the same moment differ."""
    monkeypatch.setattr(lane.clock, "wall", lambda: 1_700_000_000.5)
    first, second = lane.lane_name(), lane.lane_name()
    assert first != second
    assert first.startswith("20231114T221320500000Z-")
    assert f"-{os.getpid()}-" in first
    monkeypatch.setattr(lane.clock, "wall", lambda: 1_700_000_001.0)
    assert lane.lane_name() > max(first, second)


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers go on across files, each named by its first."""
    monkeypatch.setattr(lane, "SEGMENT_BYTES", 600)
    one = Lane(tmp_path)
    for at in range(9):
        assert one.append([body(at)])
    one.close()
    assert len(files(one)) > 1
    assert files(one)[0] == "00000000000000000001.jsonl"
    assert numbers(one) == [(at + 1, at) for at in range(9)]


def test_after_a_failed_sync_the_file_is_never_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failed sync leaves unsure goes into another file, and a reader sees each record once."""
    one = Lane(tmp_path)
    one.append([body(0)])
    sync_fails_once(monkeypatch)
    assert len(one.append([body(1), body(2)])) == 2
    assert one.problem is None
    one.append([body(3)])
    one.close()
    assert files(one) == ["00000000000000000001.jsonl", "00000000000000000002.jsonl"]
    assert numbers(one) == [(1, 0), (2, 1), (3, 2), (4, 3)]
    first = (one.folder / "00000000000000000001.jsonl").read_bytes()
    assert first.count(b"\n") == 3  # written, but not known to be durable: the next file holds them again


def test_a_short_write_keeps_what_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up in the middle of a line: whole lines count, the torn one is written again elsewhere."""
    one = Lane(tmp_path)
    size = len(record.seal(body(0), 1, b"0" * 64))
    one.append([])  # the manifest has it
    monkeypatch.setattr(lane.os, "write", Faults(size + 10, 0))
    assert len(one.append([body(0), body(1), body(2)])) == 3
    one.close()
    assert numbers(one) == [(1, 0), (2, 1), (3, 2)]
    assert len(files(one)) == 2


def test_what_a_full_disk_does_not_take_is_offered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`append` tells how far it came and why; the same lines succeed when there is room, under the same numbers."""
    one = Lane(tmp_path)
    one.append([body(0)])
    with monkeypatch.context() as full:
        full.setattr(lane.os, "write", Faults(0, 0, 0, 0))
        assert one.append([body(1), body(2)]) == []
        assert one.problem is not None
        assert one.problem.errno == errno.ENOSPC
    assert len(one.append([body(1), body(2)])) == 2
    assert one.problem is None
    one.close()
    assert numbers(one) == [(1, 0), (2, 1), (3, 2)]


def test_a_first_file_that_fails_leaves_its_name_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment without a durable record is removed, since the next try needs its name."""
    one = Lane(tmp_path)
    one.append([])
    with monkeypatch.context() as full:
        full.setattr(lane.os, "write", Faults(30, 0, 0))
        assert one.append([body(0)]) == []
    assert files(one) == []
    assert orjson.loads(one.append([body(0)])[0])["seq"] == 1
    one.close()


def test_a_lane_whose_files_are_gone_takes_nothing_more(tmp_path: Path) -> None:
    """Someone clears the folder under a running process: numbers do not go on in a file without a name, or behind a hole."""
    one = Lane(tmp_path)
    one.append([body(0)])
    shutil.rmtree(tmp_path / "ledger")
    assert one.append([body(1)]) == []
    assert one.lost
    one.close()
    assert not (tmp_path / "ledger").exists()


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    """Whoever may write in the folder cannot have records go elsewhere."""
    one = Lane(tmp_path)
    one.folder.mkdir(parents=True)
    (one.folder / "00000000000000000001.jsonl").symlink_to(tmp_path / "elsewhere")
    assert one.append([body(0)]) == []
    assert one.problem is not None
    assert not (tmp_path / "elsewhere").exists()
