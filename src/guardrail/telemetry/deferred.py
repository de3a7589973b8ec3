"""Spans built after the fact: on the caller's thread two numbers and a place in the context, the rest on the ledger's thread.

Only for the SDK's own provider, and only while none of its processors wants to see a span begin (OpenTelemetry SDK 1.30 to
1.45, `sdk/trace/__init__.py`: `Tracer.start_span` and `Span.end` are what happens here in two halves).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import export, sampling
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from guardrail import clock
from guardrail.telemetry.pending import Span
from guardrail.telemetry.spans import SPAN_KEY, attach, current_context

if TYPE_CHECKING:
    from guardrail.call import Call

_STARTS: Final = (
    sdk.SpanProcessor.on_start,
    export.SimpleSpanProcessor.on_start,
    export.BatchSpanProcessor.on_start,
)  # all of them do nothing
_QUICK: Final = (InMemorySpanExporter, export.ConsoleSpanExporter)  # exporters that hold nobody up
ENOUGH: Final = 64  # attributes: four times as many as we have ourselves
_ALL: Final = 1 << 64
_LOWER: Final = _ALL - 1
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


def room_of(tracer: Any) -> Callable[[Any], dict[str, Any] | None] | None:
    """Return what gives the dict of attributes of a span that has not ended, None where limits could be passed over.

    Our own values need no cleaning, which is the larger part of what `set_attributes` costs.
    """
    limits = getattr(tracer, "_span_limits", None)
    most = getattr(limits, "max_span_attributes", 0)
    if limits is None or limits.max_span_attribute_length is not None or (most is not None and most < ENOUGH):
        return None

    def room(span: Any) -> dict[str, Any] | None:
        kept: Any = getattr(span, "_attributes", None)
        if kept.__class__ is not BoundedAttributes or len(kept) > ENOUGH // 2:
            return None
        found = getattr(kept, "_dict", None)
        return found if found.__class__ is dict else None

    return room


def begun_before(
    tracer: Any, name: str, ids: SpanContext, *, around: trace.Span | None, attributes: dict[str, Any], start: float
) -> trace.Span:
    """Return a span that is exported, though the sampler has dropped the one of these ids.

    Args:
        tracer: The SDK's.
        name: Of the span.
        ids: Those that children and other services were given.
        around: The span that was current before.
        attributes: All of them.
        start: When it began, in seconds since the epoch.
    """
    parent = None if around is None else around.get_span_context()
    context = SpanContext(
        ids.trace_id, ids.span_id, is_remote=False, trace_flags=TraceFlags(ids.trace_flags | 1), trace_state=ids.trace_state
    )
    span = sdk._Span(  # noqa: SLF001 - as `Tracer.start_span` makes it
        name=name,
        context=context,
        parent=parent if parent is not None and parent.is_valid else None,
        sampler=tracer.sampler,
        resource=tracer.resource,
        attributes=attributes,
        span_processor=tracer.span_processor,
        instrumentation_info=tracer.instrumentation_info,
        limits=tracer._span_limits,  # noqa: SLF001 - as above
        instrumentation_scope=tracer._instrumentation_scope,  # noqa: SLF001 - as above
    )
    span.start(start_time=int(start * 1e9))
    return span


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
        self.rule = _rule(tracer.sampler)
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
        self.limited = self.longest is not None or (self.most is not None and self.most < ENOUGH)
        self.is_enabled = getattr(tracer, "_is_enabled", None)
        self.scope = tracer._instrumentation_scope  # noqa: SLF001 - as above

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
            flags = parent.trace_flags & _RANDOM
        else:
            parent = None
            trace_id = self.new_trace_id() if bits is None else bits(128) or 1
            flags = self.root_flags
        span = Span(self, trace_id, self.span_id() if bits is None else bits(64) or 1, parent, outer)
        rule = self.rule
        if rule is None:
            span.ask(self.sample, outer, call.plan, flags)
        elif parent is not None and rule.follows:
            if parent.trace_flags & 1:
                span.flags = flags | 1
            else:
                span.drop(flags, around)
        elif trace_id & _LOWER < rule.bound:
            span.flags = flags | 1
        else:
            span.drop(flags, around)
        span.inner = inner = contexts.Context({**outer, SPAN_KEY: span})
        attach(inner)
        return span


class Rule(NamedTuple):
    """What one of the SDK's own samplers decides, known without asking it.

    Attributes:
        bound: A root is kept whose trace id, in its lower 64 bits, is below.
        follows: Whether a child is kept where its parent is; else the bound rules over it too.
    """

    bound: int
    follows: bool


def _rule(sampler: Any) -> Rule | None:
    """Return the rule of a sampler: always on or off, by a share of the traces, or by the parent and one of these."""
    if type(sampler) is not sampling.ParentBased:
        bound = _bound(sampler)
        return None if bound is None else Rule(bound, follows=False)
    of = vars(sampler)
    kept = ("_remote_parent_sampled", "_local_parent_sampled")
    dropped = ("_remote_parent_not_sampled", "_local_parent_not_sampled")
    usual = all(of.get(each) is sampling.ALWAYS_ON for each in kept) and all(
        of.get(each) is sampling.ALWAYS_OFF for each in dropped
    )
    bound = _bound(of.get("_root")) if usual else None
    return None if bound is None else Rule(bound, follows=True)


def _bound(sampler: Any) -> int | None:
    if type(sampler) is sampling.StaticSampler:
        return {sampling.ALWAYS_ON: _ALL, sampling.ALWAYS_OFF: 0}.get(sampler)
    if type(sampler) is sampling.TraceIdRatioBased and sampler.TRACE_ID_LIMIT == _ALL - 1:
        return sampler.bound
    return None
