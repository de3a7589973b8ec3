"""Settings from the environment, `configure()` and guardrail.toml: one table, read once, at the first use."""

from __future__ import annotations

from guardrail.settings.folder import FileSystem, file_system
from guardrail.settings.in_force import GuardOption, Said, Settings
from guardrail.settings.reference import Row, reference_markdown, rows
from guardrail.settings.sinks import Route, Sink
from guardrail.settings.state import (
    configure,
    configured,
    current,
    for_guard,
    home,
    keep_apart,
    on_change,
    reset,
    stand_alone,
    unmatched_guards,
)
from guardrail.settings.values import MODES, SecretText

__all__ = [
    "MODES",
    "FileSystem",
    "GuardOption",
    "Route",
    "Row",
    "Said",
    "SecretText",
    "Settings",
    "Sink",
    "configure",
    "configured",
    "current",
    "file_system",
    "for_guard",
    "home",
    "keep_apart",
    "on_change",
    "reference_markdown",
    "reset",
    "rows",
    "stand_alone",
    "unmatched_guards",
]
