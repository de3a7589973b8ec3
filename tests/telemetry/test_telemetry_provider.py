"""OpenTelemetry set up by us: only where the application has not and asks, for each process, and never in the way of an exit."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector import Collector, collecting
from opentelemetry import trace

from guardrail import notices
from guardrail.ledger import reader
from guardrail.telemetry import provider

BEGIN = """
import os, sys, time
from guardrail import guarded, flush
from opentelemetry import trace

@guarded(name="score", version="1")
def score(x: int) -> int:
    with trace.get_tracer("app").start_as_current_span("look up"):
        return x

def traced() -> bool:
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)

def until_traced() -> None:
    for _ in range(500):
        score(0)
        if traced():
            return
        time.sleep(0.02)
    sys.exit("nobody set a provider")
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector of our own."""
    with collecting() as found:
        yield found


def run(program: str, *, home: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, in a home."""
    return subprocess.run(
        [sys.executable, "-c", BEGIN + textwrap.dedent(program)], env={**os.environ, **environ}, cwd=home.parent,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "environ", "traces", "metrics"),
    [
        ("auto", {}, [], []),
        ("auto", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, ["otlp"], ["otlp"]),
        ("auto", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318"}, ["otlp"], []),
        ("auto", {"OTEL_TRACES_EXPORTER": "otlp"}, ["otlp"], []),
        ("auto", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, [], ["otlp"]),
        ("auto", {"OTEL_METRICS_EXPORTER": " console, OTLP "}, [], ["console", "otlp"]),
        ("auto", {"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, [], []),
        ("auto", {"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, [], []),
        ("otlp", {}, ["otlp"], ["otlp"]),
        ("otlp", {"OTEL_METRICS_EXPORTER": "none"}, ["otlp"], []),
        ("otlp", {"OTEL_SDK_DISABLED": "true"}, [], []),
        ("off", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, [], []),
    ],
)
def test_what_is_asked_for(asked: str, environ: dict[str, str], traces: list[str], metrics: list[str]) -> None:
    """By the standard variables, or by the setting; each signal by itself."""
    assert provider.exporters("traces", asked, environ) == traces
    assert provider.exporters("metrics", asked, environ) == metrics


def test_an_exporter_of_another_kind_is_left_to_the_application() -> None:
    """It is said once, and nothing is set up for it."""
    assert provider.exporters("traces", "auto", {"OTEL_TRACES_EXPORTER": "zipkin"}) == []
    assert (None, "otlp-traces") in notices.counts()


@pytest.mark.parametrize(
    ("protocol", "named"), [("", r"guardrail-sdk\[otlp\]"), ("grpc", "opentelemetry-exporter-otlp-proto-grpc")]
)
def test_the_missing_library_is_named(protocol: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls go on without spans, and what to install is said once; nothing is half set up."""
    way = protocol or "http"
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setitem(sys.modules, f"opentelemetry.exporter.otlp.proto.{way}.trace_exporter", None)
    threads = threading.active_count()
    provider.configure_if_asked()
    _, said = notices.counts()[None, "otlp"]
    assert re.search(named, said)
    assert trace._TRACER_PROVIDER is None
    assert threading.active_count() == threads


def test_spans_can_be_looked_at_on_the_console(home: Path) -> None:
    """The SDK's exporter for people, asked for by its variable."""
    done = run("until_traced()\nscore(1)\n", home=home, OTEL_TRACES_EXPORTER="console")
    assert '"guardrail.outcome": "answered"' in done.stdout


def test_spans_and_metrics_reach_the_collector_without_a_line_of_code(home: Path, collector: Collector) -> None:
    """With the endpoint alone: parents and children, the service's name, counts; handed over at exit."""
    done = run(
        "until_traced()\nfor x in range(3): score(x)\n",
        home=home,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
        GUARDRAIL_SERVICE="loans",
    )
    assert done.returncode == 0, done.stderr
    guards = collector.named("score")
    assert len(guards) >= 3
    assert {child.parent for child in collector.named("look up")} >= {guard.span_id for guard in guards}
    assert {span.resource["service.name"] for span in collector.spans} == {"loans"}
    sent = {name: metric for name, metric, _ in collector.metrics}
    assert sum(int(point.as_int) for point in sent["guardrail.calls"].sum.data_points) >= 4
    assert "guardrail.duration" in sent


def test_a_provider_of_the_applications_is_left_alone(home: Path, collector: Collector) -> None:
    """It stays the one in force, and no exporter is added to it."""
    done = run(
        """
        from opentelemetry.sdk.trace import TracerProvider
        mine = TracerProvider(shutdown_on_exit=False)
        trace.set_tracer_provider(mine)
        score(1); flush(5)
        assert trace.get_tracer_provider() is mine and not mine._active_span_processor._span_processors
        """,
        home=home, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, OTEL_METRICS_EXPORTER="none",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not collector.spans


def test_without_being_asked_the_sdk_is_not_even_loaded(home: Path) -> None:
    """No provider, no exporter, no module of the SDK, no library for HTTP."""
    done = run(
        """
        score(1); flush(5)
        assert not traced()
        assert not [name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "requests"))]
        """,
        home=home,
    )
    assert done.returncode == 0, done.stderr


def test_the_setting_rules_over_the_variables(home: Path) -> None:
    """With `telemetry="off"` nothing is set up, whatever OTEL_* says."""
    environ = {"GUARDRAIL_TELEMETRY": "off", "OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"}
    done = run("score(1); flush(5); assert not traced()", home=home, **environ)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["refuses", "hangs"])
def test_a_dead_collector_delays_the_exit_by_little_and_costs_no_record(home: Path, kind: str) -> None:
    """The process is gone within 3 s of its last statement, and every call is in the ledger."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == "hangs":
            taken.listen(50)  # connections are taken, and nobody answers
        done = run(
            "until_traced()\nfor x in range(300): score(x)\nprint(time.time())\n",
            home=home, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{taken.getsockname()[1]}",
        )  # fmt: skip
        gone = time.time()
    assert done.returncode == 0, done.stderr
    assert gone - float(done.stdout) < 3.0
    assert sum(1 for record in reader.read(home) if record["event"] == "call") >= 301


@pytest.mark.parametrize("way", ["os.fork", "multiprocessing"])
def test_a_forked_child_exports_its_own_spans(home: Path, collector: Collector, way: str) -> None:
    """Over a connection of its own, though its parent had one open, and although `multiprocessing` ends children abruptly."""
    begin = {
        "os.fork": "pid = os.fork()\nif pid: os.waitpid(pid, 0)\nelse: score(7); sys.exit()",
        "multiprocessing": "import multiprocessing\nchild = multiprocessing.get_context('fork').Process(target=score, args=(7,))\n"
        "child.start(); child.join(); assert child.exitcode == 0",
    }[way]
    done = run(
        f"until_traced()\nscore(1); flush(5); trace.get_tracer_provider().force_flush()\n{begin}\nscore(2)\n",
        home=home, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    by_process: dict[str, list[bytes]] = {}
    for span in collector.named("score"):
        by_process.setdefault(span.resource["service.instance.id"], []).append(span.span_id)
    assert len(by_process) == 2
    assert min(map(len, by_process.values())) == 1
    assert len({each for ids in by_process.values() for each in ids}) == sum(map(len, by_process.values()))


@pytest.mark.slow
def test_workers_of_a_preloaded_gunicorn_export_their_own_spans(home: Path, collector: Collector) -> None:
    """The application is loaded, and calls are made, before the workers are forked; each of them exports all the same."""
    (home.parent / "service.py").write_text(
        BEGIN
        + "until_traced()\ndef app(environ, start):\n    score(1)\n    start('200 OK', [])\n    return [b'%d' % os.getpid()]\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind", f"127.0.0.1:{port}", "service:app"]
    environ = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    with (home.parent / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environ, cwd=home.parent, stdout=log, stderr=log)
    try:
        answered: set[bytes] = set()
        until = time.monotonic() + 30
        while len(answered) < 2:
            assert time.monotonic() < until, (home.parent / "log").read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    answered.add(answer.read())
            except OSError:
                time.sleep(0.05)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    assert len({span.resource["service.instance.id"] for span in collector.named("score")}) >= 2
    collector.wait(lambda seen: len({span.resource["service.instance.id"] for span in seen.named("score")}) >= 2)
