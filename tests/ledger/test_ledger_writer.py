"""The queue and its thread: what is handed over becomes durable, in order, soon, and without being asked twice."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fake_calls import make_entry, make_plan, until

from guardrail import call, notices, settings
from guardrail.errors import AuditUnavailable, ConfigError
from guardrail.ledger import commit, lane, reader, segments, taps, writer
from guardrail.telemetry import stats


def calls_in(home: Path) -> list[dict[str, Any]]:
    """Return the calls that are on disk."""
    return list(reader.read(home, event=("call", "row")))


def test_nothing_exists_before_the_first_call(home: Path) -> None:
    """No thread, no file and no folder before something is handed over."""
    assert not any(thread.name == "guardrail-ledger" for thread in threading.enumerate())
    assert not home.exists()


def test_a_buffered_record_becomes_durable_by_itself(home: Path) -> None:
    """Nobody flushes, and the record is there all the same."""
    assert writer.push(make_entry())
    until(lambda: calls_in(home))


def test_an_acknowledged_record_is_on_disk(home: Path) -> None:
    """The future is done when the line can be read back, and not before."""
    entry = make_entry()
    assert writer.acknowledge(entry).result(5) is None
    assert [each["id"] for each in calls_in(home)] == [call.decision_id(entry.at, entry.seq)]


def test_eight_threads_lose_nothing(home: Path) -> None:
    """80,000 records of 8 threads are all there, once, numbered without a hole."""
    plan = make_plan()

    def work() -> None:
        for _ in range(10_000):
            writer.push(make_entry(plan))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(30)
    found = list(reader.read(home))
    assert sorted(each["seq"] for each in found) == list(range(1, len(found) + 1))
    assert sum(each["event"] == "call" for each in found) == 80_000
    assert len({each["id"] for each in found}) == len(found)
    assert stats.of("credit:predict")["calls"] == 80_000


def test_acknowledged_and_buffered_records_keep_their_order(home: Path) -> None:
    """Records of one thread are numbered in the order of its calls, however they were handed over."""
    entries = [make_entry() for _ in range(20)]
    for at, entry in enumerate(entries):
        writer.acknowledge(entry) if at % 3 else writer.push(entry)
    assert writer.flush(5)
    in_order = sorted(calls_in(home), key=lambda each: each["seq"])
    assert [each["id"] for each in in_order] == [call.decision_id(each.at, each.seq) for each in entries]


def test_the_thread_parks_and_wakes() -> None:
    """An idle thread stops ticking; the next call wakes it."""
    writer.push(make_entry())
    assert writer.flush(5)
    until(lambda: writer.parked)
    writer.push(make_entry())
    assert writer.flush(5)
    assert sum(thread.name == "guardrail-ledger" for thread in threading.enumerate()) == 1


def test_switches_are_looked_at_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parked process follows the run-time switches too, and a failing look does not end the thread."""
    from guardrail import control

    looked: list[float] = []

    def look() -> bool:
        looked.append(time.monotonic())
        raise ValueError("broken")

    monkeypatch.setattr(control, "poll", look)
    writer.push(make_entry())
    until(lambda: writer.parked)
    seen = len(looked)
    until(lambda: len(looked) >= seen + 2)
    assert writer.push(make_entry())
    assert writer.flush(5)


def test_a_plan_is_spelled_out_once_and_named_by_its_digest(home: Path) -> None:
    """The lane begins with the process; each plan is told before its first call, once."""
    for digest in ("d1", "d2", "d1", "d2"):
        writer.push(make_entry(make_plan(digest=digest)))
    assert writer.flush(5)
    found = sorted(reader.read(home), key=lambda each: each["seq"])
    assert [(each["event"], each.get("plan")) for each in found] == [
        ("config", None), ("config", "d1"), ("call", "d1"), ("config", "d2"), ("call", "d2"), ("call", "d1"), ("call", "d2"),
    ]  # fmt: skip
    assert found[0]["started"]["implementation"]
    assert found[1]["spelled"] == {"budget": "250ms"}


def test_an_event_is_recorded_and_found_by_its_id(home: Path) -> None:
    """`event` returns the id under which the record stands; with `sync` it is durable by then."""
    identity = writer.event("mode", guard="g", fields={"guard": "g", "mode": "observe", "by": "ann"}, sync=True)
    found = reader.find(identity, home)
    assert found is not None
    assert (found["event"], found["guard"], found["mode"], found["by"]) == ("mode", "g", "observe", "ann")


@pytest.mark.parametrize(
    ("kind", "fields"), [("party", {}), ("call", {}), ("row", {}), ("ticket", {"seq": 1}), ("ticket", {"host": "x"})]
)
def test_an_event_outside_the_schema_is_refused(kind: str, fields: dict[str, Any]) -> None:
    """An unknown kind, a call by another way, and fields that every record has already are errors."""
    with pytest.raises(ConfigError):
        writer.event(kind, fields=fields)


def test_a_full_queue_slows_the_caller_and_then_tells_of_the_gap(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a disk that hangs and a full queue a caller waits 50 ms; what is lost then is counted in a gap record."""
    free, inside = threading.Event(), threading.Event()

    def hang(handle: int) -> None:
        inside.set()
        free.wait(20)
        os.fsync(handle)

    monkeypatch.setattr(lane, "_sync", hang)
    monkeypatch.setattr(writer, "CAPACITY", 3)
    plan = make_plan()
    assert writer.push(make_entry(plan))
    assert inside.wait(5)
    kept = 1
    while writer.push(make_entry(plan)):
        kept += 1
    assert writer.full()
    start = time.monotonic()
    assert not writer.push(make_entry(plan))
    assert time.monotonic() - start >= writer.ROOM_SECONDS
    free.set()
    assert writer.flush(5)
    assert len(calls_in(home)) == kept == 4
    (gap,) = reader.read(home, event="gap")
    assert (gap["count"], gap["reason"]) == (2, "queue full")
    assert gap["from"] <= gap["to"]
    assert (None, "ledger-full") in notices.counts()


def test_a_flush_that_cannot_finish_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush waits no longer than it was told, and returns False; `drain` asks only for the counts."""
    free = threading.Event()
    monkeypatch.setattr(lane, "_sync", lambda _handle: free.wait(20))
    writer.push(make_entry())
    assert not writer.flush(0.2)
    free.set()
    assert writer.flush(5)


def test_drain_makes_counts_complete() -> None:
    """After `drain` every call handed over so far is counted."""
    for _ in range(100):
        writer.push(make_entry())
    assert writer.drain(5)
    assert stats.of("credit:predict")["calls"] == 100


def test_shutdown_ends_the_thread_and_a_later_call_begins_anew(home: Path) -> None:
    """After a shutdown everything is on disk; the next call opens another lane."""
    writer.push(make_entry())
    assert writer.shutdown(5)
    assert not any(thread.name == "guardrail-ledger" for thread in threading.enumerate())
    assert len(calls_in(home)) == 1
    writer.push(make_entry())
    assert writer.flush(5)
    assert len(calls_in(home)) == 2
    assert len(segments.lanes(home)) == 2


def test_shutdown_without_a_call_is_nothing() -> None:
    """Nothing was recorded, so there is nothing to finish, and no thread is begun for it."""
    assert writer.shutdown(1)
    assert writer.flush(1)
    assert not any(thread.name == "guardrail-ledger" for thread in threading.enumerate())


def test_where_threads_cannot_be_started_records_are_written_in_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the interpreter, or on a platform without threads, calls still leave their records."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    writer.push(make_entry())
    assert len(calls_in(home)) == 1
    assert writer.acknowledge(make_entry()).result(1) is None
    assert writer.flush(1)


def test_another_home_begins_another_lane(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When the folder is configured anew, records go there, plan and process told again."""
    writer.push(make_entry())
    assert writer.flush(5)
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "other"))
    settings.reset()
    writer.push(make_entry())
    assert writer.flush(5)
    assert [each["event"] for each in reader.read(home)] == ["config", "config", "call"]
    assert [each["event"] for each in reader.read(tmp_path / "other")] == ["config", "config", "call"]


def test_a_ledger_that_is_cleared_is_begun_anew(home: Path) -> None:
    """Someone removes the folder under a running process: what comes then is in another lane, and so is what the process is."""
    writer.push(make_entry())
    assert writer.flush(5)
    shutil.rmtree(home / "ledger")
    for _ in range(2):
        writer.push(make_entry())
        assert writer.flush(5)
    assert sorted(each["event"] for each in reader.read(home)) == ["call", "call", "config", "config"]
    assert len(segments.lanes(home)) == 1
    assert (None, "ledger-lost-lane") in notices.counts()


def test_audit_off_keeps_counts_only(home: Path) -> None:
    """A guard without audit is counted and leaves no record, except where its ending had to be durable first."""
    plan = make_plan(durability="off")
    writer.push(make_entry(plan))
    assert writer.flush(5)
    assert not home.exists()
    assert stats.of("credit:predict")["calls"] == 1
    assert writer.acknowledge(make_entry(plan, outcome="refused")).result(5) is None
    assert [each["outcome"] for each in calls_in(home)] == ["refused"]


def test_a_failing_tap_stops_nobody(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that raises is counted; records are written all the same."""

    def fail(_entries: object) -> None:
        raise LookupError("exporter")

    monkeypatch.setattr(taps.stats, "take", fail)
    writer.push(make_entry())
    assert writer.flush(5)
    assert len(calls_in(home)) == 1
    assert (None, "stats") in notices.counts()


def test_a_record_that_cannot_be_made_is_a_gap(home: Path) -> None:
    """One call with an impossible part costs its own record only, and the loss is recorded."""
    plan = make_plan()
    writer.push(make_entry(plan))
    broken = writer.acknowledge(make_entry(plan, took="long"))
    writer.push(make_entry(plan))
    with pytest.raises(OSError, match="could not be made"):
        broken.result(5)
    assert writer.flush(5)
    assert len(calls_in(home)) == 2
    (gap,) = reader.read(home, event="gap")
    assert (gap["count"], gap["reason"]) == (1, "it could not be made")


def test_an_unusable_key_leaves_records_without_digests(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no key can be made, inputs go undigested rather than digested without one, and that is said."""
    (tmp_path / "config" / "guardrail" / "digest.key").mkdir(parents=True)
    writer.push(make_entry())
    assert writer.flush(5)
    assert calls_in(home)[0]["input"] == {"size": 3, "schema": "applicant: Applicant"}
    assert (None, "digest-key") in notices.counts()


def test_events_are_refused_while_the_disk_refuses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A synced event that cannot be made durable raises, and does not appear later: it did not take effect."""

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    writer.push(make_entry())
    assert writer.flush(5)
    with monkeypatch.context() as broken:
        broken.setattr(lane.os, "write", refuse)
        with pytest.raises(AuditUnavailable, match="mode event"):
            writer.event("mode", guard="g", fields={"mode": "off"}, sync=True)
        writer.event("feedback", guard="g", fields={"label": "l-1"})
    assert writer.flush(5)
    assert [each["event"] for each in reader.read(home, event=("mode", "feedback"))] == ["feedback"]


def test_kept_lines_are_bounded_while_the_disk_refuses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls go on without a disk; beyond the bound records are lost, and the gap is recorded when the disk is back."""

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    plan = make_plan()
    monkeypatch.setattr(commit, "KEPT_LINES", 50)
    with monkeypatch.context() as broken:
        broken.setattr(lane.os, "write", refuse)
        for _ in range(200):
            assert writer.push(make_entry(plan))
        assert writer.drain(5)
        assert not writer.flush(0.2)
    assert writer.flush(10)
    lost = sum(gap["count"] for gap in reader.read(home, event="gap"))
    assert len(calls_in(home)) + lost == 200
    assert lost > 100
    assert (None, "ledger") in notices.counts()


def test_a_pledge_fails_at_once_while_the_disk_refuses(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits learns it soon; the record of an answer that had to be withheld says that it was refused."""

    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(lane.os, "write", refuse)
        optional = writer.acknowledge(make_entry(make_plan(digest="optional")))
        required = writer.acknowledge(make_entry(make_plan(digest="required", required=True)))
        for pledge in (optional, required):
            with pytest.raises(OSError, match="No space left|a moment ago"):
                pledge.result(5)
    assert writer.flush(10)
    found = {each["plan"]: each for each in calls_in(home)}
    assert found["optional"]["outcome"] == "answered"
    assert found["required"]["outcome"] == "refused"
    assert found["required"]["error"] == {"type": "guardrail.errors.AuditUnavailable", "policy": "audit"}
    assert "output" not in found["required"]
