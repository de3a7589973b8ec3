"""Who is at work on what: a claim is a lease that ends by itself, with a token that fences off whoever comes back late.

A lease that has ended needs nobody to clear it away: the predicates below read the time.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import JSON, Column, Connection, bindparam, cast, column, func, literal_column, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from guardrail.errors import AccessDenied
from guardrail.review import people, rows
from guardrail.review.case import Actor, Row, StaleClaim, TicketHeld, from_text, plain, to_text
from guardrail.review.people import Reviewer
from guardrail.store.prepared import Asked, Prepared, Said, together
from guardrail.store.states import OPEN_STATES
from guardrail.store.tables import claim, is_open, reviewer, ticket

_OVER: Final = ("voted", "declined")  # a part that the same person does not take up again
_is_over = text("guardrail_claim.state IN ('voted', 'declined')")
_mine = Prepared(select(claim).where(claim.c.ticket_id == bindparam("of"), claim.c.reviewer == bindparam("me")))
_of_token = Prepared(select(claim).where(claim.c.token == bindparam("token")))
_standing = select(claim.c.reviewer, claim.c.lease_until, claim.c.slot).where(
    claim.c.ticket_id == bindparam("of"), claim.c.state == "held", claim.c.slot.is_not(None)
)
_vote_slots = select(claim.c.slot).where(claim.c.ticket_id == bindparam("of"), claim.c.state == "voted")
_lost = update(claim).where(
    claim.c.ticket_id == bindparam("of"), claim.c.state == "held", claim.c.lease_until <= bindparam("now")
)
_take = Prepared(update(ticket).where(ticket.c.id == bindparam("of")))


def new_token() -> str:
    """Return a token that nobody can guess."""
    return uuid.uuid4().hex


def next_for(connection: Connection, me: Actor, queue: str | None, now: float, *, patient: bool = False) -> Row | None:
    """Return the most urgent ticket that a person may claim now, locked; None where there is none.

    None is not yet "nothing to do": another transaction may just hold the only one that is left.

    Args:
        connection: Of the store.
        me: The person.
        queue: Only from this queue; None for all.
        now: Seconds since the epoch.
        patient: Whether to wait for other transactions, in place of leaving out what they hold.
    """
    wanted: dict[str, Any] = {"now": now, "me": me.id, "name": plain(me.id), "asked": f'{{"id":{to_text(me.id)},'}
    if queue is not None:
        wanted["queue"] = queue
    return _next(connection.dialect.name, one_queue=queue is not None, patient=patient).first(connection, wanted)


@cache
def _next(dialect: str, *, one_queue: bool, patient: bool) -> Prepared:
    """Return the query for the next ticket; built once, since building it costs more than running it."""

    def items(words: Any) -> Any:
        """Return the words of a JSON list as a table of their own."""
        if dialect == "sqlite":
            return func.json_each(words).table_valued(column("value"))
        return func.json_array_elements_text(cast(words, JSON)).table_valued(column("value"))

    def of_mine(which: Column[str]) -> Any:
        """Return the person's own words: none, where nothing is known of them."""
        return items(
            func.coalesce(select(which).where(reviewer.c.name == bindparam("name")).scalar_subquery(), literal_column("'[]'"))
        )

    skills, own, roles = items(ticket.c.skills), of_mine(reviewer.c.skills), of_mine(reviewer.c.roles)
    lacking = select(skills.c.value).where(skills.c.value.not_in(select(own.c.value))).exists()
    unknown = ~select(reviewer.c.name).where(reviewer.c.name == bindparam("name")).exists()  # who may know anything
    over = select(claim.c.ticket_id).where(
        claim.c.ticket_id == ticket.c.id,
        claim.c.reviewer == bindparam("me"),
        or_(_is_over, (claim.c.state == "held") & (claim.c.lease_until > bindparam("now"))),
    )
    query = select(ticket).where(
        is_open,
        ticket.c.free_at <= bindparam("now"),
        or_(ticket.c.due.is_(None), ticket.c.on_expiry == "hold", ticket.c.due > bindparam("now")),
        or_(ticket.c.role.is_(None), ticket.c.role.in_(select(roles.c.value))),
        or_(ticket.c.actor.is_(None), ~ticket.c.actor.startswith(bindparam("asked"))),  # nobody reviews what they asked for
        ~over.exists(),
        or_(ticket.c.skills == "[]", unknown, ~lacking),
    )
    if one_queue:
        query = query.where(ticket.c.queue == bindparam("queue"))
    query = query.order_by(ticket.c.priority.desc(), ticket.c.id).limit(1)
    return Prepared(query.with_for_update(skip_locked=not patient, of=ticket))


def check(connection: Connection, row: Row, me: Actor, now: float, *, over_another: bool = False) -> None:
    """See that a person may take a part in a ticket that was asked for by its id.

    Args:
        connection: Of the store.
        row: The ticket, locked.
        me: The person.
        now: Seconds since the epoch.
        over_another: Whether the part of somebody who is at work on it may be taken.

    Raises:
        AccessDenied: It is for another role, or the person asked for it.
        TicketHeld: Others are at work on it, or the person has voted or declined.
    """
    denied = _why_not(row, people.of(connection, me.id))
    if denied is not None:
        text, hint = denied
        raise AccessDenied(text, guard=row["guard"], policy="review", decision_id=row["decision_id"], hint=hint)
    part = part_of(connection, row["id"], me)
    if part is not None and part["state"] in _OVER:
        did = "voted on" if part["state"] == "voted" else "declined"
        raise _held(row, f"{me.id} has {did} ticket {row['id']} already", "another person must take it")
    if row["free_at"] > now and not over_another and not (part and part["state"] == "held" and part["lease_until"] > now):
        raise _held(row, f"somebody else is at work on ticket {row['id']}", "wait, take it over, or see `guardrail review show`")


def _why_not(row: Row, who: Reviewer) -> tuple[str, str] | None:
    if row["role"] is not None and row["role"] not in who.roles:
        role = row["role"]
        return f"ticket {row['id']} is for the role {role}", f"`guardrail review people set NAME --role {role}` gives it"
    asked = from_text(row["actor"])
    if asked is not None and asked.get("id") == who.name:
        return f"ticket {row['id']} was asked for by the same person", "another person must decide it"
    return None


def out_of(connection: Connection, row: Row) -> frozenset[str]:
    """Return who may not decide a ticket, whatever their role: who voted on it, declined it, or asked for it."""
    names = select(claim.c.reviewer).where(claim.c.ticket_id == row["id"], claim.c.state.in_(_OVER))
    asked = from_text(row["actor"])
    return frozenset((*connection.execute(names).scalars(), *(() if asked is None else (asked["id"],))))


def _held(row: Row, text: str, hint: str) -> TicketHeld:
    return TicketHeld(text, guard=row["guard"], policy="review", decision_id=row["decision_id"], hint=hint)


def take(
    connection: Connection,
    row: Row,
    me: Actor,
    now: float,
    *,
    until: float,
    token: str,
    blind: bool = False,
    again: bool = True,
    over_another: bool = False,
    also: Sequence[Asked] = (),
) -> tuple[Row, list[Said]]:
    """Give a person a part in a ticket, for as long as the lease; the ticket is locked, and the person may have it.

    Args:
        connection: Of the store.
        row: The ticket.
        me: The person.
        now: Seconds since the epoch.
        until: When the lease ends.
        token: Of the claim.
        blind: Whether the model's answer is hidden.
        again: Whether a claim that the person holds already is made anew; else they are at work on it elsewhere.
        over_another: Whether others lose their claims; that is noted with the ticket.
        also: Statements to run afterwards, with the same journey to the server.

    Returns:
        The ticket as it is now, and what the other statements say.

    Raises:
        TicketHeld: All its places are taken, or the person has had a part in it.
    """
    taken: dict[int, tuple[str, float]] = {}
    votes: set[int] = set()
    if row["state"] != "pending" or row["reviewers"] > 1:
        connection.execute(_lost.values(state="released", slot=None), {"of": row["id"], "now": now})
        if over_another:
            others = update(claim).where(claim.c.ticket_id == row["id"], claim.c.state == "held", claim.c.reviewer != me.id)
            connection.execute(others.values(state="released", slot=None))
        standing = connection.execute(_standing, {"of": row["id"]})
        taken = {slot: (name, ends) for name, ends, slot in standing if name != me.id}
        votes = set(connection.execute(_vote_slots, {"of": row["id"]}).scalars())
    free = [slot for slot in range(row["reviewers"]) if slot not in taken and slot not in votes]
    if not free:
        raise _held(row, f"all places of ticket {row['id']} are taken", "wait, or see `guardrail review show`")
    part = {
        "ticket_id": row["id"], "reviewer": me.id, "known_by": me.known_by, "slot": free[0], "token": token, "claimed": now,
        "lease_until": until, "state": "held", "blind": blind,
    }  # fmt: skip
    ends = [until, *(ends for _, ends in taken.values())]
    settled = _settling(row, 0.0 if len(free) > 1 else min(ends), row["state"])
    noted = [rows.noting_step(row["id"], "reassigned", settled[1]["state"], now, actor=me)] if over_another else []
    given = _given(connection.dialect.name, again), part
    mine, _, *said = together(connection, given, settled, *noted, *also)
    if mine.first is None:  # which undoes the rest
        raise _held(row, f"{me.id} has a part in ticket {row['id']} already", "another person must take it")
    return rows.changed_by(row, settled[1]), said[len(noted) :]


@cache
def _given(dialect: str, again: bool) -> Prepared:  # noqa: FBT001 - a key of the cache
    """Return the statement that gives a person a part in a ticket, anew where they had one that is over."""
    insert: Any = (sqlite if dialect == "sqlite" else postgresql).insert(claim)
    anew = {name: insert.excluded[name] for name in ("known_by", "slot", "token", "claimed", "lease_until", "state", "blind")}
    free = claim.c.state.in_((literal_column("'released'"), literal_column("'held'")))
    if not again:
        free = (claim.c.state == "released") | ((claim.c.state == "held") & (claim.c.lease_until <= insert.excluded.claimed))
    given = insert.on_conflict_do_update(index_elements=["ticket_id", "reviewer"], set_=anew, where=free)
    return Prepared(given.returning(claim.c.token))


def _settle(connection: Connection, row: Row, free_at: float, state: str) -> None:
    """Write since when a ticket can be claimed; it is "claimed" while all its places are taken."""
    together(connection, _settling(row, free_at, state))


def _settling(row: Row, free_at: float, state: str) -> Asked:
    """Return the statement that does what `_settle` does."""
    if state != "adjudicate":
        state = "claimed" if free_at else "pending"
    return _take, {"of": row["id"], "free_at": free_at, "state": state}


def part_of(connection: Connection, ticket_id: str, me: Actor) -> Row | None:
    """Return a person's part in a ticket, None where they have none."""
    return _mine.first(connection, {"of": ticket_id, "me": me.id})


def by_token(token: str) -> Asked:
    """Return the statement that gives the claim with a token."""
    return _of_token, {"token": token}


def of_token(connection: Connection, token: str) -> Row | None:
    """Return the claim with a token, None where there is none any more."""
    statement, values = by_token(token)
    return statement.first(connection, values)


def live(connection: Connection, token: str, now: float) -> tuple[Row, Row]:
    """Return a claim that still holds, and its ticket, locked.

    Raises:
        StaleClaim: It does not hold any more.
    """
    part = of_token(connection, token)
    if part is None:
        raise StaleClaim("the claim is over: its ticket was given to somebody else", policy="review", hint="claim it again")
    row, (now_so,) = rows.locked_with(connection, part["ticket_id"], by_token(token))
    part = now_so.first
    if part is None or part["state"] != "held" or part["lease_until"] <= now:
        raise stale(row)
    return part, row


def stale(row: Row) -> StaleClaim:
    """Return the error for a claim that does not hold any more."""
    return StaleClaim(
        f"the claim of ticket {row['id']} is over",
        guard=row["guard"],
        policy="review",
        decision_id=row["decision_id"],
        hint="claim it again; what was written is kept with the ticket, see `guardrail review show`",
    )


def extend(connection: Connection, token: str, now: float, until: float) -> None:
    """Let a lease last longer.

    Raises:
        StaleClaim: It has ended already.
    """
    part, row = live(connection, token, now)
    connection.execute(update(claim).where(claim.c.token == part["token"]).values(lease_until=until))
    if row["free_at"]:
        standing = connection.execute(_standing, {"of": row["id"]})
        _settle(connection, row, min([until, *(ends for name, ends, _ in standing if name != part["reviewer"])]), row["state"])


def leave(connection: Connection, token: str, now: float, state: str) -> tuple[Row, Row]:
    """Give a ticket back: "released", or "declined" by somebody who shall not be handed it again.

    Returns:
        The claim and the ticket as they were.

    Raises:
        StaleClaim: The claim does not hold any more.
    """
    part, row = live(connection, token, now)
    connection.execute(update(claim).where(claim.c.token == part["token"]).values(state=state, slot=None))
    if row["state"] in OPEN_STATES:
        _settle(connection, row, 0.0, row["state"])
    return part, row


def give(connection: Connection, row: Row, now: float) -> Sequence[str]:
    """Take a ticket from all who are at work on it, so that another person can have it; return who that were."""
    names = [name for name, ends, _ in connection.execute(_standing, {"of": row["id"]}) if ends > now]
    held = update(claim).where(claim.c.ticket_id == row["id"], claim.c.state == "held")
    connection.execute(held.values(state="released", slot=None))
    _settle(connection, row, 0.0, row["state"])
    return names
