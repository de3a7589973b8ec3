"""Peers for the conformance kit of sinks: an HTTP server on this machine that misbehaves to order."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from guardrail.delivery.sink import Item

CANARY: Final = "c4n4ry-0f-guardrail-s3cr3t"  # stands for a secret; where it is seen, something has leaked it
_ANSWERS: Final = {"ok": 200, "429": 429, "500": 500, "401": 401, "413": 413}
_LONGEST: Final = 10_000_000


class HttpPeer:
    """An HTTP server on a free port of this machine.

    Args:
        url: Makes the sink's URL from "host:port", as `lambda at: f"webhook+http://{at}/hook?secret={CANARY}&timeout=1s"`.
        answer: The body of an answer that takes what was sent.
        bodies: What it answers besides, by behaviour, where a protocol says more in its body: (status, body).
        holds: Whether a body brings an item; by default it does where the record's line stands in it.

    Attributes:
        url: The sink's URL.
    """

    def __init__(
        self,
        url: Callable[[str], str],
        *,
        answer: bytes = b"",
        bodies: dict[str, tuple[int, bytes]] | None = None,
        holds: Callable[[bytes, Item], bool] | None = None,
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = url(f"127.0.0.1:{self._port}")
        self.how = "ok"
        self.answer = answer
        self.bodies = bodies or {}
        self._holds = holds
        self._got: list[bytes] = []
        self._server: ThreadingHTTPServer | None = None
        self._open: list[socket.socket] = []
        self.start()

    def received(self) -> list[bytes]:
        """Return the bodies of all requests, unpacked."""
        return list(self._got)

    def behave(self, how: str) -> bool:
        """Do so from now on; return whether it can. Partial failure needs a body that says it, in `bodies`."""
        if how == "partial" and how not in self.bodies:
            return False
        self.how = how
        return True

    def holds(self, body: bytes, item: Item) -> bool:
        """Return whether a body brings an item."""
        return item.line in body if self._holds is None else self._holds(body, item)

    def start(self) -> None:
        """Listen, at the same port as before."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler(), bind_and_activate=False)
        self._server.allow_reuse_address = True
        self._server.daemon_threads = True
        self._server.server_bind()
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Hang up on everybody, and listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                peer._open.append(self.connection)

            def do_POST(self) -> None:
                length = min(_LONGEST, int(self.headers.get("Content-Length") or 0))
                body = self.rfile.read(length)
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                peer._got.append(body)
                if peer.how == "reset":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                    self.close_connection = True
                    return
                if peer.how == "slow":
                    time.sleep(5)
                status, said = peer.bodies.get(peer.how) or (
                    _ANSWERS.get(peer.how, 200),
                    peer.answer if peer.how == "ok" else b"",
                )
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    if peer.how == "429":
                        self.send_header("Retry-After", "7")
                    self.send_header("Content-Length", str(len(said)))
                    self.end_headers()
                    self.wfile.write(said)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' own name
                pass

        return Handler
