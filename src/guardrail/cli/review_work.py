"""Working on cases from the command line: claim, decide, give back, hand on; who reviews; what time has left to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from guardrail import review as desk
from guardrail.call import MISSING
from guardrail.cli.review_text import AsJson, By, Id, draw, span
from guardrail.cli.text import clean, emit, moment, reasons_told, say, table
from guardrail.errors import ConfigError
from guardrail.review import judge
from guardrail.review.case import Actor, Verdict

_Value = Annotated[str | None, typer.Argument(metavar="VALUE", help="The answer; one of the choices, if there are any.")]
_Queue = Annotated[str | None, typer.Option(help="Only this queue.")]
_Token = Annotated[str, typer.Argument(metavar="TOKEN", help="Of your claim, as `review claim` printed it.")]
_Lease = Annotated[str, typer.Option(help="How long you have it.")]

_LOAD: Final = ("reviewer", "answers", "95 %")


def register(group: typer.Typer) -> None:
    """Add the commands."""
    for verb in (claim, decide, extend, release, decline, reassign, cancel, stats, quality, plant, export, tick, reply):
        group.command(verb.__name__)(verb)
    people = typer.Typer(no_args_is_help=True, help="Who reviews, and which roles and skills they have.")
    people.command("list")(people_list)
    people.command("set")(people_set)
    people.command("remove")(people_remove)
    group.add_typer(people, name="people")


def claim(
    part: Annotated[str | None, typer.Argument(metavar="[ID]", help="A certain case, in place of the most urgent one.")] = None,
    *,
    queue: _Queue = None,
    by: By = None,
    lease: _Lease = "10m",
    blind: Annotated[bool, typer.Option("--blind", help="Hide the model's answer.")] = False,
    take_over: Annotated[bool, typer.Option("--take-over", help="With ID: take it from whoever is at work on it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a case, so that nobody else works on it meanwhile. Exit code 1 if there is none for you."""
    ticket_id = None if part is None else desk.resolve(part)
    found = desk.claim(queue, ticket_id=ticket_id, actor=by, lease=lease, blind=blind, take_over=take_over)
    if found is None:
        if as_json:
            emit(None)
        else:
            say("Nothing waits for you.")
        raise typer.Exit(1)
    if as_json:
        emit({"token": found.token, "lease_until": found.lease_until.isoformat(), "case": found.details.to_dict()})
        return
    draw(found.details)
    say(f"\n[bold]Yours until[/bold] {clean(moment(found.lease_until.timestamp()))}, with the token {found.token}")


def decide(
    part: Id,
    value: _Value = None,
    *,
    accept: Annotated[bool, typer.Option("--accept", help="Take the model's own answer.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="Refuse the model's answer and give no other.")] = False,
    unsure: Annotated[bool, typer.Option("--unsure", help="Leave it to another person.")] = False,
    json_value: Annotated[bool, typer.Option("--json-value", help="VALUE is JSON.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why, as a code, such as model_error.")] = None,
    note: Annotated[str | None, typer.Option(help="Why, for the next reader.")] = None,
    by: By = None,
    token: Annotated[str | None, typer.Option(help="Of your claim; without it the case is claimed and decided at once.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a case. Where one person is asked that is the decision, and whoever waits for it gets it.

    Without choices, VALUE is text where the model's own answer is text, else JSON.
    A VALUE that begins with a hyphen goes after `--`.
    """
    if (value is not None) + accept + reject + unsure != 1:
        raise ConfigError("a decision is exactly one thing", hint="write a VALUE, --accept, --reject or --unsure")
    each, actor = desk.details(desk.resolve(part)), Actor.of(by)
    answer = MISSING if value is None else judge.from_words(each, value, as_json=json_value)
    verdict: Verdict | None = "accept" if accept else "reject" if reject else "unsure" if unsure else None
    ticket = desk.decide(each.ticket.id, answer, verdict=verdict, reason=reason, note=note, actor=actor, token=token)
    state = ticket.state
    if as_json:
        emit({"ticket": ticket.id, "state": state})
    elif state == "decided":
        say(clean(f"decided {ticket.id} for {ticket.guard} by {actor.id} ({actor.known_by})"))
    else:
        say(clean(f"noted for {ticket.id}; it goes to another person ({state})"))


def extend(token: _Token, *, lease: _Lease = "10m") -> None:
    """Have a case for longer."""
    say(clean(f"yours until {moment(desk.extend(token, lease).timestamp())}"))


def release(token: _Token) -> None:
    """Give a case back to the queue."""
    desk.release(token)
    say("released")


def decline(
    token: _Token,
    *,
    reason: Annotated[str, typer.Option(help="conflict_of_interest, not_my_field, or a code as for `decide`.")],
    note: Annotated[str | None, typer.Option(help="Why, for the next reader.")] = None,
) -> None:
    """Give a case back that you cannot or may not decide; you are not handed it again."""
    desk.decline(token, reason, note)
    say("declined")


def reassign(
    part: Id,
    *,
    to: Annotated[str | None, typer.Option("--to", help="Who gets it; without it, whoever comes next.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it stands in the ledger.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Take a case from whoever is at work on it, and give it to somebody else."""
    made = desk.reassign(desk.resolve(part), to=to, reason=reason, actor=by)
    if as_json:
        emit(None if made is None else {"to": made.actor.id, "token": made.token, "lease_until": made.lease_until.isoformat()})
        return
    say("it waits in the queue again" if made is None else clean(f"{made.actor.id} has it, with the token {made.token}"))


def cancel(part: Id, *, reason: Annotated[str, typer.Option(help="Why; it stands in the ledger.")], by: By = None) -> None:
    """Take a case out of the queue; whoever waits for it is told."""
    ticket = desk.cancel(desk.resolve(part), reason, by)
    say(clean(f"cancelled {ticket.id} for {ticket.guard}"))


def stats(
    *,
    queue: _Queue = None,
    guard: Annotated[str | None, typer.Option(help="Of reasons: only this guard.")] = None,
    by: Annotated[str | None, typer.Option(metavar="FIELD", help="Of reasons: by a field of the cases, such as income.")] = None,
    since: Annotated[str, typer.Option(help="Of reasons: how far back to look.")] = "30d",
    as_json: AsJson = False,
) -> None:
    """Tell how the queue stands: what waits, what was decided in the last day, by whom, how fast; and why people decided otherwise."""
    found, why = desk.stats(queue), desk.overridden(queue, guard, by=by, since=since)
    if as_json:
        emit({**found, "overridden": why.to_dict()})
        return
    day = found["last_day"]
    waits = ", ".join(f"{count} {state}" for state, count in found["open"].items())
    oldest = "" if found["oldest_seconds"] is None else f", the oldest for {span(found['oldest_seconds'])}"
    say(f"open        {waits}{oldest}")
    say(f"overdue     {found['overdue']}")
    if found["unclaimable"]:
        say(
            f"[yellow]unclaimable {found['unclaimable']} wait for a role that nobody has who may decide them: `guardrail review people set`[/yellow]"
        )
    if found["without_senior"]:
        say(
            f"[yellow]appeals     {found['without_senior']} wait for anybody who had no part in the decision: nobody else had the role senior[/yellow]"
        )
    decided = ", ".join(f"{count} {clean(verdict)}" for verdict, count in day["decided"].items()) or "0"
    say(f"last day    {day['filed']} filed; decided: {decided}; {day['expired']} expired, {day['cancelled']} cancelled")
    for name, times in (("to decide", day["seconds_to_decide"]), ("of work", day["seconds_of_work"])):
        if times["p50"] is not None:
            say(f"time {name:<10} half within {span(times['p50'])}, 95 % within {span(times['p95'])}")
    if day["by_reviewer"]:
        table(_LOAD, _by_reviewer(day["by_reviewer"]))
    if why.slices:
        say(f"\n[bold]why people decided otherwise[/bold] [dim]in {clean(since)}, of {why.cases:,} answers[/dim]")
        table(("guard", by or "slice", "answers", "reason", "share", "95 %"), why.rows())
    for note in why.notes:
        say(f"[dim]{clean(note)}[/dim]")


def quality(
    *, queue: _Queue = None, guard: Annotated[str | None, typer.Option(help="Only this guard.")] = None, as_json: AsJson = False
) -> None:
    """Tell how well people and model do: what was accepted, why it was changed, how far people agree, what checks found."""
    found = desk.quality(queue, guard)
    if as_json:
        emit(found)
        return
    say(f"answers     {found['decided']}")
    names = (
        ("accepted", "accepted"),
        ("blind", "accepted_blind"),
        ("gold found", "gold"),
        ("wrong", "wrong"),
        ("too fast", "fast"),
        ("unsure", "unsure"),
    )
    for name, key in names:
        each = found[key]
        if each["value"] is not None:
            say(f"{name:<11} {each['value']:.1%}  [dim]{each['low']:.1%} to {each['high']:.1%}, of {each['cases']}[/dim]")
    for name, each in found["agreement"].items():
        if each["value"] is not None:
            say(f"{name:<11} {each['value']:.2f}  [dim]{each['low']:.2f} to {each['high']:.2f}, of {each['cases']} cases[/dim]")
    if found["reasons"]:
        table(("reason", "answers"), list(found["reasons"].items()))
    if found["load"]:
        table(_LOAD, _by_reviewer(found["load"]))
    if found["pace"]["groups"]:
        times = desk.pace(queue, guard)
        say("\n[bold]how long decisions took[/bold]")
        table(("queue, guard", "reviewer", "timed", "median", "far faster", "far slower"), times.rows())
        say(f"[dim]{clean(times.hint)}[/dim]")


def plant(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Into this queue.")],
    *,
    guard: Annotated[str | None, typer.Option(help="Only this guard.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many; by default one for each twenty that wait.")] = None,
    wrong: Annotated[float, typer.Option(min=0, max=1, help="The share in which the model's own answer is wrong.")] = 0.5,
    agreed: Annotated[int, typer.Option(min=1, help="How many people must have agreed on a decided case.")] = 2,
    given: Annotated[
        Path | None, typer.Option("--from", help="Cases of your own: JSON lines with arguments and expected.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plant cases whose answer is known among those that wait; `review quality` tells how many of them people get right."""
    own = None
    if given is not None:
        with reasons_told():
            lines = given.read_bytes().splitlines()
        try:
            own = [orjson.loads(line) for line in lines if line.strip()]
        except orjson.JSONDecodeError:
            raise ConfigError(
                f"{given} does not hold a JSON object on each line",
                hint='write one on each line, such as {"arguments": {…}, "expected": "approve"}',
            ) from None
    done = desk.plant(queue, own, guard=guard, count=count, wrong=wrong, agreed=agreed)
    if as_json:
        emit(done._asdict())
    else:
        say(f"{done.planted} planted among {done.waiting} that wait; in {done.wrong} the model's own answer is wrong")


def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not be there.")],
    *,
    form: Annotated[str, typer.Option("--format", help="jsonl, or parquet (the extra `parquet`).")] = "jsonl",
    queue: _Queue = None,
    guard: Annotated[str | None, typer.Option(help="Only this guard.")] = None,
) -> None:
    """Write labelled data for training, with where each label comes from and a split that does not leak. It is recorded."""
    wanted: Any = form  # whose words the export knows
    with reasons_told():
        count = desk.export_labelled(out, wanted, guard=guard, queue=queue)
    say(clean(f"{count} labels in {out}"))


def _by_reviewer(load: Mapping[str, Mapping[str, float]]) -> list[tuple[str, str, str]]:
    return [(name, f"{each['cases']:,}", f"{each['low']:,.1f} to {each['high']:,.1f}") for name, each in load.items()]


def tick(*, as_json: AsJson = False) -> None:
    """Do what time has left to do: deadlines, reminders, levels, callbacks. Processes that file cases do it by themselves."""
    done = desk.tick()
    if as_json:
        emit(done._asdict())
    else:
        say(", ".join(f"{count} {name}" for name, count in done._asdict().items()))


def reply(part: Id) -> None:
    """Print what the person who appealed is told."""
    say(clean(desk.reply(desk.resolve(part))))


def people_list(*, as_json: AsJson = False) -> None:
    """List who reviews."""
    found = desk.people.listing()
    if as_json:
        emit([{"name": each.name, "roles": each.roles, "skills": each.skills} for each in found])
    elif found:
        table(("name", "roles", "skills"), [(each.name, ", ".join(each.roles), ", ".join(each.skills or ())) for each in found])
    else:
        say("Nobody is named: whoever asks may review what needs no role.")


def people_set(
    name: str,
    *,
    role: Annotated[
        list[str] | None, typer.Option(help="What they may decide beyond what is open to all; may be given again.")
    ] = None,
    skill: Annotated[list[str] | None, typer.Option(help="What they know; may be given again.")] = None,
) -> None:
    """Say which roles and skills a person has; what was said before is forgotten."""
    made = desk.people.set(name, roles=role or (), skills=skill or ())
    say(clean(f"{made.name}: roles {', '.join(made.roles) or 'none'}; skills {', '.join(made.skills or ()) or 'none'}"))


def people_remove(name: str) -> None:
    """Forget a person's roles and skills."""
    say("removed" if desk.people.remove(name) else "there is nobody of that name")
