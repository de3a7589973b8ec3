"""What turned out to be true: fed back by the caller, or decided by a reviewer. Only ever appended to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from guardrail.call import MISSING
from guardrail.errors import ConfigError
from guardrail.review import tell
from guardrail.review.case import for_people, moment, new_id, plain, to_text
from guardrail.store import engine
from guardrail.store.tables import label


@dataclass(frozen=True, slots=True)
class Label:
    """One statement of what was true.

    Attributes:
        id: Time-ordered.
        decision_id: The decision it is about; None where only the business id was given.
        guard: The guard it is about, where that is known.
        business_id: The user's own key for the matter.
        ticket_id: The ticket that a reviewer decided, None for the caller's feedback.
        actual: What was true, as JSON knows it.
        value: What that was worth, in the user's unit.
        at: When it became known, in UTC.
        source: "review" for a reviewer's decision, else what the caller named.
    """

    id: str
    decision_id: str | None
    guard: str | None
    business_id: str | None = field(repr=False)
    ticket_id: str | None
    actual: Any = field(repr=False)
    value: float | None = field(repr=False)
    at: datetime
    source: str


def add(
    decision_id: str | None = None,
    actual: Any = MISSING,
    *,
    business_id: str | None = None,
    guard: str | None = None,
    value: float | None = None,
    at: datetime | None = None,
    source: str = "caller",
) -> str:
    """Keep a label, and tell the ledger that there is one (not what it says).

    Args:
        decision_id: The decision it is about.
        actual: What was true, able to be JSON.
        business_id: The user's own key, in place of a decision id or beside it.
        guard: The guard it is about.
        value: What that was worth, in the user's unit.
        at: When it became known; now if not given.
        source: Where it comes from.

    Returns:
        The label's id. When this returns, the label is on disk.

    Raises:
        ConfigError: Nothing says what it is about, there is no `actual`, or an argument is of no use.
        StoreError: The store cannot take it.
    """
    _check(decision_id, business_id, actual, value, at)
    now = engine.now()
    row = {
        "id": new_id(),
        "decision_id": _plain(decision_id),
        "guard": _plain(guard),
        "business_id": _plain(business_id),
        "ticket_id": None,
        "actual": to_text(actual),
        "value": value,
        "at": now if at is None else at.timestamp(),
        "stored": now,
        "source": plain(source),
    }
    tell.tell([engine.result(engine.write(lambda connection: _insert(connection, row)))])
    return str(row["id"])


def read(
    guard: str | None = None,
    *,
    decision_id: str | None = None,
    business_id: str | None = None,
    source: str | None = None,
    since: datetime | None = None,
    limit: int | None = None,
) -> Sequence[Label]:
    """Return labels in the order they were stored; the last one about a decision is the one that holds.

    Args:
        guard: Only those about a guard.
        decision_id: Only those about a decision.
        business_id: Only those about a matter.
        source: Only those from a source.
        since: Only those that became known at or after a moment.
        limit: The most to return, None for all.

    Raises:
        StoreError: The store cannot be read.
    """
    if not engine.exists():
        return []
    columns = (label.c.guard, label.c.decision_id, label.c.business_id, label.c.source)
    wanted = zip(columns, (guard, decision_id, business_id, source), strict=True)
    query = select(label).where(*(column == plain(text) for column, text in wanted if text is not None))
    if since is not None:
        query = query.where(label.c.at >= since.timestamp())
    rows = engine.read(lambda connection: list(connection.execute(query.order_by(label.c.seq).limit(limit)).mappings()))
    return [
        Label(
            id=row["id"],
            decision_id=row["decision_id"],
            guard=row["guard"],
            business_id=row["business_id"],
            ticket_id=row["ticket_id"],
            actual=for_people(row["actual"], row["ticket_id"] or row["id"]),
            value=row["value"],
            at=moment(row["at"]),
            source=row["source"],
        )
        for row in rows
    ]


def _insert(connection: Connection, row: dict[str, Any]) -> tell.Event:
    connection.execute(insert(label).values(**row))
    fields = {"label": row["id"]} | {name: row[name] for name in ("decision_id", "business_id", "source", "at")}
    return tell.note(connection, "feedback", row["guard"], fields, row["stored"])


def _check(decision_id: Any, business_id: Any, actual: Any, value: Any, at: Any) -> None:
    if decision_id is None and business_id is None:
        raise ConfigError(
            "feedback does not say what it is about",
            hint='write feedback(decision.id, actual) or business_id="loan-17"',
        )
    if not all(text is None or (isinstance(text, str) and text) for text in (decision_id, business_id)):
        raise ConfigError("decision_id and business_id of feedback are texts", hint="write feedback(decision.id, actual)")
    if actual is MISSING or actual is ...:
        raise ConfigError("feedback does not say what was true", hint="write feedback(decision.id, actual)")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)):
        raise ConfigError("value of feedback is no finite number", hint="write what the outcome was worth, such as -1200.0")
    if at is not None and (not isinstance(at, datetime) or at.utcoffset() is None):
        raise ConfigError("at of feedback has no time zone", hint="write datetime.now(UTC)")


def _plain(text: str | None) -> str | None:
    return None if text is None else plain(text)
