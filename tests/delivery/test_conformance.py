"""The sinks that are no HTTP, through the kit that any third party's must pass; servers stand behind a gate that misbehaves.

Not here: the standard output, which has no other side, and Kafka, whose brokers tell clients to come to their own ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from backends import Nats
from web import certificates, server_context

from guardrail.delivery import Item, schemes
from guardrail.testing import CANARY, HttpPeer, Report, check_sink

ALWAYS = {
    "its constructor opens nothing", "its shape", "one result for each item", "an empty batch", "order", "the same body on every try",
    "away and back", "close, and go on", "probe", "records are never shown",
}  # fmt: skip
GATED = {*ALWAYS, "reset in the middle", "a slow peer"}
RESET = struct.pack("ii", 1, 0)


class Gate:
    """A peer for `check_sink`: what stands before a server, and lets through, swallows, or breaks connections as it is told."""

    def __init__(self, server: int, url: Callable[[str], str], read: Callable[[], list[bytes]], timeout: str) -> None:
        self.server, self.make_url, self.received, self.timeout, self.how = server, url, read, timeout, "ok"
        self.sockets: list[socket.socket] = []
        self.port = 0
        self.start()
        self.url = self.at(timeout)

    def at(self, timeout: str) -> str:
        url = self.make_url(f"127.0.0.1:{self.port}")
        return f"{url}{'&' if '?' in url else '?'}timeout={timeout}"

    def holds(self, body: bytes, item: Item) -> bool:
        return item.line in body

    def behave(self, how: str) -> bool:
        if how not in {"ok", "reset", "slow"}:
            return False
        if self.how == "slow":
            self.hang_up()  # what it has swallowed is missing
        self.how, self.url = how, self.at("0.3s" if how == "slow" else self.timeout)
        return True

    def start(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.sockets.clear()

    def accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.server))
            self.sockets += [near, far]
            threading.Thread(target=self.forward, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self.forward, args=(far, near, False), daemon=True).start()

    def forward(self, one: socket.socket, other: socket.socket, outward: bool) -> None:
        with contextlib.suppress(OSError):
            while block := one.recv(65_536):
                if self.how == "reset" and outward:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    break
                if self.how != "slow":
                    other.sendall(block)
        # Not closed as long as the other thread reads from it, unless it is to be reset.
        if self.how == "reset" and outward:
            with contextlib.suppress(OSError):
                os.close(one.detach())
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class File:
    """The folder of a file is away at times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "logs"
        self.folder.mkdir()
        self.path = self.folder / "out.jsonl"
        self.url = f"file://{self.path}"

    def received(self) -> list[bytes]:
        return self.path.read_bytes().splitlines() if self.path.exists() else []

    def holds(self, body: bytes, item: Item) -> bool:
        return item.line in body

    def behave(self, how: str) -> bool:
        return how == "ok"

    def stop(self) -> None:
        self.folder.rename(self.folder.with_name("away"))

    def start(self) -> None:
        self.folder.with_name("away").rename(self.folder)


def made(url: str):
    where, kind = schemes.read("out", url, "GUARDRAIL_SINK_OUT")
    return kind(where)


def passed(report: Report) -> set[str]:
    """The checks that were passed; none failed."""
    report.raise_for_failures()
    return {check.name for check in report.checks if check.state == "passed"}


@contextlib.contextmanager
def gated(server: int, url: str, read: Callable[[], list[bytes]], timeout: str = "2s") -> Iterator[Gate]:
    found = Gate(server, lambda at: url.replace("{at}", at), read, timeout)
    try:
        yield found
    finally:
        found.stop()


def test_file(tmp_path):
    """Lines in a file; the only fault of a disk that a test can have is that it is not there."""
    assert passed(check_sink(made, File(tmp_path))) == ALWAYS


def test_redis(redis_server):
    """What comes again is left out."""
    import redis

    client = redis.Redis.from_url(redis_server.replace("/0", "/9"))
    client.flushdb()
    port = int(redis_server.partition("127.0.0.1:")[2].partition("/")[0])
    with gated(port, "redis://{at}/9?stream=kit", lambda: [each[b"record"] for _, each in client.xrange("kit")]) as peer:
        assert passed(check_sink(made, peer, patience=8.0)) == GATED
    client.close()


def test_postgres(postgres_server):
    """As Redis does."""
    import psycopg

    name = postgres_server.database().rpartition("/")[2]
    own = postgres_server.url(name)
    with psycopg.connect(own, autocommit=True) as reader:

        def read() -> list[bytes]:
            if not reader.execute("SELECT to_regclass('guardrail_records')").fetchone()[0]:
                return []
            return [bytes(line) for (line,) in reader.execute("SELECT line FROM guardrail_records ORDER BY lane, seq")]

        url = own.replace(f"127.0.0.1:{postgres_server.port}", "{at}")
        url += f"{'&' if '?' in url else '?'}create=true"
        with gated(postgres_server.port, url, read) as peer:
            assert passed(check_sink(made, peer, patience=8.0)) == GATED


def test_nats(tmp_path):
    """As Redis does."""
    import nats
    from nats.js.errors import NotFoundError

    server = Nats(tmp_path / "nats")
    server.start()

    async def read() -> list[bytes]:
        client = await nats.connect(f"nats://127.0.0.1:{server.port}")
        try:
            manager = client.jsm()
            last = (await manager.stream_info("KIT")).state.messages
            return [(await manager.get_msg("KIT", seq)).data for seq in range(1, last + 1)]
        except NotFoundError:
            return []
        finally:
            await client.close()

    try:
        url = f"nats://:{CANARY}@{{at}}/kit.records?stream=KIT&create=true"
        with gated(server.port, url, lambda: asyncio.run(read()), "1s") as peer:  # which its client waits out when it is cut off
            assert passed(check_sink(made, peer, patience=8.0)) == {*GATED, "secrets are never shown"}
    finally:
        server.end()


def test_s3(monkeypatch):
    """The same batch is the same object."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="a-bucket")

    def read() -> list[bytes]:
        keys = [each["Key"] for each in client.list_objects_v2(Bucket="a-bucket").get("Contents", [])]
        return [
            gzip.decompress(client.get_object(Bucket="a-bucket", Key=key)["Body"].read()) for key in keys if "test" not in key
        ]

    try:
        with gated(port, "s3://a-bucket/kit?endpoint=http://{at}&region=us-east-1", read) as peer:
            assert passed(check_sink(made, peer, patience=8.0)) == GATED
    finally:
        client.close()
        server.stop()


class Syslog:
    """A server over TLS that keeps the frames it gets."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.frames: list[bytes] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(plain,), daemon=True).start()

    def serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(plain), self.context.wrap_socket(plain, server_side=True) as near:
            rest = b""
            while block := near.recv(65_536):
                rest += block
                while (blank := rest.find(b" ")) > 0 and len(rest) >= blank + 1 + int(rest[:blank]):
                    end = blank + 1 + int(rest[:blank])
                    self.frames.append(rest[blank + 1 : end])
                    rest = rest[end:]

    def read(self) -> list[bytes]:
        """What has come, once nothing more does: a sender of syslog does not wait for anybody."""
        many = -1
        while many != len(self.frames):
            many = len(self.frames)
            time.sleep(0.03)
        return list(self.frames)


def test_syslog(tmp_path):
    """Nothing is acknowledged: whether a server that resets or swallows has had a record, nobody can say, so that is not asked."""
    authority, server, _ = certificates(tmp_path)
    found = Syslog(server_context(server))
    try:
        with gated(found.port, f"syslog+tls://{{at}}?ca={authority}", found.read) as peer:
            peer.behave = lambda how: how == "ok"
            assert passed(check_sink(made, peer, patience=8.0)) == ALWAYS
    finally:
        found.listener.close()


class Mails:
    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.port = 0

    async def handle_DATA(self, server, session, envelope):
        self.got.append(envelope.content)
        return "250 OK"

    def read(self) -> list[bytes]:
        """Without the moment of the try."""
        return [re.sub(rb"^Date: .*\r\n", b"", each, flags=re.MULTILINE) for each in self.got]


def test_smtp():
    """A mail tells of many records, by their ids."""
    handler = Mails()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def let_in(server, session, envelope, mechanism, data) -> AuthResult:
        return AuthResult(success=data.password == CANARY.encode())

    server = Controller(handler, hostname="127.0.0.1", port=port, authenticator=let_in, auth_require_tls=False)
    server.start()
    try:
        url = f"smtp://ann:{CANARY}@{{at}}?to=risk@bank.example&from=guardrail@bank.example"
        with gated(port, url, handler.read) as peer:
            peer.holds = lambda body, item: item.record["id"].encode() in body
            assert passed(check_sink(made, peer, patience=8.0)) == {*GATED, "secrets are never shown"}
    finally:
        server.stop()


class Apprising(HttpPeer):
    """Apprise says yes or no of a message, and nothing more: no wait, no reason."""

    def behave(self, how: str) -> bool:
        return how not in {"429", "401", "403", "413"} and super().behave(how)


@pytest.mark.filterwarnings("ignore:.*imghdr:DeprecationWarning")  # Apprise's own
def test_apprise():
    """Through its own JSON service, with a secret where many services have theirs: in the path."""

    def url(scheme: str, timeout: str = "2s") -> Callable[[str], str]:
        return lambda at: f"apprise:?timeout={timeout}&url={quote(f'{scheme}://ann:{CANARY}@{at}/hook/{CANARY}', safe='')}"

    peer = Apprising(
        url("json"), slow_url=url("json", "0.3s"), tls_url=url("jsons"),
        holds=lambda body, item: item.record["id"].encode() in body,
    )  # fmt: skip
    try:
        found = passed(check_sink(made, peer, patience=8.0))
    finally:
        peer.stop()
    assert found == {
        *GATED, "it sends once", "an unknown certificate", "secrets are never shown",
    }  # fmt: skip
