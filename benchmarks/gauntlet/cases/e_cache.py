"""A cache gives the answer to exactly this question."""

from __future__ import annotations

import asyncio
import decimal
import inspect
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.case import ask, case, equal, raised
from benchmarks.gauntlet.tool import Tool


def _caller(fn):
    """Return a plain function that calls a cached one, whether that is async or not, all in one event loop."""
    if not inspect.iscoroutinefunction(fn):
        return fn, lambda: None
    loop = asyncio.new_event_loop()
    return lambda *args, **kwargs: loop.run_until_complete(fn(*args, **kwargs)), loop.close


def _cached(tool: Tool, fn):
    """Cache a function that is given in its plain form; tools for async only get it as an async function."""
    if "sync" in tool.claimed(tool.way):
        return _caller(tool.cached(fn))

    async def slow(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    slow.__name__ = slow.__qualname__ = fn.__name__
    slow.__signature__ = inspect.signature(fn)
    return _caller(tool.cached(slow))


def _wrong(call: Any, question: tuple[Any, ...], expected: object) -> bool:
    """Ask; say whether the answer is another's. A cache that refuses what it cannot key gives no wrong answer."""
    try:
        return bool(call(*question) != expected)
    except TypeError:
        return False


@case("the same question is computed once: by position, by keyword, by default", "cache")
def positional_is_keyword(tool: Tool, home: Path) -> None:
    runs = []

    def predict(income, region="north"):
        runs.append(1)
        return income, region

    call, close = _cached(tool, predict)
    answers = [call(5), call(income=5), call(5, "north"), call(region="north", income=5)]
    close()
    equal(answers, [(5, "north")] * 4, "answers")
    equal(len(runs), 1, "runs")


@case("1, 1.0 and True; 0.0 and -0.0; '1' and 1; b'1' and '1'; None and 'None' are different questions", "cache")
def numbers_apart(tool: Tool, home: Path) -> None:
    def predict(x):
        return repr(x)

    call, close = _cached(tool, predict)
    for value in (1, 1.0, True, 0.0, -0.0, "1", b"1", None, "None", (1,), (1.0,), decimal.Decimal(1), 1 + 0j):
        ask(not _wrong(call, (value,), repr(value)), f"asked for {value!r}, got the answer to an earlier question")
    close()


@case(
    "nested values are told apart: [1, 2] and [[1], 2], {'a': 1} and {'a': True}, (1, 2) and [1, 2], 'a b' and 'a', 'b'", "cache"
)
def nested_apart(tool: Tool, home: Path) -> None:
    def predict(*values):
        return repr(values)

    call, close = _cached(tool, predict)
    questions = [
        ([1, 2],), ([[1], 2],), ((1, 2),), ({"a": 1},), ({"a": True},), ({"a": 1.0},), ("a b",), ("a", "b"), ("a", " b"), ("ab", ""),
        ([1], [2]), ([1, [2]],), (["1, 2"],), ([1.0, 2],), ({1, 2},), (frozenset({1, 2}),),
    ]  # fmt: skip
    for question in questions:
        ask(not _wrong(call, question, repr(question)), f"asked for {question!r}, got the answer to an earlier question")
    close()


@case("1,000 different arrays of 5,000 numbers each never get the answer to another", "cache", packages=("numpy",))
def arrays_apart(tool: Tool, home: Path) -> None:
    import numpy as np

    def predict(x):
        return float(x[2500])

    call, close = _cached(tool, predict)
    wrong = 0
    for i in range(1000):
        x = np.zeros(5000)
        x[2500] = i
        wrong += _wrong(call, (x,), float(i))
    close()
    ask(not wrong, f"{wrong} of 1,000 arrays got the answer to another")


@case("arrays that differ only in dtype, shape, order, sign of zero or one NaN", "cache", packages=("numpy",))
def array_forms_apart(tool: Tool, home: Path) -> None:
    import numpy as np

    def predict(x):
        return f"{x.dtype} {x.shape} {x.flags['F_CONTIGUOUS'] and not x.flags['C_CONTIGUOUS']} {np.signbit(x).sum()} {x.tobytes().hex()}"

    base = np.arange(6, dtype=np.int64).reshape(2, 3)
    forms = [
        base, base.astype(np.float64), base.astype(np.int32), base.reshape(3, 2), base.reshape(6), np.asfortranarray(base),
        base[::-1], base.view(np.float64), np.zeros((2, 3)), -np.zeros((2, 3)), np.full((2, 3), np.nan), base.astype(">i8"),
    ]  # fmt: skip
    call, close = _cached(tool, predict)
    for x in forms:
        ask(not _wrong(call, (x,), predict(x)), f"{x.dtype} {x.shape} got the answer to another array")
    close()


@case("an array that was changed in place is another question", "cache", packages=("numpy",))
def changed_array(tool: Tool, home: Path) -> None:
    import numpy as np

    def predict(x):
        return float(x.sum())

    call, close = _cached(tool, predict)
    x = np.ones(1000)
    ask(not _wrong(call, (x,), 1000.0), "another's answer to the first question")
    x[0] = 5
    ask(not _wrong(call, (x,), 1004.0), "the old answer after the array was changed")
    close()


@case("300 data frames that differ in one cell, a column's name, type or the order of columns", "cache", packages=("pandas",))
def frames_apart(tool: Tool, home: Path) -> None:
    import pandas as pd

    def predict(frame):
        return f"{list(frame.columns)} {[str(t) for t in frame.dtypes]} {frame.to_numpy().tolist()!r}"

    call, close = _cached(tool, predict)
    frames = [pd.DataFrame({"a": range(200), "b": [0] * 150 + [i] + [0] * 49}) for i in range(300)]
    one = pd.DataFrame({"a": [1, 2], "b": [1, 2]})
    frames += [one, one[["b", "a"]], one.rename(columns={"b": "c"}), one.astype(float), one.astype("int32")]
    wrong = sum(_wrong(call, (frame,), predict(frame)) for frame in frames)
    close()
    ask(not wrong, f"{wrong} of {len(frames)} frames got the answer to another")


@case("a cached list or dict that a caller changes does not change for the next one", "cache")
def mutation_of_a_hit(tool: Tool, home: Path) -> None:
    def predict(x):
        return {"scores": [1, 2, 3], "x": x}

    call, close = _cached(tool, predict)
    for _ in range(3):
        answer = call(1)
        equal(answer, {"scores": [1, 2, 3], "x": 1}, "answer")
        answer["scores"].append(99)
        answer["y"] = 1
    close()


@case("a caller that changes the list it asked with does not change the question that was asked", "cache")
def mutation_of_a_question(tool: Tool, home: Path) -> None:
    def predict(x):
        return sum(x)

    call, close = _cached(tool, predict)
    x = [1, 2]
    ask(not _wrong(call, (x,), 3), "another's answer to [1, 2]")
    x.append(3)
    for question, expected in ((x, 6), ([1, 2], 3), ([1, 2, 3], 6)):
        ask(not _wrong(call, (question,), expected), f"a wrong answer to {question}")
    close()


@case("an error is not kept, None is", "cache")
def errors_and_none(tool: Tool, home: Path) -> None:
    runs = []

    def predict(x):
        runs.append(x)
        if x == "bad" and runs.count("bad") == 1:
            raise LookupError("once")

    call, close = _cached(tool, predict)
    ask(isinstance(raised(call, "bad"), LookupError), "another error")
    equal(call("bad"), None, "second answer after an error")
    equal([call(1), call(1), runs.count(1)], [None, None, 1], "two answers of None, runs")
    close()


@case("two functions of one factory, and two objects of one class, never share an answer", "cache", "sync")
def state_apart(tool: Tool, home: Path) -> None:
    def make(factor):
        def predict(x):
            return x * factor

        return tool.cached(predict)

    two, three = make(2), make(3)
    equal((two(10), three(10)), (20, 30), "answers of two closures")


@case("two objects of one class never share an answer", "cache", "method")
def objects_apart(tool: Tool, home: Path) -> None:
    def predict(self, x):
        return x * self.factor

    if "sync" not in tool.claimed(tool.way):

        async def predict(self, x):
            return x * self.factor

    function = predict

    class Model:
        def __init__(self, factor):
            self.factor = factor

        predict = tool.cached(function)

    for factor in range(200):  # each dies before the next is made, so that an id may come again
        call, close = _caller(Model(factor).predict)
        got = call(10)
        close()
        ask(got == factor * 10, f"object {factor} got the answer {got}")


@case("arguments of a class without __eq__ or __repr__ of its own never share an answer", "cache")
def opaque_arguments(tool: Tool, home: Path) -> None:
    class Applicant:
        def __init__(self, income):
            self.income = income

        def __repr__(self):
            return "Applicant()"

    def predict(who):
        return who.income

    call, close = _cached(tool, predict)
    for income in range(200):
        got = call(Applicant(income))
        ask(got == income, f"applicant {income} got the answer {got}")
    close()
