"""Beats, checkpoints, closed segments and refused places: what the ledger's thread does besides records."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_calls import make_entry, make_plan, until
from kept import sync_fails_once

from guardrail import clock, notices, settings
from guardrail.ledger import beats, derived, lane, merkle, notes, places, reader, seals, segments, signing, standing, writer
from guardrail.ledger.lane import Lane
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.record import event_body


def body(at: int) -> bytes:
    """Return a line without number and link."""
    return event_body(f"00000000-0000-7000-8000-{at:012d}", float(at), "feedback", guard=None, fields={"n": at}, around={})


def signed(one: Lane) -> list[int]:
    """Return the sizes of a lane's checkpoints, each of which must hold."""
    found = notes.parse_all((one.folder / "checkpoints").read_bytes()) if (one.folder / "checkpoints").exists() else []
    leaves = list(derived.hashes(one.folder, 10**9))
    for note, (signature,) in found:
        assert note.origin == one.manifest.origin(one.name)
        assert note.root == merkle.root(leaves[: note.size])
        assert notes.verify(note.text(), signature, signing.signing_key().public)
    return [note.size for note, _ in found]


# ── beats ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_beat_tells_what_a_guard_did_since_the_last_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of each guard every few seconds; together the beats of a process count each call once; a guard at rest has none."""
    monkeypatch.setattr(beats, "SECONDS", 0.2)
    one, two = make_plan(name="a"), make_plan(name="b", digest="d2")
    for _ in range(5):
        writer.push(make_entry(one))
    writer.push(make_entry(two, outcome="refused", attempts=0))
    until(lambda: len(list(reader.read(home, event="beat"))) == 2)
    writer.push(make_entry(one, attempts=3))
    until(lambda: len(list(reader.read(home, event="beat"))) == 3)
    found = list(reader.read(home, event="beat"))
    sums = [(each["guard"], each["counts"]["calls"], each["counts"].get("attempts", 0)) for each in found]
    assert sorted(sums) == [("a", 1, 3), ("a", 5, 5), ("b", 1, 0)]
    assert {each["guard"]: each["counts"]["outcomes"] for each in found}["b"] == {"refused": 1}
    assert all(each["from"] < each["to"] for each in found)


def test_the_last_beat_is_told_at_the_end(home: Path) -> None:
    """A process that lived for less than a beat leaves one all the same; sums that were begun anew are not taken for less."""
    for _ in range(3):
        writer.push(make_entry())
    assert writer.shutdown(5)
    (beat,) = reader.read(home, event="beat")
    assert beat["counts"]["calls"] == 3
    from guardrail.telemetry import stats

    stats.forget("credit:predict")
    writer.push(make_entry())
    assert writer.shutdown(5)
    assert [each["counts"]["calls"] for each in reader.read(home, event="beat")] == [3, 1]


# ── checkpoints and segments ──────────────────────────────────────────────────────────────────────────────────────────
def test_checkpoints_come_every_thousand_records_or_ten_seconds_and_at_the_end(tmp_path: Path) -> None:
    """Not before, not twice over the same records, and each is what the records are."""
    one = Lane(tmp_path)
    now = clock.now()
    one.append([body(at) for at in range(999)])
    one.upkeep(now)
    assert signed(one) == []
    one.append([body(999)])
    one.upkeep(now)
    one.upkeep(now)
    assert signed(one) == [1_000]
    one.append([body(1_000)])
    one.upkeep(clock.now() + 9)
    assert signed(one) == [1_000]
    one.upkeep(clock.now() + 10)
    one.upkeep(clock.now() + 30)
    assert signed(one) == [1_000, 1_001]
    one.append([body(1_001)])
    one.close()
    assert signed(one) == [1_000, 1_001, 1_002]
    assert derived.read_leaves(one.folder) == list(derived.hashes(one.folder, 1_002))


def test_a_closed_segment_is_told_with_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full or a day old: a file is closed, a checkpoint covers it, and the manifest knows first, last and root."""
    monkeypatch.setattr(lane, "SEGMENT_BYTES", 700)
    one = Lane(tmp_path)
    for at in range(8):
        one.append([body(at)])
    one.upkeep(clock.now())
    one.upkeep(clock.now() + lane.SEGMENT_SECONDS)
    told = one.manifest.lanes()[one.name].segments
    files = segments.segments(one.folder)
    leaves = list(derived.hashes(one.folder, 100))
    assert [first for first, _, _ in told] == [each.first for each in files]
    assert told[-1][1] == 8
    assert [root for _, _, root in told] == [merkle.root(leaves[:last]).hex() for _, last, _ in told]
    assert signed(one)[-1] == 8
    one.append([body(8)])
    assert len(segments.segments(one.folder)) == len(files) + 1
    one.close()
    assert Manifest(tmp_path / "ledger").lanes()[one.name].size == 9


def test_a_segment_that_was_left_because_it_failed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest tells how far the failed file counts; what stands behind that is in the next one."""
    one = Lane(tmp_path)
    one.append([body(0)])
    sync_fails_once(monkeypatch)
    one.append([body(1)])
    one.upkeep(clock.now())
    (line,) = [each for each in one.manifest.lines() if each["event"] == "segment"]
    assert (line["first"], line["last"], line["failed"]) == (1, 1, "Input/output error")
    one.close()
    assert signed(one)[-1] == 2


def test_a_checkpoint_that_fails_is_made_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed sync of leaves or checkpoints costs no record; both files are made anew when the disk is well again."""
    one = Lane(tmp_path)
    one.append([body(at) for at in range(1_000)])
    with monkeypatch.context() as broken:

        def refuse(_handle: int) -> None:
            raise OSError(5, "Input/output error")

        broken.setattr(seals, "_sync", refuse)
        with pytest.raises(OSError, match="Input/output"):
            one.upkeep(clock.now() + 2)
        one.upkeep(clock.now())  # a moment later: not yet again
    assert len(one.append([body(at) for at in range(1_000, 1_500)])) == 500
    inode = (one.folder / "leaves").stat().st_ino
    one.upkeep(clock.now() + 10)
    assert (one.folder / "leaves").stat().st_ino != inode
    one.close()
    assert signed(one) == [1_000, 1_500]
    assert derived.read_leaves(one.folder) == list(derived.hashes(one.folder, 1_500))


def test_a_write_of_leaves_that_fails_half_way_is_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up in the middle of a hash leaves no half of it."""
    one = Lane(tmp_path)
    one.append([body(at) for at in range(1_000)])
    pwrite, takes = seals.os.pwrite, [50, 0]

    def short(handle: int, data: bytes, at: int) -> int:
        if not takes:
            return pwrite(handle, data, at)
        take = takes.pop(0)
        if not take:
            raise OSError(28, "No space left on device")
        return pwrite(handle, bytes(data)[:take], at)

    monkeypatch.setattr(seals.os, "pwrite", short)
    with pytest.raises(OSError, match="No space"):
        one.upkeep(clock.now())
    one.close()
    assert signed(one) == [1_000]
    assert derived.read_leaves(one.folder) == list(derived.hashes(one.folder, 1_000))


def test_an_end_without_the_manifest_is_left_to_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose manifest cannot be written ends all the same, its lock is free, and its records are there."""
    one = Lane(tmp_path)
    one.append([body(0)])
    monkeypatch.setattr(lane, "CLOSE_SECONDS", 0.05)
    from guardrail.store import file_lock

    with file_lock.held(tmp_path / "ledger" / "manifest.lock"), pytest.raises(OSError, match="held"):
        one.close()
    assert not Manifest(tmp_path / "ledger").lanes()[one.name].closed
    assert signed(one) == [1]


# ── places ────────────────────────────────────────────────────────────────────────────────────────────────────────────
MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:50 / /mnt/nfs rw - nfs4 server:/x rw
31 22 0:51 / /mnt/win rw - cifs //server/x rw
32 22 0:52 / /mnt/ssh rw - fuse.sshfs user@host: rw
33 22 0:53 / /mnt/c rw - 9p drvfs rw
34 22 0:54 / /mnt/ram rw - tmpfs tmpfs rw
35 22 0:55 / /mnt/s3 rw - fuse.s3fs s3fs rw
36 22 0:56 / /mnt/layers rw - overlay overlay rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/mnt/nfs/a", "nfs4"),
        ("/mnt/win", "cifs"),
        ("/mnt/ssh/a/b", "fuse.sshfs"),
        ("/mnt/c/Users", "9p"),
        ("/mnt/s3/x", "fuse.s3fs"),
    ],
)
def test_places_that_keep_no_promise_are_refused_with_the_reason(tmp_path: Path, folder: str, kind: str) -> None:
    """By what is mounted there, named with its mount point, and what to do."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    why = places.refused(Path(folder), mounts)
    assert why is not None
    assert f"stands on {kind}" in why
    assert "GUARDRAIL_HOME" in why


@pytest.mark.parametrize("folder", ["/", "/home/ann/x", "/mnt/ram/x", "/mnt/layers", "/mnt/nfs2"])
def test_other_places_are_not(tmp_path: Path, folder: str) -> None:
    """A local disk, memory and a container's layers keep their promises as long as they last."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert places.refused(Path(folder), mounts) is None
    assert places.refused(Path(folder), tmp_path / "no such list") is None


def test_a_ledger_in_a_refused_place_takes_no_records(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls go on, who waits for a record learns the reason, doctor is red, and nothing is written there."""
    nfs = settings.FileSystem("nfs4", "/", passing=False, remote=True)
    with monkeypatch.context() as mounted:
        mounted.setattr(places.folder, "file_system", lambda *_: nfs)
        with pytest.raises(OSError, match="stands on nfs4"):
            writer.acknowledge(make_entry()).result(5)
        assert not segments.lanes(home)
        assert any("stands on nfs4" in text for _, text in notices.counts().values())
        assert ("bad", True) in [(level, "stands on nfs4" in text) for level, text in standing.standing(home)]
    assert writer.flush(10)
    assert len(list(reader.read(home, event="call"))) == 1
