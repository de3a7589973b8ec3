"""Prints what happened, for people: a table of how the calls ended, then a line or two for each thing that went wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from examples.lending.cost import Cost
from guardrail import Decision, Outcome

WIDTH = 100
WORDS = {
    Outcome.answered: "answered by the model",
    Outcome.cached: "from the cache",
    Outcome.stale: "from the cache, stale",
    Outcome.fallback: "fallback",
    Outcome.human: "answered by a person, earlier",
    Outcome.deferred: "deferred: a person decides",
    Outcome.refused: "refused",
    Outcome.late: "late",
    Outcome.failed: "failed",
    Outcome.cancelled: "cancelled",
}
ALWAYS = {Outcome.answered, Outcome.cached, Outcome.deferred, Outcome.refused, Outcome.late, Outcome.failed}

console = Console(highlight=False)
if not console.is_terminal or console.width > WIDTH:
    console.width = WIDTH


def say(text: str = "") -> None:
    """Print a line of rich's markup."""
    console.print(text)


def command(text: str) -> None:
    """Print what can be typed, in one piece however long the paths are."""
    console.print(f"  {text}", soft_wrap=True)


def endings(title: str, passes: dict[str, Sequence[Decision[Any]]]) -> None:
    """Print how the calls of each pass ended and how long they took."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("how it ended")
    for name in (*passes, "p50", "p95", "p99"):
        table.add_column(name, justify="right")
    everything = [decision for decisions in passes.values() for decision in decisions]
    for outcome in Outcome:
        counts = [sum(decision.outcome == outcome for decision in decisions) for decisions in passes.values()]
        if any(counts) or outcome in ALWAYS:
            table.add_row(WORDS[outcome], *map(str, counts), *_quantiles(d for d in everything if d.outcome == outcome))
    table.add_section()
    table.add_row("all", *(str(len(decisions)) for decisions in passes.values()), *_quantiles(everything), style="bold")
    console.print(table)


def _quantiles(decisions: Iterable[Decision[Any]]) -> list[str]:
    seconds = [decision.timings["total"] for decision in decisions]
    return [duration(float(one)) for one in np.quantile(seconds, (0.5, 0.95, 0.99))] if seconds else [""] * 3


def took(decision: Decision[Any]) -> str:
    """Return how long a decision took, in words."""
    return duration(decision.timings["total"])


def duration(seconds: float) -> str:
    """Return seconds as people write them."""
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def accuracy(rows: Iterable[tuple[str, Sequence[tuple[str, bool]]]]) -> None:
    """Print how often each of several ways to answer agrees with what the bank did in the end; each answer with the truth."""
    for name, pairs in rows:
        right = sum((answer == "approve") == approved for answer, approved in pairs)
        share = f"{right / len(pairs):6.1%}" if pairs else "     -"
        say(f"  {share} of {len(pairs)} right  {escape(name)}")


def cost(spent: Cost, typical: float) -> None:
    """Print what the guard cost, beside a typical call."""
    say(
        f"The guard took [bold]{spent.caller * 1e6:.0f} µs[/bold] of CPU a call on the caller's thread and {spent.process * 1e6:.0f} µs "
        f"in the whole process, until the record is on disk; the call itself took {duration(typical)} (median, with the bureau). "
        "Measured as the same options around a function that does nothing, less that function bare."
    )


def event(title: str, what: str) -> None:
    """Print one thing that happened; text of others must be escaped."""
    say(f"[bold]{title}[/bold]")
    console.print(Padding(what, (0, 0, 0, 2), expand=False))


def guardrail_command() -> str:
    """Return how to call the command line from here: it stands beside this Python, which need not be on the path."""
    found = Path(sys.executable).with_name("guardrail")
    if not found.exists():
        return "guardrail"
    return str(found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found)
