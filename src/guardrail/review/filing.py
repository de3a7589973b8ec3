"""How the call path uses the queue: a case is put, an earlier answer is looked up, with or without an event loop."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from guardrail import notices
from guardrail.errors import ReviewUnavailable
from guardrail.review import spool, sweeper
from guardrail.review.case import Answer, Case, Row
from guardrail.review.ticket import Ticket
from guardrail.store import engine
from guardrail.store.engine import StoreError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from guardrail.review.tell import Event

_PUT_SECONDS: Final = 2.0  # how long a call waits for a locked store before its case goes into the spool


def put(case: Case) -> Ticket:
    """Open a ticket for a case, or return the one that is open for the same key.

    Returns:
        A ticket that is on disk: in the store, or in the spool while the store cannot take it.

    Raises:
        ReviewUnavailable: Neither could take it.
        GuardrailError: Something in the case cannot be JSON.
    """
    from guardrail.review import rows  # noqa: F401, PLC0415 - loaded before the time runs

    row = case.row()
    try:
        stored, events = engine.result(engine.write(lambda connection: _put(connection, row)), _PUT_SECONDS)
    except (StoreError, OSError) as problem:
        return to_spool(row, problem)
    afterwards(events)
    watch_over(stored)
    return Ticket.of_row(stored)


def answer_for(guard: str, business_id: str, not_before: datetime | float) -> Answer | None:
    """Return what a person last decided about a matter, whatever the verdict; None when nobody did.

    Args:
        guard: The guard's name.
        business_id: The user's own key.
        not_before: The oldest decision that counts, as an aware moment or seconds since the epoch.

    Raises:
        StoreError: The store cannot be read.
    """
    if not engine.exists():
        return None
    since = not_before.timestamp() if isinstance(not_before, datetime) else not_before
    return engine.read(lambda connection: _answered(connection, guard, business_id, since))


class _Put:
    """The port for `put`."""

    def now(self, case: Case) -> Ticket:
        return put(case)

    async def later(self, case: Case) -> Ticket:
        if "guardrail.review.rows" not in sys.modules:  # loaded before the time runs, and beside the event loop
            await asyncio.wrap_future(engine.aside(lambda: importlib.import_module("guardrail.review.rows")))
        row = await asyncio.wrap_future(engine.aside(case.row)) if case.slow else case.row()
        try:
            work = engine.write(lambda connection: _put(connection, row))
            stored, events = await engine.result_later(work, _PUT_SECONDS)
        except (StoreError, OSError) as problem:
            why = problem
            return await asyncio.wrap_future(engine.aside(lambda: to_spool(row, why)))
        if events or spool.waiting():
            await asyncio.wrap_future(engine.aside(lambda: afterwards(events)))
        watch_over(stored)
        return Ticket.of_row(stored)


class _Answer:
    """The port for `answer_for`. A store that cannot be read knows no answer: the case is put, which fails closed."""

    def now(self, guard: str, business_id: str, not_before: datetime | float) -> Answer | None:
        try:
            return answer_for(guard, business_id, not_before)
        except StoreError as problem:
            _say_unread(guard, problem)
            return None

    async def later(self, guard: str, business_id: str, not_before: datetime | float) -> Answer | None:
        try:
            return await engine.result_later(engine.aside(lambda: answer_for(guard, business_id, not_before)), _PUT_SECONDS)
        except StoreError as problem:
            _say_unread(guard, problem)
            return None


PUT: Final = _Put()
ANSWER: Final = _Answer()


def _put(connection: Connection, row: Row) -> tuple[Row, list[Event]]:
    from guardrail.review import rows  # noqa: PLC0415 - on the writer's thread: no event loop waits for SQLAlchemy

    return rows.put(connection, row, engine.now())


def _answered(connection: Connection, guard: str, business_id: str, since: float) -> Answer | None:
    from guardrail.review import rows  # noqa: PLC0415 - as above

    return rows.answered(connection, guard, business_id, since)


def _say_unread(guard: str, problem: StoreError) -> None:
    notices.say("review-answer", f"earlier answers of people could not be looked up: {problem}", guard=guard)


def put_beside(case: Case) -> None:
    """Open a ticket of which nobody waits to hear, off the caller's way; the spool takes it where the store does not."""
    if case.slow:
        _aside(lambda: put(case))
        return
    row = case.row()

    def kept(done: Any) -> None:
        problem = done.exception()
        if problem is not None:
            _aside(lambda: to_spool(row, problem))

    engine.write(lambda connection: _put(connection, row)).add_done_callback(kept)


def _aside(do: Callable[[], object]) -> None:
    def done(future: Any) -> None:
        if future.exception() is not None:
            notices.say("review-audit", f"an answer could not be filed for a check: {type(future.exception()).__name__}")

    engine.aside(do).add_done_callback(done)


def watch_over(row: Row) -> None:
    """See that what time has to do with a ticket is done, even if nobody looks at the queue."""
    if row["act_at"] is not None or row["callback"] is not None:
        sweeper.ensure()


def to_spool(row: Row, problem: Exception) -> Ticket:
    """Keep a case safely where the store cannot take it.

    Raises:
        ReviewUnavailable: That is not possible either.
    """
    try:
        kept = spool.keep(row)
    except OSError as error:
        raise ReviewUnavailable(
            f"the review queue cannot take the case: {problem}; nor can its spool: {error.strerror}",
            guard=row["guard"],
            policy="review",
            decision_id=row["decision_id"],
            hint="`guardrail doctor` says what is wrong with the home folder",
        ) from problem
    notices.say("review-spool", f"a case waits in the spool: {problem}", guard=row["guard"])
    return Ticket.of_row(kept)


def afterwards(events: Sequence[Event]) -> None:
    """Tell the ledger what the store did meanwhile, and move what waits in the spool, now that the store is there."""
    if events or spool.waiting():
        from guardrail.review import tell, upkeep  # noqa: PLC0415 - SQLAlchemy is long there by now

        tell.tell(events)
        upkeep.catch_up_if_possible()
