"""How people use the queue: they look for cases, look at one, and decide it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from guardrail import clock
from guardrail.call import MISSING
from guardrail.errors import ConfigError
from guardrail.review import rows, spool, tell, upkeep
from guardrail.review.case import Actor, Answer, Row, State, TicketNotFound, Verdict, plain, says_something
from guardrail.review.details import Details
from guardrail.review.judge import judged
from guardrail.review.ticket import Ticket
from guardrail.store import engine
from guardrail.store.engine import StoreError
from guardrail.store.tables import OPEN_STATES

if TYPE_CHECKING:
    from sqlalchemy import Connection

Wanted: TypeAlias = State | Literal["open", "all"]
_STATES: Final = (*OPEN_STATES, "decided", "expired", "cancelled")


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
    found = engine.read(lambda connection: _with_history(connection, ticket_id)) if engine.exists() else None
    if found is None:
        raise rows.missing(ticket_id)
    return Details.of_rows(*found)


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
    found = engine.read(
        lambda connection: [
            (row, rows.history(connection, row["id"]))
            for row in rows.find(connection, queue=queue, guard=guard, business_id=business_id, states=states, limit=limit)
        ]
    )
    return [Details.of_rows(row, steps) for row, steps in found]


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
    return engine.read(
        lambda connection: rows.count(connection, queue=queue, guard=guard, business_id=business_id, states=states)
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


def decide(
    ticket_id: str,
    value: Any = MISSING,
    *,
    actor: Actor | str | None = None,
    note: str | None = None,
    verdict: Verdict | None = None,
) -> Ticket:
    """Answer a ticket for good. Whoever waits for it, in any process, gets the answer; it is kept as a label too.

    Args:
        ticket_id: The whole id.
        value: The answer, able to be JSON, and one of the choices where the case has choices.
        actor: Who decides: a name (recorded as asserted), an `Actor`, or None for the user of the operating system.
        note: Why, for the next reader; it is not written to the ledger.
        verdict: "accept" without a value takes the model's own answer, "reject" gives none, "change" gives another.
            Without it, a value counts as accepted when it equals the model's answer, else as changed.

    Raises:
        TicketNotFound: There is no such ticket.
        TicketClosed: It is decided, expired or cancelled already.
        InvalidInput: The value is none of the choices, or does not go with the verdict.
        StoreError: The store cannot take the decision.
    """
    who = Actor.of(actor)
    case = details(ticket_id)
    decision = judged(case, value, verdict) | {"note": None if note is None else plain(note)}
    row, events = engine.result(engine.write(lambda connection: rows.decide(connection, ticket_id, clock.wall(), who, decision)))
    tell.tell(events)
    return Ticket.of_row(row)


def cancel(ticket_id: str, reason: str, actor: Actor | str | None = None) -> Ticket:
    """Take an open ticket out of the queue.

    Args:
        ticket_id: The whole id.
        reason: Why; it is written to the ledger.
        actor: As for `decide`.

    Raises:
        TicketNotFound: There is no such ticket.
        TicketClosed: It is decided, expired or cancelled already.
        StoreError: The store cannot take it.
    """
    if not says_something(reason):
        raise ConfigError("a ticket is cancelled for a reason", hint='write reason="withdrawn by the applicant"')
    who, why = Actor.of(actor), plain(reason)
    upkeep.catch_up_if_possible()
    row, events = engine.result(engine.write(lambda connection: rows.cancel(connection, ticket_id, clock.wall(), who, why)))
    tell.tell(events)
    return Ticket.of_row(row)


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
        return row["state"]  # type: ignore[no-any-return]
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


class Queue:
    """One queue by name, for a notebook or a script.

    Args:
        name: The queue's name, as in `Review(queue=...)`.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def list(self, state: Wanted = "open", limit: int | None = 100) -> Sequence[Details]:
        """Return the cases of this queue, the most urgent first."""
        return listing(self.name, state=state, limit=limit)

    def show(self, part: str) -> Details:
        """Return a case by its id, or the beginning or the end of it."""
        return details(resolve(part))

    def decide(
        self,
        part: str,
        value: Any = MISSING,
        *,
        actor: Actor | str | None = None,
        note: str | None = None,
        verdict: Verdict | None = None,
    ) -> Ticket:
        """Answer a case by its id, or the beginning or the end of it; see `decide`."""
        return decide(resolve(part), value, actor=actor, note=note, verdict=verdict)

    def cancel(self, part: str, reason: str, actor: Actor | str | None = None) -> Ticket:
        """Take a case out of the queue; see `cancel`."""
        return cancel(resolve(part), reason, actor)

    def __len__(self) -> int:
        return open_count(self.name)

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}>"


def queue(name: str) -> Queue:
    """Return a queue by name: `queue("loans").list()`."""
    return Queue(name)


def _with_history(connection: Connection, ticket_id: str) -> tuple[Row, Sequence[Row]] | None:
    row = rows.get(connection, ticket_id)
    return None if row is None else (row, rows.history(connection, row["id"]))


def _states(state: Wanted | None) -> tuple[str, ...]:
    if state is None or state == "all":
        return ()
    if state == "open":
        return OPEN_STATES
    if state not in _STATES:
        raise ConfigError("there is no such state of a ticket", hint=f'write "open", "all" or one of {", ".join(_STATES)}')
    return (state,)
