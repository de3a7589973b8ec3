"""How people work on cases: they claim one, answer it, give it back, or hand it to somebody else."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock
from guardrail.call import MISSING
from guardrail.errors import ConfigError
from guardrail.review import claims, desk, rows, sweeper, tell, upkeep, votes
from guardrail.review import reasons as codes
from guardrail.review.case import Actor, TicketHeld, Verdict, moment, plain, says_something, standing
from guardrail.review.dossier import Details
from guardrail.review.judge import judged
from guardrail.review.ticket import Ticket
from guardrail.store import changes, engine

if TYPE_CHECKING:
    from sqlalchemy import Connection

LEASE: Final = 600.0  # seconds
_SHORTEST: Final = 5.0
_LONGEST: Final = 86_400.0
_TRIES: Final = 6  # what others hold for an instant is left out: that nothing is left is believed when one has waited for them


@dataclass(frozen=True, slots=True)
class Claim:
    """A case that a person works on, until the lease ends.

    Attributes:
        details: The case, as this person is shown it.
        token: What a decision comes with; nobody else has it.
        lease_until: When the claim ends by itself, in UTC.
        actor: The person.
        blind: Whether the model's answer is hidden.
    """

    details: Details
    token: str = field(repr=False)
    lease_until: datetime
    actor: Actor
    blind: bool = False

    @property
    def ticket(self) -> Ticket:
        """The ticket."""
        return self.details.ticket

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from guardrail.review.case_card import bundle  # noqa: PLC0415 - only a notebook shows it

        return bundle(self)


def claim(
    queue: str | None = None,
    *,
    ticket_id: str | None = None,
    actor: Actor | str | None = None,
    lease: clock.Duration = LEASE,
    blind: bool = False,
    take_over: bool = False,
) -> Claim | None:
    """Take the most urgent case that a person may have, or a certain one, so that nobody else works on it meanwhile.

    Args:
        queue: Only from this queue.
        ticket_id: This one (its whole id), in place of the next.
        actor: Who works on it: a name (recorded as asserted), an `Actor`, or None for the user of the operating system.
        lease: How long they have it, 5 s to a day; `extend` gives more time. It ends by itself.
        blind: Whether the model's answer is hidden from them.
        take_over: With `ticket_id`: take it from whoever is at work on it.

    Returns:
        The claim; None where nothing waits that this person may take.

    Raises:
        TicketNotFound: There is no such ticket.
        TicketClosed: It is decided, expired or cancelled already.
        TicketHeld: Others are at work on it, or the person has voted on it or declined it.
        AccessDenied: It is for another role, or they asked for it themselves.
        StoreError: The store cannot take it.
    """
    who, seconds = Actor.of(actor), _lease(lease)
    if take_over and ticket_id is None:
        raise ConfigError("what is taken over needs an id", hint="write claim(ticket_id=..., take_over=True)")
    upkeep.catch_up_if_possible()
    token = claims.new_token()

    def take(connection: Connection, *, patient: bool) -> Claim | None:
        now = engine.now()
        if ticket_id is None:
            row = claims.next_for(connection, who, None if queue is None else plain(queue), now, patient=patient)
            if row is None:
                return None
        else:
            row = rows.answerable(rows.locked(connection, ticket_id), now)
            claims.check(connection, row, who, now, over_another=take_over)
        until = now + seconds
        again = ticket_id is not None
        row, (steps, parts) = claims.take(
            connection, row, who, now, until=until, token=token, blind=blind, again=again, over_another=take_over,
            also=rows.reading(row["id"]),
        )  # fmt: skip
        case = Details.of_rows(row, steps.rows, parts.rows, now)
        return Claim(case.blind() if blind else case, token, moment(until), who, blind)

    found = None
    if ticket_id is not None:
        found = engine.result(engine.write(partial(take, patient=True)))
    elif engine.exists():
        for turn in range(_TRIES):
            with contextlib.suppress(TicketHeld):  # another transaction was faster
                found = engine.result(engine.write(partial(take, patient=turn % 2 == 1)))
                if found is not None or not engine.shared():  # a file has one writer at a time, who sees everything
                    break
    if queue is not None or found is not None:
        desk.opened(queue if queue is not None else found.ticket.queue)  # type: ignore[union-attr]  # one of both is there
    return found


def extend(token: str, lease: clock.Duration = LEASE) -> datetime:
    """Let a claim last longer; return until when, in UTC.

    Args:
        token: Of the claim.
        lease: How long from now.

    Raises:
        StaleClaim: The claim is over.
        StoreError: The store cannot take it.
    """
    seconds = _lease(lease)

    def more(connection: Connection) -> float:
        now = engine.now()
        claims.extend(connection, token, now, now + seconds)
        return now + seconds

    return moment(engine.result(engine.write(more)))


def release(token: str) -> None:
    """Give a case back to the queue; the same person may be handed it again.

    Raises:
        StaleClaim: The claim is over.
        StoreError: The store cannot take it.
    """
    engine.result(engine.write(lambda connection: claims.leave(connection, token, engine.now(), "released")))


def decline(token: str, reason: str, note: str | None = None) -> None:
    """Give a case back because this person cannot or may not decide it; they are not handed it again.

    Args:
        token: Of the claim.
        reason: A code, as for `decide`; or "conflict_of_interest" or "not_my_field".
        note: Why, for the next reader.

    Raises:
        StaleClaim: The claim is over.
        ConfigError: The reason is none of the codes.
        StoreError: The store cannot take it.
    """
    why = codes.declining(reason, note)

    def leave(connection: Connection) -> None:
        now = engine.now()
        part, row = claims.leave(connection, token, now, "declined")
        who = Actor(part["reviewer"], part["known_by"])
        text = None if note is None else plain(note)
        rows.note_step(connection, row["id"], "declined", standing(row, now), now, actor=who, reason=why, note=text)

    engine.result(engine.write(leave))


def decide(
    ticket_id: str,
    value: Any = MISSING,
    *,
    verdict: Verdict | None = None,
    reason: str | None = None,
    note: str | None = None,
    actor: Actor | str | None = None,
    token: str | None = None,
    blind: bool = False,
    once: str | None = None,
) -> Ticket:
    """Answer a case. Where one person is asked, that is the decision: whoever waits for it, in any process, gets it.

    Where several are asked, the case is decided as soon as enough of them have said the same (all of them, or `Review(agree=)`), and goes
    to one more person as soon as that cannot happen any more.

    Args:
        ticket_id: The whole id.
        value: The answer, able to be JSON, one of the choices where the case has choices, and of the type that the function
            returns.
        verdict: "accept" without a value takes the model's own answer, "reject" gives none, "change" gives another, "unsure"
            leaves it to another person. Without it, a value counts as accepted when it equals the model's answer, else as changed.
        reason: Why, as a code: "wrong_input", "missing_context", "model_error", "policy_exception", "ambiguous", "fraud",
            "other" (which needs a note), or one of the setting `review_reasons`.
        note: Why, for the next reader; it is not written to the ledger.
        actor: Who decides: a name (recorded as asserted), an `Actor`, or None for the user of the operating system.
        token: Of the person's claim; without it the case is claimed and answered in one go.
        blind: Where there is no claim: whether the model's answer was hidden from the person.
        once: Where there is no claim: what names the message that the answer came in; no message decides twice.

    Raises:
        TicketNotFound: There is no such ticket.
        TicketClosed: It is decided, expired or cancelled already. What was written is kept with it.
        StaleClaim: The claim is over. What was written is kept with the ticket.
        TicketHeld: Others are at work on it, or the person has voted on it or declined it.
        AccessDenied: It is for another role, or they asked for it themselves.
        InvalidInput: The value is none of the choices, not of the function's type, or does not go with the verdict.
        ConfigError: The reason is none of the codes, or says "other" without a note; or an appeal is decided without a note.
        StoreError: The store cannot take the decision.
    """
    why, who = codes.checked(reason, note), Actor.of(actor)
    words = None if note is None else plain(note)
    upkeep.catch_up_if_possible()
    now = engine.now()

    def vote(connection: Connection) -> votes.Voted:
        row, said_of = rows.locked_with(connection, ticket_id, *([] if token is None else [claims.by_token(token)]))
        part = said_of[0].first if said_of else claims.part_of(connection, row["id"], who)
        if row["kind"] == "appeal" and not says_something(words):
            raise ConfigError("who appealed is owed an explanation", hint='write note="..." in plain words; it is for them')
        said, text = judged(Details.of_rows(row, (), (), now), value, verdict)
        return votes.cast(
            connection,
            row,
            part,
            who,
            votes.Vote(said, rows.kept(row, text), why, words),
            now=now,
            token=token,
            blind=blind,
            once=once,
        )

    row, events, problem = engine.result(engine.write(vote))
    tell.tell(events)
    if problem is not None:
        raise problem
    if row["delivery"] == "queued":
        sweeper.ensure()
    return Ticket.of_row(row)


def reassign(ticket_id: str, *, to: str | None = None, reason: str, actor: Actor | str | None = None) -> Claim | None:
    """Take a case from whoever is at work on it, and give it to somebody else, or back to the queue.

    Args:
        ticket_id: The whole id.
        to: Who gets it, with a claim of the usual length; None for whoever comes next.
        reason: Why; it is written to the ledger.
        actor: Who does so: as for `decide`.

    Returns:
        The claim of the person that it was given to, None for the queue.

    Raises:
        TicketNotFound: There is no such ticket.
        TicketClosed: It is decided, expired or cancelled already.
        AccessDenied: The case is not for the person whom it shall go to.
        StoreError: The store cannot take it.
    """
    if not says_something(reason):
        raise ConfigError("a case is reassigned for a reason", hint='write reason="on leave"')
    who, why = Actor.of(actor), plain(reason)
    new = None if to is None else Actor.of(to)
    token = claims.new_token()

    def give(connection: Connection) -> tuple[Claim | None, list[tell.Event]]:
        now = engine.now()
        row = rows.answerable(rows.locked(connection, ticket_id), now)
        claims.give(connection, row, now)
        row = rows.again(connection, row)
        made = None
        if new is not None:
            claims.check(connection, row, new, now)
            row, (steps, parts) = claims.take(
                connection, row, new, now, until=now + LEASE, token=token, also=rows.reading(row["id"])
            )
            made = Claim(Details.of_rows(row, steps.rows, parts.rows, now), token, moment(now + LEASE), new)
        rows.note_step(connection, row["id"], "reassigned", standing(row, now), now, actor=who, note=why)
        changes.tell(connection)
        fields = rows.facts(row, "reassigned", who) | {"cause": why}
        if new is not None:
            fields["to"] = new.id
        return made, [tell.note(connection, "ticket", row["guard"], fields, now)]

    made, events = engine.result(engine.write(give))
    tell.tell(events)
    return made


def cancel(ticket_id: str, reason: str, actor: Actor | str | None = None) -> Ticket:
    """Take an open ticket out of the queue.

    Args:
        ticket_id: The whole id.
        reason: Why; it is written to the ledger.
        actor: As for `decide`.

    Raises:
        TicketNotFound: There is no such ticket.
        TicketClosed: It is decided, expired or cancelled already.
        StoreError: The store cannot take it.
    """
    if not says_something(reason):
        raise ConfigError("a ticket is cancelled for a reason", hint='write reason="withdrawn by the applicant"')
    who, why = Actor.of(actor), plain(reason)
    upkeep.catch_up_if_possible()
    row, events = engine.result(engine.write(lambda connection: rows.cancel(connection, ticket_id, engine.now(), who, why)))
    tell.tell(events)
    if row["delivery"] == "queued":
        sweeper.ensure()
    return Ticket.of_row(row)


def _lease(lease: clock.Duration) -> float:
    seconds = clock.seconds(lease, "lease of a claim")
    if not _SHORTEST <= seconds <= _LONGEST:
        raise ConfigError("a lease is between 5 seconds and a day", hint='write lease="10m"')
    return seconds
