"""Copies for the cache: whoever gets a kept answer can do to it what they like, and the next reader sees none of it.

What nobody can change is handed out as it is; the kinds of value that models return are copied exactly (type, dtype, order,
flags); all else by `copy.deepcopy`.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from types import NoneType
from typing import Any, Final

from guardrail.content.codec import SCALARS
from guardrail.content.errors import Unkeyable
from guardrail.content.sizes import size_in_memory
from guardrail.decision import Prediction

Memo = dict[int, Any]  # by id, as in copy.deepcopy, with which it is shared
Copy = Callable[[Any, Memo], Any]

_MOST_CLASSES: Final = 4096
_flat: Final = SCALARS.issuperset
_NUMBERS: Final = {NoneType: 16, bool: 28, int: 32, float: 24, complex: 32}  # bytes
_FLAT_COPIES: Final[dict[type, Callable[[Any], Any]]] = {list: list, dict: dict, set: set}


def freeze(value: Any) -> tuple[Any, Callable[[Any], Any] | None, int]:
    """Take a value into safe keeping.

    Returns:
        What to keep; what makes a copy of it for each reader, None where all may share it; its size in bytes, estimated.

    Raises:
        Unkeyable: It cannot be copied: it holds a lock, a file, a generator or the like.
    """
    cls = type(value)
    if cls is Prediction:
        inner, reasons = value.value, value.reasons
        if type(inner) in SCALARS and type(value.confidence) in SCALARS and (not reasons or _flat(map(type, reasons))):
            return value, None, 200 + sys.getsizeof(inner)
    size = _NUMBERS.get(cls)
    if size is not None:
        return value, None, size
    if cls is str:
        return value, None, 64 + len(value)
    if cls is tuple and SCALARS.issuperset(map(type, value)):
        return value, None, 64 + sum(map(sys.getsizeof, value))
    try:
        make = _copies.get(cls) or _compiled(cls)
        kept = make(value, {})
        if kept is value:
            return kept, None, size_in_memory(kept)
        if cls in _FLAT_COPIES and SCALARS.issuperset(map(type, kept.values() if cls is dict else kept)):
            return kept, _FLAT_COPIES[cls], size_in_memory(kept)
        return kept, lambda kept: make(kept, {}), size_in_memory(kept)
    except Exception as error:  # noqa: BLE001 - a class of the user's may raise anything
        # Not chained: the text of a foreign exception may show the value.
        why = f"which cannot be copied for each reader: {type(error).__name__}"
        raise Unkeyable("the answer", cls.__name__, why) from None


def copied(value: Any, memo: Memo) -> Any:
    """Return an equal value that shares nothing changeable with the first: the first itself where nothing in it can change.

    Args:
        value: What to copy.
        memo: Copies made so far in this run, so that what was one thing stays one thing.
    """
    cls = type(value)
    if cls in SCALARS:
        return value
    known = memo.get(id(value))
    if known is not None:
        return known
    made = (_copies.get(cls) or _compiled(cls))(value, memo)
    if made is not value:
        memo[id(value)] = made
    return made


def same(value: Any, _memo: Memo) -> Any:
    """Copy what nobody can change."""
    return value


# ── containers ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _a_list(value: Any, memo: Memo) -> Any:
    if SCALARS.issuperset(map(type, value)):
        return value[:]
    made: list[Any] = []
    memo[id(value)] = made  # before it is filled: a list may hold itself
    made.extend([copied(item, memo) for item in value])
    return made


def _a_dict(value: Any, memo: Memo) -> Any:
    if SCALARS.issuperset(map(type, value.values())) and SCALARS.issuperset(map(type, value)):
        return dict(value)
    made: dict[Any, Any] = {}
    memo[id(value)] = made
    for key, item in list(value.items()):
        made[copied(key, memo)] = copied(item, memo)
    return made


def _a_set(value: Any, memo: Memo) -> Any:
    return {copied(item, memo) for item in value}


def _a_frozenset(value: Any, memo: Memo) -> Any:
    items = [copied(item, memo) for item in value]
    return value if all(map(_is, items, value)) else frozenset(items)


def _a_tuple(value: Any, memo: Memo) -> Any:
    items = [copied(item, memo) for item in value]
    if all(map(_is, items, value)):
        return value
    return memo.get(id(value)) or type(value).__new__(type(value), items)  # it may hold itself through a list


def _is(one: Any, other: Any) -> bool:
    return one is other


def by_deepcopy(value: Any, memo: Memo) -> Any:
    """Copy as the value's own class or `copy.deepcopy` knows how."""
    return copy.deepcopy(value, memo)


_EXACT: Final[dict[type, Copy]] = {
    **dict.fromkeys((*SCALARS, range, type(...), type(NotImplemented)), same),
    list: _a_list,
    dict: _a_dict,
    set: _a_set,
    frozenset: _a_frozenset,
    tuple: _a_tuple,
    bytearray: lambda value, _memo: value[:],
}
_copies: dict[type, Copy] = dict(_EXACT)


def _compiled(cls: type) -> Copy:
    """Work out once how values of a class are copied."""
    from guardrail.content import copying  # noqa: PLC0415 - it builds on this module

    make = copying.way(cls) or by_deepcopy
    if len(_copies) >= _MOST_CLASSES:
        for known in _copies.keys() - _EXACT.keys():
            _copies.pop(known, None)
    _copies[cls] = make
    return make
