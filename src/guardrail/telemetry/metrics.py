"""OpenTelemetry metrics of guarded calls, recorded on the ledger's thread; nothing unless the application has a meter provider.

`guardrail.duration` (s, histogram), `guardrail.calls` and `guardrail.retries` (counters), by guard, outcome and cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as contexts
from opentelemetry import metrics, trace

from guardrail.ledger.surroundings import sdk_version

if TYPE_CHECKING:
    from guardrail.ledger.entry import Entry

SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_LABEL_SETS: Final = 10_000
_UNSET: Final = frozenset({"_ProxyMeterProvider", "NoOpMeterProvider"})


class Instruments:
    """The instruments of one provider."""

    def __init__(self, provider: Any) -> None:
        meter = provider.get_meter("guardrail", sdk_version())
        self.provider = provider
        self.off = isinstance(meter, metrics.NoOpMeter)  # OTEL_SDK_DISABLED
        self.duration = meter.create_histogram(
            "guardrail.duration", "s", "Time from a guarded call to its answer",
            explicit_bucket_boundaries_advisory=SECONDS,
        )  # fmt: skip
        self.calls = meter.create_counter("guardrail.calls", "{call}", "Guarded calls that ended")
        self.retries = meter.create_counter("guardrail.retries", "{attempt}", "Attempts after the first of a call")
        self.labels: dict[tuple[str, str, str | None], dict[str, str]] = {}

    def labels_of(self, entry: Entry) -> dict[str, str]:
        """Return the labels of a call, the same object for the same labels."""
        cache = entry[3].cache_words.get(entry[4])
        key = (entry[3].name, entry[4], cache)
        found = self.labels.get(key)
        if found is None:
            if len(self.labels) >= _LABEL_SETS:
                self.labels.clear()
            found = {"guardrail.guard": key[0], "guardrail.outcome": key[1]}
            if cache is not None:
                found["guardrail.cache"] = cache
            self.labels[key] = found
        return found


_instruments: Instruments | None = None


def take(entries: list[Entry]) -> None:
    """Record a batch of calls."""
    global _instruments  # noqa: PLW0603 - one provider per application
    provider = metrics.get_meter_provider()
    if type(provider).__name__ in _UNSET:
        return
    instruments = _instruments
    if instruments is None or instruments.provider is not provider:
        instruments = _instruments = Instruments(provider)
    if instruments.off:
        return
    record = instruments.duration.record
    counts: dict[int, tuple[dict[str, str], int, int]] = {}
    for entry in entries:
        labels = instruments.labels_of(entry)
        record(entry[2], labels, _context(entry))
        _, calls, retries = counts.get(id(labels), (labels, 0, 0))
        counts[id(labels)] = (labels, calls + 1, retries + max(0, entry[8] - 1))
    for labels, calls, retries in counts.values():
        instruments.calls.add(calls, labels)
        if retries:
            instruments.retries.add(retries, labels)


_NOWHERE: Final = contexts.Context()


def _context(entry: Entry) -> contexts.Context:
    """Return a context that holds a call's span, if it was sampled, so that exemplars point at it."""
    extra = entry[9]
    token = None if extra is None else extra.get("span")
    return _NOWHERE if token is None else trace.set_span_in_context(getattr(token, "span", token), _NOWHERE)
