"""logfire: `@logfire.instrument()` with spans to a file; arguments called `password` are scrubbed by default."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.spans import exporter
from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "logfire"
    requirements = ("logfire==5.2.0",)
    about = "`@logfire.instrument()`, `allow_generator=True` for generators; scrubbing is on by default"
    claims = frozenset({"wrap", "sync", "async", "generator", "async-generator", "method", "mask", "export"})

    def start(self, home: Path) -> None:
        super().start(home)
        import logfire
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor

        self.logfire = logfire
        spans = SimpleSpanProcessor(exporter(home / "spans.txt"))
        logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[spans])

    def exporting(self, home: Path, port: int) -> None:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"  # as its page on other backends says
        super().start(home)
        import logfire

        self.logfire = logfire
        logfire.configure(send_to_logfire=False, console=False)

    def finish(self) -> None:
        self.logfire.force_flush()

    def wrap(self, fn: Function) -> Any:
        streams = inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)
        return self.logfire.instrument(allow_generator=streams)(fn)

    def masked(self, fn: Function, parameter: str) -> Any:
        return self.logfire.instrument()(fn)
