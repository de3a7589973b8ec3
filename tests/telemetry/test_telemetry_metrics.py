"""OpenTelemetry metrics, where the application has a meter provider."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider, sampling
from traced_calls import guard, make_entry, make_plan

from guardrail.ledger import writer
from guardrail.telemetry import histograms, names, stats, traces
from guardrail.telemetry import metrics as ours


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


def take(*entries: Any) -> None:
    """Count and record a batch, as the ledger's thread does."""
    stats.take(list(entries))
    ours.take(list(entries))


def test_without_a_provider_nothing_is_recorded() -> None:
    """No instruments are made for an application that has no provider."""
    take(make_entry())
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
    assert answered.explicit_bounds == names.SECONDS
    cached = found[("guardrail.cache", "hit"), ("guardrail.guard", "credit:predict"), ("guardrail.outcome", "cached")]
    assert cached.count == 1


def test_calls_and_retries_are_counted() -> None:
    """One count per call, and one for each attempt after the first."""
    reader = provide()
    take(make_entry(attempts=3), make_entry(attempts=0), make_entry(attempts=1, outcome="failed"))
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
    take(entry, make_entry())
    (point,) = points(reader)["guardrail.duration"]
    assert [exemplar.span_id for exemplar in point.exemplars] == [entry.extra["span"].span_id]
    assert type(traces._way).__name__ == ("Live" if live else "Deferred")


@pytest.mark.parametrize("live", [False, True])
def test_exemplars_point_at_what_is_kept(live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late call is exported though nothing is sampled, and so its duration leads to it."""
    from guardrail.telemetry import deferred

    if live:
        monkeypatch.setattr(deferred, "way_for", lambda *_: None)
    trace._TRACER_PROVIDER = TracerProvider(shutdown_on_exit=False, sampler=sampling.ALWAYS_OFF)
    reader = provide()
    entries = [guard(lambda: None, outcome="late"), guard(lambda: None)]
    traces.take(entries)
    take(*entries)
    shown = {point.attributes["guardrail.outcome"]: point.exemplars for point in points(reader)["guardrail.duration"]}
    assert [exemplar.span_id for exemplar in shown["late"]] == [entries[0].extra["span"].span_id]
    assert not shown["answered"]


def test_another_provider_gets_instruments_of_its_own() -> None:
    """When the application replaces its provider, later calls go to the new one, and only it is told the counts."""
    first = provide()
    take(make_entry())
    assert points(first)["guardrail.calls"][0].value == 1
    second = provide()
    take(make_entry(), make_entry())
    assert points(first)["guardrail.duration"][0].count == 1
    assert "guardrail.calls" not in points(first)
    assert points(second)["guardrail.duration"][0].count == 2
    assert points(second)["guardrail.calls"][0].value == 3  # since the process began


def test_the_sdk_switched_off_means_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED is honoured."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    reader = provide()
    take(make_entry())
    assert points(reader) == {}


@pytest.mark.parametrize("exemplars", ["trace_based", "always_on", "always_off"])
@pytest.mark.parametrize("temporality", [AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE])
@pytest.mark.parametrize(
    "views",
    [
        [],
        [View(instrument_name="trial", attribute_keys={"a"})],
        [View(instrument_name="trial", aggregation=DropAggregation())],
        [View(instrument_name="trial", aggregation=ExponentialBucketHistogramAggregation())],
        [View(instrument_name="trial", aggregation=SumAggregation()), View(instrument_name="trial", name="second")],
        [View(instrument_name="trial", aggregation=ExplicitBucketHistogramAggregation((0.5, 5.0), record_min_max=False))],
    ],
    ids=["default", "fewer labels", "dropped", "exponential", "two", "other buckets"],
)
def test_many_values_at_once_are_as_many_recorded_one_by_one(
    views: list[View], temporality: AggregationTemporality, exemplars: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever views, temporality and exemplars the application asks for, over several collections."""
    monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", exemplars)
    spans = [None, *(trace.NonRecordingSpan(trace.SpanContext(9, at, False, trace.TraceFlags(at & 1))) for at in range(1, 5))]
    shown = []
    for record in (histograms.one_by_one, histograms.all_at_once):
        reader = InMemoryMetricReader(preferred_temporality={Histogram: temporality})
        provider = MeterProvider([reader], Resource({}), shutdown_on_exit=False, views=views)
        histogram = provider.get_meter("ours").create_histogram("trial", explicit_bucket_boundaries_advisory=[0.125, 1.0])
        assert histograms.way_for(histogram) is histograms.all_at_once
        mine = []
        for values in ([0.0625, 0.125, 0.25, 7.0, 0.5], [0.5, 0.5, 0.0625, 0.0625, 32.0]):
            for labels in ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}):
                record(histogram, labels, values, spans)
            mine.append(plain(reader.get_metrics_data()))
        shown.append(mine)
    assert shown[0] == shown[1]


def plain(data: Any) -> Any:
    """Return what was collected as plain data, without moments and without the order of exemplars."""
    if data is None:
        return None
    document = json.loads(data.to_json())
    for scope in document["resource_metrics"][0]["scope_metrics"]:
        for metric in scope["metrics"]:
            for point in metric["data"]["data_points"]:
                for name in ("start_time_unix_nano", "time_unix_nano"):
                    del point[name]
                for exemplar in point["exemplars"]:
                    del exemplar["time_unix_nano"]
                if "explicit_bounds" in point:
                    point["exemplars"] = sorted(json.dumps(exemplar, sort_keys=True) for exemplar in point["exemplars"])
                else:  # a random choice
                    point["exemplars"] = len(point["exemplars"])
    return document


def test_an_sdk_that_is_put_together_otherwise_records_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then every value is recorded in the public way."""
    from opentelemetry.sdk.metrics._internal import _view_instrument_match as matching

    monkeypatch.setattr(histograms, "_proven", {})
    monkeypatch.delattr(matching, "_hash_attributes")
    monkeypatch.setattr(matching._ViewInstrumentMatch, "consume_measurement", lambda *_: None)
    histogram = MeterProvider(shutdown_on_exit=False).get_meter("ours").create_histogram("trial")
    assert histograms.way_for(histogram) is histograms.one_by_one


def test_budgets_stages_and_losses_have_metrics_too() -> None:
    """What a call took of its budget, its stages, and records that were lost, each under its own labels."""
    reader = provide()
    plan = make_plan(budget_ms=100.0)
    take(make_entry(plan=plan, took=0.05), make_entry(plan=plan, took=0.2, outcome="late", extra={"stages": {"look up": 0.1}}))
    writer.lose(1.0)
    found = points(reader)
    (used,) = found["guardrail.budget.used"]
    assert (used.count, used.sum) == (2, pytest.approx(2.5))
    assert used.bucket_counts[names.SHARES.index(2.0)] == 1
    (stage,) = found["guardrail.stage.duration"]
    assert dict(stage.attributes) == {"guardrail.guard": "credit:predict", "guardrail.stage": "look up"}
    assert found["guardrail.budget"][0].value == 0.1
    (lost,) = found["guardrail.ledger.lost"]
    assert (lost.value, dict(lost.attributes)) == (1, {"guardrail.reason": "queue full"})


def test_every_instrument_stands_in_the_table() -> None:
    """By name, kind and unit; and the table has none that is not made."""
    made: dict[str, tuple[str, str]] = {}

    class Meter:
        def __getattr__(self, name: str) -> Any:
            def make(instrument: str, *rest: Any, **_: Any) -> None:
                unit = next(each for each in rest if isinstance(each, str))
                made[instrument] = (name.removeprefix("create_").removeprefix("observable_"), unit)

            return make

    ours.Instruments(SimpleNamespace(get_meter=lambda *_: Meter()))
    assert made == {metric.name: (metric.kind, metric.unit) for metric in names.METRICS}
