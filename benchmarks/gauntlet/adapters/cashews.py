"""cashews: `@cache(ttl=…)` in memory, `lock=True` against stampedes, `cache.circuit_breaker`; for async functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "cashews"
    requirements = ("cashews==7.6.0",)
    about = '`@cache(ttl="1m")` with `cache.setup("mem://")`, `lock=True` against stampedes, `@cache.circuit_breaker(...)`; async only'
    claims = frozenset({"async", "method", "cache", "flight", "breaker"})

    def start(self, home: Path) -> None:
        super().start(home)
        from cashews import Cache
        from cashews.exceptions import CircuitBreakerOpen

        self.cache = Cache()
        self.cache.setup("mem://")
        self.open = CircuitBreakerOpen

    def cached(self, fn: Function) -> Any:
        return self.cache(ttl="1m")(fn)

    def flown(self, fn: Function) -> Any:
        return self.cache(ttl="1m", lock=True)(fn)

    def broken(self, fn: Function, failures: int, open_for: float, slow_after: float | None = None) -> Any:
        return self.cache.circuit_breaker(errors_rate=50, period=10, ttl=open_for, min_calls=failures, key="dependency")(fn)

    def is_open(self, error: BaseException) -> bool:
        return isinstance(error, self.open)
