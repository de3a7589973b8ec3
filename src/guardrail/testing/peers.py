"""Peers for the conformance kit of sinks: an HTTP server on this machine that misbehaves to order."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from guardrail.delivery.sink import Item

CANARY: Final = "c4n4ry-0f-guardrail-s3cr3t"  # stands for a secret; where it is seen, something has leaked it
_ANSWERS: Final = {"ok": 200, "429": 429, "500": 500, "401": 401, "403": 403, "413": 413}
_LONGEST: Final = 10_000_000
_LONGEST_SILENCE: Final = 30.0  # seconds that a "slow" peer keeps a request
_DRIP: Final = 0.02  # seconds between two bytes
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: what is under way is thrown away


class HttpPeer:
    """An HTTP server on a free port of this machine.

    What it answers with a failure repeats what it was sent and its canary, as a server may that means no good.

    Args:
        url: Makes the sink's URL from "host:port", as `lambda at: f"webhook+http://{at}/hook?secret={CANARY}&timeout=1s"`.
        slow_url: Makes it for a peer that answers too late, where another timeout is to end that sooner.
        tls_url: Makes it for a peer that speaks TLS; without it, no unknown certificate is tried.
        answer: The body of an answer that takes what was sent, or what makes it from the request's path, headers and body.
        asides: The paths of requests that bring no records, such as questions after what has arrived: they are answered in the
            same way, whatever the peer is to do, and are not among what it has received.
        bodies: What it answers besides, by behaviour, where a protocol says more in its body: (status, body).
        holds: Whether a body brings an item; by default it does where the record's line stands in it.
        drips: Whether it also tries answers that come a byte at a time. A sink gets over them by one deadline for the whole request;
            the timeouts of most clients begin anew with each byte.

    Attributes:
        url: The sink's URL.
    """

    def __init__(
        self,
        url: Callable[[str], str],
        *,
        slow_url: Callable[[str], str] | None = None,
        tls_url: Callable[[str], str] | None = None,
        answer: bytes | Callable[[str, Mapping[str, str], bytes], bytes] = b"",
        asides: Collection[str] = (),
        bodies: dict[str, tuple[int, bytes]] | None = None,
        holds: Callable[[bytes, Item], bool] | None = None,
        drips: bool = False,
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._urls = {"slow": slow_url or url, "drip": slow_url or url, "certificate": tls_url or url}
        self._url = url
        self._tls, self._drips = tls_url is not None, drips
        self._at = f"127.0.0.1:{self._port}"
        self.url = url(self._at)
        self.how = "ok"
        self.answer = answer
        self.asides = frozenset(asides)
        self.bodies = bodies or {}
        self._holds = holds
        self._got: list[bytes] = []
        self._since = 0  # requests that came before it began to behave as it does
        self._over = threading.Event()  # ends whatever is slow
        self._server: ThreadingHTTPServer | None = None
        self._open: list[socket.socket] = []
        self.start()

    def received(self) -> list[bytes]:
        """Return the bodies of all requests, unpacked."""
        return list(self._got)

    def behave(self, how: str) -> bool:
        """Do so from now on; return whether it can. Partial failure needs a body that says it, in `bodies`."""
        cannot = {"partial": "partial" not in self.bodies, "certificate": not self._tls, "drip": not self._drips}
        if cannot.get(how):
            return False
        self._over.set()
        self._over = threading.Event()
        self._since = len(self._got)
        other = "certificate" in {how, self.how} and how != self.how
        self.how, self.url = how, self._urls.get(how, self._url)(self._at)
        if other:  # it speaks TLS from now on, or no longer
            self.stop()
            self.start()
        return True

    def holds(self, body: bytes, item: Item) -> bool:
        """Return whether a body brings an item."""
        return item.line in body if self._holds is None else self._holds(body, item)

    def start(self) -> None:
        """Listen, at the same port as before."""
        self._server = _Server(("127.0.0.1", self._port), self._handler(), bind_and_activate=False)
        self._server.server_bind()
        if self.how == "certificate":
            context = _of_nobody()
            # The handshake is the first thing that a request's own thread does.
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Hang up on everybody, and listen no more."""
        self._over.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _keep(self, path: str, body: bytes) -> str:
        """Keep what a request brings; return what is done with it."""
        if path.partition("?")[0] in self.asides:
            return "ok"
        self._got.append(body)
        if self.how != "second":
            return self.how
        return "ok" if len(self._got) - self._since <= 1 else "reset"

    def _says(self, how: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        if how in self.bodies:
            return self.bodies[how]
        if how == "ok":
            return _ANSWERS[how], self.answer if isinstance(self.answer, bytes) else self.answer(path, headers, body)
        return _ANSWERS.get(how, 200), b"%s %s" % (CANARY.encode(), body[:10_000])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                peer._open.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(min(_LONGEST, int(self.headers.get("Content-Length") or 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                how, over = peer._keep(self.path, body), peer._over
                if how == "reset":
                    self._reset()
                elif how in {"slow", "drip"}:
                    self._dawdle(over, how)
                else:
                    self._answer(how, body)

            def do_PUT(self) -> None:
                self.do_POST()

            def do_GET(self) -> None:
                self._answer(peer.how, b"")

            def _answer(self, how: str, body: bytes) -> None:
                status, said = peer._says(how, self.path, dict(self.headers.items()), body)
                self.send_response(status, "OK" if how == "ok" else CANARY)
                if how == "429":
                    self.send_header("Retry-After", "7")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def _reset(self) -> None:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                os.close(self.connection.detach())  # at once: the server's own way says goodbye first
                self.close_connection = True

            def _dawdle(self, over: threading.Event, how: str) -> None:
                if how == "slow":
                    over.wait(_LONGEST_SILENCE)
                else:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
                    while not over.wait(_DRIP):
                        self.wfile.write(b"x")
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' own name
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep to oneself that a sink has hung up, or likes no certificate."""


def _of_nobody() -> ssl.SSLContext:
    """Return what a server with a certificate needs that it has signed itself."""
    from cryptography import x509  # noqa: PLC0415 - a slow import, for one check
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above
    from cryptography.x509.oid import NameOID  # noqa: PLC0415 - as above

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    content = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    content += made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory(prefix="guardrail-kit-") as folder:
        path = Path(folder) / "both.pem"
        path.write_bytes(content)
        context.load_cert_chain(path)
    return context
