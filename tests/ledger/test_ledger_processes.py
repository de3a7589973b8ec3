"""Processes that end, fork, are killed, or meet a full disk: what was acknowledged is there, and what was lost is counted."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_calls import call_once, make_entry, make_plan

from guardrail.ledger import reader, segments, writer
from guardrail.ledger.manifest import Manifest

HERE = Path(__file__).parent


def start(code: str) -> subprocess.Popen[str]:
    """Start a Python process that knows the stand-ins."""
    before = "import os, sys, time\nfrom fake_calls import make_entry, make_plan\nfrom guardrail.ledger import writer\n"
    path = os.pathsep.join([str(HERE), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", before + code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )


def run(code: str) -> None:
    """Run such a process to its end, which must be a good one."""
    with start(code) as process:
        assert process.wait(30) == 0


def test_killed_processes_lose_no_acknowledged_record(home: Path) -> None:
    """Rounds of kill -9 in the middle of writing: every acknowledged id is readable, and so is every file."""
    code = """
from guardrail.call import decision_id
plan = make_plan()
while True:
    many = [make_entry(plan) for _ in range(20)]
    for entry in many[:-1]:
        writer.push(entry)
    writer.acknowledge(many[-1]).result(10)
    os.write(1, b"".join(decision_id(entry.at, entry.seq).encode() + b"\\n" for entry in many))
"""
    rounds = [start(code) for _ in range(4)]
    acknowledged: list[str] = []
    for at, process in enumerate(rounds):
        assert process.stdout is not None
        acknowledged.append(process.stdout.readline().strip())  # it is writing now
        time.sleep(0.03 * at)
        process.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
        process.stdout.close()
        process.wait(10)
    found = [record["id"] for record in reader.read(home)]
    assert len(acknowledged) >= 80
    assert set(acknowledged) <= set(found)
    assert len(found) == len(set(found))
    assert not any(level == "bad" for level, _ in reader.check(home))


def test_an_ordinary_end_writes_what_was_buffered(home: Path) -> None:
    """A process that neither flushes nor waits leaves all its records behind at its exit."""
    run("for _ in range(500): writer.push(make_entry())")
    assert len(list(reader.read(home, event="call"))) == 500


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_multiprocessing_writes_its_own_lane(home: Path, method: str) -> None:
    """Such a child ends without atexit; its record is there all the same, in a lane of its own, and once."""
    writer.push(make_entry())
    assert writer.flush(5)
    child = multiprocessing.get_context(method).Process(target=call_once)
    child.start()
    child.join(20)
    assert child.exitcode == 0
    found = list(reader.read(home, event="call"))
    assert len(found) == 2
    assert {record["pid"] for record in found} == {os.getpid(), child.pid}
    assert len(segments.lanes(home)) == 2
    assert writer.flush(5)


def test_a_forked_child_leaves_the_parents_queue_alone(home: Path) -> None:
    """What is queued at the moment of the fork is written once, by the parent, and the child goes on by itself."""
    plan = make_plan()
    for _ in range(50):
        writer.push(make_entry(plan))
    pid = os.fork()
    if pid == 0:
        try:
            clean = not writer.entries
            writer.push(make_entry(plan))
            os._exit(0 if clean and writer.flush(10) else 1)
        finally:
            os._exit(2)
    writer.push(make_entry(plan))
    assert writer.flush(10)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    found = list(reader.read(home, event="call"))
    assert len(found) == 52
    assert len({record["id"] for record in found}) == 52
    assert sum(record["pid"] == pid for record in found) == 1


def test_a_full_disk_ends_in_a_gap_record_and_calls_go_on(home: Path) -> None:
    """Under a limit that lets no file grow, calls are answered; when it is lifted, what was lost is recorded."""
    code = """
import resource
from guardrail.ledger import commit
commit.KEPT_LINES = 100
plan = make_plan()
writer.push(make_entry(plan)); assert writer.flush(5)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
for _ in range(400):
    assert writer.push(make_entry(plan))
assert writer.drain(5)
assert not writer.flush(0.3)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert writer.flush(10)
writer.push(make_entry(plan)); assert writer.flush(5)
"""
    run(code)
    calls = len(list(reader.read(home, event="call")))
    gaps = list(reader.read(home, event="gap"))
    assert gaps
    assert calls + sum(gap["count"] for gap in gaps) == 402
    assert {gap["reason"] for gap in gaps} == {"the disk did not take it"}


def test_a_small_limit_on_files_is_lived_with(home: Path) -> None:
    """Where no file may grow beyond a few records, they are spread over many files, and all are there."""
    code = """
import resource
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
plan = make_plan()
for _ in range(100): writer.push(make_entry(plan))
assert writer.flush(10)
"""
    run(code)
    found = list(reader.read(home))
    assert sorted(record["seq"] for record in found) == list(range(1, 104))
    assert [record["event"] for record in found].count("call") == 100


def test_a_home_that_cannot_be_made_stops_nobody(home: Path, tmp_path: Path) -> None:
    """A file stands where the folder belongs: calls go on, and once it is out of the way, so do records."""
    home.write_text("in the way")
    writer.push(make_entry())
    assert not writer.flush(0.3)
    home.unlink()
    assert writer.flush(10)
    assert len(list(reader.read(home, event="call"))) == 1


def terminated(code: str) -> tuple[int, float]:
    """Run such a process until it says that it is ready, send SIGTERM, and return its exit code and how long it took."""
    with start(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        return process.wait(30), time.monotonic() - begin


def test_sigterm_writes_what_was_buffered(home: Path) -> None:
    """Where the application does not handle it: all is written, the lane is closed, and the process ends by the signal."""
    code = """
from guardrail.ledger import commit
for _ in range(50): writer.push(make_entry())
while writer.entries or not writer._committer or not writer._committer._lane: time.sleep(0.001)
writer._TICK = 0.5; time.sleep(0.1)
for _ in range(50): writer.push(make_entry())
print("ready", flush=True); time.sleep(30)
"""
    code, _ = terminated(code)
    assert code == -signal.SIGTERM
    assert len(list(reader.read(home, event="call"))) == 100
    (facts,) = Manifest(home / "ledger").lanes().values()
    assert facts.closed


def test_an_application_that_handles_sigterm_keeps_its_handler(home: Path) -> None:
    """Its own handler runs, and ours is not there; the records are written at its ordinary exit."""
    code = """
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
writer.push(make_entry()); writer.flush(5)
writer.push(make_entry())
print("ready", flush=True); time.sleep(30)
"""
    assert terminated(code)[0] == 7
    assert len(list(reader.read(home, event="call"))) == 2


def test_sigterm_ends_a_process_whose_disk_hangs(home: Path) -> None:
    """The wait is bounded, whatever locks the interrupted thread holds and however long the disk takes."""
    code = """
from guardrail import lifecycle
from guardrail.ledger import lane
lane._sync = lambda handle: time.sleep(60)
lifecycle.EXIT_SECONDS = 0.3
writer.push(make_entry())
print("ready", flush=True)
with writer._starting: time.sleep(30)
"""
    code, took = terminated(code)
    assert code == -signal.SIGTERM
    assert took < 10


def test_sigterm_in_the_middle_of_the_exit_lets_it_finish(home: Path) -> None:
    """Who asks twice gets the same end: everything is written, and the process is gone."""
    code = """
from guardrail import lifecycle
from guardrail.ledger import lane
sync = lane._sync
def slow(handle): time.sleep(0.5); sync(handle)
lane._sync = slow
writer.push(make_entry())
print("ready", flush=True)
"""
    terminated(code)
    assert len(list(reader.read(home, event="call"))) == 1


def test_a_forked_child_that_is_terminated_leaves_the_parents_lane_alone(home: Path) -> None:
    """Its own records are written, and the lane of its parent is open, locked, and goes on."""
    code = """
import signal
writer.push(make_entry()); assert writer.flush(5)
told, tell = os.pipe()
pid = os.fork()
if not pid:
    writer.push(make_entry()); os.write(tell, b"1"); time.sleep(30)
assert os.read(told, 1) == b"1"  # however long that takes a busy machine
os.kill(pid, signal.SIGTERM)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
writer.push(make_entry()); assert writer.flush(5)
"""
    run(code)
    found = list(reader.read(home, event="call"))
    assert len(found) == 3
    assert len({record["pid"] for record in found}) == 2
    assert all(facts.closed for facts in Manifest(home / "ledger").lanes().values())
