"""What the span of a guarded call costs its caller, beside a raw span of the OpenTelemetry SDK with as many attributes.

    python -m benchmarks.spans

Every row is measured in the same run, in turns of a few hundred calls, and the median of many rounds counts: CPU of the calling
thread (`time.thread_time`), less that of the same call without a span. *Deferred* is what calls do where the provider's
processors allow: the span is built on the ledger's thread. *Real* is what they do where a processor wants to see spans begin.
The ratios are what can be compared between machines: at most 0.5 deferred, and 1.3 real.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

ROUNDS = 60
CALLS = 200  # of one case, in one round
LIMITS = {"deferred": 0.5, "real": 1.3}


def providers() -> dict[str, Any]:
    """Return a provider for each way, exporting to nowhere; None for no span."""
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider, sampling
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    class Watching(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None: ...

    def make(*more: Any, **options: Any) -> Any:
        provider = TracerProvider(shutdown_on_exit=False, **options)
        for each in (BatchSpanProcessor(Nowhere(), max_queue_size=65_536), *more):
            provider.add_span_processor(each)
        return provider

    return {
        "none": None,
        "deferred": make(),
        "real": make(Watching()),
        "deferred, 1 % sampled": make(sampler=sampling.ParentBased(sampling.TraceIdRatioBased(0.01))),
        "real, 1 % sampled": make(Watching(), sampler=sampling.ParentBased(sampling.TraceIdRatioBased(0.01))),
    }


def measure(rounds: int) -> dict[str, float]:
    """Return µs per span, on the calling thread, by way."""
    from opentelemetry import trace

    from guardrail import Budget, Cache, Prediction, flush, guarded, warm

    @guarded(name="spans", version="1", budget=Budget("5s", enforce="report"), cache=Cache("1h"), confidence=0.5, review="bench")
    def predict(x: int) -> Prediction[str]:
        return Prediction("approve", 0.93)

    warm(predict)
    predict(7)
    found = providers()
    attributes = {
        "guardrail.guard": "spans", "guardrail.version": "1", "guardrail.mode": "enforce", "guardrail.budget_ms": 5000.0,
        "guardrail.threshold": 0.5, "guardrail.outcome": "cached", "guardrail.decision_id": "0190e4a0-0000-7000-8000-000000000000",
        "guardrail.attempts": 0, "guardrail.confidence": 0.93, "guardrail.cache": "hit",
    }  # fmt: skip
    tracers = {name: None if provider is None else provider.get_tracer("raw") for name, provider in found.items()}

    def plain() -> None: ...

    def raw(tracer: Any) -> Callable[[], None]:
        def call() -> None:
            with tracer.start_as_current_span("spans", attributes=attributes):
                pass

        return call

    def guard() -> None:
        predict(7)

    cases: dict[str, tuple[Any, Callable[[], None]]] = {"nothing": (None, plain)}
    for name, provider in found.items():
        cases[f"guarded, {name}"] = (provider, guard)
        if provider is not None:
            cases[f"raw, {name}"] = (provider, raw(tracers[name]))
    spent: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (provider, call) in cases.items():
            trace._TRACER_PROVIDER = provider  # there is no public way to take one back
            call()
            start = time.thread_time()
            for _ in range(CALLS):
                call()
            spent[name].append((time.thread_time() - start) / CALLS * 1e6)
        flush(30)
    trace._TRACER_PROVIDER = None
    middle = {name: statistics.median(each) for name, each in spent.items()}
    return {
        name: middle[name] - middle["nothing" if name.startswith("raw") else "guarded, none"]
        for name in cases
        if name not in ("nothing", "guarded, none")
    }


def main() -> int:
    """Measure, print the table, and return 1 where a ratio is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as home:
        os.environ["GUARDRAIL_HOME"] = home
        spent = measure(asked.rounds)
        from guardrail import shutdown

        shutdown(10)
    shown = Table(title="CPU of a span on the calling thread", title_justify="left")
    for column in ("way", "guarded µs", "raw SDK span µs", "ratio", "at most"):
        shown.add_column(column, justify="left" if column == "way" else "right")
    missed = False
    for name in (each.removeprefix("guarded, ") for each in spent if each.startswith("guarded, ")):
        mine, theirs = spent[f"guarded, {name}"], spent[f"raw, {name}"]
        limit = LIMITS.get(name)
        missed = missed or (limit is not None and mine / theirs > limit)
        shown.add_row(name, f"{mine:.2f}", f"{theirs:.2f}", f"{mine / theirs:.2f}", "" if limit is None else f"{limit}")
    Console(width=110).print(shown)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
