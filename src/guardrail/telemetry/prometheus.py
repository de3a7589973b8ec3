"""Prometheus text over the figures of all processes of a home, through prometheus-client (extra `prometheus`).

    app.mount("/metrics", metrics_app())

Any worker may be asked: it answers for all of them, those that have ended included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from guardrail.errors import ConfigError
from guardrail.telemetry import files, names
from guardrail.telemetry.names import Metric
from guardrail.telemetry.sums import Figures, Histogram, Labels, Value

try:
    from prometheus_client import exposition
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.registry import Collector as _Collector
except ImportError as problem:
    raise ConfigError(
        "Prometheus' text needs a library that is not installed", hint='pip install "guardrail-sdk[prometheus]"'
    ) from problem

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

    _Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    _Asgi = Callable[[MutableMapping[str, Any], Any, _Send], Awaitable[None]]
    _Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Collector(_Collector):
    """What prometheus-client asks for figures: `REGISTRY.register(Collector())` puts ours beside the application's own.

    Once one is made, every process of the home keeps its figures in a file there.

    Raises:
        OSError: The home cannot be written.
    """

    def __init__(self) -> None:
        files.want()

    def describe(self) -> Iterator[Family]:
        """Yield what there is to collect, without collecting it."""
        return families({})

    def collect(self) -> Iterator[Family]:
        """Yield one family per metric.

        Raises:
            OSError: The figures of the other processes cannot be read; then there are none, lest counters fall.
        """
        return families(files.gathered())


def text(accept: str = "") -> tuple[bytes, str]:
    """Return the metrics of all processes of this home.

    Args:
        accept: What the asker accepts, an HTTP header: Prometheus' text by default, OpenMetrics where it is asked for.

    Returns:
        The text, and its content type.

    Raises:
        OSError: The figures of the other processes cannot be read.
    """
    encode, kind = exposition.choose_encoder(accept)
    return encode(Collector()), kind


def metrics_app() -> _Asgi:
    """Return an ASGI application that answers with the metrics, for a service to mount.

    It tells names of guards, queues, breakers and sinks to whoever may ask, and no value of a call.
    """
    files.want()

    async def answer(scope: MutableMapping[str, Any], _receive: Any, send: _Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"metrics are for HTTP, not for {scope['type']}")
        accept = ",".join(value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"accept")
        status, kind, body = await asyncio.to_thread(_answer, accept)
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return answer


def wsgi_app() -> _Wsgi:
    """Return the same for WSGI."""
    files.want()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, body = _answer(environ.get("HTTP_ACCEPT", ""))
        words = "200 OK" if status == 200 else "503 Service Unavailable"  # noqa: PLR2004 - HTTP's
        start_response(words, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [b"" if environ.get("REQUEST_METHOD") == "HEAD" else body]

    return answer


def _answer(accept: str) -> tuple[int, str, bytes]:
    try:
        body, kind = text(accept)
    except (OSError, ConfigError) as problem:
        said = getattr(problem, "strerror", None) or str(problem)
        return 503, "text/plain; charset=utf-8", f"the figures cannot be read: {said}\n".encode()
    return 200, kind, body


def families(figures: Figures) -> Iterator[Family]:
    """Yield figures as prometheus-client has them, in the order of the table; metrics without any have no samples."""
    for metric in names.METRICS:
        yield _family(metric, figures.get(metric, {}))


def _family(metric: Metric, series: Mapping[Labels, Value]) -> Family:
    name = metric.prometheus
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, metric.doc, labels=metric.labels)
        for labels, value in series.items():
            histogram.add_metric(labels, _buckets(metric, value), value[0])
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(name, metric.doc, labels=metric.labels)
    for labels, value in series.items():
        family.add_metric(labels, value)
    return family


def _buckets(metric: Metric, value: Histogram) -> list[tuple[str, float]]:
    ends = [*map(str, names.BOUNDS[metric]), "+Inf"]
    return list(zip(ends, accumulate(value[1]), strict=True))
