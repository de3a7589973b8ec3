"""Spans: deferred where nobody can tell the difference, real otherwise, and never in the way of a call."""

from __future__ import annotations

import contextvars
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as contexts
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, StatusCode
from traced_calls import guard, make_entry, make_plan

from guardrail import call as calls
from guardrail import clock, notices
from guardrail.call import Call, decision_id
from guardrail.policies.bar import Bar
from guardrail.telemetry import deferred, names, spans, traces
from guardrail.telemetry.deferred import Deferred


class Telling(SpanProcessor):
    """A processor that wants to see spans begin, so that nothing can be deferred."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        span.set_attribute("seen", "at start")


def provide(*processors: SpanProcessor, **options: Any) -> InMemorySpanExporter:
    """Set a provider with an exporter in memory, and return the exporter."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "loans"}), shutdown_on_exit=False, **options)
    for processor in (*processors, SimpleSpanProcessor(exporter)):
        provider.add_span_processor(processor)
    trace._TRACER_PROVIDER = provider
    return exporter


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """Return the finished spans by name."""
    return {span.name: span for span in exporter.get_finished_spans()}


def nothing() -> None:
    """Be a function of the user's."""


def child() -> None:
    """Be a function of the user's that traces something itself."""
    with trace.get_tracer("app").start_as_current_span("child"):
        pass


KINDS = pytest.mark.parametrize("kind", ["deferred", "live"])


def provide_kind(kind: str, **options: Any) -> InMemorySpanExporter:
    """Set a provider that lets spans be deferred, or one that does not."""
    exporter = provide(*([] if kind == "deferred" else [Telling()]), **options)
    call = Call(make_plan(), (), {}, None, clock.now())
    token = traces.begin(call)
    assert token is not None
    assert isinstance(traces._way, Deferred if kind == "deferred" else spans.Live)
    token.detach()
    return exporter


def test_without_a_provider_nothing_happens() -> None:
    """No token, no context, no change of what is current."""
    assert not traces.enabled()
    before = contexts.get_current()
    entry = guard(lambda: None)
    assert entry.extra is None
    assert contexts.get_current() is before


def test_the_sdk_switched_off_means_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED is honoured, although a provider is set."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    exporter = provide()
    entry = guard(child)
    traces.take([entry])
    assert entry.extra is None
    assert not exporter.get_finished_spans()


@KINDS
def test_spans_parent_in_both_directions(kind: str) -> None:
    """The guard's span is a child of what was current, and the function's spans are children of the guard's."""
    exporter = provide_kind(kind)
    with trace.get_tracer("app").start_as_current_span("outer"):
        entry = guard(child)
    traces.take([entry])
    found = by_name(exporter)
    assert found["credit:predict"].parent.span_id == found["outer"].context.span_id
    assert found["child"].parent.span_id == found["credit:predict"].context.span_id
    assert len({span.context.trace_id for span in found.values()}) == 1
    assert found["child"].parent == found["credit:predict"].context


@KINDS
def test_nested_guards_parent_each_other(kind: str) -> None:
    """A guard called inside a guard is its child, and afterwards nothing is current any more."""
    exporter = provide_kind(kind)
    inner = []
    outer = guard(lambda: inner.append(guard(nothing, name="inner")), name="outer")
    assert trace.get_current_span() is trace.INVALID_SPAN
    traces.take([*inner, outer])
    found = by_name(exporter)
    assert found["inner"].parent == found["outer"].context
    assert found["outer"].parent is None


def test_a_deferred_span_is_like_a_real_one() -> None:
    """The same call under a provider of either kind gives spans of the same shape, as exporters see them."""
    shown = {}
    for kind in ("deferred", "live"):
        exporter = provide_kind(kind)
        entry = guard(nothing, outcome="failed", error=ValueError("secret"))
        traces.take([entry])
        (span,) = exporter.get_finished_spans()
        assert span.attributes["guardrail.decision_id"] == decision_id(entry.at, entry.seq)
        document = json.loads(span.to_json())
        document["attributes"].pop("seen", None)
        for name in ("context", "start_time", "end_time"):
            assert document.pop(name)
        document["attributes"].pop("guardrail.decision_id")
        scope = span.instrumentation_scope
        shown[kind] = (
            document,
            span.kind,
            span.status.status_code,
            scope.name,
            scope.version,
            span.resource.attributes,
            span.links,
        )
        assert span.end_time >= span.start_time
        assert (span.dropped_attributes, span.dropped_events, span.dropped_links) == (0, 0, 0)
        assert "secret" not in span.to_json()
    assert shown["deferred"] == shown["live"]
    assert shown["deferred"][0]["attributes"] == {
        "guardrail.guard": "credit:predict", "guardrail.version": "3.2.0", "guardrail.mode": "enforce", "guardrail.budget_ms": 250.0,
        "guardrail.outcome": "failed", "guardrail.attempts": 1, "guardrail.confidence": 0.9, "guardrail.threshold": 0.8,
        "error.type": "ValueError",
    }  # fmt: skip


@KINDS
@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("answered", "UNSET"),
        ("deferred", "UNSET"),
        ("cached", "UNSET"),
        ("failed", "ERROR"),
        ("refused", "ERROR"),
        ("late", "ERROR"),
    ],
)
def test_the_status_tells_what_went_wrong(kind: str, outcome: str, status: str) -> None:
    """Failed, refused and late calls have the status ERROR, all others none."""
    exporter = provide_kind(kind)
    traces.take([guard(nothing, outcome=outcome)])
    assert exporter.get_finished_spans()[0].status.status_code is StatusCode[status]


@KINDS
def test_what_the_function_adds_to_its_span_is_kept(kind: str) -> None:
    """Attributes, events, links, a name and a status that the function sets reach the exporter."""
    exporter = provide_kind(kind)
    link = trace.SpanContext(5, 6, is_remote=True)

    def adding() -> None:
        span = trace.get_current_span()
        assert span.is_recording()
        span.set_attribute("a", 1)
        span.set_attributes({"b": "x"})
        span.add_event("looked up", {"rows": 3})
        span.add_link(link, {"why": "batch"})
        span.update_name("mine")
        span.set_status(StatusCode.OK)
        try:
            raise ValueError("secret")
        except ValueError as error:
            span.record_exception(error)

    traces.take([guard(adding)])
    (span,) = exporter.get_finished_spans()
    assert span.name == "mine"
    assert (span.attributes["a"], span.attributes["b"]) == (1, "x")
    assert [event.name for event in span.events] == ["looked up", "exception"]
    assert dict(span.events[0].attributes) == {"rows": 3}
    assert [(each.context, dict(each.attributes)) for each in span.links] == [(link, {"why": "batch"})]
    assert span.status.status_code is StatusCode.OK
    json.loads(span.to_json())


@KINDS
def test_the_function_cannot_say_how_its_call_ended(kind: str) -> None:
    """An attribute of its own under one of our names does not stand against what is known at the end."""
    exporter = provide_kind(kind)
    traces.take([guard(lambda: trace.get_current_span().set_attribute("guardrail.outcome", "answered"), outcome="failed")])
    (span,) = exporter.get_finished_spans()
    assert span.attributes["guardrail.outcome"] == "failed"


def test_what_is_added_after_the_end_is_ignored() -> None:
    """A background task that outlives the call cannot change a span that is built."""
    exporter = provide_kind("deferred")
    kept: list[Any] = []
    entry = guard(lambda: kept.append(trace.get_current_span()))
    traces.take([entry])
    kept[0].set_attribute("late", 1)
    assert not kept[0].is_recording()
    assert "late" not in exporter.get_finished_spans()[0].attributes


@KINDS
def test_limits_of_the_provider_hold(kind: str) -> None:
    """Long values are cut and surplus attributes dropped, as the provider's limits say."""
    exporter = provide_kind(kind, span_limits=SpanLimits(max_span_attributes=6, max_span_attribute_length=4))
    traces.take([guard(nothing)])
    (span,) = exporter.get_finished_spans()
    assert len(span.attributes) == 6
    assert span.dropped_attributes > 0
    assert all(len(value) <= 4 for value in span.attributes.values() if isinstance(value, str))


@KINDS
@pytest.mark.parametrize(
    "sampler", [sampling.ALWAYS_OFF, sampling.TraceIdRatioBased(0.0), sampling.ParentBased(sampling.ALWAYS_OFF)]
)
def test_only_what_went_wrong_is_kept_where_nothing_is_sampled(sampler: Any, kind: str) -> None:
    """The sampler rules over ordinary calls and their children; what went wrong is kept, also where another answer stood in."""
    exporter = provide_kind(kind, sampler=sampler)
    flags = []

    def look() -> None:
        flags.append(trace.get_current_span().get_span_context().trace_flags.sampled)
        child()

    for outcome in ("answered", "cached", "human", "deferred", "refused", "late", "failed", "fallback", "stale"):
        traces.take([guard(look, outcome=outcome)])
    assert [span.attributes["guardrail.outcome"] for span in exporter.get_finished_spans()] == [
        "deferred",
        "refused",
        "late",
        "failed",
        "fallback",
        "stale",
    ]
    assert flags == [False] * 9


@KINDS
def test_what_is_kept_has_the_ids_that_others_were_given(kind: str) -> None:
    """Trace, span and parent as the function and other services saw them; sampled, so that every processor exports it."""
    exporter = provide_kind(kind, sampler=sampling.ParentBased(sampling.ALWAYS_OFF))
    parent = trace.SpanContext(77, 88, is_remote=True)
    seen: list[trace.SpanContext] = []
    before = contexts.attach(trace.set_span_in_context(trace.NonRecordingSpan(parent)))
    try:
        entry = guard(
            lambda: seen.append(trace.get_current_span().get_span_context()), outcome="late", error=TimeoutError("secret")
        )
    finally:
        contexts.detach(before)
    traces.take([entry])
    (span,) = exporter.get_finished_spans()
    assert (span.context.trace_id, span.context.span_id) == (77, seen[0].span_id)
    assert (span.context.trace_flags.sampled, seen[0].trace_flags.sampled) == (True, False)
    assert span.parent == parent
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["guardrail.guard"] == "credit:predict"
    assert span.attributes["guardrail.outcome"] == "late"
    assert span.start_time < span.end_time


@pytest.mark.parametrize(
    "sampler",
    [
        sampling.ALWAYS_ON, sampling.ALWAYS_OFF, sampling.TraceIdRatioBased(0.3), sampling.DEFAULT_ON, sampling.DEFAULT_OFF,
        sampling.ParentBased(sampling.TraceIdRatioBased(0.3)),
        sampling.ParentBased(sampling.ALWAYS_ON, remote_parent_sampled=sampling.ALWAYS_OFF),
        sampling.ParentBased(sampling.ALWAYS_OFF, local_parent_not_sampled=sampling.ALWAYS_ON),
    ],
    ids=lambda sampler: sampler.get_description(),
)  # fmt: skip
def test_the_samplers_of_the_sdk_decide_as_ever(sampler: sampling.Sampler) -> None:
    """Whether or not they are really asked: for roots, and for children of any parent."""
    provide_kind("deferred", sampler=sampler)
    for remote, flags in [(None, 0), *((remote, flags) for remote in (True, False) for flags in (0, 1, 3))]:
        for _ in range(20):
            around = contexts.Context()
            if remote is not None:
                parent = trace.SpanContext(clock.bits(128), 5, is_remote=remote, trace_flags=trace.TraceFlags(flags))
                around = trace.set_span_in_context(trace.NonRecordingSpan(parent), around)
            token = contextvars.Context().run(begin_in, around)
            asked = sampler.should_sample(around, token.trace_id, "credit:predict", attributes={})
            assert bool(token.flags & 1) == asked.decision.is_sampled()
            assert token.recording == asked.decision.is_recording()


def begin_in(around: contexts.Context) -> Any:
    """Begin a span inside an OpenTelemetry context."""
    contexts.attach(around)
    return traces.begin(Call(make_plan(), (), {}, None, clock.now()))


@KINDS
def test_a_language_model_is_told_only_by_who_says_so(kind: str) -> None:
    """The names of OpenTelemetry's for language models: with `kind="llm"`, what it does and the tags of that name; else none."""
    exporter = provide_kind(kind)
    tags = {"team": "credit", "gen_ai.request.model": "m-1", "gen_ai.operation.name": "chat"}
    for facts in ({"kind": "llm", "tags": {}}, {"kind": "llm", "tags": tags}, {"kind": "model", "tags": tags}):
        traces.take([guard(nothing, **facts)])
    told = [
        {name: value for name, value in span.attributes.items() if name.startswith("gen_ai.") or name == "guardrail.kind"}
        for span in exporter.get_finished_spans()
    ]
    assert told == [
        {"guardrail.kind": "llm", "gen_ai.operation.name": "generate_content"},
        {"guardrail.kind": "llm", "gen_ai.operation.name": "chat", "gen_ai.request.model": "m-1"},
        {},
    ]


@KINDS
def test_every_attribute_stands_in_the_table(kind: str) -> None:
    """A span that has everything has only names that are documented, and between them the spans have all of these."""
    exporter = provide_kind(kind)
    facts = {"kind": "llm", "tags": {"gen_ai.request.model": "m"}, "cache_words": {"failed": "miss"}}
    call = Call(make_plan(**facts), (), {}, None, clock.now())
    call.confidence, call.ticket, call.asked = 0.5, "t-1", Bar(0.8, group="north")
    token = traces.begin(call)
    call.extra["error"] = ValueError("secret")
    traces.end(token, call, "failed")
    traces.take([make_entry(plan=call.plan, outcome="failed", extra=call.extra)])
    (span,) = exporter.get_finished_spans()
    assert set(span.attributes) - {"seen"} == (set(names.ATTRIBUTES) - {"gen_ai.*"}) | {"gen_ai.request.model"}


@KINDS
@pytest.mark.parametrize("sampled", [True, False])
def test_a_remote_parent_decides(kind: str, sampled: bool) -> None:
    """The default sampler follows the caller's decision, trace id and state."""
    exporter = provide_kind(kind)
    state = trace.TraceState([("vendor", "1")])
    parent = trace.SpanContext(77, 88, is_remote=True, trace_flags=trace.TraceFlags(int(sampled)), trace_state=state)
    remote = trace.set_span_in_context(trace.NonRecordingSpan(parent))
    before = contexts.attach(remote)
    try:
        entry = guard(child)
    finally:
        contexts.detach(before)
    traces.take([entry])
    found = by_name(exporter)
    assert set(found) == ({"credit:predict", "child"} if sampled else set())
    assert entry.extra["span"].trace_id == 77
    if sampled:
        assert found["credit:predict"].parent == parent
        assert found["credit:predict"].context.trace_state == state


def test_a_sampler_of_the_applications_sees_and_adds_attributes() -> None:
    """A sampler may look at the guard's name and add attributes of its own."""

    class Own(sampling.Sampler):
        def should_sample(
            self, parent_context: Any, trace_id: int, name: str, *more: Any, **named: Any
        ) -> sampling.SamplingResult:  # noqa: ARG002
            attributes = more[1] if len(more) > 1 else named["attributes"]
            return sampling.SamplingResult(sampling.Decision.RECORD_AND_SAMPLE, {**attributes, "sampler": name})

        def get_description(self) -> str:
            return "own"

    exporter = provide_kind("deferred", sampler=Own())
    traces.take([guard(nothing)])
    (span,) = exporter.get_finished_spans()
    assert span.attributes["sampler"] == "credit:predict"
    assert span.attributes["guardrail.mode"] == "enforce"


class Slow(SpanExporter):
    """Stands for an exporter over a network."""

    def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002
        return SpanExportResult.SUCCESS


class Ending(SpanProcessor):
    """A processor that changes spans as they end."""

    def _on_ending(self, span: Any) -> None:
        span.set_attribute("changed", 1)


class Counting(SpanProcessor):
    """A processor that only looks at ended spans."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def test_deferring_is_chosen_by_the_processors() -> None:
    """Deferred with batches, memory and those who look at ended spans; real with all that see beginnings or may hold us up."""
    cases = [
        (lambda: BatchSpanProcessor(InMemorySpanExporter()), Deferred), (Counting, Deferred), (Telling, spans.Live),
        (Ending, spans.Live), (lambda: SimpleSpanProcessor(Slow()), spans.Live),
    ]  # fmt: skip
    for make, expected in cases:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(make())
        assert type(spans.choose(provider)) is expected
        provider.shutdown()

    class Subclass(TracerProvider):
        pass

    assert type(spans.choose(Subclass(shutdown_on_exit=False))) is spans.Live


def test_an_sdk_that_is_put_together_otherwise_gets_real_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a later SDK makes ended spans in another way, spans are real ones again rather than lost."""

    class Other(ReadableSpan):
        def __init__(self, everything: object) -> None:
            del everything

    monkeypatch.setattr(deferred.sdk, "ReadableSpan", Other)
    assert type(spans.choose(TracerProvider(shutdown_on_exit=False))) is spans.Live


def test_a_processor_that_is_added_later_counts() -> None:
    """The way is chosen anew when the application adds a processor, or sets another provider."""
    provide_kind("deferred")
    trace._TRACER_PROVIDER.add_span_processor(Telling())
    guard(nothing)
    assert type(traces._way) is spans.Live
    exporter = provide_kind("deferred")
    traces.take([guard(nothing)])
    assert len(exporter.get_finished_spans()) == 1


@KINDS
def test_a_generator_holds_no_context_between_its_steps(kind: str) -> None:
    """Per step the span is current inside and not outside, and it may be closed in another context."""
    exporter = provide_kind(kind)
    call = Call(make_plan(), (), {}, None, clock.now())
    seen: list[int] = []

    def steps() -> Iterator[int]:
        token = traces.begin(call)
        assert token is not None
        try:
            for at in range(3):
                seen.append(trace.get_current_span().get_span_context().span_id)
                traces.pause(token)
                yield at
                traces.resume(token)
        finally:
            traces.end(token, call, "answered")

    items = steps()
    for _ in range(2):
        next(items)
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert len(set(seen)) == 1
    token = call.span
    contextvars.Context().run(items.close)
    assert trace.get_current_span() is trace.INVALID_SPAN
    traces.take([make_entry(plan=call.plan, extra=call.extra)])
    assert [span.context.span_id for span in exporter.get_finished_spans()] == [token.span_id]


@KINDS
def test_what_the_function_leaves_current_on_purpose_stays(kind: str) -> None:
    """A function that sets baggage for its caller still does, but the guard's span does not leak with it."""
    provide_kind(kind)
    outer = contexts.get_current()
    try:
        guard(lambda: contexts.attach(baggage.set_baggage("tenant", "t1")) and None)
        assert baggage.get_baggage("tenant") == "t1"
        assert trace.get_current_span() is trace.INVALID_SPAN
    finally:
        contexts.attach(outer)


def test_a_broken_sampler_never_reaches_the_call() -> None:
    """An error inside the application's tracing leaves the call without a span, said once."""

    class Broken(sampling.Sampler):
        def should_sample(self, *_: Any, **__: Any) -> sampling.SamplingResult:
            raise LookupError("secret")

        def get_description(self) -> str:
            return "broken"

    provide(sampler=Broken())
    assert guard(nothing).extra is None
    assert (None, "traces") in notices.counts()
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_provider_that_is_not_the_sdks_gets_real_spans() -> None:
    """Another implementation of the API is used through the API alone."""
    begun: list[str] = []

    class Tracer(trace.Tracer):
        def start_span(self, name: str, *_: Any, **__: Any) -> trace.Span:
            begun.append(name)
            return trace.NonRecordingSpan(trace.SpanContext(3, 4, is_remote=False))

        def start_as_current_span(self, *_: Any, **__: Any) -> Any:
            raise AssertionError

    class Provider(trace.TracerProvider):
        def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
            return Tracer()

    trace._TRACER_PROVIDER = Provider()
    entry = guard(nothing)
    assert begun == ["credit:predict"]
    assert traces.ids(entry.extra["span"]) == ("0" * 31 + "3", "0" * 15 + "4")


def test_ids_are_as_records_have_them() -> None:
    """Trace and span id in hexadecimal, as W3C Trace Context writes them."""
    provide_kind("deferred")
    entry = guard(nothing)
    assert [len(each) for each in traces.ids(entry.extra["span"])] == [32, 16]


def test_spans_go_on_after_a_fork() -> None:
    """A forked child's spans carry ids of its own and are built in the child."""
    exporter = provide_kind("deferred")
    calls.next_seq()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            traces.take([guard(nothing)])
            os.write(write, f"{exporter.get_finished_spans()[0].context.span_id}".encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert int(os.read(read, 100)) > 0
    os.close(read)
    os.close(write)


def test_the_contexts_of_a_call_keep_nothing_of_it() -> None:
    """A context copied inside the call (a background task's) holds the span's ids, not the context around the call."""
    provide_kind("deferred")
    kept: list[contextvars.Context] = []
    guard(lambda: kept.append(contextvars.copy_context()))
    span = kept[0].run(trace.get_current_span)
    assert span.outer is None  # type: ignore[attr-defined]
    assert span.inner is None  # type: ignore[attr-defined]
    assert Link(span.get_span_context()).context.is_valid
