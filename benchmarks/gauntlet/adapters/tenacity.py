"""tenacity: `@retry(stop=…, wait=…)`; `stop_before_delay` is what its documentation names for a tight deadline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "tenacity"
    requirements = ("tenacity==9.2.1",)
    about = "`@retry(stop=stop_after_attempt(n) | stop_before_delay(s), wait=wait_fixed(w), retry=retry_if_exception_type(E), reraise=True)`"
    claims = frozenset({"wrap", "sync", "async", "method", "retry", "deadline"})

    def start(self, home: Path) -> None:
        super().start(home)
        import tenacity

        self.t = tenacity

    def _made(self, stop: Any, on: type[Exception], wait: float) -> Any:
        return self.t.retry(stop=stop, wait=self.t.wait_fixed(wait), retry=self.t.retry_if_exception_type(on), reraise=True)

    def wrap(self, fn: Function) -> Any:
        return self._made(self.t.stop_after_attempt(2), ConnectionError, 0.01)(fn)

    def retried(self, fn: Function, attempts: int, on: type[Exception], wait: float = 0.01) -> Any:
        return self._made(self.t.stop_after_attempt(attempts), on, wait)(fn)

    def within(self, fn: Function, attempts: int, on: type[Exception], wait: float, seconds: float) -> Any:
        return self._made(self.t.stop_after_attempt(attempts) | self.t.stop_before_delay(seconds), on, wait)(fn)
