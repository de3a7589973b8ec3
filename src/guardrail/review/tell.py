"""What becomes of tickets and labels reaches the ledger even when the process dies in between.

An event is noted in the transaction that changes the store, and removed once the ledger has it: never lost, at worst
told twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select

from guardrail import notices
from guardrail.review.case import from_text, new_id, to_text
from guardrail.store import engine
from guardrail.store.promise import Promise
from guardrail.store.tables import untold

_LEFT_SECONDS: Final = 60.0  # older than this, whoever noted an event is not going to tell it any more
_left = select(untold).where(untold.c.at <= bindparam("before")).order_by(untold.c.id)


class Event(NamedTuple):
    """One event for the ledger: ids, states and who, never a value of the user's."""

    id: str
    kind: str
    guard: str | None
    fields: Mapping[str, Any]


def note(connection: Connection, kind: str, guard: str | None, fields: Mapping[str, Any], now: float) -> Event:
    """Note an event in the transaction that makes it true; `tell` it after the commit."""
    event = Event(new_id(), kind, guard, fields)
    connection.execute(insert(untold).values(id=event.id, at=now, kind=kind, guard=guard, fields=to_text(fields)))
    return event


def tell(events: Iterable[Event]) -> Promise[None] | None:
    """Write events to the ledger, synced, and have them forgotten. What the ledger does not take is told later.

    Returns:
        A future for the forgetting, which nobody needs to wait for; None when there is nothing to forget.
    """
    from guardrail.ledger import writer  # noqa: PLC0415 - the ledger starts when there is something to write

    told = []
    for event in events:
        try:
            writer.event(event.kind, guard=event.guard, fields=event.fields, sync=True)
        except Exception as problem:  # noqa: BLE001 - the change is on disk and stands, and so does its event
            notices.say(
                "review-ledger",
                f"the ledger did not take an event of the review queue ({type(problem).__name__}); told later",
            )
        else:
            told.append(event.id)
    return engine.write(lambda connection: _forget(connection, told)) if told else None


def left(connection: Connection, now: float) -> list[Event]:
    """Return the events that some process noted and did not live to tell."""
    rows = connection.execute(_left, {"before": now - _LEFT_SECONDS}).mappings()
    return [Event(row["id"], row["kind"], row["guard"], from_text(row["fields"])) for row in rows]


def _forget(connection: Connection, ids: list[str]) -> None:
    connection.execute(delete(untold).where(untold.c.id.in_(ids)))
