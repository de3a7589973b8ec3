"""What runs in the child process: one case with one tool; how it ended goes to a file.

python -m benchmarks.gauntlet.child ADAPTER WAY CASE HOME
python -m benchmarks.gauntlet.child --victim ADAPTER WAY HOME     calls until it is killed
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import time
import traceback
from pathlib import Path

from benchmarks.gauntlet import case as cases
from benchmarks.gauntlet.tool import Tool


def adapter(name: str, way: str) -> Tool:
    """Return a tool by name; `module:Class` names one that stands elsewhere."""
    module, _, attribute = name.partition(":")
    found = importlib.import_module(module if attribute else f"benchmarks.gauntlet.adapters.{module.replace('-', '_')}")
    tool: Tool = getattr(found, attribute or "Adapter")()
    tool.way = way
    return tool


def main(name: str, way: str, case: str, home: Path) -> None:
    """Run one case; write `started`, then `ended`, into the home's parent."""
    notes = home.parent
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)  # so that what a tool logs can be looked at
    chosen = cases.load()[case]
    try:
        tool = adapter(name, way)
        tool.start(home)
    except BaseException as error:
        traceback.print_exc()
        _write(notes / "ended", {"result": "failed", "cause": f"set-up: {cases.one_line(error)}"})
        return
    (notes / "started").touch()
    result, cause = "ok", ""
    start = time.monotonic()
    try:
        chosen.run(tool, home)
    except BaseException as error:
        traceback.print_exc()
        result, cause = "failed", cases.one_line(error)
    _write(notes / "ended", {"result": result, "cause": cause, "seconds": round(time.monotonic() - start, 2)})


def victim(name: str, way: str, home: Path) -> None:
    """Make recorded calls, one every few milliseconds, and count them aloud."""
    tool = adapter(name, way)
    tool.start(home)

    def _score(x: int) -> int:
        return x % 7

    call = tool.audited(_score)
    for i in range(1, 100_000):
        call(i)
        os.write(1, b"%d\n" % i)
        time.sleep(0.002)


def _write(file: Path, what: dict[str, object]) -> None:
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(what))
    draft.rename(file)


if __name__ == "__main__":
    if sys.argv[1] == "--victim":
        victim(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
