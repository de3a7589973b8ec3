"""The page: a table for each part, with what was not offered, what did not end, and how many calls a figure stands for."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Callable
from html import escape
from typing import Any

from benchmarks.beside.child import MANY, MILLION, PROCESSES, ROUNDS, TASKS, THREADS

NOT_OFFERED = "not offered"
DOES = {
    "guardrail": "validates, records every call durably (hash-linked), counts",
    "agent-governance-toolkit-core": "asks a policy, keeps an audit entry",
    "awesome-agentguard": "checks and reports",
    "callm-toolkit": "wraps",
    "capio": "counts",
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
Found = list[dict[str, Any]]


def page(found: Found, left_out: dict[str, str], parts: list[str], seconds: float, window: float) -> str:
    """Return the page.

    Args:
        found: What was measured of each tool, by part.
        left_out: Why others were not measured.
        parts: Which parts were run.
        seconds: The most that a tool called for its memory.
        window: Seconds of calls for each width.
    """
    sections = {"cost": _cost, "memory": _memory, "exit": _exit, "scaling": _scaling}
    body = "\n".join(sections[part](found, seconds, window) for part in sections if part in parts)
    others = "".join(f"\nNot measured: {name}: {escape(why)}.\n" for name, why in left_out.items())
    return f"""# Cost beside the peers

Made by `python -m benchmarks.beside --out docs/beside.md` (`make beside`, and at the end of `make bench`); nothing here is written by hand.
Each tool stands on the same small function in its ordinary way, in an environment of its own, as [the gauntlet](gauntlet.md) uses it. The
tools do different things for a call, and a column says what: a cheap one that only retries and a dear one that writes a trace are not
rivals. Microseconds are this machine's, ratios are not. What a tool does not offer is "{NOT_OFFERED}".

{body}{others}
{dt.datetime.now(dt.UTC).date()}, Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores.
"""


def costs(found: Found) -> list[tuple[str, float]]:
    """Return what a call adds to its caller in µs, by tool, the least first."""
    return sorted(
        ((each["name"], each["cost"]["caller"]) for each in found if each["cost"].get("caller") is not None),
        key=lambda each: each[1],
    )


def _cost(found: Found, seconds: float, window: float) -> str:
    ours = dict(costs(found)).get("guardrail")
    rows = []
    for each in sorted(found, key=lambda each: each["cost"].get("caller", 1e9)):
        cost = each["cost"]
        if each["name"] == "bare":
            continue
        if "caller" not in cost:
            rows.append([_name(each), DOES.get(each["name"], ""), "did not end", *[""] * 6])
            continue
        ratio = "" if ours is None else f"{cost['caller'] / ours:.1f}"
        rows.append([
            _name(each) + (" (async)" if cost["later"] else ""), DOES.get(each["name"], ""), f"{cost['caller']:.1f}", ratio,
            _number(cost, "whole", ".1f"), f"{1e3 * cost['imported']:.0f}", f"{cost['rss']:.0f}", _number(cost, "exit", ".2f"), f"{cost['size']:.0f}",
        ])  # fmt: skip
    head = ["tool", "does for a call", "caller, µs", "in guardrails", "whole process, µs", "import and set-up, ms CPU", "memory, MiB", "at exit, s", "installed, MiB"]  # fmt: skip
    notes = _problems(found, "cost", lambda cost: [cost["problem"]])
    return f"""## CPU, import, size

![CPU that a call adds to its caller, of each tool](pictures/beside.svg)

{_table(head, rows, 2)}

*caller*: CPU of the calling thread added to the bare function, least of {ROUNDS} rounds (fewer where they took more than {seconds / 3:g} s).
*whole process*: CPU of all its threads for each of {MANY:,} calls, or as many as fit into {seconds / 3:g} s, until everything is written.
*import and set-up*: until the first call. *at exit*: from the last line of the program, after everything was written, to its end.
{notes}"""


def _memory(found: Found, seconds: float, window: float) -> str:
    rows = []
    for each in sorted(found, key=lambda each: -each["memory"].get("calls", 0)):
        memory = each["memory"]
        if each["name"] == "bare":
            continue
        if "calls" not in memory:
            rows.append([_name(each), "did not end", "", "", "", "", ""])
            continue
        many = f"{memory['calls']:,}"
        rows.append([
            _name(each), many, f"{memory['took']:.0f}", f"{memory['grown']:.1f}", f"{memory['late']:.1f}",
            f"{memory['late'] / max(1, memory['second']) * 2**20:.0f}", "" if memory["written"] else "not all was written",
        ])  # fmt: skip
    notes = _problems(found, "memory", lambda memory: [memory["problem"]])
    return f"""## Memory after a million calls

{_table(["tool", "calls", "in, s", "grown by, MiB", "of which in the second half", "there, bytes for a call", ""], rows, 1, last=1)}

Resident memory after {MILLION:,} calls one after the other, less that after the first hundreds, when everything is written. What grows in the
first half only is a queue or a buffer that has filled; what grows in the second half too may go on growing. A tool that does not make so many
calls within {seconds:g} s makes fewer, and the table says how many: its bytes for a call count, not its MiB.
{notes}"""


def _exit(found: Found, seconds: float, window: float) -> str:
    rows = []
    for each in found:
        if each["name"] == "bare":
            continue
        cells = [_name(each)]
        for kind in ("refuses", "is silent"):
            one = each["exit"].get(kind)
            if one is None:
                cells += ["", NOT_OFFERED]
            elif one["exit"] is not None:
                cells += [f"{one['calls']:,}", f"{one['exit']:.2f}"]
            else:
                cells += [f"{one.get('calls', 0):,}", escape(one["problem"])]
        rows.append(cells)
    rows.sort(key=lambda row: row[-1] == NOT_OFFERED)
    head = ["tool", "calls", "collector refuses: end after, s", "calls", "collector is silent: end after, s"]
    return f"""## The end of a process whose collector is dead

{_table(head, rows, 1)}

1,000 calls, or as many as fit into {seconds / 6:g} s, with records on their way to a port that refuses connections, and to one that takes
them and never answers; then the program ends, and nothing is flushed by hand. The time runs from its last line to the end of the process,
with each tool's own limits; {seconds:g} s are waited for. Tools that send to no collector, or only with an account, do not offer this.
"""


def _scaling(found: Found, seconds: float, window: float) -> str:
    notes = _problems(found, "scaling", lambda scaling: [problem for _, problem in scaling.values()])
    return f"""## Calls per second

![Calls per second by number of threads, tasks and processes](pictures/beside-scaling.svg)

{_by_width(found, _rate)}

Calls for {window:g} s, divided by the time until everything of them is written: a queue that fills while its caller goes on is no speed. In
brackets what the callers alone saw, where it is a fifth more. *tasks* share one event loop and call a function that gives way once; the
others call the small function. *processes* are started as any program is, and work in one folder. "–": it did not end.

## Calls per second of CPU

{_by_width(found, _for_cpu)}

The same calls, divided by the CPU seconds of all threads of the process, or of all processes: the work itself, however many cores there
are and whatever else the machine is doing, without the waiting for a disk.
{notes}"""


def _by_width(found: Found, shown: Callable[[dict[str, Any] | None], str]) -> str:
    tables = []
    for kind, widths in (("threads", THREADS), ("tasks", TASKS), ("processes", PROCESSES)):
        rows = []
        for each in found:
            if kind not in each["scaling"]:
                rows.append([_name(each)] + [NOT_OFFERED] * len(widths))
                continue
            rates = each["scaling"][kind][0]
            rows.append([_name(each)] + [shown(rates.get(width)) for width in widths])
        tables.append(_table([kind, *map(str, widths)], rows, 1))
    return "\n\n".join(tables)


def _for_cpu(found: dict[str, Any] | None) -> str:
    return f"{found['count'] / found['cpu']:,.0f}" if found and found.get("cpu") else "–"


def _rate(found: dict[str, Any] | None) -> str:
    if not found:
        return "–"
    rate, called = found.get("rate"), found["called"]
    if rate is None:
        return f"– ({called:,.0f})"
    return f"{rate:,.0f}" + (f" ({called:,.0f})" if called > 1.2 * rate else "")


def _name(each: dict[str, Any]) -> str:
    return "the bare function" if each["name"] == "bare" else f"{each['name']} {each['version']}"


def _number(found: dict[str, Any], name: str, how: str) -> str:
    return "did not end" if found.get(name) is None else format(found[name], how)


def _problems(found: Found, part: str, of: Any) -> str:
    texts = [(each["name"], problem) for each in found if each[part] for problem in of(each[part]) if problem]
    return "".join(f"\n{name}: {escape(problem)}.\n" for name, problem in texts)


def _table(head: list[str], rows: list[list[str]], left: int, last: int = 0) -> str:
    """Return a table whose first columns, and some of the last, are words."""
    numbers = len(head) - left - last
    lines = [head, ["---"] * left + ["--:"] * numbers + ["---"] * last, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
