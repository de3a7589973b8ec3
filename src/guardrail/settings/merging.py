"""From what the sources say to the settings in force: the strongest wins, but nobody opens a kill."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from guardrail.errors import ConfigError
from guardrail.settings.anchors import Anchor, anchor
from guardrail.settings.guards import parse
from guardrail.settings.in_force import GuardOption, Settings
from guardrail.settings.secrets import Secret
from guardrail.settings.sinks import Route, Sink, route, sink
from guardrail.settings.sources import Given, Origin, Source
from guardrail.settings.table import TABLE
from guardrail.settings.values import nearest


def merged(sources: list[Source], otel_service: str) -> Settings:
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
