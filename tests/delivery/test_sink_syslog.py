"""Syslog over TLS against a server that keeps frames: what a message is, and that nothing is taken for arrived too early."""

from __future__ import annotations

import re
import select
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

import pytest
from messages import certificate, dead_port, items, kinds, sink

from guardrail import notices
from guardrail.errors import ConfigError

__all__ = ["certificate"]


class Syslog:
    """A server that keeps the frames it gets, and hangs up when it is told to."""

    def __init__(self, certificate: Path, port: int = 0) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.says = b""
        self.breaks = self.lose = False
        self.reads = threading.Event()
        self.reads.set()
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
                near.sendall(self.says)
                rest = b""
                while select.select([near], [], [])[0] and self.reads.wait(10) and not self.lose and (block := near.recv(65_536)):
                    if self.breaks:
                        time.sleep(0.005)
                        return
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
    frames = syslog.wait(3)  # the first comes again: nobody knows whether it was read
    assert [frame.partition(b'id="')[2].partition(b'"')[0] for frame in frames] == [b"lane/1", b"lane/1", b"lane/2"]
    found.close()
    found.close()
    assert kinds(found.send(items(1, first=3))) == ["ok"]
    assert len(syslog.wait(4)) == 4  # what a connection took that we closed ourselves does not
    assert b'id="lane/3"' in syslog.frames[3]
    found.close()


def test_a_batch_that_breaks_a_kept_connection_is_sent_again(syslog, certificate):
    """The server's word comes a moment after the writing, which has worked by then."""
    found = sink(f"syslog+tls://localhost:{syslog.port}?ca={certificate}")
    for turn in range(5):
        syslog.breaks = False
        assert kinds(found.send(items(1, first=10 * turn + 1))) == ["ok"]
        syslog.breaks = True
        assert kinds(found.send(items(2, first=10 * turn + 2))) == ["retry"] * 2
    found.close()


def test_what_a_late_reset_takes_with_it_is_written_again(syslog, certificate):
    """Long after the batch was taken for arrived, with the same bytes, in order, and before what comes next."""
    found = sink(f"syslog+tls://localhost:{syslog.port}?ca={certificate}")
    assert kinds(found.send(items(1))) == ["ok"]
    syslog.wait(1)
    syslog.reads.clear()  # it does not read what comes now
    for seq in (2, 3):
        assert kinds(found.send(items(1, first=seq))) == ["ok"]
    time.sleep(0.1)
    for each in syslog.open:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    syslog.lose = True
    syslog.reads.set()
    time.sleep(0.1)
    syslog.lose = False
    results = found.send(items(1, first=4))
    assert kinds(results if kinds(results) == ["ok"] else found.send(items(1, first=4))) == ["ok"]
    frames = syslog.wait(5)
    found.close()
    seen = [frame.partition(b'id="')[2].partition(b'"')[0] for frame in frames]
    assert seen == [b"lane/1", b"lane/1", b"lane/2", b"lane/3", b"lane/4"]
    assert frames[0] == frames[1]


def test_what_is_kept_is_bounded(syslog, certificate, monkeypatch):
    """In bytes, and in time: a connection that stands seconds later has lost nothing."""
    found = sink(f"syslog+tls://localhost:{syslog.port}?ca={certificate}")
    monkeypatch.setattr("guardrail.delivery.sinks.syslog._KEPT", 500)
    for seq in range(1, 6):
        assert kinds(found.send(items(1, first=seq))) == ["ok"]
    assert 1 <= len(found._kept) <= 2
    monkeypatch.setattr("guardrail.delivery.sinks.syslog._SURE", 0.0)
    assert kinds(found.send(items(1, first=6))) == ["ok"]
    assert len(found._kept) == 1
    found.close()


@pytest.mark.skipif(sys.platform != "linux", reason="nobody else tells what is not acknowledged")
def test_what_the_other_sides_tcp_does_not_acknowledge_has_not_arrived(syslog, certificate, monkeypatch):
    """A host that has vanished takes what the system's buffer takes; all of it is sent again."""
    found = sink(f"syslog+tls://localhost:{syslog.port}?ca={certificate}&timeout=0.3s")
    monkeypatch.setattr("guardrail.delivery.sinks.syslog._unacknowledged", lambda _: 100)
    (result,) = found.send(items(1))
    assert (result.kind, result.reason) == ("retry", "it did not answer in time")
    found.close()


def test_syslog_that_wants_a_certificate_of_ours(syslog, certificate):
    """With TLS 1.3 it says so only after the handshake: what was written by then never counts as arrived."""
    syslog.context.verify_mode = ssl.CERT_REQUIRED
    syslog.context.load_verify_locations(certificate)
    found = sink(f"syslog+tls://localhost:{syslog.port}?ca={certificate}")
    for _ in range(3):
        (result,) = found.send(items(1))
        assert (result.kind, result.credentials) == ("retry", True)
        assert "certificate of ours" in result.reason
    found = sink(f"syslog+tls://localhost:{syslog.port}?ca={certificate}&cert={certificate}")
    assert kinds(found.send(items(2))) == ["ok"] * 2
    assert len(syslog.wait(2)) == 2
    found.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_syslog_that_gives_no_tickets_gets_records_all_the_same(syslog, certificate, version, monkeypatch):
    """Its word after the handshake is waited for, not for long."""
    monkeypatch.setattr("guardrail.delivery.sinks.syslog._GRACE", 0.1)
    syslog.context.maximum_version = version
    syslog.context.num_tickets = 0
    found = sink(f"syslog+tls://localhost:{syslog.port}?ca={certificate}")
    assert kinds(found.send(items(1))) == ["ok"]
    assert len(syslog.wait(1)) == 1
    found.close()


def test_syslog_that_talks_is_not_listened_to(syslog, certificate):
    """Nothing that it says keeps a batch from being written."""
    syslog.says = b"x" * 100_000
    found = sink(f"syslog+tls://localhost:{syslog.port}?ca={certificate}")
    for seq in (1, 2, 3):
        assert kinds(found.send(items(1, first=seq))) == ["ok"]
    assert len(syslog.wait(3)) == 3
    found.close()


def test_syslog_that_reads_nothing_ends_in_time(certificate):
    """However much is written, and before as well as behind the handshake; all of it is sent again."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()
        (result,) = sink(f"syslog+tls://localhost:{mute.getsockname()[1]}?ca={certificate}&timeout=0.3s").send(items(1))
        assert (result.kind, result.reason) == ("retry", "it did not answer in time")
        assert time.monotonic() - begun < 3

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as near:
                while not done.wait(0.1):
                    near.recv(1_024)

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        found = sink(f"syslog+tls://localhost:{listener.getsockname()[1]}?ca={certificate}&timeout=0.5s")
        begun = time.monotonic()
        results = found.send(items(400, filler="x" * 50_000))
        took = time.monotonic() - begun
        done.set()
        found.close()
        thread.join(10)
    assert set(kinds(results)) == {"retry"}
    assert took < 4


def test_an_empty_batch_is_nothing(syslog, certificate):
    """Not even a connection."""
    assert sink(f"syslog+tls://localhost:{dead_port()}?ca={certificate}").send([]) == []


def test_files_that_cannot_be_read_are_told(syslog, certificate, tmp_path):
    """By the option's name; a key that is encrypted is not asked for at the terminal."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(certificate.read_bytes(), None)
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
        )
    )
    at = f"syslog+tls://localhost:{syslog.port}"
    for more, told in (
        ("ca=/none", "that ca names"),
        (f"ca={certificate}&cert=/none", "that cert names"),
        (f"ca={certificate}&cert={certificate}&key={tmp_path}/key.pem", "or its key"),
    ):
        (result,) = sink(f"{at}?{more}").send(items(1))
        assert (result.kind, result.credentials) == ("retry", True)
        assert told in result.reason
    with pytest.raises(ConfigError, match="that ca names"):
        sink(f"{at}?ca=/none").probe()
    assert syslog.frames == []


@pytest.mark.parametrize(
    ("more", "stamp"),
    [
        ({"ts": "2026-01-01T00:00:00+02:00"}, b"2026-01-01T00:00:00+02:00"),
        ({"ts": "2026-W01-4T00:00:00+00:00"}, b"-"),
        ({"ts": "20260101T000000Z"}, b"-"),
        ({"ts": "2026-01-01T00:00:00"}, b"-"),
        ({"ts": 5}, b"-"),
        ({"event": 'x" ] [evil@1 a="', "outcome": "\n"}, b"2026-01-01T00:00:00.000001Z"),
    ],
)
def test_a_record_that_somebody_has_changed_breaks_no_frame(syslog, certificate, more, stamp):
    """Its head stays one of RFC 5424, and the next message is found."""
    found = sink(f"syslog+tls://localhost:{syslog.port}?ca={certificate}")
    batch = [*items(1, **more), *items(1, first=2)]
    assert kinds(found.send(batch)) == ["ok"] * 2
    frames = syslog.wait(2)
    assert frames[0].split(b" ")[1] == stamp
    assert b"evil" not in frames[0].partition(b"\xef\xbb\xbf")[0]
    assert [frame.partition(b"\xef\xbb\xbf")[2] for frame in frames] == [item.line for item in batch]
    found.close()


def test_syslog_refuses_a_certificate_that_nobody_vouches_for(syslog):
    """Nothing is sent before the server is proven; a server that is away is told from it."""
    (result,) = sink(f"syslog+tls://localhost:{syslog.port}").send(items(1))
    assert (result.kind, "certificate" in result.reason) == ("retry", True)
    (result,) = sink(f"syslog+tls://localhost:{dead_port()}?timeout=1s").send(items(1))
    assert (result.kind, result.reason) == ("retry", "it refuses the connection")
    assert syslog.frames == []
    found = sink(f"syslog+tls://localhost:{syslog.port}?insecure=true")
    assert kinds(found.send(items(1))) == ["ok"]
    assert (None, "insecure-GUARDRAIL_SINK_OUT") in notices.counts()
    found.close()


@pytest.mark.parametrize(
    "url",
    [
        "syslog+tls://", "syslog+tls://h/x", "syslog+tls://h?app=a b", "syslog+tls://h,i", "syslog+tls://a:b@h", "syslog+tls://${env:HOME}",
        "syslog+tls://h?key=/k", "syslog+tls://h?ca=relative",
    ],
)  # fmt: skip
def test_a_url_that_says_too_little_is_refused_at_the_start(url):
    """Before the first record."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT"):
        sink(url)
