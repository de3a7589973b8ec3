"""Every test starts without the providers of another."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from opentelemetry import metrics, trace

sys.path.insert(0, str(Path(__file__).parent))  # for the stand-ins beside this file, in child processes too


@pytest.fixture(autouse=True)
def no_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider is set; OpenTelemetry has no public way to take one back."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", None)
