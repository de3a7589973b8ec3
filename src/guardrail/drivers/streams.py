"""Drives generators: judged up to the first item, then streamed with the permit held; nothing is held across a yield.

The call begins at the first `next()`. Context is set for each step and restored by value, since a consumer may take the
steps from different contexts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any

from guardrail import clock
from guardrail.call import Call, current
from guardrail.drivers import asynchronous, sync
from guardrail.drivers.ending import finish
from guardrail.telemetry import traces

if TYPE_CHECKING:
    from concurrent.futures import Future

    from guardrail.guard import Guard
    from guardrail.plan import Plan

_get = current.get
_put = current.set


class _Ended:
    """Stands for the first item of a generator that had none: a StopIteration must not pass through the policies."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class _Stream:
    """The items of one call, and the permits held until they end (or until abandoned work ends, on its thread)."""

    def __init__(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.call = Call(plan, args, kwargs, _get(), clock.now())
        self.items: Any = None
        self.open = False  # the first item has come
        self.ended = False
        self.permits: deque[Callable[[], None]] = deque()

    def hold(self) -> None:
        """Take over what the attempt holds; it goes back at the end of the stream, not of the first item."""
        self.permits.extend(self.call.held)
        self.call.held = (self.first_over,)

    def first_over(self) -> None:
        if not self.open:
            self.drop_permits()

    def drop_permits(self) -> None:
        """Give every permit back once, whichever thread comes first."""
        while True:
            try:
                give_back = self.permits.popleft()
            except IndexError:
                return
            give_back()

    def opened(self) -> bool:
        """Note that the first item has come; return whether anyone still wants it."""
        self.open = True
        if self.ended:
            self.drop_permits()
        return not self.ended

    def end(self, error: BaseException | None) -> Future[None] | None:
        self.ended = True
        if self.open:
            self.drop_permits()
        call = self.call
        call.result = None  # the items went to the consumer; the record keeps none
        return finish(call, None if isinstance(error, GeneratorExit) and self.open else error)

    def opens(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Return what starts a generator (or any iterable, from a fallback) and gives its first item."""

        def first(*args: Any, **kwargs: Any) -> Any:
            items = fn(*args, **kwargs)
            self.items = items = items if hasattr(items, "send") else (item for item in items)
            try:
                item = next(items)
            except StopIteration as end:
                item = _Ended(end.value)
            if not self.opened():
                items.close()
            return item

        return first

    def aopens(self, fn: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        """Return what starts an async generator (or any iterable, from a fallback) and gives its first item."""

        async def first(*args: Any, **kwargs: Any) -> Any:
            items = fn(*args, **kwargs)
            self.items = items = items if hasattr(items, "asend") else _as_async(items)
            try:
                item = await anext(items)
            except StopAsyncIteration:
                item = _Ended(None)
            if not self.opened():
                await items.aclose()
            return item

        return first


async def _as_async(items: Any) -> AsyncGenerator[Any, Any]:
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def holding(perform: Callable[..., Any] | None) -> Callable[[Call, Callable[..., Any]], Any]:
    """Return a way of running the first step that keeps the permits for the whole stream."""

    def perform_first(call: Call, first: Callable[..., Any]) -> Any:
        call.stream.hold()
        return first(*call.args, **call.kwargs) if perform is None else perform(call, first)

    return perform_first


def invoke(guard: Guard, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Generator[Any, Any, Any]:
    """Answer one call of a guarded generator function, from its first `next()` on."""
    plan = guard.planned or guard.plan
    if plan.bypass:
        return (yield from plan.fn(*args, **kwargs))
    stream = _Stream(plan, args, kwargs)
    call = stream.call
    call.stream = stream
    call.opens = stream.opens

    def step(advance: Callable[..., Any], *sent: Any) -> Any:
        outer = _get()
        _put(call)
        span = call.span
        if span is not None:
            traces.resume(span)
        try:
            return advance(*sent)
        finally:
            if call.span is not None:
                traces.pause(call.span)
            _put(outer)

    error: BaseException | None = None
    try:
        if plan.otel._TRACER_PROVIDER is not None:  # noqa: SLF001 - as in the plain driver
            step(traces.begin, call)
        item = step(sync.run, call, stream.opens(plan.fn))
        if item.__class__ is _Ended:
            return item.value
        call.deadline = call.until = None  # what follows is the consumer's time
        while True:
            try:
                sent = yield item
            except GeneratorExit:
                step(stream.items.close)
                raise
            except BaseException as thrown:  # noqa: BLE001 - the consumer's throw() belongs to the generator
                item = step(stream.items.throw, thrown)
            else:
                item = step(next, stream.items) if sent is None else step(stream.items.send, sent)
    except StopIteration as end:
        return end.value
    except BaseException as problem:
        error = problem
        raise
    finally:
        ack = stream.end(error)
        del error
        if ack is not None:
            sync.await_record(call, ack)


async def _begin_span(call: Call) -> None:
    traces.begin(call)


async def ainvoke(  # noqa: PLR0915 - one generator that plays the part of another
    guard: Guard, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AsyncGenerator[Any, Any]:
    """Answer one call of a guarded async generator function, from its first `anext()` on."""
    plan = guard.planned or guard.plan
    stream = _Stream(plan, args, kwargs)
    call = stream.call
    call.stream = stream
    call.opens = stream.aopens

    async def step(advance: Callable[..., Awaitable[Any]], *sent: Any) -> Any:
        if plan.bypass:
            return await advance(*sent)
        outer = _get()
        _put(call)
        span = call.span
        if span is not None:
            traces.resume(span)
        try:
            return await advance(*sent)
        finally:
            if call.span is not None:
                traces.pause(call.span)
            _put(outer)

    error: BaseException | None = None
    try:
        if plan.bypass:
            item = await stream.aopens(plan.fn)(*args, **kwargs)
        else:
            if plan.otel._TRACER_PROVIDER is not None:  # noqa: SLF001 - as in the plain driver
                await step(_begin_span, call)
            item = await step(asynchronous.run, call, stream.aopens(plan.fn))
        if item.__class__ is _Ended:
            return
        call.deadline = call.until = None  # what follows is the consumer's time
        while True:
            try:
                sent = yield item
            except GeneratorExit:
                await step(stream.items.aclose)
                raise
            except BaseException as thrown:  # noqa: BLE001 - the consumer's athrow() belongs to the generator
                item = await step(stream.items.athrow, thrown)
            else:
                item = await step(stream.items.asend, sent)
    except StopAsyncIteration:
        return
    except BaseException as problem:
        error = problem
        raise
    finally:
        ack = None if plan.bypass else stream.end(error)
        del error
        if ack is not None:
            await asynchronous.await_record(call, ack)
