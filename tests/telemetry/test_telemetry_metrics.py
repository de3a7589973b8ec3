"""OpenTelemetry metrics, where the application has a meter provider."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from traced_calls import guard, make_entry, make_plan

from guardrail.ledger import writer
from guardrail.telemetry import metrics as ours
from guardrail.telemetry import traces


def provide() -> InMemoryMetricReader:
    """Set a meter provider, and return what reads it."""
    reader = InMemoryMetricReader()
    metrics._internal._METER_PROVIDER = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    return reader


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """Return the data points of each instrument."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    found = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            assert scope.scope.name == "guardrail"
            for metric in scope.metrics:
                found[metric.name] = list(metric.data.data_points)
                if metric.name == "guardrail.duration":
                    assert metric.unit == "s"
    return found


def test_without_a_provider_nothing_is_recorded() -> None:
    """No instruments are made for an application that has no provider."""
    ours.take([make_entry()])
    assert points(provide()) == {}


def test_every_call_reaches_the_duration_histogram_through_the_ledger() -> None:
    """Calls handed to the ledger are in the histogram after a flush, by guard, outcome and cache."""
    reader = provide()
    writer.push(make_entry(took=0.02))
    writer.push(make_entry(took=0.04))
    writer.push(make_entry(plan=make_plan(cache_words={"cached": "hit"}), outcome="cached", took=0.0002))
    assert writer.flush(5)
    found = {tuple(sorted(point.attributes.items())): point for point in points(reader)["guardrail.duration"]}
    answered = found[("guardrail.guard", "credit:predict"), ("guardrail.outcome", "answered")]
    assert (answered.count, answered.sum) == (2, pytest.approx(0.06))
    assert answered.explicit_bounds == ours.SECONDS
    cached = found[("guardrail.cache", "hit"), ("guardrail.guard", "credit:predict"), ("guardrail.outcome", "cached")]
    assert cached.count == 1


def test_calls_and_retries_are_counted() -> None:
    """One count per call, and one for each attempt after the first."""
    reader = provide()
    ours.take([make_entry(attempts=3), make_entry(attempts=0), make_entry(attempts=1, outcome="failed")])
    found = points(reader)
    assert {point.attributes["guardrail.outcome"]: point.value for point in found["guardrail.calls"]} == {
        "answered": 2,
        "failed": 1,
    }
    assert [point.value for point in found["guardrail.retries"]] == [2]


@pytest.mark.parametrize("live", [False, True])
def test_exemplars_point_at_the_span(live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampled call's duration carries the ids of its span, though it is recorded on another thread."""
    from guardrail.telemetry import deferred

    if live:
        monkeypatch.setattr(deferred, "way_for", lambda *_: None)
    trace._TRACER_PROVIDER = TracerProvider(shutdown_on_exit=False)
    reader = provide()
    entry = guard(lambda: None)
    ours.take([entry, make_entry()])
    (point,) = points(reader)["guardrail.duration"]
    assert [exemplar.span_id for exemplar in point.exemplars] == [entry.extra["span"].span_id]
    assert type(traces._way).__name__ == ("Live" if live else "Deferred")


def test_another_provider_gets_instruments_of_its_own() -> None:
    """When the application replaces its provider, later calls go to the new one."""
    first = provide()
    ours.take([make_entry()])
    second = provide()
    ours.take([make_entry(), make_entry()])
    assert points(first)["guardrail.calls"][0].value == 1
    assert points(second)["guardrail.calls"][0].value == 2


def test_the_sdk_switched_off_means_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED is honoured."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    reader = provide()
    ours.take([make_entry()])
    assert points(reader) == {}
