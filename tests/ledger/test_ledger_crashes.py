"""What the ledger must survive, with real processes: kills, forks, clocks that jump, disks that are full, closed or failing.

Whatever happens: what was acknowledged is there, nothing stands twice, and the ledger verifies.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_calls import make_plan

from guardrail.ledger import lane, reader, verify
from guardrail.ledger.lane import Lane
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.record import event_body

HERE = Path(__file__).parent
BEFORE = """
import os, sys, time
from guardrail import configure, decide, flush, guarded, shutdown
from guardrail.errors import AuditUnavailable
from guardrail.ledger import lane, seals, writer

@guarded(name="careful", version="1", audit="sync")
def careful(x: int) -> int: return x + 1

@guarded(name="quick", version="1")
def quick(x: int) -> int: return x + 1

def tell(*ids): os.write(1, "".join(f"{each}\\n" for each in ids).encode())
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}


def nursery(**asked: Any) -> dict[str, Any]:
    """Let the program beside this file do something, and return what it found."""
    command = [sys.executable, str(HERE / "nursery.py"), json.dumps(asked)]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, timeout=110, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert not found["wrong"], "\n\n".join(found["wrong"])
    return found


def told(code: str, *before: str, **more: Any) -> list[str]:
    """Run a program to its end, which must be a good one; return the lines that it tells."""
    command = [*before, sys.executable, "-c", BEFORE + code]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, timeout=60, check=False, **more)
    assert done.returncode == 0
    return done.stdout.splitlines()


def whole(home: Path, acknowledged: list[str], *, code: int = 0) -> list[dict[str, Any]]:
    """Check that a ledger verifies and holds what was acknowledged, nothing twice; return its records."""
    report = verify.verify(verify.Files(str(home)))
    assert report.code == code, "\n".join(report.text())
    found = list(reader.read(home))
    ids = [record["id"] for record in found]
    assert len(set(ids)) == len(ids)
    assert acknowledged
    assert set(acknowledged) <= set(ids)
    return found


# ── kills ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_kills_at_random_moments_lose_nothing_that_was_acknowledged() -> None:
    """Fifty rounds of kill -9, in the beginning and in the middle of the work, of one process and of two at once."""
    found = nursery(do="kills", rounds=50, seed=1)
    assert found["kills"] >= 50
    assert found["acknowledged"] > 100


def test_kills_at_each_step_of_a_process_lose_nothing_that_was_acknowledged() -> None:
    """A process is killed at the first thing that it does to the disk, the next at the second, and so on to the last."""
    found = nursery(do="steps", every=1, seed=0)
    assert found["kills"] >= 50


def test_a_kill_behind_a_backlog_leaves_a_ledger_that_verifies(home: Path) -> None:
    """A disk that hung has let tens of thousands of records pile up; the process dies just as they are written."""
    code = """
import signal
from fake_calls import make_entry, make_plan
plan = make_plan()
first = writer.acknowledge(make_entry(plan)); first.result(10)
writer._committer._retry_at = time.monotonic() + 3600
for _ in range(40_000): writer.push(make_entry(plan))
while writer.entries: time.sleep(0.01)
wrote, sync = [], lane._sync
def dying(handle):
    sync(handle)
    wrote.append(handle)
    if len(wrote) == 6: os.kill(os.getpid(), signal.SIGKILL)
lane._sync = dying
writer._committer._retry_at = 0.0
time.sleep(20)
"""
    done = subprocess.run([sys.executable, "-c", BEFORE + code], env=environment(), timeout=60, check=False)
    assert done.returncode == -9
    report = verify.verify(verify.Files(str(home)))
    assert report.code in {0, 3}, "\n".join(report.text())
    assert sum(each.records for each in report.lanes[1:]) > 20_000


# ── forks, and beginnings at the same moment ──────────────────────────────────────────────────────────────────────────
def test_forks_under_load_give_each_process_its_own_lane(home: Path) -> None:
    """Four threads go on calling while twelve children are forked; nobody loses, and nobody writes what is another's."""
    code = """
import threading
quick(0)
going, mine = True, []
def work():
    while going:
        mine.append(decide(quick, 1).id)
        time.sleep(0.0005)
threads = [threading.Thread(target=work) for _ in range(4)]
for each in threads: each.start()
pids = []
for _ in range(12):
    time.sleep(0.01)
    pid = os.fork()
    if not pid:
        ids = [decide(careful, at).id for at in range(3)] + [decide(quick, at).id for at in range(20)]
        assert flush(20)
        tell(*ids)
        os._exit(0 if shutdown(20) else 1)
    pids.append(pid)
going = False
for each in threads: each.join()
assert flush(20)
tell(*mine)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
"""
    acknowledged = told(code)
    assert len(acknowledged) >= 12 * 23
    found = whole(home, acknowledged)
    assert len({record["pid"] for record in found}) == 13
    assert len(Manifest(home / "ledger").lanes()) == 13
    assert not any(record["event"] == "gap" for record in found)


def test_two_processes_that_begin_at_the_same_moment_differ(home: Path) -> None:
    """Same millisecond, same process id, same chance: the second one finds the name taken, and takes another."""
    code = """
own, names = lane.lane_name, iter(["20260101T000000000000Z-host-1-00000000"] * 2)
lane.lane_name = lambda: next(names, None) or own()
pids = []
until = time.time() + 0.3
for _ in range(2):
    pid = os.fork()
    if not pid:
        while time.time() < until: pass
        tell(*[decide(careful, at).id for at in range(5)])
        os._exit(0 if shutdown(20) else 1)
    pids.append(pid)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
"""
    acknowledged = told(code)
    assert len(acknowledged) == 10
    whole(home, acknowledged)
    assert len(Manifest(home / "ledger").lanes()) == 2


def test_a_name_that_an_ended_process_had_is_not_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock is free, but its records are there: another lane is begun beside it."""
    body = event_body("00000000-0000-7000-8000-000000000000", 0.0, "feedback", guard=None, fields={}, around={})
    name, own = lane.lane_name(), lane.lane_name
    names = iter([name, name])
    monkeypatch.setattr(lane, "lane_name", lambda: next(names, None) or own())
    for _ in range(2):
        one = Lane(tmp_path)
        assert len(one.append([body])) == 1
        one.close()
    assert len(Manifest(tmp_path / "ledger").lanes()) == 2
    assert verify.verify(verify.Files(str(tmp_path))).code == 0


# ── clocks ────────────────────────────────────────────────────────────────────────────────────────────────────────────
JUMPS = """
jumps = [0, -86_400, -3_600, 3_600, 10 * 365 * 86_400]
for at, jump in enumerate(jumps):
    set_clock(jump)
    tell(*[decide(careful, each).id for each in range(5)])
"""


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_a_wall_clock_that_jumps_disturbs_nothing(home: Path, end: str) -> None:
    """A day back, an hour and ten years ahead, between two records: numbers and links go on, and the ledger verifies."""
    code = """
from guardrail import clock
wall = time.time
def set_clock(jump): clock.wall = lambda: wall() + jump
"""
    acknowledged = told(code + JUMPS + ("" if end == "exit" else "print(end='', flush=True); os._exit(0)"))
    found = whole(home, acknowledged)
    seqs = sorted(record["seq"] for record in found)
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_clock_set_by_the_system_disturbs_nothing(home: Path, tmp_path: Path) -> None:
    """The same with the system's own calls telling another time (libfaketime), the monotonic clock excluded or not."""
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed (Debian: faketime)")
    rc = tmp_path / "faketime.rc"
    rc.write_text("+0\n")
    code = f"""
def set_clock(jump):
    open({str(rc)!r} + ".new", "w").write(f"{{jump:+d}}\\n"); os.replace({str(rc)!r} + ".new", {str(rc)!r})
"""
    preload = next(each for each in Path("/usr/lib").rglob("libfaketime.so.1"))
    before = [
        "env",
        f"LD_PRELOAD={preload}",
        f"FAKETIME_TIMESTAMP_FILE={rc}",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
    ]
    found = whole(home, told(code + JUMPS, *before))
    years = {record["ts"][:4] for record in found}
    assert len(years) >= 2


# ── disks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_limit_on_the_size_of_files_loses_nothing(home: Path) -> None:
    """Each write is cut short somewhere, and the next one refused: other files take what is left, and all of it verifies."""
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
decide(careful, 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for at in range(30): tell(decide(careful, at).id)
ids = [decide(quick, at).id for at in range(20)]
assert flush(20)
tell(*ids)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**40 if resource.getrlimit(resource.RLIMIT_FSIZE)[1] < 0 else resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
"""
    acknowledged = told(code)
    assert len(acknowledged) == 50
    whole(home, acknowledged)


def _mounted(folder: Path, size: str) -> None:
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this user may not mount a small disk")


def test_a_full_disk_refuses_and_then_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is full nothing is acknowledged; where there is room again records go on, and it verifies."""
    disk = tmp_path / "disk"
    _mounted(disk, "256k")
    try:
        monkeypatch.setenv("GUARDRAIL_HOME", str(disk / "home"))
        code = f"""
ballast = {str(disk / "ballast")!r}
with open(ballast, "wb") as file: file.write(b"x" * 100_000)
refused, at = 0, 0
@guarded(name="required", version="1", audit=__import__("guardrail").Audit("sync", required=True))
def required(x: int) -> int: return x + 1
while refused < 3:
    try:
        required(at)
    except AuditUnavailable:
        refused += 1
    else:
        from guardrail import last_decision
        tell(last_decision().id)
    at += 1
    assert at < 5_000
os.unlink(ballast)
time.sleep(0.2)
for each in range(20):
    required(each)
    tell(last_decision().id)
assert flush(20)
"""
        acknowledged = told(code)
        found = whole(disk / "home", acknowledged)
        answered = {record["id"] for record in found if record.get("guard") == "required" and record.get("outcome") == "answered"}
        assert answered == set(acknowledged)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_folder_that_may_not_be_written_refuses_and_then_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is read-only required answers are withheld and others given; afterwards their records come, and nothing is lost."""
    home = tmp_path / "disk" / "home"
    monkeypatch.setenv("GUARDRAIL_HOME", str(home))
    if os.geteuid() == 0:  # whom rights do not stop
        _mounted(home.parent, "4m")
        closed, opened = (f"assert os.system('mount -o remount,{how} {home.parent}') == 0" for how in ("ro", "rw"))
    else:
        home.parent.mkdir()
        closed, opened = f"os.chmod({str(home.parent)!r}, 0o500)", f"os.chmod({str(home.parent)!r}, 0o700)"
    code = f"""
from guardrail import Audit
@guarded(name="required", version="1", audit=Audit("sync", required=True))
def required(x: int) -> int: return x + 1
{closed}
try:
    required(1)
except AuditUnavailable:
    pass
else:
    raise SystemExit("it was answered without a record")
assert quick(1) == 2
assert not flush(0.2)
{opened}
tell(decide(careful, 2).id)
assert flush(20)
"""
    try:
        found = whole(home, told(code))
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", str(home.parent)], check=True)
    calls = [(record["guard"], record["outcome"]) for record in found if record["event"] == "call"]
    assert calls == [("required", "refused"), ("quick", "answered"), ("careful", "answered")]


WATCH = """
failed, wrong, real = set(), [], {name: getattr(os, name) for name in ("write", "pwrite", "fsync", "fdatasync", "ftruncate")}
def place(handle):
    found = os.fstat(handle)
    path = os.readlink(f"/proc/self/fd/{handle}")
    return (found.st_ino, path) if "/ledger/2" in path and not path.endswith("/lock") and not os.path.isdir(path) else None
def watched(name):
    def call(handle, *rest):
        global count
        where = place(handle) if handle > 2 else None
        if where in failed: wrong.append((name, where))
        if where and "sync" in name:
            count += 1
            if count in fails:
                failed.add(where)
                raise OSError(5, "Input/output error")
        return real[name](handle, *rest)
    return call
count = 0
for name in real: setattr(os, name, watched(name))
lane._sync = seals._sync = lane.disk.sync = os.fdatasync
seals.EVERY_RECORDS, seals.SYNC_SECONDS = 5, 0.0
"""


@pytest.mark.parametrize("fails", ["{3}", "{3, 4}", "set(range(4, 60, 5))", "set(range(2, 60, 3))"])
def test_after_a_failed_sync_no_file_of_a_lane_is_used_again(home: Path, fails: str) -> None:
    """Segments, leaves and checkpoints alike: a file whose sync failed is never written or synced again, and nothing is lost."""
    code = f"""
fails = {fails}
{WATCH}
for at in range(40):
    try:
        found = decide(careful, at)
    except AuditUnavailable:
        continue
    tell(found.id)
ids = [decide(quick, at).id for at in range(20)]
assert flush(20), "not flushed"
tell(*ids)
fails = set()
assert shutdown(20)
assert failed, "nothing failed"
assert not wrong, wrong
"""
    acknowledged = told(code)
    assert len(acknowledged) >= 20
    whole(home, acknowledged)


def test_a_sync_that_the_system_fails_once_loses_nothing(home: Path) -> None:
    """As above, with a kernel that fails one call and accepts the next (strace): the trap that lost other databases' data."""
    trace = home.parent / "trace"
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (Debian: strace)")
    before = [
        "strace",
        "-f",
        "-qq",
        "-y",
        "-o",
        str(trace),
        "-e",
        "trace=fdatasync,write,ftruncate",
        "-e",
        "inject=fdatasync:error=EIO:when=3",
    ]
    try:
        probe = subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, check=False, timeout=20)
    except OSError:
        probe = None
    if probe is None or probe.returncode:
        pytest.skip("this user may not trace a process")
    acknowledged = told("for at in range(12): tell(decide(careful, at).id)\n", *before)
    assert len(acknowledged) == 12
    whole(home, acknowledged)
    lines = trace.read_text().splitlines()
    failed = [
        (at, match[1]) for at, line in enumerate(lines) if (match := re.search(r"fdatasync\(\d+<([^>]+)>\) = -1 EIO", line))
    ]
    assert any(path.endswith(".jsonl") for _, path in failed)
    for at, path in failed:
        assert not any(f"<{path}>" in line for line in lines[at + 1 :])


def test_what_a_disk_never_took_is_told_as_a_gap(home: Path) -> None:
    """It fails for so long that the bound is reached: what was lost is counted, durably, and the ledger verifies."""
    code = """
from guardrail.ledger import commit
from fake_calls import make_entry, make_plan
tell(decide(careful, 0).id)
commit.KEPT_LINES = 50
real = os.write
def refuse(handle, data):
    if handle > 2: raise OSError(28, "No space left on device")
    return real(handle, data)
os.write = refuse
plan = make_plan()
for _ in range(300): writer.push(make_entry(plan))
assert writer.drain(10)
os.write = real
assert flush(20)
tell(decide(careful, 1).id)
"""
    found = whole(home, told(code))
    lost = sum(record["count"] for record in found if record["event"] == "gap")
    assert lost + sum(record.get("guard") == make_plan().name and record["event"] == "call" for record in found) == 300
    assert lost >= 200
