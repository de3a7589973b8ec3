"""Every test begins in a fresh world: a home of its own, none of the environment's settings, no state of earlier tests."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def world(monkeypatch, tmp_path):
    """A home and a configuration folder that vanish; everything that the library keeps begins anew."""
    for name in list(os.environ):
        if name.startswith(("GUARDRAIL_", "OTEL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    from guardrail.testing.world import fresh

    with fresh():
        yield
