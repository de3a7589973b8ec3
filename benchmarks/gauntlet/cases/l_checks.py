"""Checks: what is required is never skipped."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from benchmarks.gauntlet.case import Failed, ask, case, equal, raised
from benchmarks.gauntlet.tool import Tool

ALLOWED = ("read", "list")


@case("a refused call does not run: by position, by keyword, through **", "check", "sync")
def check_by_position_and_keyword(tool: Tool, home: Path) -> None:
    ran = []

    def act(amount: int, action: str = "read") -> str:
        ran.append(action)
        return action

    call = tool.checked(act, "action", ALLOWED)
    ways = {
        "by position": lambda: call(1, "export"),
        "by keyword": lambda: call(1, action="export"),
        "all by keyword": lambda: call(amount=1, action="export"),
        "through **": lambda: call(**dict.fromkeys(("action",), "export"), amount=1),
        "in another case": lambda: call(1, "EXPORT"),
        "with a space": lambda: call(1, "read "),
    }
    for how, ask_for in ways.items():
        try:
            ask_for()
        except Exception:
            ask(not ran, f"refused {how}, but the function ran")
            continue
        raise Failed(f"a call that is not allowed went through {how}")
    equal((call(1, "read"), call(1, action="list")), ("read", "list"), "answers of calls that are allowed")


@case("a refused call does not run, where the argument comes first", "check", "sync")
def check_of_the_first_argument(tool: Tool, home: Path) -> None:
    ran = []

    def act(action: str, amount: int) -> str:
        ran.append(action)
        return action

    call = tool.checked(act, "action", ALLOWED)
    for ask_for in (lambda: call("export", 1), lambda: call(action="export", amount=1), lambda: call("export", amount=1)):
        try:
            ask_for()
        except Exception:
            continue
        raise Failed("a call that is not allowed went through")
    equal(ran, [], "runs")
    equal(call("read", 1), "read", "answer of a call that is allowed")


@case("methods are checked as well", "check", "sync", "method")
def check_of_methods(tool: Tool, home: Path) -> None:
    ran = []

    def act(self, action: str, amount: int = 0) -> str:
        ran.append(action)
        return action

    function = act

    class Agent:
        act = tool.checked(function, "action", ALLOWED)

    agent = Agent()
    for ask_for in (lambda: agent.act("export"), lambda: agent.act(action="export"), lambda: agent.act("export", 1)):
        try:
            ask_for()
        except Exception:
            continue
        raise Failed("a call that is not allowed went through")
    equal(ran, [], "runs")
    equal(agent.act("read"), "read", "answer of a call that is allowed")


@case("async functions are checked as well", "check", "async")
def check_of_async(tool: Tool, home: Path) -> None:
    ran = []

    async def act(action: str, amount: int) -> str:
        ran.append(action)
        return action

    call = tool.checked(act, "action", ALLOWED)

    async def main():
        for ask_for in (lambda: call("export", 1), lambda: call(action="export", amount=1)):
            try:
                await ask_for()
            except Exception:
                continue
            raise Failed("a call that is not allowed went through")
        equal(ran, [], "runs")
        equal(await call("read", 1), "read", "answer of a call that is allowed")

    asyncio.run(main())


@case("from eight threads at once, none of 4,000 refused calls runs", "check", "sync")
def check_in_threads(tool: Tool, home: Path) -> None:
    ran, through = [], []

    def act(action: str, amount: int) -> str:
        if action not in ALLOWED:
            ran.append(action)
        return action

    call = tool.checked(act, "action", ALLOWED)

    def run(n):
        for i in range(500):
            try:
                call("export" if i % 2 else "read", i)
            except Exception:
                continue
            if i % 2:
                through.append(n)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    ask(not ran and not through, f"{len(ran)} refused calls ran, {len(through)} went through")


@case("types are checked by position and by keyword alike", "validate", "sync")
def types_by_position(tool: Tool, home: Path) -> None:
    ran = []

    def predict(income: float, region: str = "north") -> float:
        ran.append(1)
        return income

    call = tool.validated(predict)
    for ask_for in (
        lambda: call("a lot"), lambda: call(income="a lot"), lambda: call(5.0, None), lambda: call(5.0, region=None), lambda: call([5.0]),
    ):  # fmt: skip
        try:
            ask_for()
        except Exception:
            continue
        raise Failed("a value of the wrong type went through")
    equal(ran, [], "runs")
    equal((call(5.0), call(income=5.0, region="south")), (5.0, 5.0), "answers of good calls")


@case("numbers that fit are taken: an int for a float, a numpy number", "validate", "sync", packages=("numpy",))
def numbers_that_fit(tool: Tool, home: Path) -> None:
    import numpy as np

    def predict(income: float) -> float:
        return income * 2.0

    call = tool.validated(predict)
    for value in (3, np.float64(3), np.float32(3), np.int64(3)):
        got = call(value)
        ask(got == 6.0, f"{value!r} gave {got!r}")


@case("a check that fails itself refuses the call", "check", "sync")
def check_that_fails(tool: Tool, home: Path) -> None:
    ran = []

    def act(action: str, amount: int) -> str:
        ran.append(action)
        return action

    class Odd(str):
        __slots__ = ()

        def __eq__(self, other):
            raise RuntimeError("not to be compared")

        __hash__ = None

    call = tool.checked(act, "action", ALLOWED)
    error = raised(call, Odd("export"), 1)
    ask(isinstance(error, Exception), f"{type(error).__name__}")
    equal(ran, [], "runs")
