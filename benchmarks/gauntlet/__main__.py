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
    places = {tool.name: _place(tool, chosen) for tool in selected}
    endings = _run(selected, chosen, places, asked.jobs)
    page = report.page(selected, chosen, places, endings)
    if asked.out is None:
        print(page)
    else:
        asked.out.write_text(page)
    return int(any(each.tool == "guardrail" and each.result != run.OK for each in endings if each.result != run.NOT_OFFERED))


def _place(tool: type[Tool], chosen: list[Case]) -> Environment:
    if tool.name in _OURS:
        return environments.own(("guardrail-sdk",) if tool.name == "guardrail" else ())
    beside = {package for each in cases.CASES.values() for package in each.packages if tool().offers("", each.needs)}
    print(f"{tool.name}: environment", file=sys.stderr, flush=True)
    place = environments.build(tool.name, (*tool.requirements, *sorted(beside)))
    if place.python is None:
        print(f"{tool.name}: {place.reason}", file=sys.stderr, flush=True)
    return place


def _run(selected: list[type[Tool]], chosen: list[Case], places: dict[str, Environment], jobs: int) -> list[Ending]:
    def one(tool: type[Tool], case: Case) -> Ending:
        ending = run.judge(tool, tool.name, case, places[tool.name])
        if ending.result != run.NOT_OFFERED:
            print(f"{tool.name:32} {case.name:32} {ending.result:14} {ending.cause}", file=sys.stderr, flush=True)
        return ending

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda pair: one(*pair), [(tool, case) for tool in selected for case in chosen]))


if __name__ == "__main__":
    sys.exit(main())
