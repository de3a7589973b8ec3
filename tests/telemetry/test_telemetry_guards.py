"""Spans of real guards of every kind: who is whose parent, and what is current when."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from guardrail import Budget, Deferred, Prediction, clock, flush, guarded, remaining, warm


class Telling(SpanProcessor):
    """Wants to see spans begin, so that none can be deferred."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Look at it."""


@pytest.fixture(params=["deferred", "live"])
def spans(request: pytest.FixtureRequest) -> InMemorySpanExporter:
    """A provider of either kind, that exports to memory."""
    return provide(request.param)


def provide(kind: str, **options: Any) -> InMemorySpanExporter:
    """Set a provider, and return what it exports to."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False, **options)
    for each in [SimpleSpanProcessor(exporter), *([Telling()] if kind == "live" else [])]:
        provider.add_span_processor(each)
    trace._TRACER_PROVIDER = provider
    return exporter


def found(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """Return the finished spans by name."""
    assert flush(5)
    return {span.name: span for span in exporter.get_finished_spans()}


def child(name: str = "child") -> None:
    """Trace something, as a function of the user's does."""
    with trace.get_tracer("app").start_as_current_span(name):
        pass


def is_child(spans: dict[str, ReadableSpan], child: str, parent: str) -> bool:
    """Tell whether one span is a child of another."""
    return spans[child].parent is not None and spans[child].parent.span_id == spans[parent].context.span_id


def test_a_generator_may_be_closed_in_another_context(spans: InMemorySpanExporter) -> None:
    """Nothing is current between its steps, its own spans are the guard's children, and one span ends with it."""

    @guarded(name="tokens")
    def tokens() -> Iterator[int]:
        for at in range(3):
            child(f"step {at}")
            yield at

    items = tokens()
    for _ in range(2):
        next(items)
        assert trace.get_current_span() is trace.INVALID_SPAN
    contextvars.Context().run(items.close)
    assert trace.get_current_span() is trace.INVALID_SPAN
    seen = found(spans)
    assert set(seen) == {"tokens", "step 0", "step 1"}
    assert is_child(seen, "step 0", "tokens")
    assert is_child(seen, "step 1", "tokens")


def test_an_async_generator_may_be_closed_in_another_task(spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture) -> None:
    """As clients that go away have it: no word of a context that was created elsewhere."""

    @guarded(name="tokens")
    async def tokens() -> AsyncIterator[int]:
        for at in range(3):
            await asyncio.sleep(0)
            child(f"step {at}")
            yield at

    async def main() -> None:
        items = tokens()
        await anext(items)
        assert trace.get_current_span() is trace.INVALID_SPAN
        await asyncio.create_task(items.__anext__())
        await asyncio.create_task(items.aclose())
        assert trace.get_current_span() is trace.INVALID_SPAN

    asyncio.run(main())
    seen = found(spans)
    assert set(seen) == {"tokens", "step 0", "step 1"}
    assert is_child(seen, "step 0", "tokens")
    assert is_child(seen, "step 1", "tokens")
    assert "context" not in caplog.text.lower()


def test_tasks_side_by_side_keep_their_parents(spans: InMemorySpanExporter) -> None:
    """Each coroutine's spans are children of its own call, whoever runs in between."""

    @guarded(name="score")
    async def score(x: int) -> int:
        await asyncio.sleep(0)
        child(f"look up {x}")
        await asyncio.sleep(0)
        return x

    async def main() -> None:
        await asyncio.gather(*(score(x) for x in range(5)))

    asyncio.run(main())
    assert flush(5)
    finished = spans.get_finished_spans()
    parents = {span.parent.span_id for span in finished if span.parent is not None}
    assert parents == {span.context.span_id for span in finished if span.name == "score"}
    assert len(parents) == 5


def test_a_function_on_a_worker_thread_has_its_span(spans: InMemorySpanExporter) -> None:
    """A budget hands the work to another thread; what it traces there is still the guard's child."""
    threads: set[int] = set()

    @guarded(name="score", budget="5s")
    def score(x: int) -> int:
        threads.add(threading.get_ident())
        child()
        return x

    with trace.get_tracer("app").start_as_current_span("request"):
        score(1)
    seen = found(spans)
    assert threads != {threading.get_ident()}
    assert is_child(seen, "child", "score")
    assert is_child(seen, "score", "request")


def test_a_guard_within_a_guard_is_its_child(spans: InMemorySpanExporter) -> None:
    """Both have spans, and afterwards nothing is current."""

    @guarded(name="inner")
    def inner(x: int) -> int:
        return x

    @guarded(name="outer")
    def outer(x: int) -> int:
        return inner(x)

    outer(1)
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert is_child(found(spans), "inner", "outer")


@pytest.mark.parametrize("kind", ["deferred", "live"])
def test_a_call_that_is_kept_keeps_the_guards_around_it(kind: str) -> None:
    """Where nothing is sampled, a failure that an outer guard made good is exported together with that guard."""
    exporter = provide(kind, sampler=sampling.ParentBased(sampling.ALWAYS_OFF))

    @guarded(name="inner")
    def inner(x: int) -> int:
        raise LookupError(x)

    @guarded(name="middle", fallback=0)
    def middle(x: int) -> int:
        return inner(x)

    @guarded(name="outer")
    def outer(x: int) -> int:
        return middle(x)

    @guarded(name="other")
    def other(x: int) -> int:
        return x

    outer(1)
    other(1)
    seen = found(exporter)
    assert set(seen) == {"inner", "middle", "outer"}
    assert is_child(seen, "inner", "middle")
    assert is_child(seen, "middle", "outer")


@pytest.mark.parametrize("kind", ["deferred", "live"])
def test_a_late_answer_and_an_unsure_one_are_kept(kind: str) -> None:
    """Whatever the sampling: also where the late answer was returned, and where a person decides."""
    exporter = provide(kind, sampler=sampling.ALWAYS_OFF)

    @guarded(name="late", budget=Budget("200ms", enforce="report"))
    def late(x: int) -> int:
        while remaining():
            clock.sleep(0.01)
        return x

    @guarded(name="unsure", confidence=0.9, review="cases")
    def unsure(x: int) -> Prediction[str]:
        return Prediction("yes", 0.2)

    warm(late)
    assert late(1) == 1
    with pytest.raises(Deferred) as deferred:
        unsure(1)
    seen = found(exporter)
    assert {name: span.attributes["guardrail.outcome"] for name, span in seen.items()} == {"late": "late", "unsure": "deferred"}
    assert seen["unsure"].attributes["guardrail.ticket"] == deferred.value.ticket.id
