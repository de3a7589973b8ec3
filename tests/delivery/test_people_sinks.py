"""Sinks that people read, and syslog, each against a real server: what arrives, what is refused, and what nobody sees."""

from __future__ import annotations

import email
import json
import logging
import re
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from email import policy
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from guardrail.delivery import Item, schemes
from guardrail.errors import ConfigError

CANARY = "c4n4ry-s3cr3t"


def items(many: int, first: int = 1, **more: object) -> list[Item]:
    made = [
        {"v": 1, "id": f"01a2-{seq}", "seq": seq, "ts": "2026-01-01T00:00:00.000001Z", "event": "call", "outcome": "refused", "guard": "loans",
         "output": "patient has measles", **more}
        for seq in range(first, first + many)
    ]  # fmt: skip
    return [Item("lane", each["seq"], json.dumps(each).encode()) for each in made]


def sink(url: str):
    where, kind = schemes.read("out", url, "GUARDRAIL_SINK_OUT")
    return kind(where)


def kinds(results) -> list[str]:
    return [each.kind for each in results]


def dead_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate for localhost that nobody has signed but itself, with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


# ── syslog ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class Syslog:
    """A server that keeps the frames it gets, and hangs up when it is told to."""

    def __init__(self, certificate: Path, port: int = 0) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.frames: list[bytes] = []
        self.open: list[ssl.SSLSocket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            with self.context.wrap_socket(plain, server_side=True) as near:
                self.open.append(near)
                rest = b""
                while block := near.recv(65_536):
                    rest += block
                    while (blank := rest.find(b" ")) > 0 and len(rest) >= blank + 1 + int(rest[:blank]):
                        end = blank + 1 + int(rest[:blank])
                        self.frames.append(rest[blank + 1 : end])
                        rest = rest[end:]
        except OSError:
            plain.close()

    def hang_up(self) -> None:
        for each in self.open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.open.clear()

    def wait(self, many: int) -> list[bytes]:
        until = time.monotonic() + 10
        while len(self.frames) < many and time.monotonic() < until:
            time.sleep(0.01)
        return self.frames

    def close(self) -> None:
        self.hang_up()
        self.listener.close()


@pytest.fixture
def syslog(certificate):
    found = Syslog(certificate)
    yield found
    found.close()


def test_syslog_takes_frames_of_rfc_5424(syslog, certificate):
    """Priority, version, time, structured data with everything escaped, and the line as it is."""
    found = sink(f"syslog+tls://localhost:{syslog.port}?ca={certificate}")
    batch = [*items(2), *items(1, first=3, guard='a"]\\b')]
    assert kinds(found.send(batch)) == ["ok"] * 3
    frames = syslog.wait(3)
    shape = rb'<108>1 2026-01-01T00:00:00\.000001Z \S+ guardrail \d+ refused \[guardrail@32473 id="lane/1" event="call" outcome="refused" guard="loans"\] \xef\xbb\xbf(.*)'
    match = re.fullmatch(shape, frames[0], re.DOTALL)
    assert match is not None
    assert match[1] == batch[0].line
    assert rb'guard="a\"\]\\b"' in frames[2]
    assert "takes a test record" in found.probe()
    found.close()


def test_syslog_that_hangs_up_gets_the_batch_again(syslog, certificate):
    """The same object connects anew; nothing is taken for arrived that went into a closed connection."""
    found = sink(f"syslog+tls://localhost:{syslog.port}?ca={certificate}")
    assert kinds(found.send(items(1))) == ["ok"]
    syslog.wait(1)
    syslog.hang_up()
    time.sleep(0.05)
    results = found.send(items(1, first=2))
    if kinds(results) == ["retry"]:
        results = found.send(items(1, first=2))
    assert kinds(results) == ["ok"]
    assert b'id="lane/2"' in b"".join(syslog.wait(2))
    found.close()


def test_syslog_refuses_a_certificate_that_nobody_vouches_for(syslog):
    """Nothing is sent before the server is proven; a server that is away is told from it."""
    (result,) = sink(f"syslog+tls://localhost:{syslog.port}").send(items(1))
    assert (result.kind, "certificate" in result.reason) == ("retry", True)
    (result,) = sink(f"syslog+tls://localhost:{dead_port()}?timeout=1s").send(items(1))
    assert (result.kind, "does not answer" in result.reason) == ("retry", True)
    assert syslog.frames == []
    found = sink(f"syslog+tls://localhost:{syslog.port}?insecure=true")
    assert kinds(found.send(items(1))) == ["ok"]
    found.close()


# ── e-mail ────────────────────────────────────────────────────────────────────────────────────────────────────────────
class Mails:
    """What a mail server got; it answers as it is told."""

    def __init__(self) -> None:
        self.got: list = []
        self.answer = "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.answer.startswith("2"):
            self.got.append(email.message_from_bytes(envelope.content, policy=policy.default))
        return self.answer

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"


def let_in(server, session, envelope, mechanism, data) -> AuthResult:
    return AuthResult(success=data.password == b"right", handled=data.password == b"right")


@pytest.fixture
def mails(certificate):
    handler = Mails()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Controller(
        handler, hostname="127.0.0.1", port=dead_port(), tls_context=context, authenticator=let_in, auth_require_tls=True, server_hostname="localhost",
    )  # fmt: skip
    server.start()
    handler.url = f"smtp://ann:right@localhost:{server.port}?to=risk@bank.example,it@bank.example&from=guardrail@bank.example&ca={certificate}"
    yield handler
    server.stop()


def test_a_mail_tells_of_a_batch_and_nothing_of_what_was_decided(mails):
    """Encrypted and logged in; the same batch has the same Message-ID, and a guard's name forges no header."""
    found = sink(mails.url)
    batch = [*items(2), *items(1, first=3, guard="x\r\nBcc: eve@evil.example")]
    assert kinds(found.send(batch)) == ["ok"] * 3
    assert kinds(found.send(batch)) == ["ok"] * 3
    one, two = mails.got
    assert one["Message-ID"] == two["Message-ID"]
    assert one["Subject"] == "guardrail: 3 refused"
    assert one["To"] == "risk@bank.example, it@bank.example"
    assert one["Bcc"] is None
    assert "loans  refused  01a2-1" in one.get_content()
    assert "measles" not in one.as_string()
    assert "takes a test mail" in found.probe()


def test_a_mail_server_that_refuses(mails):
    """For now, for good, an address, a login; each is told from the others, and no secret is in any text."""
    found = sink(mails.url)
    mails.answer = "451 try again"
    assert kinds(found.send(items(2))) == ["retry"] * 2
    mails.answer = "554 no"
    assert kinds(found.send(items(2))) == ["reject"] * 2
    mails.answer = "250 OK"
    assert kinds(sink(mails.url.replace("it@", "nobody@")).send(items(1))) == ["reject"]
    (result,) = sink(mails.url.replace("right", CANARY)).send(items(1))
    assert (result.kind, result.credentials) == ("retry", True)
    assert CANARY not in repr(result)


def test_no_password_goes_to_a_mail_server_that_is_not_proven(mails):
    """An unknown certificate; and one that is away is told from it."""
    (result,) = sink(mails.url.partition("&ca=")[0]).send(items(1))
    assert (result.kind, "certificate" in result.reason) == ("retry", True)
    (result,) = sink(f"smtp://localhost:{dead_port()}?to=a@b.example&from=c@d.example&timeout=1s").send(items(1))
    assert (result.kind, "does not answer" in result.reason) == ("retry", True)
    assert mails.got == []


# ── Apprise ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")  # Apprise's own
def test_apprise_tells_people(httpserver, caplog, capfd):
    """Through its own JSON service; False is tried again, and its URL is in no line that is logged."""
    httpserver.expect_request("/hook").respond_with_json({})
    url = (
        f"json://ann:{CANARY}@{httpserver.host}:{httpserver.port}/hook".replace(":", "%3A")
        .replace("@", "%40")
        .replace("/", "%2F")
    )
    found = sink(f"apprise:?url={url}")
    with caplog.at_level(logging.DEBUG):
        assert kinds(found.send(items(2))) == ["ok"] * 2
        request, _ = httpserver.log[0]
        assert request.json["title"] == "guardrail: 2 refused"
        assert request.json["type"] == "warning"
        assert "01a2-1" in request.json["message"]
        assert "measles" not in request.get_data(as_text=True)
        assert "takes a test message" in found.probe()
        httpserver.clear()
        httpserver.expect_request("/hook").respond_with_data("no", status=500)
        results = found.send(items(2))
        assert kinds(results) == ["retry"] * 2
    out, problem = capfd.readouterr()
    assert CANARY not in caplog.text + out + problem + repr(results) + repr(vars(found))


@pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")
def test_apprise_without_a_url_that_it_knows(monkeypatch):
    """Told without the URL."""
    found = sink(f"apprise:?url=nosuch%3A%2F%2F{CANARY}")
    with pytest.raises(ConfigError, match="no URL that Apprise knows") as caught:
        found.send(items(1))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "syslog+tls://", "syslog+tls://h/x", "syslog+tls://h?app=a b", "smtp://h", "smtp://h?to=a&from=b@c.example", "smtp://h?to=a@b.example",
        "smtps://h/x?to=a@b.example&from=a@b.example", "apprise:", "apprise://h?url=x",
    ],
)  # fmt: skip
def test_a_url_that_says_too_little_is_refused_at_the_start(url):
    """Before the first record."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT"):
        sink(url)
