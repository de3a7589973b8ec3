"""What an examination found, in words that cannot hold a secret."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, NamedTuple

from guardrail.errors import ConfigError

Level = Literal["ok", "info", "warn", "bad"]


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        level: "ok", "info" (nothing to do), "warn" (look at it) or "bad" (something does not work).
        what: What was looked at.
        text: What was found, and what to do about it; no secrets.
    """

    level: Level
    what: str
    text: str


def reason(error: Exception) -> str:
    """Return what went wrong, in words that cannot hold a secret."""
    if isinstance(error, ConfigError):
        return str(error)
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else type(error).__name__


def moment(at: float) -> str:
    """Return seconds since the epoch as a moment in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
