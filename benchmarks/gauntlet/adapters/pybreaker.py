"""pybreaker: a `CircuitBreaker` as a decorator, as its README says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "pybreaker"
    requirements = ("pybreaker==1.4.1",)
    about = "`@CircuitBreaker(fail_max=…, reset_timeout=…)`; async functions of asyncio are not documented"
    claims = frozenset({"wrap", "sync", "generator", "method", "breaker"})

    def start(self, home: Path) -> None:
        super().start(home)
        import pybreaker

        self.module = pybreaker

    def wrap(self, fn: Function) -> Any:
        return self.module.CircuitBreaker(fail_max=1000)(fn)

    def broken(self, fn: Function, failures: int, open_for: float, slow_after: float | None = None) -> Any:
        return self.module.CircuitBreaker(fail_max=failures, reset_timeout=open_for, throw_new_error_on_trip=False)(fn)

    def is_open(self, error: BaseException) -> bool:
        return isinstance(error, self.module.CircuitBreakerError)
