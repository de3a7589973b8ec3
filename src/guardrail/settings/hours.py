"""Working hours: how long a reviewer's hour lasts. Only the time in which people work counts towards a deadline."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from guardrail.errors import ConfigError
from guardrail.settings.values import text

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

ALWAYS: Final = "24x7"
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SHAPE: Final = re.compile(r"(?P<days>[a-z,-]+) (?P<from>\d\d:\d\d)-(?P<to>\d\d:\d\d)(?: (?P<zone>[\w/+-]+))?", re.IGNORECASE)
_PLEASE: Final = 'write "24x7" or "mon-fri 09:00-17:00 Europe/Berlin"'
_MOST_DAYS: Final = 3660  # looked at; a deadline beyond ten years is counted without hours


class Hours(NamedTuple):
    """When people work.

    Attributes:
        days: Of the week, 0 for Monday.
        begins: The time of day that work begins at.
        ends: The time of day that it ends at, later than `begins`.
        zone: Where those times are told.
    """

    days: frozenset[int]
    begins: time
    ends: time
    zone: ZoneInfo


@lru_cache(maxsize=64)
def hours(words: str, where: str = "working_hours") -> Hours | None:
    """Return the working hours that a setting spells, None for around the clock.

    Args:
        words: "24x7", or days, times and a time zone, as "mon-fri 09:00-17:00 Europe/Berlin". Without a zone it is UTC.
        where: What an error calls them.

    Raises:
        ConfigError: It spells none.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - for those who keep hours

    if words.strip().lower() == ALWAYS:
        return None
    found = _SHAPE.fullmatch(words.strip())
    if found is None:
        raise ConfigError(f"{where}: these are not days and times", hint=_PLEASE)
    try:
        begins, ends = time.fromisoformat(found["from"]), time.fromisoformat(found["to"])
        zone = ZoneInfo(found["zone"] or "UTC")
    except (ValueError, ZoneInfoNotFoundError, OSError):
        raise ConfigError(f"{where}: there is no such time or time zone", hint=_PLEASE) from None
    if ends <= begins:
        raise ConfigError(f"{where}: they end before they begin", hint=_PLEASE)
    return Hours(_days(found["days"].lower(), where), begins, ends, zone)


def working_hours(value: object, where: str) -> str:
    """Return the setting if it spells working hours.

    Raises:
        ConfigError: It does not.
    """
    words = text(value, where)
    hours(words, where)
    return words


def after(start: float, seconds: float, words: str) -> float:
    """Return the moment when so many seconds of working time have passed.

    Args:
        start: Seconds since the epoch.
        seconds: Of working time.
        words: The working hours, as `hours` takes them.
    """
    worked = hours(words)
    if worked is None:
        return start + seconds
    left = seconds
    day = datetime.fromtimestamp(start, worked.zone).date()
    for _ in range(_MOST_DAYS):
        if day.weekday() in worked.days:
            begins, ends = max(start, _at(day, worked.begins, worked.zone)), _at(day, worked.ends, worked.zone)
            if begins + left <= ends:
                return begins + left
            left -= max(0.0, ends - begins)
        day += timedelta(days=1)
    return start + seconds


def _at(day: date, moment: time, zone: ZoneInfo) -> float:
    return datetime.combine(day, moment, zone).timestamp()


def _days(words: str, where: str) -> frozenset[int]:
    found: set[int] = set()
    for part in words.split(","):
        first, hyphen, last = part.partition("-")
        if first not in _DAYS or (hyphen and last not in _DAYS):
            raise ConfigError(f"{where}: there is no such day", hint=_PLEASE)
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        found.update(range(begin, end + 1) if begin <= end else (*range(begin, 7), *range(end + 1)))
    return frozenset(found)
