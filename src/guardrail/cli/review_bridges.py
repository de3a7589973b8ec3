"""Handing cases out to another tool from the command line, and taking the answers in."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from guardrail import review as desk
from guardrail.cli.review_text import AsJson
from guardrail.cli.text import clean, emit, reasons_told, say, table
from guardrail.errors import ConfigError


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command("hand-out")(hand_out)
    group.command("take-in")(take_in)


def hand_out(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Of this queue.")],
    *,
    to: Annotated[str, typer.Option("--to", help="label-studio or argilla.")],
    out: Annotated[Path, typer.Option("--out", help="The file of tasks, or for argilla the folder; it must not be there.")],
    guard: Annotated[str | None, typer.Option(help="Only this guard.")] = None,
    claim_for: Annotated[
        str | None, typer.Option("--for", help="Who will answer: the cases are claimed for them. Without it, for anybody.")
    ] = None,
    lease: Annotated[str, typer.Option(help="With --for: how long they have them.")] = "1d",
    blind: Annotated[bool, typer.Option("--blind", help="Hide the model's answer.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="The most to hand out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write cases that wait into files for another tool. Exit code 1 if there is none. It is recorded."""
    tool: Any = to  # whose words the desk knows
    with reasons_told():
        done = desk.hand_out(out, queue, tool, guard=guard, actor=claim_for, lease=lease, blind=blind, limit=limit)
    if as_json:
        emit({"tickets": done.tickets, "left": done.left, "paths": [str(path) for path in done.paths]})
    else:
        say(clean(f"{len(done.tickets)} cases in {', '.join(map(str, done.paths))}" if done.tickets else "Nothing waits."))
        if done.left:
            say(f"{done.left} others are answered in another form: decide these first, or narrow it down by --guard")
    if not done.tickets:
        raise typer.Exit(1)


def take_in(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The JSON that the tool exported.")],
    *,
    source: Annotated[str, typer.Option("--from", help="label-studio or argilla.")],
    person: Annotated[
        list[str] | None, typer.Option(help="Who a user of the tool is here, as ID=NAME or E-MAIL=NAME; may be given again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide cases by the answers in a file; the same file may be taken in again. Exit code 1 if an answer was not taken."""
    tool: Any = source
    people = [each.rpartition("=") for each in person or ()]
    if not all(key and name for key, _, name in people):
        raise ConfigError("--person says who is who", hint='write --person 3=anna, or --person "ann@bank.example=anna"')
    from guardrail.review.answering import FINE

    with reasons_told():
        found = desk.take_in(path, tool, people={key: name for key, _, name in people})
    if as_json:
        names = ("ticket_id", "person", "outcome", "problem", "said")
        emit([{name: getattr(each, name) for name in names} for each in found])
    else:
        counts = Counter(each.outcome for each in found)
        say(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "There are no answers in it.")
        rows = [(each.ticket_id or "", each.person or "", each.outcome, each.problem or "") for each in found]
        wrong = [row for row in rows if row[2] not in FINE]
        if wrong:
            table(("case", "person", "", "why"), wrong)
    if any(each.outcome not in FINE for each in found):
        raise typer.Exit(1)
