"""What the ledger costs and carries, beside the same without hashing, without group commit, and on one chain that all share.

    python -m benchmarks.ledger                    the tables
    python -m benchmarks.ledger --records N        cost per append and lookup, and memory, up to N records (10_000_000 takes its time)

Every row is measured in the same run as what stands beside it, in turns. Nothing here judges an absolute time; the ratio can
be compared between machines. After each part the records are counted, and the ledger is verified.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

ROUNDS = 7
BURST = 250
RECORDS = 40_000  # of one round, end to end
SECONDS = 1.0  # of one round with many processes or callers
CALLERS = 64
PROCESSES = 4


# ── what is recorded ──────────────────────────────────────────────────────────────────────────────────────────────────
def an_entry() -> tuple[Any, ...]:
    """Return what one call of an ordinary guard hands over."""
    from guardrail import Prediction, flush, guarded
    from guardrail.ledger import taps

    @guarded(name="bench", version="1", confidence=0.5, review="bench", budget="5s")
    def predict(income: float, age: int, region: str) -> Prediction[str]:
        return Prediction("approve", 0.93)

    seen: list[Any] = []
    real = taps.before_write
    taps.before_write = lambda entries: (seen.extend(entries), real(entries))[1]
    predict(52_000.0, 41, "north")
    flush(30)
    taps.before_write = real
    return tuple(seen[0])


def entries(like: tuple[Any, ...], many: int) -> Iterator[tuple[Any, ...]]:
    """Yield so many calls like one, each with a number and a moment of its own."""
    from guardrail import call

    at, plan, rest = time.time(), like[3], like[4:]
    for each in range(many):
        yield (call.next_seq(), at + each * 1e-6, 0.000_012_3, plan, *rest)


def poured(like: tuple[Any, ...], many: int) -> float:
    """Hand over so many, as fast as there is room, and wait until all are durable; return the seconds."""
    from guardrail import flush
    from guardrail.ledger import writer

    begin = time.perf_counter()
    for entry in entries(like, many):
        while not writer.push(entry):
            pass
    assert flush(300)
    return time.perf_counter() - begin


# ── the alternatives ──────────────────────────────────────────────────────────────────────────────────────────────────
@contextlib.contextmanager
def without_hashing() -> Iterator[None]:
    """Have the same loop number its lines, and neither hash, link nor sign them."""
    from guardrail.ledger import lane, record, seals

    def numbered(bodies: Any, seq: int, leaf: bytes) -> tuple[list[bytes], list[bytes]]:
        head = record._HEAD
        none = b"0" * 64
        lines = [b'%b"seq":%d,"prev":"%b",%b\n' % (body[:head], at, none, body[head:]) for at, body in enumerate(bodies, seq)]
        return lines, [leaf] * len(lines)

    kept = lane.seal_all, seals.Seals.add, seals.Seals.settle
    lane.seal_all = numbered
    seals.Seals.add = lambda *_: None  # type: ignore[method-assign]
    seals.Seals.settle = lambda *_: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        lane.seal_all, seals.Seals.add, seals.Seals.settle = kept  # type: ignore[method-assign]


def shared_chain(folder: str, seconds: float, told: Any) -> None:
    """Append to one chain that all processes share: lock, read the last hash, hash, write, sync, unlock, one record at a time."""
    path = Path(folder) / "shared.jsonl"
    path.touch()
    record = {
        "guard": "bench",
        "outcome": "answered",
        "output": "approve",
        "confidence": 0.93,
        "pid": os.getpid(),
        "pad": "x" * 300,
    }
    many, until = 0, time.perf_counter() + seconds
    handle = os.open(path, os.O_RDWR | os.O_APPEND)
    while time.perf_counter() < until:
        fcntl.flock(handle, fcntl.LOCK_EX)
        end = os.lseek(handle, 0, os.SEEK_END)
        tail = os.pread(handle, 2_048, max(0, end - 2_048)).splitlines()
        prev = hashlib.sha256(tail[-1]).hexdigest() if tail else "0" * 64
        os.write(handle, orjson.dumps({"prev": prev, **record}) + b"\n")
        os.fdatasync(handle) if hasattr(os, "fdatasync") else os.fsync(handle)
        fcntl.flock(handle, fcntl.LOCK_UN)
        many += 1
    told.put(many)


def own_lanes(home: str, seconds: float, told: Any) -> None:
    """Write through the library, each process to its own lane, and count what became durable."""
    os.environ["GUARDRAIL_HOME"] = home
    from guardrail import flush, settings, shutdown
    from guardrail.ledger import writer

    settings.reset()
    like = an_entry()
    until, many, begin = time.perf_counter() + seconds, 0, time.perf_counter()
    while time.perf_counter() < until:
        for entry in entries(like, 2_000):
            while not writer.push(entry):
                pass
        many += 2_000
    assert flush(300)
    took = time.perf_counter() - begin
    shutdown(30)
    told.put(many * seconds / took)


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def caller_cost() -> list[tuple[str, float, float]]:
    """Return what handing over a record costs the calling thread (µs) beside an append to a list of no use: bursts, and paced."""
    from guardrail import flush
    from guardrail.ledger import writer

    like = an_entry()
    nowhere: deque[Any] = deque(maxlen=100_000)
    ways: dict[str, Callable[[Any], Any]] = {"ledger": writer.push, "nothing": nowhere.append, "loop": lambda entry: None}
    found = []
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(ROUNDS * 8):
        made = list(entries(like, BURST))
        for name, way in ways.items():
            start = time.thread_time()
            for entry in made:
                way(entry)
            best[name] = min(best[name], (time.thread_time() - start) / BURST)
        flush(30)
    found.append(("in bursts", best["ledger"] - best["loop"], best["nothing"] - best["loop"]))
    for pace in (500, 2_000, 10_000):
        # The clock is read around each single call, and what reading it costs is measured in the same way.
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(4):
            for name, way in ways.items():
                made = list(entries(like, pace // 4 if pace < 4_000 else 1_000))
                due = time.perf_counter()
                for entry in made:
                    due += 1 / pace
                    while (left := due - time.perf_counter()) > 0:
                        time.sleep(left) if left > 0.0002 else None
                    start = time.thread_time()
                    way(entry)
                    took[name].append(time.thread_time() - start)
        middle = {name: statistics.median(each) for name, each in took.items()}
        found.append((f"paced, {pace:,} calls/s", middle["ledger"] - middle["loop"], middle["nothing"] - middle["loop"]))
    flush(30)
    return [(name, mine * 1e6, theirs * 1e6) for name, mine, theirs in found]


def end_to_end() -> tuple[float, float, float]:
    """Return records/s until durable, the same without hashing, and the CPU of the whole process for a record in µs."""
    from guardrail import shutdown

    like = an_entry()
    best = {"hashed": 0.0, "plain": 0.0}
    cpu = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        best["hashed"] = max(best["hashed"], RECORDS / poured(like, RECORDS))
        cpu = min(cpu, (time.process_time() - start) / RECORDS)
        shutdown(30)  # what is not hashed goes to a lane of its own
        home = os.environ["GUARDRAIL_HOME"]
        with elsewhere(), without_hashing():
            poured(like, 100)
            best["plain"] = max(best["plain"], RECORDS / poured(like, RECORDS))
            shutdown(30)
        assert os.environ["GUARDRAIL_HOME"] == home
        poured(like, 100)
    return best["hashed"], best["plain"], cpu * 1e6


@contextlib.contextmanager
def elsewhere() -> Iterator[Path]:
    """Have the ledger in another home for a while."""
    from guardrail import settings

    before = os.environ["GUARDRAIL_HOME"]
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as home:
        os.environ["GUARDRAIL_HOME"] = home
        settings.reset()
        try:
            yield Path(home)
        finally:
            os.environ["GUARDRAIL_HOME"] = before
            settings.reset()


def many_processes() -> tuple[float, float]:
    """Return records/s of four processes on lanes of their own, and of four on a chain that they share."""
    best = {"own": 0.0, "shared": 0.0}
    spawn = multiprocessing.get_context("spawn")
    for _ in range(3):
        for name, work in (("own", own_lanes), ("shared", shared_chain)):
            with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as folder:
                told = spawn.Queue()
                group = [spawn.Process(target=work, args=(folder, SECONDS, told)) for _ in range(PROCESSES)]
                for each in group:
                    each.start()
                best[name] = max(best[name], sum(told.get() for _ in group) / SECONDS)
                for each in group:
                    each.join()
                if name == "own":
                    verified(Path(folder))
    return best["own"], best["shared"]


def waiting_callers() -> tuple[float, float, float]:
    """Return records/s of 64 callers that wait for durability, of one, and the one's median wait in ms."""
    from guardrail.ledger import writer
    from guardrail.ledger.entry import Entry

    like = an_entry()
    best = {CALLERS: 0.0, 1: 0.0}
    waits: list[float] = []
    for _ in range(3):
        for callers in (CALLERS, 1):
            counts: list[int] = []
            until = time.perf_counter() + SECONDS

            def work(until: float = until, counts: list[int] = counts, *, keep: bool = callers == 1) -> None:
                many = 0
                while time.perf_counter() < until:
                    start = time.perf_counter()
                    writer.acknowledge(Entry._make(next(entries(like, 1)))).result(30)
                    if keep:
                        waits.append(time.perf_counter() - start)
                    many += 1
                counts.append(many)

            threads = [threading.Thread(target=work) for _ in range(callers)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            best[callers] = max(best[callers], sum(counts) / SECONDS)
    return best[CALLERS], best[1], statistics.median(waits) * 1e3


def verified(home: Path) -> tuple[int, float]:
    """Verify a ledger; return its records, and how many of them one core verifies in a second."""
    from guardrail.ledger import verify

    start = time.process_time()
    report = verify.verify(verify.Files(str(home)))
    took = time.process_time() - start
    assert report.code == 0, "\n".join(report.text())
    records = sum(each.records for each in report.lanes[1:])
    return records, records / took


def resident() -> float:
    """Return the resident memory of this process, in MiB."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def growing(sizes: list[int], console: Console) -> None:
    """Print what an append and a lookup by id cost when the ledger has so many records, and the memory."""
    from guardrail import flush
    from guardrail.ledger import reader
    from guardrail.ledger.index import Index

    shown = table("As the ledger grows", ["records", "CPU of an append µs", "CPU of a lookup by id µs", "resident MiB"])
    with elsewhere() as home:
        like = an_entry()
        known: list[str] = []
        many = 0
        for size in sizes:
            while many < size:
                part = min(50_000, size - many)
                start = time.process_time()
                poured(like, part)
                cost = (time.process_time() - start) / part
                many += part
            flush(300)
            Index(home).refresh(None)
            gc.collect()
            sample = [record["id"] for record in reader.read(home, event="call", newest_first=True, limit=200)]
            known = random.Random(7).sample(known + sample, min(200, len(known) + len(sample)))
            reader.find(known[0], home)
            best = float("inf")
            for _ in range(3):
                start = time.process_time()
                for each in known[:100]:
                    found = reader.find(each, home)
                    assert found is not None
                best = min(best, (time.process_time() - start) / len(known[:100]))
            shown.add_row(f"{size:,}", f"{cost * 1e6:.2f}", f"{best * 1e6:,.0f}", f"{resident():.1f}")
        counted(home, many, console)
    console.print(shown)


def counted(home: Path, made: int, console: Console) -> None:
    """Print whether the ledger holds all that was made, as a reader in another process counts it."""
    from guardrail import flush

    flush(300)
    program = "import sys\nfrom pathlib import Path\nfrom guardrail.ledger import segments\nprint(sum(line.count(b'\"event\":\"call\"') for lane in segments.lanes(Path(sys.argv[1])) for each in segments.segments(lane) for line in segments.forwards(each.path)))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program, str(home)], capture_output=True, text=True, check=True)
    found = int(done.stdout)
    extra = found - made
    console.print(f"records made {made:,}, in the ledger {found:,}" + (": none is missing" if 0 <= extra <= 10 else " [red]!"))


def table(title: str, columns: list[str]) -> Table:
    """Return an empty table, numbers to the right."""
    shown = Table(title=title, title_justify="left")
    for at, column in enumerate(columns):
        shown.add_column(column, justify="right" if at else "left")
    return shown


def measure(console: Console) -> None:
    """Measure and print everything but growth."""
    shown = table("CPU of the calling thread for one record", ["", "ledger µs", "append to nothing µs", "target µs"])
    for name, mine, theirs in caller_cost():
        shown.add_row(name, f"{mine:.2f}", f"{theirs:.2f}", "0.5")
    console.print(shown)

    shown = table("Records per second", ["", "ledger", "beside it", "ratio", "target"])
    hashed, plain, cpu = end_to_end()
    shown.add_row("one process, until durable | the same without hashing", f"{hashed:,.0f}", f"{plain:,.0f}", f"{hashed / plain:.0%}",
                  "150,000, 60%")  # fmt: skip
    own, chain = many_processes()
    shown.add_row("4 processes, own lanes | one flock'ed chain", f"{own:,.0f}", f"{chain:,.0f}", f"{own / chain:,.0f} ×", "40 ×")
    crowd, alone, wait = waiting_callers()
    shown.add_row(
        f"{CALLERS} callers that wait | one at a time", f"{crowd:,.0f}", f"{alone:,.0f}", f"{crowd / alone:.1f} ×", "5 ×"
    )
    from guardrail import shutdown

    shutdown(60)
    home = Path(os.environ["GUARDRAIL_HOME"])
    records, rate = max(verified(home) for _ in range(3))
    parse, lines = float("inf"), [line for path in home.rglob("*.jsonl") for line in path.read_bytes().splitlines()[:100_000]]
    start = time.process_time()
    for line in lines:
        json.loads(line)
    parse = len(lines) / (time.process_time() - start)
    shown.add_row(
        f"verification, one core ({records:,}) | json.loads of each line",
        f"{rate:,.0f}",
        f"{parse:,.0f}",
        f"{rate / parse:.1f} ×",
        "400,000",
    )
    console.print(shown)
    console.print(
        f"CPU of the whole process for a record: {cpu:.1f} µs; one caller waits {wait:.2f} ms (median) until its record is durable"
    )


def main() -> None:
    """Run what was asked for, in a ledger that vanishes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=0, help="only the cost per append and lookup, up to so many records")
    asked = parser.parse_args()
    console = Console(width=130)
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as home:
        os.environ["GUARDRAIL_HOME"] = f"{home}/home"
        os.environ["XDG_CONFIG_HOME"] = f"{home}/config"  # with keys of its own
        if not asked.records:
            measure(console)
        most = asked.records or 1_000_000
        growing([*(size for size in (10_000, 100_000, 1_000_000, 3_000_000) if size < most), most], console)
        from guardrail import shutdown

        shutdown(60)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
