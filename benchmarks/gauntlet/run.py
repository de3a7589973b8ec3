"""Runs every case with every tool, each in a process of its own, and says how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from benchmarks.gauntlet.case import Case
from benchmarks.gauntlet.environments import Environment
from benchmarks.gauntlet.tool import Tool

OK, FAILED, NOT_OFFERED, NO_RETURN = "ok", "failed", "not offered", "did not return"
NOT_INSTALLED, NOT_RUN = "not installed", "not run"
ROOT: Final = Path(__file__).resolve().parents[2]
_SET_UP: Final = 90.0  # seconds for imports, before a case's own time begins
_END: Final = 15.0  # seconds for the process to end after the case
_BUSY: Final = 0.02


@dataclasses.dataclass(frozen=True)
class Ending:
    """How one case ended with one tool.

    Attributes:
        tool: The tool's name.
        case: The case's name.
        result: ok, failed, not offered, did not return, not installed.
        cause: One line: why.
        seconds: How long the case took.
        day: When it was run.
    """

    tool: str
    case: str
    result: str
    cause: str = ""
    seconds: float = 0.0
    day: str = dataclasses.field(default_factory=lambda: dt.datetime.now(dt.UTC).date().isoformat())


def kept(file: Path | None) -> dict[tuple[str, str], Ending]:
    """Return the endings of an earlier run that was told to keep them, the latest of each pair of tool and case."""
    lines = file.read_text().splitlines() if file is not None and file.exists() else []
    return {(each.tool, each.case): each for each in (Ending(**json.loads(line)) for line in lines)}


def keep(file: Path | None, ending: Ending) -> None:
    """Add an ending to the file of endings, if there is one."""
    if file is not None and ending.result != NOT_OFFERED:
        with file.open("a") as lines:
            lines.write(json.dumps(dataclasses.asdict(ending)) + "\n")


def judge(tool: type[Tool], name: str, case: Case, place: Environment) -> Ending:
    """Run a case with a tool, under each of its ways; what does not end well is run once more.

    Args:
        tool: The adapter.
        name: How a child finds it.
        case: The case.
        place: Where it runs.
    """
    offered = [way for way in tool.ways if tool().offers(way, case.needs)]
    if not offered:
        return Ending(tool.name, case.name, NOT_OFFERED)
    if place.python is None:
        return Ending(tool.name, case.name, NOT_INSTALLED, place.reason)
    ending = Ending(tool.name, case.name, OK)
    for way in offered:
        ending = once(tool, name, way, case, place.python)
        if ending.result != OK:
            again = once(tool, name, way, case, place.python)
            if again.result == OK:
                again = dataclasses.replace(again, cause=f"ok the second time; the first time: {ending.cause}")
            ending = again
        if way and ending.cause:
            ending = dataclasses.replace(ending, cause=f"{way}: {ending.cause}")
        if ending.result != OK:
            break
    return ending


def once(tool: type[Tool], name: str, way: str, case: Case, python: str) -> Ending:
    """Run a case once, in a new process and an empty folder."""
    folder = Path(tempfile.mkdtemp(prefix="gauntlet-"))
    home = folder / "home"
    home.mkdir()
    try:
        with (home / "stdout.txt").open("wb") as out, (home / "stderr.txt").open("wb") as err:
            child = subprocess.Popen(
                [python, "-m", "benchmarks.gauntlet.child", name, way, case.name, str(home)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=home, env=_environment(home, tool), start_new_session=True,
            )  # fmt: skip
        try:
            return _watch(child, tool.name, case, folder)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(home: Path, tool: type[Tool]) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GUARDRAIL_", "OTEL_", "PYTEST_", "COV_"))}
    path = [str(ROOT), *([str(ROOT / "src")] if tool.name == "guardrail" else []), *tool.path]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(path),
        "HOME": str(home),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(home),
        **tool.environment,
    }


def _watch(child: subprocess.Popen[bytes], tool: str, case: Case, folder: Path) -> Ending:
    """Wait for a child: for its set-up, then for the case, then for its end."""
    ended = folder / "ended"
    if not _wait(lambda: (folder / "started").exists() or child.poll() is not None, _SET_UP):
        return Ending(tool, case.name, NO_RETURN, f"still importing after {_SET_UP:g} s")
    if not _wait(lambda: ended.exists() or child.poll() is not None, case.limit):
        return Ending(tool, case.name, NO_RETURN, f"not back after {case.limit:g} s")
    over = _wait(lambda: child.poll() is not None, _END)
    if not ended.exists():
        return Ending(tool, case.name, FAILED, f"the process ended with {_how(child.poll() or 0)}: {_last_line(folder)}")
    said = json.loads(ended.read_text())
    if case.exits and said["result"] == OK and not over:
        return Ending(tool, case.name, NO_RETURN, f"the process still ran {_END:g} s after the case")
    return Ending(tool, case.name, said["result"], said["cause"], said.get("seconds", 0.0))


def _wait(until: Callable[[], bool], limit: float) -> bool:
    end = time.monotonic() + limit
    while not until():
        if time.monotonic() > end:
            return False
        time.sleep(_BUSY)
    return True


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"code {code}"


def _last_line(folder: Path) -> str:
    lines: Iterable[str] = (folder / "home" / "stderr.txt").read_text(errors="replace").splitlines()
    return ([line.strip() for line in lines if line.strip()] or ["nothing on standard error"])[-1][:160]
