"""What a call costs beside the peers: each in its own environment, put on the same small function in its ordinary way.

    python -m benchmarks.beside --out docs/beside.md

In each process the guarded and the bare function take turns, and the least of many rounds counts. Tools differ in what they do for a
call (the column says it): a cost is to be read beside that. Ratios can be compared between machines, microseconds cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ROUNDS, CALLS, MANY = 30, 200, 20_000
DOES = {
    "guardrail": "validates, records every call durably (hash-linked), counts",
    "agent-governance-toolkit-core": "asks a policy, keeps an audit entry",
    "aiocache": "caches",
    "awesome-agentguard": "checks and reports",
    "cachetools": "caches",
    "callm-toolkit": "wraps",
    "capio": "counts",
    "cashews": "caches",
    "hyx": "retries",
    "langfuse": "traces",
    "logfire": "traces",
    "mlflow-skinny": "traces",
    "pybreaker": "breaks a circuit",
    "stamina": "retries",
    "tenacity": "retries",
    "traceloop-sdk": "traces",
    "weave": "wraps (it traces only with an account)",
}


def main() -> None:
    """Measure all, or in a child process one."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--only", help="tools, separated by commas")
    options.add_argument("--out", type=Path, help="where the page is written")
    options.add_argument("--child", nargs=2, metavar=("TOOL", "HOME"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]))
        return
    left_out: dict[str, str] = {}
    found = [each for name in tools(given.only) if (each := measured(name, left_out)) is not None]
    text = page(found, left_out)
    if given.out is None:
        sys.stdout.write(text)
    else:
        given.out.write_text(text, encoding="utf-8")
        (given.out.parent / "pictures" / "beside.svg").write_text(chart(found), encoding="utf-8")


def tools(only: str | None) -> list[str]:
    """Return the names of those that can stand above any function."""
    from benchmarks.gauntlet import tool

    return [
        name for name, adapter in tool.load().items()
        if name != "bare" and "wrap" in adapter.claims and (only is None or name in only.split(","))
    ]  # fmt: skip


def measured(name: str, left_out: dict[str, str]) -> dict[str, Any] | None:
    """Have a tool measured in its own environment; None where it cannot be installed or used: why goes into `left_out`."""
    from benchmarks.gauntlet import environments, tool

    adapter = tool.load()[name]
    place = environments.build(name, adapter.requirements) if adapter.requirements else environments.own(("guardrail-sdk",))
    if place.python is None:
        left_out[name] = place.reason
        return None
    with tempfile.TemporaryDirectory(prefix="beside-") as folder:
        variables = os.environ | adapter.environment | {"PYTHONPATH": str(ROOT)}
        command = [place.python, "-m", "benchmarks.beside", "--child", name, folder]
        try:
            done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            left_out[name] = f"more than {ROUNDS * CALLS + MANY:,} calls did not end within 300 s"
            return None
        ended = time.time()
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        left_out[name] = done.stderr.strip().rpartition("\n")[2][:200]
        return None
    result: dict[str, Any] = json.loads(lines[-1])
    sys.stderr.write(f"{name}: {result['caller']:.1f} µs\n")
    version = next(iter(place.versions.values()), "")
    return result | {"name": name, "version": version, "exit": ended - result["end"]}


def child(name: str, home: Path) -> None:
    """Measure one tool; print what was found as one line of JSON."""
    before_cpu, before_rss = time.process_time(), memory()
    from benchmarks.gauntlet.child import adapter

    tool = adapter(name, "")
    tool.start(home)

    def score(x: int) -> int:
        return x % 7

    async def later(x: int) -> int:
        return x % 7

    plain = "sync" in tool.claims
    made: Any = tool.wrap(score if plain else later)
    run: Callable[[int, Callable[[], float]], tuple[float, float]] = turns(score, made) if plain else turns_later(later, made)
    run(50, time.thread_time)
    imported, rss = time.process_time() - before_cpu, memory() - before_rss
    caller = min(b - a for a, b in (run(CALLS, time.thread_time) for _ in range(ROUNDS)))
    tool.finish() if name != "guardrail" else tool.sdk.flush(60)  # type: ignore[attr-defined]
    start, rss_then = time.process_time(), memory()
    run(MANY, time.thread_time)
    tool.finish()
    whole = (time.process_time() - start) / MANY
    found = {
        "caller": caller * 1e6, "whole": whole * 1e6, "import": imported, "rss": rss, "grown": memory() - rss_then,
        "size": installed(tool.requirements[0] if tool.requirements else "guardrail-sdk"), "async": not plain, "end": time.time(),
    }  # fmt: skip
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def turns(bare: Callable[[int], int], made: Callable[[int], int]) -> Callable[[int, Callable[[], float]], tuple[float, float]]:
    """Return a measurement of both: the seconds a call takes of each."""

    def run(calls: int, watch: Callable[[], float]) -> tuple[float, float]:
        first = watch()
        for number in range(calls):
            bare(number)
        second = watch()
        for number in range(calls):
            made(number)
        return (second - first) / calls, (watch() - second) / calls

    return run


def turns_later(bare: Any, made: Any) -> Callable[[int, Callable[[], float]], tuple[float, float]]:
    """Do as `turns` for coroutine functions."""

    async def both(calls: int, watch: Callable[[], float]) -> tuple[float, float]:
        first = watch()
        for number in range(calls):
            await bare(number)
        second = watch()
        for number in range(calls):
            await made(number)
        return (second - first) / calls, (watch() - second) / calls

    loop = asyncio.new_event_loop()
    return lambda calls, watch: loop.run_until_complete(both(calls, watch))


def memory() -> float:
    """Return the resident memory of this process in MiB."""
    text = Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""
    found = re.search(r"VmRSS:\s+(\d+)", text)
    return int(found[1]) / 1024 if found else 0.0


def installed(requirement: str) -> float:
    """Return the size in MiB of a distribution and of all that it needs, without extras."""
    wanted, done, size = [re.split(r"[^\w.-]", requirement)[0]], set(), 0
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in done:
            continue
        done.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for file in found.files or ():
            place = Path(str(found.locate_file(file)))
            size += place.stat().st_size if place.is_file() else 0
        if name == "guardrail-sdk":  # installed in place, so that its own files are elsewhere
            size += sum(each.stat().st_size for each in (ROOT / "src").rglob("*.py"))
        wanted += [re.split(r"[^\w.-]", each)[0] for each in found.requires or () if "extra ==" not in each]
    return size / 2**20


def page(found: list[dict[str, Any]], left_out: dict[str, str]) -> str:
    """Return the page."""
    ours = next((each["caller"] for each in found if each["name"] == "guardrail"), None)
    head = "| tool | does for a call | caller, µs | in guardrails | whole process, µs | import and set-up, ms CPU | memory, MiB | grown in 20,000 calls, MiB | at exit, s | installed, MiB |"
    lines = [head, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for each in sorted(found, key=lambda each: each["caller"]):
        ratio = "" if ours is None else f"{each['caller'] / ours:.1f}"
        name = f"{each['name']} {each['version']}{' (async)' if each['async'] else ''}"
        lines.append(
            f"| {name} | {DOES.get(each['name'], '')} | {each['caller']:.1f} | {ratio} | {each['whole']:.1f} | {1e3 * each['import']:.0f} "
            f"| {each['rss']:.0f} | {each['grown']:.1f} | {each['exit']:.2f} | {each['size']:.0f} |"
        )
    table = "\n".join(lines)
    others = "".join(f"\nNot measured: {name}: {escape(why)}.\n" for name, why in left_out.items())
    return f"""# Cost beside the peers

![CPU that a call adds to its caller, of each tool](pictures/beside.svg)

Made by `python -m benchmarks.beside --out docs/beside.md`; nothing here is written by hand. Each tool stands on the same small function in
its ordinary way, in an environment of its own, as [the gauntlet](gauntlet.md) uses it. The tools do different things for a call, and the
second column says what: a cheap one that only retries and a dear one that writes a trace are not rivals. Microseconds are this machine's,
ratios are not.

{table}
{others}
*caller*: CPU of the calling thread added to the bare function, least of {ROUNDS} rounds. *whole process*: CPU of all its threads for each of
{MANY:,} calls, until everything is written. *import and set-up*: until the first call. *at exit*: from the last line of the program to its end.

{dt.datetime.now(dt.UTC).date()}, Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores.
"""


def chart(found: list[dict[str, Any]]) -> str:
    """Return bars, on a logarithmic scale."""
    import math

    rows = sorted(found, key=lambda each: each["caller"])
    least, most = 0.1, max(each["caller"] for each in rows)
    height = 34 + 26 * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="CPU that a call adds to its caller">',
        f'<rect width="760" height="{height}" rx="8" fill="#fbfdfc"/><text x="16" y="20" fill="#4a6661">CPU that a call adds to its caller, µs (logarithmic)</text>',
    ]
    for at, each in enumerate(rows):
        width = 440 * math.log(max(each["caller"], least * 1.1) / least) / math.log(most / least)
        colour = "#1f7a6d" if each["name"] == "guardrail" else "#9db8b3"
        y = 32 + 26 * at
        parts.append(
            f'<text x="212" y="{y + 15}" text-anchor="end" fill="#12302c">{escape(each["name"])}</text><rect x="220" y="{y}" width="{width:.0f}" height="20" rx="3" fill="{colour}"/>'
            f'<text x="{226 + width:.0f}" y="{y + 15}" fill="#12302c">{each["caller"]:.1f}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    main()
