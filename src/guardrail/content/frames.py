"""How pandas' tables, columns, indexes and scalars are written: by types, names, index, attributes and content."""

from __future__ import annotations

import sys
from collections.abc import Callable
from marshal import dumps
from typing import Any

from guardrail.content.codec import Codec, Write, joined, refuse, scalar, tagged
from guardrail.content.errors import Unkeyable


def writer(codec: Codec, cls: type) -> Write | None:
    """Return how values of a class are written, None where it is not pandas'."""
    pd: Any = sys.modules["pandas"]
    if issubclass(cls, pd.DataFrame):
        return _frame(codec, cls)
    if issubclass(cls, pd.Series):
        return _series(codec, cls)
    if issubclass(cls, pd.Index):
        return _index(codec, cls)
    if issubclass(cls, pd.api.extensions.ExtensionArray):
        return lambda value, depth: tagged("array", (_items(codec, value, depth),))
    return _scalars(codec, pd).get(cls)


def _scalars(codec: Codec, pd: Any) -> dict[type, Write]:
    def an_interval(value: Any, depth: int) -> bytes:
        return tagged("Interval", [scalar(value.closed), *codec.parts((value.left, value.right), depth)])

    def a_timestamp(value: Any, depth: int) -> bytes:
        return tagged("Timestamp", [scalar(value.fold), *codec.parts((value.asm8, value.tzinfo), depth)])

    return {
        type(pd.NA): lambda _value, _depth: dumps((..., "NA"), 2),
        type(pd.NaT): lambda _value, _depth: dumps((..., "NaT"), 2),
        pd.Timestamp: a_timestamp,
        pd.Timedelta: lambda value, depth: tagged("Timedelta", codec.parts((value.asm8,), depth)),
        pd.Period: lambda value, _depth: dumps((..., "Period", value.ordinal, value.freqstr), 2),
        pd.Interval: an_interval,
    }


def _around(codec: Codec, cls: type, base: type) -> Callable[[Any, int], bytes]:
    """Return how to write what stands around the content: the class, attributes, flags and a subclass's own metadata."""
    name = scalar(None if cls is base else codec.name(cls))
    own = [field for field in getattr(cls, "_metadata", ()) if field not in getattr(base, "_metadata", ())]

    def around(value: Any, depth: int) -> bytes:
        # Names of the user's; what pandas itself keeps on the object begins with an underscore.
        hung = {field: content for field, content in vars(value).items() if not field.startswith("_")}
        hung.update((field, getattr(value, field, None)) for field in own)
        parts = [name, scalar(value.flags.allows_duplicate_labels), codec.part(value.attrs, depth, ".attrs")]
        return joined([*parts, codec.part(hung, depth, ".__dict__")])

    return around


def _frame(codec: Codec, cls: type) -> Write:
    pd: Any = sys.modules["pandas"]
    around = _around(codec, cls, pd.DataFrame)

    def written(value: Any, depth: int) -> bytes:
        parts = [around(value, depth), codec.part(value.columns, depth, ".columns"), codec.part(value.index, depth, ".index")]
        for at in range(value.shape[1]):
            try:
                # Twenty times cheaper than value.iloc[:, at].array, which is the same.
                parts.append(_items(codec, value._get_column_array(at), depth + 1))  # noqa: SLF001
            except Unkeyable as error:
                error.under(f".iloc[:, {at}]")
                raise
        return tagged("DataFrame", parts)

    return written


def _series(codec: Codec, cls: type) -> Write:
    pd: Any = sys.modules["pandas"]
    around = _around(codec, cls, pd.Series)

    def written(value: Any, depth: int) -> bytes:
        parts = [around(value, depth), codec.part(value.name, depth, ".name"), codec.part(value.index, depth, ".index")]
        return tagged("Series", [*parts, _items(codec, value.array, depth)])

    return written


def _index(codec: Codec, cls: Any) -> Write:
    pd: Any = sys.modules["pandas"]
    if cls.__module__.partition(".")[0] != "pandas":
        return refuse
    name = cls.__name__

    def a_range(value: Any, depth: int) -> bytes:
        return tagged(name, (scalar((value.start, value.stop, value.step)), codec.part(value.name, depth, ".name")))

    def many_levels(value: Any, depth: int) -> bytes:
        parts = [codec.part(list(value.names), depth, ".names")]
        for level, codes in zip(value.levels, value.codes, strict=True):
            parts += codec.parts((level, codes), depth, lambda _: ".levels")
        return tagged(name, parts)

    def plain(value: Any, depth: int) -> bytes:
        frequency = getattr(value, "freqstr", None)
        return tagged(name, (codec.part(value.name, depth, ".name"), scalar(frequency), _items(codec, value.array, depth)))

    return a_range if cls is pd.RangeIndex else many_levels if cls is pd.MultiIndex else plain


def _items(codec: Codec, array: Any, depth: int) -> bytes:
    """Write the items of a column: an array of numpy's or one of pandas' own kinds."""
    pd: Any = sys.modules["pandas"]
    np: Any = sys.modules["numpy"]
    if isinstance(array, np.ndarray):
        return codec.part(array, depth, "")
    dtype, arrays = array.dtype, pd.arrays
    if isinstance(dtype, pd.StringDtype):
        missing = codec.part(dtype.na_value, depth, ".dtype")
        text = array.__arrow_array__() if dtype.storage == "pyarrow" else array.to_numpy(dtype=object)
        return tagged("text", (scalar(dtype.storage), missing, codec.part(text, depth, "")))
    if isinstance(array, arrays.NumpyExtensionArray):
        return codec.part(array.to_numpy(), depth, "")
    if isinstance(array, pd.Categorical):
        parts = codec.parts((array.codes, array.categories), depth, lambda _: ".categories")
        return tagged("categories", [scalar(array.ordered), *parts])
    if isinstance(array, arrays.DatetimeArray | arrays.TimedeltaArray | arrays.PeriodArray):
        zone, frequency = codec.part(getattr(array, "tz", None), depth, ".dt.tz"), scalar(str(getattr(array, "freq", None)))
        return tagged("times", (scalar(str(dtype)), frequency, zone, codec.part(array.view("i8"), depth, "")))
    if isinstance(array, arrays.IntegerArray | arrays.FloatingArray | arrays.BooleanArray):
        absent = array.isna()  # what stands under a missing value is no content
        known = array.to_numpy(dtype=dtype.numpy_dtype, na_value=False)
        return tagged("masked", [scalar(dtype.name), *codec.parts((known, absent), depth)])
    if isinstance(array, arrays.IntervalArray):
        return tagged("intervals", [scalar(array.closed), *codec.parts((array.left, array.right), depth)])
    if isinstance(array, arrays.SparseArray):
        places = array.sp_index
        parts = codec.parts((array.fill_value, array.sp_values, places.to_int_index().indices), depth)
        return tagged("sparse", [scalar((len(array), type(places).__name__)), *parts])
    if isinstance(array, arrays.ArrowExtensionArray):
        return tagged("arrow", (codec.part(array.__arrow_array__(), depth, ""),))
    raise Unkeyable("", str(dtype), "a kind of column whose content is not known")
