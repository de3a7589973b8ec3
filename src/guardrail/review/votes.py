"""What reviewers' votes make of a ticket: enough equal ones decide it; where there cannot be enough, one more person decides alone."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from guardrail.errors import GuardrailError
from guardrail.ledger.opening import ERASED, UNREADABLE
from guardrail.review import claims, people, rows, tell
from guardrail.review.case import Actor, Row, TicketHeld, for_people, to_text
from guardrail.store import changes
from guardrail.store.prepared import Asked, Prepared, Said, together
from guardrail.store.states import OPEN_STATES
from guardrail.store.tables import claim, ticket

_LEASE: Final = 60.0  # seconds, of a claim that is taken and voted on in one go
_vote = Prepared(
    update(claim).where(claim.c.token == bindparam("held"), claim.c.state == "held", claim.c.lease_until > bindparam("now"))
)
_votes = (
    select(claim.c.reviewer, claim.c.known_by, claim.c.verdict, claim.c.value)
    .where(claim.c.ticket_id == bindparam("of"), claim.c.state == "voted")
    .order_by(claim.c.voted, claim.c.reviewer)
)
_count = update(ticket).where(ticket.c.id == bindparam("of"))


class Vote(NamedTuple):
    """What a person says of a ticket.

    Attributes:
        verdict: "accept", "change", "reject" or "unsure".
        value: The answer as JSON text; None for "reject" and "unsure".
        reason: A code, as `reasons` knows them.
        note: For the next reader.
    """

    verdict: str
    value: str | None
    reason: str | None = None
    note: str | None = None


class Voted(NamedTuple):
    """What came of a vote.

    Attributes:
        row: The ticket as it is now.
        events: What to tell the ledger.
        problem: Why the vote does not count, None where it does. What was written is kept in any case.
    """

    row: Row
    events: list[tell.Event]
    problem: GuardrailError | None = None


def cast(
    connection: Connection,
    row: Row,
    part: Row | None,
    me: Actor,
    vote: Vote,
    *,
    now: float,
    token: str | None,
    blind: bool = False,
    once: str | None = None,
) -> Voted:
    """Count a person's vote on a ticket.

    Args:
        connection: Of the store.
        row: The ticket, locked.
        part: The claim that the token is of; without a token what part the person has in the ticket; None where there is none.
        me: The person.
        vote: What they say.
        now: Seconds since the epoch.
        token: Of their claim; None to claim it and vote in one go.
        blind: Whether the model's answer was hidden from them; of a claim that they hold it is known.
        once: Where there is no claim: what names the message that the vote came in. No message votes twice, on whatever ticket.

    Raises:
        AccessDenied: The ticket is not for this person.
        TicketHeld: Others are at work on it, or the person has voted or declined.
    """
    if once is not None and claims.of_token(connection, once) is not None:
        return Voted(row, [])
    if part is not None and part["state"] == "voted" and part["voted"] == now:
        return Voted(row, [])  # this very vote, whose transaction was believed to have failed
    if row["state"] not in OPEN_STATES or rows.overdue(row, now):
        return _too_late(connection, row, me, vote, rows.closed(row), now=now)
    if token is not None and (
        part is None or part["ticket_id"] != row["id"] or part["state"] != "held" or part["lease_until"] <= now
    ):
        return _too_late(connection, row, me, vote, claims.stale(row), now=now)
    if token is not None and part is not None and part["reviewer"] != me.id:
        raise TicketHeld(f"the claim of ticket {row['id']} is another person's", guard=row["guard"], policy="review")
    if token is None:
        claims.check(connection, row, me, now)
        own = part if part is not None and part["state"] == "held" and part["lease_until"] > now else None
        token = own["token"] if own is not None else None
        if token is None or once is not None:
            token = once or claims.new_token()
            blind = blind if own is None else own["blind"]
            claims.take(connection, row, me, now, until=now + _LEASE, token=token, blind=blind)
    said = {"verdict": vote.verdict, "value": vote.value, "reason": vote.reason, "note": vote.note, "voted": now}
    counted = _vote, {"held": token, "now": now, "state": "voted", **said}
    alone = row["reviewers"] == 1 or row["state"] == "adjudicate"
    if alone and vote.verdict != "unsure":
        return _decided(connection, row, me, vote, now, counted)
    _counted(together(connection, counted)[0], row)
    return _settled(connection, row, me, vote, now, alone=alone)


def _decided(connection: Connection, row: Row, me: Actor, vote: Vote, now: float, *before: Asked) -> Voted:
    """End a ticket with an answer; a vote that is to be counted before goes with the same journey to the server."""
    event = _event(row, me, vote, state="decided")
    ending = rows.ending(connection, row, "decided", now, actor=me, voted=row["voted"] + 1, **vote._asdict())
    said = together(
        connection,
        *before,
        *ending,
        *(rows.putting_label(row, vote.value, now, reason=vote.reason, actor=me) if vote.value is not None else ()),
        tell.noting(event, now),
    )
    for each in said[: len(before) + 1]:
        _counted(each, row)
    return Voted(rows.changed_by(row, ending[0][1]), [event])


def _counted(said: Said, row: Row) -> None:
    """See that a vote, or an end, was taken: the ticket is locked and was seen to be open, so nothing but a defect keeps it out."""
    if not said.changed:
        raise claims.stale(row)  # which undoes all


def _settled(connection: Connection, row: Row, me: Actor, vote: Vote, now: float, *, alone: bool) -> Voted:
    """See what the votes so far come to, where one does not decide."""
    voted = row["voted"] + 1
    others = row["reviewers"] - voted
    agreed, open_still = (None, False) if alone else _common(connection, row, others)
    if open_still:
        connection.execute(_count.values(voted=voted, **_places(connection, row, others)), {"of": row["id"]})
        changes.tell(connection)
        return Voted(rows.again(connection, row), [_told(connection, row, me, vote, now, state="pending")])
    if agreed is None:
        if others:  # nobody is at work any more on an answer that would not count
            claims.give(connection, row, now)
        events = [_told(connection, row, me, vote, now, state="adjudicate"), *_to_another(connection, row, voted, now)]
        return Voted(rows.again(connection, row), events)
    return _decided(connection, row, me, agreed, now)


def _places(connection: Connection, row: Row, others: int) -> dict[str, Any]:
    """Return since when the places that are left can be claimed, and the state that this makes."""
    held = select(claim.c.lease_until).where(claim.c.ticket_id == row["id"], claim.c.state == "held", claim.c.slot.is_not(None))
    ends = list(connection.execute(held).scalars())
    free_at = min(ends) if len(ends) >= others else 0.0
    return {"free_at": free_at, "state": "claimed" if free_at else "pending"}


def _common(connection: Connection, row: Row, others: int) -> tuple[Vote | None, bool]:
    """Return the vote that enough people cast, None where there is none yet, and whether there still can be one.

    Who is unsure has voted for no answer. Since more than half must agree, two answers cannot both get there.

    Args:
        connection: Of the store.
        row: The ticket.
        others: How many people have not voted yet.
    """
    wanted = row["agree"] or row["reviewers"]
    votes = [each for each in connection.execute(_votes, {"of": row["id"]}).mappings() if each["verdict"] != "unsure"]
    said = [(each["verdict"], None if each["verdict"] == "accept" else _comparable(each["value"], row["id"])) for each in votes]
    counts = Counter(said)
    best, many = counts.most_common(1)[0] if counts else (None, 0)
    if best is None or many < wanted:
        return None, many + others >= wanted
    first = votes[said.index(best)]
    return Vote(first["verdict"], first["value"]), False


def _comparable(value: str | None, ticket_id: str) -> str | None:
    """Return an answer as text that equals another person's equal one: what is sealed is never sealed alike twice."""
    if value is None or '"$sealed"' not in value:
        return value
    opened = to_text(for_people(value, ticket_id))
    return value if ERASED in opened or UNREADABLE in opened else opened  # what nobody can read equals nothing


def _to_another(connection: Connection, row: Row, voted: int, now: float) -> list[tell.Event]:
    """Let one more person decide: a senior, if anybody is who may."""
    role = people.senior_but(connection, claims.out_of(connection, row)) or row["role"]
    changed = {"state": "adjudicate", "reviewers": voted + 1, "voted": voted, "free_at": 0.0, "role": role}
    connection.execute(_count.values(**changed), {"of": row["id"]})
    rows.note_step(connection, row["id"], "adjudicate", "adjudicate", now)
    changes.tell(connection)
    return [tell.note(connection, "ticket", row["guard"], rows.facts(row, "adjudicate", None), now)]


def _told(connection: Connection, row: Row, me: Actor, vote: Vote, now: float, *, state: str) -> tell.Event:
    event = _event(row, me, vote, state=state)
    together(connection, tell.noting(event, now))
    return event


def _event(row: Row, me: Actor, vote: Vote, *, state: str) -> tell.Event:
    fields = rows.facts(row, state, me) | {"verdict": vote.verdict}
    if vote.reason is not None:
        fields["cause"] = vote.reason
    return tell.event("decision", row["guard"], fields)


def _too_late(connection: Connection, row: Row, me: Actor, vote: Vote, problem: GuardrailError, *, now: float) -> Voted:
    """Keep what a person wrote for a ticket that does not take it any more: with the ticket, and as a label."""
    if noted(connection, row, "late", me, **vote._asdict()):
        return Voted(row, [], problem)
    rows.note_step(connection, row["id"], "late", row["state"], now, actor=me, **vote._asdict())
    if vote.value is not None and row["state"] == "expired":
        rows.put_label(connection, row, vote.value, now, source="late", reason=vote.reason, actor=me)
    return Voted(row, [], problem)


def noted(connection: Connection, row: Row, what: str, me: Actor, **facts: str | None) -> bool:
    """Return whether the same of the same person is kept with a ticket already; what is sealed is never sealed alike twice."""
    wanted = (what, me.id, *(facts.get(name) for name in ("verdict", "reason", "note")), for_people(facts["value"], row["id"]))
    return any(
        (each["what"], each["actor"], each["verdict"], each["reason"], each["note"], for_people(each["value"], row["id"]))
        == wanted
        for each in rows.history(connection, row["id"])
        if each["what"] == what
    )
