"""`guardrail audit search`, `reindex` and `export`: find records, and take them out in other forms."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from guardrail import clock, settings
from guardrail.cli.text import clean, console, emit, fail, say, table
from guardrail.cli.trail import local, note, short
from guardrail.errors import ConfigError
from guardrail.ledger import reader, told
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.wanted import Record, actor_of, wanted

_HEADS: Final = ("when", "what", "guard", "who", "business id", "answer", "id")

_Ids = Annotated[list[str] | None, typer.Option("--id", help="This id; may be given again.")]
_Business = Annotated[str | None, typer.Option("--business-id", help="Your own key of the case.")]
_Guard = Annotated[list[str] | None, typer.Option("--guard", help="Only this guard; may be given again.")]
_Actor = Annotated[list[str] | None, typer.Option("--actor", help="Who asked or acted; may be given again.")]
_Outcome = Annotated[list[str] | None, typer.Option("--outcome", help="Only this outcome; may be given again.")]
_Event = Annotated[list[str] | None, typer.Option("--event", help="Only this kind of event; may be given again.")]
_Subject = Annotated[
    list[str] | None, typer.Option("--subject", help="The person it is about, by id or by digest; may be given again.")
]
_Since = Annotated[str | None, typer.Option("--since", help="From this moment on: 2026-01-31, or how long ago: 12h, 30d.")]
_Until = Annotated[str | None, typer.Option("--until", help="Before this moment, spelled likewise.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(audit: typer.Typer) -> None:
    """Add the commands of this module."""
    audit.command("search")(search)
    audit.command("reindex")(reindex)
    audit.command("export")(export)


def search(
    *,
    ids: _Ids = None,
    business_id: _Business = None,
    guard: _Guard = None,
    actor: _Actor = None,
    outcome: _Outcome = None,
    event: _Event = None,
    subject: _Subject = None,
    since: _Since = None,
    until: _Until = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many at most.")] = 50,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="The oldest first instead of the latest.")] = False,
    as_json: _Json = False,
) -> None:
    """Find records: by id, business id, guard, actor, outcome, event, person and time."""
    which = wanted(
        ids=ids, business_id=business_id, guard=guard, actor=actor, outcome=outcome, event=event, subject=subject, since=since,
        until=until,
    )  # fmt: skip
    asked = reader.stored(which, limit=limit + 1, newest_first=not oldest_first, indexed=True)
    found = [each.record for each in asked]
    more, found = len(found) > limit, found[:limit]
    recorded = told.tell("search", which, len(found), sync=True, limit=limit if more else None)
    if as_json:
        emit({"records": found, "more": more})
    elif not found:
        say(f"No such record in {clean(settings.home(create=False))}.")
    else:
        table(_HEADS, [_row(each) for each in found])
        if more:
            say(f"… and more; -n {limit * 10} shows further ones. See one with: guardrail show ID")
    note(recorded)


def reindex(*, as_json: _Json = False) -> None:
    """Make the search index anew from the segments; it holds nothing that they do not."""
    from guardrail.ledger.index import FILE, Index

    home = settings.home(create=False)
    if not (home / FOLDER).is_dir():
        raise fail(f"there is no ledger in {home}", 1)
    index = Index(home)
    began = clock.now()
    index.renew(_progress if sys.stderr.isatty() and not as_json else None)
    count, size = index.count(), (home / FOLDER / FILE).stat().st_size
    if as_json:
        emit({"records": count, "bytes": size, "seconds": round(clock.now() - began, 3)})
    else:
        say(f"{count:,} records are indexed ({size / 2**20:.1f} MiB, {clock.now() - began:.1f} s)")


def export(
    *,
    form: Annotated[
        str, typer.Option("--format", help="jsonl (as stored), csv, cloudevents, ocsf or parquet.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="The file to write.", show_default=False)],
    ids: _Ids = None,
    business_id: _Business = None,
    guard: _Guard = None,
    actor: _Actor = None,
    outcome: _Outcome = None,
    event: _Event = None,
    subject: _Subject = None,
    since: _Since = None,
    until: _Until = None,
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, help="How many at most.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: _Json = False,
) -> None:
    """Write records into a file of another form; the export itself is recorded, with the file's digest."""
    from guardrail.ledger import export as exports

    which = wanted(
        ids=ids, business_id=business_id, guard=guard, actor=actor, outcome=outcome, event=event, subject=subject, since=since,
        until=until,
    )  # fmt: skip
    if not out.parent.is_dir():
        raise ConfigError(f"there is no folder {out.parent}", hint="make it first")
    made = exports.export(which, form, out, limit=limit, replace=force)
    if as_json:
        emit(
            {
                "path": str(made.path),
                "records": made.records,
                "bytes": made.size,
                "sha256": made.sha256,
                "recorded": made.recorded,
            }
        )
    else:
        say(f"{made.records:,} records are in {clean(made.path)} ({made.size:,} bytes)")
        say(f"sha256 {made.sha256}")
    note(made.recorded)


def _row(record: Record) -> tuple[str, ...]:
    output = record.get("output")
    answer = short(output["value"]) if isinstance(output, dict) and "value" in output else ""
    what = record.get("outcome") or record.get("event") or "?"
    return tuple(
        str(each)
        for each in (
            local(record),
            what,
            record.get("guard", ""),
            actor_of(record) or "",
            record.get("business_id", ""),
            answer,
            record["id"],
        )
    )


def _progress(records: int) -> None:
    console(stderr=True).print(f"[dim]{records:,} records[/dim]", end="\r")
