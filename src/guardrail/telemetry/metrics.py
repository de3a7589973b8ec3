"""OpenTelemetry metrics of guarded calls; nothing unless the application has a meter provider.

Histograms are filled on the ledger's thread, so that exemplars lead to spans. All else is counted anyway (`sums`), and read
when the provider collects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from guardrail.ledger.surroundings import sdk_version
from guardrail.telemetry import histograms, names, standing, sums
from guardrail.telemetry.names import Metric
from guardrail.telemetry.sums import Labels, Value

if TYPE_CHECKING:
    from guardrail.ledger.entry import Entry

_LABEL_SETS: Final = 10_000
_NOTHING: Final[Mapping[str, Any]] = {}
_UNSET: Final = frozenset({"_ProxyMeterProvider", "NoOpMeterProvider"})


class Instruments:
    """The instruments of one provider."""

    def __init__(self, provider: Any) -> None:
        meter = provider.get_meter("guardrail", sdk_version())
        self.provider = provider
        self.off = isinstance(meter, metrics.NoOpMeter)  # OTEL_SDK_DISABLED
        self.labels: dict[tuple[Metric, Labels], dict[str, str]] = {}
        self.histograms = {
            each: meter.create_histogram(each.name, each.unit, each.doc, explicit_bucket_boundaries_advisory=bounds)
            for each, bounds in names.BOUNDS.items()
        }
        self.record = histograms.way_for(self.histograms[names.DURATION])
        self.fresh: dict[Metric, dict[Labels, Value]] = {}  # gathered once for all instruments of a collection
        for each in names.METRICS:
            if each.kind != "histogram":
                make = meter.create_observable_counter if each.kind == "counter" else meter.create_observable_gauge
                make(each.name, [_Observed(self, each)], each.unit, each.doc)

    def labels_of(self, metric: Metric, labels: Labels) -> dict[str, str]:
        """Return labels as OpenTelemetry has them, the same object for the same ones."""
        found = self.labels.get((metric, labels))
        if found is None:
            if len(self.labels) >= _LABEL_SETS:
                self.labels.clear()
            found = {f"guardrail.{name}": value for name, value in zip(metric.labels, labels, strict=True) if value}
            self.labels[metric, labels] = found
        return found

    def put(self, metric: Metric, labels: Labels, values: Sequence[float], spans: histograms.Spans) -> None:
        """Record values in a histogram."""
        self.record(self.histograms[metric], self.labels_of(metric, labels), values, spans)


class _Observed:
    """Reads one metric for a provider that collects."""

    def __init__(self, instruments: Instruments, metric: Metric) -> None:
        self.instruments = instruments
        self.metric = metric

    def __call__(self, _options: CallbackOptions) -> Iterable[Observation]:
        """Yield the present values; none for a provider that the application has replaced."""
        instruments, metric = self.instruments, self.metric
        if instruments is not _instruments:
            return
        if metric not in instruments.fresh:  # the first of a collection
            instruments.fresh = {**{each: {} for each in names.METRICS}, **standing.of_process(), **standing.of_home()}
        for labels, value in instruments.fresh.pop(metric, {}).items():
            yield Observation(value, instruments.labels_of(metric, labels))


_instruments: Instruments | None = None


def take(entries: list[Entry]) -> None:
    """Record a batch of calls."""
    instruments = _current()
    if instruments is None:
        return
    groups: dict[tuple[int, str], list[Entry]] = {}
    for entry in entries:
        extra = entry[9]
        if extra is not None and (len(extra) > 1 or "span" not in extra):
            _take_rare(instruments, entry, extra)
            if "rows" in extra:  # its rows are the decisions
                continue
        groups.setdefault((id(entry[3]), entry[4]), []).append(entry)
    for run in groups.values():
        plan, outcome = run[0][3], run[0][4]
        labels = sums.labels(plan, outcome)
        values = [entry[2] for entry in run]
        spans = [(entry[9] or _NOTHING).get("span") for entry in run]
        instruments.put(names.DURATION, labels, values, spans)
        if plan.budget_ms and not sums.tabular(plan):
            budget = plan.budget_ms / 1e3
            instruments.put(names.USED, labels[:1], [value / budget for value in values], spans)


def _take_rare(instruments: Instruments, entry: Entry, extra: Mapping[str, Any]) -> None:
    plan, span = entry[3], (extra.get("span"),)
    guard = sums.guard_label(plan.name)
    if "rows" in extra and plan.budget_ms:
        instruments.put(names.USED, (guard,), (entry[2] * 1e3 / plan.budget_ms,), span)
    for stage, seconds in (extra.get("stages") or {}).items():
        instruments.put(names.STAGE, (guard, sums.stage_label(guard, stage)), (seconds,), span)


def _current() -> Instruments | None:
    global _instruments  # noqa: PLW0603 - one provider per application
    provider = metrics.get_meter_provider()
    if type(provider).__name__ in _UNSET:
        return None
    if _instruments is None or _instruments.provider is not provider:
        _instruments = Instruments(provider)
    return None if _instruments.off else _instruments
