"""How numpy's arrays and scalars are written: by dtype, shape, order and content; a view equals its content."""

from __future__ import annotations

import sys
from marshal import dumps
from typing import Any, Final

from guardrail.content.codec import LIMIT, Codec, Write, buffer, refuse, scalar, tagged
from guardrail.content.errors import Unkeyable
from guardrail.content.objects import own_attributes

_COMMON: Final = "?bBhHiIlLqQefdFD"  # dtypes of which numpy holds one object each, for ever
_X87_MANTISSA: Final = 63  # bits; of such a long double only the first bytes hold anything
_X87_BYTES: Final = 10


def writer(codec: Codec, cls: type) -> Write | None:
    """Return how values of a class are written, None where it is not numpy's."""
    np: Any = sys.modules["numpy"]
    if issubclass(cls, np.ma.MaskedArray):
        return _masked(codec, cls)
    if issubclass(cls, np.ndarray):
        return _array(codec, cls)
    if issubclass(cls, np.generic) and cls.__module__ == "numpy":
        return _scalar(codec, cls)
    if issubclass(cls, np.dtype):
        return lambda value, depth: tagged("dtype", (of_dtype(codec, value, depth),))
    return None


def of_dtype(codec: Codec, dtype: Any, depth: int) -> bytes:
    """Write a dtype: kind, size, byte order and unit; fields with their places; metadata.

    Raises:
        Unkeyable: It is not one of numpy's own.
    """
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return tagged("sub", (of_dtype(codec, base, depth), scalar(shape)))
    # Two names may stand for one format ("l" and "q"), and a function can tell them apart.
    head = dumps((dtype.str, dtype.char, codec.name(dtype.type)), 2)
    metadata = scalar(None) if dtype.metadata is None else codec.part(dict(dtype.metadata), depth, ".dtype.metadata")
    if dtype.names is not None:
        fields = [
            tagged("field", (codec.part((name, *place, dtype.isalignedstruct), depth, ".dtype"), of_dtype(codec, kind, depth)))
            for name, (kind, *place) in ((name, dtype.fields[name]) for name in dtype.names)
        ]
        return tagged("fields", (head, metadata, scalar(dtype.itemsize), *fields))
    if dtype.kind == "T":  # variable-width text
        missing = (dtype.na_object,) if hasattr(dtype, "na_object") else ()
        return tagged("text", (head, scalar(dtype.coerce), codec.part(missing, depth, ".dtype.na_object")))
    if dtype.type.__module__ != "numpy":
        raise Unkeyable(".dtype", dtype.name, "a dtype that is not numpy's own")
    return head if metadata == scalar(None) else tagged("metadata", (head, metadata))


def content_of(codec: Codec, array: Any, depth: int) -> list[bytes]:
    """Write the items of an array without regard to its shape: in its own order where it is laid out in one, else as C."""
    np: Any = sys.modules["numpy"]
    if not array.flags.c_contiguous:
        # The transpose of an array in Fortran order is in C order.
        array = array.T if array.flags.f_contiguous else np.ascontiguousarray(array)
    flat = array.reshape(-1)
    dtype = flat.dtype
    if dtype.names is not None:  # field by field: what lies between the fields is no content
        return [part for name in dtype.names for part in content_of(codec, np.ascontiguousarray(flat[name]), depth)]
    if dtype.kind in "OT":
        return [codec.part(flat.tolist(), depth, "")]
    if dtype.char in "gG" and np.finfo(np.longdouble).nmant == _X87_MANTISSA:
        flat = flat.astype(dtype.newbyteorder("=")).view(np.uint8).reshape(-1, np.dtype(np.longdouble).itemsize)
        flat = np.ascontiguousarray(flat[:, :_X87_BYTES]).reshape(-1)
    return [buffer(flat.view(np.uint8)) if flat.nbytes > LIMIT else scalar(flat.tobytes())]


def _array(codec: Codec, cls: type) -> Write:
    np: Any = sys.modules["numpy"]
    common = {id(np.dtype(char)): of_dtype(codec, np.dtype(char), 0) for char in _COMMON}
    if cls is not np.ndarray:
        return _subclass(codec, cls)

    def written(value: Any, depth: int) -> bytes:
        flags, dtype = value.flags, value.dtype
        known = common.get(id(dtype))
        by_rows = flags.c_contiguous
        if by_rows and known is not None and value.nbytes <= LIMIT:
            return tagged("ndarray", (dumps((value.shape, False), 2), known, dumps(value.tobytes(), 2)))
        head = dumps((value.shape, not by_rows and flags.f_contiguous), 2)
        return tagged("ndarray", [head, of_dtype(codec, dtype, depth), *content_of(codec, value, depth)])

    return written


def _subclass(codec: Codec, cls: type) -> Write:
    np: Any = sys.modules["numpy"]
    own, name = own_attributes(codec, cls, np.ndarray), scalar(codec.name(cls))
    if own is refuse:
        return refuse
    write = codec.writers[np.ndarray]
    return lambda value, depth: tagged("subarray", (name, write(value.view(np.ndarray), depth), own(value, depth)))


def _masked(codec: Codec, cls: type) -> Write:
    np: Any = sys.modules["numpy"]
    if cls not in (np.ma.MaskedArray, type(np.ma.masked)):
        return refuse
    name = scalar(codec.name(cls))
    write = codec.writers[np.ndarray]

    def written(value: Any, depth: int) -> bytes:
        # Private, because the public properties make a full mask out of none, and a filling where none was set.
        mask, fill = value._mask, value._fill_value  # noqa: SLF001
        parts = [write(value.view(np.ndarray), depth), write(np.asarray(mask), depth)]
        parts.append(scalar((mask is np.ma.nomask, bool(value.hardmask), codec.name(value.baseclass))))
        parts.append(scalar(None) if fill is None else write(np.asarray(fill), depth))
        return tagged("masked", [name, *parts])

    return written


def _scalar(codec: Codec, cls: type) -> Write:
    np: Any = sys.modules["numpy"]
    dtype = np.dtype(cls)
    if dtype.char in _COMMON:
        head = tagged("scalar", (of_dtype(codec, dtype, 0), scalar(None)))[:-1]  # and its bytes in the place of None
        return lambda value, _depth: head + dumps(value.tobytes(), 2)

    def written(value: Any, depth: int) -> bytes:
        array = np.asarray(value)
        return tagged("scalar", [of_dtype(codec, value.dtype, depth), *content_of(codec, array, depth)])

    return written
