"""All that is known of a ticket, as a reviewer sees it: the case, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from guardrail.review.case import Actor, Kind, OnExpiry, Row, State, Verdict, for_people, from_text, moment, standing
from guardrail.review.ticket import Ticket
from guardrail.store.states import ENDED, OPEN_STATES


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to a ticket.

    Attributes:
        at: When, in UTC.
        what: "decided", "expired" or "cancelled" for its end; before that "declined", "reassigned", "reminded", "escalated" or
            "adjudicate"; "late" for a decision that was not taken any more, "not_taken" for an answer from another tool that could not
            be taken: that is shown when the ticket is closed.
        state: The state that the ticket was in afterwards.
        verdict: Of a decision: "accept", "change" or "reject".
        value: Of a decision: the answer.
        reason: Of a decision: why, as a code.
        note: Why, in the words of who did it.
        actor: Who did it; None for the clock.
    """

    at: datetime
    what: str
    state: State
    verdict: Verdict | None
    value: Any = field(repr=False)
    reason: str | None
    note: str | None = field(repr=False)
    actor: Actor | None

    @classmethod
    def of_row(cls, row: Row, *, closed: bool = True) -> Step:
        """Return the step for a row of the store."""
        if row["what"] == "not_taken" and not closed:
            row = {**row, "value": None, "note": None}
        actor = None if row["actor"] is None else Actor(row["actor"], row["known_by"])
        value = for_people(row["value"], row["ticket_id"])
        return cls(
            at=moment(row["at"]), what=row["what"] or row["state"], state=row["state"], verdict=row["verdict"], value=value, reason=row["reason"],
            note=row["note"], actor=actor,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """One person's part in a ticket. While the ticket is open, nobody is shown what others have said.

    Attributes:
        reviewer: Who.
        state: "held" while they are at work on it, "voted", "declined" or "released".
        claimed: Since when, in UTC.
        lease_until: When the claim ends by itself, in UTC.
        blind: Whether the model's answer was hidden from them.
        verdict: What they said; value, reason and note likewise. None while the ticket is open.
        voted: When, in UTC.
    """

    reviewer: Actor
    state: str
    claimed: datetime
    lease_until: datetime
    blind: bool
    verdict: Verdict | None = None
    value: Any = field(default=None, repr=False)
    reason: str | None = None
    note: str | None = field(default=None, repr=False)
    voted: datetime | None = None

    @classmethod
    def of_row(cls, row: Row, *, closed: bool, now: float) -> Part:
        """Return the part for a row of the store."""
        over = row["state"] == "held" and row["lease_until"] <= now
        said = {}
        if closed:
            said = {name: row[name] for name in ("verdict", "reason", "note")}
            said["value"] = for_people(row["value"], row["ticket_id"])
        return cls(
            reviewer=Actor(row["reviewer"], row["known_by"]),
            state="released" if over else row["state"],
            claimed=moment(row["claimed"]),
            lease_until=moment(row["lease_until"]),
            blind=bool(row["blind"]),  # SQLite has no truth values
            voted=None if row["voted"] is None else moment(row["voted"]),
            **said,
        )


@dataclass(frozen=True, slots=True)
class Details:
    """A ticket with its case, as it stood when it was read.

    Attributes:
        ticket: The ticket.
        state: Its state.
        version: The model's version.
        reasons: All that spoke against the answer, in words.
        arguments: The arguments by name, as JSON knows them.
        shown: What the reviewer is shown in place of the arguments, None for the arguments themselves.
        confidence: What the model was sure of; threshold: what was asked for.
        choices: The only answers allowed, None for any.
        guide: What the reviewer should follow.
        priority: Higher comes first.
        skills: What a reviewer must be able to do.
        kind: "case", "audit" (a sure answer, drawn by lot), "appeal" or "override" (of what was decided before).
        parent: For an appeal or an override: what it is about.
        triggers: The conditions that fired, each with its version.
        inclusion: The probability that the case would be here.
        answers: The JSON schema that an answer must fit, None for any.
        reviewers: How many people must answer; voted: how many have; agree: how many must give the same answer, None for all.
        level: The level of escalation, from 0; role: who may decide at it, None for everybody.
        delivery: Of the answer to `callback`, or of a new case that is pushed there: "none", "queued", "retrying", "delivered" or "dead".
        owner: The team in charge.
        on_expiry: What comes of it when nobody answers in time.
        requester: Who asked the model.
        steps: What became of it, in order.
        parts: Who had a part in it, in order.
    """

    ticket: Ticket
    state: State
    version: str
    reasons: Sequence[str]
    arguments: Mapping[str, Any] = field(repr=False)
    shown: Any = field(repr=False)
    confidence: float | None
    threshold: float | None
    choices: Sequence[Any] | None
    guide: str | None = field(repr=False)
    priority: int
    skills: Sequence[str]
    kind: Kind
    parent: str | None
    triggers: Sequence[Mapping[str, str]]
    inclusion: float
    answers: Mapping[str, Any] | None = field(repr=False)
    reviewers: int
    voted: int
    agree: int | None
    level: int
    role: str | None
    delivery: str
    owner: str | None
    on_expiry: OnExpiry
    requester: Mapping[str, Any] | None = field(repr=False)
    steps: Sequence[Step]
    parts: Sequence[Part]

    @classmethod
    def of_rows(cls, row: Row, steps: Sequence[Row], parts: Sequence[Row], now: float) -> Details:
        """Return the details for a ticket's row and the rows of its steps and parts."""
        closed = row["state"] not in OPEN_STATES
        return cls(
            ticket=Ticket.of_row(row),
            state=standing(row, now),
            version=row["version"],
            reasons=from_text(row["reasons"]),
            arguments=for_people(row["arguments"], row["id"]),
            shown=for_people(row["shown"], row["id"]),
            confidence=row["confidence"],
            threshold=row["threshold"],
            choices=from_text(row["choices"]),
            guide=row["guide"],
            priority=row["priority"],
            skills=from_text(row["skills"]),
            kind="case" if row["kind"] == "gold" else row["kind"],  # who knew which cases are gold would take more care there
            parent=row["parent"],
            triggers=from_text(row["triggers"]),
            inclusion=row["inclusion"],
            answers=from_text(row["answers"]),
            reviewers=row["reviewers"],
            voted=row["voted"],
            agree=row["agree"],
            level=row["level"],
            role=row["role"],
            delivery="delivered" if row["kind"] == "gold" and closed and row["callback"] else row["delivery"],  # as others say
            owner=row["owner"],
            on_expiry=row["on_expiry"],
            requester=from_text(row["actor"]),
            steps=[Step.of_row(step, closed=closed) for step in steps],
            parts=[Part.of_row(part, closed=closed, now=now) for part in parts],
        )

    def blind(self) -> Details:
        """Return what a person is shown who shall answer without knowing the model's answer."""
        facts: dict[str, Any] = {name: getattr(self.ticket, name) for name in Ticket.__slots__}
        facts["provisional"] = None
        bare = Ticket(**facts)
        return replace(self, ticket=bare, confidence=None, reasons=())

    def to_dict(self) -> dict[str, Any]:
        """Return everything as one flat mapping that can be JSON (moments in ISO 8601)."""
        ticket = {name: getattr(self.ticket, name) for name in Ticket.__slots__}
        facts = {name: getattr(self, name) for name in self.__slots__ if name not in ("ticket", "steps", "parts")}
        listed = {"steps": [asdict(step) for step in self.steps], "parts": [asdict(part) for part in self.parts]}
        return _dated({"id": self.ticket.id} | ticket | facts | listed)  # type: ignore[no-any-return]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        from guardrail.review.case_card import bundle  # noqa: PLC0415 - only a notebook shows it

        return bundle(self)

    @property
    def deciders(self) -> str | None:
        """Whose role it takes to decide it; None for everybody's. Of an open appeal that is said in words."""
        if self.role is None and self.kind == "appeal" and self.ending is None:
            return "none: nobody who may decide it had the role senior, so anybody may who had no part in the decision"
        return self.role

    @property
    def people(self) -> str | None:
        """How many people have answered, and how many equal answers it takes; None where one person decides."""
        if self.reviewers == 1:
            return None
        equal = "" if self.agree is None or self.state == "adjudicate" else f"; {self.agree} equal answers decide"
        return f"{self.voted} of {self.reviewers} have answered{equal}"

    @property
    def ending(self) -> Step | None:
        """What ended the ticket, None while it is open."""
        return next((step for step in reversed(self.steps) if step.what in ENDED), None)


def _dated(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _dated(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_dated(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else value
