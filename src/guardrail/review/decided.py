"""What was decided before: found again by its id or by the user's own key, for whoever overrides it or appeals against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, select

from guardrail.errors import ConfigError
from guardrail.ledger import reader, writer
from guardrail.ledger.wanted import wanted
from guardrail.review.case import DecisionNotFound, Row, plain
from guardrail.store import engine
from guardrail.store.tables import claim, ticket

_FLUSH_SECONDS: Final = 5.0
_LOOKED_AT: Final = 50  # records about one matter, the newest first
_CALLS: Final = ("call", "row")


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision, as ledger and queue know it.

    Attributes:
        id: Of the decision.
        guard: Which guard made it.
        version: Of the model.
        business_id: The user's own key, None where there is none.
        output: What was answered, where the record kept it; else None.
        confidence: How sure the model was; threshold: what was asked for.
        tags: The guard's own labels.
        ticket: The row of its case in the queue, None where there was none.
        reviewers: Who voted on it.
    """

    id: str
    guard: str
    version: str
    business_id: str | None
    output: Any = field(repr=False)
    confidence: float | None = None
    threshold: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    ticket: Row | None = field(default=None, repr=False)
    reviewers: tuple[str, ...] = ()


def find(decision_id: str | None, business_id: str | None, guard: str | None, verb: str) -> Decided:
    """Return a decision; of several about one matter the newest.

    Args:
        decision_id: Its id; or
        business_id: the user's own key, with `guard` where several guards decide on the same matter.
        guard: Name of the guard.
        verb: What the caller wants to do, for the error.

    Raises:
        ConfigError: Neither id or both are given, or several guards have decided on the matter.
        DecisionNotFound: There is no such decision.
        StoreError: The store cannot be read.
    """
    if (decision_id is None) == (business_id is None):
        raise ConfigError(f"{verb} needs one id", hint=f'write {verb}(decision.id, ...) or {verb}(business_id="loan-17", ...)')
    record = _record(decision_id, business_id, guard)
    known = engine.read(lambda connection: _case(connection, decision_id, business_id, guard)) if engine.exists() else None
    row, people = known or (None, ())
    if record is None and row is None:
        raise DecisionNotFound("there is no such decision", hint="see `guardrail audit search`")
    if record is None:
        assert row is not None  # noqa: S101 - as said above
        fields = {name: row[name] for name in ("guard", "version", "business_id", "confidence", "threshold")}
        return Decided(row["decision_id"], output=None, ticket=row, reviewers=people, **fields)
    if row is not None and row["decision_id"] != record["id"]:
        row, people = None, ()
    output = record.get("output") or {}
    return Decided(
        id=record["id"],
        guard=record["guard"],
        version=record["version"],
        business_id=record.get("business_id"),
        output=output.get("value"),
        confidence=record.get("confidence"),
        threshold=record.get("threshold"),
        tags=record.get("tags") or {},
        ticket=row,
        reviewers=people,
    )


def _record(decision_id: str | None, business_id: str | None, guard: str | None) -> Mapping[str, Any] | None:
    writer.flush(_FLUSH_SECONDS)
    which = wanted(ids=decision_id, business_id=business_id, guard=guard)
    found = [
        each.record for each in reader.stored(which, limit=_LOOKED_AT, newest_first=True) if each.record.get("event") in _CALLS
    ]
    if len({each["guard"] for each in found}) > 1:
        raise ConfigError("several guards have decided on this matter", hint='say which one: guard="..."')
    return found[0] if found else None


def _case(
    connection: Connection, decision_id: str | None, business_id: str | None, guard: str | None
) -> tuple[Row, tuple[str, ...]] | None:
    query = select(ticket).where(ticket.c.kind.in_(("case", "audit"))).order_by(ticket.c.id.desc()).limit(1)
    if decision_id is not None:
        query = query.where(ticket.c.decision_id == plain(decision_id))
    else:
        query = query.where(ticket.c.business_id == plain(business_id or ""))
    if guard is not None:
        query = query.where(ticket.c.guard == plain(guard))
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    names = select(claim.c.reviewer).where(claim.c.ticket_id == row["id"], claim.c.state == "voted").order_by(claim.c.voted)
    return row, tuple(connection.execute(names).scalars())
