"""Faults on purpose, innermost, so that every policy has to deal with them: errors, delays, wrong answers; seeded."""

from __future__ import annotations

import inspect
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.guard import Guard
from guardrail.guard_upkeep import inject, spec_of
from guardrail.spec import get
from guardrail.using import guard_of

_NOTHING: Final = inspect.Parameter.empty


class Injected:
    """What was done so far.

    Attributes:
        calls: How often the function was reached.
        faults: How often an error was raised in its place.
        delays: How often it was delayed.
        outputs: How often another answer was given.
    """

    def __init__(self) -> None:
        self.calls = self.faults = self.delays = self.outputs = 0
        self._lock = threading.Lock()

    def count(self, what: str) -> None:
        """Count one, also where threads do so at once."""
        with self._lock:
            setattr(self, what, getattr(self, what) + 1)


@contextmanager
def chaos(
    fn: Callable[..., Any],
    *,
    fault: BaseException | type[BaseException] | None = None,
    latency: clock.Duration | None = None,
    output: Any = _NOTHING,
    rate: float = 1.0,
    seed: int = 0,
) -> Iterator[Injected]:
    """Inject faults into a guarded function inside the block, in the place of the user's function.

    Args:
        fn: A guarded function, plain or coroutine.
        fault: Raised instead of calling it.
        latency: Waited before it is called (or before the fault).
        output: Returned in place of its answer; a callable gets the true answer and returns the wrong one.
        rate: Share of the calls that are hit, drawn from a generator seeded with `seed`.
        seed: The same seed hits the same calls.

    Yields:
        What was done so far.

    Raises:
        ConfigError: Nothing is injected, the rate is no share, it is a generator, or it runs in a child process.
    """
    guard = guard_of(fn)
    _check(guard, rate=rate, anything=not (fault is None and latency is None and output is _NOTHING))
    pause = None if latency is None else clock.seconds(latency, "latency of chaos")
    draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
    did = Injected()
    real = guard.fn

    def hit() -> bool:
        did.count("calls")
        return draw.random() < rate

    def before() -> None:
        if fault is not None:
            did.count("faults")
            raise fault

    def after(answer: Any) -> Any:
        if output is _NOTHING:
            return answer
        did.count("outputs")
        wrong: Any = output
        return wrong(answer) if callable(wrong) else wrong

    def broken(*args: Any, **kwargs: Any) -> Any:
        if not hit():
            return real(*args, **kwargs)
        if pause is not None:
            did.count("delays")
            clock.sleep(pause)
        before()
        return after(real(*args, **kwargs))

    async def abroken(*args: Any, **kwargs: Any) -> Any:
        if not hit():
            return await real(*args, **kwargs)
        if pause is not None:
            did.count("delays")
            await clock.asleep(pause)
        before()
        return after(await real(*args, **kwargs))

    inject(guard, abroken if guard.kind == "async" else broken)
    try:
        yield did
    finally:
        inject(guard, None)


def _check(guard: Guard, *, rate: float, anything: bool) -> None:
    if not anything:
        raise ConfigError("chaos injects nothing", guard=guard.name, hint="give fault=, latency= or output=")
    if not 0 <= rate <= 1:
        raise ConfigError("the rate of chaos must lie in [0, 1]", guard=guard.name, hint="write rate=0.3")
    if guard.kind in ("stream", "astream"):
        raise ConfigError(
            "chaos works on functions that return an answer, not on generators",
            guard=guard.name,
            hint="call a function that the generator itself uses, and break that",
        )
    budget = get(spec_of(guard), "budget")
    if budget is not None and budget.enforce == "process":
        raise ConfigError(
            "chaos does not reach a function that runs in a child process",
            guard=guard.name,
            hint='test it with with_options(predict, budget=Budget(..., enforce="thread"))',
        )
