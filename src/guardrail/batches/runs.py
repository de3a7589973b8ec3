"""The two ways of running a batch: row by row, or a table at a time for functions that take one."""

from __future__ import annotations

import functools
import operator
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, contextmanager
from contextvars import copy_context
from typing import Any, Final

from guardrail import call as calls
from guardrail import clock
from guardrail.batches import result as results_of
from guardrail.batches.arguments import as_one, required, spread
from guardrail.batches.progress import Progress
from guardrail.batches.result import Batch, Same, Wanted, add, extend, outcome_of
from guardrail.call import Call, current
from guardrail.drivers import batched
from guardrail.errors import ConfigError, InvalidOutput
from guardrail.guard import Guard
from guardrail.policies import table_outputs
from guardrail.tables import Table, in_blocks, row_table, table_of
from guardrail.telemetry import traces

_AT_ONCE: Final = 256  # rows between two looks at the progress bar
_SHARES: Final = 8  # portions for each worker, where the number of rows is known
_LARGEST: Final = 64  # rows in a portion that nobody asked for

Ended = tuple[Any, Any, Exception | None]  # (answer or None, the call's entry or None, error or None)


class Run:
    """One batch.

    Args:
        guard: The function's guard.
        fn: The function itself, with whatever it is bound to.
        rows: As given.
        workers: How many at a time.
        chunk: As given.
        progress: As given.
    """

    def __init__(  # noqa: PLR0917 - what batch() was given
        self, guard: Guard, fn: Callable[..., Any], rows: Any, workers: int, chunk: int | None,
        progress: bool | None,  # noqa: FBT001
    ) -> None:  # fmt: skip
        self.guard = guard
        self.fn = fn
        self.workers = workers
        self.chunk = chunk
        self.rows: Any = rows
        self.table: Table | None = table_of(rows)
        self.total = len(self.table) if self.table is not None else operator.length_hint(rows, 0) or None
        self.progress = functools.partial(Progress, progress, self.total, getattr(fn, "__name__", guard.name))
        self.required = required(fn)
        self._plan: Any = None
        self._same: Any = None

    def start(self) -> Any:
        """Run it, or return what runs it when awaited."""
        return self._run_later() if self.guard.kind == "async" else self._run()

    def _run(self) -> Batch[Any]:
        raise NotImplementedError

    async def _run_later(self) -> Batch[Any]:
        raise NotImplementedError

    def _fresh(self) -> Batch[Any]:
        return Batch(None if self.table is None else self.table.index)

    def _same_of(self, plan: Any) -> Same:
        """Return what the rows of a plan share; a change of mode in the middle makes another plan."""
        if plan is not self._plan:
            self._plan, self._same = plan, Same.of(plan)
        return self._same  # type: ignore[no-any-return]

    def _add_bare(self, made: Batch[Any], value: Any, error: Exception | None) -> None:
        """Append a row that left no record."""
        outcome = "answered" if error is None else outcome_of(error)
        rare = None if error is None else {"error": error}
        attempts = int(error is None)
        add(made, value, outcome, calls.next_seq(), clock.wall(), 0.0, None, attempts, self._same_of(self.guard.plan), rare)


class RowRun(Run):
    """Row by row."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.ask = as_one(self.required) if self.required is None or len(self.required) == 1 else spread

    def _run(self) -> Batch[Any]:
        made = self._fresh()
        with self._gathering() as bar:
            if self.workers == 1:
                results = (self._ask_all(portion, _never) for portion in self._portions())
            else:
                results = batched.on_threads(self._ask_all, self._portions(), self.workers)
            with closing(results):
                for ended in results:
                    self._collect(made, ended, bar)
        return made

    async def _run_later(self) -> Batch[Any]:
        made = self._fresh()
        with self._gathering() as bar:
            if self.workers == 1:
                for portion in self._portions():
                    self._collect(made, await self._ask_all_later(portion), bar)
            else:
                async with aclosing(batched.as_tasks(self._ask_all_later, self._portions(), self.workers)) as results:
                    async for ended in results:
                        self._collect(made, ended, bar)
        return made

    @contextmanager
    def _gathering(self) -> Iterator[Progress]:
        """Put a call above the rows inside the block: they inherit its deadline, and name it as their batch."""
        bar, outer = self.progress(), current.get()
        gatherer = Call(self.guard.plan, (), {}, outer, clock.now())
        gatherer.gathers = calls.decision_id(clock.wall(), calls.next_seq())
        current.set(gatherer)
        try:
            yield bar
        finally:
            gatherer.ended = True
            current.set(outer)
            bar.close()

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
        ended: list[Ended] = []
        for row in rows:
            # On threads each row gets a context of its own; in the caller's thread it is a loop like any other.
            ended.append(self._ask_row(row) if self.workers == 1 else copy_context().run(self._ask_row, row))
            if unwanted():
                break
        return ended

    def _ask_row(self, row: Any) -> Ended:
        before = calls.latest.get()
        value, error = None, None
        try:
            args, kwargs = self.ask(row)
            value = self.fn(*args, **kwargs)
        except ConfigError:
            raise
        except Exception as problem:  # noqa: BLE001 - it is the row's end, and its decision's to carry
            error = problem
        return value, self._entry(before), error

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
                self._add_bare(made, value, error)
                continue
            seq, at, took, plan, outcome, _, _, sure, attempts, extra = entry
            rare = None if error is None and (extra is None or len(extra) == 1) else _rare(extra or {}, error)
            add(made, value, outcome, seq, at, took, sure, attempts, self._same_of(plan), rare)
        bar.advance(made.outcomes[start:])


class TableRun(Run):
    """A table at a time, for functions that take one."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        if self.workers > 1 and self.chunk is None:
            raise ConfigError(
                "workers of batch() share nothing out: a function with batch=True is given the whole table in one call",
                guard=self.guard.name, hint="add chunk=, the number of rows in one call",
            )  # fmt: skip
        if self.required is not None and len(self.required) > 1:
            raise ConfigError(
                f"the function requires {len(self.required)} arguments, and batch() has only the table to give",
                guard=self.guard.name, hint="write batch(functools.partial(predict, model=model), rows)",
            )  # fmt: skip
        self.ask = as_one(self.required)

    def _run(self) -> Batch[Any]:
        bar = self.progress()
        made = self._fresh()
        if self.workers == 1:
            results = (self._ask_table(part) for part in self._parts())
        else:
            results = batched.on_threads(lambda part, _unwanted: self._ask_table(part), self._parts(), self.workers)
        try:
            with closing(results):
                for part in results:
                    bar.advance(part.outcomes)
                    extend(made, part)
        finally:
            bar.close()
        return made

    async def _run_later(self) -> Batch[Any]:
        bar = self.progress()
        made = self._fresh()
        try:
            if self.workers == 1:
                results = self._in_turn()
            else:
                results = batched.as_tasks(self._ask_table_later, self._parts(), self.workers)
            async with aclosing(results):
                async for part in results:
                    bar.advance(part.outcomes)
                    extend(made, part)
        finally:
            bar.close()
        return made

    async def _in_turn(self) -> AsyncGenerator[Batch[Any], None]:
        for part in self._parts():
            yield await self._ask_table_later(part)

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
        results_of.wanted.set(wanted)
        try:
            args, kwargs = self.ask(part)
            result = self.fn(*args, **kwargs)
        except ConfigError:
            raise
        except Exception as problem:  # noqa: BLE001 - it is the end of these rows
            error = problem
        finally:
            results_of.wanted.set(None)
        return wanted.batch if wanted.batch is not None else self._without_policies(part, result, error)

    async def _ask_table_later(self, part: Any) -> Batch[Any]:
        wanted, result, error = Wanted(), None, None
        results_of.wanted.set(wanted)
        try:
            args, kwargs = self.ask(part)
            result = await self.fn(*args, **kwargs)
        except ConfigError:
            raise
        except Exception as problem:  # noqa: BLE001 - as above
            error = problem
        finally:
            results_of.wanted.set(None)
        return wanted.batch if wanted.batch is not None else self._without_policies(part, result, error)

    def _without_policies(self, part: Any, result: Any, error: Exception | None) -> Batch[Any]:
        """Return the rows of a call that no policy took apart: the function ran bare, or the call as a whole was refused."""
        table = row_table(part)
        count = 0 if table is None else len(table)
        made = Batch[Any]()
        values: Sequence[Any] = [None] * count
        if error is None:
            try:
                values = table_outputs.read(result, part, count).items
            except InvalidOutput as problem:
                error = problem
        for value in values:
            self._add_bare(made, value, error)
        return made


def _never() -> bool:
    return False


def _rare(extra: Mapping[str, Any], error: Exception | None) -> dict[str, Any] | None:
    """Return what a call's entry says beyond the usual, as a Batch keeps it."""
    rare = {
        name: extra[name] for name in ("ticket", "reasons", "stop_reason", "stages", "would", "business_id") if extra.get(name)
    }
    if error is not None:
        rare["error"] = error
    span = extra.get("span")
    if span is not None:
        rare["trace_id"] = traces.ids(span)[0]
    return rare or None
