"""What a caller is told whose case is with a person, or was and got no answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from guardrail.errors import Deferred

if TYPE_CHECKING:
    from guardrail.call import Call


class Unanswered(NamedTuple):
    """How a ticket stands that has no answer.

    Attributes:
        text: In words, as a sentence begins.
        hint: What to do now.
    """

    text: str
    hint: str


STILL_OPEN: Final = Unanswered(
    "a person decides", "decide(predict, ...) and batch(predict, rows) return a Decision instead of raising"
)
NOT_YET: Final = Unanswered("nobody has decided yet", STILL_OPEN.hint)
UNANSWERED: Final[Mapping[str, Unanswered]] = {
    "decided": Unanswered(
        "a person rejected the model's answer and gave no other", "there will be no answer; a new call opens a new ticket"
    ),
    "expired": Unanswered(
        "nobody decided in time",
        "the ticket is closed, and a new call opens a new one; give people more time with Review(sla=...)",
    ),
    "cancelled": Unanswered("the case was taken out of the queue", "there will be no answer; a new call opens a new ticket"),
}


def deferred(ticket: Any, ended: Unanswered = STILL_OPEN, **where: str | None) -> Deferred:
    """Return the error for a caller without an answer: its ticket is on disk, open or closed."""
    return Deferred(
        f"{ended.text}: ticket {ticket.id} in queue {ticket.queue}", ticket=ticket, policy="review", hint=ended.hint, **where
    )


def inherited_end(call: Call) -> float | None:
    """Return the end (monotonic) of the time that a call has from the one around it, None where there is none."""
    parent = call.parent
    return None if parent is None or parent.ended else parent.until or parent.deadline
