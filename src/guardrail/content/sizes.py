"""About how many bytes a value takes in memory, for the cache's bound: an estimate, made once when the value is stored."""

from __future__ import annotations

import enum
import sys
from collections import deque
from collections.abc import Callable, Collection
from types import FunctionType, ModuleType
from typing import Any, Final

from guardrail.content.codec import SCALARS
from guardrail.content.objects import slots_of

_MOST_CLASSES: Final = 4096
_EXTRA: Final = "__pydantic_extra__"
_sizes: dict[type, Callable[[Any, set[int]], int]] = {}


def size_in_memory(value: Any) -> int:
    """Return about how many bytes a value takes, with all that it holds."""
    return _size(value, set())


def _size(value: Any, seen: set[int]) -> int:
    cls = type(value)
    if cls in SCALARS:
        return sys.getsizeof(value)
    if id(value) in seen:
        return 0
    seen.add(id(value))
    return (_sizes.get(cls) or _compiled(cls))(value, seen)


def _with(value: Any, parts: Collection[Any], seen: set[int]) -> int:
    if SCALARS.issuperset(map(type, parts)):
        return sys.getsizeof(value, 64) + sum(map(sys.getsizeof, parts))
    return sys.getsizeof(value, 64) + sum([_size(part, seen) for part in parts])


def _compiled(cls: type) -> Callable[[Any, set[int]], int]:
    """Work out once what values of a class hold beside what `sys.getsizeof` counts."""
    size = _way(cls)
    if len(_sizes) >= _MOST_CLASSES:
        _sizes.clear()
    _sizes[cls] = size
    return size


def _way(cls: type) -> Callable[[Any, set[int]], int]:
    roots = {base.__module__.partition(".")[0] for base in cls.__mro__}
    if issubclass(cls, type | enum.Enum | FunctionType | ModuleType):
        return lambda _value, _seen: 0  # not the value's own
    if issubclass(cls, dict):
        return lambda value, seen: _with(value, [*dict.keys(value), *dict.values(value)], seen)
    if issubclass(cls, list | tuple | set | frozenset | deque):
        return lambda value, seen: _with(value, value, seen)
    if "polars" in roots:
        return lambda value, _seen: int(value.estimated_size())
    if "numpy" in roots:
        return lambda value, seen: _with(value, value.ravel().tolist() if value.dtype.hasobject else (), seen)
    if {"pandas", "pyarrow"} & roots:
        return lambda value, _seen: sys.getsizeof(value)  # which knows what stands in the columns
    if cls.__dictoffset__:
        return lambda value, seen: _with(value, [*vars(value).values(), *(getattr(value, _EXTRA, None) or {}).values()], seen)
    slots = slots_of(cls, object)
    return lambda value, seen: _with(value, [getattr(value, slot.__name__, None) for slot in slots], seen)
