"""traceloop-sdk: `@workflow` and `@task` with spans to a file; `TRACELOOP_TRACE_CONTENT=false` keeps arguments out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.spans import exporter
from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "traceloop-sdk"
    requirements = ("traceloop-sdk==0.62.4", "httpx")
    about = "`@task()` after `Traceloop.init(exporter=…)`; `TRACELOOP_TRACE_CONTENT=false` for secrets; `httpx` is added, which it imports"
    claims = frozenset({"wrap", "sync", "async", "generator", "async-generator", "method", "mask", "export"})

    def start(self, home: Path) -> None:
        os.environ["TRACELOOP_TELEMETRY"] = "false"
        super().start(home)
        from traceloop.sdk import Traceloop
        from traceloop.sdk.decorators import task

        self.task = task
        Traceloop.init(app_name="gauntlet", disable_batch=True, exporter=exporter(home / "spans.txt"), telemetry_enabled=False)

    def exporting(self, home: Path, port: int) -> None:
        os.environ["TRACELOOP_TELEMETRY"] = "false"
        super().start(home)
        from traceloop.sdk import Traceloop
        from traceloop.sdk.decorators import task

        self.task = task
        Traceloop.init(app_name="gauntlet", api_endpoint=f"http://127.0.0.1:{port}", telemetry_enabled=False)

    def wrap(self, fn: Function) -> Any:
        return self.task(name="predict")(fn)

    def masked(self, fn: Function, parameter: str) -> Any:
        os.environ["TRACELOOP_TRACE_CONTENT"] = "false"
        return self.task(name="login")(fn)
