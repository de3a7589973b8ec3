"""How a queue stands: what waits and for how long, what was decided, and how long that took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, func, select

from guardrail.review import upkeep
from guardrail.review.case import plain
from guardrail.review.counts import load
from guardrail.store import engine
from guardrail.store.tables import claim, is_open, step, ticket

DAY: Final = 86_400.0
_MOST: Final = 10_000  # decisions of the last day that times are told from


def stats(queue: str | None = None) -> Mapping[str, Any]:
    """Return how the queue stands, or one queue of it.

    Returns:
        `open` with the states that a person may answer and their counts; `oldest_seconds`, the age of the oldest open case;
        `overdue`, how many are past their due time; `unclaimable`, how many wait for a role that nobody has; `last_day` with how
        many were filed, decided (by verdict), expired, how many of those let the provisional answer stand (`defaulted`), cancelled, how many answers (`cases`) each
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
        "last_day": {
            "filed": 0, "decided": {}, "expired": 0, "defaulted": 0, "cancelled": 0, "by_reviewer": {},
            "seconds_to_decide": {"p50": None, "p95": None}, "seconds_of_work": {"p50": None, "p95": None},
        },
    }  # fmt: skip


def _read(connection: Connection, queue: str | None, now: float) -> dict[str, Any]:
    from guardrail.review import people  # noqa: PLC0415 - it reads the store too

    found = _empty()
    mine = [] if queue is None else [ticket.c.queue == plain(queue)]
    waiting = select(ticket.c.state, ticket.c.free_at, ticket.c.created, ticket.c.due, ticket.c.role).where(is_open, *mine)
    oldest = None
    held_roles: dict[str, bool] = {}
    for state, free_at, created, due, role in connection.execute(waiting):
        found["open"]["pending" if state == "claimed" and free_at <= now else state] += 1
        oldest = created if oldest is None else min(oldest, created)
        found["overdue"] += due is not None and due <= now
        if role is not None:
            if role not in held_roles:
                held_roles[role] = people.anybody_is(connection, role)
            found["unclaimable"] += not held_roles[role]
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


def _percentiles(values: list[float]) -> dict[str, float | None]:
    if not values:
        return {"p50": None, "p95": None}
    values.sort()
    return {f"p{share}": values[min(len(values) - 1, len(values) * share // 100)] for share in (50, 95)}
