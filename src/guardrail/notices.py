"""What the library says of itself: each thing once per guard on the logger "guardrail", counted every time, shown by `doctor`."""

from __future__ import annotations

import logging
import threading
from typing import Final

from guardrail import lifecycle

_log: Final = logging.getLogger("guardrail")
_log.addHandler(logging.NullHandler())
_lock = threading.Lock()
_counts: dict[tuple[str | None, str], tuple[int, str]] = {}


def say(topic: str, text: str, *, guard: str | None = None) -> None:
    """Count a finding, and log it as a warning the first time it is met in this process.

    Args:
        topic: A short fixed word for the kind of finding, such as "unkeyable".
        text: What was found and what to do; never a value of the user's.
        guard: The guard concerned, None for the library as a whole.
    """
    key = (guard, topic)
    with _lock:
        count, first = _counts.get(key, (0, text))
        _counts[key] = (count + 1, first)
    if not count:
        _log.warning("%s%s", f"{guard}: " if guard else "", text)


def counts() -> dict[tuple[str | None, str], tuple[int, str]]:
    """Return every finding so far: (guard, topic) to (how often, its first text)."""
    with _lock:
        return dict(_counts)


def reset() -> None:
    """Forget all findings, so that each is said again."""
    with _lock:
        _counts.clear()


def _fresh_lock() -> None:
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.Lock()


lifecycle.after_fork(_fresh_lock)
