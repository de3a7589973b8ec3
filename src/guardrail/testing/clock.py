"""A clock in your hand: time passes when you say so, sleeping costs nothing, and chance is what you want it to be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from guardrail import clock

START: Final = 1_750_000_000.0  # seconds since the epoch


class FakeClock:
    """Time that stands still.

    Attributes:
        seconds: Seconds since the clock began; what `clock.now()` gives.
        slept: Every pause that was asked for, in seconds.
        chance: What the next draws of jitter give, in [0, 1).
    """

    def __init__(self, at: float = START) -> None:
        self.at = at
        self.seconds = 1000.0
        self.slept: list[float] = []
        self.chance = 0.5

    def advance(self, duration: clock.Duration) -> None:
        """Let time pass: seconds, or "10m"."""
        self.seconds += clock.seconds(duration, "the time to pass", zero=True)

    def now(self) -> float:
        """Return monotonic seconds."""
        return self.seconds

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return self.at + self.seconds - 1000.0

    def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.slept.append(seconds)
        self.seconds += max(0.0, seconds)

    async def asleep(self, seconds: float) -> None:
        """Let time pass at once, and other tasks run."""
        self.sleep(seconds)
        await asyncio.sleep(0)

    def draw(self) -> float:
        """Return the chance that was set."""
        return self.chance


@contextmanager
def fake_clock(at: float = START) -> Iterator[FakeClock]:
    """Put a `FakeClock` in the place of time, for everything in the library.

    Args:
        at: Seconds since the epoch at which it begins.

    Yields:
        The clock.
    """
    fake = FakeClock(at)
    real = {name: getattr(clock, name) for name in ("now", "wall", "sleep", "asleep", "chance")}
    replaced = {"now": fake.now, "wall": fake.wall, "sleep": fake.sleep, "asleep": fake.asleep, "chance": fake.draw}
    try:
        for name, function in replaced.items():
            setattr(clock, name, function)
        yield fake
    finally:
        for name, function in real.items():
            setattr(clock, name, function)
