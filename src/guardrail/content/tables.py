"""Arrays and tables as JSON: their rows, with names and types beside them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

ABSENT: Final = object()  # not of these kinds
Show = Callable[[Any, str], Any]  # (a value, the path's step to it) -> its JSON
Column = Callable[[str], Callable[[Any], Any] | None]  # a column's name -> what is done with its JSON values; None drops it


def of_library(value: Any, show: Show, column: Column) -> Any:
    """Return an array, table, column or scalar of numpy, pandas, polars or Arrow as JSON; ABSENT for anything else."""
    for root in {base.__module__.partition(".")[0] for base in type(value).__mro__} & _KINDS.keys() & sys.modules.keys():
        shown = _KINDS[root](value, sys.modules[root], show, column)
        if shown is not ABSENT:
            return shown
    return ABSENT


def _numpy(value: Any, np: Any, show: Show, _column: Column) -> Any:
    if isinstance(value, np.ndarray):
        items = np.datetime_as_string(value) if value.dtype.kind == "M" else value
        items = items.tolist()
        easy = value.dtype.char in "?bhilqBHI" or (value.dtype.char in "efd" and np.isfinite(value).all())
        plain = easy and not isinstance(value, np.ma.MaskedArray)
        return {"$ndarray": items if plain else show(items, ""), "dtype": str(value.dtype)}
    if not isinstance(value, np.generic):
        return ABSENT
    if value.dtype.kind in "Mm":
        return str(value)
    item = value.item()
    return str(value) if isinstance(item, np.generic) else show(item, "")  # a long double has no equal


def _pandas(value: Any, pd: Any, show: Show, column: Column) -> Any:
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, pd.Timestamp | pd.Timedelta):
        return value.isoformat()
    if isinstance(value, pd.Period | pd.Interval):
        return str(value)
    if isinstance(value, pd.DataFrame):
        parts = [(name, str(one.dtype), one.tolist()) for name, one in value.items()]
        return _table("pandas", parts, show, column) | _index(value.index, pd, show)
    if isinstance(value, pd.Series):
        shown = {"$series": show(value.tolist(), ""), "name": show(value.name, ".name"), "dtype": str(value.dtype)}
        return shown | _index(value.index, pd, show)
    if isinstance(value, pd.Index | pd.api.extensions.ExtensionArray):
        return {"$array": show(list(value), ""), "dtype": str(value.dtype)}
    return ABSENT


def _index(index: Any, pd: Any, show: Show) -> dict[str, Any]:
    """Return a frame's index, unless it only counts the rows."""
    counts = isinstance(index, pd.RangeIndex) and (index.start, index.step, index.name) == (0, 1, None)
    return {} if counts else {"index": show(index.tolist(), ".index")}


def _polars(value: Any, pl: Any, show: Show, column: Column) -> Any:
    if isinstance(value, pl.DataFrame):
        return _table("polars", [(one.name, str(one.dtype), one.to_list()) for one in value], show, column)
    if isinstance(value, pl.Series):
        return {"$series": show(value.to_list(), ""), "name": value.name, "dtype": str(value.dtype)}
    return ABSENT


def _pyarrow(value: Any, pa: Any, show: Show, column: Column) -> Any:
    if isinstance(value, pa.Table | pa.RecordBatch):
        names = value.schema.names
        parts = [(name, str(one.type), one.to_pylist()) for name, one in zip(names, value.columns, strict=True)]
        return _table("arrow", parts, show, column)
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return {"$array": show(value.to_pylist(), ""), "dtype": str(value.type)}
    return show(value.as_py(), "") if isinstance(value, pa.Scalar) else ABSENT


def _table(library: str, parts: list[tuple[Any, str, list[Any]]], show: Show, column: Column) -> dict[str, Any]:
    """Return a table of (name, dtype, items) for each column as JSON, without those that are dropped."""
    kept = []
    for at, (name, kind, items) in enumerate(parts):
        treat = column(name) if isinstance(name, str) else _as_it_is
        if treat is not None:
            kept.append((name, kind, [treat(item) for item in show(items, f".columns[{at}]")]))
    names, kinds = [show(name, ".columns") for name, _, _ in kept], [kind for _, kind, _ in kept]
    rows = [list(row) for row in zip(*(items for _, _, items in kept), strict=True)]
    return {"$table": library, "columns": names, "dtypes": kinds, "rows": rows}


def _as_it_is(item: Any) -> Any:
    return item


_KINDS: Final = {"numpy": _numpy, "pandas": _pandas, "polars": _polars, "pyarrow": _pyarrow}
