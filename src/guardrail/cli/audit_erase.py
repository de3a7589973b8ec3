"""`guardrail audit erase`, `subjects` and `unseal`: what is kept of people, and its lawful end."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated, Any

import typer

from guardrail.cli.text import clean, emit, fail, say, table
from guardrail.errors import ConfigError

_By = Annotated[str | None, typer.Option("--by", help="Your name where it is not your user name; recorded as asserted.")]
_Reason = Annotated[str | None, typer.Option("--reason", help="Why; it stands in the ledger.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(audit: typer.Typer) -> None:
    """Add the commands of this group."""
    audit.command("erase")(erase)
    audit.command("subjects")(subjects)
    audit.command("unseal")(unseal)


def erase(
    *,
    subject: Annotated[str, typer.Option("--subject", help="The person's own id; - reads it from standard input.")],
    reason: _Reason = None,
    by: _By = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what there is.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Erase a data subject for good: destroy its key, clear tickets, drafts, spool, labels and shared cache.

    The records stay, and every proof still verifies; what was sealed in them can no longer be read, here or in any copy.
    """
    from guardrail.ledger.erasure import erase as do

    who = sys.stdin.readline().rstrip("\r\n") if subject == "-" else subject
    done = do(who, reason=reason, by=by, dry_run=dry_run)
    if as_json:
        emit(done.to_dict())
    else:
        _show(done)
    if done.undone:
        raise fail("not everything could be done now: erase the subject again", 1)


def _show(done: Any) -> None:
    say(
        f"[bold]{'this would be erased' if done.dry_run else 'erased'}[/bold] subject {clean(done.subject or 'that nothing is known of')}"
    )
    rows = [
        ("keys", done.keys, "destroyed"),
        ("records", done.records, "stay; what was sealed in them cannot be read any more"),
        ("blobs", done.blobs, "as the records"),
        ("tickets", done.tickets, "cleared; open ones cancelled"),
        ("labels", done.labels, "cleared"),
        ("spool", done.spool, "cleared"),
        ("shared cache", done.cache, "deleted"),
    ]
    table(("what", "how many", ""), rows)
    for name, sink in done.left.items():
        count = f"{sink['records']} records" if "records" in sink else "records"
        if sink.get("waiting"):
            say(f"{sink['waiting']} records are on their way to the sink {clean(name)}, sealed for ever where they were sealed")
        say(
            f"{clean(count)} have left through the sink {clean(name)} to {clean(sink.get('to', ''))}: what is not sealed must be deleted there"
        )
    for each in done.undone:
        say(f"[red]not done[/red] {clean(each)}")
    if done.id is not None:
        say(f"recorded as {clean(done.id)}")


def subjects(
    *,
    count: Annotated[bool, typer.Option("--count", help="Only the number of subjects that have a key.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Say how many people have a key, and how many were erased."""
    from guardrail.ledger.subjects import keys

    found = keys().counts()
    if as_json:
        emit(found._asdict())
    elif count:
        typer.echo(found.living)
    else:
        table(
            ("subjects", "how many"),
            [("with a key", found.living), ("erased", found.erased), ("erased, not recorded yet", found.untold)],
        )


def unseal(
    what: Annotated[str, typer.Argument(metavar="ID", help="A record's id, or the beginning of one.")],
    *,
    reason: _Reason = None,
    by: _By = None,
) -> None:
    """Show a record with what was sealed in it, as JSON; that it was read is recorded first."""
    from guardrail.ledger.unsealing import unseal as do
    from guardrail.principal import acting_as

    try:
        with acting_as(by) if by is not None else contextlib.nullcontext():
            emit(do(what, reason=reason))
    except ConfigError as problem:
        raise fail(str(problem), 1) from None
