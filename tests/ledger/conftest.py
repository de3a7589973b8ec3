"""A ledger of its own for every test, in a temporary home."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardrail import notices, settings
from guardrail.ledger import writer
from guardrail.telemetry import stats

sys.path.insert(0, str(Path(__file__).parent))  # for the stand-ins beside this file, in child processes too


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A home named by the environment; what was written is finished before it goes."""
    for name in list(os.environ):
        if name.startswith(("GUARDRAIL_", "OTEL_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("GUARDRAIL_HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    settings.reset()
    notices.reset()
    stats.reset()
    yield folder
    writer.shutdown(5)
    settings.reset()
    notices.reset()
