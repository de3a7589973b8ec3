"""What an answer must reach to go out unseen: a confidence, or an interval that is narrow enough. One judge for every place that asks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock

if TYPE_CHECKING:
    from guardrail.policies.confidence import Confidence

UNCERTIFIED: Final = "no threshold is certified"
EXPIRED: Final = "the threshold has expired"


class Bar:
    """The bar of one guard.

    Args:
        at_least: The confidence that is asked for; infinity where nothing passes. None where a width is asked for.
        max_width: The widest interval that passes, in the answer's unit.
        width: Reads the width of an answer's interval; NaN where it has no sensible one.
        expires: When the bar ends, in seconds since the epoch; from then on nothing passes. None for never.
    """

    __slots__ = ("at_least", "expires", "max_width", "width")

    def __init__(
        self,
        at_least: float | None,
        *,
        max_width: float | None = None,
        width: Callable[[Any], float] | None = None,
        expires: float | None = None,
    ) -> None:
        self.at_least = at_least
        self.max_width = max_width
        self.width = width
        self.expires = expires

    @property
    def stale(self) -> bool:
        """Whether it has expired."""
        return self.expires is not None and clock.wall() >= self.expires

    def passes(self, sure: float | None, answer: Any) -> bool:
        """Return whether an answer may go out. Only a comparison that is true lets it: NaN is low.

        Args:
            sure: Its confidence, as it was read.
            answer: The answer itself, for its interval.

        Raises:
            ConfigError: Its width cannot be read.
        """
        if self.expires is not None and self.stale:
            return False
        if self.width is not None:
            return 0.0 <= self.width(answer) <= (self.max_width or 0.0)
        return sure is not None and self.at_least is not None and self.at_least <= sure <= 1.0

    def why_low(self, sure: float | None, answer: Any) -> str:
        """Return why an answer does not pass, in words for its record and for the person who gets it."""
        if self.at_least == math.inf:
            return UNCERTIFIED
        if self.stale:
            return EXPIRED
        if self.width is None:
            return "there is no confidence" if sure is None else f"confidence {sure:.3g} is below {self.at_least:.3g}"
        wide = self.width(answer)
        if wide == math.inf:
            return "the interval has no end"
        return f"the interval is {wide:,.6g} wide, more than {self.max_width:,.6g}" if wide >= 0 else "the interval is none"


def bar_of(confidence: Confidence | None) -> Bar | None:
    """Return the bar that an option sets; None where it only reads, or is not there."""
    if confidence is None or not confidence.judges:
        return None
    from guardrail.policies.width import reader  # noqa: PLC0415 - most guards ask for a confidence

    width = None if confidence.max_width is None else reader(confidence.of)
    return Bar(confidence.at_least, max_width=confidence.max_width, width=width, expires=confidence.expires)
