"""Does what time has to do with open tickets: reminds, takes them to the next level, ends them. Any process can, once each."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, RowMapping, bindparam, func, insert, or_, select, update

from guardrail.review import levels, rows, tell
from guardrail.review.case import from_text
from guardrail.store import changes
from guardrail.store.tables import desk, is_open, ticket

AT_ONCE: Final = 200  # tickets in one transaction: others want to write too
_DAY: Final = 86_400.0
# What the release before has filed knows only when it is due.
_late = ticket.c.act_at.is_(None) & (ticket.c.due <= bindparam("now")) & (ticket.c.on_expiry != "hold")
_due = select(ticket).where(is_open, or_(ticket.c.act_at <= bindparam("now"), _late)).limit(AT_ONCE)
_due_now = _due.with_for_update(skip_locked=True)
_any_due = _due.with_only_columns(ticket.c.id).limit(1)
_soonest = select(func.min(ticket.c.act_at)).where(is_open)
_change = update(ticket).where(ticket.c.id == bindparam("of"))


class Passed(NamedTuple):
    """What was done.

    Attributes:
        expired: Tickets that were ended.
        escalated: Tickets that went to another level.
        reminded: Tickets whose people were reminded.
        events: What to tell the ledger.
    """

    expired: list[str]
    escalated: list[str]
    reminded: list[str]
    events: list[tell.Event]


def anything(connection: Connection, now: float) -> bool:
    """Return whether time has something to do."""
    return connection.execute(_any_due, {"now": now}).first() is not None


def soonest(connection: Connection) -> float | None:
    """Return when time next has something to do, in seconds since the epoch; None for never."""
    return connection.execute(_soonest).scalar()


def act(connection: Connection, now: float, words: str) -> Passed:
    """Do what is due for at most `AT_ONCE` tickets; what another process is just doing is left to it.

    Args:
        connection: Of the store.
        now: Seconds since the epoch.
        words: The working hours, as the setting has them.
    """
    done = Passed([], [], [], [])
    for row in connection.execute(_due_now, {"now": now}).mappings():
        if rows.overdue(row, now):
            done.events.append(rows.expire(connection, row, now))
            done.expired.append(row["id"])
        else:
            _go_on(connection, row, now, words, done)
    return done


def _go_on(connection: Connection, row: RowMapping, now: float, words: str, done: Passed) -> None:
    steps = from_text(row["levels"])
    coming = levels.moments(row["created"], row["due"], row["on_expiry"], steps, words)
    passed = [each for each in coming if row["act_at"] <= each.at <= now]
    level = max((each.level for each in passed if each.what == "escalated"), default=row["level"])
    changed: dict[str, object] = {"act_at": next((each.at for each in coming if each.at > now), None)}
    if level != row["level"]:
        changed |= {"level": level, "role": steps[level]["role"]}
        done.events.append(_said(connection, row, "escalated", steps[level : level + 1], now))
        done.escalated.append(row["id"])
    elif any(each.what == "reminded" and each.level == level for each in passed):
        done.events.append(_said(connection, row, "reminded", steps[level : level + 1], now))
        done.reminded.append(row["id"])
    connection.execute(_change.values(**changed), {"of": row["id"]})


def _said(connection: Connection, row: RowMapping, what: str, present: list[Any], now: float) -> tell.Event:
    """Note that people are reminded of a ticket, or that it goes to others; the ledger brings it to the sinks that are named."""
    rows.note_step(connection, row["id"], what, row["state"], now)
    fields = rows.facts(row, what, None)
    if present:
        fields |= {"role": present[0]["role"], "notify": present[0]["notify"]}
    elif row["owner"] is not None:
        fields["notify"] = [row["owner"]]
    changes.tell(connection)
    return tell.note(connection, "ticket", row["guard"], fields, now)


def unopened(connection: Connection, now: float) -> list[tell.Event]:
    """Note for the ledger, once a day, each queue whose cases wait and which nobody has opened for a day."""
    found = (
        select(
            ticket.c.queue,
            func.count().label("waiting"),
            func.min(ticket.c.created).label("oldest"),
            func.max(ticket.c.owner).label("owner"),
        )
        .where(is_open)
        .group_by(ticket.c.queue)
        .having(func.min(ticket.c.created) < now - _DAY)
    )
    events = []
    for row in connection.execute(found).mappings().all():
        looked = connection.execute(select(desk).where(desk.c.queue == row["queue"]).with_for_update()).mappings().first()
        if looked is not None and max(looked["opened"] or 0.0, looked["told"] or 0.0) > now - _DAY:
            continue
        mark(connection, row["queue"], told=now)
        fields = {"what": "queue_not_opened", "queue": row["queue"], "waiting": row["waiting"], "oldest": row["oldest"]}
        if row["owner"] is not None:
            fields |= {"owner": row["owner"], "notify": [row["owner"]]}
        events.append(tell.note(connection, "incident", None, fields, now))
    return events


def mark(connection: Connection, queue: str, **moments: float) -> None:
    """Write when a queue was last `opened`, or when it was last `told` that nobody does."""
    if not connection.execute(update(desk).where(desk.c.queue == queue).values(**moments)).rowcount:
        if connection.dialect.name == "sqlite":
            connection.execute(insert(desk).values(queue=queue, **moments))
            return
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - for those who have it

        new = postgresql.insert(desk).values(queue=queue, **moments)
        connection.execute(new.on_conflict_do_update(index_elements=["queue"], set_=moments))
