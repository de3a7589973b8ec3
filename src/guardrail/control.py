"""Switches at run time: modes and kills, in one small file that every process looks at with one `stat` a second.

Reading never raises into a call. A change is in force at once in this process, and is written to the ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from guardrail import clock, lifecycle, notices, settings
from guardrail.control_file import FILE, Stamp, Switch, alone, parse, read, stamp_of, to_change, why, write
from guardrail.errors import AuditUnavailable, ConfigError
from guardrail.settings.values import mode, text

__all__ = [
    "EVERY",
    "Switch",
    "kill",
    "poll",
    "reset",
    "revive",
    "set_mode",
    "state_of",
    "subscribe",
    "switches",
    "why_killed",
]

EVERY: Final = "*"  # addresses every guard
_MAX_NAME: Final = 300  # characters

_lock = threading.RLock()
_switches: Mapping[str, Switch] = MappingProxyType({})
_seen: tuple[Path, Stamp | None] | None = None  # which file, and which of its versions, was read last
_listeners: list[Callable[[], None]] = []


# -- reading -----------------------------------------------------------------------------------------------------------


def switches() -> Mapping[str, Switch]:
    """Return every switch that is set, by guard name."""
    if _seen is None:
        _look(wait=True)
    return _switches


def state_of(guard: str) -> tuple[str | None, bool]:
    """Return the mode that was switched on for a guard (None: none was) and whether it is killed.

    A mode for the guard itself comes before one for `*`; a kill of either kills.
    """
    now = switches()
    own, every = now.get(guard), now.get(EVERY)
    switched = (own and own.mode) or (every and every.mode) or None
    return switched, bool((own and own.killed) or (every and every.killed))


def why_killed(guard: str) -> str | None:
    """Return why a guard is killed, None where it is not or nobody said."""
    now = switches()
    found = [switch.reason for name in (guard, EVERY) if (switch := now.get(name)) is not None and switch.killed]
    return next((reason for reason in found if reason), None)


def poll() -> bool:
    """Look at the file, read it if it changed, and tell whoever subscribed; return whether a switch changed.

    Costs one `os.stat`. Call it every second or so. It never raises: what cannot be read leaves the last good state in
    force, and is said once.
    """
    return _look(wait=False)


def _look(*, wait: bool) -> bool:
    global _switches, _seen  # noqa: PLW0603 - the one state of the process, swapped as a whole
    if not _lock.acquire(blocking=wait):
        return False  # another thread is at it
    before = now = _switches
    try:
        path = settings.home(create=False) / FILE
        stamp = stamp_of(path)
        if _seen == (path, stamp):
            return False
        # An OSError in reading may pass by itself, so the file counts as seen only after it.
        content = b"{}" if stamp is None else read(path)
        _seen = (path, stamp)
        now = _switches = MappingProxyType(parse(content, before))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the file, calls go on
        notices.say("control", f"the run-time switches cannot be read ({why(error)}); the last good ones stay in force")
    finally:
        _lock.release()
    if before == now:
        return False
    _tell()  # without the lock: whoever is told may wait for others that ask us
    return True


def subscribe(tell: Callable[[], None]) -> None:
    """Have a function called, with nothing, after each change that this process sees. Twice the same counts once."""
    if tell not in _listeners:
        _listeners.append(tell)


# -- writing -----------------------------------------------------------------------------------------------------------


def set_mode(guard: str, new: str | None, by: str, *, known_by: str = "asserted") -> dict[str, Any]:
    """Switch the mode of a guard in every process, or take the switch back.

    Args:
        guard: Its name; `*` for all.
        new: "enforce", "observe" or "off"; None lets the configured mode rule again.
        by: Who does it.
        known_by: How that person is known.

    Returns:
        What is switched now: guard, mode, killed, reason, by, known_by, at. The ledger's `mode` event says the same.

    Raises:
        ConfigError: The mode is not one that can be switched on.
        OSError: The file cannot be written.
        AuditUnavailable: The switch is in force, but the ledger could not take the event.
    """
    if new is not None:
        new = mode(new, "the mode")
        if new == "killed":
            raise ConfigError("a guard is killed with kill(), which asks for a reason", hint='write kill(guard, "why", by)')
    return _change(guard, by, known_by, mode=new)


def kill(guard: str, reason: str, by: str, *, known_by: str = "asserted") -> dict[str, Any]:
    """Stop a guard in every process: its function is not run, callers get the fallback or `Stopped`.

    Args:
        guard: Its name; `*` for all.
        reason: Why, for those who find it stopped.
        by: Who does it.
        known_by: How that person is known.

    Returns:
        What is switched now: guard, mode, killed, reason, by, known_by, at. The ledger's `mode` event says the same.

    Raises:
        ConfigError: There is no reason.
        OSError: The file cannot be written.
        AuditUnavailable: The kill is in force, but the ledger could not take the event.
    """
    because = text(reason, "the reason")
    if not because:
        raise ConfigError("a kill needs a reason", hint="say why, for those who find the guard stopped")
    return _change(guard, by, known_by, killed=True, reason=because)


def revive(guard: str, by: str, *, known_by: str = "asserted") -> dict[str, Any]:
    """Take a kill back. A kill of `*` is taken back only for `*`.

    Args:
        guard: Its name; `*` for the kill of all.
        by: Who does it.
        known_by: How that person is known.

    Returns:
        What is switched now: guard, mode, killed, reason, by, known_by, at. The ledger's `mode` event says the same.

    Raises:
        OSError: The file cannot be written.
        AuditUnavailable: The switch is in force, but the ledger could not take the event.
    """
    return _change(guard, by, known_by, killed=False, reason=None)


def _change(guard: str, by: str, known_by: str, **what: Any) -> dict[str, Any]:
    global _switches, _seen
    guard, by = _named(guard, "the guard's name"), _named(by, "by")
    home = settings.home()
    path = home / FILE
    with alone(home / f"{FILE}.lock"), _lock:
        now = to_change(path, _switches)
        old = now.pop(guard, Switch())
        new = replace(old, by=by, known_by=known_by, at=clock.wall(), **what)
        if new.mode is not None or new.killed:
            now[guard] = new
        write(path, now)
        _switches, _seen = MappingProxyType(now), (path, stamp_of(path))
    _tell()
    _record(guard, new)
    return {"guard": guard, **asdict(new)}


def _named(name: str, what: str) -> str:
    plain = text(name, what)
    if not plain or len(plain) > _MAX_NAME:
        raise ConfigError(f"{what} must have 1 to {_MAX_NAME} characters")
    return plain


def _record(guard: str, new: Switch) -> None:
    from guardrail.ledger import writer  # noqa: PLC0415 - the ledger is needed only for a change

    fields = {
        "mode": new.mode,
        "killed": new.killed,
        "reason": new.reason,
        "actor": {"id": new.by, "known_by": new.known_by},
        "at": new.at,
    }
    try:
        writer.event("mode", guard=guard, fields=fields, sync=True)
    except Exception as error:
        raise AuditUnavailable(
            "the switch is in force, but the ledger could not record it", guard=guard, hint="see `guardrail doctor`"
        ) from error


def _tell() -> None:
    for tell in tuple(_listeners):
        try:
            tell()
        except Exception as error:  # noqa: BLE001 - one deaf listener must not keep a kill from the others
            notices.say("control-listener", f"a change of switches could not be passed on ({type(error).__name__})")


def reset() -> None:
    """Forget what was read and who subscribed. For tests."""
    global _switches, _seen
    with _lock:
        _switches, _seen = MappingProxyType({}), None
        _listeners.clear()


def _fresh_lock() -> None:
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.RLock()


lifecycle.after_fork(_fresh_lock)
