"""Chooses how spans are made for a provider, and makes real ones where it must. Loaded once an application has a provider."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode

from guardrail import clock
from guardrail.ledger.record import type_name
from guardrail.ledger.surroundings import sdk_version
from guardrail.telemetry.traces import Token, Way

if TYPE_CHECKING:
    from guardrail.call import Call
    from guardrail.ledger.entry import Entry

SCOPE: Final = "guardrail"
NOWHERE: Final = contexts.Context()
SPAN_KEY: Final = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, NOWHERE)))  # where a context keeps its span
# The context's own methods cost half of what the functions around them do, which have the same names.
_runtime: Final[Any] = getattr(contexts, "_RUNTIME_CONTEXT", contexts)
current_context: Final = _runtime.get_current
attach: Final = _runtime.attach
WRONG: Final = frozenset({"failed", "refused", "late"})  # outcomes whose span has the status ERROR
KEPT: Final = WRONG | {"deferred", "fallback", "stale"}  # outcomes whose span is kept even where the sampler dropped it


def choose(provider: Any) -> Way:
    """Return how to make spans for a provider as it is configured now."""
    tracer = provider.get_tracer(SCOPE, sdk_version())
    if isinstance(tracer, trace.NoOpTracer):  # OTEL_SDK_DISABLED, or the application wants none
        return Off()
    if type(provider).__module__.startswith("opentelemetry.sdk"):
        from guardrail.telemetry import deferred  # noqa: PLC0415 - knows the SDK, which is loaded in this case only

        way = deferred.way_for(provider, tracer)
        if way is not None:
            return way
        return Live(tracer, deferred.processors_of(tracer), deferred.room_of(tracer), deferred.begun_before)
    return Live(tracer)


class Off:
    """Nobody wants spans."""

    def begin(self, call: Call) -> Token | None:  # noqa: ARG002 - one shape for all ways
        """Begin none."""
        return None

    def holds(self) -> bool:
        """Return True: a provider that is off stays off."""
        return True


class Live:
    """Real spans, begun and ended on the caller's thread.

    Args:
        tracer: The provider's tracer for this library.
        processors: The processors of the SDK's provider, in which case a change of them may allow deferring.
        room: Gives the mapping in which a span of the SDK keeps its attributes, where its limits let ours in.
        begun_before: Makes a span of the SDK that began earlier, for a call that went wrong though it was not sampled.
    """

    def __init__(
        self,
        tracer: trace.Tracer,
        processors: tuple[Any, ...] | None = None,
        room: Callable[[Any], dict[str, Any] | None] | None = None,
        begun_before: Callable[..., trace.Span] | None = None,
    ) -> None:
        self.tracer = tracer
        self.processors = processors
        self.room = room
        self.begun_before = begun_before

    def holds(self) -> bool:
        """Return whether the provider still has the same processors."""
        return self.processors is None or self.tracer.span_processor._span_processors is self.processors  # type: ignore[attr-defined]  # noqa: SLF001

    def begin(self, call: Call) -> Token:
        """Begin a real span and make it current."""
        plan = call.plan
        outer = current_context()
        return LiveToken(self.tracer.start_span(plan.name, outer, attributes=first_attributes(plan)), outer, self)


class LiveToken:
    """A real span of a call."""

    __slots__ = ("around", "inner", "kept", "outer", "span", "span_id", "start", "trace_id", "way")

    def __init__(self, span: trace.Span, outer: contexts.Context, way: Live) -> None:
        self.way = way
        self.span = span
        self.kept = False  # whether it is exported although it was not sampled
        if span.__class__ is trace.NonRecordingSpan:
            self.around = outer.get(SPAN_KEY)
            self.start = clock.wall()
        context = span.get_span_context()
        self.trace_id = context.trace_id
        self.span_id = context.span_id
        self.outer: contexts.Context | None = outer
        self.inner: contexts.Context | None = contexts.Context({**outer, SPAN_KEY: span})
        attach(self.inner)

    def attach(self) -> None:
        """Make the span the current one."""
        self.outer = outer = current_context()
        self.inner = contexts.Context({**outer, SPAN_KEY: self.span})
        attach(self.inner)

    def detach(self) -> None:
        """Make what was current before current again."""
        restore(self, self.span)

    def finish(self, call: Call, outcome: str) -> None:
        """End the span with what is known of the call."""
        span = self.span
        if span.__class__ is trace.NonRecordingSpan:
            if self.kept or outcome in KEPT:  # what went wrong is kept whatever the sampling
                self._keep(call, outcome)
        elif span.is_recording():
            room = self.way.room
            into = None if room is None else room(span)
            found: dict[str, Any] = {} if into is None else into
            last_attributes(found, call.plan, outcome, call.id, call.confidence, call.attempts, call.extra)
            if into is None:
                span.set_attributes(found)
            if outcome in WRONG:
                span.set_status(wrong(call.extra))
        span.end()

    def _keep(self, call: Call, outcome: str) -> None:
        begun_before = self.way.begun_before
        if begun_before is None:  # not the SDK's provider, and the API has no way to make a span of given ids
            return
        found = first_attributes(call.plan).copy()
        last_attributes(found, call.plan, outcome, call.id, call.confidence, call.attempts, call.extra)
        ids = self.span.get_span_context()
        span = begun_before(
            self.way.tracer, call.plan.name, ids, around=self.around, attributes=found, start=self.start
        )  # fmt: skip
        if outcome in WRONG:
            span.set_status(wrong(call.extra))
        span.end()
        self.span = span  # from here on for exemplars, too
        above: Any = None if call.parent is None else call.parent.span
        if above.__class__ is LiveToken:
            above.kept = True  # it ends later, so that its child has a parent where people look at it

    def build(self, entry: Entry) -> None:
        """Do nothing: the span has ended."""


def restore(token: Any, span: trace.Span) -> None:
    """Make current what was current before a token was attached.

    By value: no OpenTelemetry token is held, so that a generator may be closed, and a task end, in another context than the
    one in which it began. What the function itself left current on purpose stays current.
    """
    outer = token.outer
    if outer is None:
        return
    token.outer = None
    current = current_context()
    if current is token.inner:
        attach(outer)
    elif trace.get_current_span(current) is span:
        attach(trace.set_span_in_context(trace.get_current_span(outer), current))
    token.inner = None


_latest: tuple[Any, MappingProxyType[str, Any]] = (None, MappingProxyType({}))


def first_attributes(plan: Any) -> MappingProxyType[str, Any]:
    """Return what is known of a call when it begins: the same mapping for all calls of a plan."""
    global _latest  # noqa: PLW0603 - one pair, swapped as a whole: most calls have the plan of the one before
    known, found = _latest
    facts = plan.facts  # kept in the plan's place, which holds the function
    if known is not facts:
        found = MappingProxyType(_first_attributes(facts))
        _latest = (facts, found)
    return found


def _first_attributes(plan: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "guardrail.guard": plan.name,
        "guardrail.version": plan.version,
        "guardrail.mode": plan.mode,
    }
    if plan.budget_ms is not None:
        found["guardrail.budget_ms"] = plan.budget_ms
    if plan.threshold is not None:
        found["guardrail.threshold"] = plan.threshold
    if plan.kind != "model":
        found["guardrail.kind"] = plan.kind
    if plan.kind == "llm":
        # What OpenTelemetry says of language models is said only where the user says that this is one: what it does, unless
        # a tag says so more exactly, and what else is in tags of that name. Nothing is guessed from arguments or answers.
        found["gen_ai.operation.name"] = "generate_content"
        found.update({name: value for name, value in plan.tags.items() if name.startswith("gen_ai.")})
    return found


def last_attributes(  # noqa: PLR0917 - called once per span, by position
    found: dict[str, Any], plan: Any, outcome: str, identity: str, confidence: float | None, attempts: int, extra: Any
) -> None:
    """Add what is known of a call when it has ended: facts about it, never a value of the user's."""
    found["guardrail.outcome"] = outcome
    found["guardrail.decision_id"] = identity
    found["guardrail.attempts"] = attempts
    if confidence is not None and confidence - confidence == 0.0:  # NaN and infinities are not numbers to every backend
        found["guardrail.confidence"] = confidence
    cache = plan.cache_words.get(outcome)
    if cache is not None:
        found["guardrail.cache"] = cache
    if extra is None or len(extra) == 1:  # the span itself is always there
        return
    if "asked" in extra:
        at_least, group = extra["asked"].at_least, extra["asked"].group
        found["guardrail.threshold"] = at_least
        if group is not None:
            found["guardrail.group"] = group
    ticket = extra.get("ticket")
    if ticket is not None:
        found["guardrail.ticket"] = str(getattr(ticket, "id", ticket))
    error = extra.get("error")
    if error is not None:
        found["error.type"] = type_name(error)


def wrong(extra: Any) -> Status:
    """Return the status of a call that went wrong: the type of its error, never its text."""
    error = None if extra is None else extra.get("error")
    return Status(StatusCode.ERROR, None if error is None else type_name(error))
