"""How types of the standard library are written: dates and times, numbers, texts, collections."""

from __future__ import annotations

import collections
import datetime as dt
import sys
import types
from marshal import dumps
from typing import Any, Final

from guardrail.content.codec import Codec, Write, buffer, scalar, tagged

# Types whose text says all there is to say; a module that is not loaded has no values.
_BY_TEXT: Final = {
    "ipaddress": ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface"),
    "pathlib": ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
}


def standard_types(codec: Codec) -> dict[type, Write]:
    """Return how the types of those modules are written that are loaded now; methods are called through the type."""
    known: dict[type, Write] = {**_dates(codec), **_collections(codec), **_numbers()}
    for module, classes in _BY_TEXT.items():
        if module in sys.modules:
            for cls in classes:
                known[getattr(sys.modules[module], cls)] = _by_text(cls)
    return known


def _by_text(name: str) -> Write:
    return lambda value, _depth: dumps((..., name, str(value)), 2)


def _dates(codec: Codec) -> dict[type, Write]:
    def a_date(value: Any, _depth: int) -> bytes:
        return dumps((..., "date", dt.date.toordinal(value)), 2)

    def a_timedelta(value: Any, _depth: int) -> bytes:
        return dumps((..., "timedelta", *dt.timedelta.__reduce__(value)[1]), 2)

    def moment(tag: str, cls: Any) -> Write:
        reduce, with_zone = cls.__reduce_ex__, tagged(tag, (scalar(None), scalar(None)))[:-2]

        def written(value: Any, depth: int) -> bytes:
            state, *zone = reduce(value, 4)[1]  # bytes that hold the fold too, and the zone where there is one
            if not zone:
                return dumps((..., tag, state), 2)
            where = utc if zone[0] is dt.UTC else codec.part(zone[0], depth, ".tzinfo")
            return with_zone + dumps(state, 2) + where

        return written

    def a_timezone(value: Any, depth: int) -> bytes:
        offset, *name = value.__getinitargs__()
        return tagged("timezone", (a_timedelta(offset, depth), *map(scalar, name)))

    def a_zone(value: Any, _depth: int) -> bytes:
        return dumps((..., "zone", *value.__reduce__()[1]), 2)  # which refuses a zone that was read from some file

    utc = a_timezone(dt.UTC, 0)
    known: dict[type, Write] = {
        dt.date: a_date,
        dt.datetime: moment("datetime", dt.datetime),
        dt.time: moment("time", dt.time),
        dt.timedelta: a_timedelta,
        dt.timezone: a_timezone,
    }
    if "zoneinfo" in sys.modules:
        known[sys.modules["zoneinfo"].ZoneInfo] = a_zone
    return known


def _numbers() -> dict[type, Write]:
    known: dict[type, Write] = {}
    if "decimal" in sys.modules:
        decimal = sys.modules["decimal"].Decimal
        # Sign, digits and exponent, NaN payloads too. Upper case: the context may write the E small.
        known[decimal] = lambda value, _depth: dumps((..., "Decimal", decimal.__str__(value).upper()), 2)
    if "fractions" in sys.modules:
        fraction = sys.modules["fractions"].Fraction
        known[fraction] = lambda value, _depth: dumps((..., "Fraction", value.numerator, value.denominator), 2)
    if "uuid" in sys.modules:
        known[sys.modules["uuid"].UUID] = lambda value, _depth: dumps((..., "UUID", value.int, value.is_safe.value), 2)
    return known


def _collections(codec: Codec) -> dict[type, Write]:
    ordered = collections.OrderedDict

    def a_deque(value: Any, depth: int) -> bytes:
        return tagged("deque", [scalar(value.maxlen), *codec.parts(collections.deque.__iter__(value), depth)])

    def an_ordered_dict(value: Any, depth: int) -> bytes:
        return tagged("OrderedDict", [codec.pairs([*ordered.items(value)], depth)])

    def a_defaultdict(value: Any, depth: int) -> bytes:
        factory = codec.part(value.default_factory, depth, ".default_factory")
        return tagged("defaultdict", [factory, codec.pairs([*dict.items(value)], depth)])

    def a_mapping_proxy(value: Any, depth: int) -> bytes:
        return tagged("mappingproxy", [codec.pairs([*value.items()], depth)])

    def a_namespace(value: Any, depth: int) -> bytes:
        return tagged("SimpleNamespace", [codec.pairs([*vars(value).items()], depth)])

    known: dict[type, Write] = {
        collections.deque: a_deque,
        collections.OrderedDict: an_ordered_dict,
        collections.defaultdict: a_defaultdict,
        types.MappingProxyType: a_mapping_proxy,
        types.SimpleNamespace: a_namespace,
    }
    if "array" in sys.modules:
        known[sys.modules["array"].array] = lambda value, _depth: tagged("array", [scalar(value.typecode), buffer(value)])
    return known
