"""Names of classes and functions inside an encoding: one name never stands for two different things in one process."""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any, Final

from guardrail import lifecycle

_MOST_NAMES: Final = 100_000  # a program that makes classes for ever must not fill the memory with their names

_lock = threading.Lock()
_tokens: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
_given: dict[str, int] = {}
_overflow = 0


def plain_name(thing: Any) -> str:
    """Return `module:qualname` of a class or function, the same in every process."""
    return f"{thing.__module__}:{thing.__qualname__}"


def token(thing: Any) -> str:
    """Return a name that no other class or function has had in this process: the first gets the plain one.

    A number is never given twice, not even after its class has died, since encodings outlive classes.
    """
    global _overflow  # noqa: PLW0603 - one count per process
    with _lock:
        known = _tokens.get(thing)
        if known is None:
            name = plain_name(thing)
            if name in _given or len(_given) < _MOST_NAMES:
                number = _given[name] = _given.get(name, 0) + 1
                known = name if number == 1 else f"{name}#{number}"
            else:
                _overflow += 1
                known = f"{name}##{_overflow}"
            _tokens[thing] = known
    return known


def resolves(thing: Any) -> bool:
    """Return whether `module:qualname` leads to this very object now, so that the name means it in other processes too."""
    found: Any = sys.modules.get(thing.__module__ or "")
    for part in thing.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(part)  # not getattr: a module's or class's own hooks must not answer
    return found is thing


def _fresh_lock() -> None:
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.Lock()


lifecycle.after_fork(_fresh_lock)
