"""How the outputs of a function over tables go back into the kind of container, and the types, that they came in."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args, get_origin

from guardrail.tables import ArrayTable, Table

Make = Callable[[Sequence[Any], Table], Any]


class Likeness:
    """How outputs go back into the kind of container that they came in.

    Args:
        make: Makes the container of the outputs for a table.
        sure: The same for the confidences, where the function returns two containers.
    """

    __slots__ = ("make", "sure")

    def __init__(self, make: Make, sure: Make | None = None) -> None:
        self.make = make
        self.sure = sure

    def rebuild(self, items: Sequence[Any], sure: Sequence[float | None], table: Table) -> Any:
        """Return a whole result.

        Args:
            items: An output for each row of the table.
            sure: How sure each is.
            table: The rows that were asked about.
        """
        made = self.make(items, table)
        return made if self.sure is None else (made, self.sure([float("nan") if one is None else one for one in sure], table))


def _a_list(items: Sequence[Any], _table: Table) -> Any:
    return list(items)


def _a_tuple(items: Sequence[Any], _table: Table) -> Any:
    return tuple(items)


def _pandas_maker(empty: Any, *, own: bool) -> Make:
    pd: Any = sys.modules["pandas"]

    def make(items: Sequence[Any], table: Table) -> Any:
        index = table.index if own and table.index is not None else pd.RangeIndex(len(items))
        if isinstance(empty, pd.DataFrame):
            made = pd.DataFrame([_cells(item, empty.columns) for item in items], index=index, columns=empty.columns)
            for at, (name, dtype) in enumerate(empty.dtypes.items()):
                made.isetitem(at, _typed(pd.Series(made.iloc[:, at].tolist(), index=index, dtype=object, name=name), dtype))
            return made
        return _typed(pd.Series(list(items), index=index, dtype=object, name=empty.name), empty.dtype)

    return make


def _cells(item: Any, columns: Any) -> list[Any]:
    return [item.get(name) for name in columns] if isinstance(item, Mapping) else [item] * len(columns)


def _typed(series: Any, dtype: Any) -> Any:
    """Return a Series with its type, or of objects where some value would not stay what it is."""
    try:
        typed = series.astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return series
    return typed if _all_same(typed.tolist(), series.tolist()) else series


def _array_maker(empty: Any) -> Make:
    np: Any = sys.modules["numpy"]

    def make(items: Sequence[Any], _table: Table) -> Any:
        dtype = None if empty.dtype.kind in "US" and len(items) else empty.dtype  # texts may be longer than those before
        try:
            made = np.asarray(list(items), dtype=dtype).reshape(len(items), *empty.shape[1:])
        except (TypeError, ValueError, OverflowError):
            made = None
        if (
            made is not None
            and made.dtype.kind == empty.dtype.kind
            and (made.ndim > 1 or _all_same(ArrayTable(made).rows(), items))
        ):
            return made
        made = np.empty(len(items), dtype=object)
        for at, item in enumerate(items):
            made[at] = item
        return made

    return make


def _all_same(made: Iterable[Any], items: Iterable[Any]) -> bool:
    """Return whether every value came through as it was; a 0 that became False, or a None that became NaN, did not."""
    return all(map(_same, made, items))


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if one is None or other is None or isinstance(one, bool) != isinstance(other, bool):
        return False
    try:
        return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN is the value that differs from itself
    except (TypeError, ValueError):
        return False


def _polars_maker(empty: Any) -> Make:
    pl: Any = sys.modules["polars"]

    def make(items: Sequence[Any], _table: Table) -> Any:
        if isinstance(empty, pl.DataFrame):
            return pl.DataFrame([_cells(item, empty.columns) for item in items], schema=empty.schema, orient="row")
        try:
            return pl.Series(empty.name, list(items), dtype=empty.dtype)
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            return pl.Series(empty.name, list(items), dtype=pl.Object)

    return make


def _arrow_maker(empty: Any) -> Make:
    pa: Any = sys.modules["pyarrow"]

    def make(items: Sequence[Any], _table: Table) -> Any:
        if hasattr(empty, "schema"):
            rows = [dict(zip(empty.schema.names, _cells(item, empty.schema.names), strict=True)) for item in items]
            return type(empty).from_pylist(rows, schema=empty.schema)
        try:
            made = pa.array(list(items), type=empty.type)
        except (TypeError, ValueError, OverflowError, pa.ArrowException):
            made = pa.array(list(items))
        return pa.chunked_array([made]) if isinstance(empty, pa.ChunkedArray) else made

    return make


def likeness_of(result: Any, *, own: bool = True) -> Likeness:
    """Return the likeness for results such as one that the function gave; of its content nothing is kept.

    Args:
        result: A list, a tuple, or a container of numpy, pandas, polars or pyarrow. Any other becomes a list.
        own: Of pandas: whether it has the table's labels rather than labels of its own.
    """
    library = type(result).__module__.partition(".")[0]
    np, pa = sys.modules.get("numpy"), sys.modules.get("pyarrow")
    if hasattr(result, "iloc"):
        return Likeness(_pandas_maker(result.iloc[:0], own=own))
    if np is not None and isinstance(result, np.ndarray):
        return Likeness(_array_maker(result[:0].copy()))
    if library == "polars":
        return Likeness(_polars_maker(result.clear()))
    if pa is not None and isinstance(result, pa.Array | pa.ChunkedArray | pa.Table | pa.RecordBatch):
        return Likeness(_arrow_maker(result.slice(0, 0)))
    return Likeness(_a_tuple if type(result) is tuple else _a_list)


def likeness_for(annotation: Any, given: Any) -> Likeness:
    """Return the likeness for a result that nothing is known of: by the return annotation, else by the kind of table.

    Args:
        annotation: What the function says that it returns.
        given: The caller's table.
    """
    kind, of = get_origin(annotation) or annotation, get_args(annotation)
    if kind is tuple and len(of) == 2 and Ellipsis not in of:  # noqa: PLR2004 - values and confidences
        return Likeness(likeness_for(of[0], given).make, likeness_for(of[1], given).make)
    says = isinstance(kind, type) and kind not in (object, inspect.Parameter.empty)
    np, pd = sys.modules.get("numpy"), sys.modules.get("pandas")
    pl, pa = sys.modules.get("polars"), sys.modules.get("pyarrow")

    def means(module: Any, *names: str) -> bool:
        classes = tuple(getattr(module, name) for name in names) if module is not None else ()
        return kind in classes if says else isinstance(given, classes)

    if means(pd, "Series", "DataFrame"):
        return Likeness(_a_series)
    if means(np, "ndarray"):
        return Likeness(_an_array)
    if means(pl, "Series", "DataFrame"):
        return Likeness(lambda items, _table: pl.Series(list(items)))  # type: ignore[union-attr]
    if means(pa, "Array", "ChunkedArray", "Table", "RecordBatch"):
        return Likeness(lambda items, _table: pa.array(list(items)))  # type: ignore[union-attr]
    return Likeness(_a_tuple if kind is tuple else _a_list)


def _a_series(items: Sequence[Any], table: Table) -> Any:
    pd: Any = sys.modules["pandas"]
    made = pd.Series(list(items), index=table.index)
    return made if _all_same(made.tolist(), items) else pd.Series(list(items), index=table.index, dtype=object)


def _an_array(items: Sequence[Any], table: Table) -> Any:
    np: Any = sys.modules["numpy"]
    made = np.asarray(list(items))
    fits = made.ndim == 1 and _all_same(ArrayTable(made).rows(), items)
    return made if fits else _array_maker(np.empty(0, dtype=object))(items, table)
