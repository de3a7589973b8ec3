"""Takes an answer that another system sends: a verified message decides a case, once, like any other answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from guardrail.call import MISSING
from guardrail.errors import InvalidInput
from guardrail.review import signing
from guardrail.review.answering import FINE, Outcome, Said, answered, find
from guardrail.review.case import Actor, says_something

MOST_BYTES: Final = 1 << 20
TYPE: Final = "review.answer"
_KNOWN: Final = frozenset({"ticket", "person", "value", "verdict", "reason", "note", "token", "blind"})
_TEXTS: Final = ("verdict", "reason", "note", "token")
_STATUS: Final[Mapping[Outcome, int]] = {"unknown": 404, "late": 409, "held": 409, "denied": 403, "misfit": 422}


@dataclass(frozen=True, slots=True)
class Received:
    """What became of an answer that arrived.

    Attributes:
        ticket_id: The case that it is for.
        outcome: "decided"; "noted" where other people must answer too; "repeated" for what has arrived before. What was not taken:
            "late", "held", "denied", "misfit", "unknown", as `take_in` has them; what was written is kept with the ticket.
        problem: Why it was not taken, in words; nothing of the answer is in them.
    """

    ticket_id: str
    outcome: Outcome
    problem: str | None = None

    @property
    def status(self) -> int:
        """The HTTP status for it: 200, or 403, 404, 409 or 422."""
        return 200 if self.outcome in FINE else _STATUS[self.outcome]


def receive(headers: Mapping[str, str], body: bytes) -> Received:
    """Decide a case by a message of another system, such as the tool where reviewers work.

    The message is signed as Standard Webhooks has it, with the setting `receive_secret`, and at most five minutes old. Its body is
    `{"type": "review.answer", "data": {"ticket": "0197…", "person": "anna", "value": "refuse"}}`; in `data` may stand `verdict`, `reason`,
    `note`, `token` and `blind`, as `decide` takes them. A `webhook-id` decides once, however often it arrives.

    Args:
        headers: Of the request.
        body: Of the request, as it arrived; at most 1 MiB.

    Returns:
        What became of it, with the status to answer with.

    Raises:
        ConfigError: The setting `receive_secret` is missing: nothing is taken.
        AccessDenied: It is not signed by that key, or too old.
        InvalidInput: It is signed, and not of that form; the field is named.
        StoreError: The store cannot take it now; the sender may try again.
    """
    if len(body) > MOST_BYTES:
        raise _no("the message is longer than 1 MiB")
    name = signing.verified(headers, body)
    data = _data(body)
    said = Said(
        value=data.get("value", MISSING),
        verdict=data.get("verdict"),
        reason=data.get("reason"),
        note=data.get("note"),
        blind=data.get("blind", False),
    )
    row = find(data["ticket"])
    if row is None:
        return Received(data["ticket"], "unknown", "there is no such case")
    # Kept as the token of the claim, of which the database has each only once.
    once = f"webhook-{hashlib.sha256(name.encode()).hexdigest()}"
    outcome, problem = answered(row, Actor.of(data["person"]), said, token=data.get("token"), once=once)
    return Received(row["id"], outcome, problem)


def _data(body: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _no("the message is not JSON") from None
    if not isinstance(message, dict) or message.get("type") != TYPE:
        raise _no(f"the type of the message is not {TYPE}")
    data = message.get("data")
    if not isinstance(data, dict):
        raise _no("data is no object")
    if not _KNOWN.issuperset(data):
        raise _no(f"data holds something else than {', '.join(sorted(_KNOWN))}")
    for name in ("ticket", "person"):
        if not says_something(data.get(name)):
            raise _no(f"data.{name} is no text")
    for name in _TEXTS:
        if data.get(name) is not None and not isinstance(data[name], str):
            raise _no(f"data.{name} is no text")
    if not isinstance(data.get("blind", False), bool):
        raise _no("data.blind is neither true nor false")
    return data


def _no(text: str) -> InvalidInput:
    return InvalidInput(
        text, policy="review", hint='send {"type": "review.answer", "data": {"ticket": …, "person": …, "value": …}}'
    )
