"""The manifest: which lanes there are, linked and signed, whoever writes it and however its files were damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from guardrail import notices
from guardrail.ledger import manifest, manifest_lines, merkle, notes, recovery, signing, verify
from guardrail.ledger.lane import Lane
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.manifest_lines import ManifestLines
from guardrail.ledger.record import event_body
from guardrail.store import file_lock


def body(at: int) -> bytes:
    """Return a line without number and link."""
    return event_body(f"00000000-0000-7000-8000-{at:012d}", float(at), "feedback", guard=None, fields={"n": at}, around={})


def raw(folder: Path) -> list[bytes]:
    """Return the lines of a manifest as they are stored."""
    return (folder / "manifest.jsonl").read_bytes().splitlines()


def last_note(folder: Path) -> notes.Note:
    """Return the last checkpoint of a manifest, whose signature must hold."""
    note, (signature, *_) = notes.parse_all((folder / "manifest.notes").read_bytes())[-1]
    assert notes.verify(note.text(), signature, signing.signing_key().public)
    return note


def test_lines_are_numbered_linked_and_signed(tmp_path: Path) -> None:
    """The first append begins the ledger and names its key; each line holds the hash of the one before; the note is their tree."""
    one = Manifest(tmp_path)
    line = one.append("hold", hold="case-7", why="litigation")
    lines = raw(tmp_path)
    assert [orjson.loads(each)["event"] for each in lines] == ["ledger", "key", "hold"]
    assert [orjson.loads(each)["n"] for each in lines] == [1, 2, 3]
    assert [orjson.loads(each)["prev"] for each in lines] == ["0" * 64, *(merkle.leaf(each).hex() for each in lines[:2])]
    assert orjson.loads(lines[2]) == line
    note = last_note(tmp_path)
    assert (note.origin, note.size) == (f"guardrail/{one.ledger_id}/manifest", 3)
    assert note.root == merkle.root(merkle.leaf(each) for each in lines)
    assert Manifest(tmp_path).lines() == one.lines()


def test_facts_of_lanes_and_holds_are_told(tmp_path: Path) -> None:
    """What was opened, closed, cut up and pruned, and which holds are in force; what a newer release adds is passed over."""
    one = Manifest(tmp_path)
    facts = {"key_id": "k", "host": "h", "boot": "b", "pid": 7, "sdk": "1"}
    one.append("open", lane="a", **facts, later="field")
    one.append("segment", lane="a", first=1, last=9, root_at_last="ab")
    one.append("later", lane="z", any="thing")
    one.append("prune", lane="a", upto=9, root="ab", by={"lane": "b", "seq": 1}, **{"from": 1})
    one.append("open", lane="b", **facts)
    one.append("close", lane="a", size=12, root="cd", recovered={"by": "b", "cut_bytes": 5})
    one.append("hold", hold="x")
    one.append("hold", hold="y")
    one.append("release", hold="x")
    found = Manifest(tmp_path).lanes()
    assert list(found) == ["a", "b"]
    assert found["a"].closed
    assert (found["a"].size, found["a"].segments, found["a"].pruned) == (12, [(1, 9, "ab")], [(1, 9)])
    assert found["a"].recovered == {"by": "b", "cut_bytes": 5}
    assert (found["b"].closed, found["b"].pid) == (False, 7)
    assert list(Manifest(tmp_path).holds()) == ["y"]


def test_two_processes_that_start_in_the_same_millisecond_share_one_manifest(tmp_path: Path) -> None:
    """Eight processes wait for one moment and begin: one ledger, one key, one line for each lane, linked, and all records."""
    code = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_ledger_manifest import body
from guardrail.ledger.lane import Lane
one = Lane(Path(sys.argv[1]))
sys.stdout.write("ready\\n"); sys.stdout.flush()
time.sleep(max(0, float(sys.stdin.readline()) - time.time()))
assert len(one.append([body(at) for at in range(5)])) == 5, one.problem
one.close()
"""
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", code, str(tmp_path), here]
    running = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    import time

    begin = time.time() + 0.2
    for each in running:
        each.communicate(f"{begin}\n", timeout=60)
        assert each.returncode == 0
    found = Manifest(tmp_path / "ledger")
    events = [each["event"] for each in found.lines()]
    assert found.damaged == 0
    assert (events.count("ledger"), events.count("key"), events.count("open"), events.count("close")) == (1, 1, 6, 6)
    assert [facts.size for facts in found.lanes().values()] == [5] * 6
    note = last_note(tmp_path / "ledger")
    assert (note.size, note.root) == (14, merkle.root(merkle.leaf(each) for each in raw(tmp_path / "ledger")))


def test_a_torn_line_is_cut_by_the_next_append(tmp_path: Path) -> None:
    """A process died while it appended: readers pass over the rest, and the next line says how much was cut."""
    one = Manifest(tmp_path)
    one.append("hold", hold="x")
    path = tmp_path / "manifest.jsonl"
    with path.open("ab") as file:
        file.write(b'{"v":1,"n":4,"prev":"')
    assert len(Manifest(tmp_path).lines()) == 3
    line = Manifest(tmp_path).append("hold", hold="y")
    assert (line["n"], line["cut_bytes"]) == (4, 21)
    again = Manifest(tmp_path)
    assert len(again.lines()) == 4
    assert again.damaged == 0
    assert last_note(tmp_path).size == 4


@pytest.mark.parametrize("damage", ["changed", "removed", "garbled", "first garbled", "emptied"])
def test_a_damaged_manifest_stops_no_process(tmp_path: Path, damage: str) -> None:
    """Records go on, in a lane that is entered behind the damage; the damage stays, is counted and said."""
    first = Lane(tmp_path)
    first.append([body(0)])
    first.close()
    path = tmp_path / "ledger" / "manifest.jsonl"
    ledger_id = Manifest(tmp_path / "ledger").lines()[0]["ledger"]
    lines = path.read_bytes().splitlines(keepends=True)
    changed = {
        "changed": [*lines[:2], lines[2].replace(b'"pid":', b'"pie":'), *lines[3:]],
        "removed": [*lines[:2], *lines[3:]],
        "garbled": [*lines[:2], b"\xff\x00garbage\n", *lines[3:]],
        "first garbled": [b"garbage\n", *lines[1:]],
        "emptied": [],
    }[damage]
    path.write_bytes(b"".join(changed))
    second = Lane(tmp_path)
    assert len(second.append([body(1)])) == 1
    second.close()
    found = Manifest(tmp_path / "ledger")
    lanes = found.lanes()
    assert lanes[second.name].closed
    assert path.read_bytes().startswith(b"".join(changed))
    if damage != "emptied":
        assert found.damaged >= 1
        assert (None, "manifest") in notices.counts()
    assert found.ledger_id == ledger_id


def test_a_manifest_that_is_put_back_under_a_running_process_is_said(tmp_path: Path) -> None:
    """Somebody brings an older copy back: the process notices at its next look, and goes on behind it."""
    one = Manifest(tmp_path)
    one.append("hold", hold="x")
    older = (tmp_path / "manifest.jsonl").read_bytes()
    one.append("hold", hold="y")
    (tmp_path / "manifest.jsonl").write_bytes(older)
    assert one.append("hold", hold="z")["n"] == 4
    assert (None, "manifest-cut") in notices.counts()
    assert list(one.holds()) == ["x", "z"]


def test_a_lock_that_is_held_for_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs with the lock costs others their patience, not their lives."""
    monkeypatch.setattr(manifest, "LOCK_SECONDS", 0.05)
    one = Manifest(tmp_path)
    one.append("hold", hold="x")
    with file_lock.held(tmp_path / "manifest.lock"), pytest.raises(TimeoutError), one.locked(0.05):
        raise AssertionError("two hold the lock")
    assert one.append("hold", hold="y")["n"] == 4


def test_a_failed_append_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that syncs nothing takes no line, so that nobody builds upon what it may not have; the file is not used again."""
    one = Manifest(tmp_path)
    one.append("hold", hold="x")
    before = (tmp_path / "manifest.jsonl").read_bytes()
    inode = (tmp_path / "manifest.jsonl").stat().st_ino
    held = os.open(tmp_path / "manifest.jsonl", os.O_RDONLY)  # so that its inode is not given to another file

    def refuse(_handle: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="Input/output"):
            one.append("hold", hold="y")
    assert (tmp_path / "manifest.jsonl").read_bytes() == before
    assert one.append("hold", hold="z")["n"] == 4
    os.close(held)
    assert (tmp_path / "manifest.jsonl").stat().st_ino != inode
    assert (tmp_path / "manifest.jsonl").read_bytes().startswith(before)
    assert {each.name for each in tmp_path.iterdir()} <= {"manifest.jsonl", "manifest.lock", "manifest.notes", "config"}


@pytest.mark.parametrize("name", ["manifest.jsonl", "manifest.notes"])
def test_after_a_failed_sync_a_file_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One sync fails, as Linux tells of a page that it could not write and then forgets: the append goes to another file."""
    one = Manifest(tmp_path)
    one.append("hold", hold="x")
    path = tmp_path / name
    held = os.open(path, os.O_RDONLY)
    inode, before = os.fstat(held).st_ino, path.read_bytes()
    real, refused = os.fsync, []

    def refuse(handle: int) -> None:
        if os.fstat(handle).st_ino == inode:
            refused.append(handle)
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    assert one.append("hold", hold="y")["n"] == 4
    assert one.append("hold", hold="z")["n"] == 5
    assert len(refused) == 1
    assert os.fstat(held).st_nlink == 0
    os.close(held)
    assert path.read_bytes().startswith(before)
    again = Manifest(tmp_path)
    assert list(again.holds()) == ["x", "y", "z"]
    assert again.damaged == 0
    found = notes.parse_all((tmp_path / "manifest.notes").read_bytes())
    assert [note.size for note, _ in found] == [3, 4, 5]
    assert last_note(tmp_path).root == merkle.root(merkle.leaf(each) for each in raw(tmp_path))


def test_a_disk_that_is_full_is_not_taken_for_one_that_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails is taken back from the same file: nothing of it was ever called durable."""
    one = Manifest(tmp_path)
    one.append("hold", hold="x")
    inode = (tmp_path / "manifest.jsonl").stat().st_ino
    held = os.open(tmp_path / "manifest.jsonl", os.O_RDONLY)

    def full(_handle: int, _content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            one.append("hold", hold="y")
    assert one.append("hold", hold="z")["n"] == 4
    os.close(held)
    assert (tmp_path / "manifest.jsonl").stat().st_ino == inode


def test_what_a_newer_release_writes_is_read(tmp_path: Path) -> None:
    """Its lines may have fields in another order, and events that nobody here knows: they count, and link what comes behind."""
    one = Manifest(tmp_path)
    one.append("open", lane="a", key_id="k", host="h", boot="b", pid=7, sdk="1")
    last = raw(tmp_path)[-1]
    newer = []
    for event, lane in (("open", "b"), ("later", "c"), ("close", "a")):
        facts = {"key_id": "k", "host": "h", "boot": "b", "pid": 8, "sdk": "2", "size": 3, "root": "ab"}
        last = orjson.dumps({"n": 4 + len(newer), "event": event, **facts, "lane": lane, "prev": merkle.leaf(last).hex(), "v": 2})
        newer.append(last)
    with (tmp_path / "manifest.jsonl").open("ab") as file:
        file.write(b"".join(line + b"\n" for line in newer))
    again = Manifest(tmp_path)
    assert again.open_lanes() == ["b"]
    assert [again.knows(name) for name in "abd"] == [True, True, False]
    assert {name: facts.closed for name, facts in again.lanes().items()} == {"a": True, "b": False}
    assert again.damaged == 0
    assert again.append("hold", hold="x")["n"] == 7


@pytest.mark.parametrize("name", ["../victim", "/tmp", "a/b", "a\0b", ".", "..", "", "manifest", "a" * 201, "ä", "-x"])
def test_a_name_that_leads_elsewhere_is_no_lane(tmp_path: Path, name: str) -> None:
    """Whoever can write the manifest makes the next process open and cut no files outside of the ledger; nor does it stop that process."""
    victim = tmp_path / "victim"
    victim.mkdir()
    for file in ("lock", "00000000000000000001.jsonl"):
        (victim / file).write_bytes(b"torn")
    folder = tmp_path / "ledger"
    one = Manifest(folder)
    one.append("open", lane="honest", key_id="k", host="h", boot="b", pid=7, sdk="1")
    one.append("open", lane=name, key_id="k", host="h", boot="b", pid=8, sdk="1")
    again = Manifest(folder)
    assert again.open_lanes() == ["honest"]
    assert list(again.lanes()) == ["honest"]
    (found,) = recovery.recover(again, "another")
    assert found is not None
    assert found.lane == "honest"
    assert [each.read_bytes() for each in sorted(victim.iterdir())] == [b"torn", b"torn"]
    assert manifest_lines._NAME.pattern == verify._LANE.pattern


def test_an_event_that_is_no_text_is_passed_over() -> None:
    """One flipped byte in a line of the manifest stops no process that reads it."""
    lines = ManifestLines()
    lines.take([b'{"v":1,"n":1,"prev":"%b","ts":"2026-01-01T00:00:00.000000Z","event":"op\xffn","lane":"x"}' % (b"0" * 64)])
    assert lines.number == 1
    assert lines.content() == lines.open_lanes() == []
