"""`guardrail settings`: the table in force, and the reference page."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from guardrail import settings

Run = Callable[..., Result]


def test_settings_are_shown_with_their_origin(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Each setting, its value and where it came from; secrets masked."""
    monkeypatch.setenv("GUARDRAIL_SERVICE", "loans [red]")
    monkeypatch.setenv("GUARDRAIL_CACHE_URL", "redis://:hunter2@h:6379/0")
    shown = run("settings")
    assert shown.exit_code == 0
    assert "loans [red]" in shown.output
    assert "redis://***@h:6379/0" in shown.output
    assert "environment" in shown.output
    assert "hunter2" not in shown.output
    rows = {row["name"]: row for row in json.loads(run("settings", "--json").output)}
    assert rows["GUARDRAIL_SERVICE"]["value"] == "loans [red]"
    assert rows["GUARDRAIL_AUDIT"]["origin"] == "default"


def test_reference_page(run: Run) -> None:
    """The page of the documentation comes from the command, byte for byte."""
    assert run("settings", "--markdown").output == settings.reference_markdown()
