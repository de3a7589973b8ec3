"""When calls arrive: rates and steps as a person writes them, and the moments of arrival that they mean."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from guardrail.errors import ConfigError

_RANGE: Final = re.compile(r"\s*([\d.]+)\s*\.\.\s*([\d.]+)\s*")
_PLEASE: Final = "write --rate 50, --rate 10,50,100 or --rate 10..500"
_DIGITS: Final = 3  # significant, of the rates between the ends of a range
_MOST: Final = 1e6  # arrivals a second


class Step(NamedTuple):
    """A stretch of load under one setting.

    Attributes:
        low: Arrivals a second at its beginning.
        high: Arrivals a second at its end; they rise evenly in between.
        seconds: How long calls arrive.
        workers: How many calls run at the same time; None for as many as have arrived.
        rows: Rows in each call, None where a call takes one row as it is.
    """

    low: float
    high: float
    seconds: float
    workers: int | None = None
    rows: int | None = None

    @property
    def rate(self) -> float:
        """Arrivals a second, on average."""
        return (self.low + self.high) / 2

    def offsets(self, gaps: Iterator[float]) -> Iterator[float]:
        """Yield when calls arrive, in seconds from the step's beginning.

        Args:
            gaps: Between one arrival and the next, in units of the mean gap at that moment. A rate that changes bends time: the
                n-th arrival is due when the area under the rate reaches the sum of the first n gaps.
        """
        area = 0.0
        for gap in gaps:
            area += gap
            due = self._reaches(area)
            if due >= self.seconds:
                return
            yield due

    def _reaches(self, area: float) -> float:
        under = self.low * self.low + 2 * (self.high - self.low) * area / self.seconds
        return 2 * area / (self.low + math.sqrt(under)) if under >= 0 else math.inf


def even() -> Iterator[float]:
    """Yield the gaps of arrivals that come like clockwork, the first at once."""
    return itertools.chain((0.0,), itertools.repeat(1.0))


def by_chance(seed: int) -> Iterator[float]:
    """Yield the gaps of arrivals that know nothing of each other (a Poisson process), the same for the same seed."""
    draw = random.Random(seed).expovariate  # noqa: S311 - load, not secrets
    return iter(lambda: draw(1.0), None)


def rates(text: str, steps: int) -> list[float]:
    """Return the rates that a person means: "50", "10,50,100", or "10..500" for so many steps, each larger by the same factor.

    Args:
        text: As written.
        steps: How many rates a range gives, its ends among them.

    Raises:
        ConfigError: It is no rate.
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        return [_rate(each) for each in text.split(",")]
    low, high = ends(text)
    if steps < 2:  # noqa: PLR2004 - a range has two ends
        raise ConfigError("a range of rates needs two steps or more", hint="write --steps 6")
    factor = (high / low) ** (1 / (steps - 1))
    between = [float(f"{low * factor**at:.{_DIGITS}g}") for at in range(1, steps - 1)]
    return [low, *between, high]


def ends(text: str) -> tuple[float, float]:
    """Return the two ends of a range of rates such as "10..500".

    Raises:
        ConfigError: It is no range, or does not rise.
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ConfigError("a ramp needs a range of rates", hint="write --rate 10..500")
    low, high = _rate(match[1]), _rate(match[2])
    if not low < high:
        raise ConfigError("a range of rates rises", hint=_PLEASE)
    return low, high


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= _MOST:
        raise ConfigError("--rate is no number of arrivals a second", hint=_PLEASE)
    return value


def counts(text: str | None, option: str) -> Sequence[int | None]:
    """Return the whole numbers that a person lists: "1,10,100"; (None,) where nothing was said.

    Raises:
        ConfigError: One of them is none, or less than 1.
    """
    if text is None:
        return (None,)
    words = text.split(",")
    if not all(word.strip().isascii() and word.strip().isdigit() and int(word) for word in words):
        raise ConfigError(f"{option} is no list of whole numbers from 1 on", hint=f"write {option} 1,10,100")
    return [int(word) for word in words]


def plan(  # noqa: D417 - the lists are told together
    rate: str, seconds: float, *, steps: int = 6, ramp: bool = False,
    workers: Sequence[int | None] = (None,), rows: Sequence[int | None] = (None,),
) -> list[Step]:  # fmt: skip
    """Return the steps of a load: for each number of workers and of rows, all the rates.

    Args:
        rate: As `rates` reads it.
        seconds: Of each step.
        steps: See `rates`.
        ramp: Whether the rate rises without a break from one end of the range to the other; the steps are then its parts.

    Raises:
        ConfigError: It is no rate, or no range where one is needed.
    """
    if ramp:
        low, high = ends(rate)
        edges = [low + (high - low) * at / steps for at in range(steps + 1)]
        pairs = list(itertools.pairwise(edges))
    else:
        pairs = [(each, each) for each in rates(rate, steps)]
    return [Step(low, high, seconds, many, size) for many, size in itertools.product(workers, rows) for low, high in pairs]
