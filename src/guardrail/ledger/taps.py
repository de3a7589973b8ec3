"""Who looks at every batch on the ledger's thread. A tap that fails is counted and said once, and stops nobody."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from guardrail import notices, settings
from guardrail.telemetry import provider, stats

if TYPE_CHECKING:
    from guardrail.ledger.entry import Entry


def before_write(entries: list[Entry]) -> None:
    """Show a batch of calls to counts, spans, metrics and the line for people."""
    provider.configure_if_asked()
    if "guardrail.ledger.sealing" in sys.modules:  # some guard has marked something as personal
        from guardrail.ledger import sealing  # noqa: PLC0415

        _try("sealing", sealing.prepare, entries)
    _try("stats", stats.take, entries)
    if "opentelemetry.trace" in sys.modules:  # an application that never imported it cannot have set a provider
        from guardrail.telemetry import traces  # noqa: PLC0415

        _try("traces", traces.take, entries)
    if "opentelemetry.metrics" in sys.modules:
        from guardrail.telemetry import metrics  # noqa: PLC0415

        _try("metrics", metrics.take, entries)
    _try("logs", _lines_for_people, entries)


def after_write() -> None:
    """Tell the sinks' couriers that something new is durable."""
    try:
        if settings.current().sinks or "guardrail.delivery.couriers" in sys.modules:
            from guardrail.delivery import couriers  # noqa: PLC0415 - for those who have sinks

            couriers.ring()
    except Exception as problem:  # noqa: BLE001 - as in `_try`
        notices.say("sinks", f"the sinks could not be served ({type(problem).__name__}); the ledger has everything")


def _lines_for_people(entries: list[Entry]) -> None:
    wanted = settings.current().log
    if wanted != "off":
        from guardrail.telemetry import logs  # noqa: PLC0415 - structlog is loaded for those who want lines

        logs.take(entries, everything=wanted == "all")


def _try(topic: str, tap: Callable[[Any], None], batch: Any) -> None:
    try:
        tap(batch)
    except Exception as problem:  # noqa: BLE001 - users' exporters and samplers run in here, and the ledger must go on
        notices.say(topic, f"{topic} could not take a batch of calls ({type(problem).__name__}); the ledger has them")
