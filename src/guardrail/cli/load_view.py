"""What a person sees of a load: live figures while it runs, a table and sentences when it is over."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from guardrail.cli.text import clean, console, say, table
from guardrail.load import words

if TYPE_CHECKING:
    from guardrail.load.job import Result
    from guardrail.load.schedule import Step
    from guardrail.load.tally import Tally


@contextlib.contextmanager
def live(steps: Sequence[Step]) -> Iterator[Callable[[Tally], None]]:
    """Show figures on stderr while a load runs, where that is a terminal.

    Args:
        steps: All that are to come.

    Yields:
        What is told of the figures of the step that runs.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.live import Live

    seen: list[Tally] = []
    with Live(console=console(stderr=True), refresh_per_second=5, transient=True) as screen:

        def watch(tally: Tally) -> None:
            if tally not in seen:
                seen.append(tally)
            screen.update(_screen(steps, seen))

        yield watch


def _screen(steps: Sequence[Step], seen: Sequence[Tally]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from guardrail import clock

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for head in ("rate", "due", "came back", "under way", "not sent", "p50", "p99", "max"):
        drawn.add_column(head, justify="left" if head == "rate" else "right")
    for tally in seen[-12:]:
        cells = (
            words.setting(tally.step), f"{tally.offered:,}", f"{tally.ended:,}", f"{max(tally.pending, 0):,}", f"{tally.not_sent:,}",
            words.duration(tally.latency.quantile(0.5)), words.duration(tally.latency.quantile(0.99)),
            words.duration(tally.latency.largest if tally.latency.count else None),
        )  # fmt: skip
        drawn.add_row(*map(Text, cells), style="red" if tally.breaks else "")
    last = seen[-1]
    done = sum(tally.step.seconds for tally in seen[:-1]) + min(clock.now() - last.began, last.step.seconds)
    told = Text(f"step {len(seen)} of {len(steps)}; Ctrl-C ends it and still tells what was measured", style="dim")
    return Group(drawn, told, ProgressBar(total=sum(step.seconds for step in steps), completed=done, width=60))  # it ends no line


def summary(result: Result, notes: Sequence[str]) -> None:
    """Print a table of the steps and what they say, and notes that have not been told yet."""
    from guardrail.load.findings import doubts

    rows = [words.row(tally) for tally in result.tallies]
    shown = [at for at in range(len(words.HEADS)) if any(row[at] for row in rows)]  # most loads leave nothing without an end
    heads = [words.HEADS[at] for at in shown]
    table(
        heads, [[row[at] for at in shown] for row in rows], figures=[head for head in heads if head not in ("rate", *words.PROSE)]
    )
    for curve in result.curves:
        for sentence in words.sentences(curve, result.budget):
            say(clean(sentence))
    for condition, step in result.conditions:
        how = "[green]kept[/green]" if step is None else f"[red]exceeded[/red] at {clean(words.setting(step.step))}"
        say(f"{clean(condition.text)}: {how}")
    for doubt in (*doubts(result.tallies), *notes):
        say(f"[yellow]note:[/yellow] {clean(doubt)}")
    colour = "yellow" if result.interrupted else "red" if result.broken else "green"
    say(f"[{colour}]{clean(result.verdict)}[/{colour}]")
