"""Pruning: whole segments that are old enough, verify and are wanted by nobody; every proof of the rest goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from fake_calls import make_entry
from kept import body, later, lines, made, names, old, own_lane, proofs_hold, report, small, stands_alone, verdict

from guardrail import AuditUnavailable, ConfigError, clock, configure, settings, shutdown
from guardrail.delivery.keeping import FileKeeping
from guardrail.ledger import (
    blobs,
    compress,
    derived,
    health,
    holds,
    lane,
    notes,
    reader,
    recovery,
    retention,
    writer,
)
from guardrail.ledger.expiry import Untrusted
from guardrail.ledger.index import Index
from guardrail.ledger.lane import Lane
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.wanted import wanted

HERE = Path(__file__).parent


def kept(done: retention.Pruned) -> list[tuple[int, str]]:
    return [(each["first"], each["why"]) for each in done.kept]


@pytest.mark.parametrize("packed", [False, True])
def test_old_segments_go_and_every_proof_stays(home: Path, packed: bool) -> None:
    """Of a closed lane all, of one in use all but the open segment; checkpoints of before stay provable from the hashes that stay."""
    closed, running, young = old(home, 10), old(home, 10, close=False, first=100), made(home, 10, first=200)
    records = lines(closed.folder)
    anchor = (home / "ledger" / "manifest.notes").read_bytes() + (closed.folder / "checkpoints").read_bytes()
    if packed:
        assert compress.compress(home).segments == 5
    assert stands_alone(home) == 0
    done = retention.prune("180d", by="dpo@bank.example", reason="yearly")
    assert (done.segments, done.records, done.blobs, done.kept, done.problems) == (5, 18, 0, [], [])
    assert (names(closed), names(running), len(names(young))) == ([], [f"{9:020d}.jsonl"], 3)
    assert stands_alone(home) == 0
    assert verdict(home, anchors=[[anchor]]) == 0
    proofs_hold(closed.folder, records)
    assert derived.read_leaves(closed.folder) == [derived.merkle.leaf(line) for _, line in records]
    pruned = {each.lane: each.pruned for each in report(home).lanes}
    assert (pruned[closed.name], pruned[running.name], pruned[young.name]) == (10, 8, 0)
    assert len(list(reader.read(home, event="call"))) == 12
    assert len(running.append([body(110)])) == 1
    running.close()
    assert verdict(home) == 0
    assert retention.prune("180d").ranges == []


def test_a_prune_is_a_record_and_a_line_of_the_manifest(home: Path) -> None:
    """Who, why, by which period, which records, under which root; the manifest names the record."""
    one = old(home, 10)
    done = retention.prune("180d", by="dpo@bank.example", reason="yearly")
    (record,) = reader.read(home, event="prune")
    (line,) = [each for each in Manifest(home / "ledger").lines() if each["event"] == "prune"]
    root = notes.parse_all((one.folder / "checkpoints").read_bytes())[-1][0].root.hex()
    assert (record["lane"], record["from"], record["upto"], record["root"]) == (one.name, 1, 10, root)
    assert {name: line[name] for name in ("lane", "from", "upto", "root")} == {
        "lane": one.name, "from": 1, "upto": 10, "root": root,
    }  # fmt: skip
    assert line["by"] == {"lane": own_lane().name, "seq": record["seq"]}
    assert (record["actor"], record["reason"]) == ({"id": "dpo@bank.example", "known_by": "asserted"}, "yearly")
    assert (record["policy"], record["segments"]) == ("180d", 3)
    assert done.ranges[0]["id"] == record["id"]


def test_a_dry_run_changes_nothing(home: Path) -> None:
    """It says what would go."""
    one = old(home, 10)
    before = {path: path.read_bytes() for path in (home / "ledger").rglob("*") if path.is_file()}
    planned = retention.prune("180d", dry_run=True)
    assert (planned.records, planned.ranges[0]["lane"]) == (10, one.name)
    assert {path: path.read_bytes() for path in (home / "ledger").rglob("*") if path.is_file()} == before


def test_age_is_that_of_the_newest_record_of_a_segment(home: Path) -> None:
    """A segment with one record that is young enough stays whole, whatever the moment of its file."""
    one = Lane(home)
    at = clock.wall() - 200 * 86_400
    with later(-200), small():
        for number in range(3):
            one.append([body(number)])
    with small():
        for number in range(3, 6):
            one.append([body(number)])
    one.close()
    for path in one.folder.glob("*.jsonl"):
        os.utime(path, (at, at))
    done = retention.prune("180d")
    assert (done.ranges, done.kept, len(names(one))) == ([], [], 2)
    with later(181):
        assert retention.prune("180d").records == 6


def test_periods_have_a_floor(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is pruned without a period, nor for less than a day, nor sooner than the settings say."""
    old(home, 10, days=100)
    with pytest.raises(ConfigError, match="GUARDRAIL_RETENTION=180d"):
        retention.prune()
    for wrong in ("12h", "0d", "180", "-1d", "a year", "keep"):
        with pytest.raises(ConfigError):
            retention.prune(wrong)
    configure(retention="ai_act")
    with pytest.raises(ConfigError, match="kept for ai_act"):
        retention.prune("90d")
    assert retention.prune().ranges == []
    configure(retention="90d")
    assert retention.prune("ai_act").ranges == []
    assert retention.prune().records == 10


@pytest.mark.parametrize("damage", ["record", "leaves", "removed", "cut"])
def test_what_does_not_verify_stays(home: Path, damage: str) -> None:
    """Damage is evidence: that segment is not touched, nor recorded as pruned; what is sound in other lanes goes."""
    one, other = old(home, 12), old(home, 4, first=50)
    path = one.folder / f"{5:020d}.jsonl"
    if damage == "record":
        path.write_bytes(path.read_bytes().replace(b'"n":5', b'"n":6'))
    elif damage == "leaves":
        leaves = bytearray((one.folder / "leaves").read_bytes())
        leaves[32 * 5] ^= 1
        (one.folder / "leaves").write_bytes(leaves)
    elif damage == "removed":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 10)
    before = verdict(home)
    there = names(one)
    done = retention.prune("180d")
    assert names(other) == []
    if damage == "removed":  # only a neighbour is missing: what is there is sound
        assert done.problems == []
    else:
        assert one.name in done.problems[0]
        assert path.name in names(one)
        if damage == "leaves":
            assert names(one) == there[1:]  # up to record 4 they are as they were signed
    assert verdict(home) == before != 0


def test_nothing_is_pruned_where_the_manifest_does_not_verify(home: Path) -> None:
    """Whoever could write into it could have anything pruned."""
    one = old(home, 10)
    path = home / "ledger" / "manifest.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"size":10', b'"size":11'))
    with pytest.raises(Untrusted, match="does not verify"):
        retention.prune("180d")
    assert len(names(one)) == 3


def test_a_line_without_a_signature_prunes_nothing(home: Path) -> None:
    """A segment that only an unsigned line calls closed is open."""
    one = old(home, 6, close=False)
    path = home / "ledger" / "manifest.jsonl"
    last = path.read_bytes().splitlines()[-1]
    said = orjson.loads(last)
    forged = {"v": 1, "n": said["n"] + 1, "prev": derived.merkle.leaf(last).hex(), "ts": said["ts"], "event": "segment",
              "lane": one.name, "first": 5, "last": 6, "root_at_last": "0" * 64}  # fmt: skip
    with path.open("ab") as file:
        file.write(orjson.dumps(forged) + b"\n")
    done = retention.prune("180d", dry_run=True)
    assert [(each["from"], each["upto"]) for each in done.ranges] == [(1, 4)]
    one.close()


def test_a_sink_that_is_behind_keeps_what_it_has_not_had(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cursor tells of each lane; the segment in which it stands stays, and so do later ones."""
    one = old(home, 12)
    sink = FileKeeping(home, "out")
    assert sink.hold()  # so that nobody serves it meanwhile
    sink.save({one.name: 5})
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{tmp_path}/out.jsonl")
    settings.reset()
    done = retention.prune("180d")
    assert kept(done) == [(5, "sink out"), (9, "sink out")]
    assert [(each["from"], each["upto"]) for each in done.ranges] == [(1, 4)]
    sink.finish([one.name])
    assert retention.prune("180d").records == 8
    assert stands_alone(home) == 0
    sink.release()


def test_the_content_of_long_records_goes_with_them(home: Path) -> None:
    """The files that only pruned records name; others stay."""
    mine, others = blobs.put(home, b"old"), blobs.put(home, b"young")
    old(home, 4, blob={"sha256": mine})
    made(home, 4, first=50, blob={"sha256": others})
    assert retention.prune("180d").blobs == 4
    assert not blobs.path_of(home, mine).exists()
    assert blobs.path_of(home, others).read_bytes() == b"young"


def test_the_index_forgets_what_was_pruned(home: Path) -> None:
    """Its rows are dropped at once, and no word of theirs is left in its file."""
    old(home, 4, guard="bygone", actor={"id": "somebody@bank.example"})
    made(home, 4, first=50)
    index = Index(home)
    index.refresh(None)
    assert len(list(reader.stored(wanted(business_id="loan-2"), home))) == 1
    retention.prune("180d")
    assert list(reader.stored(wanted(business_id="loan-2"), home)) == []
    assert len(list(reader.stored(wanted(business_id="loan-52"), home))) == 1
    content = b"".join(path.read_bytes() for path in (home / "ledger").glob("index.db*"))
    for text in (b"loan-2", b"bygone", b"somebody@bank.example"):
        assert text not in content


def test_a_hole_in_the_middle_is_no_damage(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A held segment stays between pruned ones: verifying, reading, checking and recovering go on."""
    one = old(home, 22, close=False)
    holds.hold("case", reason="court", business_id="loan-9")
    done = retention.prune("180d")
    assert kept(done) == [(9, "hold case")]
    assert [(each["from"], each["upto"]) for each in done.ranges] == [(1, 8), (13, 20)]
    assert names(one) == [f"{9:020d}.jsonl", f"{21:020d}.jsonl"]
    assert stands_alone(home) == 0
    assert not [text for level, text in health.check(home) if level == "bad"]
    assert list(derived.hashes(one.folder, 22)) == derived.read_leaves(one.folder)
    one.abandon()
    other = Lane(home)
    other.append([body(99)])
    found = {each.lane: each for each in recovery.recover(other.manifest, other.name) if each is not None}
    other.close()
    assert (found[one.name].problem, found[one.name].size) == (None, 22)
    assert stands_alone(home) == 0
    holds.release("case", reason="settled")
    assert [(each["from"], each["upto"]) for each in retention.prune("180d").ranges] == [(9, 12), (21, 22)]
    assert stands_alone(home) == 0
    assert names(one) == []


def test_the_record_of_a_prune_can_be_pruned_itself(home: Path) -> None:
    """Years later; the manifest still says what went."""
    old(home, 4)
    retention.prune("180d")
    assert shutdown(10)
    with later(200):
        done = retention.prune("180d")
    assert done.records >= 2
    assert stands_alone(home) == 0


def told_of_closed_files() -> None:
    """Wait until the ledger's own thread, which alone may, has told the manifest of all files of this process's lane but the last."""
    folder, until = own_lane(), time.monotonic() + 30
    while len(Manifest(folder.parent).lanes()[folder.name].segments) < len(names(folder)) - 1:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_segment_of_the_own_running_lane_goes(home: Path) -> None:
    """The process that prunes may be the one that wrote it."""
    with later(-200):
        monkey = lane.SEGMENT_BYTES
        lane.SEGMENT_BYTES = 1
        try:
            for _ in range(3):
                writer.event("feedback", fields={"n": 1}, sync=True)
            told_of_closed_files()
        finally:
            lane.SEGMENT_BYTES = monkey
    there = len(names(own_lane()))
    done = retention.prune("180d")
    assert done.segments == there - 1
    assert shutdown(10)
    assert stands_alone(home) == 0


def test_without_a_durable_record_nothing_goes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk refuses the record: every segment is there."""
    one = old(home, 4)

    def refuses(*_: object, **__: object) -> str:
        raise AuditUnavailable("no")

    monkeypatch.setattr(writer, "event", refuses)
    with pytest.raises(AuditUnavailable):
        retention.prune("180d")
    assert names(one) == [f"{1:020d}.jsonl"]
    assert verdict(home) == 0


def test_a_hold_that_comes_meanwhile_is_heeded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was placed after the segments were looked at, and before they went."""
    one = old(home, 4)
    go = retention._go

    def slow(*args):
        holds.hold("case", reason="court", everything=True)
        return go(*args)

    monkeypatch.setattr(retention, "_go", slow)
    done = retention.prune("180d")
    assert (done.ranges, names(one)) == ([], [f"{1:020d}.jsonl"])
    assert "hold was placed" in done.problems[0]


PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import kept
from guardrail import clock
from guardrail.ledger import retention

def prune(home, left):
    os.environ["GUARDRAIL_HOME"] = str(home)
    def step(name):
        do = getattr(retention, name)
        def counted(*args, **options):
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return do(*args, **options)
        setattr(retention, name, counted)
    for name in ("_record", "_enter", "_remove", "_forget"):
        step(name)
    done = retention.prune("180d")
    os._exit(0 if not done.problems else 3)

for at, home in enumerate(sys.argv[3:]):
    child = os.fork()
    if not child:
        prune(home, at if sys.argv[2] == "kill" else -1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_prune_that_is_killed_at_any_step_can_be_finished(home: Path, tmp_path: Path) -> None:
    """The ledger verifies wherever it was killed, and the next prune leaves nothing behind: no segment, no blob."""
    name = blobs.put(home, b"content")
    one = old(home, 6, blob={"sha256": name})
    compress.pack(one.folder / f"{5:020d}.jsonl")
    assert shutdown(10)
    homes = [tmp_path / f"copy{at}" for at in range(16)]
    for each in homes:
        shutil.copytree(home, each)
    for how in ("kill", "finish"):
        command = [sys.executable, "-c", PROGRAM, str(HERE), how, *map(str, homes)]
        ended = [int(code) for code in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]
        if how == "kill":
            assert ended[:-1] == [-9] * 15 and ended[-1] == 0
        else:
            assert set(ended) == {0}
        assert [report(each).code for each in homes if report(each).code not in {0, 3}] == []
    for each in homes:
        assert names(each / "ledger" / one.name) == []
        assert not list((each / "ledger" / one.name).glob("*.jsonl*"))
        assert not blobs.path_of(each, name).exists()
        proofs_hold(each / "ledger" / one.name, lines(one.folder))


def test_what_an_interrupted_prune_left_stays_under_a_hold(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest says that it is gone, it is still there, and then somebody needs it: it stays until the release."""
    one = old(home, 4)

    def dies(_: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(retention, "_remove", dies)
        assert retention.prune("180d").problems
    holds.hold("case", reason="court", everything=True)
    assert kept(retention.prune("180d")) == [(1, "hold case")]
    assert names(one) == [f"{1:020d}.jsonl"]
    holds.release("case", reason="settled")
    assert retention.prune("180d").ranges[0]["id"] is None
    assert names(one) == []
    assert stands_alone(home) == 0


def test_a_ledger_that_is_not_there_is_not_made(home: Path) -> None:
    """Pruning nothing makes nothing."""
    assert retention.prune("180d").ranges == []
    assert not (home / "ledger").exists()


def test_what_was_in_force_is_told_in_each_segment(home: Path) -> None:
    """The process and its plans: the segment that told of them first may be pruned while calls still name them."""
    with later(-200):
        writer.push(make_entry(at=clock.wall()))
        assert writer.flush(10)
    writer._committer._lane._opened -= lane.SEGMENT_SECONDS
    for _ in range(3):
        writer.push(make_entry())
        assert writer.flush(10)
    told_of_closed_files()
    assert len(names(own_lane())) == 2
    assert retention.prune("180d").segments == 1
    told = list(reader.read(home, event="config"))
    assert [each["plan"] for each in told if "spelled" in each] == [next(reader.read(home, event="call"))["plan"]]
    assert len([each for each in told if "started" in each]) == 1
    assert shutdown(10)
    assert stands_alone(home) == 0
