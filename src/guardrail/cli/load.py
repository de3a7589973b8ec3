"""`guardrail load`: arrivals at a constant rate for a guarded function or an endpoint, and where its budget breaks."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from guardrail import clock
from guardrail.cli.load_subject import Wanted, endpoint, function_of, write_locust
from guardrail.cli.text import clean, console, emit, reasons_told
from guardrail.errors import ConfigError

_WHAT: Final = "What is asked"
_HOW: Final = "How much of it"
_OUT: Final = "What comes out"


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command("load")(load)


def load(
    target: Annotated[
        str | None,
        typer.Argument(metavar="[MODULE:FUNCTION]", help="The function, such as loans.model:predict.", show_default=False),
    ] = None,
    *,
    url: Annotated[str | None, typer.Option(help="An endpoint instead of a function.", rich_help_panel=_WHAT)] = None,
    method: Annotated[str, typer.Option(help="Of HTTP; GET and DELETE send the row as a query.", rich_help_panel=_WHAT)] = "POST",
    headers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Headers to send, a line for each: Name: value.", rich_help_panel=_WHAT)
    ] = None,
    timeout: Annotated[str, typer.Option(help="For a request over HTTP.", rich_help_panel=_WHAT)] = "30s",
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rows to ask with: .csv, .json, .jsonl or .parquet; columns are keyword arguments, or JSON bodies.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Draw rows by chance instead of in turn.", rich_help_panel=_WHAT)
    ] = False,
    weights: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Draw rows by the number in this column.", rich_help_panel=_WHAT)
    ] = None,
    rate: Annotated[
        str, typer.Option(help="Arrivals a second: 50, or 10,50,100, or 10..500 in steps.", rich_help_panel=_HOW)
    ] = "10",
    duration: Annotated[str, typer.Option(help="Of each step.", rich_help_panel=_HOW)] = "10s",
    steps: Annotated[int, typer.Option(min=1, help="How many steps a range of rates has.", rich_help_panel=_HOW)] = 6,
    ramp: Annotated[
        bool, typer.Option("--ramp", help="Raise the rate without a break, not in steps.", rich_help_panel=_HOW)
    ] = False,
    poisson: Annotated[
        bool, typer.Option("--poisson", help="Arrivals by chance instead of evenly.", rich_help_panel=_HOW)
    ] = False,
    seed: Annotated[int, typer.Option(help="Of all chance.", rich_help_panel=_HOW)] = 1,
    workers: Annotated[
        str | None,
        typer.Option(
            help="Calls that run at the same time: 8, or steps 1,4,16. Default: 16 threads for a plain def,"
            " 128 for HTTP, no bound for an async def.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            help="Rows in each call: 100, or steps 1,10,100. For batch=True, and lists over HTTP.", rich_help_panel=_HOW
        ),
    ] = None,
    in_flight: Annotated[
        int,
        typer.Option(min=1, help="Calls that may wait or run; what is due beyond that counts as not sent.", rich_help_panel=_HOW),
    ] = 1000,
    warm_up: Annotated[
        int, typer.Option(min=0, help="Calls before the load, one by one, that do not count.", rich_help_panel=_HOW)
    ] = 3,
    drain: Annotated[str, typer.Option(help="How long a step waits at its end for what runs.", rich_help_panel=_HOW)] = "10s",
    budget: Annotated[str | None, typer.Option(help="Of a call; the guard's own if not given.", rich_help_panel=_OUT)] = None,
    fail_over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help='Ends with 1 if exceeded, in place of the budget: "p99>250ms", "failed>1%", "not_sent>0@100".',
            rich_help_panel=_OUT,
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a report.", rich_help_panel=_OUT)] = None,
    locust: Annotated[
        Path | None,
        typer.Option(metavar="FILE.py", help="Write a Locust file that does the same, and put on no load.", rich_help_panel=_OUT),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=_OUT)] = False,
    mode: Annotated[
        str | None, typer.Option(help="enforce or observe; the configured one if not given.", rich_help_panel=_WHAT)
    ] = None,
    real: Annotated[
        bool,
        typer.Option("--real", help="Leave real records, with the configured stores, cache and sinks.", rich_help_panel=_WHAT),
    ] = False,
    tickets: Annotated[
        bool, typer.Option("--tickets", help="With --real: file real tickets, too.", rich_help_panel=_WHAT)
    ] = False,
) -> None:
    """Put load on a guarded function or an HTTP endpoint, and tell at which rate its budget breaks, and where the time goes.

    Calls arrive when the schedule says so, whether or not the ones before have come back, and latencies count from that moment.

    The function is really run, with all that it does to the world. Its records and tickets go to a folder that vanishes, unless --real
    is given; they say that they come of a test. An endpoint leaves whatever it leaves: real records, real tickets.

    Ends with 0 if the budget (or each --fail-over) is kept, 1 if not, 2 for wrong use, 130 if Ctrl-C ended it; what was measured
    by then is told, and written.
    """
    from guardrail.load import job, schedule
    from guardrail.load.findings import Condition

    if (target is None) == (url is None):
        raise ConfigError("one thing is to be loaded", hint="guardrail load module:function, or guardrail load --url http://…")
    for path, ending in ((report, (".html", ".htm")), (locust, (".py",))):
        if path is not None and path.suffix not in ending:
            raise ConfigError(f"{path.name} does not end in {ending[0]}", hint=f"write {path.stem}{ending[0]}")
    conditions = [Condition(text) for text in fail_over or ()]
    patience = clock.seconds(drain, "--drain", zero=True)
    allowed = None if budget is None else clock.seconds(budget, "--budget")
    plan = schedule.plan(
        rate, clock.seconds(duration, "--duration"), steps=steps, ramp=ramp,
        workers=schedule.counts(workers, "--workers"), rows=schedule.counts(rows, "--rows"),
    )  # fmt: skip
    wanted = Wanted(data, sample, weights, seed)
    if url is not None:
        from guardrail.load.http import checked_url

        checked_url(url)
        if mode is not None or real or tickets:
            raise ConfigError(
                "--mode, --real and --tickets are for functions: an endpoint leaves what it leaves", hint="leave them out"
            )
    if locust is not None:
        write_locust(locust, url, method=method, headers=headers, plan=plan, wanted=wanted)
        return
    with contextlib.ExitStack() as stack:
        if url is not None:
            asked, item, told = endpoint(
                url, method=method, headers=headers, timeout=clock.seconds(timeout, "--timeout"), plan=plan,
                wanted=wanted,
            )  # fmt: skip
        else:
            asked, item, told = stack.enter_context(function_of(str(target), plan, wanted, mode=mode, real=real, tickets=tickets))
        _announce(told)
        from guardrail.cli.load_view import live, summary
        from guardrail.load import facts

        machine = facts.machine()
        with live(plan) as watch, contextlib.redirect_stdout(sys.stderr):  # what the function prints is no part of the result
            tallies = job.run(
                asked, plan, item, poisson=poisson, seed=seed, in_flight=in_flight, drain=patience, budget=allowed,
                warm_up=warm_up, watch=watch,
            )  # fmt: skip
    result = job.Result(
        name=asked.name, version=asked.version, budget=asked.budget if allowed is None else allowed, tallies=tallies,
        conditions=[(each, each.broken_by(tallies)) for each in conditions], facts=machine, notes=[*asked.notes, *told],
        settings={
            "command": facts.command_line(sys.argv[1:]), "arrivals": f"by chance, seed {seed}" if poisson else "evenly",
            "data": wanted.told(), "under way at most": f"{in_flight:,}",
            "before it": f"{warm_up} calls that do not count",
        },
    )  # fmt: skip
    if report is not None:
        from guardrail.load.report import page

        with reasons_told():
            report.write_text(page(result), encoding="utf-8")
    if as_json:
        emit(result.to_dict())
    else:
        summary(result, asked.notes)
        if report is not None:
            console().print(f"Report: {clean(report)}", soft_wrap=True)
    raise typer.Exit(result.exit_code)


def _announce(told: list[str]) -> None:
    for each in told:
        console(stderr=True).print(f"[yellow]note:[/yellow] {clean(each)}", soft_wrap=True)
