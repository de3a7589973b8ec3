"""`guardrail sink`: how delivery goes, what sinks would not take, and sending it again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from guardrail import settings
from guardrail.cli.text import clean, emit, say, table
from guardrail.errors import ConfigError, GuardrailError

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Name = Annotated[str, typer.Argument(help="The sink's name, as in GUARDRAIL_SINK_<NAME>.")]


def register(app: typer.Typer) -> None:
    """Add the group."""
    sink = typer.Typer(help="Look after the delivery of records to sinks.", no_args_is_help=True)
    sink.command("status")(status)
    sink.command("test")(test)
    sink.command("dead")(dead)
    sink.command("replay")(replay)
    app.add_typer(sink, name="sink")


def status(*, as_json: _Json = False) -> None:
    """Show how far each sink is behind the ledger, and what keeps it. Exit code 1 if one fails."""
    from guardrail.delivery.status import lags

    found = lags(settings.home(create=False))
    if as_json:
        emit({name: {**lag._asdict(), "state": lag.state._asdict()} for name, lag in found.items()})
    elif not found:
        say("no sink is configured that one process serves for all")
    else:
        rows = [
            [
                name, settings.current().sinks[name].address.shown(), f"{lag.behind:,}", _ago(lag.oldest),
                f"{lag.state.delivered:,}", f"{lag.dead:,}", lag.state.breaker, lag.state.problem,
            ]
            for name, lag in found.items()
        ]  # fmt: skip
        table(["sink", "to", "behind", "oldest", "delivered", "dead", "breaker", "problem"], rows)
    if any(lag.state.problem for lag in found.values()):
        raise typer.Exit(1)


def test(name: _Name) -> None:
    """Prove a sink by a labelled round trip. Exit code 1 if it does not work."""
    from guardrail.delivery.replay import configured, probe

    found = configured(name)
    try:
        said = probe(found)
    except ConfigError:
        raise
    except Exception as problem:  # noqa: BLE001 - whatever a client's library raises; its text may hold what is secret
        raise GuardrailError(
            f"{found.address.shown()} does not answer as it should: {reason(problem)}",
            hint="look whether the server is up and the settings of the sink are right; `guardrail doctor` tries it again",
        ) from None
    say(f"{clean(found.address.shown())}: {clean(said)}")


def dead(name: _Name, *, as_json: _Json = False) -> None:
    """List the records that a sink would not take. They are in the ledger: `guardrail show` tells of each."""
    from guardrail.delivery.couriers import keeping_of
    from guardrail.delivery.replay import configured

    letters = keeping_of(settings.home(create=False), configured(name).name).dead()
    if as_json:
        emit([letter._asdict() for letter in letters])
    elif not letters:
        say("no dead letters")
    else:
        table(["lane", "record", "tries", "why"], [[each.lane, each.seq, each.attempts, each.reason] for each in letters])


def replay(
    name: _Name,
    *,
    dead_only: Annotated[bool, typer.Option("--dead", help="Send the dead letters again.")] = False,
    since: Annotated[str | None, typer.Option("--from", help="From when on: a date, or how long ago (2d).")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Until when; now if not given.")] = None,
    as_json: _Json = False,
) -> None:
    """Send records again, with the same ids and bytes. Exit code 1 if not all of them arrived."""
    from tqdm import tqdm

    from guardrail.delivery.replay import configured, dead_letters, stretch

    if dead_only == (since is not None or until is not None):
        raise ConfigError("say what to send again", hint="either --dead, or --from and --to")
    found, home = configured(name), settings.home(create=False)
    with tqdm(unit=" records", desc="arrived", disable=None, leave=False) as bar:
        done = dead_letters(home, found, bar.update) if dead_only else stretch(home, found, since, until, bar.update)
    if as_json:
        emit(done._asdict())
    else:
        more: Any = [f"{done.refused:,} refused"] * bool(done.refused) + [f"{done.gone:,} no longer in the ledger"] * bool(
            done.gone
        )
        say(", ".join([f"{done.arrived:,} arrived", *more]))
        if done.problem:
            say(f"[red]stopped: {clean(done.problem)}[/red]")
    if done.problem or done.refused:
        raise typer.Exit(1)


def reason(problem: Exception) -> str:
    """Return what may be said of an error: nothing of a library's own words, which may hold what is secret."""
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return type(problem).__name__


def _ago(seconds: float) -> str:
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds else ""
