"""The queue's statements: each function works on one connection, and knows nothing of threads or databases."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, Update, bindparam, func, or_, select, update
from sqlalchemy import insert as plain_insert

from guardrail.review import callbacks, tell
from guardrail.review.case import Actor, Answer, Row, TicketClosed, TicketNotFound, for_people, moment, new_id, plain
from guardrail.store import changes
from guardrail.store.prepared import Asked, Prepared, Said, together
from guardrail.store.states import ENDED, OPEN_STATES
from guardrail.store.tables import claim, is_closed, is_open, label, step, ticket, twin, was_decided

# The statements that calls wait for are built once: building them costs more than running them.
_insert = Prepared(plain_insert(ticket))
_insert_step = Prepared(plain_insert(step))
_insert_label = Prepared(plain_insert(label))
_open_of_key = Prepared(select(ticket).where(ticket.c.key == bindparam("key"), is_open))
_audit_of_key = select(ticket).where(ticket.c.key == bindparam("key"), ticket.c.kind == "audit").order_by(ticket.c.id).limit(1)
_of_id = select(ticket).where(ticket.c.id == bindparam("id"))
_locked = Prepared(_of_id.with_for_update())
_of_twin = select(ticket).join(twin).where(twin.c.id == bindparam("id"))
_ending = (
    select(func.max(step.c.seq))
    .where(
        step.c.ticket_id == ticket.c.id, func.coalesce(step.c.what, step.c.state).in_(ENDED)
    )  # the release before writes no `what`
    .correlate(ticket)
    .scalar_subquery()
)
_ended = (
    select(*(ticket.c[name] for name in ("id", "state", "on_expiry", "guard", "version", "decision_id")))
    .add_columns(step.c.at, step.c.verdict, step.c.value, step.c.known_by, step.c.actor.label("step_actor"))
    .join(step, step.c.ticket_id == ticket.c.id)
    .where(is_closed, step.c.seq == _ending)
)
_answered = (
    _ended.where(ticket.c.guard == bindparam("of"), ticket.c.business_id == bindparam("about"), was_decided)
    .where(step.c.at >= bindparam("since"), ticket.c.kind.in_(("case", "appeal", "override")))
    .order_by(step.c.seq.desc())
    .limit(1)
)
_answered_by = _answered.where(ticket.c.version == bindparam("version"))
_end = Prepared(update(ticket).where(ticket.c.id == bindparam("of"), is_open))
_history = Prepared(select(step).where(step.c.ticket_id == bindparam("of")).order_by(step.c.seq))
_parts = Prepared(select(claim).where(claim.c.ticket_id == bindparam("of")).order_by(claim.c.claimed, claim.c.reviewer))
_LABELS = {"case": "review"}  # what the source of a label is called, where it is not the kind of the ticket


def put(connection: Connection, row: Row, now: float) -> tuple[Row, list[tell.Event]]:
    """Store a new ticket, unless one with its key is open; return the open one, and what to tell the ledger.

    What was drawn by lot is drawn once: an audit of the same key is returned even if it is closed.
    """
    there = _open_one(connection, row["key"])
    if there is None and row["kind"] == "audit":
        there = connection.execute(_audit_of_key, {"key": row["key"]}).mappings().first()
        if there is not None:
            return there, []
    events = []
    if there is not None and overdue(there, now):
        events = [expire(connection, there, now)]
        there = None
    if there is not None:
        return there, events
    return _insert_one(connection, row), events


def _insert_one(connection: Connection, row: Row) -> Row:
    """Insert a ticket; where another transaction has just opened one of the same key, return that."""
    if connection.dialect.name == "sqlite":  # one writer at a time
        _insert.run(connection, row)
        return row
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - for those who have it

    while True:
        done = connection.execute(postgresql.insert(ticket).on_conflict_do_nothing().returning(ticket.c.id), row)
        if done.first() is not None:
            return row
        there = _open_one(connection, row["key"]) or get(connection, row["id"])
        if there is not None:
            return there


def adopt(connection: Connection, row: Row) -> None:
    """Store a ticket that was handed out from the spool; if one of its key is open by now, the two are one case."""
    if get(connection, row["id"]) is not None:
        return
    one = _open_one(connection, row["key"]) or _insert_one(connection, row)
    if one["id"] != row["id"]:
        connection.execute(plain_insert(twin).values(id=row["id"], ticket_id=one["id"]))


def get(connection: Connection, ticket_id: str) -> RowMapping | None:
    """Return a ticket's row, or that of its twin, or None."""
    wanted = {"id": plain(ticket_id)}
    found = connection.execute(_of_id, wanted).mappings().first()
    return found or connection.execute(_of_twin, wanted).mappings().first()


def locked(connection: Connection, ticket_id: str) -> Row:
    """Return a ticket's row, or that of its twin, which nobody else changes until this transaction ends.

    Raises:
        TicketNotFound: There is none.
    """
    return locked_with(connection, ticket_id)[0]


def locked_with(connection: Connection, ticket_id: str, *asked: Asked) -> tuple[Row, list[Said]]:
    """Do as `locked`, and return what statements say that are run once it is locked.

    Raises:
        TicketNotFound: There is none.
    """
    found, *said = together(connection, (_locked, {"id": plain(ticket_id)}), *asked)
    if found.first is not None:
        return found.first, said
    return _locked_twin(connection, ticket_id), together(connection, *asked)


def _locked_twin(connection: Connection, ticket_id: str) -> Row:
    other = connection.execute(_of_twin, {"id": plain(ticket_id)}).mappings().first()
    found = None if other is None else _locked.first(connection, {"id": other["id"]})
    if found is None:
        raise missing(ticket_id)
    return found


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
    now: float,
) -> list[RowMapping]:
    """Return the rows that fit, the most urgent first: by priority, then the oldest."""
    query = _fitting(select(ticket), queue=queue, guard=guard, business_id=business_id, states=states, now=now)
    query = query.order_by(ticket.c.priority.desc(), ticket.c.id).limit(limit)
    return list(connection.execute(query).mappings())


def count(
    connection: Connection,
    *,
    queue: str | None,
    guard: str | None,
    business_id: str | None,
    states: Collection[str],
    now: float,
) -> int:
    """Return how many rows fit."""
    query = select(func.count()).select_from(ticket)
    query = _fitting(query, queue=queue, guard=guard, business_id=business_id, states=states, now=now)
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


def answered(
    connection: Connection, guard: str, business_id: str, not_before: float, version: str | None = None
) -> Answer | None:
    """Return the latest decision of a person about a matter since a moment, or None; of one version of the model, or of any."""
    wanted: dict[str, Any] = {"of": plain(guard), "about": plain(business_id), "since": not_before}
    if version is None:
        row = connection.execute(_answered, wanted).mappings().first()
    else:
        row = connection.execute(_answered_by, {**wanted, "version": plain(version)}).mappings().first()
    return None if row is None else answer(row)


def end(connection: Connection, row: Row, asked: Sequence[Asked]) -> Row | None:
    """End an open ticket; return it as it is now, None where it was ended before.

    Args:
        connection: Of the store.
        row: The ticket, as it was read in this transaction.
        asked: What `ending` returned for it.
    """
    (statement, values), *others = asked
    if not statement.run(connection, values):
        return None
    together(connection, *others)
    return changed_by(row, values)


def changed_by(row: Row, values: Mapping[str, Any]) -> Row:
    """Return a ticket's row as an update with these values leaves it."""
    return {**row, **{name: value for name, value in values.items() if name != "of"}}


def ending(
    connection: Connection,
    row: Row,
    state: str,
    now: float,
    *,
    actor: Actor | None = None,
    voted: int | None = None,
    **facts: str | None,
) -> list[Asked]:
    """Return the statements that end an open ticket; the first changes its row, if it is still open. What was said goes into the step.

    Args:
        connection: Of the store.
        row: The ticket, as it was read in this transaction.
        state: "decided", "expired" or "cancelled".
        now: Seconds since the epoch.
        actor: Who did it; None for the clock.
        voted: How many have answered, where that has changed.
        facts: Of the step: verdict, value, reason, note.
    """
    changed = {"state": state, "act_at": None, "voted": row["voted"] if voted is None else voted, **callbacks.queued(row, now)}
    noted = noting_step(row["id"], state, state, now, actor=actor, **facts)
    return [(_end, {"of": row["id"], **changed}), noted, *changes.telling(connection)]


def note_step(
    connection: Connection, ticket_id: str, what: str, state: str, now: float, *, actor: Actor | None = None, **facts: str | None
) -> None:
    """Append what happened to a ticket."""
    together(connection, noting_step(ticket_id, what, state, now, actor=actor, **facts))


def noting_step(ticket_id: str, what: str, state: str, now: float, *, actor: Actor | None = None, **facts: str | None) -> Asked:
    """Return the statement that appends what happened to a ticket."""
    who = {"actor": None, "known_by": None} if actor is None else {"actor": actor.id, "known_by": actor.known_by}
    texts = {name: facts.get(name) for name in ("verdict", "value", "reason", "note")}
    return _insert_step, {"ticket_id": ticket_id, "at": now, "what": what, "state": state, **who, **texts}


def put_label(
    connection: Connection, row: Row, value: str, now: float, *, source: str | None = None, reason: str | None, actor: Actor
) -> None:
    """Keep a person's answer to a ticket as a label. A gold case, whose answer is known, becomes none."""
    together(connection, *putting_label(row, value, now, source=source, reason=reason, actor=actor))


def putting_label(
    row: Row, value: str, now: float, *, source: str | None = None, reason: str | None, actor: Actor
) -> list[Asked]:
    """Return the statement that does what `put_label` does, where one is needed."""
    if row["kind"] == "gold":
        return []
    made = {
        "id": new_id(), "decision_id": row["decision_id"], "guard": row["guard"], "business_id": row["business_id"],
        "ticket_id": row["id"], "actual": value, "value": None, "at": now, "stored": now,
        "source": source or _LABELS.get(row["kind"], row["kind"]), "reason": reason, "actor": actor.id,
        "inclusion": row["inclusion"],
    }  # fmt: skip
    return [(_insert_label, made)]


def change(ticket_id: str, **values: Any) -> Update:
    """Return the statement that changes some columns of a ticket."""
    return update(ticket).where(ticket.c.id == ticket_id).values(**values)


def open_child(connection: Connection, parent: str, kind: str) -> RowMapping | None:
    """Return the open appeal or override of a decision, None where there is none."""
    query = select(ticket).where(ticket.c.decision_id == plain(parent), ticket.c.kind == kind, is_open).limit(1)
    return connection.execute(query).mappings().first()


def kept(row: Row, value: str | None) -> str | None:
    """Return an answer as the store may hold it: sealed, where answers to the ticket are personal."""
    if '"$key"' not in row["arguments"]:
        return value
    from guardrail.review.personal import answer_text  # noqa: PLC0415 - for those who have something personal

    return answer_text(row, value)


def cancel(
    connection: Connection, ticket_id: str, now: float, actor: Actor, reason: str, *, late: bool = False
) -> tuple[Row, list[tell.Event]]:
    """Take an open ticket out of the queue; with `late` one that should have expired, too."""
    row = answerable(locked(connection, ticket_id), float("-inf") if late else now)
    ended = end(connection, row, ending(connection, row, "cancelled", now, actor=actor, note=reason))
    fields = facts(row, "cancelled", actor) | {"cause": reason}
    return ended or row, [tell.note(connection, "ticket", row["guard"], fields, now)]


def expire(connection: Connection, row: Row, now: float) -> tell.Event:
    """End a ticket whose time is up; return what to tell the ledger."""
    end(connection, row, ending(connection, row, "expired", now))
    told = facts(row, "expired", None) | {"on_expiry": row["on_expiry"]}
    if row["on_expiry"] == "provisional":
        told["defaulted"] = True  # the model's answer stands because nobody looked: never counted as a person's
    return tell.note(connection, "ticket", row["guard"], told, now)


def history(connection: Connection, ticket_id: str) -> list[dict[str, Any]]:
    """Return what happened to a ticket, in order."""
    return _history.all(connection, {"of": ticket_id})


def reading(ticket_id: str) -> tuple[Asked, Asked]:
    """Return the statements that give what happened to a ticket, and who had a part in it: claims and votes, by time."""
    return (_history, {"of": ticket_id}), (_parts, {"of": ticket_id})


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
        version=row["version"],
        decision_id=row["decision_id"],
    )


def overdue(row: Row, now: float) -> bool:
    """Return whether an open ticket should have expired."""
    return row["due"] is not None and row["due"] <= now and row["on_expiry"] != "hold"


def answerable(row: Row, now: float) -> Row:
    """Return the row if a person may still answer it.

    Raises:
        TicketClosed: It is decided, expired or cancelled.
    """
    if row["state"] in OPEN_STATES and not overdue(row, now):
        return row
    raise closed(row)


def closed(row: Row) -> TicketClosed:
    """Return the error for a ticket that takes no decision any more."""
    state = row["state"] if row["state"] not in OPEN_STATES else "expired"
    hint = "guardrail.feedback(...) keeps what turned out to be true" if state == "expired" else "see `guardrail review show`"
    return TicketClosed(
        f"ticket {row['id']} is {state} and takes no decision",
        guard=row["guard"],
        decision_id=row["decision_id"],
        hint=hint,
    )


def missing(ticket_id: str) -> TicketNotFound:
    """Return the error for an id that no ticket has."""
    return TicketNotFound(f"there is no ticket {plain(ticket_id)}", hint="see `guardrail review list --state all`")


def again(connection: Connection, row: Row) -> RowMapping:
    """Return the row as it is by now."""
    return connection.execute(_of_id, {"id": row["id"]}).mappings().one()


def facts(row: Row, state: str, actor: Actor | None) -> dict[str, Any]:
    """Return what the ledger may know of a ticket: ids and states, nothing of the case's content."""
    found = {"ticket": row["id"], "state": state} | {
        name: row[name] for name in ("queue", "version", "decision_id", "business_id", "reason")
    }
    if row["kind"] not in ("case", "gold"):  # nobody can read in the ledger which ones are gold
        found["kind"] = row["kind"]
    return found if actor is None else found | {"actor": {"id": actor.id, "known_by": actor.known_by}}


def _fitting(
    query: Select[Any],
    *,
    queue: str | None,
    guard: str | None,
    business_id: str | None,
    states: Collection[str],
    now: float,
) -> Select[Any]:
    wanted = ((ticket.c.queue, queue), (ticket.c.guard, guard), (ticket.c.business_id, business_id))
    query = query.where(*(column == plain(text) for column, text in wanted if text is not None))
    if set(states) == set(OPEN_STATES):
        return query.where(is_open)
    if not states:
        return query
    kinds: list[ColumnElement[bool]] = [ticket.c.state.in_([each for each in states if each not in ("pending", "claimed")])]
    if "pending" in states:  # a lease that has ended leaves the ticket free, and nobody has to come and say so
        kinds.append((ticket.c.state == "pending") | ((ticket.c.state == "claimed") & (ticket.c.free_at <= now)))
    if "claimed" in states:
        kinds.append((ticket.c.state == "claimed") & (ticket.c.free_at > now))
    return query.where(or_(*kinds))


def _open_one(connection: Connection, key: bytes) -> Row | None:
    return _open_of_key.first(connection, {"key": key})
