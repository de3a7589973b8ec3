"""Which mode a guard is in, whoever set it, and what opens a kill again."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from guardrail import control, settings
from guardrail.guard_upkeep import spec_of
from guardrail.spec import get, mode_name

if TYPE_CHECKING:
    from guardrail.guard import Guard

KILLED: Final = ("mode", "killed")  # an option and its value


def mode_of(guard: Guard) -> tuple[str, str | None]:
    """Return the mode in force and, for a killed guard, why. No mode and no setting opens a kill."""
    switched, killed = control.state_of(guard.name)
    option = get(spec_of(guard), "mode")
    if killed or "killed" in (option, get(guard.given, "mode")):
        return "killed", control.why_killed(guard.name)
    if settings.current().disabled:
        return "off", None
    return mode_name(switched or option), None


def how_to_revive(guard: Guard) -> str:
    """Return what lets a killed guard run again: one thing for each place where it is said."""
    switches = control.switches()
    switched = [name for name in (guard.name, control.EVERY) if name in switches and switches[name].killed]
    steps = [f"guardrail revive {shlex.quote(name)}" for name in switched]
    given = guard.given.get("mode")
    if given is not None and given.value == "killed":
        steps.append(f'take mode="killed" out of its {given.origin}')
    steps += [f"change {said.where}" for said in settings.current().said(guard.name) if (said.option, said.value) == KILLED]
    return ", and ".join(steps)
