"""`guardrail audit prune`, `compress`, `hold`, `release` and `holds`: how long records are kept, and what keeps them longer."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from guardrail import settings
from guardrail.cli.text import clean, emit, fail, reasons_told, say, table

_By = Annotated[str | None, typer.Option("--by", help="Your name where it is not your user name; recorded as asserted.")]
_Reason = Annotated[str, typer.Option("--reason", help="Why; it stands in the ledger.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(audit: typer.Typer) -> None:
    """Add the commands of this group."""
    audit.command("prune")(prune)
    audit.command("compress")(compress)
    audit.command("hold")(hold)
    audit.command("release")(release)
    audit.command("holds")(holds)


def prune(
    *,
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="180d, 26w, 7y or a profile; else GUARDRAIL_RETENTION, and never less.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    by: _By = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why, where it is not just time; it stands in the ledger.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Prune records that are older than the retention: whole segments, or the oldest rows of a database, that verify and that nothing holds.

    A signed record says what went; every later proof goes on. Exit code 1 where something is due and does not verify.
    """
    from guardrail.ledger import retention

    with reasons_told():
        done = retention.prune(older_than, dry_run=dry_run, by=by, reason=reason)
    if as_json:
        emit(done.to_dict())
    else:
        _show(done)
    if done.problems:
        raise fail("something is due to be pruned and stays: guardrail audit verify says what is wrong with it", 1)


def _show(done: Any) -> None:
    say(
        f"[bold]{'would be pruned' if done.dry_run else 'pruned'}[/bold]: {done.records:,} records in {done.segments:,} segments"
        f" ({done.bytes / 2**20:,.1f} MiB), {done.blobs:,} blobs; all made before {clean(done.before)}"
    )
    if done.elsewhere:
        say(f"{done.elsewhere:,} files with the content of long records are on other hosts, and stay there")
    if done.ranges:
        heads = ("lane", "from", "upto", "recorded as")
        table(heads, [(each["lane"], each["from"], each["upto"], each["id"] or "") for each in done.ranges])
    if done.kept:
        table(("kept in lane", "from", "by"), [(each["lane"], each["first"], each["why"]) for each in done.kept])
    for problem in done.problems:
        say(f"[red]not touched[/red] {clean(problem)}")


def compress(
    *,
    older_than: Annotated[str, typer.Option("--older-than", help="How long ago a segment was written last.")] = "1d",
    as_json: _Json = False,
) -> None:
    """Compress closed segments now; they also are in the background, unless GUARDRAIL_COMPRESS=false."""
    from guardrail import clock
    from guardrail.ledger.compress import compress as do

    with reasons_told():
        done = do(settings.home(create=False), older_than=clock.seconds(older_than, "--older-than", zero=True))
    if as_json:
        emit({"segments": done.segments, "before": done.before, "after": done.after, "problems": done.problems})
    else:
        ratio = f", {done.before / done.after:.1f} to 1" if done.after else ""
        say(f"compressed {done.segments:,} segments: {done.before / 2**20:,.1f} MiB to {done.after / 2**20:,.1f}{ratio}")
        for each in done.problems:
            say(f"[red]left as it is[/red] {clean(each)}")
    if done.problems:
        raise typer.Exit(1)


def hold(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of your own, by which it is released.")],
    *,
    reason: _Reason,
    guard: Annotated[str | None, typer.Option("--guard", help="Only records of this guard.")] = None,
    subject: Annotated[
        str | None,
        typer.Option("--subject", help="Only records about this person, by their own id; - reads it from standard input."),
    ] = None,
    business_id: Annotated[str | None, typer.Option("--business-id", help="Only records about this.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="Only from this moment on: a date, or how long ago.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Only before this moment.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every record.")] = False,
    by: _By = None,
    as_json: _Json = False,
) -> None:
    """Place a legal hold: what it names is neither pruned nor erased until it is released."""
    import sys

    from guardrail.ledger import holds as ledger_holds

    who = sys.stdin.readline().rstrip("\r\n") if subject == "-" else subject
    with reasons_told():
        placed = ledger_holds.hold(
            name, reason=reason, by=by, guard=guard, subject=who, business_id=business_id, since=since, until=until,
            everything=everything,
        )  # fmt: skip
    if as_json:
        emit(placed.to_dict())
    else:
        say(f"held: {clean(placed.name)}, {_what(placed.what)}")


def release(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The hold's.")],
    *,
    reason: _Reason,
    by: _By = None,
    as_json: _Json = False,
) -> None:
    """End a legal hold."""
    from guardrail.ledger import holds as ledger_holds

    with reasons_told():
        ended = ledger_holds.release(name, reason=reason, by=by)
    if as_json:
        emit(ended.to_dict())
    else:
        say(f"released: {clean(ended.name)}, placed by {clean(ended.by)} at {clean(ended.since)}")


def holds(*, as_json: _Json = False) -> None:
    """List the legal holds that are in force."""
    from guardrail.ledger import holds as ledger_holds

    with reasons_told():
        found = ledger_holds.holds()
    if as_json:
        emit([each.to_dict() for each in found])
        return
    rows = [(each.name, _plain(each.what), each.by, each.since, each.reason) for each in found]
    table(("hold", "keeps", "by", "since", "reason"), rows)


def _what(what: dict[str, Any]) -> str:
    return clean(_plain(what))


def _plain(what: dict[str, Any]) -> str:
    said = (f"{name} {', '.join(each) if isinstance(each, list) else each}" for name, each in what.items())
    return "; ".join(said) or "every record"
