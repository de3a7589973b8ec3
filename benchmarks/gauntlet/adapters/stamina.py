"""stamina: `@stamina.retry(on=…)`; `timeout=` is documented as the maximum total time for all retries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "stamina"
    requirements = ("stamina==26.1.0",)
    about = "`@stamina.retry(on=…, attempts=…, timeout=…)`; generators since 26.1"
    claims = frozenset({"wrap", "sync", "async", "generator", "async-generator", "method", "retry", "deadline"})
    lacks = (frozenset({"retry", "generator"}),)  # it begins a generator anew, also after items, and says so

    def start(self, home: Path) -> None:
        super().start(home)
        import stamina

        self.retry = stamina.retry

    def wrap(self, fn: Function) -> Any:
        return self.retry(on=ConnectionError, attempts=2)(fn)

    def retried(self, fn: Function, attempts: int, on: type[Exception], wait: float = 0.01) -> Any:
        return self.retry(on=on, attempts=attempts, timeout=None, wait_initial=wait, wait_max=wait, wait_jitter=0)(fn)

    def within(self, fn: Function, attempts: int, on: type[Exception], wait: float, seconds: float) -> Any:
        return self.retry(on=on, attempts=attempts, timeout=seconds, wait_initial=wait, wait_max=wait, wait_jitter=0)(fn)
