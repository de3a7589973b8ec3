"""The parameters of a function, worked out once at decoration: how a call's arguments reach their places."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from guardrail.functions import inner

MISSING: Final = inspect.Parameter.empty
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Misshapen(Exception):
    """The arguments do not fit the parameters."""


class Shape:
    """Where each argument belongs, so that positional and keyword calls become the same call.

    Attributes:
        parameters: Every parameter by name, in order.
        positional: Names of those that may be given by position; a bound call has a value for each.
        whole: How many positional values make a complete call, or -1 where that alone does not tell.
    """

    def __init__(self, signature: inspect.Signature) -> None:
        self.parameters = dict(signature.parameters)
        kinds = {name: parameter.kind for name, parameter in self.parameters.items()}
        self.positional = tuple(name for name, kind in kinds.items() if kind in _POSITIONAL)
        self.by_position_only = frozenset(name for name, kind in kinds.items() if kind is inspect.Parameter.POSITIONAL_ONLY)
        self.by_keyword_only = tuple(name for name, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY)
        self.rest = next((name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_POSITIONAL), None)
        self.extras = next((name for name, kind in kinds.items() if kind is inspect.Parameter.VAR_KEYWORD), None)
        self.defaults = tuple(self.parameters[name].default for name in self.positional)
        self.keyword_defaults = {name: self.parameters[name].default for name in self.by_keyword_only}
        self.whole = -1 if self.by_keyword_only or self.rest or self.extras else len(self.positional)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put every value in its place, defaults included.

        Returns:
            The positional values (a value for each positional parameter, then those of `*args`), and the rest by keyword.

        Raises:
            Misshapen: A value is missing, given twice, or has no place.
        """
        names = self.positional
        count = len(args)
        if count > len(names):
            if self.rest is None:
                raise Misshapen
            placed = list(args[: len(names)])
        else:
            placed = list(args)
        left = dict(kwargs)
        if left:
            for name in names[:count]:
                if name in left and (name not in self.by_position_only or self.extras is None):
                    raise Misshapen
        for at in range(len(placed), len(names)):
            name = names[at]
            if name in left and name not in self.by_position_only:
                placed.append(left.pop(name))
            elif self.defaults[at] is not MISSING:
                placed.append(self.defaults[at])
            else:
                raise Misshapen
        for name in self.by_keyword_only:
            if name not in left:
                if self.keyword_defaults[name] is MISSING:
                    raise Misshapen
                left[name] = self.keyword_defaults[name]
        if self.extras is None and len(left) > len(self.by_keyword_only):
            raise Misshapen
        return (*placed, *args[len(names) :]), left

    def named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return bound values by parameter name, for people and for tickets; `*args` under its own name."""
        values = dict(zip(self.positional, args, strict=False))
        if self.rest is not None:
            values[self.rest] = list(args[len(self.positional) :])
        return {**values, **kwargs}


def own_shape_of(fn: Callable[..., Any]) -> Shape | None:
    """Return what a decorated function itself takes, where that is not what it says: None for all others.

    A decorator that uses `functools.wraps` says the signature of what it wraps, and may still take an argument away from it or
    hand it one.
    """
    if not hasattr(fn, "__wrapped__"):
        return None
    try:
        own = inspect.signature(fn, follow_wrapped=False)
        return None if own.parameters == inspect.signature(fn).parameters else Shape(own)
    except (TypeError, ValueError):
        return None


def shape_of(fn: Callable[..., Any]) -> Shape | None:
    """Return the shape of a function, or None where Python does not know it, or not well enough to hand in what was left out.

    A function made in C may say a default that is not what leaving the argument out means: `numpy.where(a, None, None)` is not
    `numpy.where(a)`, and no ufunc takes all the defaults that it says.
    """
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return None
    some = any(parameter.default is not MISSING for parameter in signature.parameters.values())
    return None if some and not _keeps_defaults(fn) else Shape(signature)


def _keeps_defaults(fn: Any) -> bool:
    """Say whether the defaults of a callable are values that Python itself hands in, as those of every function in Python are."""
    fn = inspect.unwrap(inner(fn))
    return any(hasattr(each, "__defaults__") for each in (fn, getattr(fn, "__func__", None), getattr(type(fn), "__call__", None)))  # noqa: B004
