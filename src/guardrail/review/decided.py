"""What was decided before: found again by its id or by the user's own key, for whoever overrides it or appeals against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, or_, select

from guardrail.errors import ConfigError
from guardrail.ledger import reader, writer
from guardrail.ledger.wanted import wanted
from guardrail.review import rows
from guardrail.review.case import DecisionNotFound, Row, from_text, plain
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
        reviewers: Who had a part in it: voted on it, overrode it or asked for that, decided an earlier appeal, or asked for the case.
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
    row = engine.read(lambda connection: _case(connection, decision_id, business_id, guard)) if engine.exists() else None
    if record is None and row is None:
        raise DecisionNotFound("there is no such decision", hint="see `guardrail audit search`")
    if record is None:
        assert row is not None  # noqa: S101 - as said above
        fields = {name: row[name] for name in ("guard", "version", "business_id", "confidence", "threshold")}
        return Decided(row["decision_id"], output=None, ticket=row, reviewers=_concerned(row["decision_id"], None), **fields)
    if row is not None and row["decision_id"] != record["id"]:
        row = None
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
        reviewers=_concerned(record["id"], record),
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


def _case(connection: Connection, decision_id: str | None, business_id: str | None, guard: str | None) -> Row | None:
    query = select(ticket).where(ticket.c.kind.in_(("case", "audit"))).order_by(ticket.c.id.desc()).limit(1)
    if decision_id is not None:
        query = query.where(ticket.c.decision_id == plain(decision_id))
    else:
        query = query.where(ticket.c.business_id == plain(business_id or ""))
    if guard is not None:
        query = query.where(ticket.c.guard == plain(guard))
    return connection.execute(query).mappings().first()


def _concerned(decision_id: str, record: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return who had a part in a decision, each once.

    Args:
        decision_id: Its id.
        record: What the ledger has of it: where a person's earlier answer to the same matter was given again, who gave that counts.
    """

    def read(connection: Connection) -> tuple[str, ...]:
        about = ticket.c.decision_id == plain(decision_id)
        if record is not None and record.get("outcome") == "human" and record.get("business_id") is not None:
            earlier = rows.answered(connection, record["guard"], record["business_id"], 0.0, record["version"])
            about = about if earlier is None else or_(about, ticket.c.id == earlier.ticket_id)
        votes = select(claim.c.reviewer).join(ticket, ticket.c.id == claim.c.ticket_id).where(about, claim.c.state == "voted")
        named = list(connection.execute(votes.order_by(claim.c.voted, claim.c.reviewer)).scalars())
        asked = select(ticket.c.actor).where(about, ticket.c.kind.in_(("case", "audit", "override")), ticket.c.actor.is_not(None))
        named += [from_text(actor)["id"] for actor in connection.execute(asked.order_by(ticket.c.id)).scalars()]
        return tuple(dict.fromkeys(named))

    return engine.read(read) if engine.exists() else ()
