"""`guardrail audit …`: prove, keep, search, export and lawfully erase the ledger. Put together from one module per concern."""

from __future__ import annotations

import importlib
from typing import Final

import typer

PARTS: Final = (
    "audit_proof",
    "audit_keys",
    "audit_search",
    "audit_keep",
    "audit_erase",
    "audit_files",
)  # in the order of `--help`


def register(app: typer.Typer) -> None:
    """Add the group."""
    audit = typer.Typer(help="Prove, keep, search, export and erase the ledger.", no_args_is_help=True)
    for part in PARTS:
        importlib.import_module(f"guardrail.cli.{part}").register(audit)
    app.add_typer(audit, name="audit")
