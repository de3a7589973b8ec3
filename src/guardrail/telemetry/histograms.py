"""Many values into a histogram of OpenTelemetry at once: its `record` costs more than all else that is done for a call.

Only where the SDK is put together as in 1.45 (`sdk/metrics/_internal`: what `record` does, with one look-up for many values).
That is tried out first, beside `record` itself; where it differs, every value is recorded by itself.
"""

# ruff: noqa: SLF001 - there is no public way to record more than one value
from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, TypeAlias

from opentelemetry import context as contexts
from opentelemetry import trace

Spans: TypeAlias = Sequence[Any]  # for each value the token of its span, or None
Record: TypeAlias = Callable[[Any, Mapping[str, str], Sequence[float], Spans], None]

_NOWHERE: Final = contexts.Context()
_proven: dict[type, bool] = {}


def way_for(histogram: Any) -> Record:
    """Return what records many values in an instrument, under one set of labels."""
    kind = type(histogram)
    if kind not in _proven:
        _proven[kind] = _is_like_recording(kind)
    return all_at_once if _proven[kind] else one_by_one


def one_by_one(histogram: Any, labels: Mapping[str, str], values: Sequence[float], spans: Spans) -> None:
    """Record values as everybody does."""
    for value, span in zip(values, spans, strict=True):
        histogram.record(value, labels, _context(span))


def all_at_once(histogram: Any, labels: Mapping[str, str], values: Sequence[float], spans: Spans) -> None:
    """Record values as `record` would, one after the other. Finite numbers of nought or more."""
    from opentelemetry.sdk.metrics._internal import _view_instrument_match as matching  # noqa: PLC0415 - see above
    from opentelemetry.sdk.metrics._internal.aggregation import _ExplicitBucketHistogramAggregation  # noqa: PLC0415
    from opentelemetry.sdk.metrics._internal.measurement import Measurement  # noqa: PLC0415

    if not histogram._is_enabled():
        return
    consumer = histogram._measurement_consumer
    chooses = consumer._sdk_config.exemplar_filter.should_sample
    now = time.time_ns()
    for storage in consumer._reader_storages.values():
        for match in storage._get_or_init_view_instrument_match(histogram):
            kept = match._view._attribute_keys
            attributes = dict(labels) if kept is None else {name: value for name, value in labels.items() if name in kept}
            with match._lock:
                aggregation = match._get_or_create_aggregation(matching._hash_attributes(attributes), attributes)
                in_buckets = type(aggregation) is _ExplicitBucketHistogramAggregation
                chosen = _add(aggregation, values, spans) if in_buckets else zip(values, spans, strict=True)
                for value, span in chosen:
                    context = _context(span)
                    measured = Measurement(value, now, histogram, context, labels)
                    shown = chooses(value, now, labels, context)
                    if in_buckets:
                        aggregation._sample_exemplar(measured, shown)
                    else:  # a view of the application's wants something else than buckets
                        aggregation.aggregate(measured, shown)


def _add(aggregation: Any, values: Sequence[float], spans: Spans) -> list[tuple[float, Any]]:
    """Add values to the buckets; return those that may become exemplars: of each bucket the last, and the last with a span."""
    bounds = aggregation._boundaries
    with aggregation._lock:
        counts = aggregation._value
        if counts is None:
            counts = aggregation._value = aggregation._get_empty_bucket_counts()
        aggregation._sum += sum(values)
        if aggregation._record_min_max:
            aggregation._min = min(aggregation._min, *values)
            aggregation._max = max(aggregation._max, *values)
        places = list(map(bisect_left, repeat(bounds), values))
        for place, many in Counter(places).items():
            counts[place] += many
    last = {place: at for at, place in enumerate(places)}
    sampled = {places[at]: at for at, span in enumerate(spans) if span is not None and _is_sampled(span)}
    return [(values[at], spans[at]) for at in sorted({*last.values(), *sampled.values()})]


def _is_sampled(token: Any) -> bool:
    return bool(getattr(token, "span", token).get_span_context().trace_flags & 1)


def _context(span: Any) -> contexts.Context:
    """Return a context that holds a call's span, so that an exemplar can point at it."""
    return _NOWHERE if span is None else trace.set_span_in_context(getattr(span, "span", span), _NOWHERE)


def _is_like_recording(kind: type) -> bool:
    """Return whether adding at once gives what recording gives, in a provider of our own that nobody sees."""
    if not kind.__module__.startswith("opentelemetry.sdk.metrics"):
        return False
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - the application has loaded it
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    found: list[Any] = []
    span = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(1)))
    try:
        for record in (one_by_one, all_at_once):
            reader = InMemoryMetricReader()
            provider = MeterProvider([reader], Resource({}), shutdown_on_exit=False)
            histogram = provider.get_meter("trial").create_histogram("trial", explicit_bucket_boundaries_advisory=[1.0, 2.0])
            if type(histogram) is not kind:
                return False
            data: Any = None
            for _ in range(2):
                record(histogram, {"a": "b"}, [0.5, 1.0, 3.0], [None, span, span])
                data = reader.get_metrics_data()
            (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
            shown = (point.attributes, point.count, point.sum, point.min, point.max, point.bucket_counts, point.explicit_bounds)
            found.append((shown, sorted((each.value, each.span_id) for each in point.exemplars)))
            provider.shutdown()
    except Exception:  # noqa: BLE001 - an SDK that is put together in another way may fail in any way
        return False
    return bool(found[0] == found[1])
