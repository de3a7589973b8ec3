"""Moments as records spell them, as numbers."""

from __future__ import annotations

import calendar
import time
from datetime import datetime

_seconds: dict[str, int] = {}


def micros(ts: str) -> int:
    """Return a record's moment in millionths of a second since the epoch, 0 for what is none."""
    if len(ts) == 27 and ts[26] == "Z" and ts[20:26].isdigit():  # noqa: PLR2004 - as this library spells moments
        second = ts[:19]
        whole = _seconds.get(second)
        if whole is None:
            try:
                whole = calendar.timegm(time.strptime(second, "%Y-%m-%dT%H:%M:%S"))
            except ValueError:
                return 0
            if len(_seconds) >= 1_000:  # noqa: PLR2004 - most records of a batch share few seconds
                _seconds.clear()
            _seconds[second] = whole
        return whole * 1_000_000 + int(ts[20:26])
    try:
        return int(datetime.fromisoformat(ts).timestamp() * 1e6)
    except ValueError:
        return 0
