"""The settings in force: read once, at the first use, and again only when `configure()` is called."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from guardrail import lifecycle, notices
from guardrail.errors import ConfigError
from guardrail.settings.anchors import Anchor, anchor
from guardrail.settings.folder import default, file_system, make, nearest_toml, temporary, under_pytest
from guardrail.settings.guards import address, parse
from guardrail.settings.secrets import Secret
from guardrail.settings.sinks import Route, Sink, route, sink
from guardrail.settings.sources import Given, GuardKey, Origin, Source, from_configure, from_environment, from_toml
from guardrail.settings.table import TABLE, variable
from guardrail.settings.values import SecretText, nearest

_WEAKEST_FIRST: Final[tuple[Origin, ...]] = ("guardrail.toml", "configure()", "environment")
_EVERY_GUARD: Final = ("mode", "audit")  # options that a setting gives to all guards at once
_WHERE: Final[Mapping[Origin, str]] = {
    "environment": "{1}", "configure()": "configure({0}=…)", "guardrail.toml": "guardrail.toml: {0}",
}  # fmt: skip

_log: Final = logging.getLogger("guardrail")
_lock = threading.RLock()
_configured: dict[str, object] = {}
_current: Settings | None = None
_listeners: list[Callable[[], None]] = []
_home: Path | None = None
_made: set[Path] = set()


class GuardOption(NamedTuple):
    """One option of one guard, set from outside; `where` is what errors call the place."""

    key: GuardKey
    value: object
    origin: Origin
    where: str


class Said(NamedTuple):
    """What one source says of an option of a guard."""

    option: str
    value: Any
    origin: Origin
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings in force, parsed and checked. Frozen.

    Attributes:
        home: The folder of the embedded store as configured, None where nothing is; `home()` says where it is.
        service: Name of the application.
        database_url: URL of the database that holds the ledger, None where it is in files; `.reveal()` gives it in full.
        cache_url: URL of the shared cache; `.reveal()` gives it in full.
        mode: Mode for every guard, None: each guard's own.
        audit: Audit for every guard, None: each guard's own.
        signing_key_file: The key that checkpoints are signed with, None: the user's own.
        sealing_key_file: The key that wraps the keys of data subjects, None: the user's own.
        selfcheck: Seconds between two looks of the ledger at itself, None: never.
        retention: How long records are kept, as written (`settings.periods` reads it); None: for ever.
        working_hours: When reviewers work, as written (`settings.hours` reads it).
        review_reasons: Codes for why a person decided otherwise, beside our own.
        second_approval: Values of a guard's tag `risk` for which an override needs two people.
        callback_secret: What callbacks are signed with; `.reveal()` gives it.
        callback_private: Whether callbacks may go to private addresses.
        receive_secret: What answers that arrive by webhook are signed with; `.reveal()` gives it.
        compress: Whether closed segments are compressed in the background.
        disabled: Whether functions run bare.
        telemetry: Who sets OpenTelemetry up: "auto", "otlp" or "off".
        log: Which calls get a line for people: "off", "problems" or "all".
        sinks: By name.
        routes: By the name of their sink.
        anchors: By name.
    """

    home: Path | None
    service: str | None
    database_url: SecretText | None
    cache_url: SecretText | None
    mode: str | None
    audit: str | None
    signing_key_file: Path | None
    sealing_key_file: Path | None
    selfcheck: float | None
    retention: str | None
    working_hours: str
    review_reasons: tuple[str, ...]
    second_approval: tuple[str, ...]
    callback_secret: SecretText | None
    callback_private: bool
    receive_secret: SecretText | None
    compress: bool
    disabled: bool
    telemetry: str
    log: str
    sinks: Mapping[str, Sink]
    routes: Mapping[str, Route]
    anchors: Mapping[str, Anchor]
    origins: Mapping[str, Origin]
    guard_options: tuple[GuardOption, ...]

    def origin(self, name: str) -> Origin:
        """Return where a setting's value came from.

        Args:
            name: "cache_url", or "sinks.out" and "routes.out" for one of a family.
        """
        return self.origins.get(name, "default")

    def for_guard(self, name: str) -> dict[str, tuple[Any, Origin]]:
        """Return the options that are set from outside for one guard, each with where it came from.

        Within one origin what names the guard beats what speaks to all (`mode`, `audit`); a higher origin beats both.
        But where any of them says that the guard is killed, no other opens it again.
        """
        return {each.option: (each.value, each.origin) for each in self.said(name)}

    def said(self, name: str) -> list[Said]:
        """Return all that is set from outside for one guard, the strongest last; the order is that of `for_guard`."""
        found: list[Said] = []
        for each in self._said(name):
            if each.option != "mode" or not any(said.option == "mode" and said.value == "killed" for said in found):
                found.append(each)
        return found

    def _said(self, name: str) -> Iterator[Said]:
        spelled = address(name)
        for origin in _WEAKEST_FIRST:
            for option in _EVERY_GUARD:
                if self.origin(option) == origin:
                    yield Said(option, getattr(self, option), origin, _WHERE[origin].format(option, variable(option)))
            for each in self.guard_options:
                if each.origin == origin and each.key.guard == (name if each.key.exact else spelled):
                    yield Said(each.key.option, each.value, origin, each.where)


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
        _current = _build([Source({"home": Given(str(home), "stand_alone()", "configure()")})], "")


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
        _current = _build(sources, os.environ.get("OTEL_SERVICE_NAME", "").strip())
        return _current


def _toml() -> Source:
    try:
        found = nearest_toml(Path.cwd())
    except OSError:  # the working directory is gone, and with it whatever stood in it
        return Source()
    return from_toml(found) if found is not None else Source()


def _build(sources: list[Source], otel_service: str) -> Settings:
    """Merge the sources, the strongest last, and parse what is in force."""
    origins: dict[str, Origin] = {}
    plain: dict[str, Given] = {}
    for source in sources:
        plain.update({name: given for name, given in source.plain.items() if not _is_kill(name, plain)})
    if otel_service and "service" not in plain:
        plain["service"] = Given(otel_service, "OTEL_SERVICE_NAME", "environment")
    values: dict[str, Any] = {name: setting.default for name, setting in TABLE.items()}
    for name, given in plain.items():
        values[name] = TABLE[name].parse(_followed(given) if TABLE[name].secret else given.value, given.where)
        origins[name] = given.origin
    shared = next((name for name in ("database_url", "cache_url") if values[name] is not None), None)
    if shared is not None and values["service"] is None:
        raise ConfigError(
            f"{plain[shared].where} is set but GUARDRAIL_SERVICE is not",
            hint="name the application: its name stands before every key in the shared store",
        )
    found: dict[str, Sink] = {}
    ways: dict[str, Route] = {}
    for source in sources:
        for name, given in source.sinks.items():
            found[name] = sink(name, given.value, given.where)
            origins[f"sinks.{name}"] = given.origin
    for source in sources:
        for name, given in source.routes.items():
            if name not in found:
                hint = nearest(name, found) if found else "set the sink of that name too"
                raise ConfigError(f"{given.where} has no sink of that name", hint=hint)
            ways[name] = route(given.value, given.where)
            origins[f"routes.{name}"] = given.origin
    kept: dict[str, Anchor] = {}
    for source in sources:
        for name, given in source.anchors.items():
            kept[name] = anchor(name, _followed(given), given.where)
            origins[f"anchors.{name}"] = given.origin
    options = tuple(
        GuardOption(key, parse(key.option, each.value, each.where, in_code=each.origin == "configure()"), each.origin, each.where)
        for source in sources
        for key, each in source.guards.items()
    )
    return Settings(
        **values,
        sinks=MappingProxyType(found),
        routes=MappingProxyType(ways),
        anchors=MappingProxyType(kept),
        origins=MappingProxyType(origins),
        guard_options=options,
    )


def _followed(given: Given) -> object:
    """Return a value with what its references to secrets stand for."""
    return Secret(given.value, given.where).reveal() if isinstance(given.value, str) else given.value


def _is_kill(name: str, plain: Mapping[str, Given]) -> bool:
    """Tell whether a weaker source has said that every guard is killed, which no stronger one opens again."""
    return name == "mode" and name in plain and str(plain[name].value).strip().lower() == "killed"


def _fresh_lock() -> None:
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that the fork left behind
    _lock = threading.RLock()


lifecycle.after_fork(_fresh_lock)
