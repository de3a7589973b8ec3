"""Takes answers back in from another tool: each is decided like any other, and what cannot be is told case by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from guardrail.errors import AccessDenied, ConfigError, GuardrailError, InvalidInput
from guardrail.review import claims, deciding, rows, votes
from guardrail.review.case import (
    Actor,
    Row,
    TicketClosed,
    TicketHeld,
    Verdict,
    for_people,
    from_text,
    plain,
    to_text,
)
from guardrail.review.dossier import Details
from guardrail.review.forms import NOTE, REASON, Written, meant
from guardrail.review.handing_out import TOOLS, Tool
from guardrail.review.heard import Heard
from guardrail.review.judge import judged
from guardrail.store import engine

if TYPE_CHECKING:
    from sqlalchemy import Connection

Outcome = Literal["decided", "noted", "repeated", "late", "held", "denied", "misfit", "unknown", "skipped", "draft"]


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one person's answer to one case.

    Attributes:
        ticket_id: The id that the file gives; None where it gives none.
        person: Who answered, by the name that counts here, or as the tool knows them where nobody is named for them.
        outcome: "decided"; "noted" where other people must answer too; "repeated" for what was taken in before. "skipped" and "draft"
            are no answers. What was not taken: "late" (the case was decided or has ended), "held" (somebody else is at work on it, or
            the person has had a part in it), "denied" (it is not for them), "misfit" (it is no answer that the case allows), "unknown"
            (there is no such case, or nobody is named for the person).
        problem: Why it was not taken, in words; nothing of the answer is in them.
        said: What the person wrote. Where there is a case and a person, it is kept with the ticket too.
    """

    ticket_id: str | None
    person: str | None
    outcome: Outcome
    problem: str | None = None
    said: Mapping[str, Any] = field(default_factory=dict, repr=False)


def take_in(path: Path | str, source: Tool = "label-studio", *, people: Mapping[str, str] | None = None) -> list[Taken]:
    """Decide cases by the answers that people gave in another tool; the same file may be taken in again.

    Each answer goes through `decide`, with all its rules: roles, distinct people, the choices or the type of the function, leases. One
    that comes too late, or does not fit, changes nothing, is kept with its ticket, and the others go on.

    Args:
        path: The export of the tool, as JSON.
        source: "label-studio" or "argilla".
        people: Who the tool's users are here: `{"3": "anna"}`, by the number or id that the tool has for them, or by e-mail address.
            Who is not named is known by the e-mail address, if the file has that; else their answers are not taken. All names are
            recorded as asserted.

    Returns:
        What became of each answer, in the order of the file.

    Raises:
        ConfigError: The tool is unknown, or the file is no export of it.
        OSError: The file cannot be read.
        StoreError: The store cannot take an answer; those before it are taken.
    """
    if source not in TOOLS:
        raise ConfigError("there is no such tool to take in from", hint=f"choose from {', '.join(map(repr, TOOLS))}")
    found: list[Heard] = list(TOOLS[source].heard(Path(path).read_bytes()))
    named = {key: Actor.of(name) for key, name in (people or {}).items()}
    said: dict[tuple[str | None, str | None], set[str]] = {}
    for each in found:
        if each.state == "submitted":
            said.setdefault((each.ticket, each.person), set()).add(repr(each.written))
    return [_taken(each, named, twice=len(said.get((each.ticket, each.person), ())) > 1) for each in found]


def _taken(heard: Heard, named: Mapping[str, Actor], *, twice: bool) -> Taken:
    who = _actor(heard.person, named)
    name = heard.person if who is None else who.id
    said = {field: value for field, value in heard.written._asdict().items() if value not in (None, "", [])}

    def result(outcome: Outcome, problem: str | None = None) -> Taken:
        return Taken(heard.ticket, name, outcome, problem, said)

    if heard.state in ("skipped", "draft"):
        return result(heard.state)
    row = None if heard.ticket is None else _ticket(heard.ticket)
    if row is None:
        return result("unknown", "there is no such case")
    if who is None:
        return result("unknown", f"nobody is named for the user {heard.person}" if heard.person else "the file does not say who")
    try:
        if heard.state == "unclear":
            raise _not(row, "the file does not tell whether it was submitted or is a draft")
        if twice:
            raise _not(row, "the same person has answered it twice, and not alike")
        value, verdict = meant(row, heard.written)
        reason, note = _text(row, heard.written, REASON), _text(row, heard.written, NOTE)
        if _said_before(row, who, value, verdict):
            return result("repeated")
        ticket = deciding.decide(row["id"], value, verdict=verdict, reason=reason, note=note, actor=who, blind=heard.blind)
        return result("decided" if ticket.state == "decided" else "noted")
    except TicketClosed as problem:
        return result("late", str(problem.args[0]))  # `decide` has kept it
    except (TicketHeld, AccessDenied, InvalidInput, ConfigError) as problem:
        _keep(row, who, heard.written)
        kinds: dict[type[GuardrailError], Outcome] = {TicketHeld: "held", AccessDenied: "denied"}
        return result(kinds.get(type(problem), "misfit"), str(problem.args[0]))


def _actor(person: str | None, named: Mapping[str, Actor]) -> Actor | None:
    if person is None:
        return None
    return named.get(person) or (Actor.of(person) if "@" in person else None)


def _ticket(ticket_id: str) -> Row | None:
    return engine.read(lambda connection: rows.get(connection, ticket_id)) if engine.exists() else None


def _text(row: Row, written: Written, field: str) -> str | None:
    value = getattr(written, field)
    if value in (None, "", []):
        return None
    if not isinstance(value, str):
        raise _not(row, f"the {field} is no text")
    return value


def _not(row: Row, text: str) -> InvalidInput:
    return InvalidInput(text, guard=row["guard"], policy="review", decision_id=row["decision_id"])


def _said_before(row: Row, who: Actor, value: Any, verdict: Verdict | None) -> bool:
    """Return whether the person has answered so already: the file was taken in before, or they have done it here as well."""
    before = engine.read(lambda connection: claims.part_of(connection, row["id"], who))
    if before is None or before["state"] != "voted":
        return False
    said, text = judged(Details.of_rows(row, (), (), engine.now()), value, verdict)
    return bool(before["verdict"] == said and for_people(before["value"], row["id"]) == from_text(text))


def _keep(row: Row, who: Actor, written: Written) -> None:
    """Keep what was not taken with its ticket, once; who looks at the case sees it when the case is closed."""
    value = None if written.answer is None else rows.kept(row, to_text(written.answer))
    words: Sequence[str] = [str(each) for each in (written.verdict, written.reason, written.note) if each not in (None, "", [])]
    note = plain(" · ".join(words)) or None

    def keep(connection: Connection) -> None:
        locked = rows.locked(connection, row["id"])
        if not votes.noted(connection, locked, "not_taken", who, value=value, note=note):
            rows.note_step(connection, row["id"], "not_taken", locked["state"], engine.now(), actor=who, value=value, note=note)

    engine.result(engine.write(keep))
