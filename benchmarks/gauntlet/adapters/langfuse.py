"""langfuse: `@observe()` with a client that exports to a file; `capture_input=False` keeps arguments out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gauntlet.spans import exporter
from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "langfuse"
    requirements = ("langfuse==5.0.4",)
    about = "`@observe()`, with `span_exporter=` to a file; `@observe(capture_input=False)` for functions with secrets"
    claims = frozenset({"wrap", "sync", "async", "generator", "async-generator", "method", "mask", "export"})

    def start(self, home: Path) -> None:
        super().start(home)
        from langfuse import Langfuse, observe

        self.observe = observe
        keys = {"public_key": "pk-lf-gauntlet", "secret_key": "sk-lf-gauntlet", "base_url": "http://127.0.0.1:9"}
        self.client = Langfuse(**keys, span_exporter=exporter(home / "spans.txt"), flush_at=1)

    def exporting(self, home: Path, port: int) -> None:
        super().start(home)
        from langfuse import Langfuse, observe

        self.observe = observe
        self.client = Langfuse(public_key="pk-lf-x", secret_key="sk-lf-x", base_url=f"http://127.0.0.1:{port}")

    def finish(self) -> None:
        self.client.flush()

    def wrap(self, fn: Function) -> Any:
        return self.observe()(fn)

    def masked(self, fn: Function, parameter: str) -> Any:
        return self.observe(capture_input=False)(fn)
