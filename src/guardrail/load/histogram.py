"""Durations by the million in little room: a log-linear histogram, as HdrHistogram lays it out."""

from __future__ import annotations

import math
from typing import Final

_BITS: Final = 11  # a bucket is at most 1/1024 of what is in it wide, so that three digits of a quantile are right
_HALF: Final = 1 << (_BITS - 1)
_NANO: Final = 1e9
ERROR: Final = 1 / _HALF  # the most by which a quantile is too large, relative to itself

# The package hdrhistogram does the same, and would have every user install setuptools and pbr beside it.


class Histogram:
    """Counts of durations by their size. The layout is that of Gil Tene's HdrHistogram (hdrhistogram.org), in nanoseconds.

    A quantile is never too small, and too large by less than one part in 1024 (or one nanosecond).
    """

    __slots__ = ("_buckets", "count", "largest", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self.largest = 0.0
        self._buckets: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Count one duration; one that is less than nothing counts as nothing."""
        seconds = max(seconds, 0.0)
        nanos = round(seconds * _NANO)
        shift = max(nanos.bit_length() - _BITS, 0)
        at = shift * _HALF + (nanos >> shift)
        self._buckets[at] = self._buckets.get(at, 0) + 1
        self.count += 1
        self.sum += seconds
        self.largest = max(self.largest, seconds)

    def merge(self, other: Histogram) -> None:
        """Add all that another one counted."""
        for at, many in other._buckets.items():
            self._buckets[at] = self._buckets.get(at, 0) + many
        self.count += other.count
        self.sum += other.sum
        self.largest = max(self.largest, other.largest)

    @property
    def mean(self) -> float | None:
        """The mean in seconds, None of nothing."""
        return self.sum / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Return the duration in seconds that a share of all did not exceed, None of nothing."""
        rank = max(1, math.ceil(share * self.count - 1e-9))  # 0.07 * 100 is a little more than 7
        for at in sorted(self._buckets):
            rank -= self._buckets[at]
            if rank <= 0:
                return min(_upper(at) / _NANO, self.largest)
        return None

    def curve(self, shares: tuple[float, ...]) -> list[tuple[float, float]]:
        """Return pairs of share and duration, without the shares that so few durations cannot tell apart."""
        resolved = [share for share in shares if self.count * (1 - share) >= 1 - 1e-9]
        return [(share, found) for share in resolved if (found := self.quantile(share)) is not None]


def _upper(at: int) -> int:
    """Return the largest number of nanoseconds that falls into a bucket."""
    if at < 2 * _HALF:
        return at
    shift = at // _HALF - 1
    return ((at - shift * _HALF + 1) << shift) - 1
