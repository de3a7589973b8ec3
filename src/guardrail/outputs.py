"""What a function over a table returns: one output per row out of any container, and back into the same kind of container."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, get_args, get_origin

from guardrail.errors import InvalidOutput
from guardrail.policies.confidence import SUM_TOLERANCE
from guardrail.tables import ArrayTable, Table, table_of

_PAIR: Final = 2
_HINT: Final = "return a list, array or Series with one entry per row, or two of them: values and confidences"

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


class Outputs:
    """One output per row.

    Attributes:
        items: The outputs.
        sure: The confidences, where the function returns them beside the values.
        likeness: How to make such a result again.
        matrix: The result itself where it is a two-dimensional numpy array.
    """

    __slots__ = ("items", "likeness", "matrix", "sure")

    def __init__(self, items: Sequence[Any], sure: list[float] | None, likeness: Likeness, matrix: Any = None) -> None:
        self.items = items
        self.sure = sure
        self.likeness = likeness
        self.matrix = matrix

    def vector_confidences(self) -> list[float] | None:
        """Return the largest probability of each row of a matrix, None where the rows are not all probability vectors."""
        matrix = self.matrix
        if matrix is None or matrix.dtype.kind != "f" or matrix.shape[1] < 2:  # noqa: PLR2004 - a vector has two entries or more
            return None
        np: Any = sys.modules["numpy"]
        wide = matrix.astype("float64")
        gone = np.isnan(wide).any(axis=1)
        sums = abs(wide.sum(axis=1) - 1) <= SUM_TOLERANCE
        fits = sums & (wide >= 0).all(axis=1) & (wide <= 1).all(axis=1)
        if not (gone | fits).all():
            return None
        return np.where(gone, np.nan, wide.max(axis=1)).tolist()  # type: ignore[no-any-return]


def read(result: Any, asked: Any, count: int, *, pairs: bool = True) -> Outputs:
    """Take a result apart.

    Args:
        result: What the function returned.
        asked: The table that it was given.
        count: How many rows that has.
        pairs: Whether a tuple of two containers may be values and confidences.

    Raises:
        InvalidOutput: It is not one output per row.
    """
    if pairs and type(result) is tuple and len(result) == _PAIR and all(map(_is_column, result)):
        values, sure = (_outputs(part, asked) for part in result)
        if values is not None and sure is not None and len(values.items) == len(sure.items) == count:
            likeness = Likeness(values.likeness.make, sure.likeness.make)
            return Outputs(values.items, _numbers(sure.items), likeness, values.matrix)
    outputs = _outputs(result, asked)
    if outputs is None:
        raise InvalidOutput(f"the answer is of type {type(result).__name__}: not one output per row", policy="validate", hint=_HINT)
    if len(outputs.items) != count:
        raise InvalidOutput(
            f"the answer has {len(outputs.items):,} outputs for {count:,} rows", policy="validate", hint=_HINT
        )
    return outputs


def _is_column(part: Any) -> bool:
    # A tuple is one row's (value, confidence), not a column of either.
    return not isinstance(part, tuple) and table_of(part) is not None


def _numbers(items: Sequence[Any]) -> list[float]:
    try:
        return [float(item) for item in items]
    except (TypeError, ValueError):
        raise InvalidOutput("the confidences are not all numbers", policy="validate", hint=_HINT) from None


def _outputs(result: Any, asked: Any) -> Outputs | None:
    table = table_of(result)
    if table is None:
        return None
    if table.index is not None:
        return _of_pandas(result, asked)
    np, arrow = sys.modules.get("numpy"), sys.modules.get("pyarrow")
    if np is not None and isinstance(result, np.ndarray):
        matrix = result if result.ndim == 2 else None  # noqa: PLR2004 - a matrix
        return Outputs(list(table.rows()), None, Likeness(_array_maker(result[:0])), matrix)
    if type(result).__module__.partition(".")[0] == "polars":
        return Outputs(list(table.rows()), None, Likeness(_polars_maker(result.clear())))
    if arrow is not None and isinstance(result, arrow.Array | arrow.ChunkedArray | arrow.Table | arrow.RecordBatch):
        return Outputs(list(table.rows()), None, Likeness(_arrow_maker(result.slice(0, 0))))
    return Outputs(list(table.rows()), None, Likeness(_a_tuple if type(result) is tuple else _a_list))


# ── each kind, made again ─────────────────────────────────────────────────────────────────────────────────────────────
def _a_list(items: Sequence[Any], _table: Table) -> Any:
    return list(items)


def _a_tuple(items: Sequence[Any], _table: Table) -> Any:
    return tuple(items)


def _of_pandas(result: Any, asked: Any) -> Outputs:
    pd: Any = sys.modules["pandas"]
    labels = asked.index if isinstance(asked, pd.DataFrame | pd.Series) else pd.RangeIndex(len(result))
    counted = isinstance(result.index, pd.RangeIndex) and result.index.start == 0 and result.index.step == 1
    if len(labels) == len(result) and not counted and not result.index.equals(labels):
        result = _in_order(result, labels)
    if isinstance(result, pd.DataFrame):
        table = table_of(result)
        items = [] if table is None else list(table.rows())
    else:
        items = result.tolist()
    return Outputs(items, None, Likeness(_pandas_maker(result.iloc[:0], own=result.index.equals(labels))))


def _in_order(result: Any, labels: Any) -> Any:
    """Put rows that carry the table's labels in the table's order; rows with other labels are in its order already.

    Raises:
        InvalidOutput: The labels are the table's, in another order, and some stand for several rows.
    """
    if result.index.nlevels != labels.nlevels or not result.index.isin(labels).all():
        return result
    if labels.is_unique and result.index.is_unique:
        return result.reindex(labels)
    if sorted(map(repr, result.index)) == sorted(map(repr, labels)):
        raise InvalidOutput(
            "the answer has the table's labels in another order, and some label stands for several rows",
            policy="validate", hint="return the outputs in the order of the rows",
        )  # fmt: skip
    return result


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
        if made is not None and made.dtype.kind == empty.dtype.kind and (made.ndim > 1 or _all_same(ArrayTable(made).rows(), items)):
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


# ── before the function has ever answered ─────────────────────────────────────────────────────────────────────────────
def likeness_for(annotation: Any, given: Any) -> Likeness:
    """Return the likeness for a result that nothing is known of: by the return annotation, else by the kind of table.

    Args:
        annotation: What the function says that it returns.
        given: The caller's table.
    """
    kind, of = get_origin(annotation) or annotation, get_args(annotation)
    if kind is tuple and len(of) == _PAIR and Ellipsis not in of:
        return Likeness(likeness_for(of[0], given).make, likeness_for(of[1], given).make)
    says = isinstance(kind, type) and kind not in (object, inspect.Parameter.empty)
    np, pd = sys.modules.get("numpy"), sys.modules.get("pandas")
    pl, pa = sys.modules.get("polars"), sys.modules.get("pyarrow")

    def means(module: Any, *names: str) -> bool:
        classes = tuple(getattr(module, name) for name in names) if module is not None else ()
        return kind in classes if says else isinstance(given, classes)

    if means(pd, "Series", "DataFrame"):
        return Likeness(_pandas_maker(pd.Series(dtype=object), own=True))  # type: ignore[union-attr]
    if means(np, "ndarray"):
        return Likeness(_natural(np))
    if means(pl, "Series", "DataFrame"):
        return Likeness(lambda items, _table: pl.Series(list(items)))  # type: ignore[union-attr]
    if means(pa, "Array", "ChunkedArray", "Table", "RecordBatch"):
        return Likeness(lambda items, _table: pa.array(list(items)))  # type: ignore[union-attr]
    return Likeness(_a_tuple if kind is tuple else _a_list)


def _natural(np: Any) -> Make:
    def make(items: Sequence[Any], table: Table) -> Any:
        made = np.asarray(list(items)) if items else np.empty(0)
        return made if made.ndim == 1 and _all_same(ArrayTable(made).rows(), items) else _array_maker(np.empty(0, dtype=object))(items, table)

    return make


def reads_pairs(annotation: Any) -> bool:
    """Return whether a tuple of two containers may be values and confidences: not where the annotation says it is rows."""
    return get_origin(annotation) is not tuple or Ellipsis not in get_args(annotation)


def item_type(annotation: Any) -> Any:
    """Return the type of one output where the return annotation says it: of `list[X]`, `Sequence[X]` or `tuple[X, ...]`; else None."""
    origin, of = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return of[0] if len(of) == _PAIR and of[1] is Ellipsis else None
    return of[0] if isinstance(origin, type) and issubclass(origin, Sequence) and of else None
