"""The SDK's providers and exporters as we set them up: without hooks at exit, and with a connection for each process."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult

from guardrail.errors import ConfigError
from guardrail.telemetry.provider import HINT, QUEUE

E = TypeVar("E", SpanExporter, MetricExporter)
_SERVICE: Final = "service.name"


def tracer_provider(kinds: Sequence[str], service: str | None) -> tuple[Callable[[Any], bool], TracerProvider]:
    """Return what makes a provider the application's, and the provider, exporting in batches.

    Args:
        kinds: "otlp", "console".
        service: Its name, where the variables give none.

    Raises:
        ConfigError: The exporter is not installed.
    """
    made = [BatchSpanProcessor(_Spans(_span_exporter(kind)), max_queue_size=_queue()) for kind in kinds]
    provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
    for each in made:
        provider.add_span_processor(each)
    return _set_tracer_provider, provider


def meter_provider(kinds: Sequence[str], service: str | None) -> tuple[Callable[[Any], bool], MeterProvider]:
    """Return the same for metrics, exported every minute or as OTEL_METRIC_EXPORT_INTERVAL says."""
    readers = [PeriodicExportingMetricReader(_Metrics(_metric_exporter(kind))) for kind in kinds]
    return _set_meter_provider, MeterProvider(readers, _resource(service), shutdown_on_exit=False)


class _PerProcess(Generic[E]):
    """Makes an exporter anew in a forked child, which would share its parent's connection otherwise."""

    def __init__(self, make: Callable[[], E]) -> None:
        self._make: Callable[[], E] = make
        self._pid = os.getpid()
        self._made: E = make()

    def of_process(self) -> E:
        """Return the exporter of this process."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._made = self._make()
        return self._made


class _Spans(SpanExporter):
    """An exporter of spans for each process."""

    def __init__(self, make: Callable[[], SpanExporter]) -> None:
        self._each: _PerProcess[SpanExporter] = _PerProcess(make)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export a batch."""
        return self._each.of_process().export(spans)

    def shutdown(self) -> None:
        """Close the connection."""
        self._each.of_process().shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True where nothing is held back."""
        return self._each.of_process().force_flush(timeout_millis)


class _Metrics(MetricExporter):
    """An exporter of metrics for each process."""

    def __init__(self, make: Callable[[], MetricExporter]) -> None:
        self._each: _PerProcess[MetricExporter] = _PerProcess(make)
        first = self._each.of_process()
        super().__init__(first._preferred_temporality, first._preferred_aggregation)  # noqa: SLF001 - the reader's own way

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Export a collection."""
        return self._each.of_process().export(metrics_data, timeout_millis, **kwargs)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Close the connection."""
        self._each.of_process().shutdown(timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Return True where nothing is held back."""
        return self._each.of_process().force_flush(timeout_millis)


def _span_exporter(kind: str) -> Callable[[], SpanExporter]:
    return ConsoleSpanExporter if kind == "console" else _otlp("TRACES", "trace_exporter", "OTLPSpanExporter")


def _metric_exporter(kind: str) -> Callable[[], MetricExporter]:
    return ConsoleMetricExporter if kind == "console" else _otlp("METRICS", "metric_exporter", "OTLPMetricExporter")


def _otlp(signal: str, module: str, name: str) -> Any:
    """Return an exporter over OTLP by the protocol that the variables name.

    Raises:
        ConfigError: It is not installed.
    """
    way = "grpc" if _protocol(signal) == "grpc" else "http"
    try:
        return getattr(importlib.import_module(f"opentelemetry.exporter.otlp.proto.{way}.{module}"), name)
    except ImportError as problem:
        hint = (
            HINT
            if way == "http"
            else "pip install opentelemetry-exporter-otlp-proto-grpc, or leave out OTEL_EXPORTER_OTLP_PROTOCOL"
        )
        raise ConfigError("spans and metrics are to be exported, but the library for it is not installed", hint=hint) from problem


def _protocol(signal: str) -> str:
    names = (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    return next((os.environ[name].strip().lower() for name in names if os.environ.get(name, "").strip()), "http/protobuf")


def _queue() -> int | None:
    return None if os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else QUEUE


def _resource(service: str | None) -> Resource:
    named = os.environ.get("OTEL_SERVICE_NAME") or f"{_SERVICE}=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({_SERVICE: service} if service and not named else {})


def _set_tracer_provider(provider: TracerProvider) -> bool:
    trace.set_tracer_provider(provider)
    return trace.get_tracer_provider() is provider


def _set_meter_provider(provider: MeterProvider) -> bool:
    metrics.set_meter_provider(provider)
    return metrics.get_meter_provider() is provider
