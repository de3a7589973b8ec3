"""Run the gauntlet and write its table."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.gauntlet import case as cases
from benchmarks.gauntlet import environments, report, run
from benchmarks.gauntlet import tool as tools
from benchmarks.gauntlet.case import Case
from benchmarks.gauntlet.environments import Environment
from benchmarks.gauntlet.run import Ending
from benchmarks.gauntlet.tool import Tool

_OURS = ("guardrail", "bare")  # run in the interpreter that runs this


def main() -> int:
    """Parse the command line, run, write; the exit code says whether guardrail itself failed a case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gauntlet", description=__doc__)
    parser.add_argument("--only", help="tools, separated by commas; all by default")
    parser.add_argument("--case", help="cases, or parts of their names, separated by commas; all by default")
    parser.add_argument("--out", type=Path, help="where the page is written; without it the table goes to standard output")
    parser.add_argument(
        "--keep", type=Path, help="a file that keeps how each case ended: what stands in it is not run again, and is shown"
    )
    parser.add_argument("--again", action="store_true", help="run what is chosen, though it stands in that file")
    parser.add_argument("--jobs", type=int, default=2, help="how many run at once")
    parser.add_argument("--list", action="store_true", help="name tools and cases, and run nothing")
    asked = parser.parse_args()
    chosen = list(cases.names(cases.load(), asked.case))
    wanted = [name.strip() for name in asked.only.split(",")] if asked.only else []
    known = tools.load()
    unknown = [name for name in wanted if name not in known]
    if unknown or not chosen:
        parser.error(f"unknown tool: {', '.join(unknown)}; known: {', '.join(known)}" if unknown else "no such case")
    selected = [tool for name, tool in known.items() if not wanted or name in wanted]
    if asked.list:
        print(*(f"{tool.name}: {tool.about}" for tool in selected), sep="\n")
        print(*(f"{each.name}: {each.title}" for each in chosen), sep="\n")
        return 0
    before = run.kept(asked.keep)
    shown = [tool for name, tool in known.items() if tool in selected or any(name == each for each, _ in before)]
    places = {tool.name: _place(tool) for tool in shown}
    todo = [(tool, case) for tool in selected for case in chosen if asked.again or (tool.name, case.name) not in before]
    endings = [*before.values(), *_run(todo, places, asked)]
    rows = [each for each in cases.CASES.values() if each in chosen or any(each.name == case for _, case in before)]
    page = report.page(shown, rows, places, endings)
    if asked.out is None:
        print(page)
    else:
        asked.out.write_text(page)
    return int(any(each.result not in (run.OK, run.NOT_OFFERED) for each in endings if each.tool == "guardrail"))


def _place(tool: type[Tool]) -> Environment:
    if tool.name in _OURS:
        return environments.own(("guardrail-sdk",) if tool.name == "guardrail" else ())
    beside = {package for each in cases.CASES.values() for package in each.packages if tool().offers("", each.needs)}
    print(f"{tool.name}: environment", file=sys.stderr, flush=True)
    place = environments.build(tool.name, (*tool.requirements, *sorted(beside)))
    if place.python is None:
        print(f"{tool.name}: {place.reason}", file=sys.stderr, flush=True)
    return place


def _run(todo: list[tuple[type[Tool], Case]], places: dict[str, Environment], asked: argparse.Namespace) -> list[Ending]:
    def one(tool: type[Tool], case: Case) -> Ending:
        ending = run.judge(tool, tool.name, case, places[tool.name])
        run.keep(asked.keep, ending)
        if ending.result != run.NOT_OFFERED:
            print(f"{tool.name:32} {case.name:32} {ending.result:14} {ending.cause}", file=sys.stderr, flush=True)
        return ending

    with ThreadPoolExecutor(asked.jobs) as pool:
        return list(pool.map(lambda pair: one(*pair), todo))


if __name__ == "__main__":
    sys.exit(main())
