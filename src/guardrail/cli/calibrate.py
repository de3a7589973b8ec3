"""`guardrail calibrate`: a threshold with a guarantee for a guard, from what its ledger and its queue know, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from guardrail.cli.text import clean, emit, reasons_told, say, table
from guardrail.errors import ConfigError

if TYPE_CHECKING:
    from guardrail.review.calibrated import Calibration
    from guardrail.review.capacity import Reviews
    from guardrail.thresholds.threshold import Point

_LINES: Final = 16  # points of the curve that a terminal shows
_BAR: Final = 24  # characters of the longest bar
_FINDING: Final = (
    "max_error",
    "delta",
    "expires",
    "out",
    "plot",
    "reviewers",
    "per_hour",
    "hours",
    "per_day",
)  # what only finding one needs
_REVIEWING: Final = ("per_hour", "hours", "per_day")  # what says something only of reviewers
_NONE: Final = 1  # the exit status where no threshold is certified, or none any more


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command("calibrate")(calibrate)


def calibrate(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The guard's name.", show_default=False)],
    *,
    max_error: Annotated[float, typer.Option(help="The share of wrong answers among those that go out, at most.")] = 0.02,
    delta: Annotated[float, typer.Option(help="The probability that this does not hold.")] = 0.05,
    groups: Annotated[str | None, typer.Option(metavar="ARG", help="The argument whose value is a case's group.")] = None,
    version: Annotated[str | None, typer.Option(help="The model's version; that of the latest record if not given.")] = None,
    since: Annotated[str, typer.Option(help="How far back to look, such as 30d.")] = "90d",
    expires: Annotated[str, typer.Option(help="For how long the threshold is used, or never.")] = "90d",
    check: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Hold a saved threshold against today's labels, in place of finding another."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the threshold, signed.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Write the curve as a picture.")] = None,
    reviewers: Annotated[int | None, typer.Option(help="How many people decide cases: say what that means for them.")] = None,
    per_hour: Annotated[float, typer.Option(help="How many cases one of them decides in an hour.")] = 20.0,
    hours: Annotated[float, typer.Option(help="For how many hours a day.")] = 8.0,
    per_day: Annotated[float | None, typer.Option(help="Calls a day; those of the ledger if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the confidence from which on a guard's answers are wrong at most so often, with a stated certainty.

    The labels come from feedback, from decided cases, and from answers that were drawn to be checked. Ends with status 1 where
    nothing is certified, neither for all cases nor for one of --groups; then nothing is written to --out.

    With --check it says whether the threshold in FILE.json was made from the labels that there are now, by their digest, or from fewer, and
    whether they still certify its own promise (its error, its delta, its groups). Ends with status 0 where they do, however many labels have
    come since; with 1 where they do not, or where it has expired or is for another version; with 2 where the file is not as it was signed, or
    there are no labels.
    """
    if check is not None:
        if given := _given(ctx, _FINDING):
            raise ConfigError("--check finds no threshold: it keeps to what the file says", hint=f"leave out {given}")
        _recheck(name, check, groups=groups, version=version, since=since, as_json=as_json)
        return
    if reviewers is None and (given := _given(ctx, _REVIEWING)):
        raise ConfigError(f"{given} says nothing without reviewers", hint="add --reviewers N, or leave it out")
    from guardrail.review.calibrated import calibrated_from_labels

    for path, ending in ((plot, ".svg"), (out, ".json")):
        if path is not None and path.suffix != ending:
            raise ConfigError(f"{path.name} does not end in {ending}", hint=f"write {path.stem}{ending}")
    made = calibrated_from_labels(
        name, max_error=max_error, delta=delta, groups=groups, version=version, since=since,
        expires=None if expires == "never" else expires,
    )  # fmt: skip
    costs = None
    calls = per_day if per_day is not None else made.a_day
    if reviewers is not None:
        if calls is None:
            raise ConfigError("the ledger spans too little time to say how many calls there are a day", hint="add --per-day")
        costs = made.found.reviews(calls, reviewers=reviewers, per_hour=per_hour, hours=hours)
    usable = _usable(made)
    with reasons_told():
        if plot is not None:
            plot.write_text(_picture(made, max_error), encoding="utf-8")
        key = made.found.save(out) if out is not None and usable else None
    if as_json:
        planned = (
            {} if costs is None else {"reviews": {name: None if each == math.inf else each for name, each in vars(costs).items()}}
        )
        emit(made.to_dict() | planned | ({} if key is None else {"signed_by": key}))
    else:
        _tell(made, costs, calls)
        if key is not None:
            say(f"\nWritten to {clean(out)}, signed by {key}")
    if not usable:
        raise typer.Exit(_NONE)


def _given(ctx: typer.Context, names: Sequence[str]) -> str:
    """Return which of some options were typed, as they are typed."""
    typed = [each for each in names if getattr(ctx.get_parameter_source(each), "name", "") == "COMMANDLINE"]
    return ", ".join(f"--{each.replace('_', '-')}" for each in typed)


def _recheck(name: str, path: Path, *, groups: str | None, version: str | None, since: str, as_json: bool) -> None:
    """Hold a saved threshold against today's labels, and end with status 1 where they do not certify it."""
    from guardrail.review.cards import facts
    from guardrail.review.rechecked import HEADS, recheck_from_labels
    from guardrail.thresholds.threshold import Threshold

    saved = Threshold.load(path)
    found = recheck_from_labels(name, saved, groups=groups, version=version, since=since)
    if as_json:
        emit(found.to_dict())
    else:
        say(f"[bold]{clean(name)}[/bold]: [{'green' if found.holds else 'red'}]{clean(found.verdict)}[/]")
        lines = [
            ("promise", f"at most {part.max_error:.3g} wrong, with probability {1 - part.delta:.3g}") for part in found.parts[:1]
        ]
        lines += [each for each in facts(saved) if each[0] in ("version", "until") and each[1]]
        for each, words in [*lines, ("labels", found.labels)]:
            say(f"[dim]{each:<7}[/dim]  {clean(words)}")
        table(HEADS, found.rows())
        for warning in found.warnings:
            say(f"[yellow]note:[/yellow] {clean(warning)}")
    if not found.holds:
        raise typer.Exit(_NONE)


def _usable(made: Calibration) -> bool:
    """Return whether a guard can answer anything by it."""
    from guardrail.thresholds.threshold import NoThreshold

    return not isinstance(made.found, NoThreshold) or bool(made.found.certified)


def _tell(made: Calibration, costs: Reviews | None, calls: float | None) -> None:
    from guardrail.review.cards import facts
    from guardrail.thresholds.threshold import Threshold

    found = made.found
    bad = "" if isinstance(found, Threshold) else ": [red]no threshold is certified[/red]"
    if _usable(made) and bad:
        bad = ": [yellow]only groups have a threshold, all together have none[/yellow]"
    say(f"[bold]{clean(made.guard)} {clean(made.version)}[/bold]{bad}")
    lines: list[tuple[str, Any]] = [*facts(found), *(line for line in made.facts() if line[0] != "note")]
    if costs is not None:
        lines += _costs(costs)
    elif calls is not None:
        low, high = found.reviews_a_day(calls)[1:]
        lines.append(("to people", f"{found.reviews_a_day(calls)[0]:,.0f} of {calls:,.0f} a day ({low:,.0f} to {high:,.0f})"))
    width = max(len(each) for each, _ in lines)
    for each, words in lines:
        if words not in ("", None):
            say(f"[dim]{clean(each)}[/dim]{' ' * (width - len(each))}  {clean(words)}")
    for warning in [*made.warnings, *([] if costs is None or costs.warning is None else [costs.warning])]:
        say(f"[yellow]note:[/yellow] {clean(warning)}")
    if found.points:
        _curve(found.points)


def _costs(costs: Reviews) -> list[tuple[str, Any]]:
    low, high = costs.a_day_interval
    wait = "without end" if costs.waiting == math.inf else f"{costs.waiting / 60:,.1f} min of working time"
    return [
        ("to people", f"{costs.a_day:,.0f} a day ({low:,.0f} to {high:,.0f})"),
        ("utilisation", f"{costs.utilisation:.0%} ({costs.utilisation_interval[0]:.0%} to {costs.utilisation_interval[1]:.0%})"),
        ("expected wait", wait),
        ("reviewers needed", f"{costs.reviewers_needed:,}"),
    ]


def _curve(points: Sequence[Point]) -> None:
    from guardrail.review.curves import thinned

    few = thinned(points, _LINES)
    top = max(*(point.risk for point in few), 1e-9)
    rows = []
    for point in few:
        low, high = point.risk_interval
        rows.append(
            (
                f"{point.at_least:.4g}", f"{point.coverage:.1%}", f"{point.errors:,} of {point.accepted:,}", f"{point.risk:.2%}",
                f"{low:.2%} to {high:.2%}", "█" * round(point.risk / top * _BAR), "yes" if point.certified else "",
            )
        )  # fmt: skip
    table(("at least", "coverage", "wrong", "risk", "95 %", "", "certified"), rows)


def _picture(made: Calibration, max_error: float) -> str:
    from guardrail.review.curves import svg
    from guardrail.thresholds.threshold import Threshold

    coverage = made.found.coverage if isinstance(made.found, Threshold) else None
    return svg(made.found.points, title=f"{made.guard} {made.version}", max_error=max_error, coverage=coverage)
