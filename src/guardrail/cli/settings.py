"""`guardrail settings`: what is in force and where it came from; also the reference page."""

from __future__ import annotations

from typing import Annotated

import typer

from guardrail import settings
from guardrail.cli.text import emit, table


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command("settings")(show)


def show(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page of all settings.")] = False,
) -> None:
    """Show every setting: its value (secrets masked), where it came from, and what it means."""
    if markdown:
        typer.echo(settings.reference_markdown(), nl=False)
        return
    rows = settings.rows()
    if as_json:
        emit([row._asdict() for row in rows])
    else:
        table(("setting", "value", "from", "meaning"), rows)
