"""What belongs to a guard's name and survives a re-run of its definition: breaker, permits, rate, retry budget."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from guardrail import lifecycle

if TYPE_CHECKING:
    from guardrail.guard import Guard

S = TypeVar("S")

_lock = threading.RLock()
_states: dict[tuple[str, str], tuple[object, Any]] = {}
_guards: weakref.WeakSet[Guard] = weakref.WeakSet()


def state(kind: str, name: str, option: object, make: Callable[[], S]) -> S:
    """Return the state of a kind that belongs to a name: the same one as long as the option compares equal.

    Args:
        kind: "circuit", "permits", "rate" or "retry".
        name: The guard's name, or the name that a breaker is shared under.
        option: The option object; another one replaces the state.
        make: Makes a new state.
    """
    with _lock:
        known = _states.get((kind, name))
        if known is None or known[0] != option:
            known = _states[kind, name] = (option, make())
        return known[1]  # type: ignore[no-any-return]


def add(guard: Guard) -> None:
    """Note a guard, without keeping it alive."""
    with _lock:
        _guards.add(guard)


def guards() -> list[Guard]:
    """Return every guard that is alive in this process, by name."""
    with _lock:
        return sorted(_guards, key=lambda guard: guard.name)


def replan() -> None:
    """Have every guard look at the switches again."""
    for guard in guards():
        guard.replan()


def reconfigure() -> None:
    """Have every guard read the settings again.

    Raises:
        ConfigError: They do not go together with a guard's other options.
    """
    for guard in guards():
        guard.reconfigure()


def reset() -> None:
    """Forget all state by name, and have every living guard begin with new state."""
    with _lock:
        _states.clear()
    for guard in guards():
        guard.renew()


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.RLock()
    for _, known in _states.values():
        known.after_fork()
    for guard in list(_guards):
        guard.after_fork()


lifecycle.after_fork(_in_child)
