"""Retries: what is tried again, how often, and for how long."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from benchmarks.gauntlet.case import Failed, ask, case, equal, raised
from benchmarks.gauntlet.tool import Tool

ROOM = 0.9  # seconds by which a busy machine may be late


@case("two failures, then the answer; the attempts of two threads are counted apart", "retry", "sync")
def tried_again(tool: Tool, home: Path) -> None:
    runs: dict[int, int] = {}

    def work(x):
        runs[x] = runs.get(x, 0) + 1
        time.sleep(0.02)
        if runs[x] < 3:
            raise ConnectionError("down")
        return x

    call = tool.retried(work, 3, ConnectionError)
    got = []
    threads = [threading.Thread(target=lambda i=i: got.append(call(i))) for i in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    equal(sorted(got), [0, 1], "answers")
    equal(runs, {0: 3, 1: 3}, "runs")


@case("in the end the function's very own exception", "retry", "sync")
def last_exception(tool: Tool, home: Path) -> None:
    errors = []

    def work(x):
        errors.append(ConnectionError(len(errors)))
        raise errors[-1]

    got = raised(tool.retried(work, 3, ConnectionError), 1)
    ask(any(got is each for each in errors), f"a {type(got).__name__} instead of the function's own ConnectionError")
    equal(len(errors), 3, "attempts")


@case("another type of error, KeyboardInterrupt and SystemExit are not tried again", "retry", "sync")
def not_tried_again(tool: Tool, home: Path) -> None:
    for kind in (ValueError, KeyboardInterrupt, SystemExit):
        runs = []

        def work(x, kind=kind, runs=runs):
            runs.append(1)
            raise kind("no")

        got = raised(tool.retried(work, 3, ConnectionError), 1)
        ask(kind is ValueError or type(got) is kind, f"{type(got).__name__} instead of {kind.__name__}")
        ask(len(runs) == 1, f"{len(runs)} attempts at a {kind.__name__}")


@case("async: tried again, and a cancellation ends it at once, also in the pause", "retry", "async")
def async_retries(tool: Tool, home: Path) -> None:
    runs = []

    async def work(x):
        runs.append(1)
        await asyncio.sleep(0)
        if len(runs) < 3:
            raise ConnectionError("down")
        return x

    async def broken(x):
        runs.append(1)
        raise ConnectionError("down")

    async def main():
        equal(await tool.retried(work, 3, ConnectionError)(5), 5, "answer")
        equal(len(runs), 3, "attempts")
        task = asyncio.ensure_future(tool.retried(broken, 5, ConnectionError, wait=20.0)(1))
        await asyncio.sleep(0.3)
        start = time.monotonic()
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        ask(done, "still running 5 s after it was cancelled")
        ask(time.monotonic() - start < 2, "the cancellation took 2 s")

    asyncio.run(main())


@case("the limit for all attempts holds when each attempt is slow", "deadline", "retry")
def slow_attempts(tool: Tool, home: Path) -> None:
    _total(tool, attempt=1.5, wait=0.01, limit=2.0)  # an end that is asked for between attempts comes at 3


@case("the limit for all attempts holds when the pauses are long", "deadline", "retry")
def long_pauses(tool: Tool, home: Path) -> None:
    _total(tool, attempt=0.01, wait=8.0, limit=1.0)


@case("the limit for all attempts holds when the first attempt hangs", "deadline", "retry")
def hung_attempt(tool: Tool, home: Path) -> None:
    _total(tool, attempt=10, wait=0.01, limit=1.0)


def _total(tool: Tool, attempt: float, wait: float, limit: float) -> None:
    sync = tool.offers(tool.way, frozenset({"deadline", "sync"}))

    def work(x):
        time.sleep(attempt)
        raise ConnectionError("down")

    if not sync:

        async def work(x):
            await asyncio.sleep(attempt)
            raise ConnectionError("down")

    call = tool.within(work, 6, ConnectionError, wait, limit)
    start = time.monotonic()
    try:
        asyncio.run(call(1)) if asyncio.iscoroutinefunction(work) else call(1)
    except (Exception, *tool.late):
        took = time.monotonic() - start
        ask(took < limit + ROOM, f"a limit of {limit} s in all, and the call ended after {took:.1f} s")
        return
    raise Failed("no error at all")


@case("retries of a limited function inside a limited one: the outer limit holds", "deadline", "retry")
def nested_retries(tool: Tool, home: Path) -> None:
    def work(x):
        time.sleep(4)
        raise ConnectionError("down")

    if not tool.offers(tool.way, frozenset({"deadline", "sync"})):

        async def work(x):
            await asyncio.sleep(4)
            raise ConnectionError("down")

        inner = tool.within(work, 5, ConnectionError, 0.01, 30.0)

        async def around(x):
            return await inner(x)

        outer = tool.within(around, 5, ConnectionError, 0.01, 1.0)
    else:
        inner = tool.within(work, 5, ConnectionError, 0.01, 30.0)
        outer = tool.within(lambda x: inner(x), 5, ConnectionError, 0.01, 1.0)
    start = time.monotonic()
    try:
        asyncio.run(outer(1)) if asyncio.iscoroutinefunction(work) else outer(1)
    except (Exception, *tool.late):
        took = time.monotonic() - start
        ask(took < 1.0 + ROOM, f"a limit of 1 s in all, and the call ended after {took:.1f} s")
        return
    raise Failed("no error at all")


@case("a generator is tried again only up to its first item", "retry", "generator")
def generator_retries(tool: Tool, home: Path) -> None:
    runs = []

    def stream(x):
        runs.append(1)
        if len(runs) == 1:
            raise ConnectionError("before the first item")
        yield 1
        if len(runs) == 2:
            raise ConnectionError("after the first item")
        yield 2

    items = tool.retried(stream, 3, ConnectionError)(1)
    equal(next(items), 1, "first item")
    ask(isinstance(raised(next, items), ConnectionError), "the error after the first item is gone")
