"""The queue's transactions: each function works on one connection, and knows nothing of threads or files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, func, insert, or_, select, update

from guardrail.review import tell
from guardrail.review.case import Actor, Answer, Row, TicketClosed, TicketNotFound, for_people, moment, new_id, plain
from guardrail.store.tables import OPEN_STATES, is_closed, is_open, label, step, ticket, twin, was_decided

# The statements that calls wait for are built once: building them costs more than running them.
_insert = insert(ticket)
_open_of_key = select(ticket).where(ticket.c.key == bindparam("key"), is_open)
_of_id = select(ticket).where(ticket.c.id == bindparam("id"))
_of_twin = select(ticket).join(twin).where(twin.c.id == bindparam("id"))
_late = select(ticket).where(is_open, ticket.c.due <= bindparam("now"), ticket.c.on_expiry != "hold")
_any_late = _late.with_only_columns(ticket.c.id).limit(1)
_ending = select(func.max(step.c.seq)).where(step.c.ticket_id == ticket.c.id).correlate(ticket).scalar_subquery()
_ended = (
    select(*(ticket.c[name] for name in ("id", "state", "on_expiry", "guard", "decision_id")))
    .add_columns(step.c.at, step.c.verdict, step.c.value, step.c.known_by, step.c.actor.label("step_actor"))
    .join(step, step.c.ticket_id == ticket.c.id)
    .where(is_closed, step.c.seq == _ending)
)
_answered = (
    _ended.where(ticket.c.guard == bindparam("of"), ticket.c.business_id == bindparam("about"), was_decided)
    .where(step.c.at >= bindparam("since"))
    .order_by(step.c.seq.desc())
    .limit(1)
)


def put(connection: Connection, row: Row, now: float) -> tuple[Row, list[tell.Event]]:
    """Store a new ticket, unless one with its key is open; return the open one, and what to tell the ledger."""
    there = _open_one(connection, row["key"])
    events = []
    if there is not None and _overdue(there, now):
        events = _expire(connection, [there], now)
        there = None
    if there is not None:
        return there, events
    connection.execute(_insert, row)
    return row, events


def adopt(connection: Connection, row: Row) -> None:
    """Store a ticket that was handed out from the spool; if one of its key is open by now, the two are one case."""
    if get(connection, row["id"]) is not None:
        return
    there = _open_one(connection, row["key"])
    if there is None:
        connection.execute(_insert, row)
    else:
        connection.execute(insert(twin).values(id=row["id"], ticket_id=there["id"]))


def get(connection: Connection, ticket_id: str) -> RowMapping | None:
    """Return a ticket's row, or that of its twin, or None."""
    wanted = {"id": plain(ticket_id)}
    found = connection.execute(_of_id, wanted).mappings().first()
    return found or connection.execute(_of_twin, wanted).mappings().first()


def matching(connection: Connection, part: str, most: int) -> list[str]:
    """Return the ids that begin or end with a text, at most so many, newest first."""
    part = plain(part)
    alike = or_(ticket.c.id.startswith(part, autoescape=True), ticket.c.id.endswith(part, autoescape=True))
    return list(connection.execute(select(ticket.c.id).where(alike).order_by(ticket.c.id.desc()).limit(most)).scalars())


def find(
    connection: Connection,
    *,
    queue: str | None,
    guard: str | None,
    business_id: str | None,
    states: Collection[str],
    limit: int | None,
) -> list[RowMapping]:
    """Return the rows that fit, the most urgent first: by priority, then the oldest."""
    query = _fitting(select(ticket), queue=queue, guard=guard, business_id=business_id, states=states)
    query = query.order_by(ticket.c.priority.desc(), ticket.c.id).limit(limit)
    return list(connection.execute(query).mappings())


def count(
    connection: Connection, *, queue: str | None, guard: str | None, business_id: str | None, states: Collection[str]
) -> int:
    """Return how many rows fit."""
    query = _fitting(select(func.count()).select_from(ticket), queue=queue, guard=guard, business_id=business_id, states=states)
    return int(connection.execute(query).scalar_one())


def endings(connection: Connection, ids: Sequence[str]) -> dict[str, Answer]:
    """Return how tickets ended, by the id that was asked for; those still open, or unknown, are missing."""
    found: dict[str, Answer] = {}
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        own = _ended.where(ticket.c.id.in_(some))
        found.update({row["id"]: answer(row) for row in connection.execute(own).mappings()})
        others = _ended.add_columns(twin.c.id.label("asked")).join(twin, twin.c.ticket_id == ticket.c.id)
        others = others.where(twin.c.id.in_(some))
        found.update({row["asked"]: answer(row) for row in connection.execute(others).mappings()})
    return found


def known(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Return which of some ids there are tickets for."""
    found: set[str] = set()
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        found.update(connection.execute(select(ticket.c.id).where(ticket.c.id.in_(some))).scalars())
        found.update(connection.execute(select(twin.c.id).where(twin.c.id.in_(some))).scalars())
    return found


def answered(connection: Connection, guard: str, business_id: str, not_before: float) -> Answer | None:
    """Return the latest decision of a person about a matter since a moment, or None."""
    wanted = {"of": plain(guard), "about": plain(business_id), "since": not_before}
    row = connection.execute(_answered, wanted).mappings().first()
    return None if row is None else answer(row)


def decide(
    connection: Connection, ticket_id: str, now: float, actor: Actor, decision: Mapping[str, str | None]
) -> tuple[RowMapping, list[tell.Event]]:
    """Decide an open ticket: `decision` holds verdict, value (JSON text or None), note. The answer is a label too."""
    row = _answerable(connection, ticket_id, now)
    decision = {**decision, "value": _kept(row, decision["value"])}
    _enter(connection, row, "decided", now, actor=actor, **decision)
    if decision["value"] is not None:
        values = {name: row[name] for name in ("decision_id", "guard", "business_id")}
        values |= {"id": new_id(), "ticket_id": row["id"], "actual": decision["value"], "value": None}
        connection.execute(insert(label).values(**values, at=now, stored=now, source="review"))
    fields = _facts(row, "decided", actor) | {"verdict": decision["verdict"]}
    return _again(connection, row), [tell.note(connection, "decision", row["guard"], fields, now)]


def _kept(row: Row, value: str | None) -> str | None:
    if '"$key"' not in row["arguments"]:
        return value
    from guardrail.review.personal import answer_text  # noqa: PLC0415 - for those who have something personal

    return answer_text(row, value)


def cancel(
    connection: Connection, ticket_id: str, now: float, actor: Actor, reason: str, *, late: bool = False
) -> tuple[RowMapping, list[tell.Event]]:
    """Take an open ticket out of the queue; with `late` one that should have expired, too."""
    row = _answerable(connection, ticket_id, float("-inf") if late else now)
    _enter(connection, row, "cancelled", now, actor=actor, note=reason)
    fields = _facts(row, "cancelled", actor) | {"cause": reason}
    return _again(connection, row), [tell.note(connection, "ticket", row["guard"], fields, now)]


def overdue(connection: Connection, now: float) -> bool:
    """Return whether some open ticket should have expired."""
    return connection.execute(_any_late, {"now": now}).first() is not None


def next_due(connection: Connection) -> float | None:
    """Return when the next open ticket expires (seconds since the epoch), None where none does."""
    query = select(func.min(ticket.c.due)).where(is_open, ticket.c.due.is_not(None), ticket.c.on_expiry != "hold")
    return connection.execute(query).scalar()


def expire(connection: Connection, now: float) -> tuple[list[str], list[tell.Event]]:
    """Close every open ticket whose time is up, except those that are held; return their ids and what to tell."""
    rows = list(connection.execute(_late, {"now": now}).mappings())
    return [row["id"] for row in rows], _expire(connection, rows, now)


def history(connection: Connection, ticket_id: str) -> list[RowMapping]:
    """Return what ended a ticket, in order."""
    query = select(step).where(step.c.ticket_id == ticket_id).order_by(step.c.seq)
    return list(connection.execute(query).mappings())


def answer(row: Row) -> Answer:
    """Return an ended ticket, joined with its last step, as an `Answer`."""
    return Answer(
        ticket_id=row["id"],
        state=row["state"],
        verdict=row["verdict"],
        value=for_people(row["value"], row["id"]),
        actor=None if row["step_actor"] is None else Actor(row["step_actor"], row["known_by"]),
        at=moment(row["at"]),
        on_expiry=row["on_expiry"],
        guard=row["guard"],
        decision_id=row["decision_id"],
    )


def _fitting(
    query: Select[Any], *, queue: str | None, guard: str | None, business_id: str | None, states: Collection[str]
) -> Select[Any]:
    wanted = ((ticket.c.queue, queue), (ticket.c.guard, guard), (ticket.c.business_id, business_id))
    query = query.where(*(column == plain(text) for column, text in wanted if text is not None))
    return query.where(ticket.c.state.in_(states)) if states else query


def _open_one(connection: Connection, key: bytes) -> RowMapping | None:
    return connection.execute(_open_of_key, {"key": key}).mappings().first()


def _overdue(row: Row, now: float) -> bool:
    return row["due"] is not None and row["due"] <= now and row["on_expiry"] != "hold"


def _answerable(connection: Connection, ticket_id: str, now: float) -> RowMapping:
    row = get(connection, ticket_id)
    if row is None:
        raise missing(ticket_id)
    if row["state"] in OPEN_STATES and not _overdue(row, now):
        return row
    state = row["state"] if row["state"] not in OPEN_STATES else "expired"
    hint = "guardrail.feedback(...) keeps what turned out to be true" if state == "expired" else "see `guardrail review show`"
    raise TicketClosed(
        f"ticket {row['id']} is {state} and takes no decision",
        guard=row["guard"],
        decision_id=row["decision_id"],
        hint=hint,
    )


def missing(ticket_id: str) -> TicketNotFound:
    """Return the error for an id that no ticket has."""
    return TicketNotFound(f"there is no ticket {plain(ticket_id)}", hint="see `guardrail review list --state all`")


def _enter(connection: Connection, row: Row, state: str, now: float, *, actor: Actor | None = None, **facts: str | None) -> None:
    connection.execute(update(ticket).where(ticket.c.id == row["id"]).values(state=state))
    who = {} if actor is None else {"actor": actor.id, "known_by": actor.known_by}
    connection.execute(insert(step).values(ticket_id=row["id"], at=now, state=state, **who, **facts))


def _expire(connection: Connection, rows: Sequence[Row], now: float) -> list[tell.Event]:
    events = []
    for row in rows:
        _enter(connection, row, "expired", now)
        fields = _facts(row, "expired", None) | {"on_expiry": row["on_expiry"]}
        events.append(tell.note(connection, "ticket", row["guard"], fields, now))
    return events


def _again(connection: Connection, row: Row) -> RowMapping:
    found = get(connection, row["id"])
    assert found is not None  # noqa: S101 - it was there a moment ago, in this transaction
    return found


def _facts(row: Row, state: str, actor: Actor | None) -> dict[str, Any]:
    """Return what the ledger may know of a ticket: ids and states, nothing of the case's content."""
    facts = {"ticket": row["id"], "state": state} | {
        name: row[name] for name in ("queue", "version", "decision_id", "business_id", "reason")
    }
    return facts if actor is None else facts | {"actor": {"id": actor.id, "known_by": actor.known_by}}
