"""`guardrail mode`, `kill` and `revive`: switches at run time, in force in every process within two seconds."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from guardrail import control, notices, settings
from guardrail.cli.text import clean, emit, moment, say, table
from guardrail.errors import ConfigError, GuardrailError
from guardrail.settings.values import nearest

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The guard's name; '*' for all.", show_default=False)]
_By = Annotated[str | None, typer.Option("--by", help="Who does it; else the user of this system.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("mode")(mode)
    app.command("kill")(kill)
    app.command("revive")(revive)


def mode(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The guard's name; '*' for all.", show_default=False)
    ] = None,
    new: Annotated[str | None, typer.Argument(metavar="[MODE]", help="enforce, observe or off.", show_default=False)] = None,
    *,
    clear: Annotated[bool, typer.Option("--clear", help="Let the configured mode rule again.")] = False,
    by: _By = None,
    as_json: _Json = False,
) -> None:
    """Switch the mode of a guard, or show what is switched."""
    if name is None:
        if clear:
            raise ConfigError("--clear needs the name of a guard", hint="guardrail mode NAME --clear")
        _listing(as_json=as_json)
    elif new is None and not clear:
        _one(name, as_json=as_json)
    elif new is not None and clear:
        raise ConfigError("a mode and --clear at once", hint="give one of them")
    else:
        before = _home_was_there()
        who, known_by = _person(by)
        changed = control.set_mode(name, new, who, known_by=known_by)
        what = f"is switched to {changed['mode']}" if new else "runs in its configured mode again"
        _report(changed, f"{clean(name)} {what}", before=before, as_json=as_json)


def kill(
    name: _Name,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who find it stopped.", show_default=False)],
    by: _By = None,
    *,
    as_json: _Json = False,
) -> None:
    """Stop a guard: its function is not run, callers get the fallback or an error."""
    before = _home_was_there()
    who, known_by = _person(by)
    changed = control.kill(name, reason, who, known_by=known_by)
    _report(changed, f"[red]{clean(name)} is killed[/red]", before=before, as_json=as_json)


def revive(name: _Name, by: _By = None, *, as_json: _Json = False) -> None:
    """Take a kill back."""
    before = _home_was_there()
    who, known_by = _person(by)
    changed = control.revive(name, who, known_by=known_by)
    told = f"{clean(name)} runs again"
    if control.state_of(name)[1]:
        told = f"{clean(name)} stays killed, since all guards are: guardrail revive '*'"
    _report(changed, told, before=before, as_json=as_json)


def _person(by: str | None) -> tuple[str, str]:
    from guardrail.review.case import Actor

    who = Actor.of(by)
    return who.id, who.known_by


def _home_was_there() -> bool:
    return settings.home(create=False).is_dir()


def _report(changed: dict[str, object], told: str, *, before: bool, as_json: bool) -> None:
    if as_json:
        emit(changed)
        return
    _doubt(str(changed["guard"]))
    home = settings.home()
    say(f"{told}; every process that uses {clean(home)} follows within 2 seconds")
    if not before:
        say("[yellow]that folder is new: run this where the application runs, or set GUARDRAIL_HOME as it does[/yellow]")


def _doubt(name: str) -> None:
    """Say so where nobody has heard of a guard: a misspelt kill stops nothing."""
    from guardrail.doctor import guards_seen

    with contextlib.suppress(OSError):  # the switch is in force, whatever the ledger can tell
        seen = guards_seen()
        if seen and name != control.EVERY and name not in seen:
            hint = nearest(name, seen)
            say(f"[yellow]no guard of the name {clean(name)} is in the latest records ({clean(hint)})[/yellow]")


def _looked() -> None:
    """Read the switches, and refuse to speak of them if they cannot be read: a kill may stand in them.

    Raises:
        ConfigError: A setting cannot be used.
        GuardrailError: The file is damaged.
    """
    settings.home(create=False)
    control.poll()
    trouble = notices.counts().get((None, "control"))
    if trouble is not None:
        raise GuardrailError(trouble[1], hint="a new `guardrail kill` or `guardrail mode NAME MODE` writes the file anew")


def _one(name: str, *, as_json: bool) -> None:
    _looked()
    switched, killed = control.state_of(name)
    if as_json:
        emit({"guard": name, "mode": switched, "killed": killed, "reason": control.why_killed(name)})
    elif switched is None and not killed:
        say(f"nothing is switched for {clean(name)}: it runs in its configured mode")
    elif killed:
        say(f"{clean(name)}: [red]killed[/red] ({clean(control.why_killed(name))})")
    else:
        say(f"{clean(name)}: {switched}")


def _listing(*, as_json: bool) -> None:
    _looked()
    now = control.switches()
    if as_json:
        emit([{"guard": name, **_facts(switch)} for name, switch in now.items()])
    elif not now:
        say("nothing is switched: every guard runs in its configured mode")
    else:
        heads = ("guard", "mode", "killed", "reason", "by", "since")
        rows = [
            (
                name,
                each.mode or "(configured)",
                "yes" if each.killed else "",
                each.reason or "",
                each.by,
                moment(each.at),
            )
            for name, each in now.items()
        ]
        table(heads, rows)


def _facts(switch: control.Switch) -> dict[str, object]:
    return {
        "mode": switch.mode, "killed": switch.killed, "reason": switch.reason,
        "by": switch.by, "known_by": switch.known_by, "at": switch.at,
    }  # fmt: skip
