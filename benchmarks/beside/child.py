"""What runs in a tool's own environment: one measurement, whose results go to standard output, a line of JSON for each.

python -m benchmarks.beside.child PART TOOL HOME SECONDS [PORT]

Nothing is imported here but the standard library and the tool, so that memory and time are the tool's.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.gauntlet.tool import Tool

ROOT = Path(__file__).parents[2]
ROUNDS, CALLS, MANY, MILLION = 30, 200, 20_000, 1_000_000
THREADS, TASKS, PROCESSES = (1, 2, 4, 8, 16), (1, 4, 16, 64, 256), (1, 2, 4)
_AT_ONCE = 5  # calls between two looks at the clock
Run = Callable[[int, Callable[[], float]], tuple[float, float]]


def score(x: int) -> int:
    """Be the function that is guarded."""
    return x % 7


async def later(x: int) -> int:
    """Be the coroutine function that is guarded."""
    return x % 7


async def yielding(x: int) -> int:
    """Be one that gives way once, as all that waits does: otherwise one task would run to its end before the next begins."""
    await asyncio.sleep(0)
    return x % 7


def say(**found: Any) -> None:
    """Hand over what is known so far: what comes next may never end."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def cost(name: str, home: Path, seconds: float) -> None:
    """Measure CPU, import and size. A part that does not fit into the time is ended early, and says how many calls it made."""
    before_cpu, before_rss = time.process_time(), memory()
    tool, run, plain = ready(name, home)
    imported, rss = time.process_time() - before_cpu, memory() - before_rss
    least, until, rounds = 1e9, time.monotonic() + seconds, 0
    for rounds in range(1, ROUNDS + 1):
        calls = CALLS if rounds > 1 else 5
        bare, made = run(calls, time.thread_time)
        least = min(least, made - bare)
        if time.monotonic() > until:
            break
    size = installed(tool.requirements[0] if tool.requirements else "guardrail-sdk")
    say(caller=least * 1e6, rounds=rounds, imported=imported, rss=rss, size=size, later=not plain)
    tool.written()
    start, calls = time.process_time(), made_for(seconds, MANY, run)
    tool.finish()
    say(whole=(time.process_time() - start) / calls * 1e6, calls=calls, end=time.time())


def kept(name: str, home: Path, seconds: float) -> None:
    """Measure the memory that a million calls leave behind, or as many as fit into the time."""
    tool, run, _ = ready(name, home)
    made_for(seconds / 10, 1_000, run)
    tool.written()
    before, start = memory(), time.monotonic()
    first = made_for(seconds / 2, MILLION // 2, run)
    middle = memory()
    second = made_for(start + seconds - time.monotonic(), first, run)
    say(
        calls=first + second,
        second=second,
        took=time.monotonic() - start,
        grown=memory() - before,
        late=memory() - middle,
        written=False,
    )
    tool.written()
    say(grown=memory() - before, late=memory() - middle, written=True)


def dead(name: str, home: Path, seconds: float, port: int) -> None:
    """Call for a while with a collector that is not there; nothing is flushed by hand, the process just ends."""
    from benchmarks.gauntlet.child import adapter

    tool = adapter(name, "")
    tool.exporting(home, port)
    run = turns(score, tool.wrap(score))
    start = time.monotonic()
    calls = made_for(seconds, 1_000, run, at_once=1)
    say(calls=calls, took=time.monotonic() - start, end=time.time())


def threads(name: str, home: Path, seconds: float) -> None:
    """Measure calls per second by number of threads, until everything is written."""
    tool, _, plain = ready(name, home)
    if plain:
        made = tool.wrap(score)
        made(0)
        for width in THREADS:
            counts = [0] * width
            barrier = threading.Barrier(width + 1)

            def work(at: int, counts: list[int] = counts, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                counts[at] = until_late(made, seconds)

            workers = [threading.Thread(target=work, args=(at,)) for at in range(width)]
            for worker in workers:
                worker.start()
            start = Start()
            barrier.wait()
            for worker in workers:
                worker.join()
            rate(tool, width, sum(counts), start)


def tasks(name: str, home: Path, seconds: float) -> None:
    """Measure calls per second by number of tasks on one loop, until everything is written."""
    from benchmarks.gauntlet.child import adapter

    tool = adapter(name, "")
    tool.start(home)
    if "async" in tool.claims:
        made = tool.wrap(yielding)

        async def work() -> int:
            count, until = 0, time.monotonic() + seconds
            while time.monotonic() < until:
                for number in range(_AT_ONCE):
                    await made(number)
                count += _AT_ONCE
            return count

        async def together(width: int) -> int:
            return sum(await asyncio.gather(*[work() for _ in range(width)]))

        loop = asyncio.new_event_loop()
        loop.run_until_complete(made(0))  # what is set up at the first call is no part of it
        for width in TASKS:
            start = Start()
            rate(tool, width, loop.run_until_complete(together(width)), start)


def process(name: str, home: Path, seconds: float) -> None:
    """Be one of several processes that begin at the same word."""
    tool, run, plain = ready(name, home)
    made = tool.wrap(score) if plain else None
    if made is not None:
        made(0)
    say(ready=True)
    sys.stdin.readline()
    start = Start()
    count = until_late(made, seconds) if made is not None else made_for(seconds, 10**9, run)
    rate(tool, 1, count, start)


class Start:
    """The moment at which the calls begin, by the clock and by the CPU of the process."""

    def __init__(self) -> None:
        self.at, self.cpu = time.monotonic(), time.process_time()


def rate(tool: Tool, width: int, count: int, start: Start) -> None:
    """Tell calls per second, of the callers and over all until everything is written, and the CPU seconds that they took."""
    called = count / (time.monotonic() - start.at)
    say(width=width, called=called)
    tool.written()
    took, cpu = time.monotonic() - start.at, time.process_time() - start.cpu
    say(width=width, called=called, rate=count / took, count=count, cpu=cpu)


def until_late(made: Callable[[int], int], seconds: float) -> int:
    """Call until the time is over; return how often."""
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        for number in range(_AT_ONCE):
            made(number)
        count += _AT_ONCE
    return count


def made_for(seconds: float, most: int, run: Run, at_once: int = 10) -> int:
    """Call `most` times, or as often as fits into the time; return how often."""
    count, until = 0, time.monotonic() + seconds
    while count < most and time.monotonic() < until:
        run(min(at_once, most - count), time.thread_time)
        count += min(at_once, most - count)
    return count


def ready(name: str, home: Path) -> tuple[Tool, Run, bool]:
    """Set a tool up and call once or so; return it, a measurement, and whether it takes plain functions."""
    from benchmarks.gauntlet.child import adapter

    tool = adapter(name, "")
    tool.start(home)
    plain = "sync" in tool.claims
    run = turns(score, tool.wrap(score)) if plain else turns_later(later, tool.wrap(later))
    run(5, time.thread_time)
    return tool, run, plain


def turns(bare: Callable[[int], int], made: Callable[[int], int]) -> Run:
    """Return a measurement of both: the seconds a call takes of each."""

    def run(calls: int, watch: Callable[[], float]) -> tuple[float, float]:
        first = watch()
        for number in range(calls):
            bare(number)
        second = watch()
        for number in range(calls):
            made(number)
        return (second - first) / calls, (watch() - second) / calls

    return run


def turns_later(bare: Any, made: Any) -> Run:
    """Do as `turns` for coroutine functions."""

    async def both(calls: int, watch: Callable[[], float]) -> tuple[float, float]:
        first = watch()
        for number in range(calls):
            await bare(number)
        second = watch()
        for number in range(calls):
            await made(number)
        return (second - first) / calls, (watch() - second) / calls

    loop = asyncio.new_event_loop()
    return lambda calls, watch: loop.run_until_complete(both(calls, watch))


def memory() -> float:
    """Return the resident memory of this process in MiB."""
    text = Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""
    found = re.search(r"VmRSS:\s+(\d+)", text)
    return int(found[1]) / 1024 if found else 0.0


def installed(requirement: str) -> float:
    """Return the size in MiB of a distribution and of all that it needs, without extras."""
    wanted, done, size = [re.split(r"[^\w.-]", requirement)[0]], set(), 0
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in done:
            continue
        done.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for file in found.files or ():
            place = Path(str(found.locate_file(file)))
            size += place.stat().st_size if place.is_file() else 0
        if name == "guardrail-sdk":  # installed in place, so that its own files are elsewhere
            size += sum(each.stat().st_size for each in (ROOT / "src").rglob("*.py"))
        wanted += [re.split(r"[^\w.-]", each)[0] for each in found.requires or () if "extra ==" not in each]
    return size / 2**20


PARTS: dict[str, Callable[..., None]] = {
    "cost": cost, "kept": kept, "dead": dead, "threads": threads, "tasks": tasks, "process": process,
}  # fmt: skip

if __name__ == "__main__":
    PARTS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), float(sys.argv[4]), *map(int, sys.argv[5:]))
