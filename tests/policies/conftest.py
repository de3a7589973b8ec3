"""The clock in a test's hands, and the smallest driver that can perform what a policy asks."""

import asyncio
import inspect
from concurrent.futures import TimeoutError as FutureTimeout
from types import GeneratorType, SimpleNamespace

import pytest

from guardrail import clock, testing
from guardrail.asks import AGAIN, ANSWERED, Do, Sleep, Wait
from guardrail.call import Call, current


@pytest.fixture
def fake_clock():
    """The clock of the library, in the test's hands."""
    with testing.fake_clock() as clock_in_hand:
        yield clock_in_hand


class Driven:
    """A function behind some policies, outermost first. Keeps the last call, with its error, for a test to look at."""

    def __init__(self, fn, *policies, name="bureau", deadline=None):
        self.fn, self.policies, self.name, self.deadline = fn, policies, name, deadline
        self.last = None

    def _begin(self, args):
        parent = current.get()
        call = self.last = Call(SimpleNamespace(name=self.name, fn=self.fn), args, {}, parent, clock.now())
        if self.deadline is not None:
            call.deadline = call.start + self.deadline
        return call, parent

    def __call__(self, *args):
        call, parent = self._begin(args)
        current.set(call)
        try:
            steps = self._steps(call)
            try:
                ask = next(steps)
                while True:
                    try:
                        answer = _perform(ask, call)
                    except BaseException as error:
                        ask = steps.throw(error)
                    else:
                        ask = steps.send(answer)
            except StopIteration:
                pass
        finally:
            current.set(parent)
            call.ended = True
        if call.error is not None:
            raise call.error
        return call.result

    async def later(self, *args):
        """The same for a coroutine function."""
        call, parent = self._begin(args)
        current.set(call)
        try:
            steps = self._steps(call)
            try:
                ask = next(steps)
                while True:
                    try:
                        answer = await _aperform(ask, call)
                    except BaseException as error:
                        ask = steps.throw(error)
                    else:
                        ask = steps.send(answer)
            except StopIteration:
                pass
        finally:
            current.set(parent)
            call.ended = True
        if call.error is not None:
            raise call.error
        return call.result

    def _steps(self, call):
        """The path of a call through the hooks, as one generator of asks; `self.fn` stands for running the function."""
        first = depth = 0
        while True:
            try:
                for depth in range(first, len(self.policies)):
                    enter = getattr(self.policies[depth], "enter", None)
                    turn = enter(call) if enter else None
                    if turn.__class__ is GeneratorType:
                        turn = yield from turn
                    if turn is ANSWERED:
                        break
                else:
                    depth = len(self.policies)
                    call.attempts += 1
                    try:
                        call.result = yield self.fn
                    finally:
                        _release(call)
            except BaseException as error:
                call.error = error
                _release(call)
            for at in reversed(range(depth)):
                leave = getattr(self.policies[at], "leave", None)
                try:
                    turn = leave(call) if leave else None
                    if turn.__class__ is GeneratorType:
                        turn = yield from turn
                except BaseException as error:
                    call.error = error
                else:
                    if turn is AGAIN:
                        first = at + 1
                        break
            else:
                return


def _release(call):
    held, call.held = call.held, ()
    for give_back in held:
        give_back()


def _perform(ask, call):
    if ask.__class__ is Sleep:
        return clock.sleep(ask.seconds)
    if ask.__class__ is Do:
        return ask.port.now(*ask.args)
    if ask.__class__ is Wait:
        try:
            ask.signal.exception(max(0.0, ask.until - clock.now()))
        except FutureTimeout:
            return ask.signal.done()
        return True
    return ask(*call.args)


async def _aperform(ask, call):
    if ask.__class__ is Sleep:
        return await clock.asleep(ask.seconds)
    if ask.__class__ is Do:
        return await ask.port.later(*ask.args)
    if ask.__class__ is Wait:
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        ask.signal.add_done_callback(lambda _: loop.call_soon_threadsafe(came.set))
        try:
            async with asyncio.timeout(max(0.0, ask.until - clock.now())):
                await came.wait()
        except TimeoutError:
            return ask.signal.done()
        return True
    value = ask(*call.args)
    return await value if inspect.isawaitable(value) else value


@pytest.fixture
def driven():
    """Puts a function behind policies: `driven(fn, policy, ...)`."""
    return Driven
