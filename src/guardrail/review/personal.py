"""What is personal on tickets: sealed under the key of its subject when the case is filed, opened when a person looks at it.

Each ciphertext stands where the plain part stood. Beside the arguments stands whom a ticket is about, as `$subject`: the keyed
digests that records have too; and as `$key` the id of the key for answers that are personal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from guardrail import clock
from guardrail.content.personal import SEALED
from guardrail.ledger import opening, sealing
from guardrail.review.case import from_text, to_text
from guardrail.store import forks

if TYPE_CHECKING:
    from guardrail.review.case import Case, Row

SUBJECT: Final = "$subject"
KEY: Final = "$key"
GONE: Final = "$erased"
OF: Final = "$of"  # in an appeal or an override: the ticket before, under whose id its arguments were sealed
ANSWER: Final = "answer"
_OURS: Final = frozenset({SUBJECT, KEY, GONE, OF})
ERASED: Final = to_text(opening.ERASED)


def sealed(case: Case, ticket_id: str) -> dict[str, Any]:
    """Return the row of a new ticket, what is personal in it sealed."""
    at = clock.wall()
    with forks.apart():
        keys = sealing.ready(dict.fromkeys((*case.subjects, *(part.subject for part in case.personal)), at))
    boxes = {part.field: sealing.sealed(keys[part.subject], part.field, part.content, ticket_id, at) for part in case.personal}
    arguments = sealing.inlined(dict(case.arguments), boxes)
    named = [key.digest for subject in case.subjects if (key := keys[subject]) is not None]
    if named:
        arguments[SUBJECT] = named
    if case.personal_answer:
        arguments[KEY] = _answers_key(case, keys)
    return case.row_with(ticket_id, arguments, sealing.inlined(case.shown, boxes), sealing.inlined(case.provisional, boxes))


def _answers_key(case: Case, keys: Mapping[str | None, Any]) -> str | None:
    """Return the id of the key that answers to a case are sealed under."""
    key = keys.get(case.subjects[0] if case.subjects else None)
    if key is None:
        with forks.apart():
            key = sealing.ready({None: clock.wall()})[None] if not case.subjects else None
    return None if key is None else key.kid


def opened(shown: Any, ticket_id: str) -> Any:
    """Return what is shown to a person, with what is sealed in it opened."""
    if isinstance(shown, dict) and not _OURS.isdisjoint(shown):
        ticket_id = shown.get(OF, ticket_id)
        shown = {name: each for name, each in shown.items() if name not in _OURS}
    return opening.revealed(shown, ticket_id)


def again(before: Row) -> tuple[dict[str, Any], bool]:
    """Return the arguments of a case as another case about the same decision may hold them, and whether answers are personal.

    What is sealed stays sealed, and is erased with its subject.
    """
    found = from_text(before["arguments"])
    if not isinstance(found, dict):
        return {}, False
    return ({OF: before["id"], **found} if '"$' in before["arguments"] else found), KEY in found


def answer_text(row: Row, value: str | None) -> str | None:
    """Return a person's answer (JSON text) as the store may hold it: sealed, where answers to the ticket are personal."""
    arguments = from_text(row["arguments"])
    if value is None or not isinstance(arguments, dict) or KEY not in arguments:
        return value
    kid = arguments[KEY]
    box = None if kid is None else sealing.again(kid, ANSWER, value.encode(), row["id"])
    return to_text(opening.UNREADABLE) if box is None else orjson.dumps({SEALED: {**box, "field": ANSWER}}).decode()
