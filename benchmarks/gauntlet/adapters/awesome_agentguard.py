"""awesome-agentguard: `@guard(...)`, as its README says."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "awesome-agentguard"
    requirements = ("awesome-agentguard==0.2.0",)
    about = "`@guard(...)`; `.acall` for async functions; `record=True` for the record of calls"
    claims = frozenset({"wrap", "sync", "async", "method", "timeout", "retry", "breaker", "validate", "audit", "durable", "mask"})

    def start(self, home: Path) -> None:
        super().start(home)
        import agentguard
        from agentguard.core import types

        self.guard, self.types = agentguard.guard, types
        self.late, self.traces = (types.ToolTimeoutError,), str(home / "traces")

    def _made(self, fn: Function, **how: Any) -> Any:
        guarded = self.guard(**how)(fn)
        return guarded.acall if inspect.iscoroutinefunction(fn) else guarded

    def wrap(self, fn: Function) -> Any:
        return self.guard(fn).acall if inspect.iscoroutinefunction(fn) else self.guard(fn)

    def timed(self, fn: Function, seconds: float) -> Any:
        return self._made(fn, timeout=seconds)

    def retried(self, fn: Function, attempts: int, on: type[Exception], wait: float = 0.01) -> Any:
        how = {"initial_delay": wait, "max_delay": wait, "jitter": False, "retryable_exceptions": (on,)}
        return self._made(fn, config=self.types.GuardConfig(retry=self.types.RetryConfig(max_retries=attempts - 1, **how)))

    def broken(self, fn: Function, failures: int, open_for: float, slow_after: float | None = None) -> Any:
        return self._made(
            fn, circuit_breaker=self.types.CircuitBreakerConfig(failure_threshold=failures, recovery_timeout=open_for)
        )

    def is_open(self, error: BaseException) -> bool:
        return isinstance(error, self.types.CircuitOpenError)

    def validated(self, fn: Function) -> Any:
        return self._made(fn, validate_input=True)

    def audited(self, fn: Function) -> Any:
        return self._made(fn, record=True, trace_dir=self.traces)

    def recorded(self) -> int:
        from agentguard.core.trace import SQLiteTraceStore

        return len(SQLiteTraceStore(f"{self.traces}/agentguard_traces.db").read_all())

    def masked(self, fn: Function, parameter: str) -> Any:
        config = self.types.GuardConfig(redact_fields=(parameter,), validate_input=True)
        return self._made(fn, config=config, record=True, trace_dir=self.traces)
