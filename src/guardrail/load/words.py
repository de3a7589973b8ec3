"""What a load came to, in words: the same sentences for the terminal and the report."""

from __future__ import annotations

import math
from typing import Any

from guardrail.load.findings import Broken, Curve
from guardrail.load.schedule import Step
from guardrail.load.tally import ELSEWHERE, WAITING, Tally


def duration(seconds: float | None) -> str:
    """Return seconds as one reads them, with three digits: "3.21 ms"; a dash for None."""
    if seconds is None:
        return "\u2013"
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 1000 else f"{seconds * factor:,.0f} {unit}"  # noqa: PLR2004
    return f"{seconds * 1e6:.3g} µs"


def rate(number: float) -> str:
    """Return arrivals a second: "120/s"."""
    return f"{number:,.0f}/s" if number >= 100 else f"{number:,.3g}/s"  # noqa: PLR2004 - three digits


def setting(step: Step) -> str:
    """Return what is different about a step: its rate, and its workers and rows where they were asked for."""
    asked = rate(step.rate) if step.low == step.high else f"{rate(step.low)} to {rate(step.high)}"
    return asked + of_group(step.workers, step.rows, before=", ")


def of_group(workers: int | None, rows: int | None, *, before: str = "") -> str:
    """Return which workers and rows were asked for, "" where neither was."""
    said = [] if rows is None else [f"{rows:,} {'row' if rows == 1 else 'rows'} a call"]
    said += [] if workers is None else [f"{workers:,} at a time"]
    return before + ", ".join(said) if said else ""


def share(part: float) -> str:
    """Return a share in per cent: "0.3 %", "12 %"."""
    return f"{part * 100:.2g} %" if 0 < part < 0.1 else f"{part * 100:.0f} %"  # noqa: PLR2004 - two digits


def stage(name: str) -> str:
    """Return how a sentence calls a stage."""
    if name == WAITING:
        return "waiting to be started"
    return "the function itself, outside any stage" if name == ELSEWHERE else f"stage {name}"


def sentences(curve: Curve, budget: float | None) -> list[str]:
    """Return what a curve says: how far the budget is kept, where it breaks and why, from where on the rate is not kept."""
    found = []
    where = of_group(curve.workers, curve.rows)
    head = f"With {where}: " if where else ""
    if budget is not None:
        if curve.broken is None:
            most = max(step.step.rate for step in curve.steps)
            found.append(f"{head}The budget of {duration(budget)} is kept at every rate, up to {rate(most)}.")
        else:
            found.append(head + _breaks(curve.broken, budget))
            if curve.kept is not None:
                found.append(f"The highest rate that kept it: {rate(curve.kept.step.rate)}.")
            found += _blame(curve.broken)
    if curve.knee is not None:
        found.append(f"{head if budget is None else ''}{_knee(curve.knee)}")
    elif budget is None:
        found.append(f"{head}Every rate was kept up with; there is no budget to judge the latencies by.")
    return found


def _breaks(broken: Broken, budget: float) -> str:
    step = broken.step
    over, lost = step.over, step.not_sent
    reasons = [f"p99 is {duration(broken.p99)}, and {share(over / step.offered)} of the calls took longer"] if over else []
    if lost:
        reasons.append(f"{share(lost / step.offered)} of what was due could not be sent")
    return f"The budget of {duration(budget)} breaks at {rate(step.step.rate)}: {'; '.join(reasons)}."


def _blame(broken: Broken) -> list[str]:
    if broken.stage is None:
        return []
    grew = f", up from {share(broken.before)} at the lowest rate" if broken.before else ""
    found = [f"To blame: {stage(broken.stage)}, {share(broken.share)} of the time of the slow calls{grew}."]
    if broken.work is not None:
        found.append(
            f"Meanwhile the calls that run are busy with {stage(broken.work[0])}: {share(broken.work[1])} of their time."
        )
    elif broken.stage == ELSEWHERE:
        found.append('To see what it does there, name its parts: with stage("…").')
    return found


def _knee(step: Tally) -> str:
    offered, achieved = step.offered_rate, step.achieved_rate
    if math.isclose(achieved, offered, rel_tol=0.05):
        return (
            f"From {rate(step.step.rate)} on, fewer calls end with an answer: {share(step.served_share)} of those that were due."
        )
    return f"The knee is at {rate(step.step.rate)}: {rate(offered)} were due, and {rate(achieved)} came back."


def row(tally: Tally) -> tuple[Any, ...]:
    """Return a step's cells for a table: see `HEADS`."""
    others = {word: many for word, many in tally.outcomes.items() if word != "answered"}
    rest = ", ".join(f"{many:,} {word}" for word, many in others.items())
    lost = [f"{many:,} {word}" for many, word in ((tally.not_sent, "not sent"), (tally.unfinished, "not back yet")) if many]
    quantiles = [duration(tally.latency.quantile(each)) for each in (0.5, 0.9, 0.99, 0.999)]
    return (
        setting(tally.step), f"{tally.offered:,}", rate(tally.achieved_rate), *quantiles,
        duration(tally.latency.largest if tally.latency.count else None), f"{tally.outcomes['answered']:,}", rest, ", ".join(lost),
    )  # fmt: skip


HEADS = ("rate", "due", "came back", "p50", "p90", "p99", "p99.9", "max", "answered", "otherwise", "without an end")
PROSE = ("otherwise", "without an end")  # of these, what is words
