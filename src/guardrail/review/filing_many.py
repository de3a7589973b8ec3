"""How the call path puts the cases of a whole table into the queue: many in one transaction, with or without an event loop."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from guardrail.errors import ReviewUnavailable
from guardrail.review import spool
from guardrail.review.case import Case, Row
from guardrail.review.filing import afterwards, to_spool, watch_over
from guardrail.review.ticket import Ticket
from guardrail.store import engine
from guardrail.store.engine import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from guardrail.review.tell import Event

_AT_ONCE: Final = 100  # cases in one transaction: others want to write too
_SECONDS: Final = 2.0  # how long one transaction may wait for a locked store before its cases go into the spool

Filed = Ticket | ReviewUnavailable


class _PutMany:
    """Opens a ticket for each case, or finds the one that is open for its key; a case that cannot be kept gets an error.

    Once the store has failed, the rest of the cases does not wait for it again.
    """

    def now(self, cases: Sequence[Case]) -> list[Filed]:
        """Do it, blocking the calling thread."""
        filed: list[Filed] = []
        problem: Exception | None = None
        for rows in _portions(cases):
            if problem is None:
                try:
                    stored, events = engine.result(engine.write(partial(_put, rows=rows)), _SECONDS)
                except (StoreError, OSError) as error:
                    problem = error
                else:
                    afterwards(events)
                    for row in stored:
                        watch_over(row)
                    filed.extend(map(Ticket.of_row, stored))
                    continue
            filed.extend(_kept(rows, problem))
        return filed

    async def later(self, cases: Sequence[Case]) -> list[Filed]:
        """Do it without blocking the event loop."""
        if "guardrail.review.rows" not in sys.modules:  # loaded before the time runs, and beside the event loop
            await _beside(partial(importlib.import_module, "guardrail.review.rows"))
        filed: list[Filed] = []
        problem: Exception | None = None
        portions = await _beside(lambda: list(_portions(cases))) if any(case.slow for case in cases) else _portions(cases)
        for rows in portions:
            if problem is None:
                try:
                    stored, events = await engine.result_later(engine.write(partial(_put, rows=rows)), _SECONDS)
                except (StoreError, OSError) as error:
                    problem = error
                else:
                    if events or spool.waiting():
                        await _beside(partial(afterwards, events))
                    for row in stored:
                        watch_over(row)
                    filed.extend(map(Ticket.of_row, stored))
                    continue
            filed += await _beside(partial(_kept, rows, problem))
        return filed


PUT_MANY: Final = _PutMany()


def _portions(cases: Sequence[Case]) -> Iterator[list[Row]]:
    for start in range(0, len(cases), _AT_ONCE):
        yield [case.row() for case in cases[start : start + _AT_ONCE]]


def _put(connection: Connection, rows: Sequence[Row]) -> tuple[list[Row], list[Event]]:
    from guardrail.review import rows as statements  # noqa: PLC0415 - on the writer's thread, with SQLAlchemy

    now = engine.now()
    stored: list[Row] = []
    events: list[Event] = []
    for row in rows:
        there, happened = statements.put(connection, row, now)
        stored.append(there)
        events.extend(happened)
    return stored, events


def _kept(rows: Sequence[Row], problem: Exception) -> list[Filed]:
    """Keep cases that the store did not take in the spool; what that does not take either gets its error."""
    kept: list[Filed] = []
    for row in rows:
        try:
            kept.append(to_spool(row, problem))
        except ReviewUnavailable as error:
            kept.append(error)
    return kept


async def _beside(do: Callable[[], Any]) -> Any:
    return await asyncio.wrap_future(engine.aside(do))
