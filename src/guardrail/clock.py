"""All time and chance of the library: read through this module's attributes, so that a test can put others in their place.

Code outside writes `clock.now()` and never binds the function itself.
"""

from __future__ import annotations

import asyncio
import random as _random
import re
import time
from datetime import timedelta
from typing import Final

from guardrail.errors import ConfigError

now = time.monotonic  # seconds, for every deadline, window and duration
wall = time.time  # seconds since the epoch, for what people read
sleep = time.sleep
asleep = asyncio.sleep
_dice: Final = _random.Random()  # noqa: S311 - jitter, not secrets; of our own, so that the user's seeds stay theirs
chance = _dice.random
bits = _dice.getrandbits

Duration = str | int | float | timedelta

_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_TEXT: Final = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(us|ms|s|m|h|d|w)\s*")
_RATE: Final = re.compile(r"\s*(\d+)\s*/\s*(\d*(?:\.\d+)?\s*(?:ms|s|m|h|d))\s*")
_PLEASE: Final = 'write "250ms", "10s", "10m", "4h", "30d", a number of seconds or a timedelta'


def reseed() -> None:
    """Draw other chances than the process that this one was forked from."""
    _dice.seed()


def seconds(duration: Duration, what: str = "duration", *, zero: bool = False) -> float:
    """Return a duration in seconds.

    Args:
        duration: "250ms", "10s", "10m", "4h", "30d", seconds, or a timedelta.
        what: What the duration is for, named in the error.
        zero: Whether nought is allowed.

    Raises:
        ConfigError: It is no duration, or negative, infinite, or nought where that makes no sense.
    """
    if isinstance(duration, bool) or not isinstance(duration, str | int | float | timedelta):
        raise ConfigError(f"{what} is of type {type(duration).__name__}, not a duration", hint=_PLEASE)
    if isinstance(duration, str):
        match = _TEXT.fullmatch(duration)
        if match is None:
            raise ConfigError(f"{what} is not a duration", hint=_PLEASE)
        value = float(match[1]) * _UNITS[match[2]]
    else:
        value = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not 0 <= value < float("inf") or (value == 0 and not zero):
        raise ConfigError(f"{what} must be {'0 or more' if zero else 'more than 0'} and finite", hint=_PLEASE)
    return value


def rate(text: object, what: str = "rate") -> tuple[int, float]:
    """Return how many in how many seconds a rate allows: "100/s" is (100, 1.0).

    Args:
        text: As a person writes it.
        what: What to call it in an error.

    Raises:
        ConfigError: It is no rate.
    """
    match = _RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[1]) < 1:
        raise ConfigError(f"{what} is no rate", hint='write "100/s", "5/m", "1000/h" or "10/30s"')
    unit = match[2]
    return int(match[1]), seconds(unit if unit[0].isdigit() or unit[0] == "." else f"1{unit}", what)
