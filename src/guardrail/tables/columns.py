"""Tables and columns of pandas, polars and pyarrow, as containers of rows."""

# ruff: noqa: D102 - what the methods do is said where `Table` declares them

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from guardrail.tables.base import BLOCK, Table


class Frame(Table):
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


class Series(Table):
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


class Polars(Table):
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


class Arrow(Table):
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
