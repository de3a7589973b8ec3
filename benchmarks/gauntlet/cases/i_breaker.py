"""Breakers: what opens one, and what must not."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.case import Failed, ask, case, equal
from benchmarks.gauntlet.tool import Tool


class Down(Exception):
    pass


def _make(tool: Tool, work, **how: Any):
    """Return a plain function that runs `work` behind a breaker and says how it ended: "ok", "failed" or "open"."""
    sync = "sync" in tool.claimed(tool.way)
    if sync:
        call, loop = tool.broken(work, **how), None
    else:
        loop = asyncio.new_event_loop()

        async def slow(x: Any) -> Any:
            return work(x)

        call = tool.broken(slow, **how)

    def ending(x: Any) -> str:
        try:
            call(x) if loop is None else loop.run_until_complete(call(x))
        except Exception as error:
            if tool.is_open(error):
                return "open"
            return "failed"  # whether it is the function's own error is another case
        return "ok"

    return ending


@case("opens after failures, refuses without running, and closes after a good trial", "breaker")
def opens_and_closes(tool: Tool, home: Path) -> None:
    runs, up = [], []

    def work(x):
        runs.append(1)
        if not up:
            raise Down("down")

    call = _make(tool, work, failures=4, open_for=1.0)
    endings = [call(1) for _ in range(12)]
    equal(endings[-1], "open", "ending of the 12th call in a row that fails")
    before = len(runs)
    equal((call(1), len(runs) - before), ("open", 0), "ending while it is open, runs")
    up.append(1)
    until = time.monotonic() + 6
    while call(1) != "ok":
        ask(time.monotonic() < until, "a good dependency is still refused 6 s later")
        time.sleep(0.1)
    for _ in range(10):
        time.sleep(0.02)
        endings.append(call(1))
    equal(endings[-3:], ["ok"] * 3, "endings when all is well again")


@case("an async function that fails opens it, too", "breaker", "async")
def async_failures(tool: Tool, home: Path) -> None:
    async def work(x):
        await asyncio.sleep(0)
        raise Down("down")

    call = tool.broken(work, failures=4, open_for=30.0)

    async def main():
        for _ in range(12):
            try:
                await call(1)
            except BaseException as error:
                last = error
        ask(tool.is_open(last), f"still {type(last).__name__} after 12 failures in a row")

    asyncio.run(main())


@case("slow calls in several threads run side by side", "breaker", "sync")
def no_lock_held(tool: Tool, home: Path) -> None:
    call = tool.broken(lambda x: time.sleep(0.4), failures=4, open_for=1.0)
    threads = [threading.Thread(target=call, args=(1,)) for _ in range(5)]
    start = time.monotonic()
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    took = time.monotonic() - start
    ask(took < 1.2, f"five calls of 0.4 s in five threads took {took:.1f} s")


@case("slow answers open it", "breaker", "slow-calls")
def slow_calls(tool: Tool, home: Path) -> None:
    call = _make(tool, lambda x: time.sleep(0.12), failures=4, open_for=30.0, slow_after=0.05)
    endings = [call(1) for _ in range(12)]
    equal(endings[-1], "open", "ending of the 12th slow call in a row")


@case("a caller's cancellation opens nothing, and a cancelled trial does not block the ones after it", "breaker", "async")
def cancelled_probes(tool: Tool, home: Path) -> None:
    state = {"mode": "fail"}

    async def work(x):
        if state["mode"] == "hang":
            await asyncio.sleep(60)
        if state["mode"] == "fail":
            raise Down("down")
        return x

    call = tool.broken(work, failures=4, open_for=0.5)

    async def cancelled():
        task = asyncio.ensure_future(call(1))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        return task

    async def main():
        state["mode"] = "hang"
        for _ in range(12):
            await cancelled()
        state["mode"] = "good"
        try:
            await call(1)
        except BaseException as error:
            raise Failed("12 cancelled calls opened it" if tool.is_open(error) else f"{type(error).__name__}: {error}") from None
        state["mode"] = "fail"
        for _ in range(40):
            try:
                await call(1)
            except BaseException as error:
                last = error
        ask(tool.is_open(last), f"still {type(last).__name__} after 40 failures in a row")
        await asyncio.sleep(0.9)
        state["mode"] = "hang"
        for _ in range(8):  # cancelled in the middle of trial calls
            await cancelled()
        state["mode"] = "good"
        until = time.monotonic() + 6
        while True:
            try:
                equal(await call(7), 7, "answer")
                return
            except BaseException as error:
                ask(tool.is_open(error), f"{type(error).__name__}: {error}")
                ask(time.monotonic() < until, "a good dependency is still refused 6 s after cancelled trials")
                await asyncio.sleep(0.1)

    asyncio.run(main())


@case("an answer that comes late, from before it opened, does not close it", "breaker", "sync")
def stale_success(tool: Tool, home: Path) -> None:
    gate = threading.Event()

    def work(x):
        if x == "slow":
            gate.wait(20)
            return
        raise Down("down")

    call = tool.broken(work, failures=4, open_for=30.0)
    slow = threading.Thread(target=call, args=("slow",), daemon=True)
    slow.start()
    time.sleep(0.1)
    last: BaseException | None = None
    for _ in range(12):
        try:
            call("fail")
        except BaseException as error:
            last = error
    ask(last is not None and tool.is_open(last), f"still {type(last).__name__} after 12 failures in a row")
    gate.set()
    slow.join(10)
    try:
        call("fail")
    except BaseException as error:
        ask(tool.is_open(error), "the late success of a call from before closed it")


@case("the signature and kind of the function are kept behind it", "breaker", "async")
def kind_behind_a_breaker(tool: Tool, home: Path) -> None:
    async def work(x: int) -> int:
        return x

    call = tool.broken(work, failures=4, open_for=1.0)
    ask(inspect.iscoroutinefunction(call), "iscoroutinefunction is False")
    equal(str(inspect.signature(call)), str(inspect.signature(work)), "signature")
