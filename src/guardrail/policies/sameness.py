"""An argument that fits its annotation already goes in as it is: the same object, not a copy, nor a plainer type."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

# Compared by the type's own rule, never by that of a subclass, which may call anything equal.
_PLAIN: Final = frozenset({int, float, complex, str, bytes, Decimal, Fraction, datetime, date, time, timedelta})
_ORDERED: Final = (list, tuple, deque)


def keeping(validate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the same check, which hands back the value itself wherever validation changed nothing about it.

    A validator builds lists, mappings and sets anew, makes the plain type of a subclass, and an iterator of any iterable. The function would get a
    `dict` for a `defaultdict`, a `tuple` for a named tuple, and what it appends to a list would not reach its caller.
    """

    def validate_and_keep(value: Any) -> Any:
        valid = validate(value)
        return value if valid is value or _unchanged(value, valid) else valid

    return validate_and_keep


def _unchanged(value: Any, valid: Any) -> bool:
    """Say whether a value is what the validator made of it, to the last entry; a subclass counts as what it is based on."""
    if value is valid:
        return True
    kind = valid.__class__
    if kind.__name__ == "ValidatorIterator":
        return True  # pydantic's, for an iterable: once only, without len() or send(), and its errors would quote items
    if kind is complex and value.__class__ in (int, float):
        return True  # either is a complex number to a type checker, and an array-like is asked for as one
    if not isinstance(value, kind):
        return False
    if kind in _PLAIN:
        return kind.__eq__(value, valid) is True
    if isinstance(valid, dict):
        return len(value) == len(valid) and _all(dict.keys(value), valid) and _all(dict.values(value), valid.values())
    if isinstance(valid, _ORDERED):
        return len(value) == len(valid) and _all(value, valid)
    if kind in (set, frozenset):
        return len(value) == len(valid) and {(each.__class__, each) for each in value} == {
            (each.__class__, each) for each in valid
        }
    return False


def _all(values: Iterable[Any], valid: Iterable[Any]) -> bool:
    # Identity first: what needed no conversion is the same object, and a long list of that is gone through without a Python frame.
    return all(map(operator.is_, values, valid)) or all(map(_unchanged, values, valid))
