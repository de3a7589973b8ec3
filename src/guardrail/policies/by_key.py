"""One small state for each principal or tenant: made when first asked for, dropped when idle and too many."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
KEYS: Final = 10_000  # idle ones that are kept
_LOOK: Final = 4  # how many of those unused longest are looked at for each new one


class ByKey(Generic[T]):
    """States by key, those used longest ago first. Every use is under `lock`.

    Args:
        make: Makes the state of a new key.
        idle: Whether a state holds nothing that a new one would not hold; only such are dropped.
        most: How many are kept before idle ones are dropped.
    """

    def __init__(self, make: Callable[[], T], idle: Callable[[T], bool], most: int = KEYS) -> None:
        self._make = make
        self._idle = idle
        self._most = most
        self.fresh_lock()
        self._states: OrderedDict[str, T] = OrderedDict()

    def fresh_lock(self) -> None:
        """Take a new lock after a fork. A re-entrant one: the finaliser of a waiting call may run inside it."""
        self.lock = threading.RLock()

    def clear(self) -> None:
        """Forget every state."""
        with self.lock:
            self._states.clear()

    def __len__(self) -> int:
        return len(self._states)

    def all(self) -> list[T]:
        """Return every state there is."""
        with self.lock:
            return list(self._states.values())

    def find(self, key: str) -> T:
        """Return the state of a key. The caller holds the lock until it has used it."""
        state = self._states.get(key)
        if state is not None:
            self._states.move_to_end(key)
            return state
        state = self._states[key] = self._make()
        for _ in range(_LOOK):
            if len(self._states) <= self._most:
                break
            oldest = next(iter(self._states))
            if oldest != key and self._idle(self._states[oldest]):
                del self._states[oldest]
            else:
                self._states.move_to_end(oldest)
        return state
