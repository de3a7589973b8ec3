"""`batch(predict, rows)`: many rows through a guarded function, and what became of each, whatever became of the others."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

from guardrail.batches.result import Batch
from guardrail.batches.runs import RowRun, TableRun
from guardrail.errors import ConfigError
from guardrail.guard_upkeep import spec_of
from guardrail.spec import get
from guardrail.tables import is_rows, table_of
from guardrail.using import guard_of

__all__ = ["batch"]

R = TypeVar("R")


@overload
def batch(  # pyright: ignore[reportOverlappingOverload]  # a coroutine function is a function too; the first that fits is meant
    fn: Callable[..., Coroutine[Any, Any, R]],
    rows: Any,
    *,
    workers: int = 1,
    progress: bool | None = None,
    chunk: int | None = None,
) -> Coroutine[Any, Any, Batch[R]]: ...
@overload
def batch(
    fn: Callable[..., R], rows: Any, *, workers: int = 1, progress: bool | None = None, chunk: int | None = None
) -> Batch[R]: ...
def batch(fn: Callable[..., Any], rows: Any, *, workers: int = 1, progress: bool | None = None, chunk: int | None = None) -> Any:
    """Call a guarded function for every row and return what became of each, in the order of the rows.

    A row that fails, is refused or goes to people does not stop the others. A function with one required parameter is given
    the row; any other function a mapping as keywords, a sequence as positions.

    A function with `batch=True` is given the table and returns one output per row, in a list, tuple, array or Series, or the
    rows of a matrix; a tuple of two such containers is values and confidences. (A tuple of two lists that are rows themselves
    needs the annotation `tuple[list[float], ...]`.) Called directly it returns its own result, or raises `PartialBatch`.

    Args:
        fn: A guarded function; a coroutine function gives an awaitable.
        rows: A pandas or polars DataFrame or Series, a pyarrow table or array, a numpy array, a list, or any iterable, which
            is gone through once. A row of a table with columns is a mapping of column to value, with None for what is missing.
        workers: How many rows (or portions) at a time: on threads, or as tasks for a coroutine function.
        progress: Whether to show a progress bar; None: in a terminal or notebook, if it takes longer than a second.
        chunk: Rows in one task; with `batch=True`, rows in one call (all of them by default).

    Returns:
        A `Batch`. The records of its rows carry the same parent.

    Raises:
        ConfigError: The function is not guarded or is a generator, `rows` are no rows, or an option is wrong.
    """
    guard = guard_of(fn)
    if guard.kind in ("stream", "astream"):
        raise ConfigError("a generator has no one answer for a row", guard=guard.name, hint="iterate it for each row")
    for name, number in (("workers", workers), ("chunk", chunk)):
        if (
            isinstance(number, bool)
            or not (isinstance(number, int) or (name == "chunk" and number is None))
            or (number or 1) < 1
            or number == 0
        ):
            raise ConfigError(f"{name} of batch() must be a whole number of 1 or more", hint=f"write {name}=4")
    if progress not in (None, True, False):
        raise ConfigError("progress of batch() must be True, False or None", hint="leave progress out")
    if hasattr(rows, "collect_schema") and not hasattr(rows, "rows"):
        raise ConfigError("rows are a lazy frame", guard=guard.name, hint="call .collect() on it first")
    if table_of(rows) is None and not is_rows(rows):
        raise ConfigError(
            f"rows of batch() are of type {type(rows).__name__}", guard=guard.name,
            hint="give a DataFrame, an array, a list of rows, or another iterable",
        )  # fmt: skip
    if get(spec_of(guard), "batch"):
        return TableRun(guard, fn, rows, workers, chunk, progress).start()
    return RowRun(guard, fn, rows, workers, chunk, progress).start()
