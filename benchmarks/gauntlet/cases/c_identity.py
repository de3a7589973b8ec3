"""What others see of the function: signature, flags, types, source."""

from __future__ import annotations

import copy
import doctest
import inspect
import typing
import unittest.mock
import weakref
from pathlib import Path

from benchmarks.gauntlet.case import ask, case, equal, raised
from benchmarks.gauntlet.tool import Tool


def documented(income: float, debts: "float" = 1.0, *, region: str = "north") -> float:
    """Return a share.

    >>> 1 + 1
    2
    """
    return debts / income


@case("inspect.signature, names, docstring, type hints", "wrap", "sync")
def signature(tool: Tool, home: Path) -> None:
    wrapped = tool.wrap(documented)
    equal(str(inspect.signature(wrapped)), str(inspect.signature(documented)), "signature")
    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        equal(getattr(wrapped, name, None), getattr(documented, name), name)
    equal(typing.get_type_hints(wrapped), typing.get_type_hints(documented), "type hints")


@case("iscoroutinefunction is true of an async function and false of a plain one", "wrap", "async")
def coroutine_flag(tool: Tool, home: Path) -> None:
    async def slow(x: int) -> int:
        return x

    wrapped = tool.wrap(slow)
    ask(inspect.iscoroutinefunction(wrapped), "iscoroutinefunction is False")
    equal(str(inspect.signature(wrapped)), str(inspect.signature(slow)), "signature")
    if "sync" in tool.claimed(tool.way):
        ask(not inspect.iscoroutinefunction(tool.wrap(lambda x: x)), "iscoroutinefunction is True of a plain function")


@case("isgeneratorfunction is true of a generator", "wrap", "generator")
def generator_flag(tool: Tool, home: Path) -> None:
    def stream(x: int):
        yield x

    ask(inspect.isgeneratorfunction(tool.wrap(stream)), "isgeneratorfunction is False")


@case("isasyncgenfunction is true of an async generator", "wrap", "async-generator")
def async_generator_flag(tool: Tool, home: Path) -> None:
    async def stream(x: int):
        yield x

    ask(inspect.isasyncgenfunction(tool.wrap(stream)), "isasyncgenfunction is False")


@case("it is a function still: isfunction, getsource, __wrapped__, doctest finds its examples", "wrap", "sync")
def a_function_still(tool: Tool, home: Path) -> None:
    wrapped = tool.wrap(documented)
    ask(inspect.isfunction(wrapped), f"it is a {type(wrapped).__name__}")
    ask("return debts / income" in inspect.getsource(wrapped), "getsource gives another source")
    ask(inspect.unwrap(wrapped) is documented, "__wrapped__ does not lead to the function")
    found = doctest.DocTestFinder().find(wrapped, "documented", globs={})
    ask(any(each.examples for each in found), "doctest does not find its example")


@case("copy, deepcopy, weak references, dict keys, attributes of one's own, create_autospec", "wrap", "sync")
def ordinary_object(tool: Tool, home: Path) -> None:
    wrapped = tool.wrap(documented)
    for duplicate in (copy.copy(wrapped), copy.deepcopy(wrapped)):
        equal(duplicate(2.0), 0.5, "answer of a copy")
    ask(weakref.ref(wrapped)() is wrapped, "the weak reference is dead")
    ask({wrapped: 1}[wrapped] == 1, "not usable as a key")
    wrapped.of_mine = 3
    equal(wrapped.of_mine, 3, "attribute")
    stand_in = unittest.mock.create_autospec(wrapped, return_value=1)
    equal(stand_in(1.0, region="south"), 1, "answer of the autospec")
    ask(isinstance(raised(stand_in), TypeError), "the autospec takes a call of the wrong shape")
