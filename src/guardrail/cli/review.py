"""`guardrail review`: the review queue in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from guardrail import review as desk
from guardrail.cli import review_bridges, review_session, review_work
from guardrail.cli.review_text import SHORT, AsJson, Id, age, draw, span, sure
from guardrail.cli.text import clean, emit, say, table
from guardrail.review.dossier import Details
from guardrail.store import engine

_HEADS: Final = ("id", "age", "state", "queue", "guard", "reason", "confidence", "business id", "due in")


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(
        invoke_without_command=True,
        help="Cases that wait for a person. Without a command: work on them, one at a time, by keys.",
    )
    group.callback()(review_session.work)
    group.command("list")(list_tickets)
    group.command("show")(show)
    review_work.register(group)
    review_bridges.register(group)
    app.add_typer(group, name="review")


def list_tickets(
    *,
    queue: Annotated[str | None, typer.Option(help="Only this queue.")] = None,
    guard: Annotated[str | None, typer.Option(help="Only this guard.")] = None,
    state: Annotated[str, typer.Option(help="open, all, or one state, such as decided.")] = "open",
    business_id: Annotated[str | None, typer.Option(help="Only this matter.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most to show.")] = 50,
    as_json: AsJson = False,
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


def show(part: Id, *, as_json: AsJson = False) -> None:
    """Show a case: what is asked, what the model said, which answers are allowed, what became of it."""
    each = desk.details(desk.resolve(part))
    if as_json:
        emit(each.to_dict())
    else:
        draw(each)


def _row(each: Details, short: str) -> tuple[object, ...]:
    ticket = each.ticket
    due = "" if ticket.due is None else span(ticket.due.timestamp() - engine.now())
    what = (each.state, ticket.queue, ticket.guard, ticket.reason, sure(each), ticket.business_id or "")
    return (short, span(age(each)), *what, due)


def _short(ids: Sequence[str]) -> list[str]:
    """Return the shortest endings that tell some ids apart, all of one length."""
    length = SHORT
    while length < len(ids[0]) and len({each[-length:] for each in ids}) < len(ids):
        length += 1
    return [each[-length:] for each in ids]
