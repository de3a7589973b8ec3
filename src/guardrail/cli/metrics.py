"""`guardrail metrics`: what Prometheus would be told, of all processes of this home."""

from __future__ import annotations

from typing import Final

import typer

from guardrail import clock, settings

_FIRST_SECONDS: Final = 1.5  # running processes look this often, and more, whether somebody wants metrics


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command("metrics")(metrics)


def metrics() -> None:
    """Print the metrics of every process of this home as Prometheus' text."""
    from guardrail.telemetry import files, prometheus

    if not (settings.home(create=False) / files.FOLDER).is_dir():
        files.want()
        typer.echo("From now on the processes of this home keep figures for this.", err=True)
        clock.sleep(_FIRST_SECONDS)
    typer.echo(prometheus.text()[0].decode(), nl=False)
