"""`guardrail store`: the tables of a shared database, and what waits to get into it."""

from __future__ import annotations

from typing import Annotated

import typer

from guardrail import settings
from guardrail.cli.text import clean, emit, reasons_told, say
from guardrail.errors import ConfigError

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    store = typer.Typer(help="Look after the database that GUARDRAIL_DATABASE_URL names.", no_args_is_help=True)
    store.command("migrate")(migrate)
    store.command("replay")(replay)
    app.add_typer(store, name="store")


def migrate(*, as_json: _Json = False) -> None:
    """Make or change its tables to what this release needs; the release before goes on working with them.

    No process ever does that by itself. Its user must be allowed to create tables; the processes' own user need not.
    """
    from guardrail.store.migrate import migrate as apply

    done = apply(_url())
    if as_json:
        emit(done._asdict())
    elif done.before == done.after:
        say(f"the tables are of revision {clean(done.after)} already")
    else:
        say(f"migrated from {clean(done.before or 'nothing')} to revision {clean(done.after)}")


def replay(*, as_json: _Json = False) -> None:
    """Bring what ended processes of this home have kept in files into the database, and close their lanes."""
    from guardrail.ledger.postgres.recovery import replay as bring

    with reasons_told():
        done = bring(settings.home(create=False), _url())
    if as_json:
        emit([each._asdict() for each in done])
        return
    for each in done:
        came = f"[red]{clean(each.problem)}[/red]" if each.problem else f"{each.size} records, closed"
        say(f"{clean(each.lane)}: {came}")
    if not done:
        say("nothing waits to be replayed")


def _url() -> str:
    found = settings.current().database_url
    if found is None:
        raise ConfigError("no database is configured", hint="set GUARDRAIL_DATABASE_URL=postgresql://user:password@host/database")
    return found.reveal()
