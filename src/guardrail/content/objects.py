"""How objects are written: enums, dataclasses, subclasses of the language's types, dates, classes, functions, and own keys."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import sys
import types
from collections.abc import Callable
from marshal import dumps
from operator import itemgetter
from typing import Any, Final

from guardrail.content import names
from guardrail.content.codec import SCALARS, Codec, Write, joined, refuse, scalar, tagged
from guardrail.content.errors import Unkeyable
from guardrail.content.standard import standard_types

_POINTER: Final = 8  # bytes
_UNSET: Final = dumps((..., "unset"), 2)

# From a subclass to the exact value in it; called through the type, since the subclass may override its methods.
_EXACT: Final[dict[type, Callable[[Any], Any]]] = {
    int: int.__pos__,
    float: float.__pos__,
    complex: complex.__pos__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    bytearray: lambda value: bytearray.__getitem__(value, slice(None)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    list: lambda value: list(list.__iter__(value)),
    dict: lambda value: dict(dict.items(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}


def by_own_key(codec: Codec, cls: type) -> Write:
    """Return how objects with a method `__guard_key__()` are written: by their class and what it returns."""
    name = dumps(codec.name(cls), 2)

    def keyed(value: Any, depth: int) -> bytes:
        return tagged("key", (name, codec.part(value.__guard_key__(), depth, ".__guard_key__()")))

    return keyed


def writer(codec: Codec, cls: type) -> Write | None:
    """Return how values of a class of the language or of the user's are written, None where there is no exact way."""
    if issubclass(cls, type):
        # As in Codec: where a metaclass says what is equal, one class could pass for another.
        return _by_name(codec) if cls.__eq__ is type.__eq__ and cls.__hash__ is type.__hash__ else refuse
    if cls in (types.FunctionType, types.BuiltinFunctionType):
        return _by_name(codec)
    if cls is types.GenericAlias or (cls.__module__, cls.__qualname__) == ("typing", "_GenericAlias"):
        return lambda value, depth: tagged(
            "alias", [dumps((cls.__qualname__, repr(value)[:1]), 2), *codec.parts((value.__origin__, value.__args__), depth)]
        )
    if issubclass(cls, enum.Enum):
        return _enum(codec, cls)
    if "pytz" in sys.modules and issubclass(cls, sys.modules["pytz"].tzinfo.BaseTzInfo):
        return lambda value, _depth: dumps((..., "pytz", *value.__reduce__()[1]), 2)
    standard = standard_types(codec)
    if cls in standard:
        return standard[cls]
    for base in cls.__mro__:
        if base in standard:
            return _object(codec, cls, base, standard[base])
        if base in _EXACT:
            return _object(codec, cls, base, _through(_EXACT[base], codec.exact[base]))
    if dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__") or issubclass(cls, dt.tzinfo):
        return _object(codec, cls, dt.tzinfo if issubclass(cls, dt.tzinfo) else object, None)
    return None


def _through(exact: Callable[[Any], Any], write: Write) -> Write:
    return lambda value, depth: write(exact(value), depth)


def _by_name(codec: Codec) -> Write:
    def named(value: Any, _depth: int) -> bytes:
        if not names.resolves(value):
            why = "and its name does not lead to it; define it at the top of a module"
            raise Unkeyable("", type(value).__name__, why)
        return dumps((..., "named", names.plain_name(value) if codec.shared else names.token(value)), 2)

    return named


def _enum(codec: Codec, cls: type[enum.Enum]) -> Write:
    name = codec.name(cls)

    def member(one: enum.Enum) -> bytes:
        value = one._value_
        return dumps((..., "enum", name, one._name_, value if type(value) in SCALARS else None), 2)

    known = {id(one): member(one) for one in cls.__members__.values()}

    def written(value: Any, _depth: int) -> bytes:
        return known.get(id(value)) or member(value)  # a combination of flags has no name, and a number as its value

    return written


# ── objects made of a base, slots and a __dict__ ──────────────────────────────────────────────────────────────────────
def _object(codec: Codec, cls: type, base: type, write_base: Write | None) -> Write:
    """Return how to write objects of a class of the user's: the name, the value of the base, and every attribute."""
    own = own_attributes(codec, cls, base)
    if own is refuse:
        return refuse
    if write_base is None and dataclasses.is_dataclass(cls) and not slots_of(cls, base):
        return _fields(codec, cls)
    head = scalar(codec.name(cls))

    def written(value: Any, depth: int) -> bytes:
        based = scalar(None) if write_base is None else write_base(value, depth)
        return tagged("object", (head, based, own(value, depth)))

    return written


def own_attributes(codec: Codec, cls: type, base: type) -> Write:
    """Return how to write what a subclass keeps beside the value of its base: `__dict__` and slots."""
    if not hides_nothing(cls, base):
        return refuse
    slots = slots_of(cls, base)

    def written(value: Any, depth: int) -> bytes:
        parts = [_attributes(codec, value, depth)]
        for slot in slots:
            try:
                content = slot.__get__(value)
            except AttributeError:
                parts.append(_UNSET)
            else:
                parts.append(codec.part(content, depth, f".{slot.__name__}"))
        return joined(parts)

    return written


def hides_nothing(cls: type, base: type) -> bool:
    """Return whether slots and `__dict__` are all that a class adds to its base; one written in C may keep more."""
    room = cls.__basicsize__ - base.__basicsize__ - _POINTER * len(slots_of(cls, base))
    return room <= 2 * _POINTER and not hasattr(cls, "n_unnamed_fields")  # room for the __dict__ and weak references


def slots_of(cls: type, base: type) -> list[Any]:
    """Return the descriptors of the slots that a class adds to its base."""
    owners = cls.__mro__[: cls.__mro__.index(base)]
    return [slot for owner in owners for slot in vars(owner).values() if type(slot) is types.MemberDescriptorType]


def _attributes(codec: Codec, value: Any, depth: int) -> bytes:
    state: dict[str, Any] = getattr(value, "__dict__", {})
    parts = codec.parts(state.values(), depth, lambda at: f".{[*state][at]}")
    return joined([scalar(str.__str__(key)) + part for key, part in zip(state, parts, strict=True)])


def _fields(codec: Codec, cls: Any) -> Write:
    """Return how to write a dataclass that keeps its fields in `__dict__`, and usually nothing else."""
    name = codec.name(cls)
    fields = tuple(field.name for field in dataclasses.fields(cls))
    get = values_of(fields)
    head = dumps((..., "fields", name, None), 2)[:-1]  # and the tuple of values in the place of None

    def written(value: Any, depth: int) -> bytes:
        state = value.__dict__
        try:
            values = get(state)
        except KeyError:
            values = ()
        if len(values) == len(state):
            for content in values:
                if type(content) not in SCALARS:
                    return head + joined(codec.parts(values, depth, lambda at: f".{fields[at]}"))
            return head + dumps(values, 2)
        return tagged("object", (scalar(name), scalar(None), joined((_attributes(codec, value, depth),))))

    return written


def values_of(fields: tuple[str, ...]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """Return what picks these keys out of a dict, as a tuple; it raises KeyError where one is missing."""
    if len(fields) > 1:
        return itemgetter(*fields)
    return lambda state: tuple([state[field] for field in fields])
