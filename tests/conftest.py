"""Every test begins in a fresh world: a home of its own, none of the environment's settings, no state of earlier tests."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pkgutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import guardrail
from guardrail.testing import fresh


def _beside(name: str):
    """Import a module that stands beside this one; the tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


servers = _beside("servers")
redis_server, postgres_server, url, store = servers.redis_server, servers.postgres_server, servers.url, servers.store


def pytest_sessionstart() -> None:
    """Let Ctrl-C interrupt, as some tests ask of it: a shell that starts us in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _import_everything()


def _import_everything() -> None:
    """Import the library on this thread: pytest rewrites what it imports, and Python 3.11 can't parse on two threads at once.

    Its parser then fails with "AST constructor recursion depth mismatch" (CPython issue 106905). Tests of what is imported
    when run in processes of their own.
    """
    for found in pkgutil.walk_packages(guardrail.__path__, "guardrail."):
        if "migrations" not in found.name and not found.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # of an extra
                importlib.import_module(found.name)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A home that does not exist yet, named by the environment as it is for a service; what was written is finished."""
    for name in list(os.environ):
        if name.startswith(("GUARDRAIL_", "OTEL_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("GUARDRAIL_HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with fresh():
        yield folder
