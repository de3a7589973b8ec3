"""How people look at the queue: for cases, at one case, for what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from guardrail.errors import ConfigError
from guardrail.review import rows, spool, time_passes, upkeep
from guardrail.review.case import Answer, Row, State, TicketNotFound, plain, standing
from guardrail.review.dossier import Details
from guardrail.review.ticket import Ticket
from guardrail.store import engine
from guardrail.store.engine import StoreError
from guardrail.store.prepared import together
from guardrail.store.states import OPEN_STATES

if TYPE_CHECKING:
    from sqlalchemy import Connection

Wanted: TypeAlias = State | Literal["open", "all"]
_STATES: Final = (*OPEN_STATES, "decided", "expired", "cancelled")
_OPENED_SECONDS: Final = 60.0  # between two notes of the same process that somebody looked at a queue
_opened: dict[tuple[object, str], float] = {}


def get(ticket_id: str) -> Ticket:
    """Return a ticket by its id.

    Raises:
        TicketNotFound: There is none.
        StoreError: The store cannot be read.
    """
    return details(ticket_id).ticket


def details(ticket_id: str) -> Details:
    """Return all that a reviewer may see of a ticket.

    Raises:
        TicketNotFound: There is none.
        StoreError: The store cannot be read.
    """
    upkeep.catch_up_if_possible()
    found = engine.read(lambda connection: _whole(connection, rows.get(connection, ticket_id))) if engine.exists() else None
    if found is None:
        raise rows.missing(ticket_id)
    opened(found.ticket.queue)
    return found


def listing(
    queue: str | None = None,
    guard: str | None = None,
    state: Wanted | None = None,
    limit: int | None = 100,
    business_id: str | None = None,
) -> list[Details]:
    """Return tickets with their cases, the most urgent first: by priority, then the oldest.

    Args:
        queue: Only those of a queue.
        guard: Only those of a guard.
        state: Only those in a state; "open" for all that a person may still answer, None or "all" for every state.
        limit: The most to return, None for all.
        business_id: Only those about a matter.

    Raises:
        StoreError: The store cannot be read.
    """
    states = _states(state)
    upkeep.catch_up_if_possible()
    if not engine.exists():
        return []
    now = engine.now()
    found = engine.read(
        lambda connection: [
            _whole(connection, row)
            for row in rows.find(
                connection, queue=queue, guard=guard, business_id=business_id, states=states, limit=limit, now=now
            )
        ]
    )
    if queue is not None:
        opened(queue)
    return [each for each in found if each is not None]


def find(
    queue: str | None = None,
    guard: str | None = None,
    state: Wanted | None = None,
    limit: int | None = 100,
    business_id: str | None = None,
) -> list[Ticket]:
    """Return tickets; arguments and order as for `listing`."""
    return [each.ticket for each in listing(queue, guard, state, limit, business_id)]


def open_count(queue: str | None = None) -> int:
    """Return how many tickets wait for a person, in one queue or in all."""
    return count(queue, state="open")


def count(queue: str | None = None, guard: str | None = None, state: Wanted | None = None, business_id: str | None = None) -> int:
    """Return how many tickets there are; arguments as for `listing`."""
    states = _states(state)
    upkeep.catch_up_if_possible()
    if not engine.exists():
        return 0
    now = engine.now()
    return engine.read(
        lambda connection: rows.count(connection, queue=queue, guard=guard, business_id=business_id, states=states, now=now)
    )


def resolve(part: str) -> str:
    """Return the id of the one ticket that a text is the id, or the beginning or the end of the id, of.

    Raises:
        TicketNotFound: There is none, or more than one.
    """
    part = part.strip().lower()
    upkeep.catch_up_if_possible()
    if not part or not engine.exists():
        raise rows.missing(part or "without an id")
    whole, alike = engine.read(lambda connection: (rows.get(connection, part), rows.matching(connection, part, 2)))
    if whole is not None:
        return str(whole["id"])
    if len(alike) > 1:
        raise TicketNotFound("more than one ticket has an id like that", hint="write more of the id")
    if not alike:
        raise rows.missing(part)
    return alike[0]


def state(ticket_id: str) -> State:
    """Return the state of a ticket; one that still waits in the spool is pending.

    Raises:
        TicketNotFound: There is none.
        StoreError: The store cannot be read.
    """
    try:
        upkeep.catch_up_if_possible()
        row = engine.read(lambda connection: rows.get(connection, ticket_id)) if engine.exists() else None
    except StoreError:
        if spool.holds(ticket_id):
            return "pending"
        raise
    if row is not None:
        return standing(row, engine.now())
    if spool.holds(ticket_id):
        return "pending"
    raise rows.missing(ticket_id)


def ending(ticket_id: str) -> Answer | None:
    """Return how a ticket ended, None while it is open.

    Raises:
        TicketNotFound: There is none.
        StoreError: The store cannot be read.
    """
    if state(ticket_id) in OPEN_STATES:
        return None
    return engine.read(lambda connection: rows.endings(connection, [ticket_id])).get(ticket_id)


def opened(queue: str) -> None:
    """Note that somebody looked at a queue; nobody waits for the note."""
    now, place = engine.now(), (engine.where(), queue)
    if now - _opened.get(place, float("-inf")) >= _OPENED_SECONDS and engine.exists():
        _opened[place] = now
        engine.write(lambda connection: time_passes.mark(connection, plain(queue), opened=now))


def whole(connection: Connection, row: Row) -> Details:
    """Return a ticket's row with all that belongs to it."""
    steps, parts = together(connection, *rows.reading(row["id"]))
    return Details.of_rows(row, steps.rows, parts.rows, engine.now())


def _whole(connection: Connection, row: Row | None) -> Details | None:
    return None if row is None else whole(connection, row)


def _states(state: Wanted | None) -> tuple[str, ...]:
    if state is None or state == "all":
        return ()
    if state == "open":
        return OPEN_STATES
    if state not in _STATES:
        raise ConfigError("there is no such state of a ticket", hint=f'write "open", "all" or one of {", ".join(_STATES)}')
    return (state,)
