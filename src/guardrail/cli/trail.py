"""`guardrail tail` and `guardrail show`: what was decided, as it happens or afterwards. Records may be hostile text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from guardrail import settings
from guardrail.cli.text import clean, emit, fail, say, table
from guardrail.ledger import reader
from guardrail.ledger.reader import Record

_COLOURS: Final = {
    "answered": "green", "cached": "cyan", "stale": "cyan", "fallback": "yellow", "human": "blue", "deferred": "magenta",
    "refused": "red", "late": "red", "failed": "red", "cancelled": "dim",
}  # fmt: skip
_DECISIONS: Final = ("call", "row")
_OUTSIDE: Final = frozenset({"v", "seq", "host", "pid", "sdk", "origin", "service", "ts", "event", "id"})
_INNER_SHOWN: Final = 50

_Guard = Annotated[list[str] | None, typer.Option("--guard", help="Only this guard; may be given again.")]
_Outcome = Annotated[list[str] | None, typer.Option("--outcome", help="Only this outcome; may be given again.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
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
    latest = list(reader.read(guard=guard, outcome=outcome, event=kinds, limit=lines, newest_first=True)) if lines else []
    for record in reversed(latest):
        _print(record, as_json=as_json)
    if coming is None:
        if not latest and not as_json:
            say(f"Nothing of the kind is recorded in {clean(settings.home(create=False))}.")
        return
    shown = {record["id"] for record in latest}
    try:
        for fresh in coming:
            if fresh is not None and fresh["id"] not in shown and _wanted(fresh, kinds, guard, outcome):
                _print(fresh, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _wanted(record: Record, kinds: Sequence[str], guard: Sequence[str] | None, outcome: Sequence[str] | None) -> bool:
    return (
        record.get("event") in kinds
        and (guard is None or record.get("guard") in guard)
        and (outcome is None or record.get("outcome") in outcome)
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
        what = " ".join(f"{clean(name)}={clean(value)}" for name, value in _own(record).items())
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
        yield f"→ {clean(_short(output['value']))}"
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
        yield f"[yellow]would: {clean(_short('; '.join(map(str, would))))}[/yellow]"
    for name in ("business_id", "ticket"):
        if record.get(name):
            yield f"{name.replace('_', ' ')} {clean(record[name])}"


def show(
    what: Annotated[str, typer.Argument(metavar="ID", help="A decision's id, the beginning of one, or a business id.")],
    *,
    guard: Annotated[str | None, typer.Option("--guard", help="For a business id: only this guard.")] = None,
    as_json: _Json = False,
) -> None:
    """Tell the whole story of one decision: the record, what happened inside and afterwards, and the plan in force."""
    record = reader.find(what)
    others: list[Record] = []
    if record is None:
        same = reader.find_business(what, guard)
        if not same:
            raise fail("no record has this id or business id; `guardrail tail` shows the latest", 1)
        record, others = same[0], same[1:]
    inner, after, plan = _around(record)
    if as_json:
        emit({"record": record, "inner": inner, "events": after, "plan": plan, "others": [each["id"] for each in others]})
        return
    say(line(record))
    table(("field", "value"), list(_flat(_own(record))))
    if inner:
        say("[bold]within it[/bold]")
        for each in inner[:_INNER_SHOWN]:
            say(f"  {line(each)}")
        if len(inner) > _INNER_SHOWN:
            say(f"  … and {len(inner) - _INNER_SHOWN} more; --json gives all")
    if after:
        say("[bold]what names it[/bold]")
        for each in after:
            say(f"  {line(each)}")
    if plan is not None:
        say("[bold]the plan in force[/bold]")
        table(("option", "value"), list(_flat(plan)))
    if others:
        say(f"[bold]{len(others)} earlier decisions about the same[/bold]")
        for each in others[:_INNER_SHOWN]:
            say(f"  {line(each)}")


def _around(record: Record) -> tuple[list[Record], list[Record], dict[str, Any] | None]:
    """Return what happened inside a decision, the events that name it or its ticket, and its plan as it was spelled out."""
    own = record["id"]
    texts = {str(each) for each in (own, record.get("ticket"), record.get("plan")) if each}
    inner: list[Record] = []
    after: list[Record] = []
    plan: dict[str, Any] | None = None
    for each in reader.mentions(texts):
        if each.get("event") == "config":
            if each.get("plan") == record.get("plan") and each.get("guard") == record.get("guard"):
                plan = _of(each, "spelled")
        elif each["id"] == own:
            continue
        elif each.get("event") in _DECISIONS:
            if each.get("parent") == own:
                inner.append(each)
        elif texts.intersection(_texts(each)):
            after.append(each)
    return inner, after, plan


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _own(record: Record) -> dict[str, Any]:
    """Return what is not the same in every record of its process."""
    return {name: value for name, value in record.items() if name not in _OUTSIDE}


def _flat(found: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
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


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - what fits a line
