"""The command line on a home of its own, with nothing configured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from guardrail.cli.app import build

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def home(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home that exists, in a working directory that is no project."""
    home.mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path)
    return home


@pytest.fixture
def run() -> Run:
    """Run one command and return what came of it."""

    def run(*words: str) -> Result:
        return CliRunner().invoke(build(), list(words))

    return run
