"""Every test of the settings starts from an empty environment, in an empty folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail import notices, settings


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty working directory, no variable of ours, nothing read yet."""
    for name in list(os.environ):
        if name.startswith(("GUARDRAIL_", "OTEL_")):
            monkeypatch.delenv(name)
    here = tmp_path / "project"
    here.mkdir()
    monkeypatch.chdir(here)
    settings.reset()
    notices.reset()
    yield here
    settings.reset()
    notices.reset()
