"""The settings in force, and what they say of one guard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from guardrail.settings.anchors import Anchor
from guardrail.settings.guards import address
from guardrail.settings.sinks import Route, Sink
from guardrail.settings.sources import GuardKey, Origin
from guardrail.settings.table import variable
from guardrail.settings.values import SecretText

_WEAKEST_FIRST: Final[tuple[Origin, ...]] = ("guardrail.toml", "configure()", "environment")
_EVERY_GUARD: Final = ("mode", "audit")  # options that a setting gives to all guards at once
_WHERE: Final[Mapping[Origin, str]] = {
    "environment": "{1}", "configure()": "configure({0}=…)", "guardrail.toml": "guardrail.toml: {0}",
}  # fmt: skip


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
