"""`guardrail review`: the review queue in a terminal. Whatever it shows may be hostile, and is made harmless first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from guardrail import clock
from guardrail import review as desk  # loads the store at the first use, so that `--help` need not
from guardrail.call import MISSING
from guardrail.cli.text import clean, emit, moment, say, table
from guardrail.errors import ConfigError
from guardrail.review import judge
from guardrail.review.case import Actor
from guardrail.review.dossier import Details

_SHORT: Final = 8  # characters of an id's end that tell it apart; its beginning is only the time
_LINE: Final = 80  # characters of JSON that stand on one line
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60))
_HEADS: Final = ("id", "age", "state", "queue", "guard", "reason", "confidence", "business id", "due in")

_Id = Annotated[str, typer.Argument(metavar="ID", help="The id, or a beginning or end of it that no other ticket has.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_By = Annotated[str | None, typer.Option("--by", help="Your name where it is not your user name; recorded as asserted.")]
_Value = Annotated[str | None, typer.Argument(metavar="VALUE", help="The answer; one of the choices, if there are any.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Cases that wait for a person: list them, look at one, decide it.")
    group.command("list")(list_tickets)
    group.command("show")(show)
    group.command("decide")(decide)
    group.command("cancel")(cancel)
    app.add_typer(group, name="review")


def list_tickets(
    *,
    queue: Annotated[str | None, typer.Option(help="Only this queue.")] = None,
    guard: Annotated[str | None, typer.Option(help="Only this guard.")] = None,
    state: Annotated[str, typer.Option(help="open, all, or one state, such as decided.")] = "open",
    business_id: Annotated[str | None, typer.Option(help="Only this matter.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most to show.")] = 50,
    as_json: _AsJson = False,
) -> None:
    """List tickets, the most urgent first."""
    wanted: Any = state  # whose words the desk knows
    found = desk.listing(queue, guard, wanted, limit, business_id)
    if as_json:
        emit([each.to_dict() for each in found])
        return
    if not found:
        say("No tickets." if state == "all" else f"No {clean(state)} tickets.")
        return
    shorts = _short([each.ticket.id for each in found])
    table(_HEADS, [_row(each, short) for each, short in zip(found, shorts, strict=True)])
    more = desk.count(queue, guard, wanted, business_id) - len(found)
    if more > 0:
        say(f"… and {more} more; --limit {limit + more} shows them all")


def show(part: _Id, *, as_json: _AsJson = False) -> None:
    """Show a case: what is asked, what the model said, which answers are allowed, what became of it."""
    each = desk.details(desk.resolve(part))
    if as_json:
        emit(each.to_dict())
        return
    ticket = each.ticket
    _facts(
        {
            "ticket": ticket.id,
            "state": f"{each.state}, filed {_span(_age(each))} ago in queue {ticket.queue}",
            "guard": f"{ticket.guard} {each.version}",
            "decision": ticket.decision_id,
            "business id": ticket.business_id,
            "reason": ", ".join((ticket.reason, *each.reasons)),
            "confidence": _sure(each) or None,
            "due": None if ticket.due is None else f"{moment(ticket.due.timestamp())}, then {each.on_expiry}",
            "owner": each.owner,
            "skills": ", ".join(each.skills) or None,
            "asked by": each.requester,
            "guide": each.guide,
        }
    )
    shown = each.arguments if each.shown is None else each.shown
    say("\n[bold]The case[/bold]")
    _facts(shown if isinstance(shown, Mapping) else {"shown": shown})
    if ticket.provisional is not None:
        say("\n[bold]The model's own answer[/bold]")
        _lines(ticket.provisional)
    for step in each.steps:
        who = "" if step.actor is None else f"by {step.actor.id} ({step.actor.known_by})"
        say(f"\n[bold]{clean(step.what.replace('_', ' ').capitalize())}[/bold] {clean(moment(step.at.timestamp()))} {clean(who)}")
        answer = {"answer": step.value} if step.verdict in ("accept", "change") else {}
        _facts({"verdict": step.verdict, "reason": step.reason, "note": step.note} | answer)
    if each.ending is None:
        allowed = "VALUE" if each.choices is None else "|".join(judge.spelled(choice) for choice in each.choices)
        accept = "" if ticket.provisional is None else " | --accept"
        say(f"\nTo decide it: guardrail review decide {ticket.id[-_SHORT:]} {clean(allowed)}{accept} | --reject")


def decide(
    part: _Id,
    value: _Value = None,
    *,
    accept: Annotated[bool, typer.Option("--accept", help="Take the model's own answer.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Refuse the model's answer and give no other.")] = False,
    json_value: Annotated[bool, typer.Option("--json-value", help="VALUE is JSON.")] = False,
    note: Annotated[str | None, typer.Option(help="Why, for the next reader.")] = None,
    by: _By = None,
) -> None:
    """Answer a case for good; whoever waits for it gets the answer.

    Without choices, VALUE is text where the model's own answer is text, else JSON.
    A VALUE that begins with a hyphen goes after `--`.
    """
    if (value is not None) + accept + reject != 1:
        raise ConfigError("a decision is exactly one thing", hint="write a VALUE, --accept or --reject")
    each, actor = desk.details(desk.resolve(part)), Actor.of(by)
    if accept or reject:
        ticket = desk.decide(each.ticket.id, actor=actor, note=note, verdict="accept" if accept else "reject")
    else:
        answer = MISSING if value is None else judge.from_words(each, value, as_json=json_value)
        ticket = desk.decide(each.ticket.id, answer, actor=actor, note=note)
    say(clean(f"decided {ticket.id} for {ticket.guard} by {actor.id} ({actor.known_by})"))


def cancel(part: _Id, *, reason: Annotated[str, typer.Option(help="Why; it stands in the ledger.")], by: _By = None) -> None:
    """Take a case out of the queue; whoever waits for it is told."""
    ticket = desk.cancel(desk.resolve(part), reason, by)
    say(clean(f"cancelled {ticket.id} for {ticket.guard}"))


def _row(each: Details, short: str) -> tuple[object, ...]:
    ticket = each.ticket
    due = "" if ticket.due is None else _span(ticket.due.timestamp() - clock.wall())
    what = (each.state, ticket.queue, ticket.guard, ticket.reason, _sure(each), ticket.business_id or "")
    return (short, _span(_age(each)), *what, due)


def _facts(facts: Mapping[str, Any]) -> None:
    width = max(map(len, facts), default=0)
    for name, fact in facts.items():
        if fact is not None:
            first, *more = _words(fact).splitlines() or [""]
            say(f"[dim]{clean(name)}[/dim]{' ' * (width - len(name))}  {clean(first)}")
            for line in more:
                say(f"{' ' * width}  {clean(line)}")


def _lines(value: Any) -> None:
    for line in _words(value).splitlines():
        say(clean(line))


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= _LINE else json.dumps(value, ensure_ascii=False, indent=2)


def _short(ids: Sequence[str]) -> list[str]:
    """Return the shortest endings that tell some ids apart, all of one length."""
    length = _SHORT
    while length < len(ids[0]) and len({each[-length:] for each in ids}) < len(ids):
        length += 1
    return [each[-length:] for each in ids]


def _sure(each: Details) -> str:
    sure = "?" if each.confidence is None else f"{each.confidence:.3g}"
    if each.threshold is None:
        return "" if each.confidence is None else sure
    enough = each.confidence is not None and each.confidence >= each.threshold
    return f"{sure} {'≥' if enough else '<'} {each.threshold:.3g}"


def _age(each: Details) -> float:
    return clock.wall() - each.ticket.created.timestamp()


def _span(seconds: float) -> str:
    if seconds < 0:
        return f"-{_span(-seconds)}"
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
