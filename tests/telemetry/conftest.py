"""Every test starts without providers, counts and settings of another, in a home of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import metrics, trace

from guardrail import notices, settings
from guardrail.ledger import writer
from guardrail.telemetry import stats

sys.path.insert(0, str(Path(__file__).parent))  # for the stand-ins beside this file, in child processes too


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No provider is set; OpenTelemetry has no public way to take one back."""
    for name in list(os.environ):
        if name.startswith(("GUARDRAIL_", "OTEL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", None)
    settings.reset()
    notices.reset()
    stats.reset()
    yield
    writer.shutdown(5)
    settings.reset()
    notices.reset()
    stats.reset()
