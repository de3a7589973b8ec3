"""A collector for OTLP over HTTP on this machine, that keeps what it is sent."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Spot(NamedTuple):
    """One span as it came over the wire."""

    name: str
    span_id: bytes
    parent: bytes
    trace: bytes
    flags: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """What was received."""

    def __init__(self) -> None:
        self.spans: list[Spot] = []
        self.metrics: list[tuple[str, Any, dict[str, Any]]] = []
        self.endpoint = ""

    def wait(self, fits: Callable[[Collector], bool], seconds: float = 10.0) -> None:
        """Wait until something was received."""
        until = time.monotonic() + seconds
        while not fits(self):
            assert time.monotonic() < until, f"only {[span.name for span in self.spans]}, {[m[0] for m in self.metrics]}"
            time.sleep(0.02)

    def named(self, name: str) -> list[Spot]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]

    def take(self, path: str, body: bytes) -> None:
        """Decode one request."""
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                around = _plain(resource.resource.attributes)
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        known = _plain(span.attributes)
                        spot = Spot(span.name, span.span_id, span.parent_span_id, span.trace_id, span.flags, known, around)
                        self.spans.append(spot)
        elif path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                around = _plain(resource.resource.attributes)
                self.metrics += [(metric.name, metric, around) for scope in resource.scope_metrics for metric in scope.metrics]


def _plain(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
