"""The client that all sinks over HTTP share, and what each of them makes of every way in which a request can go wrong."""

from __future__ import annotations

import gzip
import logging
import re
import socket
import sys
import threading
import time
from http.client import HTTPConnection

import pytest
from web import PRIVATE, SECRET, TAKEN, URLS, answer, certificates, items, made, peer, reset, server_context, sink

from guardrail import ConfigError, clock, notices
from guardrail.delivery import http
from guardrail.delivery.sink import ok
from guardrail.delivery.trust import Trust

SINKS = sorted(URLS)


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """Certificates: of an authority, of a server, and one that has expired."""
    return certificates(tmp_path_factory.mktemp("papers"))


def told() -> str:
    """All that the library has said so far."""
    return " ".join(text for _, text in notices.counts().values())


# ── what an answer means, for every sink ──────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("scheme", SINKS)
def test_what_is_taken_has_arrived(scheme, httpserver):
    """A status of 200, or 202 as PagerDuty has it, is the receipt."""
    httpserver.expect_request(re.compile("/.*"), method="POST").respond_with_data(
        TAKEN.get(scheme, b"{}"), status=202 if scheme == "pagerduty" else 200
    )
    out = sink(scheme, f"127.0.0.1:{httpserver.port}")
    assert list(out.send(items())) == [ok]
    assert len(httpserver.log) == 1
    out.close()


@pytest.mark.parametrize("scheme", SINKS)
@pytest.mark.parametrize(
    "status, kind, credentials",
    [
        (429, "retry", False), (408, "retry", False), (425, "retry", False), (500, "retry", False), (503, "retry", False),
        (401, "retry", True), (403, "retry", True), (404, "retry", True), (410, "retry", True), (302, "retry", True),
        (400, "reject", False), (413, "reject", False), (422, "reject", False), (999, "retry", False),
    ],
)  # fmt: skip
def test_what_is_not_taken(scheme, status, kind, credentials):
    """Each status says whether a record is tried again, whether the address is at fault, or the record itself."""
    with peer(answer(status, SECRET.encode(), Location="/elsewhere")) as other:
        out = sink(scheme, other.at)
        (result,) = out.send(items())
        out.close()
    assert (result.kind, result.credentials) == (kind, credentials)
    assert str(status) in result.reason
    assert len(other.requests) == 1  # no retries of its own, no redirects


@pytest.mark.parametrize("scheme", ["otlp", "slack", "splunk"])
@pytest.mark.parametrize("status", [400, 413])
def test_of_several_nobody_knows_which(scheme, status):
    """A batch that is refused as a whole is tried again, in smaller parts, until one record is alone."""
    with peer(answer(status)) as other:
        out = sink(scheme, other.at)
        assert {result.kind for result in out.send(items(3))} == {"retry"}
        out.close()


@pytest.mark.parametrize("scheme", SINKS)
@pytest.mark.parametrize("said", ["120", "Fri, 02 Jan 2026 03:06:05 GMT"])
def test_the_time_it_asks_for(scheme, said, monkeypatch):
    """`Retry-After` counts in both of its forms."""
    with peer(answer(429, Retry_After=said)) as other:
        out = sink(scheme, other.at)
        monkeypatch.setattr(clock, "wall", lambda: 1767323045.0)  # 2026-01-02T03:04:05Z
        (result,) = out.send(items())
        out.close()
    assert result.after == 120.0


@pytest.mark.parametrize(
    "said, expected",
    [
        ("99999999", 3600.0), ("Fri, 02 Jan 2099 03:04:05 GMT", 3600.0), ("Fri, 02 Jan 1999 03:04:05 GMT", 0.0), ("1.5", 1.5),
        ("-5", None), ("soon", None), ("", None), ("9" * 400, None), ("Fri, 99 Jan 2026 03:04:05 GMT", None),
    ],
)  # fmt: skip
def test_times_that_make_no_sense(said, expected):
    """Nobody makes us wait for longer than an hour, and what is no time is none."""
    with peer(answer(503, Retry_After=said)) as other:
        found = http.Client("x", "127.0.0.1", other.port, timeout=5, secure=False)
        assert found.post("/", b"", {}).after == expected
        found.close()


# ── the network ───────────────────────────────────────────────────────────────────────────────────────────────────────
def drip(sock):
    """Send the head of an answer that never ends, one byte at a time."""
    while True:
        sock.sendall(b"x")
        time.sleep(0.02)


def drip_body(sock):
    """Send a body that never ends, one byte at a time."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        sock.sendall(b"x")
        time.sleep(0.02)


def half(sock):
    """Send half of an answer, and hang up in good order."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of")
    sock.shutdown(socket.SHUT_RDWR)


def silent(sock):
    """Read, and say nothing."""
    sock.recv(1)


@pytest.mark.parametrize("scheme", SINKS)
@pytest.mark.parametrize("act", [silent, drip, drip_body])
def test_a_slow_peer_is_given_up(scheme, act):
    """The timeout is for the whole request, however the answer drips in."""
    with peer(act) as other:
        out = sink(scheme, other.at, "timeout=100ms")
        (result,) = out.send(items())
        out.close()
    assert (result.kind, result.reason) == ("retry", "it did not answer in time")


@pytest.mark.parametrize("reads", [False, True])
def test_a_peer_that_does_not_read_is_given_up(reads):
    """Nor does a request last for longer that nobody reads, or that is read in drips."""
    over = threading.Event()
    body = b"x" * 60_000_000
    read = []

    def listen():
        sock, _ = listener.accept()
        while not over.wait(0.002):
            if reads:
                read.append(len(sock.recv(65_536)))
        sock.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        found = http.Client("x", "127.0.0.1", listener.getsockname()[1], timeout=0.1, secure=False)
        assert found.post("/", body, {}).problem == "it did not answer in time"
        assert sum(read) < len(body) / 2  # it was given up, not waited for
        over.set()
        thread.join(5)


@pytest.mark.parametrize("scheme", SINKS)
@pytest.mark.parametrize("act", [reset, half, lambda sock: sock.close(), lambda sock: sock.sendall(b"nonsense\r\n\r\n")])
def test_a_broken_answer_is_no_answer(scheme, act):
    """A reset in the middle of an answer, none at all, and one that is not HTTP: the record is sent again."""
    with peer(act) as other:
        out = sink(scheme, other.at)
        (result,) = out.send(items())
        out.close()
    assert (result.kind, result.reason) == ("retry", "the connection broke")


@pytest.mark.parametrize("scheme", SINKS)
def test_nobody_is_there(scheme):
    """A refused connection is tried again later."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    out = sink(scheme, f"127.0.0.1:{port}")
    (result,) = out.send(items())
    assert (result.kind, result.reason) == ("retry", "it refuses the connection")


def test_a_name_that_is_not_known(monkeypatch):
    """A name that the system cannot look up is tried again later."""

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = http.Client("x", "nobody.example", 443, timeout=1)
    assert found.post("/", b"", {}).problem == "its name is not known"


def test_an_address_that_swallows_everything_leaves_time_for_the_next(monkeypatch):
    """A host of two addresses is reached by the second when the first does not answer."""
    with peer(answer(200)) as other:
        really = socket.create_connection

        waits = []

        def connect(place, timeout):
            waits.append(timeout)
            if place[0] == "192.0.2.1":
                raise TimeoutError
            return really(place, timeout)

        monkeypatch.setattr(socket, "create_connection", connect)
        found = http.Client("x", "two.example", other.port, timeout=5, secure=False, addresses=("192.0.2.1", "127.0.0.1"))
        assert found.post("/", b"", {}).taken
        assert waits[0] <= 2.5 < waits[1]  # of five seconds
        found.close()


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200"])
def test_no_sink_is_a_metadata_service(address, monkeypatch):
    """Even an operator's own sink never leads to what gives away a machine's credentials, whatever its name."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", (address, 80))])
    out = made(f"webhook://innocent.example/hook?token={SECRET}")
    with pytest.raises(ConfigError, match="metadata"):
        out.send(items())


def test_a_connection_is_kept_and_made_anew():
    """Requests share a connection; one that the other side has closed is noticed before anything is sent."""
    with peer(answer(200)) as other:
        found = http.Client("x", "127.0.0.1", other.port, timeout=5, secure=False)
        assert all(found.post("/", b"1", {}).taken for _ in range(3))
        assert other.connections == 1
        for each in other._open:
            each.shutdown(socket.SHUT_RDWR)
        assert all(found.post("/", b"2", {}).taken for _ in range(3))
        assert other.connections == 2
        found.close()


def test_an_endless_answer_is_not_read():
    """Of a body 64 kB are read, and what is left of it is no answer to the next request."""

    def endless(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            sock.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    with peer(endless) as other:
        found = http.Client("x", "127.0.0.1", other.port, timeout=5, secure=False)
        assert [len(found.post("/", b"", {}).body) for _ in range(2)] == [http.MOST] * 2
        assert other.connections == 2
        found.close()


def test_an_answer_whose_end_is_not_read_is_left_behind():
    """Nor does what may follow hold up the next request."""

    def full(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n" + b"x" * http.MOST + b"\r\n")

    with peer(full) as other:
        found = http.Client("x", "127.0.0.1", other.port, timeout=5, secure=False)
        assert [found.post("/", b"", {}).status for _ in range(2)] == [200, 200]
        found.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a reset takes what was received before with it")
def test_an_early_answer_is_heard():
    """Whoever refuses a request before it was read to its end, and hangs up, has said why."""
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse():
        sock, _ = listener.accept()
        sock.recv(1)
        sock.sendall(answer(413))
        sock.close()

    thread = threading.Thread(target=refuse, daemon=True)
    thread.start()
    found = http.Client("x", "127.0.0.1", listener.getsockname()[1], timeout=5, secure=False)
    assert found.post("/", b"x" * 5_000_000, {}).status == 413
    found.close()
    thread.join(5)
    listener.close()


def test_requests_are_compressed_alike_each_time():
    """The same body makes the same bytes, as gzip."""
    with peer(answer(200)) as other:
        found = http.Client("x", "127.0.0.1", other.port, timeout=5, secure=False)
        for _ in range(2):
            assert found.post("/", b"abc" * 1000, {}, compress=True).taken
        found.close()
    one, two = (request.partition(b"\r\n\r\n") for request in other.requests)
    assert b"Content-Encoding: gzip" in one[0]
    assert gzip.decompress(one[2]) == b"abc" * 1000
    assert one == two
    assert one[2][4:8] == bytes(4)  # no time in it


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("scheme", SINKS)
def test_a_certificate_of_a_trusted_authority(scheme, papers):
    """Over TLS a record arrives when the certificate is one of the authority that the operator names."""
    with peer(answer(200, TAKEN.get(scheme, b"{}")), server_context(papers[1])) as other:
        out = sink(scheme, other.at, f"ca={papers[0]}", tls=True)
        assert list(out.send(items())) == [ok]
        assert list(out.send(items())) == [ok]
        out.close()
    assert other.connections == 1


@pytest.mark.parametrize("scheme", SINKS)
def test_a_certificate_of_nobody(scheme, papers):
    """A certificate that nobody vouches for stops everything before a secret is sent."""
    with peer(answer(200), server_context(papers[1])) as other:
        out = sink(scheme, other.at, tls=True)
        (result,) = out.send(items())
        out.close()
    assert (result.kind, result.credentials) == ("retry", False)
    assert result.reason == "its certificate is not accepted: its authority is unknown"
    assert other.requests == []


def test_certificates_that_are_not_accepted(papers):
    """One that has expired, and one for another name."""
    with peer(answer(200), server_context(papers[2])) as other:
        found = http.Client("x", "127.0.0.1", other.port, timeout=5, trusted=Trust("x", ca=str(papers[0])))
        assert found.post("/", b"", {}).problem == "its certificate is not accepted: it has expired"
    with peer(answer(200), server_context(papers[1])) as other:
        found = http.Client(
            "x", "other.example", other.port, timeout=5, trusted=Trust("x", ca=str(papers[0])), addresses=("127.0.0.1",)
        )
        assert found.post("/", b"", {}).problem == "its certificate is not accepted: it is for another name"


def test_tls_with_somebody_who_speaks_none():
    """Plain text where TLS is expected is no connection."""
    with peer(lambda sock: None) as other:
        found = http.Client("x", "127.0.0.1", other.port, timeout=0.1)
        assert found.post("/", b"", {}).problem == "it did not answer in time"
    listener = socket.create_server(("127.0.0.1", 0))

    def shout():
        sock, _ = listener.accept()
        sock.recv(100)
        sock.sendall(b"HTTP/1.0 400 this is no TLS\r\n\r\n")
        sock.close()

    thread = threading.Thread(target=shout, daemon=True)
    thread.start()
    found = http.Client("x", "127.0.0.1", listener.getsockname()[1], timeout=5)
    assert found.post("/", b"", {}).problem == "no TLS connection came about"
    thread.join(5)
    listener.close()


def test_the_check_can_be_turned_off_and_that_is_said(papers):
    """`insecure=true` takes any certificate, and says so."""
    with peer(answer(200, b"{}"), server_context(papers[1])) as other:
        out = sink("webhook", other.at, "insecure=true", tls=True)
        assert list(out.send(items())) == [ok]
        out.close()
    assert "is not checked" in told()


def test_a_file_of_authorities_that_is_none(tmp_path):
    """It is said which setting is wrong, and nothing of what is in the file."""
    (tmp_path / "ca.pem").write_text(SECRET)
    for file in ("ca.pem", "missing.pem"):
        with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT: the certificates that ca names") as caught:
            sink("slack", "127.0.0.1:1", f"ca={tmp_path / file}", tls=True).send(items())
        assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match="absolute path"):
        sink("slack", "127.0.0.1:1", "ca=ca.pem", tls=True)


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("scheme", SINKS)
@pytest.mark.parametrize(
    "act",
    [
        *(answer(status, SECRET.encode(), Retry_After=SECRET, Location=f"/{SECRET}") for status in (200, 302, 400, 401, 413, 500)),
        f"HTTP/1.1 200 {SECRET}\r\n{SECRET}\r\n broken: {SECRET}\r\n\r\n{SECRET}".encode(), SECRET.encode(), reset,
    ],
)  # fmt: skip
def test_secrets_are_never_told(scheme, act, caplog, capfd, monkeypatch):
    """Whatever the other side echoes: no reason, notice, log or output holds a secret, nor what a record is about."""
    monkeypatch.setattr(HTTPConnection, "debuglevel", 1)  # as an application may have it
    with caplog.at_level(logging.DEBUG), peer(act) as other:
        out = sink(scheme, other.at, "timeout=100ms")
        results = out.send(items())
        try:
            shown = out.probe()
        except Exception as problem:
            shown = f"{problem!r} {problem} {problem.__cause__!r} {problem.__context__!r}"
        out.close()
    captured = capfd.readouterr()
    texts = [str(results), shown, told(), caplog.text, captured.out, captured.err, repr(out)]
    assert not [text for text in texts if SECRET in text or PRIVATE in text]


@pytest.mark.parametrize("scheme", SINKS)
def test_a_secret_that_no_header_can_carry(scheme, tmp_path):
    """A secret with a line break in its middle is refused before anything is sent, and not shown."""
    (tmp_path / "secret").write_text(f"{SECRET}\r\nX-Evil: 1")
    with peer(answer(200)) as other:
        out = made(URLS[scheme].format(at=other.at).replace(SECRET, f"${{file:{tmp_path}/secret}}"))
        if scheme == "pagerduty":  # there it stands in JSON, which can carry everything
            out.send(items())
            out.close()
            assert b"X-Evil" not in other.requests[0].partition(b"\r\n\r\n")[0]
            return
        with pytest.raises(ConfigError) as caught:
            out.send(items())
        assert other.requests == []
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("scheme", SINKS)
def test_no_secret_goes_over_the_network_in_plain_text(scheme):
    """Without TLS, secrets stay on this machine unless the operator says otherwise."""
    with pytest.raises(ConfigError, match="in plain text") as caught:
        sink(scheme, "collector.example")
    assert SECRET not in str(caught.value)
    assert sink(scheme, "collector.example", "insecure=true")
    assert sink(scheme, "localhost:1")


@pytest.mark.parametrize("scheme", SINKS)
def test_a_secret_that_was_rotated_is_the_one_that_is_sent(scheme, tmp_path):
    """The next request has the new secret, also over the connection that is open."""
    file = tmp_path / "secret"
    file.write_text("first-secret\n")
    with peer(answer(200, TAKEN.get(scheme, b"{}"))) as other:
        out = made(URLS[scheme].format(at=other.at).replace(SECRET, f"${{file:{file}}}"))
        out.send(items())
        (tmp_path / "new").write_text("second-secret\n")
        (tmp_path / "new").rename(file)
        out.send(items())
        out.close()
    first, second = (request.replace(b"%2D", b"-") for request in other.requests)
    assert b"first-secret" in first
    assert b"second-secret" in second
    assert b"first-secret" not in second


def test_no_host():
    """A URL without a host, or with a secret for one, is refused at start."""
    for host, said in (("", "names no host"), ("${env:HOST}", "reference where it is not followed")):
        with pytest.raises(ConfigError, match=said):
            made(f"webhook://{host}/path")


def test_a_path_may_be_a_secret(monkeypatch):
    """A reference in the path is followed when something is sent."""
    monkeypatch.setenv("HOOK", "a b/ç")
    with peer(answer(200)) as other:
        out = made(f"webhook+http://{other.at}/x/${{env:HOOK}}")
        assert list(out.send(items())) == [ok]
        out.close()
    assert other.requests[0].startswith(b"POST /x/a%20b/%C3%A7 HTTP/1.1\r\n")
    with pytest.raises(ConfigError, match="plain text"):
        made("webhook+http://collector.example/x/${env:HOOK}")
