"""How a child process finds the function that it runs: by module and name, else by value; never the guarded wrapper."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final

from guardrail.drivers.channel import dumps, has_cloudpickle, loads
from guardrail.errors import ConfigError

_DEEPEST: Final = 100  # decorators on one function

Where = tuple[str, str, int] | bytes  # module, qualified name and how many decorators lie above; or the function itself, packed


def locate(fn: Callable[..., Any], guard: str) -> Where:
    """Return where a child finds a function.

    Args:
        fn: The undecorated function.
        guard: The guard's name, for the error.

    Raises:
        ConfigError: It is defined where no other process can import it, and cannot be sent either.
    """
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
    if module and name and module != "__main__":
        above = _decorators_above(fn, module, name)
        if above is not None:
            return module, name, above
    plain = isinstance(fn, FunctionType)
    if not plain or has_cloudpickle():
        try:
            return dumps(fn)
        except Exception as error:
            raise ConfigError(
                f'enforce="process": the {type(fn).__name__} cannot be sent to a child ({type(error).__name__})',
                guard=guard,
                policy="budget",
                hint="guard a function at the top of a module, which a child can import",
            ) from error
    raise ConfigError(
        'enforce="process": a child cannot import a function defined in a script, a notebook or another function',
        guard=guard,
        policy="budget",
        hint="put the function at the top of a module, or `pip install cloudpickle`",
    )


def _decorators_above(fn: Callable[..., Any], module: str, name: str) -> int | None:
    """Return at which depth of `__wrapped__` the function is found under its name, or None where it is not."""
    try:
        found = _look_up(sys.modules[module], name)
    except (AttributeError, KeyError):
        return None
    for depth in range(_DEEPEST):
        if found is fn:
            return depth
        if not hasattr(found, "__wrapped__"):
            return None
        found = found.__wrapped__
    return None


def _look_up(module: Any, name: str) -> Any:
    *owners, last = name.split(".")
    owner = functools.reduce(getattr, owners, module)
    return inspect.getattr_static(owner, last)  # a classmethod as it was written, not bound


def load(where: Where) -> Callable[..., Any]:
    """Return the function that `locate` found, in another process."""
    if isinstance(where, bytes):
        return loads(where)  # type: ignore[no-any-return]
    module, name, above = where
    found = _look_up(importlib.import_module(module), name)
    for _ in range(above):
        found = found.__wrapped__
    return found  # type: ignore[no-any-return]
