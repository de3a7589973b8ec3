"""Faults on purpose, innermost, so that every policy has to deal with them: errors, delays, wrong answers; seeded."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.using import guard_of


class Injected:
    """What was done so far.

    Attributes:
        calls: How often the function was reached.
        faults, delays, outputs: How often each kind was injected.
    """

    def __init__(self) -> None:
        self.calls = self.faults = self.delays = self.outputs = 0


@contextmanager
def chaos(
    fn: Callable[..., Any],
    *,
    fault: BaseException | type[BaseException] | None = None,
    latency: clock.Duration | None = None,
    output: Any = inspect.Parameter.empty,
    rate: float = 1.0,
    seed: int = 0,
) -> Iterator[Injected]:
    """Inject faults into a guarded function inside the block, in the place of the user's function.

    Args:
        fn: A guarded function, plain or coroutine.
        fault: Raised instead of calling it.
        latency: Waited before it is called.
        output: Returned instead of calling it; a callable gets the true answer and returns the wrong one.
        rate: Share of the calls that are hit, drawn from a generator seeded with `seed`.
        seed: The same seed hits the same calls.

    Raises:
        ConfigError: Nothing is injected, the rate is no share, or it is a generator.
    """
    guard = guard_of(fn)
    if fault is None and latency is None and output is inspect.Parameter.empty:
        raise ConfigError("chaos injects nothing", hint="give fault=, latency= or output=")
    if not 0 <= rate <= 1:
        raise ConfigError("rate of chaos must lie in [0, 1]")
    if guard.kind in ("stream", "astream"):
        raise ConfigError("chaos works on functions that return an answer, not on generators", guard=guard.name)
    pause = None if latency is None else clock.seconds(latency, "latency of chaos")
    draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
    did = Injected()
    real = guard.fn

    def hit() -> bool:
        did.calls += 1
        return draw.random() < rate

    def before() -> None:
        if fault is not None:
            did.faults += 1
            raise fault

    def after(answer: Any) -> Any:
        if output is inspect.Parameter.empty:
            return answer
        did.outputs += 1
        return output(answer) if callable(output) else output

    def broken(*args: Any, **kwargs: Any) -> Any:
        if not hit():
            return real(*args, **kwargs)
        if pause is not None:
            did.delays += 1
            clock.sleep(pause)
        before()
        return after(real(*args, **kwargs))

    async def abroken(*args: Any, **kwargs: Any) -> Any:
        if not hit():
            return await real(*args, **kwargs)
        if pause is not None:
            did.delays += 1
            await asyncio.sleep(pause)
        before()
        return after(await real(*args, **kwargs))

    guard.inject(abroken if guard.kind == "async" else broken)
    try:
        yield did
    finally:
        guard.inject(None)
