"""The settings of this process: read once, at the first use, and again only when `configure()` is called."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from guardrail import lifecycle, notices
from guardrail.settings.folder import default, file_system, make, nearest_toml, temporary, under_pytest
from guardrail.settings.guards import address
from guardrail.settings.in_force import Settings
from guardrail.settings.merging import merged
from guardrail.settings.sources import Given, Origin, Source, from_configure, from_environment, from_toml

_log: Final = logging.getLogger("guardrail")
_lock = threading.RLock()
_configured: dict[str, object] = {}
_current: Settings | None = None
_listeners: list[Callable[[], None]] = []
_home: Path | None = None
_made: set[Path] = set()


def current() -> Settings:
    """Return the settings in force, reading them the first time.

    Raises:
        ConfigError: A setting is unknown or cannot be used. The text names it and says what to write.
    """
    return _current if _current is not None else _read()


def configure(**settings: Any) -> None:
    """Set settings from code; the environment still comes first. May be called again: the last word on a name counts.

    Names are those of the reference page: `configure(service="loans", mode="observe", sinks={"out": "stdout:"},
    routes={"out": "outcome:deferred"}, guards={"app:predict": {"budget": "1s"}})`. None takes a name back.
    All sources are read anew, so a variable that was changed meanwhile counts from now on.

    Raises:
        ConfigError: A name is unknown, or a value cannot be used; then nothing has changed.
    """
    with _lock:
        before = dict(_configured)
        _configured.update(settings)
        try:
            _read()
        except BaseException:
            _configured.clear()
            _configured.update(before)
            raise
    for tell in tuple(_listeners):
        tell()


def on_change(tell: Callable[[], None]) -> None:
    """Have a function called, with nothing, after each `configure()`. Twice the same counts once."""
    if tell not in _listeners:
        _listeners.append(tell)


def for_guard(name: str) -> dict[str, tuple[Any, Origin]]:
    """Return `current().for_guard(name)`."""
    return current().for_guard(name)


def unmatched_guards(known: Iterable[str]) -> list[str]:
    """Return the guards that settings speak of and nobody knows, as the settings spell them.

    Args:
        known: Names of all guards there are.
    """
    exact = set(known)
    spelled = {address(name) for name in exact}
    named = {option.key for option in current().guard_options}
    return sorted({key.guard for key in named if key.guard not in (exact if key.exact else spelled)})


def home(*, create: bool = True) -> Path:
    """Return the folder of the embedded store.

    It is `GUARDRAIL_HOME`, else `.guardrail` in the nearest parent that holds guardrail.toml, pyproject.toml or .git,
    else `.guardrail` in the working directory. Under pytest, where nothing configures it, it is a temporary folder.

    Args:
        create: Make the folder if it is not there, private to its owner. Readers pass False.

    Raises:
        ConfigError: A setting cannot be used.
        OSError: The folder cannot be made, or the working directory is gone.
    """
    global _home  # noqa: PLW0603 - one folder per process, found once
    path = current().home or _home
    if path is None:
        with _lock:
            if _home is None:
                _home = temporary() if under_pytest(os.environ) else default(Path.cwd())
            path = _home
    if create and (path not in _made or not path.is_dir()):  # it may have been removed under a running notebook
        make(path)
        with _lock:
            first = path not in _made
            _made.add(path)
        if first:
            _announce(path)
    return path


def configured() -> dict[str, object]:
    """Return what `configure()` was told so far."""
    return dict(_configured)


def stand_alone(home: Path) -> None:
    """Put settings in force in which nothing but a home is set, whatever else says, until `reset()`. For self-tests."""
    global _current  # noqa: PLW0603
    with _lock:
        _current = merged([Source({"home": Given(str(home), "stand_alone()", "configure()")})], "")


def keep_apart(home: Path) -> None:
    """Keep what is configured for guards, but nothing of where things are kept and who is told, until `reset()`.

    No shared database or cache, no sinks, no anchors, no exporter of telemetry: whatever the calls of this process leave, they
    leave below one folder.

    Args:
        home: That folder.
    """
    global _current  # noqa: PLW0603
    with _lock:
        _current = replace(
            current(), home=home, database_url=None, cache_url=None, retention=None, selfcheck=None, telemetry="off",
            sinks=MappingProxyType({}), routes=MappingProxyType({}), anchors=MappingProxyType({}),
        )  # fmt: skip


def reset(configured: Mapping[str, object] | None = None) -> None:
    """Forget everything, so that the next use reads the settings anew. For tests.

    Args:
        configured: What `configure()` is to have been told; nothing, where None.
    """
    global _current, _home  # noqa: PLW0603
    with _lock:
        _configured.clear()
        _configured.update(configured or {})
        _listeners.clear()
        _made.clear()
        _current = _home = None


def _announce(path: Path) -> None:
    _log.info("ledger, review queue and switches are kept in %s", path)
    stands_on = file_system(path)
    if stands_on is not None and stands_on.passing and not under_pytest(os.environ):
        notices.say(
            "home-passing",
            f"{path} stands on {stands_on.kind}: records and tickets end with the container or at the next start of the"
            " machine; set GUARDRAIL_HOME to a folder on a lasting volume",
        )


def _read() -> Settings:
    global _current  # noqa: PLW0603 - the one settings object, swapped as a whole
    with _lock:
        sources = [_toml(), from_configure(_configured), from_environment(os.environ)]
        _current = merged(sources, os.environ.get("OTEL_SERVICE_NAME", "").strip())
        return _current


def _toml() -> Source:
    try:
        found = nearest_toml(Path.cwd())
    except OSError:  # the working directory is gone, and with it whatever stood in it
        return Source()
    return from_toml(found) if found is not None else Source()


def _fresh_lock() -> None:
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.RLock()


lifecycle.after_fork(_fresh_lock)
