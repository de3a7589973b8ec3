"""The same answer and the same error as the bare function."""

from __future__ import annotations

import dataclasses
import enum
import io
import threading
import time
import traceback
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from benchmarks.gauntlet.case import ask, case, equal, raised
from benchmarks.gauntlet.tool import Tool

Point = namedtuple("Point", "x y")  # noqa: PYI024 - without annotations, as older code has them


class Colour(enum.IntEnum):
    RED = 1


class Late(Exception):
    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(code)
        self.where = where


class Halt(BaseException):
    pass


@case("the very object that the function returns: None, NaN, a list, a class, an exception, a lambda", "wrap", "sync")
def same_value(tool: Tool, home: Path) -> None:
    def give(value):
        return value

    wrapped = tool.wrap(give)
    for value in (
        None,
        0,
        False,
        "",
        b"",
        float("nan"),
        [],
        {},
        (),
        object(),
        int,
        ValueError("x"),
        lambda: 1,
        NotImplemented,
        ...,
    ):
        ask(wrapped(value) is value, f"another object than the function returned, for a {type(value).__name__}")


@case("types that are more than their annotation: defaultdict as dict, named tuple as tuple, IntEnum as int", "wrap", "sync")
def same_types(tool: Tool, home: Path) -> None:
    def a_dict(value: dict) -> str:
        return type(value).__name__

    def a_tuple(value: tuple) -> Any:
        return value.x

    def an_int(value: int) -> str:
        return type(value).__name__

    counts = defaultdict(int, {"a": 1})
    equal(tool.wrap(a_dict)(counts), "defaultdict", "type of the argument inside")
    equal(tool.wrap(a_dict)(OrderedDict(a=1)), "OrderedDict", "type of the argument inside")
    equal(tool.wrap(a_tuple)(Point(3, 4)), 3, "field of a named tuple")
    equal(tool.wrap(an_int)(Colour.RED), "Colour", "type of the argument inside")


@case("a function that changes the caller's list or dict in place changes the caller's", "wrap", "sync")
def same_arguments(tool: Tool, home: Path) -> None:
    def fill(numbers: list[int], into: dict[str, int], other):
        numbers.append(3)
        into["n"] = 3
        other.append(3)

    numbers, into, other = [1, 2], {"a": 1}, []
    tool.wrap(fill)(numbers, into, other)
    equal((numbers, into, other), ([1, 2, 3], {"a": 1, "n": 3}, [3]), "what the caller has afterwards")


@case("the very exception: type, arguments, attributes, cause, notes", "wrap", "sync")
def same_exception(tool: Tool, home: Path) -> None:
    error, cause = Late(7, where="here"), KeyError("k")
    error.add_note("as told")

    def fail(x):
        raise error from cause

    got = raised(tool.wrap(fail), 1)
    ask(got is error, f"a {type(got).__name__} instead of the function's own exception")
    equal(got.args, (7,), "arguments")
    equal(got.where, "here", "attribute")
    ask(got.__cause__ is cause, "the cause is another")
    ask("as told" in getattr(got, "__notes__", ()), "the note is gone")


@case("an ExceptionGroup stays a group, so that except* works", "wrap", "sync")
def same_group(tool: Tool, home: Path) -> None:
    group = ExceptionGroup("two", [ValueError("a"), TypeError("b")])

    def fail(x):
        raise group

    got = raised(tool.wrap(fail), 1)
    ask(got is group, f"a {type(got).__name__} instead of the group")
    equal([type(each).__name__ for each in group.exceptions], ["ValueError", "TypeError"], "its members")


@case("an error that was raised while another was handled keeps that one as its context; so does the caller's", "wrap", "sync")
def same_context(tool: Tool, home: Path) -> None:
    def fail(x):
        if x:
            try:
                raise KeyError("inner")
            except KeyError:
                raise LookupError("outer")  # noqa: B904 - that is the case
        raise LookupError("outer")

    wrapped = tool.wrap(fail)
    for inside, expected in ((True, KeyError), (False, ZeroDivisionError)):
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            got = raised(wrapped, inside)
        equal(type(got.__context__), expected, "what was being handled when it was raised")


@case("an exception that nobody may change, as a frozen dataclass is one", "wrap", "sync")
def frozen_exception(tool: Tool, home: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    error = Frozen(7)

    def fail(x):
        raise error

    got = raised(tool.wrap(fail), 1)
    ask(got is error, f"a {type(got).__name__} instead of the function's own exception")


@case("arguments that are annotated as Iterable or IO: a list is gone through twice, a file is read", "wrap", "sync")
def same_iterables(tool: Tool, home: Path) -> None:
    def mean(numbers: Iterable[float]) -> float:
        return sum(numbers) / len(list(numbers))

    def read(file: IO[str]) -> str:
        return file.read()

    equal(tool.wrap(mean)([1.0, 2.0, 6.0]), 3.0, "mean of a list")
    equal(tool.wrap(read)(io.StringIO("text")), "text", "what was read")


@case("the traceback ends in the function's own line", "wrap", "sync")
def same_traceback(tool: Tool, home: Path) -> None:
    def fail(x):
        raise LookupError("here")  # this line

    got = raised(tool.wrap(fail), 1)
    frames = traceback.extract_tb(got.__traceback__)
    equal(frames[-1].name, "fail", "innermost frame")
    ask("this line" in (frames[-1].line or ""), "the traceback ends in another line")


@case("KeyboardInterrupt, SystemExit and any other BaseException pass at once, after one run", "wrap", "sync")
def base_exceptions(tool: Tool, home: Path) -> None:
    for kind in (KeyboardInterrupt, SystemExit, Halt):
        runs = []

        def fail(x, kind=kind, runs=runs):
            runs.append(1)
            raise kind("now")

        got = raised(tool.wrap(fail), 1)
        ask(type(got) is kind, f"{type(got).__name__} instead of {kind.__name__}")
        equal(len(runs), 1, f"runs of a function that raised {kind.__name__}")


@case("StopIteration and the function's own TimeoutError stay what they are", "wrap", "sync")
def odd_exceptions(tool: Tool, home: Path) -> None:
    for error in (StopIteration(3), TimeoutError("its own"), StopAsyncIteration(), RecursionError("its own")):

        def fail(x, error=error):
            raise error

        got = raised(tool.wrap(fail), 1)
        ask(got is error, f"{type(got).__name__} ({got}) instead of {type(error).__name__}")


@case("every way of passing arguments: by position only, by keyword only, defaults, *args, **kwargs", "wrap", "sync")
def signatures(tool: Tool, home: Path) -> None:
    def odd(a, /, b, c=3, *rest, d, e=5, **more):
        return a, b, c, rest, d, e, more

    wrapped = tool.wrap(odd)
    equal(wrapped(1, 2, d=4), odd(1, 2, d=4), "result")
    equal(wrapped(1, b=2, d=4, a=9), odd(1, b=2, d=4, a=9), "result")
    equal(wrapped(1, 2, 30, 40, 50, d=4, e=6, f=7), odd(1, 2, 30, 40, 50, d=4, e=6, f=7), "result")
    equal(wrapped(*range(3), d=None, **{"x y": 1}), odd(*range(3), d=None, **{"x y": 1}), "result")


@case("parameters that are called like a wrapper's own: fn, func, args, kwargs, self, name, key, timeout", "wrap", "sync")
def parameter_names(tool: Tool, home: Path) -> None:
    def clash(fn, func, args, kwargs, self, name, key, timeout, call, guard=None, wrapped=None, function=None):
        return [fn, func, args, kwargs, self, name, key, timeout, call, guard, wrapped, function]

    given = dict(fn=1, func=2, args=3, kwargs=4, self=5, name=6, key=7, timeout=8, call=9, guard=10, wrapped=11, function=12)
    equal(tool.wrap(clash)(**given), list(range(1, 13)), "result")

    def open_to_all(**options):
        return options

    equal(tool.wrap(open_to_all)(**given), given, "result of **kwargs")


@case("a call of the wrong shape is Python's TypeError, and the function does not run", "wrap", "sync")
def wrong_shape(tool: Tool, home: Path) -> None:
    runs = []

    def two(a, b):
        runs.append(1)

    wrapped = tool.wrap(two)
    for args, kwargs in (((1,), {}), ((1, 2, 3), {}), ((1,), {"c": 2}), ((1, 2), {"a": 1})):
        got = raised(wrapped, *args, **kwargs)
        ask(type(got) is TypeError, f"{type(got).__name__} instead of TypeError")
    equal(len(runs), 0, "runs")


@case("a mutable default stays the same object from call to call", "wrap", "sync")
def mutable_default(tool: Tool, home: Path) -> None:
    def collect(x, into=[]):  # noqa: B006 - that is the case
        into.append(x)
        return len(into)

    wrapped = tool.wrap(collect)
    equal([wrapped(1), wrapped(1), wrapped(x=1)], [1, 2, 3], "answers")


@case("a function that calls itself, 80 deep, and from a thread of its own", "wrap", "sync")
def recursion(tool: Tool, home: Path) -> None:
    def down(n, aside=False):
        if n == 0:
            return 0
        if aside:
            box = []
            other = threading.Thread(target=lambda: box.append(wrapped(1)))
            other.start()
            other.join(10)
            ask(box, "the call in the other thread still waits after 10 s")
            return box[0]
        return 1 + wrapped(n - 1)

    wrapped = tool.wrap(down)
    equal(wrapped(80), 80, "depth")
    equal(wrapped(1, aside=True), 1, "answer of the call in the thread")


@case("calls in several threads run side by side, and each gets its own answer", "wrap", "sync")
def side_by_side(tool: Tool, home: Path) -> None:
    def slow(x):
        time.sleep(0.3)
        return x

    wrapped = tool.wrap(slow)
    wrapped(0)
    got: dict[int, Any] = {}
    threads = [threading.Thread(target=lambda i=i: got.update({i: wrapped(i)})) for i in range(6)]
    start = time.monotonic()
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    took = time.monotonic() - start
    equal(got, {i: i for i in range(6)}, "answers")
    ask(took < 1.2, f"six calls of 0.3 s in six threads took {took:.1f} s")


@case("nothing is written to standard output", "wrap", "sync")
def quiet(tool: Tool, home: Path) -> None:
    out = home / "stdout.txt"
    before = out.stat().st_size if out.exists() else 0

    def give(x):
        return x

    wrapped = tool.wrap(give)
    for i in range(20):
        wrapped(i)
    tool.finish()
    if out.exists():
        text = out.read_text()[before:]
        ask(not text.strip(), f"it printed {text.strip().splitlines()[0][:80] if text.strip() else ''!r}")
