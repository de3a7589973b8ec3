"""One virtual environment for each tool, kept and found again by what is installed in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

LARGEST: Final = 1500 * 2**20  # bytes; beyond that an environment is not kept
_PATIENCE: Final = 900  # seconds for one installation
_VERSIONS: Final = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"


class Environment(NamedTuple):
    """Where a tool runs, or why it does not.

    Attributes:
        python: Its interpreter, or None.
        versions: What is installed, by name.
        reason: Why there is none.
    """

    python: str | None
    versions: dict[str, str]
    reason: str


def home() -> Path:
    """Return the folder of all environments: `GAUNTLET_HOME`, else one in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("GAUNTLET_HOME") or Path(cache) / "guardrail-gauntlet")


def own(requirements: tuple[str, ...]) -> Environment:
    """Return the running interpreter as an environment: for guardrail itself and for the bare function."""
    return Environment(sys.executable, {name: metadata.version(name) for name in requirements}, "")


def build(tool: str, requirements: tuple[str, ...]) -> Environment:
    """Return an environment with these requirements, made now if there is none yet."""
    wanted = json.dumps([sys.version_info[:2], sorted(requirements)])
    place = home() / f"{tool}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    python, note = place / "bin" / "python", place / "installed.json"
    if not note.exists():
        shutil.rmtree(place, ignore_errors=True)  # begun once, and not finished
        place.parent.mkdir(parents=True, exist_ok=True)
        reason = _install(place, python, requirements)
        if reason:
            shutil.rmtree(place, ignore_errors=True)
            return Environment(None, {}, reason)
        names = [requirement.split("=")[0].split("<")[0].split(">")[0].split("[")[0] for requirement in requirements]
        versions = subprocess.run([python, "-c", _VERSIONS, *names], check=True, capture_output=True, text=True).stdout
        note.write_text(versions)
    return Environment(str(python), json.loads(note.read_text()), "")


def _install(place: Path, python: Path, requirements: tuple[str, ...]) -> str:
    """Install; return nothing, or the reason why it cannot be had."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    command = [_uv(), "pip", "install", "--quiet", "--python", str(python), *requirements]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"the installation did not end within {_PATIENCE // 60} minutes"
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return f"cannot be installed: {' '.join(lines)[-200:] or 'no reason given'}"
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file() and not file.is_symlink())
    return f"larger than {LARGEST // 2**20} MiB" if size > LARGEST else ""


def _uv() -> str:
    import uv

    return uv.find_uv_bin()
