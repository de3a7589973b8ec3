"""Lanes whose process is gone: closed by the next one, their torn end cut and recorded; every other damage is left as it is."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_calls import make_entry, until
from kept import sync_fails_once

from guardrail import clock, notices
from guardrail.ledger import derived, lane, merkle, notes, reader, recovery, seals, segments, signing, writer
from guardrail.ledger.lane import Lane
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.record import event_body

HERE = Path(__file__).parent
FIRST = "00000000000000000001.jsonl"


def body(at: int) -> bytes:
    """Return a line without number and link."""
    return event_body(f"00000000-0000-7000-8000-{at:012d}", float(at), "feedback", guard=None, fields={"n": at}, around={})


def left_open(home: Path, many: int = 5, *, signed: int = 0) -> Path:
    """Leave a lane as a killed process does: so many records, a checkpoint over the first of them, and no lock."""
    one = Lane(home)
    if signed:
        one.append([body(at) for at in range(signed)])
        one.upkeep(clock.now() + seals.EVERY_SECONDS)
    one.append([body(at) for at in range(signed, many)])
    one.abandon()
    return one.folder


def recovered(home: Path) -> list[recovery.Recovered | None]:
    """Let another lane look after the others."""
    own = Lane(home)
    own.append([body(99)])
    found = list(recovery.recover(own.manifest, own.name))
    own.close()
    return found


def whole(home: Path, folder: Path) -> int:
    """Check that a lane is closed, and that its records, leaves, checkpoints and root agree; return its size."""
    facts = Manifest(home / "ledger").lanes()[folder.name]
    leaves = list(derived.hashes(folder, 10**9))
    assert facts.size == len(leaves)
    assert facts.root == merkle.root(leaves).hex()
    assert derived.read_leaves(folder) == leaves
    if leaves:
        note, (signature,) = notes.parse_all((folder / "checkpoints").read_bytes())[-1]
        assert (note.size, note.root) == (len(leaves), merkle.root(leaves))
        assert notes.verify(note.text(), signature, signing.signing_key().public)
    return len(leaves)


@pytest.mark.parametrize("signed", [0, 3, 5])
def test_a_lane_without_an_owner_is_closed(tmp_path: Path, signed: int) -> None:
    """Its size and root are in the manifest, its last checkpoint covers all of it, and nothing was cut."""
    folder = left_open(tmp_path, signed=signed)
    (done,) = recovered(tmp_path)
    assert done == recovery.Recovered(folder.name, 5, 0, None)
    assert whole(tmp_path, folder) == 5
    assert recovered(tmp_path) == []


def test_a_lane_whose_owner_lives_is_left_alone(tmp_path: Path) -> None:
    """Its lock is held, and it goes on."""
    alive = Lane(tmp_path)
    alive.append([body(0)])
    assert recovered(tmp_path) == [None]
    assert len(alive.append([body(1)])) == 1
    alive.close()
    assert whole(tmp_path, alive.folder) == 2


def test_a_lane_that_never_wrote_is_closed_empty(tmp_path: Path) -> None:
    """A process that died between its entry in the manifest and its first record."""
    one = Lane(tmp_path)
    one.append([])
    one.abandon()
    (done,) = recovered(tmp_path)
    assert done == recovery.Recovered(one.name, 0, 0, None)
    assert whole(tmp_path, one.folder) == 0


@pytest.mark.parametrize("signed", [0, 3])
def test_a_torn_end_is_cut_wherever_it_was_torn(tmp_path: Path, signed: int) -> None:
    """Whatever the length of what is left of the last line: it goes, the others stay, and the manifest says how many bytes."""
    original = left_open(tmp_path / "original", signed=signed)
    line = (original / FIRST).read_bytes().splitlines(keepends=True)[-1]
    for left in random.Random(7).sample(range(1, len(line)), 6):
        home = tmp_path / str(left)
        shutil.copytree(tmp_path / "original", home)
        folder = home / "ledger" / original.name
        os.truncate(folder / FIRST, (folder / FIRST).stat().st_size - len(line) + left)
        (done,) = recovered(home)
        assert done == recovery.Recovered(folder.name, 4, left, None)
        assert whole(home, folder) == 4
        facts = Manifest(home / "ledger").lanes()[folder.name]
        assert facts.recovered is not None
        assert facts.recovered["cut_bytes"] == left


def test_blocks_that_were_never_written_are_a_torn_end(tmp_path: Path) -> None:
    """After a power failure the file may be as long as it should be, with nothing in it."""
    folder = left_open(tmp_path)
    with (folder / FIRST).open("ab") as file:
        file.write(b"\0" * 5_000)
    (done,) = recovered(tmp_path)
    assert done == recovery.Recovered(folder.name, 5, 5_000, None)
    assert whole(tmp_path, folder) == 5


def test_files_that_were_not_synced_are_made_anew(tmp_path: Path) -> None:
    """Leaves that a crash took come from the records again."""
    folder = left_open(tmp_path, signed=3)
    os.truncate(folder / "leaves", 32)
    (done,) = recovered(tmp_path)
    assert done is not None
    assert done.problem is None
    assert whole(tmp_path, folder) == 5


def test_a_lane_of_many_files_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The torn end is that of the last file; the others are read as far as the last checkpoint asks for it."""
    monkeypatch.setattr(lane, "SEGMENT_BYTES", 500)
    one = Lane(tmp_path)
    for at in range(20):
        one.append([body(at)])
        if at == 9:
            one.upkeep(clock.now() + seals.EVERY_SECONDS)
    one.abandon()
    *_, last = segments.segments(one.folder)
    with last.path.open("ab") as file:
        file.write(b'{"v":1,')
    (done,) = recovered(tmp_path)
    assert done == recovery.Recovered(one.name, 20, 7, None)
    assert whole(tmp_path, one.folder) == 20


def test_a_lane_that_died_with_a_new_file_is_closed(tmp_path: Path) -> None:
    """The last file is there and empty; what the checkpoint covers is in the one before."""
    folder = left_open(tmp_path, signed=5)
    (folder / f"{6:020d}.jsonl").touch(0o600)
    (done,) = recovered(tmp_path)
    assert done == recovery.Recovered(folder.name, 5, 0, None)
    assert whole(tmp_path, folder) == 5


@pytest.mark.parametrize(
    "damage", ["changed", "cut", "removed line", "emptied", "removed file", "lock", "checkpoints", "leaves and line"]
)
def test_other_damage_is_left_as_it_is(tmp_path: Path, damage: str) -> None:
    """What no crash does is evidence: the lane is not closed, nothing of it is touched, and why is told."""
    folder = left_open(tmp_path, signed=3)
    path = folder / FIRST
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "changed":
        path.write_bytes(b"".join([*lines[:3], lines[3].replace(b'"n":3', b'"n":4'), lines[4]]))
    elif damage == "cut":
        os.truncate(path, len(lines[0]) + len(lines[1]) + 20)
    elif damage == "removed line":
        path.write_bytes(b"".join([*lines[:3], lines[4]]))
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "removed file":
        path.unlink()
    elif damage == "lock":
        (folder / "lock").unlink()
    elif damage == "checkpoints":
        (folder / "checkpoints").write_bytes((folder / "checkpoints").read_bytes().replace(b"\n3\n", b"\n2\n"))
    else:
        path.write_bytes(b"".join([lines[0], lines[1].replace(b'"n":1', b'"n":2'), *lines[2:]]))
        (folder / "leaves").unlink()
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    (done,) = recovered(tmp_path)
    assert done is not None
    assert done.problem
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before
    assert not Manifest(tmp_path / "ledger").lanes()[folder.name].closed


def test_the_next_process_tells_what_it_recovered(home: Path) -> None:
    """An incident in its own lane, once, and a notice for a lane that it could not close."""
    folder = left_open(home)
    broken = left_open(home)
    (broken / FIRST).write_bytes(b"garbage\n")
    with (folder / FIRST).open("ab") as file:
        file.write(b'{"v":1,')
    writer.push(make_entry())
    (incident,) = until(lambda: list(reader.read(home, event="incident")))
    assert (incident["what"], incident["lane"], incident["records"], incident["cut_bytes"]) == ("recovered", folder.name, 5, 7)
    until(lambda: (None, "ledger-lane") in notices.counts())
    assert whole(home, folder) == 5


def test_a_failed_sync_leaves_lines_that_recovery_does_not_count_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that failed holds records that the next one holds again; the tree has each of them once."""
    one = Lane(tmp_path)
    one.append([body(0)])
    sync_fails_once(monkeypatch)
    one.append([body(1), body(2)])
    one.append([body(3)])
    one.abandon()
    (done,) = recovered(tmp_path)
    assert done == recovery.Recovered(one.name, 4, 0, None)
    assert whole(tmp_path, one.folder) == 4


PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_ledger_recovery import body
from guardrail import clock
from guardrail.ledger import seals
from guardrail.ledger.lane import Lane
seals.EVERY_RECORDS = 300
one, at = Lane(Path(sys.argv[1])), 0
while True:
    lines = one.append([body(at + each) for each in range(50)])
    at += len(lines)
    os.write(1, b"%d\\n" % at)
    one.upkeep(clock.now())
"""


def test_killed_processes_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Rounds of kill -9: each lane is closed by the next process with at least what was acknowledged, and agrees in itself."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(HERE)]
    for at in range(6):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            acknowledged = 0
            for line in process.stdout:
                acknowledged = int(line)
                if acknowledged >= 50 * (at * 3 + 1):
                    process.send_signal(signal.SIGKILL)
                    break
            for line in process.stdout:
                acknowledged = int(line) if line.endswith("\n") else acknowledged
        (name,) = [facts.name for facts in Manifest(tmp_path / "ledger").lanes().values() if not facts.closed]
        (done,) = recovered(tmp_path)
        assert done is not None
        assert done.problem is None
        assert acknowledged <= whole(tmp_path, tmp_path / "ledger" / name) <= acknowledged + 50


def test_a_lane_whose_line_in_the_manifest_is_damaged_is_left_as_it_is(home: Path) -> None:
    """Its name can still be seen in the bytes, and nothing else: it is told of, and no other lane waits for it."""
    damaged, other = left_open(home), left_open(home)
    manifest = home / "ledger" / "manifest.jsonl"
    lines = manifest.read_bytes().split(b"\n")
    at = next(at for at, line in enumerate(lines) if b'"event":"open"' in line and damaged.name.encode() in line)
    lines[at] = lines[at].replace(b'"pid":', b'"pid"')  # no JSON any more
    manifest.write_bytes(b"\n".join(lines))
    found = {each.lane: each for each in recovered(home) if each is not None}
    assert "manifest" in (found[damaged.name].problem or "")
    assert found[other.name].problem is None
