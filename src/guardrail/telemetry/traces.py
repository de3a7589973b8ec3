"""Spans of guarded calls. An application without a tracer provider pays one look at it per call, and imports nothing.

Where its provider allows (`deferred`), a call leaves only ids and a place in the context, and the span is built from its
entry on the ledger's thread; otherwise a real span lives on the caller's thread (`live`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol

from guardrail import notices

if TYPE_CHECKING:
    from guardrail.call import Call
    from guardrail.ledger.entry import Entry


class Token(Protocol):
    """What `begin` leaves on a call until its span is built."""

    trace_id: int
    span_id: int

    def attach(self) -> None:
        """Make the span the current one."""

    def detach(self) -> None:
        """Make what was current before current again; by value, so that it works from another context too."""

    def finish(self, call: Call, outcome: str) -> None:
        """End what must end on the caller's thread."""

    def build(self, entry: Entry) -> None:
        """Make what is made on the ledger's thread."""


class Way(Protocol):
    """How spans are made for one provider."""

    def begin(self, call: Call) -> Token | None:
        """Begin the span of a call and make it the current one."""

    def holds(self) -> bool:
        """Return whether the provider is still as it was when this way was chosen."""
        ...


_provider: Any = None  # the application's, as last seen
_way: Way | None = None
_modules = sys.modules


def enabled() -> bool:
    """Return whether the application has a tracer provider."""
    api = _modules.get("opentelemetry.trace")
    return api is not None and getattr(api, "_TRACER_PROVIDER", None) is not None


def begin(call: Call) -> Token | None:
    """Begin the span of a call and make it the current one; None where nobody traces. It never raises.

    The token also stands on the call as `span`, and so reaches the entry.
    """
    api = _modules.get("opentelemetry.trace")
    if api is None:
        return None
    try:
        provider = api._TRACER_PROVIDER  # noqa: SLF001 - the public getter costs 0.9 µs, and loads a provider by itself
        if provider is None:
            return None
        way = _way
        if provider is not _provider or way is None or not way.holds():
            way = _choose(provider)
        token = way.begin(call)
    except Exception as problem:  # noqa: BLE001 - samplers and processors are the application's; a call never fails for them
        notices.say("traces", f"a span could not be begun ({type(problem).__name__}); calls go on without")
        return None
    if token is None:
        return None
    extra = call.extra
    if extra is None:
        call.extra = {"span": token}
    else:
        extra["span"] = token
    return token


def end(token: Token, call: Call, outcome: str) -> None:
    """End the span of a call on its own thread, and make current what was current before. It never raises.

    Args:
        token: What `begin` returned.
        call: The call; `call.extra` holds its error, if any.
        outcome: How it ended.
    """
    try:
        token.detach()
        token.finish(call, outcome)
    except Exception as problem:  # noqa: BLE001 - as in begin
        notices.say("traces", f"a span could not be ended ({type(problem).__name__}); calls go on without")


def resume(token: Token) -> None:
    """Make the span current for one step of a generator."""
    token.attach()


def pause(token: Token) -> None:
    """Make current again what was current before the step."""
    token.detach()


def ids(token: Token) -> tuple[str, str]:
    """Return trace id and span id in hexadecimal, as records and `Decision.trace_id` have them."""
    return f"{token.trace_id:032x}", f"{token.span_id:016x}"


def take(entries: list[Entry]) -> None:
    """Build the deferred spans of a batch. Called on the ledger's thread."""
    for entry in entries:
        extra = entry[9]
        if extra is not None:
            token = extra.get("span")
            if token is not None:
                token.build(entry)


def _choose(provider: Any) -> Way:
    """Look at a provider as it is now, and choose how its spans are made."""
    global _provider, _way  # the application has one provider; a race chooses the same way twice
    from guardrail.telemetry import spans  # noqa: PLC0415 - brings OpenTelemetry, which the application has loaded already

    way: Way = spans.choose(provider)
    _way, _provider = way, provider
    return way
