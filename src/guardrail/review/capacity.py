"""Whether the people there are can decide the cases that a threshold sends them, before it sends them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from guardrail.errors import ConfigError


@dataclass(frozen=True)
class Reviews:
    """What a threshold costs in people's time.

    The queue is taken for an M/M/c one (Erlang 1917; Kleinrock 1975, Queueing Systems I, 3.5): cases that come at random in the hours
    in which people work, c reviewers who take what is next, times of deciding that vary. With a = cases an hour / cases an hour
    and reviewer, utilisation is a / c; the wait is C(c, a) / (c x per_hour - cases an hour), with Erlang's C; and by Little's law
    (1961) as many cases wait as come during one wait. What comes at night waits until morning besides.

    Attributes:
        a_day: Cases a day that go to people, as expected.
        a_day_interval: The same at both ends of the 95 % interval of the coverage.
        utilisation: The share of the reviewers' time that this takes; 1 or more is more than they have.
        utilisation_interval: The same at both ends.
        waiting: Seconds of working time until somebody begins with a case, on the average; infinite where the queue never ends.
        backlog: How many cases wait, on the average; infinite likewise.
        reviewers_needed: The fewest with whom the queue does not grow without end, at the upper end of the interval.
        warning: Why this will not do, None where it will.
    """

    a_day: float
    a_day_interval: tuple[float, float]
    utilisation: float
    utilisation_interval: tuple[float, float]
    waiting: float
    backlog: float
    reviewers_needed: int
    warning: str | None


def reviews(a_day: float, a_day_interval: tuple[float, float], *, reviewers: int, per_hour: float, hours: float = 8.0) -> Reviews:
    """Return what so many cases a day mean for so many people.

    Args:
        a_day: Cases a day.
        a_day_interval: The fewest and the most.
        reviewers: How many people decide them at the same time.
        per_hour: How many cases one of them decides in an hour.
        hours: For how many hours a day.

    Raises:
        ConfigError: A number makes no sense.
    """
    if isinstance(reviewers, bool) or not isinstance(reviewers, int) or reviewers < 1:
        raise ConfigError("reviewers must be a whole number of 1 or more", hint="write reviewers=3")
    if not 0 < per_hour < math.inf:
        raise ConfigError("per_hour must be more than 0", hint="write how many cases a person decides in an hour, as 20")
    if not 0 < hours <= 24:  # noqa: PLR2004 - a day
        raise ConfigError("hours must be more than 0 and at most 24", hint="write hours=8")
    each = per_hour * hours
    low, high = (cases / (each * reviewers) for cases in a_day_interval)
    load = a_day / (each * reviewers)
    needed = math.floor(a_day_interval[1] / each) + 1
    warning = None
    if max(load, high) >= 1:
        grows, most = ("grows", a_day) if load >= 1 else ("may grow", a_day_interval[1])
        warning = (
            f"the queue {grows} without end: {'about' if load >= 1 else 'up to'} {most:,.0f} cases a day come, and {reviewers:,}"
            f" reviewers decide {each * reviewers:,.0f}; {needed:,} reviewers are needed"
        )
    waiting = math.inf if load >= 1 else _wait(a_day / hours, per_hour, reviewers)
    backlog = math.inf if load >= 1 else waiting * a_day / hours
    return Reviews(a_day, a_day_interval, load, (low, high), waiting * 3600.0, backlog, needed, warning)


def _wait(arrivals: float, per_hour: float, reviewers: int) -> float:
    """Return the mean wait of an M/M/c queue, in hours."""
    offered = arrivals / per_hour
    blocked = 1.0  # Erlang's B, by its recursion, which neither overflows nor cancels
    for many in range(1, reviewers + 1):
        blocked = offered * blocked / (many + offered * blocked)
    waits = blocked / (1 - offered / reviewers * (1 - blocked))
    return waits / (reviewers * per_hour - arrivals)
