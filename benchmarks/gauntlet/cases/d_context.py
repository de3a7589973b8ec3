"""Context: variables, threads, forks, other processes."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

from benchmarks.gauntlet.case import Failed, ask, case, equal
from benchmarks.gauntlet.tool import Tool

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@case("the function sees the caller's context variables, and the caller sees what it sets", "wrap", "sync")
def context_variables(tool: Tool, home: Path) -> None:
    def look(new):
        seen = WHO.get()
        WHO.set(new)
        return seen

    wrapped = tool.wrap(look)
    WHO.set("ann")
    equal(wrapped("bob"), "ann", "value inside")
    equal(WHO.get(), "bob", "value outside afterwards")


@case("the same in async functions", "wrap", "async")
def async_context_variables(tool: Tool, home: Path) -> None:
    async def look(new):
        await asyncio.sleep(0)
        seen = WHO.get()
        WHO.set(new)
        return seen

    wrapped = tool.wrap(look)

    async def main():
        WHO.set("ann")
        equal(await wrapped("bob"), "ann", "value inside")
        equal(WHO.get(), "bob", "value outside afterwards")

    asyncio.run(main())


@case("a generator sees the variables of who asks for the next item", "wrap", "generator")
def generator_context(tool: Tool, home: Path) -> None:
    def look():
        while True:
            yield WHO.get()

    stream = tool.wrap(look)()
    seen = []
    for name in ("ann", "bob", "cid"):
        WHO.set(name)
        seen.append(next(stream))
    equal(seen, ["ann", "bob", "cid"], "values inside")
    equal(WHO.get(), "cid", "value outside")


@case("under a time limit the function still sees the caller's context variables", "timeout", "sync")
def context_under_a_limit(tool: Tool, home: Path) -> None:
    def look(x):
        return WHO.get()

    WHO.set("ann")
    equal(tool.timed(look, 10.0)(1), "ann", "value inside")


@case("pickled by its name: multiprocessing's map over a function of a module", "wrap", "sync")
def pickled_by_name(tool: Tool, home: Path) -> None:
    def predict(x):
        return x * 2

    predict.__module__, predict.__qualname__ = "gauntlet_user", "predict"
    module = types.ModuleType("gauntlet_user")
    sys.modules["gauntlet_user"] = module
    module.predict = tool.wrap(predict)
    again = pickle.loads(pickle.dumps(module.predict))
    equal(again(4), 8, "answer")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        equal(pool.map_async(module.predict, range(4)).get(20), [0, 2, 4, 6], "answers of a pool")


SHIPPED = """
import sys, cloudpickle
fn = cloudpickle.load(open(sys.argv[1], "rb"))
assert fn(4) == 8, fn(4)
print("arrived")
"""


@case(
    "cloudpickle to another process, before and after calls; a bound method too",
    "wrap",
    "sync",
    "ship",
    packages=("cloudpickle",),
)
def cloudpickled(tool: Tool, home: Path) -> None:
    import cloudpickle

    def make():  # as in a notebook: nothing that the other process could import
        def predict(x):
            return x * 2

        class Model:
            def __init__(self):
                self.by = 2

            def predict(self, x):
                return x * self.by

            predict.__module__ = "__main__"

        predict.__module__ = "__main__"
        Model.__module__ = "__main__"
        Model.predict = tool.wrap(Model.predict)
        return tool.wrap(predict), Model()

    function, model = make()
    for stage in ("before the first call", "after it"):
        for what, target in (("the function", function), ("the method", model.predict)):
            file = home / "shipped.pickle"
            file.write_bytes(cloudpickle.dumps(target))
            environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
            done = subprocess.run(
                [sys.executable, "-c", SHIPPED, str(file)], capture_output=True, text=True, timeout=60, env=environment, cwd=home
            )
            ask("arrived" in done.stdout, f"{what}, {stage}: {(done.stderr.strip().splitlines() or ['nothing came'])[-1]}")
        function(1), model.predict(1)


def _in_child(run) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if run() else 2
        finally:
            os._exit(code)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            ask(status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}")
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise Failed("a call in the forked child did not return within 10 s")


@case("a forked child can call it, though threads of the parent were in the middle of calls", "wrap", "sync")
def forked(tool: Tool, home: Path) -> None:
    def work(x):
        return x + 1

    wrapped = tool.wrap(work)
    over = threading.Event()

    def busy():
        while not over.is_set():
            wrapped(1)

    threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
    for each in threads:
        each.start()
    try:
        for _ in range(5):
            time.sleep(0.05)
            _in_child(lambda: wrapped(41) == 42)
    finally:
        over.set()
    equal(wrapped(1), 2, "answer in the parent afterwards")


@case("a forked child can call it under a time limit, and the limit holds there", "timeout", "sync")
def forked_under_a_limit(tool: Tool, home: Path) -> None:
    def work(seconds):
        time.sleep(seconds)
        return 42

    wrapped = tool.timed(work, 1.0)
    equal(wrapped(0), 42, "answer before the fork")

    def child():
        if wrapped(0) != 42:
            return False
        start = time.monotonic()
        try:
            wrapped(5)
        except BaseException:
            return time.monotonic() - start < 3
        return False

    _in_child(child)
