"""Containers of rows, whatever library they come from.

No library is imported here: a value of a library that is not loaded cannot exist.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from guardrail.tables.base import ArrayLike, ArrayTable, Table
from guardrail.tables.columns import Arrow, Frame, Polars, Series

__all__ = ["ArrayTable", "Table", "in_blocks", "is_rows", "row_table", "table_of"]


def table_of(value: Any) -> Table | None:
    """Return the rows of a container, None where it has no rows that can be counted (a generator, say)."""
    shape: Any = getattr(value, "shape", None)
    for library, kinds in _KINDS.items():
        module = sys.modules.get(library)
        if module is not None:
            for names, kind in kinds:
                if isinstance(value, tuple(getattr(module, name) for name in names)):
                    return None if kind is ArrayTable and not shape else kind(value)
    if isinstance(value, Sequence) and is_rows(value):
        return Table(value)
    looks_like_array = hasattr(value, "dtype") and hasattr(value, "__getitem__") and not isinstance(value, type)
    return ArrayLike(value) if looks_like_array and isinstance(shape, Sequence) and len(shape) else None


_KINDS: Final[Mapping[str, tuple[tuple[tuple[str, ...], type[Table]], ...]]] = {
    "pandas": ((("DataFrame",), Frame), (("Series",), Series)),
    "numpy": ((("ndarray",), ArrayTable),),
    "polars": ((("DataFrame", "Series"), Polars),),
    "pyarrow": ((("Table", "RecordBatch", "Array", "ChunkedArray"), Arrow),),
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
