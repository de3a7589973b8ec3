"""A person says that a decision was wrong: the old one stays, the new one stands beside it, with its reason and its actor."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from guardrail import settings
from guardrail.call import MISSING
from guardrail.decision import Decision, Outcome
from guardrail.errors import ConfigError, Deferred
from guardrail.review import claims, decided, deciding, desk, people, rows, sweeper, tell
from guardrail.review import reasons as codes
from guardrail.review.case import Actor, Case, Row, from_text, plain, to_text
from guardrail.review.decided import Decided
from guardrail.review.judge import judged
from guardrail.review.personal import again
from guardrail.review.ticket import Ticket
from guardrail.store import engine
from guardrail.store.states import OPEN_STATES
from guardrail.store.tables import claim

QUEUE: Final = "overrides"
RISK: Final = "risk"  # the tag that says how much hangs on a guard's decisions


def override(
    decision_id: str | None = None,
    value: Any = MISSING,
    *,
    business_id: str | None = None,
    guard: str | None = None,
    reason: str,
    note: str | None = None,
    actor: str,
) -> Decision[Any]:
    """Put a person's answer in the place of a decision; see `guardrail.override`."""
    if value is MISSING or value is ...:
        raise ConfigError("an override gives another answer", hint="write override(decision.id, value, reason=..., actor=...)")
    why = codes.checked(reason, note, needed=True)
    who = Actor.of(actor)
    old = decided.find(decision_id, business_id, guard, "override")
    if old.ticket is not None and old.ticket["state"] in OPEN_STATES and old.ticket["kind"] == "case":
        ticket = deciding.decide(old.ticket["id"], value, verdict=None, reason=why, note=note, actor=who)
        return _decision(old, ticket, value, who, final=ticket.state == "decided")
    second = old.tags.get(RISK) in settings.current().second_approval
    row = _case(old, value, _Said(who, why, note), second=second).row()
    text = None if note is None else plain(note)
    told, stored = engine.result(
        engine.write(lambda connection: _put(connection, row, old, _Said(who, why, text), second=second))
    )
    tell.tell(told)
    if stored["delivery"] == "queued":
        sweeper.ensure()
    return _decision(old, Ticket.of_row(stored), value, who, final=not second)


def _case(old: Decided, value: Any, said: _Said, *, second: bool) -> Case:
    """Return the case of an override: what was decided, and what shall be decided in its place."""
    before, (who, why, note) = old.ticket, said
    arguments, personal = ({}, False) if before is None else again(before)
    shown: dict[str, Any] = {"decided": old.output, "override": value, "by": who.id}
    if note is not None:
        shown["note"] = note
    return Case(
        queue=QUEUE,
        kind="override",
        guard=old.guard,
        version=old.version,
        key=os.urandom(20),  # each is a case of its own
        decision_id=old.id,
        business_id=old.business_id,
        parent=old.id,
        reason="override",
        reasons=() if why is None else (why,),
        triggers=({"name": "override", "version": "1"},),
        arguments=arguments,
        shown=shown if second and not personal else None,
        provisional=value,
        confidence=old.confidence,
        threshold=old.threshold,
        choices=None if before is None else from_text(before["choices"]),
        answers=None if before is None else from_text(before["answers"]),
        owner=None if before is None else before["owner"],
        callback=None if before is None else before["callback"],
        actor={"id": who.id, "known_by": who.known_by},
    )


class _Said(NamedTuple):
    """Who overrides, and why."""

    who: Actor
    reason: str | None
    note: str | None


def _put(connection: Connection, row: Row, old: Decided, said: _Said, *, second: bool) -> tuple[list[tell.Event], Row]:
    who, why, note = said
    now = engine.now()
    if rows.get(connection, row["id"]) is not None:
        return [], rows.again(connection, row)  # this very override, whose transaction was believed to have failed
    plain_value = row["provisional"]
    stored, _ = rows.put(connection, {**row, "provisional": rows.kept(row, plain_value)}, now)
    # The answer must be one that the case allows; accepting it is what the second person does.
    judged(desk.whole(connection, {**stored, "provisional": None}), from_text(plain_value), None)
    fields = rows.facts(stored, "pending" if second else "decided", who) | {"cause": why, "parent": old.id}
    if second:
        role = people.senior_but(connection, (who.id,))
        if role is not None:
            connection.execute(rows.change(stored["id"], role=role))
        return [tell.note(connection, "override", old.guard, fields, now)], rows.again(connection, stored)
    part = {
        "ticket_id": stored["id"], "reviewer": who.id, "known_by": who.known_by, "slot": 0, "token": claims.new_token(),
        "claimed": now, "lease_until": now, "state": "voted", "blind": False, "verdict": "change", "value": stored["provisional"],
        "reason": why, "note": note, "voted": now,
    }  # fmt: skip
    connection.execute(claim.insert(), part)
    value = stored["provisional"]
    answer = {"verdict": "change", "value": value, "reason": why, "note": note}
    rows.end(connection, stored, rows.ending(connection, stored, "decided", now, actor=who, **answer))
    if value is not None:
        rows.put_label(connection, stored, value, now, reason=why, actor=who)
    return [tell.note(connection, "override", old.guard, fields, now)], rows.again(connection, stored)


def _decision(old: Decided, ticket: Ticket, value: Any, who: Actor, *, final: bool) -> Decision[Any]:
    """Return the decision that stands now: the person's, or one that waits for a second person."""
    error = None
    if not final:
        error = Deferred(
            f"a second person must approve the override: ticket {ticket.id} in queue {ticket.queue}",
            ticket=ticket, guard=old.guard, policy="review", decision_id=old.id,
            hint=f"another person decides it: `guardrail review decide {ticket.id} --accept`",
        )  # fmt: skip

    return Decision(
        from_text(to_text(value)),
        id=old.id,
        guard=old.guard,
        version=old.version,
        mode="enforce",
        outcome=Outcome.human if final else Outcome.deferred,
        ok=final,
        at=datetime.fromtimestamp(engine.now(), UTC),
        confidence=old.confidence,
        threshold=old.threshold,
        reasons=(f"overridden by {who.id}",) if final else (f"{who.id} wants to override it; a second person must approve",),
        ticket=ticket,
        error=error,
        attempts=0,
        stop_reason=None,
        timings={},
        would=(),
        trace_id=None,
        business_id=old.business_id,
    )
