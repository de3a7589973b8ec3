"""capio: `use(...)`, as its README and the capabilities' own docstrings say."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gauntlet.tool import Function, Tool, damaged

_TYPES: dict[str, type] = {"float": numbers.Real, "int": int, "str": str}


def _is_a(kind: type) -> Any:
    """Return a rule of one's own: the schema's `type` lets None through, and `required` cannot be met by name and by position."""
    return lambda value: isinstance(value, kind)


class Adapter(Tool):
    name = "capio"
    requirements = ("capio==1.0.0",)
    about = (
        "`use(metrics=True)`, `use(cache=…)` and so on; a time limit on plain functions is documented as checked after the call"
    )
    claims = frozenset({
        "wrap", "sync", "async", "generator", "async-generator", "method", "cache", "flight", "timeout", "retry", "deadline", "breaker",
        "validate", "check", "audit", "tamper", "mask",
    })  # fmt: skip
    lacks = (frozenset({"timeout", "sync"}), frozenset({"deadline", "sync"}), frozenset({"retry", "generator"}))

    def start(self, home: Path) -> None:
        super().start(home)
        from capio import use
        from capio.exceptions import CapioTimeoutError, CircuitOpenError

        self.use, self.late, self.open = use, (CapioTimeoutError,), CircuitOpenError

    def wrap(self, fn: Function) -> Any:
        return self.use(metrics=True)(fn)

    def cached(self, fn: Function) -> Any:
        return self.use(cache={"ttl": "1m", "key_scope": "instance"})(fn)

    def flown(self, fn: Function) -> Any:
        return self.use(cache={"ttl": "1m", "stampede": "singleflight"})(fn)

    def timed(self, fn: Function, seconds: float) -> Any:
        return self.use(timeout={"seconds": seconds})(fn)

    def _retry(self, attempts: int, on: type[Exception], wait: float) -> dict[str, Any]:
        how = {"delay": wait, "backoff": "fixed", "jitter": False, "retry_on": (on,), "on_final": "reraise_original"}
        return {"max_attempts": attempts, **how}

    def retried(self, fn: Function, attempts: int, on: type[Exception], wait: float = 0.01) -> Any:
        return self.use(retry=self._retry(attempts, on, wait))(fn)

    def within(self, fn: Function, attempts: int, on: type[Exception], wait: float, seconds: float) -> Any:
        return self.use.timeout(seconds=seconds)(self.use.retry(**self._retry(attempts, on, wait))(fn))

    def broken(self, fn: Function, failures: int, open_for: float, slow_after: float | None = None) -> Any:
        return self.use(circuit_breaker={"failure_threshold": failures, "reset_timeout": open_for})(fn)

    def is_open(self, error: BaseException) -> bool:
        return isinstance(error, self.open)

    def _both(self, fn: Function, rules: dict[str, Any]) -> dict[Any, Any]:
        """Return rules by name for keywords and by number for positions, since its schema knows these two."""
        places = list(inspect.signature(fn).parameters)
        return {**rules, **{places.index(name): rule for name, rule in rules.items()}}

    def validated(self, fn: Function) -> Any:
        rules = {name: _is_a(_TYPES[kind]) for name, kind in fn.__annotations__.items() if name != "return"}
        return self.use(validate={"input": self._both(fn, rules)})(fn)

    def checked(self, fn: Function, parameter: str, allowed: Sequence[str]) -> Any:
        return self.use(validate={"input": self._both(fn, {parameter: {"enum": list(allowed)}})})(fn)

    def audited(self, fn: Function) -> Any:
        return self.use(audit=True)(fn)

    def _trail(self) -> Any:
        from capio.runtime import default_runtime

        return default_runtime().services.get("audit.memory")

    def recorded(self) -> int:
        return self._trail().size

    def intact(self) -> bool:
        return self._trail().verify()

    def tamper(self, kind: str) -> None:
        trail = self._trail()
        trail._records[:] = damaged(trail._records, kind, lambda record: {**record, "outcome": "error"})

    def masked(self, fn: Function, parameter: str) -> Any:
        if fn.__annotations__[parameter] in ("int", int):
            return self.use(log={"include_args": True}, validate={"input": self._both(fn, {parameter: {"type": "int"}})})(fn)
        return self.use(log={"include_args": True}, audit={"include_payload": True})(fn)
