"""How a row of a batch becomes the arguments of a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Ask = Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]]


def required(fn: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """Return the parameters that must be given, None where Python does not know them."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return None
    rest = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [parameter for parameter in parameters if parameter.default is parameter.empty and parameter.kind not in rest]


def as_one(required: Sequence[inspect.Parameter] | None) -> Ask:
    """Return how a value becomes the one argument of a function."""
    if required and required[0].kind is inspect.Parameter.KEYWORD_ONLY:
        name = required[0].name
        return lambda value: ((), {name: value})
    return lambda value: ((value,), {})


def spread(row: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a row's entries as arguments: of a mapping by name, of a sequence or vector by position; else the row itself."""
    if isinstance(row, Mapping):
        return (), dict(row)
    if isinstance(row, Sequence) and not isinstance(row, str | bytes | bytearray):
        return tuple(row), {}
    if getattr(row, "ndim", 0) == 1:
        return tuple(row), {}
    return (row,), {}
