"""Spans built after the fact: on the caller's thread two numbers and a place in the context, the rest on the ledger's thread.

Only for the SDK's own provider, and only while none of its processors wants to see a span begin (OpenTelemetry SDK 1.30 to
1.45, `sdk/trace/__init__.py`: `Tracer.start_span` and `Span.end` are what happens here in two halves).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import export, sampling
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from guardrail import clock
from guardrail.telemetry.pending import Span
from guardrail.telemetry.spans import SPAN_KEY, attach, current_context, first_attributes

if TYPE_CHECKING:
    from guardrail.call import Call

_STARTS: Final = (
    sdk.SpanProcessor.on_start,
    export.SimpleSpanProcessor.on_start,
    export.BatchSpanProcessor.on_start,
)  # all of them do nothing
_QUICK: Final = (InMemorySpanExporter, export.ConsoleSpanExporter)  # exporters that hold nobody up
_UNSET: Final = Status(StatusCode.UNSET)
_RANDOM: Final = 0x02  # W3C Trace Context level 2: the trace id is random


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
    try:
        way = Deferred(tracer, processors)
        way.make("", None, None, {}, (), (), None, 0, 0)
    except (AttributeError, TypeError):  # another SDK than those that this was written for
        return None
    return way


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
        ids = tracer.id_generator
        # The SDK's own generator draws from the application's `random`; ours leaves its seeds alone, at a third of the cost.
        self.bits = clock.bits if type(ids) is RandomIdGenerator else None
        self.span_id = ids.generate_span_id
        self.new_trace_id = ids.generate_trace_id
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

    def make(  # noqa: PLR0917 - called once per span, by position
        self,
        name: str,
        context: SpanContext | None,
        parent: SpanContext | None,
        attributes: Any,
        events: tuple[sdk.Event, ...],
        links: tuple[trace.Link, ...],
        status: Status | None,
        start: int,
        end: int,
    ) -> sdk.ReadableSpan:
        """Make what the SDK makes of a span when it ends."""
        tracer = self.tracer
        return sdk.ReadableSpan(
            name=name,
            context=context,
            parent=parent,
            resource=tracer.resource,
            attributes=attributes,
            events=events,
            links=links,
            kind=SpanKind.INTERNAL,
            instrumentation_info=tracer.instrumentation_info,
            status=_UNSET if status is None else status,
            start_time=start,
            end_time=end,
            instrumentation_scope=self.scope,
        )

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
        bits = self.bits
        outer = current_context()
        around = outer.get(SPAN_KEY)
        parent: SpanContext | None = None if around is None else around.get_span_context()
        if parent is not None and parent.is_valid:
            trace_id = parent.trace_id
            sampled = parent.trace_flags & 1
            flags = parent.trace_flags & _RANDOM
        else:
            parent = None
            trace_id = self.new_trace_id() if bits is None else bits(128) or 1
            sampled = 1
            flags = self.root_flags
        span = Span(self, trace_id, self.span_id() if bits is None else bits(64) or 1, parent, outer)
        if self.always and sampled:
            span.flags = flags | 1
        else:
            span.ask(self.sample, outer, call.plan, flags)
        span.inner = inner = contexts.Context({**outer, SPAN_KEY: span})
        attach(inner)
        return span


def _always(sampler: Any) -> bool:
    """Return whether a sampler keeps every root and every child of a kept parent, so that it need not be asked for these."""
    if type(sampler) is sampling.StaticSampler:
        return sampler is sampling.ALWAYS_ON
    if type(sampler) is not sampling.ParentBased:
        return False
    of = vars(sampler)
    return all(of.get(each) is sampling.ALWAYS_ON for each in ("_root", "_remote_parent_sampled", "_local_parent_sampled"))
