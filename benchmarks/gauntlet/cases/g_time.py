"""Time limits: the caller is back when the time is up."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from benchmarks.gauntlet.case import Failed, ask, case, equal
from benchmarks.gauntlet.tool import Tool

ROOM = 1.0  # seconds by which a busy machine may be late


def _late(tool: Tool, call, *args, limit: float) -> None:
    start = time.monotonic()
    try:
        call(*args)
    except tool.late:
        took = time.monotonic() - start
        ask(took < limit + ROOM, f"a limit of {limit} s ended the call after {took:.1f} s")
        return
    except BaseException as error:
        raise Failed(f"{type(error).__name__}: {str(error)[:100]} instead of its own time-out") from error
    raise Failed(f"a limit of {limit} s, and the call returned after {time.monotonic() - start:.1f} s")


@case("a function that sleeps", "timeout", "sync")
def sleeping(tool: Tool, home: Path) -> None:
    call = tool.timed(lambda seconds: time.sleep(seconds), 0.5)
    _late(tool, call, 4, limit=0.5)


@case("a loop in Python that never waits", "timeout", "sync")
def computing(tool: Tool, home: Path) -> None:
    def loop(seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    _late(tool, tool.timed(loop, 0.5), 5, limit=0.5)


@case("not on the main thread, where no signal reaches", "timeout", "sync")
def in_a_thread(tool: Tool, home: Path) -> None:
    call = tool.timed(lambda seconds: time.sleep(seconds), 0.5)
    problems = []

    def run():
        try:
            _late(tool, call, 4, limit=0.5)
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    if problems:
        raise problems[0]


@case("after six calls that hang, a healthy one is answered", "timeout", "sync")
def healthy_after_hung(tool: Tool, home: Path) -> None:
    def work(seconds):
        time.sleep(seconds)
        return "healthy"

    call = tool.timed(work, 0.5)
    for _ in range(6):
        _late(tool, call, 15, limit=0.5)
    equal(call(0), "healthy", "answer")


@case("the process ends though a call that was given up still hangs", "timeout", "sync", exits=True)
def exit_after_hung(tool: Tool, home: Path) -> None:
    _late(tool, tool.timed(lambda seconds: time.sleep(seconds), 0.5), 120, limit=0.5)


@case("an error that says it is a time-out can be caught by `except Exception`", "timeout", "sync")
def an_exception(tool: Tool, home: Path) -> None:
    call = tool.timed(lambda seconds: time.sleep(seconds), 0.3)
    try:
        call(3)
    except Exception:
        return
    except BaseException as error:
        raise Failed(f"{type(error).__name__} is no Exception") from error
    raise Failed("no error at all")


@case("in time: the answer, the function's own error, its own TimeoutError, unchanged", "timeout", "sync")
def in_time(tool: Tool, home: Path) -> None:
    own, token = TimeoutError("its own"), object()

    def work(error):
        if error is not None:
            raise error
        return token

    call = tool.timed(work, 20.0)
    ask(call(None) is token, "another object")
    for error in (LookupError("x"), own):
        try:
            call(error)
        except BaseException as got:
            ask(got is error, f"{type(got).__name__} instead of the function's own {type(error).__name__}")
        else:
            raise Failed("no error")


@case("two limited functions, one in the other: the shorter limit holds", "timeout", "sync")
def nested(tool: Tool, home: Path) -> None:
    inner = tool.timed(lambda seconds: time.sleep(seconds), 30.0)
    outer = tool.timed(lambda seconds: inner(seconds), 0.5)
    _late(tool, outer, 4, limit=0.5)


@case("an async function that sleeps is cancelled in time, and its finally runs", "timeout", "async")
def async_sleeping(tool: Tool, home: Path) -> None:
    seen = []

    async def work(seconds):
        try:
            await asyncio.sleep(seconds)
        finally:
            seen.append("finally")
        return "done"

    call = tool.timed(work, 0.5)

    async def main():
        start = time.monotonic()
        try:
            await call(5)
        except tool.late:
            took = time.monotonic() - start
            ask(took < 0.5 + ROOM, f"a limit of 0.5 s ended the call after {took:.1f} s")
        else:
            raise Failed("no time-out")
        equal(seen, ["finally"], "what the function saw")
        equal(await call(0), "done", "answer in time")

    asyncio.run(main())


@case("three tasks at once each keep their own limit", "timeout", "async")
def async_at_once(tool: Tool, home: Path) -> None:
    async def work(seconds):
        await asyncio.sleep(seconds)
        return seconds

    call = tool.timed(work, 0.6)

    async def one(seconds, after):
        await asyncio.sleep(after)
        start = time.monotonic()
        try:
            return await call(seconds)
        except tool.late:
            return round(time.monotonic() - start, 3)

    async def main():
        long, short, other = await asyncio.gather(one(5, 0), one(0.1, 0.2), one(5, 0.4))
        equal(short, 0.1, "answer of the short one")
        ask(0.5 < long < 0.6 + ROOM, f"a limit of 0.6 s ended after {long} s")
        ask(0.5 < other < 0.6 + ROOM, f"a limit of 0.6 s, begun later, ended after {other} s")

    asyncio.run(main())


@case("a caller's cancellation is not turned into a time-out", "timeout", "async")
def cancelled_is_not_late(tool: Tool, home: Path) -> None:
    call = tool.timed(_asleep, 20.0)

    async def main():
        task = asyncio.ensure_future(call(30))
        await asyncio.sleep(0.2)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        ask(done, "still running 5 s after it was cancelled")
        ask(task.cancelled(), "the task does not count as cancelled")

    asyncio.run(main())


async def _asleep(seconds):
    await asyncio.sleep(seconds)
