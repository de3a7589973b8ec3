"""The other side of sinks over HTTP: peers that misbehave to order, certificates of our own, and a URL for each sink."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from guardrail.delivery import Item, schemes

SECRET = "s3cr3t-0f-ours-1234567890"
PRIVATE = "Jane Q. Public"

# What each sink is called with, for a host and port, in plain text.
URLS = {
    "webhook": f"webhook+http://{{at}}/hook?secret={SECRET}&token={SECRET}&query=key={SECRET}",
    "splunk": f"splunk+http://:{SECRET}@{{at}}",
    "otlp": f"otlp+http://{{at}}?headers=x-key={SECRET}",
    "pagerduty": f"pagerduty+http://{SECRET}@{{at}}",
    "slack": f"slack+http://{{at}}?webhook=/services/{SECRET}",
}
_MADE: list = []
TAKEN = {"splunk": b'{"text":"Success","code":0}', "slack": b"ok", "otlp": b""}


def sink(scheme: str, at: str, options: str = "", *, tls: bool = False):
    """Make a sink as settings would."""
    url = URLS[scheme].format(at=at)
    if tls:
        url = url.replace("+http://", "+https://" if scheme == "otlp" else "://")
    if options:
        url += ("&" if "?" in url else "?") + options
    return made(url)


def made(url: str):
    """Make a sink from its URL."""
    address, kind = schemes.read("out", url, "GUARDRAIL_SINK_OUT")
    _MADE.append(kind(address))
    return _MADE[-1]


def items(many: int = 1, **fields: object) -> list[Item]:
    """Return records of calls that failed, with something in them that is nobody's business."""
    found = []
    for seq in range(1, many + 1):
        record = {
            "v": 1, "id": f"0197-{seq}", "seq": seq, "ts": "2026-01-02T03:04:05.678901Z", "event": "call", "outcome": "failed",
            "guard": "loans", "input": {"value": PRIVATE}, "output": {"value": PRIVATE}, "reasons": [PRIVATE],
            "stop_reason": PRIVATE, "error": {"type": "KeyError", "policy": "retry"}, "service": "scoring", "host": "node-1",
            **fields,
        }  # fmt: skip
        found.append(Item("lane-1", seq, orjson.dumps({key: value for key, value in record.items() if value is not None})))
    return found


def answer(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of an answer after which the connection stays open."""
    lines = [f"HTTP/1.1 {status} {SECRET}", f"Content-Length: {len(body)}"]
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Peer:
    """A server that does with each request as it is told, in threads of its own.

    Args:
        act: Called with the connection after each whole request.
        context: For TLS.
    """

    def __init__(self, act: Callable[[socket.socket], object], context: ssl.SSLContext | None = None) -> None:
        self.act, self.context = act, context
        self.requests: list[bytes] = []
        self.connections = 0
        self.names: list[str | None] = []  # asked for by TLS
        self.over = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.at = f"127.0.0.1:{self.port}"
        if context is not None:
            context.sni_callback = lambda sock, name, _: self.names.append(name)
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self.over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for each in self._threads:
            each.join(5)

    def _listen(self) -> None:
        while not self.over.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        self._open.append(sock)
        with contextlib.suppress(OSError, ValueError), contextlib.closing(sock):
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            with contextlib.closing(sock):
                while True:
                    request = self._request(sock)
                    if not request:
                        return
                    self.requests.append(request)
                    self.act(sock)

    def _request(self, sock: socket.socket) -> bytes:
        found = b""
        while b"\r\n\r\n" not in found:
            piece = sock.recv(65536)
            if not piece:
                return b""
            found += piece
        head, _, body = found.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        while len(body) < length:
            piece = sock.recv(65536)
            if not piece:
                return b""
            body += piece
        return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def peer(act: Callable[[socket.socket], object] | bytes, context: ssl.SSLContext | None = None) -> Iterator[Peer]:
    """Run a server that answers with bytes, or does as it is told."""
    made = Peer((lambda sock: sock.sendall(act)) if isinstance(act, bytes) else act, context)
    try:
        yield made
    finally:
        while _MADE:
            _MADE.pop().close()
        made.close()


def reset(sock: socket.socket) -> None:
    """Begin an answer, and break the connection with a reset."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    sock.close()


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Make an authority of our own, and a certificate of it for this machine and for hooks.example.

    Returns:
        The authority's certificate; the server's certificate with its key; and one of the same that has expired.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority of a test")])
    ca_key = ec.generate_private_key(ec.SECP256R1())

    def certificate(key, subject, days, extensions):
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=9)).not_valid_after(now + dt.timedelta(days=days))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    authority = folder / "authority.pem"
    authority.write_bytes(
        certificate(ca_key, name, 9, [(x509.BasicConstraints(True, None), True), (usage, True), (identifier, False)])
    )
    names = x509.SubjectAlternativeName([x509.DNSName("hooks.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    files = []
    for file, days in (("server.pem", 9), ("expired.pem", -1)):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server of a test")])
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / file).write_bytes(certificate(key, subject, days, [(names, False), (signed_by, False)]) + private)
        files.append(folder / file)
    return authority, files[0], files[1]


def server_context(file: Path, clients: Path | None = None) -> ssl.SSLContext:
    """Return what a server with a certificate needs; with an authority for clients, one that lets in only who has a certificate of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
