"""Single flight: while one call finds out, equal calls wait for it."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

from benchmarks.gauntlet.case import Failed, ask, case, equal
from benchmarks.gauntlet.tool import Tool


@case("eight threads ask the same at once: one run, eight answers", "flight", "sync")
def flight_of_threads(tool: Tool, home: Path) -> None:
    runs, answers = [], []

    def predict(x):
        runs.append(1)
        time.sleep(0.5)
        return x + 1

    call = tool.flown(predict)
    threads = [threading.Thread(target=lambda: answers.append(call(1))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    equal(answers, [2] * 8, "answers")
    equal(len(runs), 1, "runs")


@case("twenty tasks ask the same at once: one run, twenty answers", "flight", "async")
def flight_of_tasks(tool: Tool, home: Path) -> None:
    runs = []

    async def predict(x):
        runs.append(1)
        await asyncio.sleep(0.3)
        return x + 1

    call = tool.flown(predict)

    async def main():
        equal(await asyncio.gather(*(call(1) for _ in range(20))), [2] * 20, "answers")

    asyncio.run(main())
    equal(len(runs), 1, "runs")


def _cancel(tool: Tool, which: int) -> None:
    async def predict(x):
        await asyncio.sleep(0.5)
        return x + 1

    call = tool.flown(predict)

    async def main():
        tasks = []
        for _ in range(3):
            tasks.append(asyncio.ensure_future(call(1)))
            await asyncio.sleep(0.05)
        tasks[which].cancel()
        _, waiting = await asyncio.wait(tasks, timeout=10)
        ask(not waiting, f"{len(waiting)} of three calls still wait after 10 s")
        ask(tasks[which].cancelled(), "the one that was cancelled does not count as cancelled")
        for i, task in enumerate(tasks):
            if i != which:
                if task.cancelled():
                    raise Failed("another caller was cancelled with it")
                equal(task.result(), 2, "answer of another caller")

    asyncio.run(main())


@case("the first of three callers is cancelled: the other two get their answer", "flight", "async")
def leader_cancelled(tool: Tool, home: Path) -> None:
    _cancel(tool, 0)


@case("the second of three callers is cancelled: the other two get their answer", "flight", "async")
def follower_cancelled(tool: Tool, home: Path) -> None:
    _cancel(tool, 1)


@case("the function fails: nobody waits for ever, and the next call asks anew", "flight", "sync")
def flight_that_fails(tool: Tool, home: Path) -> None:
    runs, errors = [], []

    def predict(x):
        runs.append(1)
        if len(runs) == 1:
            time.sleep(0.4)
            raise LookupError("once")
        return x

    call = tool.flown(predict)

    def one():
        try:
            call(1)
        except LookupError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, daemon=True) for _ in range(4)]
    for each in threads:
        each.start()
        time.sleep(0.02)
    for each in threads:
        each.join(10)
    ask(not any(each.is_alive() for each in threads), "a caller still waits after 10 s")
    ask(errors, "the error reached nobody")
    equal(call(1), 1, "answer of the next call")


@case("a function that asks itself the same question again does not wait for itself", "flight", "sync", limit=15)
def flight_into_itself(tool: Tool, home: Path) -> None:
    depth = []

    def predict(x):
        depth.append(1)
        return call(x) + 1 if len(depth) < 3 else 0

    call = tool.flown(predict)
    box = []
    thread = threading.Thread(target=lambda: box.append(call(1)), daemon=True)
    thread.start()
    thread.join(8)
    ask(box, "it waits for itself")
    equal(box[0], 2, "answer")
