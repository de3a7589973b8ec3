"""callm-toolkit: `@callm()`; cache, retries and masking act on calls of LLM clients inside the function, which no case makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "callm-toolkit"
    requirements = ("callm-toolkit==0.4.0",)
    about = "`@callm()`; its policies are about calls of LLM clients inside the function, so only the decorator itself is tried"
    claims = frozenset({"wrap", "sync", "async", "method"})

    def start(self, home: Path) -> None:
        os.environ["CALLM_HOME"] = str(home / "callm")
        super().start(home)
        from callm import callm

        self.callm = callm

    def wrap(self, fn: Function) -> Any:
        return self.callm()(fn)
