"""How a case looks in a terminal. Whatever it shows may be hostile, and is made harmless first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from guardrail.cli.text import clean, moment, say
from guardrail.review import judge
from guardrail.review.dossier import Details
from guardrail.store import engine

SHORT: Final = 8  # characters of an id's end that tell it apart; its beginning is only the time
_LINE: Final = 80  # characters of JSON that stand on one line
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60))

Id = Annotated[str, typer.Argument(metavar="ID", help="The id, or a beginning or end of it that no other ticket has.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
By = Annotated[str | None, typer.Option("--by", help="Your name where it is not your user name; recorded as asserted.")]


def draw(each: Details, *, session: bool = False) -> None:
    """Print a case: what is asked, what the model said, which answers are allowed, what became of it.

    Args:
        each: The case.
        session: Whether keys decide it: then nothing is said of commands, and the case comes before its data.
    """
    ticket = each.ticket
    facts_of = {
        "ticket": ticket.id,
        "state": f"{each.state}, filed {span(age(each))} ago in queue {ticket.queue}",
        "kind": None if each.kind == "case" else each.kind,
        "guard": f"{ticket.guard} {each.version}",
        "decision": ticket.decision_id,
        "business id": ticket.business_id,
        "reason": ", ".join((ticket.reason, *each.reasons)),
        "triggers": ", ".join(trigger["name"] for trigger in each.triggers if trigger["name"] != ticket.reason) or None,
        "confidence": sure(each) or None,
        "due": None if ticket.due is None else f"{moment(ticket.due.timestamp())}, then {each.on_expiry}",
        "reviewers": each.people,
        "role": each.deciders,
        "owner": each.owner,
        "skills": ", ".join(each.skills) or None,
        "asked by": each.requester,
        "guide": each.guide,
        "callback": None if each.delivery == "none" else each.delivery,
    }
    facts(facts_of)
    shown = each.arguments if each.shown is None else each.shown
    say("\n[bold]The case[/bold]")
    facts(shown if isinstance(shown, Mapping) else {"shown": shown})
    if ticket.provisional is not None:
        say("\n[bold]The model's own answer[/bold]")
        for line in words(ticket.provisional).splitlines():
            say(clean(line))
    for step in each.steps:
        who = "" if step.actor is None else f"by {step.actor.id} ({step.actor.known_by})"
        what = step.what.replace("_", " ").capitalize()
        say(f"\n[bold]{clean(what)}[/bold] {clean(moment(step.at.timestamp()))} {clean(who)}")
        answer = {"answer": step.value} if step.verdict in ("accept", "change") or step.what == "not_taken" else {}
        facts({"verdict": step.verdict, "reason": step.reason, "note": step.note} | answer)
    for part in each.parts:
        if part.state in ("held", "voted"):
            does = f"at work on it until {moment(part.lease_until.timestamp())}" if part.state == "held" else "has answered"
            say(f"\n{clean(part.reviewer.id)} {clean(does)}")
    if each.ending is None and not session:
        allowed = "VALUE" if each.choices is None else "|".join(judge.spelled(choice) for choice in each.choices)
        accept = "" if ticket.provisional is None else " | --accept"
        say(f"\nTo decide it: guardrail review decide {ticket.id[-SHORT:]} {clean(allowed)}{accept} | --reject")


def facts(found: Mapping[str, Any]) -> None:
    """Print names and what they stand for, below each other."""
    width = max(map(len, found), default=0)
    for name, fact in found.items():
        if fact is not None:
            first, *more = words(fact).splitlines() or [""]
            say(f"[dim]{clean(name)}[/dim]{' ' * (width - len(name))}  {clean(first)}")
            for line in more:
                say(f"{' ' * width}  {clean(line)}")


def words(value: Any) -> str:
    """Return a value as a person reads it: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= _LINE else json.dumps(value, ensure_ascii=False, indent=2)


def sure(each: Details) -> str:
    """Return how sure the model was, beside what was asked for."""
    known = "?" if each.confidence is None else f"{each.confidence:.3g}"
    if each.threshold is None:
        return "" if each.confidence is None else known
    enough = each.confidence is not None and each.confidence >= each.threshold
    return f"{known} {'≥' if enough else '<'} {each.threshold:.3g}"


def age(each: Details) -> float:
    """Return for how many seconds a case has waited."""
    return engine.now() - each.ticket.created.timestamp()


def span(seconds: float) -> str:
    """Return a time in the largest unit that it fills."""
    if seconds < 0:
        return f"-{span(-seconds)}"
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
