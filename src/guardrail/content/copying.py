"""How the kinds of value that models return are copied: enums, dates, models, dataclasses, arrays, tables."""

from __future__ import annotations

import dataclasses
import enum
import re
import sys
import types
from collections import OrderedDict, defaultdict, deque
from typing import Any, Final

from guardrail.content.codec import SCALARS
from guardrail.content.copies import Copy, Memo, by_deepcopy, copied, same
from guardrail.content.objects import hides_nothing, slots_of
from guardrail.decision import Prediction

_SHARED: Final = (enum.Enum, type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, re.Pattern)
# Exact types only: a subclass may hold more, and may change.
_SHARED_EXACTLY: Final = {
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "ipaddress": ("IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network", "IPv4Interface", "IPv6Interface"),
    "pandas": ("Timestamp", "Timedelta", "Period", "Interval"),
    "pathlib": ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"),
    "pydantic": ("SecretStr", "SecretBytes"),
    "uuid": ("UUID",),
    "zoneinfo": ("ZoneInfo",),
}
_OWN_WAYS: Final = ("__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")


def way(cls: type) -> Copy | None:
    """Return how values of a class are copied, None where only `copy.deepcopy` can tell."""
    if issubclass(cls, _SHARED) or _is_shared(cls):
        return same
    if cls in _COLLECTIONS:
        return _COLLECTIONS[cls]
    if issubclass(cls, tuple) and hasattr(cls, "_fields") and not cls.__dictoffset__ and not _has_own_way(cls, tuple):
        return _a_named_tuple
    for root in {base.__module__.partition(".")[0] for base in cls.__mro__} & _LIBRARIES.keys() & sys.modules.keys():
        make = _LIBRARIES[root](cls, sys.modules[root])
        if make is not None:
            return make
    if dataclasses.is_dataclass(cls) and hides_nothing(cls, object) and not _has_own_way(cls, object):
        return _dataclass(cls)
    return None


def _is_shared(cls: type) -> bool:
    for module, classes in _SHARED_EXACTLY.items():
        loaded = sys.modules.get(module)
        if loaded is not None and cls in [getattr(loaded, name) for name in classes]:
            return True
    bases = (int, float, complex, str, bytes)
    return any(issubclass(cls, base) and not cls.__dictoffset__ and not slots_of(cls, base) for base in bases)


def _has_own_way(cls: type, base: type) -> bool:
    for name in _OWN_WAYS:
        method = getattr(cls, name, None)
        # The decorator itself gives a frozen dataclass with slots two of these; they do as is done here.
        if method is not getattr(base, name, None) and getattr(method, "__module__", None) != "dataclasses":
            return True
    return False


# ── of the language and of the library ────────────────────────────────────────────────────────────────────────────────
def _is(one: Any, other: Any) -> bool:
    return one is other


def _a_named_tuple(value: Any, memo: Memo) -> Any:
    items = [copied(item, memo) for item in value]
    return value if all(map(_is, items, value)) else tuple.__new__(type(value), items)


def _ordered(value: Any, memo: Memo) -> Any:
    made: OrderedDict[Any, Any] = OrderedDict()
    memo[id(value)] = made
    for key, item in list(value.items()):
        made[copied(key, memo)] = copied(item, memo)
    return made


def _with_default(value: Any, memo: Memo) -> Any:
    made: defaultdict[Any, Any] = defaultdict(copied(value.default_factory, memo))
    memo[id(value)] = made
    for key, item in list(value.items()):
        made[copied(key, memo)] = copied(item, memo)
    return made


def _a_deque(value: Any, memo: Memo) -> Any:
    made: deque[Any] = deque(maxlen=value.maxlen)
    memo[id(value)] = made
    made.extend([copied(item, memo) for item in value])
    return made


def _a_prediction(value: Any, memo: Memo) -> Any:
    parts = (value.value, value.confidence, value.reasons)
    made = [copied(part, memo) for part in parts]
    return value if all(map(_is, made, parts)) else Prediction(*made)


_COLLECTIONS: Final[dict[type, Copy]] = {
    OrderedDict: _ordered,
    defaultdict: _with_default,
    deque: _a_deque,
    types.MappingProxyType: lambda value, memo: types.MappingProxyType(copied(dict(value), memo)),
    Prediction: _a_prediction,
}


# ── objects with fields ───────────────────────────────────────────────────────────────────────────────────────────────
def _dataclass(cls: Any) -> Copy:
    slots = slots_of(cls, object)
    frozen = cls.__dataclass_params__.frozen

    def make(value: Any, memo: Memo) -> Any:
        made = object.__new__(cls)
        if not frozen:
            memo[id(value)] = made
        changed = not frozen
        for slot in slots:
            try:
                content = slot.__get__(value)
            except AttributeError:
                continue
            slot.__set__(made, copied(content, memo))
            changed = changed or slot.__get__(made) is not content
        for name, content in list(getattr(value, "__dict__", {}).items()):
            made.__dict__[name] = one = copied(content, memo)
            changed = changed or one is not content
        return memo.get(id(value), made) if changed else value

    return make


def _pydantic(cls: Any, pydantic: Any) -> Copy | None:
    if not issubclass(cls, pydantic.BaseModel) or cls.__deepcopy__ is not pydantic.BaseModel.__deepcopy__:
        return None
    put = object.__setattr__  # a model's own __setattr__ validates, and a frozen one refuses
    frozen = cls.model_config.get("frozen", False)

    def make(value: Any, memo: Memo) -> Any:
        state, extra, private = value.__dict__, value.__pydantic_extra__, value.__pydantic_private__
        if frozen and not (extra or private) and all(copied(content, memo) is content for content in state.values()):
            return value
        made = cls.__new__(cls)
        memo[id(value)] = made
        flat = SCALARS.issuperset(map(type, state.values()))
        put(made, "__dict__", dict(state) if flat else {name: copied(content, memo) for name, content in state.items()})
        put(made, "__pydantic_extra__", None if extra is None else copied(extra, memo))
        put(made, "__pydantic_fields_set__", set(value.__pydantic_fields_set__))
        put(made, "__pydantic_private__", None if private is None else copied(private, memo))
        return made

    return make


# ── arrays and tables ─────────────────────────────────────────────────────────────────────────────────────────────────
def _numpy(cls: type, np: Any) -> Copy | None:
    if issubclass(cls, np.generic):
        return by_deepcopy if issubclass(cls, np.void) else same  # a record is a view into its array
    if cls not in (np.ndarray, np.matrix, np.recarray, np.memmap):
        return None

    def make(value: Any, memo: Memo) -> Any:
        made = by_deepcopy(value, memo) if value.dtype.hasobject else value.copy(order="K")
        if not value.flags.writeable:
            made.flags.writeable = False
        return made

    return make


def _pandas(cls: type, pd: Any) -> Copy | None:
    if cls in (type(pd.NA), type(pd.NaT)):
        return same
    if issubclass(cls, pd.DataFrame):
        return _a_frame
    if issubclass(cls, pd.Series):
        return _a_series
    if issubclass(cls, pd.Index):
        return lambda value, _memo: value.copy(deep=True)
    if issubclass(cls, pd.api.extensions.ExtensionArray):
        return lambda value, _memo: value.copy()
    return None


def _a_frame(value: Any, memo: Memo) -> Any:
    made = value.copy(deep=True)
    for at in range(value.shape[1]):
        _fill(made._get_column_array(at), memo)  # noqa: SLF001 - the public way makes a Series of each column
    made.columns = value.columns.copy(deep=True)
    return _with_attributes(made, value, memo)


def _a_series(value: Any, memo: Memo) -> Any:
    made = value.copy(deep=True)
    _fill(made._values, memo)  # noqa: SLF001 - the public `values` cannot be written to
    return _with_attributes(made, value, memo)


def _with_attributes(made: Any, value: Any, memo: Memo) -> Any:
    # Before pandas 3 a deep copy shares the index, and the index's values can be written to.
    made.index = value.index.copy(deep=True)
    made.attrs = copied(value.attrs, memo)
    # What the user hung on it, which pandas' own copies lose; its own fields begin with an underscore.
    made.__dict__.update({name: copied(one, memo) for name, one in vars(value).items() if not name.startswith("_")})
    return made


def _fill(column: Any, memo: Memo) -> None:
    """Copy the objects in a column that was copied itself: pandas' deep copy shares them."""
    if getattr(column.dtype, "kind", "") != "O" or not isinstance(column, sys.modules["numpy"].ndarray):
        return
    if not SCALARS.issuperset(map(type, column)):
        for at, item in enumerate(column):
            column[at] = copied(item, memo)


def _polars(cls: type, pl: Any) -> Copy | None:
    def make(value: Any, _memo: Memo) -> Any:
        columns = (value,) if isinstance(value, pl.Series) else value
        if any(column.dtype == pl.Object for column in columns):
            raise TypeError("a clone would share the objects in it")
        return value.clone()  # the data are copied by whoever changes them

    return make if cls in (pl.DataFrame, pl.Series) else None


def _pyarrow(cls: type, pa: Any) -> Copy | None:
    kinds = (pa.Table, pa.RecordBatch, pa.Array, pa.ChunkedArray, pa.Scalar, pa.Schema, pa.Field, pa.DataType)
    return same if issubclass(cls, kinds) else None  # none of these ever changes


_LIBRARIES: Final = {"numpy": _numpy, "pandas": _pandas, "polars": _polars, "pyarrow": _pyarrow, "pydantic": _pydantic}
