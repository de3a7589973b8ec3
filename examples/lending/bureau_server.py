"""A stand-in for the bureau: a real HTTP server on this machine that refuses some requests, as real ones do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from examples.lending import bureau

EVERY = 25  # of so many requests one is answered with 503


class Stand(ThreadingHTTPServer):
    """Serves credit histories.

    Attributes:
        failing: How many of the next requests fail for certain.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, histories: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.histories = histories
        self.failing = 0
        self.requests = 0
        self.lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that did not wait for its answer: that is what its deadline is for."""

    def answer(self, loan_id: str) -> tuple[int, Any]:
        with self.lock:
            self.requests += 1
            busy = self.failing > 0 or self.requests % EVERY == 0
            self.failing = max(0, self.failing - 1)
        if busy:
            return 503, {"error": "try again"}
        return (200, self.histories[loan_id]) if loan_id in self.histories else (404, {"error": "unknown"})


class _Handler(BaseHTTPRequestHandler):
    server: Stand

    def do_GET(self) -> None:
        status, body = self.server.answer(self.path.rpartition("/")[2])
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet: the ledger has what matters."""


@contextmanager
def running(histories: Mapping[str, Mapping[str, Any]]) -> Iterator[Stand]:
    """Serve histories by loan id while the block runs, and point the client at it."""
    server = Stand(histories)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="bureau", daemon=True).start()
    before, bureau.url = bureau.url, f"http://127.0.0.1:{server.server_port}"
    try:
        yield server
    finally:
        bureau.url = before
        server.shutdown()
        server.server_close()
