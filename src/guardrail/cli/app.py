"""The tree of commands, put together from one module per group, and what becomes of their errors."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from guardrail.cli.text import fail
from guardrail.errors import ConfigError, GuardrailError

GROUPS: Final = (
    "trail",
    "audit",
    "review",
    "calibrate",
    "modes",
    "would",
    "selftest",
    "load",
    "doctor",
    "settings",
    "store",
    "sink",
    "metrics",
)  # in the order of `--help`


class _Commands(TyperGroup):
    """Turns what a person can mend into one red line; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise fail(str(error), 2) from error
        except GuardrailError as error:
            raise fail(str(error), 1) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            raise fail(f"{error.strerror or str(error) or type(error).__name__}{where}", 1) from error


def build() -> typer.Typer:
    """Return the application with all its commands."""
    app = typer.Typer(
        name="guardrail",
        cls=_Commands,
        help="Look after guarded functions: their records, open cases, modes and settings.",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_top)
    for group in GROUPS:
        importlib.import_module(f"guardrail.cli.{group}").register(app)
    return app


def run() -> None:
    """Run the command of this process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError):  # a stream that has been used already keeps its ways
                stream.reconfigure(errors="replace")
    build()(prog_name="guardrail")


def _version(asked: bool) -> None:
    if not asked:
        return
    from guardrail.doctor import version

    typer.echo(f"guardrail-sdk {version()} (Python {sys.version.split()[0]})")
    raise typer.Exit


def _top(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    del version  # the callback has dealt with it
