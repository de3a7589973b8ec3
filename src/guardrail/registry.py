"""What belongs to a guard's name and survives a re-run of its definition: breaker, permits, rate, retry budget."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from guardrail import guard_upkeep, lifecycle
from guardrail.errors import ConfigError

if TYPE_CHECKING:
    from guardrail.guard import Guard

S = TypeVar("S")

_lock = threading.RLock()
_states: dict[tuple[str, str], tuple[object, Any]] = {}
_guards: weakref.WeakSet[Guard] = weakref.WeakSet()


def state(kind: str, name: str, option: object, make: Callable[[], S], owner: str | None = None) -> S:
    """Return the state of a kind that belongs to a name: the same one as long as the option compares equal.

    Args:
        kind: "circuit", "permits", "rate" or "retry".
        name: The guard's name, or the name that a breaker is shared under.
        option: The option object; another one replaces the state.
        make: Makes a new state.
        owner: Name of the guard that asks, where the state is shared under another name.

    Raises:
        ConfigError: Another living guard uses the state of that name under another option.
    """
    with _lock:
        known = _states.get((kind, name))
        if known is not None and known[0] != option and owner is not None:
            _refuse_two(name, option, owner)
        if known is None or known[0] != option:
            known = _states[kind, name] = (option, make())
        return known[1]


def _refuse_two(name: str, option: object, owner: str) -> None:
    """Two guards that share a breaker by name must agree on it: which of them came first would decide otherwise."""
    for guard in _guards:
        other = guard.options.get("breaker")
        if other is not None and other != option and other.name == name and guard.name != owner:
            raise ConfigError(
                f"two guards share the breaker {name!r} under different options",
                guard=guard.name,
                hint="give both the same Breaker(...) object, or different names",
            )


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
        guard_upkeep.replan(guard)


def reconfigure() -> None:
    """Have every guard read the settings again.

    Raises:
        ConfigError: They do not go together with a guard's other options.
    """
    for guard in guards():
        guard_upkeep.reconfigure(guard)


def forget_personal() -> None:
    """Have every guard drop the answers that may be about a person."""
    for guard in guards():
        guard_upkeep.forget_personal(guard)


def reset() -> None:
    """Forget all state by name; every living guard begins with new state, and is known again from its next call on."""
    living = guards()
    with _lock:
        _states.clear()
        _guards.clear()
    for guard in living:
        guard_upkeep.renew(guard)


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.RLock()
    for _, known in _states.values():
        known.after_fork()
    for guard in list(_guards):
        guard_upkeep.after_fork(guard)


lifecycle.after_fork(_in_child)
