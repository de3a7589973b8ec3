"""`guardrail doctor`: what is in force, and whether everything that is configured really works."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from guardrail import doctor, settings
from guardrail.cli.text import emit, say, table
from guardrail.errors import ConfigError

_COLOURS: Final = {"bad": "red", "warn": "yellow", "info": "dim"}


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command("doctor")(examine)


def examine(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Examine the installation: settings, home, ledger, review queue, cache, sinks. Exit code 1 if something is bad."""
    findings = doctor.examine(stdout=not as_json)
    try:
        rows = settings.rows()
    except ConfigError:
        rows = []  # the findings say why
    red = any(finding.level == "bad" for finding in findings)
    if as_json:
        emit(
            {
                "ok": not red,
                "version": doctor.version(),
                "findings": [finding._asdict() for finding in findings],
                "settings": [row._asdict() for row in rows],
            }
        )
    else:
        if rows:
            table(("setting", "value", "from"), [row[:3] for row in rows])
        table(("", "what", "finding"), findings, colours=_COLOURS)
        say("[red]something is bad[/red]" if red else "[green]all is well[/green]")
    raise typer.Exit(int(red))
