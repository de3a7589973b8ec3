"""How a queue stands: what waits and for how long, what was decided, and how long that took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, and_, func, select, true

from guardrail.review import people, upkeep
from guardrail.review.case import from_text, plain
from guardrail.review.counts import load
from guardrail.store import engine
from guardrail.store.tables import claim, is_open, step, ticket

DAY: Final = 86_400.0
_MOST: Final = 10_000  # decisions of the last day that times are told from


def stats(queue: str | None = None) -> Mapping[str, Any]:
    """Return how the queue stands, or one queue of it.

    Returns:
        `open` with the states that a person may answer and their counts; `oldest_seconds`, the age of the oldest open case;
        `overdue`, how many are past their due time; `unclaimable`, how many wait for a role that nobody has who may decide them;
        `without_senior`, how many appeals wait for anybody who had no part in the decision, since nobody else had the role; `last_day` with how many were filed, decided (by verdict), expired, how many of those let the provisional answer stand (`defaulted`), cancelled, how many answers (`cases`) each
        reviewer gave, with the exact 95 % interval, `low` to `high`, of how many are to be expected of them in a day, and the seconds from filing to decision and from claim to vote (median and 95th percentile, None without decisions).

    Raises:
        StoreError: The store cannot be read.
    """
    upkeep.catch_up_if_possible()
    if not engine.exists():
        return _empty()
    return engine.read(lambda connection: _read(connection, queue, engine.now()))


def _empty() -> dict[str, Any]:
    return {
        "open": {"pending": 0, "claimed": 0, "adjudicate": 0}, "oldest_seconds": None, "overdue": 0, "unclaimable": 0,
        "without_senior": 0,
        "last_day": {
            "filed": 0, "decided": {}, "expired": 0, "defaulted": 0, "cancelled": 0, "by_reviewer": {},
            "seconds_to_decide": {"p50": None, "p95": None}, "seconds_of_work": {"p50": None, "p95": None},
        },
    }  # fmt: skip


def _read(connection: Connection, queue: str | None, now: float) -> dict[str, Any]:
    found = _empty()
    mine = [] if queue is None else [ticket.c.queue == plain(queue)]
    waiting = select(ticket.c.state, ticket.c.free_at, ticket.c.created, ticket.c.due).where(is_open, *mine)
    oldest = None
    for state, free_at, created, due in connection.execute(waiting):
        found["open"]["pending" if state == "claimed" and free_at <= now else state] += 1
        oldest = created if oldest is None else min(oldest, created)
        found["overdue"] += due is not None and due <= now
    found["unclaimable"], found["without_senior"] = unclaimable(connection, queue), without_senior(connection, queue)
    found["oldest_seconds"] = None if oldest is None else now - oldest
    day = found["last_day"]
    filed = select(func.count()).select_from(ticket).where(ticket.c.created > now - DAY, *mine)
    day["filed"] = connection.execute(filed).scalar_one()
    ended = (
        select(step.c.what, step.c.verdict, step.c.at, ticket.c.created, ticket.c.on_expiry)
        .join(ticket, ticket.c.id == step.c.ticket_id)
        .where(step.c.at > now - DAY, step.c.what.in_(("decided", "expired", "cancelled")), *mine)
        .order_by(step.c.seq.desc())
        .limit(_MOST)
    )
    took: list[float] = []
    for what, verdict, at, created, on_expiry in connection.execute(ended):
        if what == "decided":
            day["decided"][verdict] = day["decided"].get(verdict, 0) + 1
            took.append(at - created)
        else:
            day[what] += 1
            day["defaulted"] += what == "expired" and on_expiry == "provisional"
    votes = (
        select(claim.c.reviewer, claim.c.claimed, claim.c.voted)
        .join(ticket, ticket.c.id == claim.c.ticket_id)
        .where(claim.c.voted > now - DAY, *mine)
        .limit(_MOST)
    )
    work: list[float] = []
    names: list[str] = []
    for name, claimed, voted in connection.execute(votes):
        names.append(name)
        if voted > claimed:  # who claims and votes in one go did the work before
            work.append(voted - claimed)
    day["by_reviewer"] = load(names)
    day["seconds_to_decide"], day["seconds_of_work"] = _percentiles(took), _percentiles(work)
    return found


def unclaimable(connection: Connection, queue: str | None = None) -> int:
    """Return how many open cases wait for a role that nobody has, or only those who voted, declined or asked for them."""
    mine = and_(is_open, ticket.c.role.is_not(None), true() if queue is None else ticket.c.queue == plain(queue))
    waiting = connection.execute(select(ticket.c.id, ticket.c.role, ticket.c.actor).where(mine)).all()
    out: dict[str, set[str]] = {row.id: {from_text(row.actor)["id"]} if row.actor else set() for row in waiting}
    parts = select(claim.c.ticket_id, claim.c.reviewer).join(ticket, ticket.c.id == claim.c.ticket_id)
    for which, name in connection.execute(parts.where(claim.c.state.in_(("voted", "declined")), mine)):
        out.setdefault(which, set()).add(name)
    having = {role: people.who_are(connection, role) for role in {row.role for row in waiting}}
    return sum(having[row.role] <= out[row.id] for row in waiting)


def without_senior(connection: Connection, queue: str | None = None) -> int:
    """Return how many open appeals anybody may decide who had no part in the decision, since no senior was left when they came."""
    mine = [] if queue is None else [ticket.c.queue == plain(queue)]
    query = select(func.count()).select_from(ticket).where(is_open, ticket.c.kind == "appeal", ticket.c.role.is_(None), *mine)
    return int(connection.execute(query).scalar_one())


def _percentiles(values: list[float]) -> dict[str, float | None]:
    if not values:
        return {"p50": None, "p95": None}
    values.sort()
    return {f"p{share}": values[min(len(values) - 1, len(values) * share // 100)] for share in (50, 95)}
