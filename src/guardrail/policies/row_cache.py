"""The answers to rows of a table, and what the function's results look like, for when all rows are answered from memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail import clock

if TYPE_CHECKING:
    from guardrail.policies.cache import Cache
    from guardrail.policies.rows import Rows
    from guardrail.tables.likeness import Likeness


class RowCache:
    """The cache of one function over tables: no flights, since what is asked for differs from call to call.

    Args:
        option: How long and how many.
        rows: The answers in memory.
    """

    def __init__(self, option: Cache, rows: Rows) -> None:
        self.option = option
        self.rows = rows
        self.likeness: Likeness | None = None  # of the latest result

    def expiry(self) -> float:
        """Return until when (monotonic) an answer of now is fresh; shortened at random, each by itself."""
        ttl = self.option.ttl
        return clock.now() + ttl - ttl * self.option.jitter * clock.chance()
