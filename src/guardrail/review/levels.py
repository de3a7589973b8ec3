"""What time has to do with an open ticket: reminders, the next level of escalation, its end.

Every moment follows from when the ticket was filed, so any process can find out what is due, and one that looks late
misses nothing. `act_at` on the ticket is the first moment that has not been acted on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from guardrail.settings.hours import ALWAYS, after

REMIND_AT: Final = (0.5, 0.8)  # of a level, or of the time for the whole ticket


class Moment(NamedTuple):
    """One thing that time does.

    Attributes:
        at: Seconds since the epoch.
        what: A reminder, the beginning of a level, or the end of the ticket.
        level: The level that it belongs to.
    """

    at: float
    what: Literal["reminded", "escalated", "expired"]
    level: int


def moments(
    created: float, due: float | None, on_expiry: str, levels: Sequence[Mapping[str, Any]], words: str = ALWAYS
) -> list[Moment]:
    """Return all that time will do with a ticket, in order.

    Args:
        created: When it was filed, in seconds since the epoch.
        due: When an answer is due; None for no limit.
        on_expiry: What comes of it then; "hold" keeps it open.
        levels: Whom it goes to in turn, each with `within` in seconds of working time.
        words: The working hours, as `settings.hours` takes them.
    """
    found: list[Moment] = []
    begins, worked = created, 0.0
    for number, level in enumerate(levels):
        if number:
            found.append(Moment(begins, "escalated", number))
        reminders = (after(created, worked + share * level["within"], words) for share in REMIND_AT)
        found.extend(Moment(at, "reminded", number) for at in reminders)
        worked += level["within"]
        begins = after(created, worked, words)
    if due is not None:
        if not levels:
            found.extend(Moment(created + share * (due - created), "reminded", 0) for share in REMIND_AT)
        if on_expiry != "hold":
            found.append(Moment(due, "expired", max(0, len(levels) - 1)))
            found = [each for each in found if each.at <= due]
    return sorted(found, key=lambda each: (each.at, each.what == "expired"))


def first_act(
    created: float, due: float | None, on_expiry: str, levels: Sequence[Mapping[str, Any]], words: str = ALWAYS
) -> float | None:
    """Return when time first has something to do with a new ticket, None for never; arguments as for `moments`."""
    if due is None and not levels:
        return None
    found = moments(created, due, on_expiry, levels, words)
    return found[0].at if found else None
