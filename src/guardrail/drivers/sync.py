"""Drives a plain function: the policies on the way in, the function, the policies on the way out."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from guardrail import clock
from guardrail.asks import AGAIN, ANSWERED, Ask, Asks, Do, Run, Sleep, Wait
from guardrail.call import MISSING, Call, current
from guardrail.drivers.ending import finish, settled
from guardrail.telemetry import traces
from guardrail.theirs import set_context

if TYPE_CHECKING:
    from guardrail.guard import Guard

ACK_SECONDS = 5.0  # the most that an answer waits for its record to become durable

_get = current.get
_put = current.set


def invoke(guard: Guard, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Answer one call of a guarded plain function."""
    plan = guard.planned or guard.plan
    if plan.bypass:
        return plan.fn(*args, **kwargs)
    parent = _get()
    call = Call(plan, args, kwargs, parent, clock.now())
    _put(call)
    if plan.otel._TRACER_PROVIDER is not None:  # noqa: SLF001 - the public getter costs 0.9 µs
        traces.begin(call)
    try:
        result = run(call, plan.fn)
    except BaseException as error:
        _put(parent)
        ack = finish(call, error)
        if ack is not None:
            await_record(call, ack)
        raise
    _put(parent)
    ack = finish(call, None)
    if ack is not None:
        await_record(call, ack)
    return result


def run(call: Call, fn: Callable[..., Any]) -> Any:  # noqa: C901, PLR0912 - flat, since every call goes through it
    """Take a call through its plan and return the answer, or raise what it ended with.

    Hooks are flat calls; only one that must wait returns a generator, whose asks `talk` answers.
    """
    plan = call.plan
    ins, depth = plan.first, 0
    while True:
        try:
            for depth, enter in ins:  # noqa: B007 - how deep it came is what the way out needs
                turn = enter(call)
                if turn is not None:
                    if turn.__class__ is GeneratorType:
                        turn = talk(turn, call)
                    if turn is ANSWERED:
                        break
            else:
                depth = plan.depth
                call.attempts += 1
                perform = plan.perform
                if perform is not None:
                    call.result = perform(call, fn)
                else:
                    try:
                        call.result = fn(*call.args, **call.kwargs)
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
                        turn = talk(turn, call)
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


def release(call: Call) -> None:
    """Give back what the call holds; the work is over."""
    held, call.held = call.held, ()
    for give_back in held:
        give_back()


def talk(asks: Asks, call: Call) -> str | None:
    """Answer the asks of a hook that has to wait, and return its turn."""
    try:
        ask = next(asks)
        while True:
            try:
                answer = perform_ask(ask, call)
            except BaseException as error:  # noqa: BLE001 - the hook decides what an error of the world means
                ask = asks.throw(error)
            else:
                ask = asks.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def perform_ask(ask: Ask, call: Call) -> Any:
    """Do one thing in the world, blocking this thread."""
    kind = ask.__class__
    if kind is Sleep:
        return clock.sleep(ask.seconds)  # type: ignore[union-attr]
    if kind is Wait:
        return came(ask.signal, ask.until)  # type: ignore[union-attr]
    if kind is Run:
        return run_aside(call, ask.fn, ask.until)  # type: ignore[union-attr]
    if kind is Do:
        return ask.port.now(*ask.args)  # type: ignore[union-attr]
    raise TypeError(f"a hook yielded a {kind.__name__}, which is no ask")


def came(signal: Future[Any], until: float | None) -> bool:
    """Wait for a signal until a moment (monotonic); return whether it came."""
    try:
        signal.exception(None if until is None else max(0.0, until - clock.now()))
    except FutureTimeout:
        return signal.done()
    return True


def run_aside(call: Call, fn: Callable[..., Any], until: float | None) -> tuple[Any, BaseException | None]:
    """Run another function of the user on the call's arguments; its error is an answer too."""
    call.until = until
    if call.opens is not None:
        fn = call.opens(fn)
    aside = call.plan.aside
    try:
        value = fn(*call.args, **call.kwargs) if aside is None else aside(call, fn)
    except Exception as error:  # noqa: BLE001 - given to the policy as data
        return None, error
    finally:
        call.until = None
    return value, None


def await_record(call: Call, ack: Future[None]) -> None:
    """Hold the answer until its record is durable, within a bound."""
    until = clock.now() + ACK_SECONDS
    durable = came(ack, until)
    settled(call, durable, ack.exception(0) if durable else None)
