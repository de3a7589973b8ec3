"""Every test of the settings starts from an empty environment, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def fresh(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory, and not even a home is named."""
    monkeypatch.delenv("GUARDRAIL_HOME")
    here = tmp_path / "project"
    here.mkdir()
    monkeypatch.chdir(here)
    return here
