"""`batch(predict, rows)`: many rows through a guarded function, and what became of each, whatever became of the others."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, Final, TypeVar, overload

from guardrail import batch_result, clock, outputs
from guardrail import call as calls
from guardrail.batch_result import Batch, Same, Wanted, outcome_of
from guardrail.call import Call, current
from guardrail.drivers import batched
from guardrail.errors import ConfigError, InvalidOutput
from guardrail.guard import Guard
from guardrail.progress import Progress
from guardrail.spec import get
from guardrail.tables import Table, in_blocks, is_rows, row_table, table_of
from guardrail.telemetry import traces
from guardrail.using import guard_of

__all__ = ["Batch", "batch"]

R = TypeVar("R")
_AT_ONCE: Final = 256  # rows between two looks at the progress bar
_SHARES: Final = 8  # portions for each worker, where the number of rows is known
_LARGEST: Final = 64  # rows in a portion that nobody asked for

Ended = tuple[Any, Any, Exception | None]  # (answer or None, the call's entry or None, error or None)
Ask = Callable[[Any], tuple[tuple[Any, ...], dict[str, Any]]]


@overload
def batch(  # type: ignore[overload-overlap]  # a coroutine function is a function too; the first that fits is meant
    fn: Callable[..., Coroutine[Any, Any, R]], rows: Any, *, workers: int = 1, progress: bool | None = None, chunk: int | None = None
) -> Coroutine[Any, Any, Batch[R]]: ...
@overload
def batch(
    fn: Callable[..., R], rows: Any, *, workers: int = 1, progress: bool | None = None, chunk: int | None = None
) -> Batch[R]: ...
def batch(
    fn: Callable[..., Any], rows: Any, *, workers: int = 1, progress: bool | None = None, chunk: int | None = None
) -> Any:
    """Call a guarded function for every row and return what became of each, in the order of the rows.

    A row that fails, is refused or goes to people does not stop the others. A function with one required parameter is given
    the row; any other function a mapping as keywords, a sequence as positions. A function with `batch=True` is given the table.

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
        if isinstance(number, bool) or not (isinstance(number, int) or (name == "chunk" and number is None)) or (number or 1) < 1 or number == 0:
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
    if get(guard.spec, "batch"):
        return _Tables(guard, fn, rows, workers, chunk, progress).start()
    return _Rows(guard, fn, rows, workers, chunk, progress).start()


class _Run:
    """One batch.

    Args:
        guard: The function's guard.
        fn: The function itself, with whatever it is bound to.
        rows: As given.
        workers: How many at a time.
        chunk: As given.
        progress: As given.
    """

    def __init__(
        self, guard: Guard, fn: Callable[..., Any], rows: Any, workers: int, chunk: int | None, progress: bool | None  # noqa: FBT001
    ) -> None:
        self.guard = guard
        self.fn = fn
        self.workers = workers
        self.chunk = chunk
        self.rows: Any = rows
        self.table: Table | None = table_of(rows)
        self.total = len(self.table) if self.table is not None else operator.length_hint(rows, 0) or None
        self.ask = _how_to_ask(fn)
        self.progress = functools.partial(Progress, progress, self.total, getattr(fn, "__name__", guard.name))

    def start(self) -> Any:
        """Run it, or return what runs it when awaited."""
        return self._run_later() if self.guard.kind == "async" else self._run()

    def _run(self) -> Batch[Any]:
        raise NotImplementedError

    async def _run_later(self) -> Batch[Any]:
        raise NotImplementedError


class _Rows(_Run):
    """Row by row."""

    def _run(self) -> Batch[Any]:
        made = Batch[Any](None if self.table is None else self.table.index)
        bar, outer = self.progress(), current.get()
        gatherer = self._gatherer(outer)
        current.set(gatherer)
        try:
            if self.workers == 1:
                results: Iterator[list[Ended]] = (self._ask_all(portion, _never) for portion in self._portions())
            else:
                results = batched.on_threads(self._ask_all, self._portions(), self.workers)
            with closing(results):  # type: ignore[type-var]  # both are generators
                for ended in results:
                    self._collect(made, ended, bar)
        finally:
            gatherer.ended = True
            current.set(outer)
            bar.close()
        return made

    async def _run_later(self) -> Batch[Any]:
        made = Batch[Any](None if self.table is None else self.table.index)
        bar, outer = self.progress(), current.get()
        gatherer = self._gatherer(outer)
        current.set(gatherer)
        try:
            if self.workers == 1:
                for portion in self._portions():
                    self._collect(made, await self._ask_all_later(portion), bar)
            else:
                async with aclosing(batched.as_tasks(self._ask_all_later, self._portions(), self.workers)) as results:
                    async for ended in results:
                        self._collect(made, ended, bar)
        finally:
            gatherer.ended = True
            current.set(outer)
            bar.close()
        return made

    def _gatherer(self, outer: Call | None) -> Call:
        """Return a call that stands above the rows: they inherit its deadline, and name it as their batch."""
        gatherer = Call(self.guard.plan, (), {}, outer, clock.now())
        gatherer.gathers = True
        _ = gatherer.id
        return gatherer

    def _portions(self) -> Iterator[list[Any]]:
        size = self.chunk
        if size is None:
            if self.workers == 1:
                size = _AT_ONCE if self.guard.kind == "sync" else 1
            elif self.guard.kind == "sync" and self.total is not None:
                size = min(_LARGEST, max(1, self.total // (self.workers * _SHARES)))
            else:
                size = 1
        return in_blocks(self.rows if self.table is None else self.table.rows(), size)

    def _ask_all(self, rows: Sequence[Any], unwanted: Callable[[], bool]) -> list[Ended]:
        fn, ask, latest = self.fn, self.ask, calls.latest.get
        ended: list[Ended] = []
        for row in rows:
            before = latest()
            value, error = None, None
            try:
                args, kwargs = ask(row)
                value = fn(*args, **kwargs)
            except ConfigError:
                raise
            except Exception as problem:  # noqa: BLE001 - it is the row's end, and its decision's to carry
                error = problem
            ended.append((value, self._entry(before), error))
            if unwanted():
                break
        return ended

    async def _ask_all_later(self, rows: Sequence[Any]) -> list[Ended]:
        fn, ask, latest = self.fn, self.ask, calls.latest.get
        ended: list[Ended] = []
        for row in rows:
            before = latest()
            value, error = None, None
            try:
                args, kwargs = ask(row)
                value = await fn(*args, **kwargs)
            except ConfigError:
                raise
            except Exception as problem:  # noqa: BLE001 - as above
                error = problem
            ended.append((value, self._entry(before), error))
        return ended

    def _entry(self, before: Any) -> Any:
        """Return what the call left, None for one of the wrong shape or without a guard in force."""
        entry = calls.latest.get()
        return None if entry is before or entry is None or entry[3].name != self.guard.name else entry

    def _collect(self, made: Batch[Any], ended: Sequence[Ended], bar: Progress) -> None:
        start = len(made)
        for value, entry, error in ended:
            if entry is None:
                _add_bare(made, self.guard, value, error)
                continue
            seq, at, took, plan, outcome, _, _, sure, attempts, extra = entry
            rare = None if error is None and (extra is None or len(extra) == 1) else _rare(extra or {}, error)
            made.add(value, outcome, seq, at, took, sure, attempts, _same(plan), rare)
        bar.advance(made.outcomes[start:])


class _Tables(_Run):
    """A table at a time, for functions that take one."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        if self.workers > 1 and self.chunk is None:
            raise ConfigError(
                "workers of batch() share nothing out: a function with batch=True is given the whole table in one call",
                guard=self.guard.name, hint="add chunk=, the number of rows in one call",
            )  # fmt: skip

    def _run(self) -> Batch[Any]:
        bar = self.progress()
        made = Batch[Any](None if self.table is None else self.table.index)
        work = lambda part, _unwanted=_never: self._ask_table(part)  # noqa: E731
        results = map(work, self._parts()) if self.workers == 1 else batched.on_threads(work, self._parts(), self.workers)
        try:
            for part in results:
                bar.advance(part.outcomes)
                made.extend(part)
        finally:
            if self.workers > 1:
                results.close()  # type: ignore[union-attr]
            bar.close()
        return made

    async def _run_later(self) -> Batch[Any]:
        bar = self.progress()
        made = Batch[Any](None if self.table is None else self.table.index)
        try:
            async with aclosing(batched.as_tasks(self._ask_table_later, self._parts(), self.workers)) as results:
                async for part in results:
                    bar.advance(part.outcomes)
                    made.extend(part)
        finally:
            bar.close()
        return made

    def _parts(self) -> Iterator[Any]:
        if self.table is None:
            yield from in_blocks(self.rows, self.chunk) if self.chunk is not None else [list(self.rows)]
        elif self.chunk is None or self.chunk >= len(self.table):
            yield self.rows
        else:
            for start in range(0, len(self.table), self.chunk):
                yield self.table.cut(start, min(start + self.chunk, len(self.table)))

    def _ask_table(self, part: Any) -> Batch[Any]:
        wanted, result, error = Wanted(), None, None
        batch_result.wanted.set(wanted)
        try:
            result = self.fn(part)
        except ConfigError:
            raise
        except Exception as problem:  # noqa: BLE001 - it is the end of these rows
            error = problem
        finally:
            batch_result.wanted.set(None)
        return wanted.batch if wanted.batch is not None else self._without_policies(part, result, error)

    async def _ask_table_later(self, part: Any) -> Batch[Any]:
        wanted, result, error = Wanted(), None, None
        batch_result.wanted.set(wanted)
        try:
            result = await self.fn(part)
        except ConfigError:
            raise
        except Exception as problem:  # noqa: BLE001 - as above
            error = problem
        finally:
            batch_result.wanted.set(None)
        return wanted.batch if wanted.batch is not None else self._without_policies(part, result, error)

    def _without_policies(self, part: Any, result: Any, error: Exception | None) -> Batch[Any]:
        """Return the rows of a call that no policy took apart: the function ran bare, or the call as a whole was refused."""
        table = row_table(part)
        count = 0 if table is None else len(table)
        made = Batch[Any]()
        values: Sequence[Any] = [None] * count
        if error is None:
            try:
                values = outputs.read(result, part, count).items
            except InvalidOutput as problem:
                error = problem
        for value in values:
            _add_bare(made, self.guard, value, error)
        return made


def _how_to_ask(fn: Callable[..., Any]) -> Ask:
    """Return how a row becomes arguments."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return lambda row: ((row,), {})
    required = [
        parameter for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]  # fmt: skip
    if len(required) != 1:
        return _spread
    name = required[0].name
    if required[0].kind is inspect.Parameter.KEYWORD_ONLY:
        return lambda row: ((), {name: row})
    return lambda row: ((row,), {})


def _spread(row: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(row, Mapping):
        return (), dict(row)
    if isinstance(row, Sequence) and not isinstance(row, str | bytes | bytearray):
        return tuple(row), {}
    if getattr(row, "ndim", 0) == 1:
        return tuple(row), {}
    return (row,), {}


def _never() -> bool:
    return False


@functools.lru_cache(maxsize=64)
def _same(plan: Any) -> Same:
    return Same.of(plan)


def _rare(extra: Mapping[str, Any], error: Exception | None) -> dict[str, Any] | None:
    """Return what a call's entry says beyond the usual, as a Batch keeps it."""
    rare = {name: extra[name] for name in ("ticket", "reasons", "stop_reason", "stages", "would", "business_id") if extra.get(name)}
    if error is not None:
        rare["error"] = error
    span = extra.get("span")
    if span is not None:
        rare["trace_id"] = traces.ids(span)[0]
    return rare or None


def _add_bare(made: Batch[Any], guard: Guard, value: Any, error: Exception | None) -> None:
    """Append a row that left no record."""
    outcome = "answered" if error is None else outcome_of(error)
    rare = None if error is None else {"error": error}
    made.add(value, outcome, calls.next_seq(), clock.wall(), 0.0, None, 1 if error is None else 0, _same(guard.plan), rare)


