"""Watches, from inside, that a guarded function is reached: for all four kinds of function."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from guardrail import clock
from guardrail.guard import Guard
from guardrail.guard_upkeep import inject


@contextmanager
def watched(guard: Guard, look: Callable[[], None], *, pause: float = 0.0, instead: bool = False) -> Iterator[None]:
    """Have something done each time the function is reached, in the place where it runs.

    Args:
        guard: Of a function that runs in this process.
        look: Called first; what it raises, the function raises.
        pause: Seconds that the function takes longer.
        instead: Whether the function is not run: the answer is None, a generator yields nothing.
    """
    fn = guard.fn

    def plain(*args: Any, **kwargs: Any) -> Any:
        look()
        if pause:
            clock.sleep(pause)
        return None if instead else fn(*args, **kwargs)

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        look()
        if pause:
            await clock.asleep(pause)
        return None if instead else await fn(*args, **kwargs)

    def stream(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        look()
        if pause:
            clock.sleep(pause)
        return None if instead else (yield from fn(*args, **kwargs))

    async def astream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        look()
        if pause:
            await clock.asleep(pause)
        if not instead:
            async for item in fn(*args, **kwargs):
                yield item

    inject(guard, {"sync": plain, "async": coroutine, "stream": stream, "astream": astream}[guard.kind])
    try:
        yield
    finally:
        inject(guard, None)
