"""The command line on a home of its own, with nothing configured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from guardrail import control, lifecycle, notices, settings
from guardrail.cli.app import build

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A home that exists, named by the environment as it is for a service."""
    for name in list(os.environ):
        if name.startswith(("GUARDRAIL_", "OTEL_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("GUARDRAIL_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    for room in (settings, control, notices):
        room.reset()
    yield folder
    lifecycle.finish_all(5)  # the ledger lets go of this home
    for room in (settings, control, notices):
        room.reset()


@pytest.fixture
def run() -> Run:
    """Run one command and return what came of it."""

    def run(*words: str) -> Result:
        return CliRunner().invoke(build(), list(words))

    return run
