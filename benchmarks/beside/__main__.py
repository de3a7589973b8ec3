"""What a call costs beside the peers: each in its own environment, put on the same small function in its ordinary way.

    python -m benchmarks.beside --out docs/beside.md
    python -m benchmarks.beside --only guardrail,logfire --parts cost,memory,exit,scaling

In each process the guarded and the bare function take turns, and the least of many rounds counts. Tools differ in what they do for a
call (a column says it): a cost is to be read beside that. Ratios can be compared between machines, microseconds cannot.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.beside import charts, page
from benchmarks.beside.child import PROCESSES, ROOT
from benchmarks.gauntlet import environments
from benchmarks.gauntlet import tool as tools

PARTS = ("cost", "memory", "exit", "scaling")
_SET_UP = 20.0  # seconds that a tool may take until its first call, beside those for what is measured


def main() -> None:
    """Measure all, a part after the other for each tool."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--only", help="tools, separated by commas")
    options.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    options.add_argument("--out", type=Path, help="where the page is written, with its pictures beside it")
    options.add_argument(
        "--seconds", type=float, default=30.0, help="the most that a tool calls for its memory, and that an end is waited for"
    )
    options.add_argument("--window", type=float, default=1.0, help="seconds of calls for each width of scaling")
    given = options.parse_args()
    parts = given.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        options.error(f"no part is called {', '.join(sorted(unknown))}")
    start, found, left_out = time.monotonic(), [], dict[str, str]()
    for name in names(given.only):
        adapter = tools.load()[name]
        place = environments.build(name, adapter.requirements) if adapter.requirements else environments.own(("guardrail-sdk",))
        if place.python is None:
            left_out[name] = place.reason
            continue
        version = "" if name == "bare" else next(iter(place.versions.values()), "")
        one = Measured(place.python, adapter, given.seconds, given.window)
        found.append(
            {"name": name, "version": version, "claims": adapter.claims} | {part: getattr(one, part)() for part in parts}
        )
        sys.stderr.write(f"{name}: measured, {time.monotonic() - start:.0f} s since the beginning\n")
    text = page.page(found, left_out, parts, given.seconds, given.window)
    if given.out is None:
        sys.stdout.write(text)
        return
    given.out.write_text(text, encoding="utf-8")
    pictures = given.out.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    if "cost" in parts:
        (pictures / "beside.svg").write_text(charts.bars(page.costs(found)), encoding="utf-8")
    if "scaling" in parts:
        (pictures / "beside-scaling.svg").write_text(charts.lines(found), encoding="utf-8")


def names(only: str | None) -> list[str]:
    """Return the names of those that can stand above any function, and of the bare function."""
    return [
        name for name, adapter in tools.load().items()
        if "wrap" in adapter.claims and (only is None or name in only.split(","))
    ]  # fmt: skip


class Measured:
    """One tool, measured in its own environment.

    Args:
        python: The interpreter of that environment.
        adapter: How the tool is used.
        seconds: The most that one measurement calls, and that its end is waited for.
        window: Seconds of calls for each width.
    """

    def __init__(self, python: str, adapter: type[tools.Tool], seconds: float, window: float) -> None:
        self._python, self._adapter, self._seconds, self._window = python, adapter, seconds, window

    def cost(self) -> dict[str, Any]:
        """CPU, import, size; `problem` says what did not end."""
        if self._adapter.name == "bare":
            return {}
        lines, exit_, problem = self._child("cost", self._seconds / 3, self._seconds * 5 / 3 + _SET_UP)
        return {key: value for line in lines for key, value in line.items()} | {"exit": exit_, "problem": problem}

    def memory(self) -> dict[str, Any]:
        """Memory after a million calls."""
        if self._adapter.name == "bare":
            return {}
        lines, _, problem = self._child("kept", self._seconds, self._seconds * 2.5 + _SET_UP)
        return {key: value for line in lines for key, value in line.items()} | {"problem": problem}

    def exit(self) -> dict[str, Any]:
        """Seconds from the last call to the end of the process: the collector refuses; it takes connections and says nothing."""
        if "export" not in self._adapter.claims:
            return {}
        found = {}
        for kind in ("refuses", "is silent"):
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
                if kind == "is silent":
                    listener.listen(64)
                port = str(listener.getsockname()[1])
                lines, exit_, problem = self._child("dead", self._seconds / 6, self._seconds * 7 / 6, port)
            found[kind] = {key: value for line in lines for key, value in line.items()} | {"exit": exit_, "problem": problem}
        return found

    def scaling(self) -> dict[str, Any]:
        """Calls per second by width, None where it did not end; a kind of width is left out that is not offered."""
        found: dict[str, Any] = {}
        for kind, needed in (("threads", "sync"), ("tasks", "async")):
            if needed in self._adapter.claims:
                lines, _, problem = self._child(kind, self._window, self._window * 10 + self._seconds + _SET_UP)
                found[kind] = {line["width"]: line for line in lines}, problem
        rates, problem = {}, ""
        for width in PROCESSES:
            rates[width], wrong = self._processes(width)
            problem = problem or wrong
        return found | {"processes": (rates, problem)}

    def _processes(self, width: int) -> tuple[dict[str, float], str]:
        """Let some processes of one installation begin at the same time; return the sums, and what went wrong."""
        with tempfile.TemporaryDirectory(prefix="beside-") as folder:
            running = [self._begin("process", folder, str(self._window), stdin=subprocess.PIPE) for _ in range(width)]
            late = threading.Timer(self._seconds + _SET_UP, lambda: [each.kill() for each in running])
            late.start()
            try:
                for each in running:
                    if each.stdout is not None:
                        each.stdout.readline()  # it is ready
                ended = _together(running)
            finally:
                late.cancel()
        lines = [[found for line in out.splitlines() if (found := _json(line))] for out, _ in ended]
        whole = {key: sum(line[-1].get(key, 0.0) for line in lines if line) for key in ("called", "rate", "count", "cpu")}
        if all(line and "rate" in line[-1] for line in lines):
            return whole, ""
        return {}, f"with {width} processes: " + (_last(ended[0][1]) or "not ended in time")

    def _child(self, part: str, seconds: float, patience: float, *more: str) -> tuple[list[dict[str, Any]], float | None, str]:
        """Return the lines a measurement said, the seconds from the last to its end (None if killed), and what went wrong."""
        with tempfile.TemporaryDirectory(prefix="beside-") as folder:
            running = self._begin(part, folder, str(seconds), *more)
            problem = ""
            try:
                out, err = running.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                running.kill()
                out, err = running.communicate()
                problem = f"not ended after {patience:.0f} s"
            ended = time.time()
        lines = [found for line in out.splitlines() if (found := _json(line))]
        if not problem and running.returncode:
            problem = _last(err) or f"ended with status {running.returncode}"
        end = lines[-1].get("end") if lines else None
        return lines, None if end is None or problem else ended - end, problem

    def _begin(self, part: str, folder: str, *more: str, stdin: int | None = None) -> subprocess.Popen[str]:
        path = os.environ.get("PYTHONPATH", "") if self._python == sys.executable else ""  # a peer's environment is its own
        variables = os.environ | self._adapter.environment | {"PYTHONPATH": str(ROOT) + (path and os.pathsep + path)}
        command = [self._python, "-m", "benchmarks.beside.child", part, self._adapter.name, folder, *more]
        pipes = {"stdin": stdin or subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=folder, env=variables, text=True, errors="replace", **pipes)  # type: ignore[call-overload,no-any-return]


def _together(running: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """Give the word to all, then wait for all; return what each said to its two outputs."""
    for each in running:
        if each.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it is dead already, and will say why
                each.stdin.write("go\n")
                each.stdin.flush()
    return [each.communicate() for each in running]


def _json(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:  # what a tool prints
        return {}
    return found if isinstance(found, dict) else {}


def _last(text: str) -> str:
    return text.strip().rpartition("\n")[2][:160]


if __name__ == "__main__":
    main()
