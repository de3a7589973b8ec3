"""guardrail: `@guarded` with the option that a case is about, as docs/policies/ has it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from benchmarks.gauntlet.tool import Function, Tool

_EVERYWHERE = frozenset(
    {"wrap", "sync", "async", "generator", "async-generator", "method", "callable", "ship", "mask", "mask-errors"}
)


class Adapter(Tool):
    name = "guardrail"
    about = (
        "`@guarded(option=…)`, as docs/policies/ says; each way is one configuration, and a case has to hold under all of them"
    )
    claims = _EVERYWHERE | {
        "cache", "flight", "timeout", "retry", "deadline", "breaker", "slow-calls", "validate", "check",
        "audit", "durable", "tamper", "export",
    }  # fmt: skip
    ways = ("", "all on", "in place", "synced")

    def claimed(self, way: str) -> frozenset[str]:
        if way == "":
            return self.claims - {"durable"}  # the buffered record may lose the last 20 ms
        return _EVERYWHERE | {"audit", "durable", "tamper"} if way == "synced" else _EVERYWHERE

    def start(self, home: Path) -> None:
        os.environ["GUARDRAIL_HOME"] = str(home / "guardrail")
        os.environ["XDG_CONFIG_HOME"] = str(home / "configuration")
        os.environ["GUARDRAIL_SERVICE"] = "gauntlet"
        super().start(home)
        import guardrail

        self.sdk = guardrail
        self.late = (guardrail.BudgetExceeded,)

    def exporting(self, home: Path, port: int) -> None:
        os.environ["GUARDRAIL_SINK_COLLECTOR"] = f"otlp+http://127.0.0.1:{port}"
        self.start(home)

    def written(self) -> None:
        self.sdk.flush(60)

    def finish(self) -> None:
        self.sdk.shutdown(60)

    def _options(self) -> dict[str, Any]:
        if self.way == "all on":
            return {"budget": "20s", "retry": 3, "breaker": True, "limit": 256}
        if self.way == "in place":
            return {"budget": self.sdk.Budget("20s", enforce="report"), "retry": 3, "breaker": True, "limit": 256}
        return {"audit": "sync"} if self.way == "synced" else {}

    def wrap(self, fn: Function) -> Any:
        return self.sdk.guarded(**self._options())(fn)

    def cached(self, fn: Function) -> Any:
        return self.sdk.guarded(cache="1m")(fn)

    def timed(self, fn: Function, seconds: float) -> Any:
        return self.sdk.guarded(budget=seconds)(fn)

    def retried(self, fn: Function, attempts: int, on: type[Exception], wait: float = 0.01) -> Any:
        return self.sdk.guarded(retry=self.sdk.Retry(attempts, on=[on], wait=wait, max_wait=wait))(fn)

    def within(self, fn: Function, attempts: int, on: type[Exception], wait: float, seconds: float) -> Any:
        return self.sdk.guarded(budget=seconds, retry=self.sdk.Retry(attempts, on=[on], wait=wait, max_wait=wait))(fn)

    def broken(self, fn: Function, failures: int, open_for: float, slow_after: float | None = None) -> Any:
        breaker = self.sdk.Breaker(min_calls=failures, open_for=open_for, slow_after=slow_after, probes=1)
        return self.sdk.guarded(breaker=breaker)(fn)

    def is_open(self, error: BaseException) -> bool:
        return isinstance(error, self.sdk.CircuitOpen)

    def validated(self, fn: Function) -> Any:
        return self.sdk.guarded(fn)

    def checked(self, fn: Function, parameter: str, allowed: Sequence[str]) -> Any:
        fn.__annotations__[parameter] = Literal[tuple(allowed)]
        return self.sdk.guarded(fn)

    def audited(self, fn: Function) -> Any:
        return self.sdk.guarded(**self._options())(fn)

    def recorded(self) -> int:
        from guardrail.ledger import reader

        return sum(1 for _ in reader.read(event="call"))

    def intact(self) -> bool:
        from guardrail.ledger import verify

        torn = 3  # half a line at the end, as a crash leaves it: reported as that, and not as a change
        return verify.verify(verify.Files(str(self.home / "guardrail" / "ledger"))).code in (0, torn)

    def audit_files(self) -> list[Path]:
        return list((self.home / "guardrail" / "ledger").glob("*/*.jsonl"))

    def masked(self, fn: Function, parameter: str) -> Any:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))  # to standard output, which is looked at
        trace.set_tracer_provider(provider)
        kind = get_type_hints(fn)[parameter]
        fn.__annotations__[parameter] = Annotated[kind, self.sdk.Secret]
        return self.sdk.guarded(**{**self._options(), "audit": self.sdk.Audit("sync", inputs="plain", output="plain")})(fn)
