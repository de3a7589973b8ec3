"""Takes answers back in from another tool: each is decided like any other, and what cannot be is told case by case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guardrail.errors import ConfigError, InvalidInput
from guardrail.review.answering import Outcome, Said, answered, find, keep
from guardrail.review.case import (
    Actor,
    Row,
)
from guardrail.review.forms import ANSWER, NOTE, REASON, Written, meant
from guardrail.review.handing_out import TOOLS, Tool
from guardrail.review.heard import Heard


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
    row = None if heard.ticket is None else find(heard.ticket)
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
    except InvalidInput as problem:
        keep(row, who, heard.written.answer, [str(each) for name, each in said.items() if name != ANSWER])
        return result("misfit", str(problem.args[0]))
    return result(*answered(row, who, Said(value, verdict, reason, note, heard.blind)))


def _actor(person: str | None, named: Mapping[str, Actor]) -> Actor | None:
    if person is None:
        return None
    return named.get(person) or (Actor.of(person) if "@" in person else None)


def _text(row: Row, written: Written, field: str) -> str | None:
    value = getattr(written, field)
    if value in (None, "", []):
        return None
    if not isinstance(value, str):
        raise _not(row, f"the {field} is no text")
    return value


def _not(row: Row, text: str) -> InvalidInput:
    hint = "mend it in the file, and take the file in again"
    return InvalidInput(text, guard=row["guard"], policy="review", decision_id=row["decision_id"], hint=hint)
