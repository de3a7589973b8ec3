"""hyx: `@retry`, `timeout`, `@consecutive_breaker`; for async functions."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool


class Adapter(Tool):
    name = "hyx"
    requirements = ("hyx==0.0.2",)
    about = "`@retry(on=…)`, `async with timeout(s)` (also around `@retry`), `@consecutive_breaker(...)`; async only"
    claims = frozenset({"wrap", "async", "method", "timeout", "retry", "deadline", "breaker"})

    def start(self, home: Path) -> None:
        super().start(home)
        from hyx.circuitbreaker import consecutive_breaker
        from hyx.circuitbreaker.exceptions import BreakerFailing
        from hyx.retry import retry
        from hyx.timeout import timeout
        from hyx.timeout.exceptions import MaxDurationExceeded

        self.retry, self.timeout, self.breaker = retry, timeout, consecutive_breaker
        self.late, self.open = (MaxDurationExceeded,), BreakerFailing

    def wrap(self, fn: Function) -> Any:
        return self.retry(on=ConnectionError, attempts=2)(fn)

    def timed(self, fn: Function, seconds: float) -> Any:
        @functools.wraps(fn)
        async def limited(*args: Any, **kwargs: Any) -> Any:
            async with self.timeout(
                seconds
            ):  # one for each call: as a decorator it wants a running loop, and is shared by all calls
                return await fn(*args, **kwargs)

        return limited

    def retried(self, fn: Function, attempts: int, on: type[Exception], wait: float = 0.01) -> Any:
        return self.retry(on=on, attempts=attempts, backoff=wait)(fn)

    def within(self, fn: Function, attempts: int, on: type[Exception], wait: float, seconds: float) -> Any:
        return self.timed(self.retry(on=on, attempts=attempts, backoff=wait)(fn), seconds)

    def broken(self, fn: Function, failures: int, open_for: float, slow_after: float | None = None) -> Any:
        return self.breaker(failure_threshold=failures, recovery_time_secs=open_for, recovery_threshold=1)(fn)

    def is_open(self, error: BaseException) -> bool:
        return isinstance(error, self.open)
