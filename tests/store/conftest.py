"""The store on a home of its own, and other processes that use the same one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guardrail import notices, settings
from guardrail.store import engine

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A home that does not exist yet, named by the environment as it is for a service."""
    for name in list(os.environ):
        if name.startswith(("GUARDRAIL_", "OTEL_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("GUARDRAIL_HOME", str(folder))
    monkeypatch.chdir(tmp_path)
    settings.reset()
    notices.reset()
    yield folder
    engine.finish(5)
    settings.reset()
    notices.reset()


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python program in another process, with its stdin and stdout as text; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *arguments]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))  # noqa: S603
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
