"""Drives a coroutine function; differs from the plain driver by the word await, and by cancellation as the way to stop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from guardrail import clock
from guardrail.asks import AGAIN, ANSWERED, Ask, Asks, Do, Run, Sleep, Wait
from guardrail.call import MISSING, Call, current
from guardrail.drivers import watchdog
from guardrail.drivers.ending import finish, settled
from guardrail.drivers.sync import ACK_SECONDS, release
from guardrail.policies.budget import too_late
from guardrail.telemetry import traces
from guardrail.theirs import set_context

if TYPE_CHECKING:
    from guardrail.guard import Guard

_get = current.get
_put = current.set


async def invoke(guard: Guard, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Answer one call of a guarded coroutine function."""
    plan = guard.planned or guard.plan
    if plan.bypass:
        return await plan.fn(*args, **kwargs)
    parent = _get()
    call = Call(plan, args, kwargs, parent, clock.now())
    _put(call)
    if plan.otel._TRACER_PROVIDER is not None:  # noqa: SLF001 - the public getter costs 0.9 µs
        traces.begin(call)
    try:
        result = await run(call, plan.fn)
    except BaseException as error:
        _put(parent)
        ack = finish(call, error)
        if ack is not None:
            await await_record(call, ack)
        raise
    _put(parent)
    ack = finish(call, None)
    if ack is not None:
        await await_record(call, ack)
    return result


async def run(call: Call, fn: Callable[..., Any]) -> Any:  # noqa: C901, PLR0912 - flat, since every call goes through it
    """Take a call through its plan and return the answer, or raise what it ended with."""
    plan = call.plan
    ins, depth = plan.first, 0
    while True:
        try:
            for depth, enter in ins:  # noqa: B007 - how deep it came is what the way out needs
                turn = enter(call)
                if turn is not None:
                    if turn.__class__ is GeneratorType:
                        turn = await talk(turn, call)
                    if turn is ANSWERED:
                        break
            else:
                depth = plan.depth
                call.attempts += 1
                perform = plan.perform
                try:
                    if perform is not None:
                        call.result = await perform(call, fn)
                    else:
                        call.result = await fn(*call.args, **call.kwargs)
                finally:
                    if call.held:
                        release(call)
        except BaseException as error:  # noqa: BLE001 - handed to the policies, and raised again below unless one recovers
            call.error = error
            if call.held:
                release(call)
        for at, leave in plan.good if call.error is None and depth == plan.depth else plan.outs[depth]:
            try:
                turn = leave(call)
                if turn is not None:
                    if turn.__class__ is GeneratorType:
                        turn = await talk(turn, call)
                    if turn is AGAIN:
                        ins, depth = plan.ins[at + 1], at + 1
                        break
            except BaseException as error:  # noqa: BLE001 - as above
                call.error = error
        else:
            break
    end = call.error
    if end is None:
        return call.result
    call.error = None
    call.result = MISSING
    context = end.__context__
    try:
        raise end
    finally:
        if context is not None:
            set_context(end, context)  # `raise` puts there what the caller is handling, over what the function was handling
        del end, context  # or the traceback would hold this frame, and the frame the error


async def bounded(call: Call, fn: Callable[..., Awaitable[Any]]) -> Any:
    """Await the function until the end of the attempt, then cancel it: the async way of `enforce="thread"`."""
    until = call.until or call.deadline
    if until is None:
        return await fn(*call.args, **call.kwargs)
    loop = asyncio.get_running_loop()
    limit = asyncio.timeout_at(loop.time() + (until - clock.now()))
    watchdog.watch(call)  # who blocks the event loop cannot be cancelled, but is reported
    try:
        async with limit:
            value = await fn(*call.args, **call.kwargs)
    except TimeoutError as error:
        if limit.expired():
            raise too_late(call, "the function was cancelled") from error
        raise  # the function's own
    finally:
        watchdog.unwatch(call)
    if limit.expired():  # it swallowed its cancellation and answered too late
        raise too_late(call, "the function ignored its cancellation")
    return value


async def talk(asks: Asks, call: Call) -> str | None:
    """Answer the asks of a hook that has to wait, and return its turn."""
    try:
        ask = next(asks)
        while True:
            try:
                answer = await perform_ask(ask, call)
            except BaseException as error:  # noqa: BLE001 - the hook decides what an error of the world means
                ask = asks.throw(error)
            else:
                ask = asks.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def perform_ask(ask: Ask, call: Call) -> Any:
    """Do one thing in the world without blocking the event loop."""
    kind = ask.__class__
    if kind is Sleep:
        return await clock.asleep(ask.seconds)  # type: ignore[union-attr]
    if kind is Wait:
        return await came(ask.signal, ask.until)  # type: ignore[union-attr]
    if kind is Run:
        return await run_aside(call, ask.fn, ask.until)  # type: ignore[union-attr]
    if kind is Do:
        return await ask.port.later(*ask.args)  # type: ignore[union-attr]
    raise TypeError(f"a hook yielded a {kind.__name__}, which is no ask")


async def came(signal: Future[Any], until: float | None) -> bool:
    """Wait for a signal until a moment (monotonic); return whether it came.

    Never `asyncio.wrap_future`: it would cancel the shared future when one of those who wait is cancelled.
    """
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def tell(_: Future[Any]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(event.set)

    signal.add_done_callback(tell)
    try:
        async with asyncio.timeout(None if until is None else max(0.0, until - clock.now())):
            await event.wait()
    except TimeoutError:
        return signal.done()
    return True


async def run_aside(call: Call, fn: Callable[..., Any], until: float | None) -> tuple[Any, BaseException | None]:
    """Run another function of the user on the call's arguments, coroutine function or not; its error is an answer too."""
    call.until = until
    if call.opens is not None:
        fn = call.opens(fn)
    try:
        value = fn(*call.args, **call.kwargs)
        if inspect.isawaitable(value):
            async with asyncio.timeout(None if until is None else max(0.0, until - clock.now())):
                value = await value
    except Exception as error:  # noqa: BLE001 - given to the policy as data
        return None, error
    finally:
        call.until = None
    return value, None


async def await_record(call: Call, ack: Future[None]) -> None:
    """Hold the answer until its record is durable, within a bound."""
    durable = await came(ack, clock.now() + ACK_SECONDS)
    settled(call, durable, ack.exception(0) if durable else None)
