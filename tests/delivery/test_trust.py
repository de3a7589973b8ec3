"""Certificates of our own for every sink that speaks TLS, the other side's name, and the oldest version; and a proxy before HTTP."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from backends import Nats, says_yes, tls_front
from gates import Cluster, Syslog
from web import SECRET, TAKEN, URLS, answer, certificates, items, made, peer, server_context, sink

from guardrail import ConfigError, notices
from guardrail.delivery.sink import ok
from guardrail.delivery.trust import NotReadable, Trust

SINKS = sorted(URLS)


class Papers:
    """An authority, a server's certificate of it with its key in one file, and a client's in two."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.server, _ = certificates(folder)
        whole = self.server.read_bytes()
        at = whole.index(b"-----BEGIN PRIVATE KEY")
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.cert.write_bytes(whole[:at])
        self.key.write_bytes(whole[at:])
        self.options = f"ca={self.ca}&cert={self.cert}&key={self.key}"

    def strict(self) -> ssl.SSLContext:
        """What a server needs that lets in only who has a certificate."""
        return server_context(self.server, self.ca)


@pytest.fixture(scope="module")
def papers(tmp_path_factory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


# ── a certificate of our own ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("scheme", SINKS)
def test_http_with_a_certificate_of_our_own(scheme, papers):
    """A server that asks for one gets it, and without it nothing arrives."""
    with peer(answer(200, TAKEN.get(scheme, b"{}")), papers.strict()) as other:
        out = sink(scheme, other.at, papers.options, tls=True)
        assert list(out.send(items())) == [ok]
        out = sink(scheme, other.at, f"ca={papers.ca}&cert={papers.server}", tls=True)  # both in one file
        assert list(out.send(items())) == [ok]
        got = len(other.requests)
        (result,) = sink(scheme, other.at, f"ca={papers.ca}", tls=True).send(items())
        assert result.kind == "retry"
        assert len(other.requests) == got


def test_syslog_with_a_certificate_of_our_own(papers):
    """As over HTTP."""
    server = Syslog(papers.strict())
    at = f"syslog+tls://127.0.0.1:{server.port}"
    found = made(f"{at}?{papers.options}")
    try:
        assert list(found.send(items())) == [ok]
        (result,) = made(f"{at}?ca={papers.ca}").send(items())
        assert (result.kind, result.credentials) == ("retry", True)
        assert len(server.read()) == 1
    finally:
        found.close()
        server.close()


class Mails:
    def __init__(self) -> None:
        self.got = 0

    async def handle_DATA(self, server, session, envelope):
        self.got += 1
        return "250 OK"


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_mail_with_a_certificate_of_our_own(scheme, papers):
    """With TLS from the start, and after STARTTLS."""
    handler = Mails()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    how = {"ssl_context": papers.strict()} if scheme == "smtps" else {"tls_context": papers.strict()}
    server = _Quiet(handler, hostname="127.0.0.1", port=port, **how)
    server.start()
    url = f"{scheme}://127.0.0.1:{port}?to=a@b.example&from=c@d.example&timeout=5s"
    try:
        assert list(made(f"{url}&{papers.options}").send(items())) == [ok]
        (result,) = made(f"{url}&ca={papers.ca}").send(items())
        assert result.kind == "retry"
        assert handler.got == 1
    finally:
        server.stop()


class _Quiet(Controller):
    """Does not try, as its parent does, whether it answers to somebody without a certificate."""

    def _trigger_server(self) -> None:
        with socket.create_connection((self.hostname, self.port)):
            pass


def test_nats_with_a_certificate_of_our_own(papers, tmp_path):
    """Its own server asks for it."""
    server = Nats(tmp_path / "nats")
    server.start("--tlsverify", "--tlscert", str(papers.cert), "--tlskey", str(papers.key), "--tlscacert", str(papers.ca))
    at = f"nats+tls://127.0.0.1:{server.port}/audit?stream=AUDIT&create=true&timeout=3s"
    found = made(f"{at}&{papers.options}")
    try:
        assert list(found.send(items())) == [ok]
        (result,) = made(f"{at}&ca={papers.ca}").send(items())
        assert result.kind == "retry"
        (result,) = made(f"{at}&ca=/none").send(items())
        assert (result.kind, result.credentials, "that ca names" in result.reason) == ("retry", True, True)
    finally:
        found.close()
        server.end()


def test_redis_with_a_certificate_of_our_own(papers, redis_server):
    """The server is Redis behind a front that speaks TLS."""
    port = int(redis_server.partition("127.0.0.1:")[2].partition("/")[0])
    with tls_front(port, papers.strict()) as front:
        found = made(f"rediss://127.0.0.1:{front}/8?stream=trust&{papers.options}")
        assert list(found.send(items())) == [ok]
        found.close()
        other = made(f"rediss://127.0.0.1:{front}/8?stream=trust&ca={papers.ca}&timeout=2s")
        assert [each.kind for each in other.send(items())] == ["retry"]
        other.close()


def test_postgres_with_a_certificate_of_our_own(papers, postgres_server):
    """By libpq's own options, for the sink and for the ledger; the server is PostgreSQL behind a front that speaks TLS."""
    from guardrail.ledger.postgres.link import Away, Link
    from guardrail.store.migrate import migrate

    plain = postgres_server.database()
    migrate(plain)
    papers.key.chmod(0o600)  # or libpq does not take it
    with tls_front(postgres_server.port, papers.strict(), hello=says_yes) as front:
        url = plain.replace(f":{postgres_server.port}/", f":{front}/") + f"?sslmode=verify-full&sslrootcert={papers.ca}"
        ours = f"{url}&sslcert={papers.cert}&sslkey={papers.key}"
        for each, kind in ((ours, "ok"), (url, "retry")):
            found = made(f"{each}&create=true&timeout=2s")
            assert [result.kind for result in found.send(items())] == [kind]
            found.close()
        link = Link(ours)
        assert link.run("SELECT 1") == [(1,)]
        link.drop()
        with pytest.raises(Away):
            Link(url).run("SELECT 1", seconds=5.0)


def test_kafka_with_a_certificate_of_our_own(papers):
    """The broker is librdkafka's own behind a front that speaks TLS, to which it sends its clients."""
    cluster = Cluster()
    try:
        with tls_front(cluster.port, papers.strict(), cluster.change) as front:
            found = made(f"kafka+tls://127.0.0.1:{front}/kit?{papers.options}&timeout=5s")
            assert list(found.send(items())) == [ok]
            found.close()
            other = made(f"kafka+tls://127.0.0.1:{front}/kit?ca={papers.ca}&timeout=1s")
            assert [each.kind for each in other.send(items())] == ["retry"]
            other.close()
        assert len(cluster.read()) == 1
    finally:
        cluster.end()


# ── names, versions, files ────────────────────────────────────────────────────────────────────────────────────────────
def test_the_name_that_a_certificate_must_be_for(papers):
    """The host's, or the one that is given; it is also what the server is asked for."""
    with peer(answer(200, b"{}"), server_context(papers.server)) as other:
        assert list(sink("webhook", other.at, f"ca={papers.ca}&server_name=hooks.example", tls=True).send(items())) == [ok]
        assert other.names == ["hooks.example"]
        (result,) = sink("webhook", other.at, f"ca={papers.ca}&server_name=other.example", tls=True).send(items())
        assert "for another name" in result.reason


def test_the_oldest_version_that_is_spoken(papers):
    """TLS 1.2 where nothing is said; never an older one."""
    context = server_context(papers.server)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with peer(answer(200, b"{}"), context) as other:
        assert list(sink("webhook", other.at, f"ca={papers.ca}", tls=True).send(items())) == [ok]
        (result,) = sink("webhook", other.at, f"ca={papers.ca}&tls=1.3", tls=True).send(items())
        assert (result.kind, result.reason) == ("retry", "no TLS connection came about")
    with pytest.raises(ConfigError, match=r"one of 1\.2, 1\.3"):
        sink("webhook", "127.0.0.1:1", "tls=1.1", tls=True)


def test_files_that_cannot_be_read(papers, tmp_path):
    """It is said which, and nothing of what is in them; a key needs its certificate."""
    (tmp_path / "bad.pem").write_text(SECRET)
    for about, said in (
        ({"ca": "/none"}, "ca names"),
        ({"cert": "/none"}, "cert names"),
        ({"cert": str(tmp_path / "bad.pem")}, "cert names"),
    ):
        with pytest.raises(NotReadable, match=said) as caught:
            Trust("x", **about).context()
        assert SECRET not in str(caught.value)
    for url in ("webhook://h/p?key=/k", "smtps://h?to=a@b.example&from=c@d.example&key=/k", "nats+tls://h/s?key=/k", "kafka+tls://h/t?key=/k",
                "rediss://h/0?key=/k", "syslog+tls://h?key=/k"):  # fmt: skip
        with pytest.raises(ConfigError, match="a key without its certificate"):
            made(url)


def test_a_check_that_is_turned_off_is_said():
    """Once, by the setting's name."""
    context = Trust("GUARDRAIL_SINK_TRUST", verify=False).context()
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_NONE)
    assert (None, "insecure-GUARDRAIL_SINK_TRUST") in notices.counts()


# ── a proxy ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class Proxy:
    """A small proxy that opens tunnels to this machine for who knows its password."""

    def __init__(self, login: str = "", status: int = 200) -> None:
        self.login, self.status = login, status
        self.asked: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(near,), daemon=True).start()

    def serve(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), near:
            head = b""
            while b"\r\n\r\n" not in head:
                block = near.recv(65_536)
                if not block:
                    return
                head += block
            self.asked.append(head)
            expected = b"Basic " + b64encode(self.login.encode())
            if self.login and expected not in head:
                near.sendall(b"HTTP/1.1 407 %s\r\nContent-Length: 0\r\n\r\n" % SECRET.encode())
                return
            if self.status != 200:
                near.sendall(b"HTTP/1.1 %d no\r\n\r\n" % self.status)
                return
            port = int(head.split(b" ")[1].rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port)) as far:
                near.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 a\r\n\r\n")
                back = threading.Thread(target=self.forward, args=(far, near), daemon=True)
                back.start()
                self.forward(near, far)
                back.join()

    def forward(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := one.recv(65_536):
                other.sendall(block)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@contextlib.contextmanager
def proxied(login: str = "", status: int = 200) -> Iterator[Proxy]:
    found = Proxy(login, status)
    try:
        yield found
    finally:
        found.close()


@pytest.mark.parametrize("scheme", SINKS)
def test_requests_go_through_a_tunnel(scheme, papers):
    """The other side's certificate is checked as without a proxy, which sees nothing of a request; the tunnel is kept."""
    with proxied(f"ann:{SECRET}") as proxy, peer(answer(200, TAKEN.get(scheme, b"{}")), server_context(papers.server)) as other:
        out = sink(scheme, other.at, f"ca={papers.ca}&proxy=http://ann:{SECRET}@127.0.0.1:{proxy.port}", tls=True)
        assert list(out.send(items())) == [ok]
        assert list(out.send(items())) == [ok]
        assert proxy.asked[0].startswith(f"CONNECT {other.at} HTTP/1.1\r\nHost: {other.at}\r\n".encode())
        assert len(proxy.asked) == 1
        assert SECRET not in repr(vars(out))


def test_a_name_is_the_proxys_to_look_up(papers, monkeypatch):
    """As behind a firewall, where nobody else can."""
    looked_up: list[object] = []
    really = socket.getaddrinfo

    def lookup(host, *more, **how):
        looked_up.append(host)
        return really(host, *more, **how)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with proxied() as proxy, peer(answer(200, b"{}"), server_context(papers.server)) as other:
        out = made(f"webhook://hooks.example:{other.port}/in?ca={papers.ca}&proxy=http://127.0.0.1:{proxy.port}")
        assert list(out.send(items())) == [ok]
    assert "hooks.example" not in looked_up


@pytest.mark.parametrize(
    ("login", "status", "credentials", "said"),
    [("ann:other", 200, True, "HTTP 407: it does not let us in"), ("", 403, False, "the proxy opens no tunnel (HTTP 403)"),
     ("", 503, False, "the proxy opens no tunnel (HTTP 503)")],
)  # fmt: skip
def test_a_proxy_that_opens_no_tunnel(login, status, credentials, said):
    """No record is to blame; its password is read again; what it says is not repeated."""
    with proxied(login, status) as proxy:
        (result,) = made(f"webhook://hooks.example/in?proxy=http://ann:{SECRET}@127.0.0.1:{proxy.port}").send(items())
    assert (result.kind, result.credentials, result.reason) == ("retry", credentials, said)


def test_a_proxy_that_is_away_hangs_or_talks_nonsense():
    """The records are sent again."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        (result,) = made(f"webhook://h.example/in?timeout=0.2s&proxy=http://127.0.0.1:{mute.getsockname()[1]}").send(items())
        assert (result.kind, result.reason) == ("retry", "it did not answer in time")
    (result,) = made(f"webhook://h.example/in?proxy=http://127.0.0.1:{mute_port()}").send(items())
    assert (result.kind, result.reason) == ("retry", "it refuses the connection")
    with proxied(status=0) as proxy:
        (result,) = made(f"webhook://h.example/in?proxy=http://127.0.0.1:{proxy.port}").send(items())
        assert (result.kind, result.reason) == ("retry", "the proxy opens no tunnel (HTTP 0)")


def mute_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_proxy_is_no_way_to_a_metadata_service():
    """Nor is it asked for one."""
    with proxied() as proxy:
        out = made(f"webhook://169.254.169.254/in?proxy=http://127.0.0.1:{proxy.port}")
        with pytest.raises(ConfigError, match="metadata"):
            out.send(items())
        assert proxy.asked == []


def test_the_environments_proxy_is_not_ours(papers, monkeypatch):
    """What the application's other clients go through says nothing of a sink."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{mute_port()}")
    with peer(answer(200, b"{}"), server_context(papers.server)) as other:
        assert list(sink("webhook", other.at, f"ca={papers.ca}", tls=True).send(items())) == [ok]


@pytest.mark.parametrize("word", [f"https://ann:{SECRET}@p", f"http://p/{SECRET}", SECRET, f"http://p:{SECRET}"])
def test_what_is_no_proxy_is_refused_at_the_start(word, tmp_path):
    """Without repeating it; what a reference stands for is looked at when it is followed."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT: proxy") as caught:
        made(f"webhook://h/p?proxy={word}")
    assert SECRET not in str(caught.value)
    (tmp_path / "proxy").write_text(word)
    out = made(f"webhook://h/p?proxy=${{file:{tmp_path}/proxy}}")
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT: proxy") as caught:
        out.send(items())
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match="plain text"):
        made("webhook+http://127.0.0.1/p?proxy=http://p")
