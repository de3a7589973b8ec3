"""What an answer must reach to go out unseen: a confidence, or an interval that is narrow enough. One judge for every place that asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock
from guardrail.policies.confidence import Confidence, expires, judges
from guardrail.review.triggers import Seen

if TYPE_CHECKING:
    from guardrail.call import Call

NO_GROUP: Final = "the case belongs to no group that a threshold was calibrated for"
UNCERTIFIED: Final = "no threshold is certified"
EXPIRED: Final = "the threshold has expired"


class Bar:
    """The bar of one guard.

    Args:
        at_least: The confidence that is asked for; infinity where nothing passes. None where a width is asked for.
        max_width: The widest interval that passes, in the answer's unit.
        width: Reads the width of an answer's interval; NaN where it has no sensible one.
        expires: When the bar ends, in seconds since the epoch; from then on nothing passes. None for never.
        group: Whose bar it is, where each group has its own.
        why: Why nothing passes, where it is known from the start.
    """

    __slots__ = ("at_least", "expires", "group", "max_width", "why", "width")
    grouped = False  # whether each call must ask for its own

    def __init__(
        self,
        at_least: float | None,
        *,
        max_width: float | None = None,
        width: Callable[[Any], float] | None = None,
        expires: float | None = None,
        group: str | None = None,
        why: str | None = None,
    ) -> None:
        self.at_least = at_least
        self.max_width = max_width
        self.width = width
        self.expires = expires
        self.group = group
        self.why = why

    def of(self, call: Call) -> Bar:  # noqa: ARG002 - one for all
        """Return the bar that a call must reach."""
        return self

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
        named = "" if self.group is None else f" for the group {self.group}"
        if self.why is not None:
            return self.why
        if self.at_least == math.inf:
            return f"{UNCERTIFIED}{named}"
        if self.stale:
            return EXPIRED
        if self.width is None:
            return "there is no confidence" if sure is None else f"confidence {sure:.3g} is below {self.at_least:.3g}{named}"
        wide = self.width(answer)
        if wide == math.inf:
            return "the interval has no end"
        return f"the interval is {wide:,.6g} wide, more than {self.max_width:,.6g}" if wide >= 0 else "the interval is none"


class GroupedBar(Bar):
    """A bar for each group of cases; what belongs to none of them does not pass.

    Args:
        at_least: What is asked for of all groups together, for records of calls that never got to an answer.
        groups: The bar of each group, by name.
        choose: The argument that names the group, or what finds it in the arguments.
    """

    __slots__ = ("bars", "choose")
    grouped = True

    def __init__(self, at_least: float | None, groups: Mapping[str, Bar], choose: Callable[..., Any] | str) -> None:
        super().__init__(at_least)
        self.bars = groups
        self.choose = choose

    def of(self, call: Call) -> Bar:
        """Return the bar of the call's group, and note it on the call for its record."""
        if call.asked is None:
            shape = call.plan.snapshot.shape
            call.asked = self.chosen(call.args, call.kwargs, () if shape is None else shape.positional)
        found: Bar = call.asked
        return found

    def chosen(self, args: tuple[Any, ...], kwargs: dict[str, Any], names: tuple[str, ...], row: str | None = None) -> Bar:
        """Return the bar for some arguments; one that nothing passes where their group is unknown, or cannot be told.

        Args:
            args: What the function was called with; kwargs likewise.
            kwargs: By name.
            names: Of the positional parameters, in order.
            row: Of a function over a table: the parameter in which the row stands.
        """
        try:
            if isinstance(self.choose, str):
                group = Seen(args, kwargs, None, None, None, names, row).argument(self.choose)
            else:
                group = self.choose(*args, **kwargs)
            found = self.bars.get(str(group))
            if found is None and isinstance(group, Enum):
                found = self.bars.get(str(group.value))
        except Exception as problem:  # noqa: BLE001 - the user's own function, or their object: a person decides
            return Bar(math.inf, why=f"the group of the case cannot be told ({type(problem).__name__})")
        return found or Bar(math.inf, why=NO_GROUP)


def bar_of(confidence: Confidence | None) -> Bar | None:
    """Return the bar that an option sets; None where it only reads, or is not there."""
    if confidence is None or not judges(confidence):
        return None
    from guardrail.policies.width import reader  # noqa: PLC0415 - most guards ask for a confidence

    if confidence.group is not None:
        groups = getattr(confidence.threshold, "groups", {})
        return GroupedBar(confidence.at_least, {name: _bar_for(name, each) for name, each in groups.items()}, confidence.group)
    width = None if confidence.max_width is None else reader(confidence.of)
    return Bar(confidence.at_least, max_width=confidence.max_width, width=width, expires=expires(confidence))


def _bar_for(name: str, threshold: Any) -> Bar:
    """Return the bar of one group; a `NoThreshold` lets nothing pass."""
    until = getattr(threshold, "expires", None)
    return Bar(getattr(threshold, "at_least", math.inf), expires=None if until is None else until.timestamp(), group=name)
