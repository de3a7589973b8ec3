"""Where a load's records and tickets go: to a folder that vanishes, or, if somebody says so, where those of the application go."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from guardrail import control, lifecycle, registry, settings
from guardrail.errors import ConfigError
from guardrail.guard_upkeep import spec_of
from guardrail.spec import get

if TYPE_CHECKING:
    from guardrail.guard import Guard

_FINISH_SECONDS: Final = 10.0
_HOME: Final = ("GUARDRAIL_HOME", "GUARDRAIL_HOME_FILE")
_MODE: Final = ("GUARDRAIL_MODE", "GUARDRAIL_MODE_FILE")
MODES: Final = ("enforce", "observe")


class Place:
    """Where the calls of a load leave what they leave.

    Args:
        folder: The folder that vanishes, None where everything is real.
        killed: The names of the guards that are killed in the application's own home.
    """

    def __init__(self, folder: Path | None, killed: set[str]) -> None:
        self._folder = folder
        self._killed = killed

    def settle(self) -> None:
        """Leave shared stores and sinks out from now on, where not everything is real. To be called after the module's import."""
        if self._folder is not None:
            settings.keep_apart(self._folder)
        registry.reconfigure()  # the module may have been imported before, under other settings

    def check(self, guard: Guard, *, mode: str | None, tickets: bool) -> None:
        """Refuse a load that would do what nobody asked for.

        Args:
            guard: The one that is asked.
            mode: The mode that was asked for, None for the configured one.
            tickets: Whether real tickets may be filed.

        Raises:
            ConfigError: The guard is killed, or in another mode than was asked for; or it would file real tickets.
        """
        if self._killed & {guard.name, control.EVERY} or guard.mode == "killed":
            raise ConfigError(
                "is killed, and a load would run its function all the same", guard=guard.name, hint="guardrail revive NAME first"
            )
        if mode is not None and guard.mode != mode:
            raise ConfigError(
                f"{guard.name} runs in mode {guard.mode}, whatever --mode says", guard=guard.name,
                hint="a run-time switch, a setting or the decorator says so: guardrail mode NAME",
            )  # fmt: skip
        if self._folder is not None or tickets:
            return
        filing = sorted(
            each.name
            for each in registry.guards()
            if each.mode != "observe"
            and (get(spec_of(each), "review") is not None or get(spec_of(each), "confidence") is not None)
        )
        if filing:
            raise ConfigError(
                f"with --real this may file a real ticket for every call of {', '.join(filing)}", guard=guard.name,
                hint="add --mode observe, which files none, or --tickets if they are wanted; or leave --real out",
            )  # fmt: skip


@contextlib.contextmanager
def place(*, real: bool, mode: str | None) -> Iterator[Place]:
    """Have what the calls leave stay apart, in a folder that vanishes; every record says that it comes of a test.

    Args:
        real: Whether it goes where the application's own records go, instead.
        mode: The mode of every guard, None for the configured ones.

    Raises:
        ConfigError: A setting cannot be used, or the mode is none.
    """
    if mode is not None and mode not in MODES:
        raise ConfigError("--mode is none that a load runs in", hint=f"write one of {', '.join(MODES)}")
    from guardrail.ledger import surroundings  # noqa: PLC0415 - only for a load

    surroundings.is_a_test()
    killed = _killed()
    with contextlib.ExitStack() as stack:
        folder = None
        changes: dict[str, str] = {} if mode is None else {"GUARDRAIL_MODE": mode}
        if not real:
            found = stack.enter_context(tempfile.TemporaryDirectory(prefix="guardrail-load-", ignore_cleanup_errors=True))
            folder = Path(found)
            changes["GUARDRAIL_HOME"] = found
        stack.enter_context(_environment(changes, () if real else _HOME, () if mode is None else _MODE))
        configured = settings.configured()
        settings.reset(configured)
        control.poll()  # the switches of the home that is in force now
        try:
            yield Place(folder, killed)
        finally:
            lifecycle.finish_all(_FINISH_SECONDS)
            if folder is not None:
                settings.reset(configured)


def _killed() -> set[str]:
    settings.home(create=False)
    control.poll()
    return {name for name, switch in control.switches().items() if switch.killed}


@contextlib.contextmanager
def _environment(changes: Mapping[str, str], *families: tuple[str, ...]) -> Iterator[None]:
    names = [name for family in families for name in family]
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name in changes:
            os.environ.pop(name, None)
        os.environ.update(before)
