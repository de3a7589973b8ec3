"""A container of rows: how many rows, one row, some rows in the same kind of container. Sequences and arrays."""

# ruff: noqa: D102 - what the methods do is said where `Table` declares them

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
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
        return map(encoded, self._exact())

    def _exact(self) -> Iterable[Any]:
        return self._rows


def encoded(row: Any) -> bytes | None:
    """Return the exact content of a row, None where there is no exact encoding."""
    try:
        return content.encode(row)
    except content.Unkeyable:
        return None


class ArrayTable(Table):
    """A numpy array: the rows are along its first axis."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole
        self.names = None
        self.index = None

    def __len__(self) -> int:
        return len(self.whole)

    def rows(self) -> Iterator[Any]:
        return iter(self.whole.tolist() if is_plain(self.whole) else self.whole)

    def row(self, at: int) -> Any:
        return self.whole[at].item() if is_plain(self.whole) else self.whole[at]

    def pick(self, places: Sequence[int]) -> Any:
        return self.whole[list(places)]

    def cut(self, start: int, stop: int) -> Any:
        return self.whole[start:stop]

    def schema(self) -> Any:
        return self.whole[:0]

    def encodings(self) -> Iterator[bytes | None]:
        dtype = self.whole.dtype
        if dtype.kind not in _EXACT_BYTES or dtype.char in "gG":  # long doubles have bytes that hold nothing
            yield from map(encoded, self.whole)
            return
        for start in range(0, len(self), BLOCK):
            block = self.whole[start : start + BLOCK]
            everything, width = block.tobytes(), block.nbytes // len(block)
            yield from (everything[at * width : (at + 1) * width] for at in range(len(block)))


class ArrayLike(ArrayTable):
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
        kind = type(self.whole)
        return kind.__module__, kind.__qualname__, str(self.whole.dtype), tuple(self.whole.shape[1:])

    def encodings(self) -> Iterator[bytes | None]:
        return map(encoded, self.rows())


def is_plain(array: Any) -> bool:
    """Return whether an array holds one value per row that Python's own types express exactly."""
    return array.ndim == 1 and array.dtype.kind in _OWN_VALUES and array.dtype.char not in "gG"
