"""Containers of rows, whatever library they come from: how many rows, one row, some rows in the same kind of container.

No library is imported here: a value of a library that is not loaded cannot exist.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from guardrail import content

BLOCK: Final = 4096  # rows that are turned into Python's own values at once
_EXACT_BYTES: Final = frozenset("biufcSUmM")  # kinds of numpy's whose bytes are the content
_OWN_VALUES: Final = frozenset("biufcU")  # kinds of numpy's that `tolist` turns into Python's own values without loss


class Table:
    """Rows in a list, tuple or another sequence; the other kinds of container derive from it.

    Args:
        whole: The container itself.

    Attributes:
        whole: The container itself.
        names: The columns, None where a row is one value.
        index: The labels of a pandas table, None elsewhere.
    """

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        self.names: tuple[Any, ...] | None = None
        self.index: Any = None
        self._rows: Sequence[Any] = whole if isinstance(whole, tuple) else list(whole)

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> Iterator[Any]:
        """Yield the rows: a mapping of column to value where there are columns, with None for what is missing."""
        return iter(self._rows)

    def row(self, at: int) -> Any:
        """Return one row, as `rows` would."""
        return self._rows[at]

    def pick(self, places: Sequence[int]) -> Any:
        """Return some rows in the same kind of container (a list for sequences of other kinds), labels and types kept."""
        rows = [self._rows[at] for at in places]
        return tuple(rows) if type(self.whole) is tuple else rows

    def cut(self, start: int, stop: int) -> Any:
        """Return the rows from one place up to another in the same kind of container."""
        rows = self._rows[start:stop]
        return rows if type(self.whole) is tuple else list(rows)

    def schema(self) -> Any:
        """Return what all rows share and a row alone does not say: types, names."""
        return type(self.whole).__name__

    def encodings(self) -> Iterator[bytes | None]:
        """Yield the exact content of each row, None where there is no exact encoding."""
        return map(_encoded, self._exact())

    def _exact(self) -> Iterable[Any]:
        return self._rows


def _encoded(row: Any) -> bytes | None:
    try:
        return content.encode(row)
    except content.Unkeyable:
        return None


class _Frame(Table):
    """A pandas DataFrame."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        self._frame = whole.copy(deep=False)  # stays as it is when the function adds a column to its argument or drops rows
        self.names = _distinct(whole.columns.tolist())
        self.index = self._frame.index

    def __len__(self) -> int:
        return len(self._frame)

    def rows(self) -> Iterator[Any]:
        names = self.names or ()
        for start in range(0, len(self), BLOCK):
            block = self._frame.iloc[start : start + BLOCK]
            columns = [_clean(block.iloc[:, at]) for at in range(len(names))]
            yield from (dict(zip(names, cells, strict=True)) for cells in _across(columns, len(block)))

    def row(self, at: int) -> Any:
        block = self._frame.iloc[[at]]
        return {name: _clean(block.iloc[:, place])[0] for place, name in enumerate(self.names or ())}

    def pick(self, places: Sequence[int]) -> Any:
        return self._frame.iloc[list(places)]

    def cut(self, start: int, stop: int) -> Any:
        return self._frame.iloc[start:stop]

    def schema(self) -> Any:
        return _without_places(self._frame.iloc[:0])

    def _exact(self) -> Iterable[Any]:
        for start in range(0, len(self), BLOCK):
            block = self._frame.iloc[start : start + BLOCK]
            columns = [block.iloc[:, at].tolist() for at in range(block.shape[1])]
            yield from _across([*_labels(block.index), *columns], len(block))


class _Series(Table):
    """A pandas Series."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        self.names = None
        self._series = whole.copy(deep=False)
        self.index = self._series.index

    def __len__(self) -> int:
        return len(self._series)

    def rows(self) -> Iterator[Any]:
        return iter(_clean(self._series))

    def row(self, at: int) -> Any:
        return _clean(self._series.iloc[[at]])[0]

    def pick(self, places: Sequence[int]) -> Any:
        return self._series.iloc[list(places)]

    def cut(self, start: int, stop: int) -> Any:
        return self._series.iloc[start:stop]

    def schema(self) -> Any:
        return _without_places(self._series.iloc[:0])

    def _exact(self) -> Iterable[Any]:
        return _across([*_labels(self.index), self._series.tolist()], len(self))


class ArrayTable(Table):
    """A numpy array: the rows are along its first axis."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        self.names = None
        self.index = None

    def __len__(self) -> int:
        return len(self.whole)

    def rows(self) -> Iterator[Any]:
        return iter(self.whole.tolist() if _is_plain(self.whole) else self.whole)

    def row(self, at: int) -> Any:
        return self.whole[at].item() if _is_plain(self.whole) else self.whole[at]

    def pick(self, places: Sequence[int]) -> Any:
        return self.whole[list(places)]

    def cut(self, start: int, stop: int) -> Any:
        return self.whole[start:stop]

    def schema(self) -> Any:
        return self.whole[:0]

    def encodings(self) -> Iterator[bytes | None]:
        dtype = self.whole.dtype
        if dtype.kind not in _EXACT_BYTES or dtype.char in "gG":  # long doubles have bytes that hold nothing
            yield from map(_encoded, self.whole)
            return
        for start in range(0, len(self), BLOCK):
            block = self.whole[start : start + BLOCK]
            everything, width = block.tobytes(), block.nbytes // len(block)
            yield from (everything[at * width : (at + 1) * width] for at in range(len(block)))


class _ArrayLike(ArrayTable):
    """What looks like an array and is not numpy's: a tensor, a sparse matrix."""

    def __len__(self) -> int:
        return int(self.whole.shape[0])  # len() of a sparse matrix raises

    def rows(self) -> Iterator[Any]:
        return (self.whole[at] for at in range(len(self)))

    def row(self, at: int) -> Any:
        return self.whole[at]

    def pick(self, places: Sequence[int]) -> Any:
        return self.whole[sys.modules["numpy"].asarray(list(places), dtype=int) if "numpy" in sys.modules else list(places)]

    def schema(self) -> Any:
        return type(self.whole), str(self.whole.dtype), tuple(self.whole.shape[1:])

    def encodings(self) -> Iterator[bytes | None]:
        return map(_encoded, self.rows())


class _Polars(Table):
    """A polars DataFrame or Series."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        self.names = tuple(whole.columns) if hasattr(whole, "columns") else None
        self.index = None

    def __len__(self) -> int:
        return len(self.whole)

    def rows(self) -> Iterator[Any]:
        names = self.names
        return iter(self.whole) if names is None else (dict(zip(names, cells, strict=True)) for cells in self._exact())

    def row(self, at: int) -> Any:
        return self.whole[at] if self.names is None else dict(zip(self.names, self.whole.row(at), strict=True))

    def pick(self, places: Sequence[int]) -> Any:
        return self.whole[list(places)]

    def cut(self, start: int, stop: int) -> Any:
        return self.whole.slice(start, stop - start)

    def schema(self) -> Any:
        return self.whole.clear()

    def _exact(self) -> Iterable[Any]:
        return self.whole if self.names is None else self.whole.iter_rows()  # type: ignore[no-any-return]


class _Arrow(Table):
    """A pyarrow Table, RecordBatch, Array or ChunkedArray."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        self.names = _distinct(whole.schema.names) if hasattr(whole, "schema") else None
        self.index = None

    def __len__(self) -> int:
        return len(self.whole)

    def rows(self) -> Iterator[Any]:
        names = self.names
        return iter(self._exact()) if names is None else (dict(zip(names, cells, strict=True)) for cells in self._exact())

    def row(self, at: int) -> Any:
        if self.names is None:
            return self.whole[at].as_py()
        return {name: column[at].as_py() for name, column in zip(self.names, self.whole.columns, strict=True)}

    def pick(self, places: Sequence[int]) -> Any:
        return self.whole.take(sys.modules["pyarrow"].array(list(places), "int64"))

    def cut(self, start: int, stop: int) -> Any:
        return self.whole.slice(start, stop - start)

    def schema(self) -> Any:
        return self.whole.slice(0, 0)

    def _exact(self) -> Iterable[Any]:
        for start in range(0, len(self), BLOCK):
            block = self.whole.slice(start, BLOCK)
            if self.names is None:
                yield from block.to_pylist()
            else:
                yield from _across([column.to_pylist() for column in block.columns], len(block))


# ── pandas and numpy ──────────────────────────────────────────────────────────────────────────────────────────────────
def _clean(column: Any) -> list[Any]:
    """Return a column's cells; None for what is missing, except that a NaN among plain floats stays what it is."""
    cells: list[Any] = column.tolist()
    if getattr(column.dtype, "kind", "O") in "biufcSUV" and not hasattr(column.dtype, "na_value"):
        return cells
    missing = column.isna().to_numpy()
    return [None if gone else cell for cell, gone in zip(cells, missing, strict=True)] if missing.any() else cells


def _labels(index: Any) -> list[list[Any]]:
    """Return the labels as a column: they are a part of each row, unless they are just its place."""
    return [] if isinstance(index, sys.modules["pandas"].RangeIndex) else [index.tolist()]


def _without_places(empty: Any) -> Any:
    return empty.reset_index(drop=True) if isinstance(empty.index, sys.modules["pandas"].RangeIndex) else empty


def _across(columns: Sequence[Sequence[Any]], count: int) -> Iterable[tuple[Any, ...]]:
    return zip(*columns, strict=True) if columns else [()] * count


def _distinct(names: Sequence[Any]) -> tuple[Any, ...]:
    """Return the names with a number after each repetition, so that a row can be a mapping."""
    if len(set(names)) == len(names):
        return tuple(names)
    seen: dict[Any, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(found)


def _is_plain(array: Any) -> bool:
    """Return whether an array holds one value per row that Python's own types express exactly."""
    return array.ndim == 1 and array.dtype.kind in _OWN_VALUES and array.dtype.char not in "gG"


# ── which kind ────────────────────────────────────────────────────────────────────────────────────────────────────────
def table_of(value: Any) -> Table | None:
    """Return the rows of a container, None where it has no rows that can be counted (a generator, say)."""
    for library, kinds in _KINDS.items():
        module = sys.modules.get(library)
        if module is not None:
            for names, kind in kinds:
                if isinstance(value, tuple(getattr(module, name) for name in names)):
                    return None if kind is ArrayTable and value.ndim == 0 else kind(value)
    if isinstance(value, Sequence) and is_rows(value):
        return Table(value)
    looks_like_array = all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__")) and not isinstance(value, type)
    return _ArrayLike(value) if looks_like_array and len(value.shape) else None


_KINDS: Final[Mapping[str, tuple[tuple[tuple[str, ...], type[Table]], ...]]] = {
    "pandas": ((("DataFrame",), _Frame), (("Series",), _Series)),
    "numpy": ((("ndarray",), ArrayTable),),
    "polars": ((("DataFrame", "Series"), _Polars),),
    "pyarrow": ((("Table", "RecordBatch", "Array", "ChunkedArray"), _Arrow),),
}


def is_rows(value: Any) -> bool:
    """Return whether a value can be gone through row by row."""
    return hasattr(value, "__iter__") and not isinstance(value, str | bytes | bytearray | memoryview | Mapping)


def row_table(value: Any) -> Table | None:
    """Return the rows of a container or of any other iterable, which is gone through now; None for what has no rows."""
    table = table_of(value)
    return Table(list(value)) if table is None and is_rows(value) else table


def in_blocks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield rows in lists of a size; the last may be shorter. Takes no more rows than it yields."""
    block: list[Any] = []
    for row in rows:
        block.append(row)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block
