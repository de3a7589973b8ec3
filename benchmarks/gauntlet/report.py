"""Writes the page: what was run, where, and how each case ended with each tool."""

from __future__ import annotations

import os
import platform
from collections import Counter
from itertools import groupby
from typing import Final

from benchmarks.gauntlet import run
from benchmarks.gauntlet.case import Case
from benchmarks.gauntlet.environments import Environment
from benchmarks.gauntlet.run import Ending
from benchmarks.gauntlet.tool import Tool

HEAD: Final = """# The gauntlet

The same cases, run through guardrail and through each peer that can be installed. `make gauntlet` runs them all and writes this page;
nothing on it is written by hand.

```console
$ make gauntlet
$ python -m benchmarks.gauntlet --only guardrail,tenacity --case slow-attempts
```

## How to read it

| word | |
|---|---|
| ok | the case ended as its line says |
| failed | it did not; the reason stands below |
| did not return | the process was still running when the time for the case was over, and was ended |
| not offered | the tool's documentation does not claim what the case is about, so it was not run |
| not installed | the tool could not be installed here; the reason stands below |
| not run | the case was left out of this run |

Each case runs in a process of its own with an empty folder, each tool in a virtual environment of its own. A case that does not
end well is run once more, and the second ending counts. Each tool is used as its own documentation says, in the configuration
that suits the case best; how, stands in its file in `benchmarks/gauntlet/adapters/`, which also lists what it claims. Guardrail is run under
several configurations, and a case has to end well under each that it is claimed for. A group's table leaves out the tools
that offer nothing of it. `bare` is the function with no tool at all.

The cases were written by guardrail's authors, from what their users ask for and from defects that were seen in one tool or another. They say
nothing of what else a tool is good for, nor of what it costs.

**To add a tool**, write `benchmarks/gauntlet/adapters/name.py` with a class `Adapter`, a `Tool`: its requirements, its claims, and one
method for each claim. **To add a case**, write a function with `@case("what is expected", "what", "it", "needs")` in a file of
`benchmarks/gauntlet/cases/`; it gets a tool and an empty folder, and raises if the tool does not do it. If an adapter uses a tool
otherwise than its documentation says, that is a defect of this page: please report it.
"""


def page(tools: list[type[Tool]], cases: list[Case], places: dict[str, Environment], endings: list[Ending]) -> str:
    """Return the page as Markdown.

    Args:
        tools: The tools, in the order of the columns.
        cases: The cases, in the order of the rows.
        places: Where each tool ran.
        endings: How each case ended with each tool.
    """
    found = {(tool.name, each.name): Ending(tool.name, each.name, _unrun(tool, each)) for tool in tools for each in cases}
    found |= {(each.tool, each.case): each for each in endings if (each.tool, each.case) in found}
    parts = [HEAD, _where(list(found.values())), _tools(tools, places, list(found.values()))]
    for group, members in groupby(cases, key=lambda each: each.group):
        parts.append(_table(group, list(members), tools, found))
    parts.append(_reasons(tools, cases, found))
    return "\n".join(part for part in parts if part)


def _unrun(tool: type[Tool], case: Case) -> str:
    return run.NOT_RUN if any(tool().offers(way, case.needs) for way in tool.ways) else run.NOT_OFFERED


def _where(endings: list[Ending]) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    days = sorted({each.day for each in endings if each.result not in (run.NOT_OFFERED, run.NOT_RUN)})
    when = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "nothing was run"
    return (
        f"## This run\n\n{when}, Python {platform.python_version()} ({platform.python_implementation()}), {platform.system()} "
        f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB of memory.\n"
    )


def _tools(tools: list[type[Tool]], places: dict[str, Environment], endings: list[Ending]) -> str:
    words = (run.OK, run.FAILED, run.NO_RETURN, run.NOT_OFFERED)
    lines = [f"| tool | version | {' | '.join(words)} | used as |", f"|---|---|{'--:|' * len(words)}---|"]
    for tool in tools:
        place = places[tool.name]
        count = Counter(each.result for each in endings if each.tool == tool.name)
        main = [name for name in place.versions if any(each.startswith(name) for each in tool.requirements)] or list(
            place.versions
        )[:1]
        version = place.versions[main[0]] if main else ("" if place.python else run.NOT_INSTALLED)
        lines.append(f"| {tool.name} | {version} | {' | '.join(str(count[word]) for word in words)} | {_cell(tool.about)} |")
    return "\n".join([*lines, ""])


def _table(group: str, cases: list[Case], tools: list[type[Tool]], found: dict[tuple[str, str], Ending]) -> str:
    shown = [tool for tool in tools if any(found[tool.name, each.name].result != run.NOT_OFFERED for each in cases)]
    lines = [f"## {group}", "", f"| case | {' | '.join(tool.name for tool in shown)} |", f"|---|{'---|' * len(shown)}"]
    for each in cases:
        words = [_word(found[tool.name, each.name]) for tool in shown]
        lines.append(f"| {_cell(each.title)} (`{each.name}`) | {' | '.join(words)} |")
    return "\n".join([*lines, ""])


def _word(ending: Ending) -> str:
    return f"**{ending.result}**" if ending.result in (run.FAILED, run.NO_RETURN) else ending.result


def _reasons(tools: list[type[Tool]], cases: list[Case], found: dict[tuple[str, str], Ending]) -> str:
    lines = ["## What went otherwise", ""]
    for tool in tools:
        said = [found[tool.name, each.name] for each in cases]
        missing = {each.cause for each in said if each.result == run.NOT_INSTALLED}
        if missing:
            lines += [f"**{tool.name}** was not installed: {_cell(next(iter(missing)))}", ""]
        notes = [
            f"- `{each.case}` {each.result}: {_cell(each.cause)}"
            for each in said
            if each.cause and each.result != run.NOT_INSTALLED
        ]
        if notes:
            lines += [f"**{tool.name}**", "", *notes, ""]
    return "\n".join(lines) if len(lines) > 2 else ""


def _cell(text: str) -> str:
    """Return a text that does not break a table, nor the page, nor passes for code of ours."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("`", "'").replace("\n", " ")
