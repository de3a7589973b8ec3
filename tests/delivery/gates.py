"""Peers for the conformance kit: what stands before a real server and misbehaves to order, and what has no network at all."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import orjson
from confluent_kafka import Consumer, TopicPartition

from guardrail.delivery import Item, schemes
from guardrail.delivery.sinks.stdout import StdoutSink

RESET = struct.pack("ii", 1, 0)


class Gate:
    """A peer for `check_sink`: what stands before a server, and lets through, swallows, or breaks connections as it is told.

    Args:
        server: The server's port on this machine.
        url: Makes the sink's URL from "host:port".
        read: Returns what the server has.
        timeout: Of the sink's URL.
        tls: Makes the URL of one that speaks TLS, and what a server needs whose certificate nobody knows.
        hello: What is said before TLS begins, where it does not begin with the first byte.
        drip: The beginning of an answer that goes on a byte at a time; None where that is not tried.
        able: Has the server itself do something, and returns whether it can: "401", "413", "500"; "ok" ends that.
        change: What becomes of the server's words on their way back, given them and the gate's own port.
    """

    def __init__(
        self,
        server: int,
        url: Callable[[str], str],
        read: Callable[[], list[bytes]],
        timeout: str,
        tls: tuple[Callable[[str], str], ssl.SSLContext] | None = None,
        change: Callable[[bytes, int], bytes] = lambda block, _: block,
        *,
        hello: Callable[[socket.socket], object] = lambda _: None,
        drip: bytes | None = None,
        able: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.server, self.make_url, self.received, self.timeout, self.how = server, url, read, timeout, "ok"
        self.tls, self.change, self.hello, self.dripping, self.able = tls, change, hello, drip, able
        self.sockets: list[socket.socket] = []
        self.port = 0
        self.start()
        self.url = self.at(self.make_url, timeout)

    def at(self, make: Callable[[str], str], timeout: str) -> str:
        url = make(f"127.0.0.1:{self.port}")
        return f"{url}{'&' if '?' in url else '?'}timeout={timeout}"

    def holds(self, body: bytes, item: Item) -> bool:
        return item.line in body

    def behave(self, how: str) -> bool:
        own = self.able(how)
        if own:
            self.hang_up()  # so that the next request has to be let in
        elif not {"ok": True, "reset": True, "slow": True, "certificate": self.tls, "drip": self.dripping}.get(how):
            return False
        if self.how in {"slow", "drip"}:
            self.hang_up()  # what it has swallowed is missing
        make = self.tls[0] if how == "certificate" and self.tls else self.make_url
        self.how, self.url = how, self.at(make, "0.3s" if how in {"slow", "drip"} else self.timeout)
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
            threading.Thread(target=self.serve, args=(near,), daemon=True).start()

    def serve(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(near):
            self.sockets.append(near)
            if self.how == "certificate" and self.tls is not None:
                self.hello(near)
                with self.tls[1].wrap_socket(near, server_side=True) as secure:
                    secure.recv(1)
                return
            with socket.create_connection(("127.0.0.1", self.server)) as far:
                self.sockets.append(far)
                back = threading.Thread(target=self.forward, args=(far, near, False), daemon=True)
                back.start()
                self.forward(near, far, True)
                back.join()

    def drip(self, near: socket.socket) -> None:
        assert self.dripping is not None
        near.sendall(self.dripping)
        while self.how == "drip":
            near.sendall(b"x")
            time.sleep(0.05)

    def forward(self, one: socket.socket, other: socket.socket, outward: bool) -> None:
        with contextlib.suppress(OSError):
            while block := one.recv(65_536):
                if self.how == "reset" and outward:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    os.close(one.detach())
                    break
                if self.how == "drip" and outward:
                    self.drip(one)
                    break
                if self.how not in {"slow", "drip"}:
                    other.sendall(block if outward else self.change(block, self.port))
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def gated(
    server: int,
    url: str,
    read: Callable[[], list[bytes]],
    timeout: str = "2s",
    tls: tuple[str, ssl.SSLContext] | None = None,
    change: Callable[[bytes, int], bytes] = lambda block, _: block,
    **more: Any,
) -> Iterator[Gate]:
    over = None if tls is None else ((lambda at: tls[0].replace("{at}", at)), tls[1])
    found = Gate(server, lambda at: url.replace("{at}", at), read, timeout, over, change, **more)
    try:
        yield found
    finally:
        found.stop()


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


class Console:
    """Who reads a process's standard output: a pipe, which breaks when its reader goes, and fills up when nobody reads."""

    def __init__(self) -> None:
        self.url = "stdout:?timeout=2s"
        self.lines: list[bytes] = []
        self.old: list[TextIO] = []
        self.start()

    def make(self, url: str) -> StdoutSink:
        """A sink whose process has this pipe as its standard output; the kit itself listens to the real one."""
        console = self

        class Piped(StdoutSink):
            def send(self, batch):
                with contextlib.redirect_stdout(console.stream):
                    return super().send(batch)

            def probe(self) -> str:
                with contextlib.redirect_stdout(console.stream):
                    return super().probe()

        return Piped(schemes.read("out", url, "GUARDRAIL_SINK_OUT")[0])

    def received(self) -> list[bytes]:
        with contextlib.suppress(BlockingIOError):
            while block := os.read(self.end, 1_000_000):
                self.lines += filter(None, block.split(b"\n"))
        return list(self.lines)

    def holds(self, body: bytes, item: Item) -> bool:
        return item.line in body

    def behave(self, how: str) -> bool:
        if how not in {"ok", "slow"}:
            return False
        self.received()
        self.url = "stdout:?timeout=0.3s" if how == "slow" else "stdout:?timeout=2s"
        if how == "slow":
            os.set_blocking(self.stream.fileno(), False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(self.stream.fileno(), b"\n" * 4_096)
            os.set_blocking(self.stream.fileno(), True)
        return True

    def start(self) -> None:
        self.end, write = os.pipe()
        os.set_blocking(self.end, False)
        self.stream = os.fdopen(write, "w")

    def stop(self) -> None:
        """The reader goes: whoever writes next finds the pipe broken."""
        self.received()
        os.close(self.end)
        self.old.append(self.stream)

    def close(self) -> None:
        self.stop()
        for each in self.old:
            with contextlib.suppress(BrokenPipeError):
                each.close()  # what a broken pipe did not take stands in it


class Indexers:
    """What Splunk says of what was sent, with acknowledgement: https://docs.splunk.com/Documentation/Splunk/latest/Data/AboutHECIDXAck.

    Ids count up in each channel; "false" is the word for unknown and not yet; what was told to be indexed is forgotten.
    """

    PATHS = ("/services/collector/event", "/services/collector/ack")

    def __init__(self) -> None:
        self.next: dict[str, Iterator[int]] = {}
        self.asked: dict[tuple[str, int], int] = {}

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        channel = headers.get("X-Splunk-Request-Channel")
        if channel is None:
            return b'{"text":"Data channel is missing","code":10}'
        if path == self.PATHS[0]:
            number = next(self.next.setdefault(channel, itertools.count()))
            self.asked[channel, number] = 0
            return b'{"text":"Success","code":0,"ackId":%d}' % number
        return orjson.dumps({"acks": {str(each): self.indexed(channel, each) for each in orjson.loads(body)["acks"]}})

    def indexed(self, channel: str, number: int) -> bool:
        """Not yet at the first question."""
        if (channel, number) not in self.asked:
            return False
        self.asked[channel, number] += 1
        if self.asked[channel, number] == 1:
            return False
        del self.asked[channel, number]
        return True


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

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


_CLUSTER = """
import ctypes, sys
import confluent_kafka

library = ctypes.CDLL(next(line.split()[-1] for line in open("/proc/self/maps") if "librdkafka" in line))
for name in ("rd_kafka_new", "rd_kafka_conf_new", "rd_kafka_mock_cluster_new"):
    getattr(library, name).restype = ctypes.c_void_p
library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
text = ctypes.create_string_buffer(200)
client = ctypes.c_void_p(library.rd_kafka_new(0, ctypes.c_void_p(library.rd_kafka_conf_new()), text, 200))
cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(client, 1))
print(library.rd_kafka_mock_cluster_bootstraps(cluster).decode(), flush=True)
for line in sys.stdin:  # the error that the next many requests to produce are answered with; 0 for none
    library.rd_kafka_mock_clear_request_errors(cluster, 0)
    if int(line):
        errors = (ctypes.c_int * 100)(*[int(line)] * 100)
        library.rd_kafka_mock_push_request_errors_array(cluster, 0, 100, errors)
    print("done", flush=True)
"""


class Cluster:
    """librdkafka's own broker for tests, which answers with errors when it is told to, behind a gate.

    Python's client can start it and no more, so its errors are set through the library itself, in a process of its own.
    """

    ERRORS: Mapping[str, int] = {"401": 31, "403": 29, "413": 10}  # CLUSTER_…, TOPIC_AUTHORIZATION_FAILED, MSG_SIZE_TOO_LARGE

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.at = self.said()
        self.port = int(self.at.rpartition(":")[2])
        self.got: list[bytes] = []
        self.consumer = Consumer(
            {
                "bootstrap.servers": self.at,
                "group.id": "kit",
                "log_level": 0,
                "allow.auto.create.topics": True,
                "fetch.wait.max.ms": 10,
            }
        )
        while self.consumer.list_topics("kit", timeout=10).topics["kit"].error is not None:  # the first question makes it
            time.sleep(0.01)
        self.places: dict[int, int] = {}

    def said(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def fail(self, code: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{code}\n")
        self.process.stdin.flush()
        assert self.said() == "done"

    def read(self) -> list[bytes]:
        """What the topic has, partition by partition; each lane has one."""
        for number in range(4):
            partition = TopicPartition("kit", number)
            _, end = self.consumer.get_watermark_offsets(partition, timeout=5)
            begin = self.places.get(number, 0)
            if end > begin:
                self.consumer.assign([TopicPartition("kit", number, begin)])
                while self.places.get(number, 0) < end:
                    message = self.consumer.poll(5)
                    assert message is not None, "the broker does not give what it has"
                    if message.error() is None:
                        self.got.append(message.value())
                        self.places[number] = message.offset() + 1
        return list(self.got)

    def change(self, block: bytes, port: int) -> bytes:
        """Brokers tell clients where to come to: it is to be the gate. A host and its port stand side by side, of fixed length."""
        host = b"127.0.0.1"
        return block.replace(host + struct.pack(">i", self.port), host + struct.pack(">i", port))

    def end(self) -> None:
        self.consumer.close()
        self.process.kill()
        self.process.communicate()
