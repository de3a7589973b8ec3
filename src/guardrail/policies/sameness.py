"""An argument that fits its annotation already goes in as it is: the same object, not a copy, nor a plainer type."""

from __future__ import annotations

import operator
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping, MappingView, MutableMapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final, Union, get_args, get_origin

# Compared by the type's own rule, never by that of a subclass, which may call anything equal.
_PLAIN: Final = frozenset({int, float, complex, str, bytes, Decimal, Fraction, datetime, date, time, timedelta})
_ORDERED: Final = (list, tuple, deque)
_ABSTRACT: Final = (MutableMapping, Sequence, MutableSequence, AbstractSet, MutableSet)
_REBUILT: Final = (list, dict, tuple, set, frozenset, Mapping, *_ABSTRACT)  # whose entries may be of such a kind in turn


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
    return kind in (set, frozenset) and _same_members(value, valid)


def _same_members(value: Any, valid: Any) -> bool:
    return len(value) == len(valid) and {(each.__class__, each) for each in value} == {(each.__class__, each) for each in valid}


def _all(values: Iterable[Any], valid: Iterable[Any]) -> bool:
    # Identity first: what needed no conversion is the same object, and a long list of that is gone through without a Python frame.
    return all(map(operator.is_, values, valid)) or all(map(_unchanged, values, valid))


def with_kinds_kept(annotation: Any) -> Any:
    """Return an annotation in which any object of an abstract kind fits as it is: a set for `collections.abc.Set`, an array for `Sequence`.

    For these kinds a validator makes a plain set, list or dict, or calls the class of what it is given with a list, which
    not every class takes. A view of a dict's keys still becomes a set: the view itself has no content of its own to cache by.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(with_kinds_kept(args[0]), *args[1:])]
    if origin in (Union, types.UnionType):
        return Union[tuple(map(with_kinds_kept, args))]  # noqa: UP007 - of as many as there are
    kind = origin or annotation
    if args and kind in _REBUILT:
        annotation = types.GenericAlias(kind, tuple(map(with_kinds_kept, args)))
    if kind in _ABSTRACT and (args or kind is not Sequence):  # of anything: then an instance fits without a look at its entries
        return Annotated[annotation, _Kept(kind)]
    return annotation


class _Kept:
    """Stands in an annotation; pydantic asks it for the schema."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Return pydantic's own schema with the look at what became of the entries around it."""
        from pydantic_core import core_schema  # noqa: PLC0415 - the import costs more than all of ours

        return core_schema.no_info_wrap_validator_function(self.validate, handler(source))

    def validate(self, value: Any, validate: Callable[[Any], Any]) -> Any:
        """Return the value itself where it is of the kind and none of its entries was converted."""
        if not isinstance(value, self.kind) or isinstance(value, MappingView):
            return validate(value)
        given = value
        if self.kind in (Sequence, MutableSequence) and not isinstance(value, (*_ORDERED, str, bytes)):
            given = list(value)
        valid = validate(given)
        return value if self._same_entries(given, valid) else valid

    def _same_entries(self, given: Any, valid: Any) -> bool:
        if len(given) != len(valid):
            return False
        if issubclass(self.kind, Mapping):
            return _all(given.keys(), valid.keys()) and _all(given.values(), valid.values())
        return _same_members(given, valid) if issubclass(self.kind, AbstractSet) else _all(given, valid)
