"""Spans built after the fact: on the caller's thread two numbers and a place in the context, the rest on the ledger's thread.

Only for the SDK's own provider, and only while none of its processors wants to see a span begin (OpenTelemetry SDK 1.30 to
1.45, `sdk/trace/__init__.py`: `Tracer.start_span` and `Span.end` are what happens here in two halves).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import export, sampling
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from guardrail import call as calls
from guardrail import clock
from guardrail.telemetry.spans import KEPT, WRONG, first_attributes, last_attributes, restore, wrong

if TYPE_CHECKING:
    from opentelemetry.util import types

    from guardrail.call import Call
    from guardrail.ledger.entry import Entry

_STARTS: Final = (
    sdk.SpanProcessor.on_start,
    export.SimpleSpanProcessor.on_start,
    export.BatchSpanProcessor.on_start,
)  # all of them do nothing
_QUICK: Final = (InMemorySpanExporter, export.ConsoleSpanExporter)  # exporters that hold nobody up
_RANDOM: Final = 0x02  # W3C Trace Context level 2: the trace id is random
_NO_STATE: Final = trace.DEFAULT_TRACE_STATE


def processors_of(tracer: Any) -> tuple[Any, ...] | None:
    """Return the span processors of an SDK tracer, None where they cannot be seen."""
    found = getattr(getattr(tracer, "span_processor", None), "_span_processors", None)
    return found if isinstance(found, tuple) else None


def way_for(provider: Any, tracer: Any) -> Deferred | None:
    """Return the deferred way, or None where it would change what the application sees of its spans."""
    processors = processors_of(tracer)
    metrics = getattr(tracer, "_tracer_metrics", None)
    if (
        type(provider) is not sdk.TracerProvider
        or type(tracer) is not sdk.Tracer
        or processors is None
        or (metrics is not None and not type(metrics).__name__.startswith("NoOp"))  # the SDK counts the spans it starts
        or not all(map(_lets_defer, processors))
    ):
        return None
    return Deferred(tracer, processors)


def _lets_defer(processor: Any) -> bool:
    """Return whether a processor neither wants to see spans begin nor may hold up the thread that ends them."""
    kind = type(processor)
    if kind.on_start not in _STARTS or "on_start" in vars(processor):
        return False
    ending = getattr(kind, "_on_ending", None)
    if ending is not None and ending not in {getattr(base, "_on_ending", None) for base in _BASES}:
        return False
    if isinstance(processor, export.SimpleSpanProcessor):  # exports in place: over a network it would hold up the ledger
        return isinstance(processor.span_exporter, _QUICK)
    return True


_BASES: Final = (sdk.SpanProcessor, export.SimpleSpanProcessor, export.BatchSpanProcessor)


class Deferred:
    """The deferred way for one tracer.

    Args:
        tracer: The SDK's.
        processors: What its provider has now; others mean choosing anew.
    """

    def __init__(self, tracer: sdk.Tracer, processors: tuple[Any, ...]) -> None:
        self.tracer = tracer
        self.processors = processors
        self.multi: Any = tracer.span_processor
        self.sample = tracer.sampler.should_sample
        self.always = _always(tracer.sampler)
        self.span_id = tracer.id_generator.generate_span_id
        self.new_trace_id = tracer.id_generator.generate_trace_id
        is_random = getattr(tracer.id_generator, "is_trace_id_random", None)
        self.root_flags = _RANDOM if is_random is not None and is_random() else 0
        limits = tracer._span_limits  # noqa: SLF001 - a tracer has no public way to its limits
        self.most = limits.max_span_attributes
        self.longest = limits.max_span_attribute_length
        self.limited = self.longest is not None or (self.most is not None and self.most < 32)  # noqa: PLR2004 - more than we have
        self.is_enabled = getattr(tracer, "_is_enabled", None)
        self.scope = tracer._instrumentation_scope  # noqa: SLF001 - as above
        self._plan: Any = None
        self._first: dict[str, Any] = {}

    def first(self, plan: Any) -> dict[str, Any]:
        """Return what every span of a plan begins with; for the ledger's thread, where most batches are one guard's."""
        if plan is not self._plan:
            self._first = first_attributes(plan)
            self._plan = plan
        return self._first

    def holds(self) -> bool:
        """Return whether the provider still has the same processors."""
        return self.multi._span_processors is self.processors  # noqa: SLF001

    def begin(self, call: Call) -> Span | None:
        """Take ids, ask the sampler, and make the span-to-be current."""
        if self.is_enabled is not None and not self.is_enabled():
            return None
        outer = contexts.get_current()
        parent: SpanContext | None = trace.get_current_span(outer).get_span_context()
        if parent is not None and parent.is_valid:
            trace_id = parent.trace_id
            sampled = parent.trace_flags & 1
            flags = parent.trace_flags & _RANDOM
        else:
            parent = None
            trace_id = self.new_trace_id()
            sampled = 1
            flags = self.root_flags
        span = Span(self, trace_id, self.span_id(), parent, outer)
        if self.always and sampled:
            span.flags = flags | 1
        else:
            span.ask(self.sample, outer, call.plan, flags)
        span.inner = inner = trace.set_span_in_context(span, outer)
        contexts.attach(inner)
        return span


def _always(sampler: Any) -> bool:
    """Return whether a sampler keeps every root and every child of a kept parent, so that it need not be asked for these."""
    if type(sampler) is sampling.StaticSampler:
        return sampler is sampling.ALWAYS_ON
    if type(sampler) is not sampling.ParentBased:
        return False
    of = vars(sampler)
    return all(of.get(each) is sampling.ALWAYS_ON for each in ("_root", "_remote_parent_sampled", "_local_parent_sampled"))


class Span(trace.Span):
    """A span of a call, of which only the ids exist yet. What the function adds to it is kept until it is built."""

    flags = 0
    state = _NO_STATE
    recording = True
    inner: contexts.Context | None = None
    sampler_attributes: Mapping[str, Any] | None = None
    added: dict[str, Any] | None = None
    events: list[tuple[str, Any, int]] | None = None
    links: list[trace.Link] | None = None
    name: str | None = None
    status: Status | None = None
    _context: SpanContext | None = None

    def __init__(self, way: Deferred, trace_id: int, span_id: int, parent: SpanContext | None, outer: contexts.Context) -> None:
        self.way = way
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent = parent
        self.outer: contexts.Context | None = outer
        self.start = clock.wall()
        if parent is not None:
            self.state = parent.trace_state

    def ask(self, sample: Any, outer: contexts.Context, plan: Any, flags: int) -> None:
        """Let the sampler decide."""
        first = first_attributes(plan)
        found = sample(outer, self.trace_id, plan.name, SpanKind.INTERNAL, first, ())
        self.flags = flags | (1 if found.decision.is_sampled() else 0)
        self.recording = found.decision.is_recording()
        self.state = found.trace_state or _NO_STATE
        if found.attributes and found.attributes != first:
            self.sampler_attributes = found.attributes

    # ── the place in the context ──────────────────────────────────────────────────────────────────────────────────────
    def attach(self) -> None:
        """Make the span the current one."""
        self.outer = outer = contexts.get_current()
        self.inner = trace.set_span_in_context(self, outer)
        contexts.attach(self.inner)

    def detach(self) -> None:
        """Make what was current before current again."""
        restore(self, self)

    # ── what children and the function see ────────────────────────────────────────────────────────────────────────────
    def get_span_context(self) -> SpanContext:
        """Return the context that children and other services are given; most calls never need it before they end."""
        found = self._context
        if found is None:
            found = SpanContext(
                self.trace_id, self.span_id, is_remote=False, trace_flags=TraceFlags(self.flags), trace_state=self.state
            )
            self._context = found
        return found

    def is_recording(self) -> bool:
        """Return whether what is added will be seen."""
        return self.recording

    def set_attribute(self, key: str, value: types.AttributeValue) -> None:
        """Keep an attribute for the span."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, types.AttributeValue]) -> None:
        """Keep attributes for the span."""
        if self.recording:
            if self.added is None:
                self.added = {}
            self.added.update(attributes)

    def add_event(self, name: str, attributes: types.Attributes = None, timestamp: int | None = None) -> None:
        """Keep an event for the span."""
        if self.recording:
            if self.events is None:
                self.events = []
            self.events.append((name, attributes, time.time_ns() if timestamp is None else timestamp))

    def add_link(self, context: SpanContext, attributes: types.Attributes = None) -> None:
        """Keep a link for the span."""
        if self.recording:
            if self.links is None:
                self.links = []
            self.links.append(trace.Link(context, attributes))

    def update_name(self, name: str) -> None:
        """Keep another name for the span."""
        if self.recording:
            self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Keep a status for the span; it holds unless the call itself goes wrong."""
        if self.recording:
            self.status = status if isinstance(status, Status) else Status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: types.Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 - OpenTelemetry's signature
    ) -> None:
        """Keep an event that names the exception's type; its text may hold what was rejected."""
        kind = type(exception)
        found = {"exception.type": f"{kind.__module__}.{kind.__qualname__}", "exception.escaped": str(escaped)}
        self.add_event("exception", {**found, **(attributes or {})}, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: the span ends with its call."""

    def finish(self, call: Call, outcome: str) -> None:
        """Do nothing: the span is built from the call's entry."""

    # ── on the ledger's thread ────────────────────────────────────────────────────────────────────────────────────────
    def build(self, entry: Entry) -> None:
        """Make the span of an ended call and give it to the processors."""
        recording, self.recording = self.recording, False
        seq, at, took, plan, outcome, _, _, confidence, attempts, extra = entry
        context = self.get_span_context()
        if not self.flags & 1 and outcome in KEPT:  # what went wrong is kept whatever the sampling
            recording = True
            flags = TraceFlags(self.flags | 1)
            context = SpanContext(self.trace_id, self.span_id, is_remote=False, trace_flags=flags, trace_state=self.state)
        if not recording:
            return
        way = self.way
        tracer = way.tracer
        attributes: Any = way.first(plan).copy()
        last_attributes(attributes, outcome, calls.decision_id(at, seq), confidence, attempts, extra)
        if way.limited or self.added or self.sampler_attributes:
            attributes.update(self.sampler_attributes or ())
            attributes.update(self.added or ())
            attributes = BoundedAttributes(way.most, attributes, immutable=True, max_value_len=way.longest)
        status = wrong(extra) if outcome in WRONG else self.status
        start = int(self.start * 1e9)
        way.multi.on_end(
            sdk.ReadableSpan(
                self.name or plan.name,
                context,
                self.parent,
                tracer.resource,
                attributes,
                self._built_events() if self.events else (),
                tuple(self.links or ()),
                SpanKind.INTERNAL,
                tracer.instrumentation_info,
                _UNSET if status is None else status,
                start,
                start + int(took * 1e9),
                way.scope,
            )
        )

    def _built_events(self) -> tuple[sdk.Event, ...]:
        way = self.way
        return tuple(
            sdk.Event(name, BoundedAttributes(way.most, attributes, immutable=True, max_value_len=way.longest), moment)
            for name, attributes, moment in self.events or ()
        )

    @property
    def context(self) -> SpanContext:
        """The same, as the SDK's spans have it."""
        return self.get_span_context()


_UNSET: Final = Status(StatusCode.UNSET)
