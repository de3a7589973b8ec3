"""Every kind of function: methods, async, generators."""

from __future__ import annotations

import abc
import asyncio
import functools
from pathlib import Path

from benchmarks.gauntlet.case import Failed, ask, case, equal, raised
from benchmarks.gauntlet.tool import Tool


@case("methods: two objects, through the class, overridden, super()", "wrap", "sync", "method")
def methods(tool: Tool, home: Path) -> None:
    class Model:
        def __init__(self, weight):
            self.weight = weight

        @tool.wrap
        def predict(self, x):
            return self.weight * x

    class Better(Model):
        @tool.wrap
        def predict(self, x):
            return super().predict(x) + 1

    one, two = Model(2), Model(3)
    equal((one.predict(10), two.predict(10), one.predict(x=1)), (20, 30, 2), "answers of two objects")
    equal(Model.predict(one, 5), 10, "answer through the class")
    equal(Better(2).predict(10), 21, "answer of the subclass")
    ask(one.predict.__self__ is one, "__self__ of the bound method is another object")
    ask(one.predict == one.predict and one.predict != two.predict, "bound methods do not compare as Python's do")


@case("methods of awkward objects: unhashable, __slots__, false in a test, with an __eq__ that raises", "wrap", "sync", "method")
def awkward_objects(tool: Tool, home: Path) -> None:
    class Awkward:
        __slots__ = ("weight",)
        __hash__ = None

        def __init__(self):
            self.weight = 2

        def __eq__(self, other):
            raise RuntimeError("not to be compared")

        def __len__(self):
            return 0

        @tool.wrap
        def predict(self, x):
            return self.weight * x

        @tool.wrap
        def __call__(self, x):
            return self.weight + x

        @tool.wrap
        def __getitem__(self, at):
            return at

    thing = Awkward()
    equal((thing.predict(4), thing(4), thing["k"]), (8, 6, "k"), "answers")


@case("classmethods and staticmethods, with the decorator below them; a subclass gets its own class", "wrap", "sync", "method")
def class_methods(tool: Tool, home: Path) -> None:
    class Model:
        factor = 2

        @classmethod
        @tool.wrap
        def of(cls, x):
            return cls.factor * x

        @staticmethod
        @tool.wrap
        def twice(x):
            return 2 * x

        @property
        @tool.wrap
        def size(self):
            return self.factor

    class Other(Model):
        factor = 3

    equal((Model.of(1), Other.of(1), Other().of(x=2)), (2, 3, 6), "answers of a classmethod")
    equal((Model.twice(4), Other().twice(4)), (8, 8), "answers of a staticmethod")
    equal((Model().size, Other().size), (2, 3), "values of a property")


@case("abstract methods stay abstract, partialmethod and partial work above it", "wrap", "sync", "method")
def partial_methods(tool: Tool, home: Path) -> None:
    class Base(abc.ABC):
        @abc.abstractmethod
        @tool.wrap
        def predict(self, x): ...

    class Model(Base):
        @tool.wrap
        def predict(self, x, times=1):
            return x * times

        thrice = functools.partialmethod(predict, times=3)

    ask(isinstance(raised(Base), TypeError), "an abstract class was instantiated")
    equal(Model().thrice(2), 6, "answer of a partialmethod")
    equal(functools.partial(Model().predict, 5)(times=2), 10, "answer of a partial")


@case("a partial and a callable object can be wrapped themselves", "wrap", "sync", "callable")
def callables(tool: Tool, home: Path) -> None:
    class Model:
        def __call__(self, x):
            return 3 * x

    def scaled(x, by):
        return x * by

    equal(tool.wrap(functools.partial(scaled, by=4))(2), 8, "answer of a partial")
    equal(tool.wrap(Model())(2), 6, "answer of an object")
    equal(tool.wrap(Model().__call__)(2), 6, "answer of a bound method")


@case("another decorator below that hands the function an argument, or adds one, as unittest.mock.patch does", "wrap", "sync")
def decorators_below(tool: Tool, home: Path) -> None:
    def with_session(fn):
        @functools.wraps(fn)
        def inner(*args, extra=None, **kwargs):
            return fn("session", *args, **kwargs), extra

        return inner

    @tool.wrap
    @with_session
    def predict(session, x):
        return session, x

    equal(predict(1), (("session", 1), None), "answer by position")
    equal(predict(x=2, extra=3), (("session", 2), 3), "answer by keyword")
    equal(predict(1, extra=4), (("session", 1), 4), "answer by both")


@case("async functions: the same object, the same exception, not begun before they are awaited", "wrap", "async")
def coroutines(tool: Tool, home: Path) -> None:
    error, token, begun = LookupError("x"), object(), []

    async def give(value):
        begun.append(1)
        await asyncio.sleep(0)
        if value is error:
            raise value
        return value

    wrapped = tool.wrap(give)

    async def main():
        waiting = wrapped(token)
        await asyncio.sleep(0)
        equal(len(begun), 0, "runs before it was awaited")
        ask(await waiting is token, "another object")
        try:
            await wrapped(error)
        except BaseException as got:
            ask(got is error, f"a {type(got).__name__} instead of the function's own exception")
        else:
            raise Failed("the exception is gone")
        equal(await asyncio.gather(*(wrapped(i) for i in range(50))), list(range(50)), "50 at once")

    asyncio.run(main())


@case("async methods, and a TaskGroup in which one fails", "wrap", "async", "method")
def async_methods(tool: Tool, home: Path) -> None:
    class Model:
        @tool.wrap
        async def predict(self, x):
            await asyncio.sleep(0)
            if x < 0:
                raise ValueError("negative")
            return x + 1

        @classmethod
        @tool.wrap
        async def of(cls, x):
            return cls.__name__, x

    async def main():
        model = Model()
        equal((await model.predict(1), await model.predict(x=2), await Model.of(3)), (2, 3, ("Model", 3)), "answers")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(model.predict(-1))
                group.create_task(model.predict(5))
        except ExceptionGroup as got:
            equal([type(each) for each in got.exceptions], [ValueError], "errors of the group")

    asyncio.run(main())


@case("cancelling the caller cancels the function, whose finally runs; nobody swallows it", "wrap", "async")
def cancellation(tool: Tool, home: Path) -> None:
    seen = []

    async def slow(x):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            seen.append("finally")

    wrapped = tool.wrap(slow)

    async def main():
        task = asyncio.ensure_future(wrapped(1))
        await asyncio.sleep(0.2)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        ask(done, "still running 5 s after it was cancelled")
        ask(task.cancelled(), "the task does not count as cancelled")
        equal(seen, ["cancelled", "finally"], "what the function saw")
        try:
            async with asyncio.timeout(0.2):
                await wrapped(2)
        except TimeoutError:
            return
        raise Failed("asyncio.timeout() around it had no effect")

    asyncio.run(main())


@case("generators: lazy, send, throw, return value, and close() runs their finally", "wrap", "generator")
def generators(tool: Tool, home: Path) -> None:
    log = []

    def count(n):
        log.append("begun")
        try:
            for i in range(n):
                try:
                    got = yield i
                    if got:
                        log.append(got)
                except KeyError:
                    log.append("thrown")
            return "end"
        finally:
            log.append("closed")

    wrapped = tool.wrap(count)
    stream = wrapped(3)
    equal(log, [], "log before the first item")
    equal(list(stream), [0, 1, 2], "items")
    log.clear()
    stream = wrapped(9)
    equal((next(stream), stream.send("hello"), stream.throw(KeyError("k"))), (0, 1, 2), "next, send, throw")
    stream.close()
    equal(log, ["begun", "hello", "thrown", "closed"], "log")

    def outer():
        return (yield from wrapped(2))

    outside = outer()
    items = [next(outside), next(outside)]
    got = raised(next, outside)
    equal((items, type(got), getattr(got, "value", None)), ([0, 1], StopIteration, "end"), "items, end, return value")


@case("generators: the function's exception in the middle, and GeneratorExit when it is left early", "wrap", "generator")
def generators_that_end_early(tool: Tool, home: Path) -> None:
    log, error = [], LookupError("x")

    def stream(fail):
        try:
            yield 1
            if fail:
                raise error
            yield 2
        except GeneratorExit:
            log.append("left")
            raise

    wrapped = tool.wrap(stream)
    items = wrapped(True)
    equal(next(items), 1, "first item")
    ask(raised(next, items) is error, "another exception")
    for _ in wrapped(False):
        break
    equal(log, ["left"], "log")


@case("async generators: items, asend, athrow, aclose runs their finally", "wrap", "async-generator")
def async_generators(tool: Tool, home: Path) -> None:
    log = []

    async def count(n):
        try:
            for i in range(n):
                await asyncio.sleep(0)
                try:
                    got = yield i
                    if got:
                        log.append(got)
                except KeyError:
                    log.append("thrown")
        finally:
            log.append("closed")

    wrapped = tool.wrap(count)

    async def main():
        equal([i async for i in wrapped(3)], [0, 1, 2], "items")
        log.clear()
        stream = wrapped(9)
        got = (await stream.__anext__(), await stream.asend("hello"), await stream.athrow(KeyError("k")))
        equal(got, (0, 1, 2), "anext, asend, athrow")
        await stream.aclose()
        equal(log, ["hello", "thrown", "closed"], "log")

    asyncio.run(main())


@case("async generators: closed by another task, and cancelled in the middle", "wrap", "async-generator")
def async_generators_left(tool: Tool, home: Path) -> None:
    log = []

    async def stream():
        try:
            yield 1
            await asyncio.sleep(60)
            yield 2
        finally:
            log.append("closed")

    wrapped = tool.wrap(stream)

    async def read(items):
        return [i async for i in items]

    async def main():
        items = wrapped()
        await items.__anext__()
        await asyncio.ensure_future(items.aclose())
        equal(log, ["closed"], "log after aclose() in another task")
        task = asyncio.ensure_future(read(wrapped()))
        await asyncio.sleep(0.2)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        ask(done and task.cancelled(), "not cancelled")
        equal(log, ["closed", "closed"], "log after cancellation")

    asyncio.run(main())
