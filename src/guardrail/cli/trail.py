"""`guardrail tail`: what was decided, as it happens or afterwards, one line each. Records may be hostile text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from guardrail import settings
from guardrail.cli.text import clean, console, say
from guardrail.ledger import reader, told
from guardrail.ledger.wanted import Record, wanted

_COLOURS: Final = {
    "answered": "green", "cached": "cyan", "stale": "cyan", "fallback": "yellow", "human": "blue", "deferred": "magenta",
    "refused": "red", "late": "red", "failed": "red", "cancelled": "dim",
}  # fmt: skip
_DECISIONS: Final = ("call", "row")
_OUTSIDE: Final = frozenset({"v", "seq", "prev", "host", "pid", "sdk", "origin", "service", "ts", "event", "id"})

_Guard = Annotated[list[str] | None, typer.Option("--guard", help="Only this guard; may be given again.")]
_Outcome = Annotated[list[str] | None, typer.Option("--outcome", help="Only this outcome; may be given again.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    from guardrail.cli.show import show  # it needs what is below

    app.command("tail")(tail)
    app.command("show")(show)


def tail(
    *,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes; end with Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many to begin with.")] = 20,
    guard: _Guard = None,
    outcome: _Outcome = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", help="This kind of event instead of calls, such as ticket; may be given again.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Show the latest decisions, one per line."""
    kinds = tuple(event) if event else _DECISIONS
    coming = reader.follow() if follow else None
    which = wanted(guard=guard, outcome=outcome, event=kinds)
    latest = [each.record for each in reader.stored(which, limit=lines, newest_first=True)] if lines else []
    note(told.tell("tail", which, len(latest), sync=True, follow=follow or None))  # once, whatever is still to come
    for record in reversed(latest):
        _print(record, as_json=as_json)
    if coming is None:
        if not latest and not as_json:
            say(f"Nothing of the kind is recorded in {clean(settings.home(create=False))}.")
        return
    shown = {record["id"] for record in latest}
    try:
        for fresh in coming:
            if fresh is not None and fresh["id"] not in shown and which.matches(fresh):
                _print(fresh, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def note(recorded: bool) -> None:
    """Tell on stderr that a reading is not recorded: the ledger may only be read, such as an auditor's copy."""
    if not recorded:
        console(stderr=True).print(
            "[dim]this reading could not be recorded: the ledger takes no records here[/dim]", soft_wrap=True
        )


def _print(record: Record, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(record))
    else:
        say(line(record))


def line(record: Record) -> str:
    """Return a record as one line in rich's markup, everything of the record made harmless."""
    when = f"[dim]{clean(local(record))}[/dim]"
    end = f"[dim]{clean(record.get('id', ''))}[/dim]"
    if record.get("event") not in _DECISIONS:
        what = " ".join(f"{clean(name)}={clean(value)}" for name, value in own(record).items())
        return f"{when}  [bold]{clean(record.get('event', '?')):<9}[/bold] {what}  {end}"
    outcome = str(record.get("outcome", "?"))
    colour = _COLOURS.get(outcome, "white")
    parts = [f"{when}  [{colour}]{clean(outcome):<9}[/{colour}] {clean(record.get('guard', '?'))}", *_facts(record), end]
    return "  ".join(parts)


def _facts(record: Record) -> Iterator[str]:
    """Yield what a person wants to know of a decision at a glance."""
    total = _of(record, "timings").get("total")
    if isinstance(total, int | float):
        yield f"{total * 1e3:.3g} ms"
    output = _of(record, "output")
    if "value" in output:
        yield f"→ {clean(short(output['value']))}"
    sure = record.get("confidence")
    if isinstance(sure, int | float):
        yield f"sure {sure:.3g}"
    elif sure is not None:
        yield f"sure {clean(sure)}"
    if record.get("mode") not in ("enforce", None):
        yield f"[yellow]{clean(record['mode'])}[/yellow]"
    error = _of(record, "error")
    if error:
        policy = f" by {clean(error['policy'])}" if error.get("policy") else ""
        yield f"{clean(str(error.get('type', '?')).removeprefix('guardrail.errors.'))}{policy}"
    attempts = record.get("attempts")
    if isinstance(attempts, int) and attempts > 1:
        yield f"{attempts} attempts"
    if record.get("late"):
        yield "[red]late[/red]"
    would = record.get("would")
    if isinstance(would, list) and would:
        yield f"[yellow]would: {clean(short('; '.join(map(str, would))))}[/yellow]"
    for name in ("business_id", "ticket"):
        if record.get(name):
            yield f"{name.replace('_', ' ')} {clean(record[name])}"


def own(record: Record) -> dict[str, Any]:
    """Return what is not the same in every record of its process."""
    return {name: value for name, value in record.items() if name not in _OUTSIDE}


def flat(found: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Yield what stands in a mapping, and in those within it, as pairs of a dotted name and a text."""
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        elif isinstance(value, list) and not any(isinstance(each, Mapping | list) for each in value):
            yield f"{before}{name}", " · ".join(map(str, value))
        else:
            yield f"{before}{name}", value if isinstance(value, str) else json.dumps(value)


def _of(record: Record, name: str) -> dict[str, Any]:
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def local(record: Record) -> str:
    """Return a record's moment as local time."""
    try:
        return datetime.fromisoformat(record["ts"]).astimezone().isoformat(sep=" ", timespec="milliseconds")
    except ValueError:
        return str(record["ts"])


def short(value: Any) -> str:
    """Return a value as a text that fits a line."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - what fits a line
