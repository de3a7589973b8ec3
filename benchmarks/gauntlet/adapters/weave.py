"""weave: `@weave.op`; without `weave.init`, which needs an account, it is documented to pass calls through."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "weave"
    requirements = ("weave==0.54.0",)
    about = "`@weave.op` without `weave.init`, which needs an account: calls pass through, and what it would write is not tried"
    claims = frozenset({"wrap", "sync", "async", "generator", "async-generator", "method"})

    def start(self, home: Path) -> None:
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        super().start(home)
        import weave

        self.weave = weave

    def wrap(self, fn: Function) -> Any:
        return self.weave.op(fn)
