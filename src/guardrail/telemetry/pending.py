"""The span of a call while it lasts: two ids and a place in the context; the rest is built from the call's entry."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk import trace as sdk
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from guardrail import call as calls
from guardrail import clock
from guardrail.telemetry.spans import (
    KEPT,
    SPAN_KEY,
    WRONG,
    attach,
    current_context,
    first_attributes,
    last_attributes,
    restore,
    wrong,
)

if TYPE_CHECKING:
    from opentelemetry.util import types

    from guardrail.call import Call
    from guardrail.ledger.entry import Entry
    from guardrail.telemetry.deferred import Deferred

_FLAGS: Final = tuple(map(TraceFlags, range(4)))  # sampled, random
_NO_STATE: Final = trace.DEFAULT_TRACE_STATE


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
    above: Any = None  # of a call that is not sampled: the span around it, should it have to be kept
    kept = False  # whether it is exported although it was not sampled
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
        if not self.flags & 1:
            self.above = outer.get(SPAN_KEY)
        if found.attributes and found.attributes != first:
            self.sampler_attributes = found.attributes

    def drop(self, flags: int, above: Any) -> None:
        """Leave the span out, unless the call goes wrong."""
        self.flags = flags
        self.recording = False
        self.above = above

    # ── the place in the context ──────────────────────────────────────────────────────────────────────────────────────
    def attach(self) -> None:
        """Make the span the current one."""
        self.outer = outer = current_context()
        self.inner = contexts.Context({**outer, SPAN_KEY: self})
        attach(self.inner)

    def detach(self) -> None:
        """Make what was current before current again."""
        restore(self, self)

    # ── what children and the function see ────────────────────────────────────────────────────────────────────────────
    def get_span_context(self) -> SpanContext:
        """Return the context that children and other services are given; most calls never need it before they end."""
        found = self._context
        if found is None:
            found = SpanContext(
                self.trace_id, self.span_id, is_remote=False, trace_flags=_FLAGS[self.flags], trace_state=self.state
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
        above, self.above = self.above, None
        if not self.flags & 1 and (self.kept or outcome in KEPT):  # what went wrong is kept whatever the sampling
            recording = True
            self.flags |= 1
            self._context = None
            context = self.get_span_context()  # from here on for exemplars, too
            if above is not None and above.__class__ is Span:
                above.kept = True  # it ends later, so that its child has a parent where people look at it
        if not recording:
            return
        way = self.way
        attributes: Any = first_attributes(plan).copy()
        plain = not (way.limited or self.added or self.sampler_attributes)
        if not plain:  # in the order in which a real span would have been given them: what we know at the end has the last word
            attributes.update(self.sampler_attributes or ())
            attributes.update(self.added or ())
        last_attributes(attributes, plan, outcome, calls.decision_id(at, seq), confidence, attempts, extra)
        if not plain:
            attributes = BoundedAttributes(way.most, attributes, immutable=True, max_value_len=way.longest)
        status = wrong(extra) if outcome in WRONG else self.status
        start = int(self.start * 1e9)
        parts = (self._built_events() if self.events else (), tuple(self.links or ()))
        ended = way.make(
            self.name or plan.name, context, self.parent, attributes, *parts, status, start, start + int(took * 1e9)
        )  # fmt: skip
        way.multi.on_end(ended)

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
