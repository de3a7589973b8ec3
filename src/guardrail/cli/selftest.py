"""`guardrail selftest module:function`: a conformance check that anyone can run on their own guarded function."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from guardrail.cli.target import function
from guardrail.cli.text import emit, say, table

_MARKS: Final = {True: "✓", False: "✗", None: "–"}
_COLOURS: Final = {"✓": "green", "✗": "red", "–": "dim"}
_SPECIMEN: Final = "guardrail.testing.specimen:predict"


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command("selftest")(selftest)


def selftest(
    target: Annotated[
        str,
        typer.Argument(
            metavar="[MODULE:FUNCTION]",
            help="The guarded function, such as loans.model:predict; without one, a small one of our own: is the installation well?",
            show_default=False,
        ),
    ] = _SPECIMEN,
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="JSON lines to run it on: arguments by name, a list by position, or the one argument itself."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that a guarded function still does what it did, and that its policies do what they say.

    The function is really run, up to fifty times on each of at most 25 samples: give data that it may be run on. Without
    any, they are made up from its annotations. Records and tickets go to a home of their own, which vanishes. Exit code 1
    if something is wrong.
    """
    from guardrail.samples import read_lines
    from guardrail.testing import conformance

    samples = [] if data is None else read_lines(data)
    with _home(), contextlib.redirect_stdout(sys.stderr):  # what the function prints is no part of the result
        findings = conformance.selftest(function(target), samples)
    red = any(finding.ok is False for finding in findings)
    if as_json:
        emit({"ok": not red, "findings": [finding._asdict() for finding in findings]})
    else:
        table(("", "check", "finding"), [(_MARKS[each.ok], each.check, each.text) for each in findings], colours=_COLOURS)
        if len(samples) > conformance.MOST:
            say(f"The first {conformance.MOST} of {len(samples):,} samples were used.")
        left_out = sum(finding.ok is None for finding in findings)
        say(f"{'[red]something is wrong[/red]' if red else '[green]all is well[/green]'}; {left_out} checks were skipped")
    raise typer.Exit(int(red))


@contextlib.contextmanager
def _home() -> Iterator[None]:
    """Have whatever the module does while it is imported leave its records in a home that vanishes."""
    from guardrail import lifecycle, settings

    before = {name: value for name, value in os.environ.items() if name.startswith("GUARDRAIL_HOME")}
    with tempfile.TemporaryDirectory(prefix="guardrail-", ignore_cleanup_errors=True) as folder:
        os.environ.pop("GUARDRAIL_HOME_FILE", None)
        os.environ["GUARDRAIL_HOME"] = folder
        try:
            yield
        finally:
            lifecycle.finish_all(2)
            del os.environ["GUARDRAIL_HOME"]
            os.environ.update(before)
            settings.reset(settings.configured())
