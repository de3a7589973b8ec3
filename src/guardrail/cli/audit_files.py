"""`guardrail audit export-files`: the ledger in a database as a ledger in files, for an auditor and the verifier alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guardrail import settings
from guardrail.cli.text import clean, emit, say
from guardrail.errors import ConfigError


def register(audit: typer.Typer) -> None:
    """Add the command of this part."""
    audit.command("export-files")(export_files)


def export_files(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; it must not exist, or be empty.")],
    *,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="30d", help="Only lanes that were in use since then; a verifier misses the rest."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the ledger of the database in the layout of files, byte by byte, so that `verify.py DIR` can verify it anywhere."""
    from guardrail.cli.trail import note
    from guardrail.ledger import told
    from guardrail.ledger.postgres.source import export_files as export
    from guardrail.ledger.record import iso
    from guardrail.ledger.wanted import wanted

    url = settings.current().database_url
    if url is None:
        raise ConfigError("the ledger is in files already", hint="they are in the folder `ledger` of GUARDRAIL_HOME")
    which = wanted(since=since)
    done = export(url.reveal(), folder, None if which.since is None else iso(which.since))
    recorded = told.tell("export", which, done.records, sync=True, form="files", lanes=done.lanes)
    if as_json:
        emit(done._asdict() | {"path": str(folder)})
    else:
        say(
            f"{done.records} records in {done.lanes} lanes, in {clean(folder)}; verify them with the file of `guardrail audit verifier`"
        )
    note(recorded)
