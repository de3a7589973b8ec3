"""All that is known of a ticket, as a reviewer sees it: the case, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from guardrail.review.case import Actor, OnExpiry, Row, State, Verdict, for_people, from_text, moment
from guardrail.review.ticket import Ticket


@dataclass(frozen=True, slots=True)
class Step:
    """What ended a ticket: a decision, an expiry or a cancellation.

    Attributes:
        at: When, in UTC.
        state: The state that the ticket entered.
        verdict: Of a decision: "accept", "change" or "reject".
        value: Of a decision: the answer.
        note: Why, in the words of who did it.
        actor: Who did it; None for the clock.
    """

    at: datetime
    state: State
    verdict: Verdict | None
    value: Any = field(repr=False)
    note: str | None = field(repr=False)
    actor: Actor | None

    @classmethod
    def of_row(cls, row: Row) -> Step:
        """Return the step for a row of the store."""
        actor = None if row["actor"] is None else Actor(row["actor"], row["known_by"])
        value = for_people(row["value"], row["ticket_id"])
        return cls(moment(row["at"]), row["state"], row["verdict"], value, row["note"], actor)


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
        owner: The team in charge.
        on_expiry: What comes of it when nobody answers in time.
        requester: Who asked the model.
        steps: What became of it, in order.
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
    owner: str | None
    on_expiry: OnExpiry
    requester: Mapping[str, Any] | None = field(repr=False)
    steps: Sequence[Step]

    @classmethod
    def of_rows(cls, row: Row, steps: Sequence[Row]) -> Details:
        """Return the details for a ticket's row and the rows of its steps."""
        return cls(
            ticket=Ticket.of_row(row),
            state=row["state"],
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
            owner=row["owner"],
            on_expiry=row["on_expiry"],
            requester=from_text(row["actor"]),
            steps=[Step.of_row(step) for step in steps],
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as one flat mapping that can be JSON (moments in ISO 8601)."""
        ticket = {name: getattr(self.ticket, name) for name in Ticket.__slots__}
        facts = {name: getattr(self, name) for name in self.__slots__ if name not in ("ticket", "steps")}
        return _dated({"id": self.ticket.id} | ticket | facts | {"steps": [asdict(step) for step in self.steps]})  # type: ignore[no-any-return]


def _dated(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _dated(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_dated(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else value
