"""How an answer from elsewhere decides a case: through `decide`, once; what cannot be taken is kept with the ticket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from guardrail.call import MISSING
from guardrail.errors import AccessDenied, ConfigError, GuardrailError, InvalidInput
from guardrail.review import claims, deciding, rows, votes
from guardrail.review.case import Actor, Row, StaleClaim, TicketClosed, TicketHeld, for_people, from_text, plain, to_text
from guardrail.review.dossier import Details
from guardrail.review.judge import judged
from guardrail.store import engine

if TYPE_CHECKING:
    from sqlalchemy import Connection

Outcome = Literal["decided", "noted", "repeated", "late", "held", "denied", "misfit", "unknown", "skipped", "draft"]
FINE: Final = frozenset({"decided", "noted", "repeated", "skipped", "draft"})


class Said(NamedTuple):
    """What a person says of a case.

    Attributes:
        value: As `decide` takes it; the others likewise.
        verdict: None, or a word that `decide` knows, or does not.
        reason: A code, or what was written in its place.
        note: For the next reader.
        blind: Whether the model's answer was hidden from them.
    """

    value: Any = MISSING
    verdict: Any = None
    reason: str | None = None
    note: str | None = None
    blind: bool = False


def find(ticket_id: str) -> Row | None:
    """Return a ticket's row by the whole id, None where there is none."""
    return engine.read(lambda connection: rows.get(connection, ticket_id)) if engine.exists() else None


def answered(
    row: Row, who: Actor, said: Said, *, token: str | None = None, once: str | None = None
) -> tuple[Outcome, str | None]:
    """Decide a case; return what became of the answer, and why it was not taken, in words that hold nothing of it.

    Args:
        row: The ticket.
        who: Whose answer it is.
        said: What they say.
        token: Of their claim, if they have one here.
        once: What names the message that it came in; no message decides twice.

    Raises:
        StoreError: The store cannot take it.
    """
    try:
        if _said_before(row, who, said, once):
            return "repeated", None
        ticket = deciding.decide(
            row["id"], said.value, verdict=said.verdict, reason=said.reason, note=said.note, actor=who, token=token,
            blind=said.blind, once=once,
        )  # fmt: skip
    except (TicketClosed, StaleClaim) as problem:
        return "late", str(problem.args[0])  # `decide` has kept it
    except (TicketHeld, AccessDenied, InvalidInput, ConfigError) as problem:
        words = [text for text in (said.verdict, said.reason, said.note) if text]
        keep(row, who, None if said.value is MISSING else said.value, words)
        kinds: dict[type[GuardrailError], Outcome] = {TicketHeld: "held", AccessDenied: "denied"}
        return kinds.get(type(problem), "misfit"), str(problem.args[0])
    return ("decided" if ticket.state == "decided" else "noted"), None


def _said_before(row: Row, who: Actor, said: Said, once: str | None) -> bool:
    """Return whether the message has decided something, or the person has answered so already, in whatever way."""

    def read(connection: Connection) -> tuple[Row | None, Row | None]:
        used = None if once is None else claims.of_token(connection, once)
        return used, claims.part_of(connection, row["id"], who)

    used, part = engine.read(read)
    if used is not None:
        return True
    if part is None or part["state"] != "voted":
        return False
    verdict, text = judged(Details.of_rows(row, (), (), engine.now()), said.value, said.verdict)
    return bool(part["verdict"] == verdict and for_people(part["value"], row["id"]) == from_text(text))


def keep(row: Row, who: Actor, value: Any, words: list[str]) -> None:
    """Keep what was not taken with its ticket, once; who looks at the case sees it when the case is closed."""
    kept = None if value is None else rows.kept(row, to_text(value))
    note = plain(" · ".join(words)) or None

    def note_it(connection: Connection) -> None:
        locked = rows.locked(connection, row["id"])
        if not votes.noted(connection, locked, "not_taken", who, value=kept, note=note):
            rows.note_step(connection, row["id"], "not_taken", locked["state"], engine.now(), actor=who, value=kept, note=note)

    engine.result(engine.write(note_it))
