"""How fast a sink is served: back-off with full jitter, a breaker, a rate, and batches that shrink where they fail.

Full jitter: a random pause up to a limit that doubles with every failure (Brooker, "Exponential Backoff and Jitter", AWS 2015).
"""

from __future__ import annotations

from typing import Final

from guardrail import clock

FIRST_LIMIT: Final = 0.5  # seconds
LONGEST: Final = 300.0
LEAST: Final = 0.05
REFUSED: Final = 60.0  # seconds until somebody who does not let us in is asked again
OPENS_AFTER: Final = 5  # failures in a row
_MOST_ASKED: Final = 3_600.0


class Pace:
    """The pace of one sink. Nothing in here waits.

    Args:
        batch: The most items of one batch.
        rate: (items, seconds) at most, None for no limit.

    Attributes:
        ready: The moment (monotonic) before which nothing is sent.
        failures: Tries that failed since the last one that did not.
        size: How many items the next batch may have.
    """

    def __init__(self, batch: int, rate: tuple[int, float] | None) -> None:
        self._batch = batch if rate is None else min(batch, rate[0])
        self._rate = rate
        self.ready = 0.0
        self.failures = 0
        self.size = self._batch

    @property
    def breaker(self) -> str:
        """Whether the breaker is "closed", or "open": then one item is sent at a time, until one arrives."""
        return "open" if self.failures >= OPENS_AFTER else "closed"

    def worked(self, items: int) -> None:
        """Take note that something arrived: full batches again, step by step, unless the rate says less."""
        self.failures = 0
        self.size = min(self._batch, self.size * 2)
        if self._rate is not None:
            many, seconds = self._rate
            self.ready = max(self.ready, clock.now() + items * seconds / many)

    def failed(self, after: float | None = None, *, refused: bool = False) -> None:
        """Take note that nothing arrived, and how long the other side wants to be left alone."""
        self.failures += 1
        self.size = 1 if self.breaker == "open" else max(1, self.size // 2)
        limit = min(LONGEST, FIRST_LIMIT * 2.0 ** min(self.failures - 1, 20))
        pause = max(LEAST, limit * clock.chance())
        if refused:
            pause = max(pause, REFUSED)
        self.ready = clock.now() + max(pause, min(after or 0.0, _MOST_ASKED))

    def now(self) -> None:
        """Let the next try be made at once: something has changed."""
        self.ready = 0.0
