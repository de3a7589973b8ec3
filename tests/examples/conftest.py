"""Runs the examples as a user does: in a process of their own, from a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def environment(**more):
    """The environment without anything of the library's, or of pytest's, by which the library knows that it is tested."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GUARDRAIL_", "OTEL_", "PYTEST_"))}
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # nothing is asked of the network
    return {**kept, **nowhere, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **more}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project's folder, so that the embedded store is made in it."""
    path = tmp_path_factory.mktemp("project")
    (path / "pyproject.toml").touch()
    return path


@pytest.fixture(scope="module")
def run(folder):
    """Runs a command in that folder and returns what it printed."""

    def run_it(*command, **more):
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(XDG_CONFIG_HOME=str(folder / "config"), **more),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=110,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run_it


@pytest.fixture(scope="module")
def example(run):
    """Runs an example by its name and returns what it printed."""
    return lambda name, **more: run(sys.executable, "-m", f"examples.{name}", **more)
