"""What a function over a table returns: one output per row out of any container, and back into the same kind of container."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final, get_args, get_origin

from guardrail import content
from guardrail.content.summaries import Digested, schema_of
from guardrail.errors import InvalidOutput
from guardrail.policies.confidence import SUM_TOLERANCE
from guardrail.tables import table_of
from guardrail.tables.likeness import Likeness, likeness_of

_PAIR: Final = 2
_HINT: Final = "return a list, array or Series with one entry per row, or two of them: values and confidences"


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

    def digests(self) -> list[Digested] | None:
        """Return what a record keeps of each row of a matrix, made of its bytes at once; None for other outputs."""
        matrix = self.matrix
        if matrix is None or not matrix.size or matrix.dtype.kind not in "biuf" or matrix.dtype.char == "g":
            return None
        everything, width = matrix.tobytes(), matrix.itemsize * matrix.shape[1]
        encoding, schema = content.encode(matrix[0]), schema_of(matrix[0])
        if not encoding.endswith(everything[:width]):  # a long row, of which only the hash is kept
            return None
        head = encoding[: len(encoding) - width]
        return [Digested(head + everything[at : at + width], schema) for at in range(0, len(everything), width)]


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
        values, sure = (_outputs(part, asked, count) for part in result)
        return Outputs(values.items, _numbers(sure.items), Likeness(values.likeness.make, sure.likeness.make), values.matrix)
    return _outputs(result, asked, count)


def _is_column(part: Any) -> bool:
    # A tuple is one row's (value, confidence), not a column of either.
    return not isinstance(part, tuple) and table_of(part) is not None


def _numbers(items: Sequence[Any]) -> list[float]:
    try:
        return [float(item) for item in items]
    except (TypeError, ValueError):
        raise InvalidOutput("the confidences are not all numbers", policy="validate", hint=_HINT) from None


def _outputs(result: Any, asked: Any, count: int) -> Outputs:
    table = table_of(result)
    if table is None:
        raise InvalidOutput(
            f"the answer is of type {type(result).__name__}: not one output per row", policy="validate", hint=_HINT
        )
    if len(table) != count:
        raise InvalidOutput(f"the answer has {len(table):,} outputs for {count:,} rows", policy="validate", hint=_HINT)
    if table.index is not None:
        return _of_pandas(result, asked)
    np = sys.modules.get("numpy")
    matrix = result if np is not None and isinstance(result, np.ndarray) and result.ndim == 2 else None  # noqa: PLR2004
    return Outputs(list(table.rows()), None, likeness_of(result), matrix)


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
    return Outputs(items, None, likeness_of(result, own=result.index.equals(labels)))


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


def reads_pairs(annotation: Any) -> bool:
    """Return whether a tuple of two containers may be values and confidences: not where the annotation says it is rows."""
    return get_origin(annotation) is not tuple or Ellipsis not in get_args(annotation)


def item_type(annotation: Any) -> Any:
    """Return the type of one output where the return annotation says it: of `list[X]`, `Sequence[X]` or `tuple[X, ...]`; else None."""
    origin, of = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return of[0] if len(of) == _PAIR and of[1] is Ellipsis else None
    return of[0] if isinstance(origin, type) and issubclass(origin, Sequence) and of else None
