"""mlflow-skinny: `@mlflow.trace`, with a span processor that takes inputs out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "mlflow-skinny"
    requirements = ("mlflow-skinny==3.17.2",)
    about = "`@mlflow.trace` into a folder; `mlflow.tracing.configure(span_processors=[…])` for secrets"
    claims = frozenset({"wrap", "sync", "async", "generator", "async-generator", "method", "mask", "export"})

    def start(self, home: Path) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "true"
        super().start(home)
        import mlflow

        self.mlflow = mlflow
        mlflow.set_tracking_uri((home / "runs").as_uri())

    def exporting(self, home: Path, port: int) -> None:
        self.start(home)
        self.mlflow.set_tracking_uri(f"http://127.0.0.1:{port}")

    def finish(self) -> None:
        self.mlflow.flush_trace_async_logging()

    def wrap(self, fn: Function) -> Any:
        return self.mlflow.trace(fn)

    def masked(self, fn: Function, parameter: str) -> Any:
        def without(span: Any) -> None:
            span.set_inputs({name: "[REDACTED]" if name == parameter else value for name, value in (span.inputs or {}).items()})

        self.mlflow.tracing.configure(span_processors=[without])
        return self.mlflow.trace(fn)
