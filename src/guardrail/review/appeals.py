"""Somebody objects to a decision, a person's or an automated one: another, senior person looks at it, and answers in plain words."""

from __future__ import annotations

import os
from typing import Final

from sqlalchemy import Connection

from guardrail import notices
from guardrail.errors import ConfigError
from guardrail.review import claims, decided, desk, people, rows, sweeper, tell
from guardrail.review.case import Actor, Case, Row, from_text, says_something
from guardrail.review.decided import Decided
from guardrail.review.personal import again
from guardrail.review.ticket import Ticket
from guardrail.settings.hours import after
from guardrail.store import engine
from guardrail.store.tables import claim

QUEUE: Final = "appeals"
_DAYS: Final = 30.0  # until an answer is due: a month, as Article 12(3) of the GDPR has it for requests of persons
_DAY: Final = 86_400.0
_LONGEST: Final = 20_000  # characters


def appeal(
    decision_id: str | None = None,
    text: str = "",
    *,
    business_id: str | None = None,
    guard: str | None = None,
    by: str,
) -> Ticket:
    """Open a case for an objection; see `guardrail.appeal`."""
    if not says_something(text):
        raise ConfigError("an appeal says why", hint='write appeal(decision.id, "I have paid it back", by="customer-17")')
    if len(text) > _LONGEST:
        raise ConfigError(
            f"the text of an appeal is longer than {_LONGEST:,} characters", hint="summarise it, and keep the rest elsewhere"
        )
    who = Actor.of(by)
    old = decided.find(decision_id, business_id, guard, "appeal")
    row = _case(old, text, who).row()
    stored, events = engine.result(engine.write(lambda connection: _put(connection, row, old, who)))
    tell.tell(events)
    if events and stored["role"] is None:
        notices.say(
            "review-senior",
            f"nobody who may decide an appeal has the role {people.SENIOR}: it waits for anybody who had no part in the decision;"
            f" `guardrail review people set NAME --role {people.SENIOR}` gives the role, for appeals to come",
            guard=old.guard,
        )
    sweeper.ensure()
    return Ticket.of_row(stored)


def _case(old: Decided, text: str, who: Actor) -> Case:
    before = old.ticket
    arguments, personal = ({}, False) if before is None else again(before)
    provisional = old.output
    if provisional is None and before is not None:
        provisional = from_text(before["provisional"])
    if personal:
        provisional = None  # sealed under the first case's id, and not kept in plain text here
    return Case(
        queue=QUEUE,
        kind="appeal",
        guard=old.guard,
        version=old.version,
        key=os.urandom(20),  # each appeal is a case of its own; a second one while it is open is found by its parent
        decision_id=old.id,
        business_id=old.business_id,
        parent=old.id,
        reason="appeal",
        reasons=(text,),
        triggers=({"name": "appeal", "version": "1"},),
        arguments=arguments,
        provisional=provisional,
        confidence=old.confidence,
        threshold=old.threshold,
        choices=None if before is None else from_text(before["choices"]),
        answers=None if before is None else from_text(before["answers"]),
        guide=None if before is None else before["guide"],
        owner=None if before is None else before["owner"],
        callback=None if before is None else before["callback"],
        due=after(engine.now(), _DAYS * _DAY, "24x7"),
        actor={"id": who.id, "known_by": who.known_by},
    )


def _put(connection: Connection, row: Row, old: Decided, who: Actor) -> tuple[Row, list[tell.Event]]:
    there = rows.get(connection, row["id"]) or rows.open_child(connection, old.id, "appeal")
    if there is not None:
        return there, []
    now = engine.now()
    stored, _ = rows.put(connection, row, now)
    for number, name in enumerate(old.reviewers):  # whoever decided is out of it, and the new person is not told who that was
        part = {
            "ticket_id": stored["id"], "reviewer": name, "known_by": "asserted", "slot": None, "token": claims.new_token(),
            "claimed": now + number * 1e-6, "lease_until": now, "state": "declined", "blind": True,
        }  # fmt: skip
        connection.execute(claim.insert(), part)
    role = people.senior_but(connection, (*old.reviewers, who.id))
    if role is not None:
        connection.execute(rows.change(stored["id"], role=role))
    fields = rows.facts(stored, "pending", who) | {"parent": old.id}
    return rows.again(connection, stored), [tell.note(connection, "appeal", old.guard, fields, now)]


def reply(ticket_id: str) -> str:
    """Return what the person who appealed is told, in plain words; the reviewer's note says why.

    Args:
        ticket_id: Of the appeal, as `guardrail.appeal` returned it.

    Raises:
        TicketNotFound: There is no such ticket.
        ConfigError: It is no appeal.
        StoreError: The store cannot be read.
    """
    case = desk.details(ticket_id)
    if case.kind != "appeal":
        raise ConfigError("the ticket is no appeal", hint="give the ticket that guardrail.appeal(...) returned")
    asked = f"{case.ticket.created:%d %B %Y}"
    about = f" about {case.ticket.business_id}" if case.ticket.business_id is not None else ""
    ending = case.ending
    if ending is None:
        due = "" if case.ticket.due is None else f" You will have an answer by {case.ticket.due:%d %B %Y}."
        return (
            f"We received your objection{about} on {asked}. A person who had no part in the decision is going to look at it.{due}"
        )
    if ending.state != "decided":
        return f"Your objection{about} of {asked} was closed without a decision. You can object again."
    result = {
        "accept": "The decision stays as it was.",
        "change": "The decision was changed.",
        "reject": "The decision no longer holds. No other has been made in its place.",
    }[str(ending.verdict)]
    why = f" {ending.note}" if ending.note else ""
    return f"A person who had no part in the decision looked at your objection{about} of {asked} on {ending.at:%d %B %Y}. {result}{why}"
