"""Sinks: what is durable is sent on by route, and a sink that fails holds nobody up."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest

from guardrail import ConfigError, flush, notices, settings
from guardrail.delivery import courier
from guardrail.delivery.sinks.file import FileSink
from guardrail.delivery.sinks.stdout import StdoutSink
from guardrail.ledger import reader, writer


def record(kind: str, **fields: object) -> None:
    """Record an event and wait until it has been sent on."""
    writer.event(kind, guard="g", fields=fields)
    assert flush(5)


def kinds(path: Path) -> list[str]:
    """Return the kinds of the records in a file."""
    return [orjson.loads(line)["event"] for line in path.read_bytes().splitlines()]


def test_a_file_gets_every_record_as_the_ledger_has_it(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a route a sink gets the same lines, and its file is private."""
    path = tmp_path / "out.jsonl"
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{path}")
    record("ticket", ticket="t-1")
    record("feedback", label="l-1")
    assert [orjson.loads(line) for line in path.read_bytes().splitlines()] == list(reader.read(home))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_route_filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only records that fit the route are sent."""
    path = tmp_path / "out.jsonl"
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{path}")
    monkeypatch.setenv("GUARDRAIL_ROUTE_OUT", "event:ticket,gap")
    record("ticket", ticket="t-1")
    record("feedback", label="l-1")
    assert kinds(path) == ["ticket"]


def test_stdout_gets_json_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The standard output of a container is one record per line."""
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", "stdout:")
    record("ticket", ticket="t-1")
    lines = capsys.readouterr().out.splitlines()
    assert [orjson.loads(line)["event"] for line in lines] == ["config", "ticket"]


def test_a_rotated_file_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After logrotate has moved the file away, later records go to a new one of the same name."""
    path = tmp_path / "out.jsonl"
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{path}")
    record("ticket")
    path.rename(tmp_path / "out.1")
    record("feedback")
    assert kinds(tmp_path / "out.1") == ["config", "ticket"]
    assert kinds(path) == ["feedback"]


def test_a_failing_sink_is_counted_and_holds_up_nobody(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger and the other sinks have every record; the failure is said once and counted."""
    path = tmp_path / "out.jsonl"
    monkeypatch.setenv("GUARDRAIL_SINK_BAD", f"file://{tmp_path}/missing/out.jsonl")
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{path}")
    record("ticket")
    record("feedback")
    assert kinds(path) == ["config", "ticket", "feedback"] == [each["event"] for each in reader.read(home)]
    assert notices.counts()[None, "sink-bad"][0] == 2


def test_sinks_follow_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that is configured away gets no more, and its file is closed."""
    path, other = tmp_path / "out.jsonl", tmp_path / "other.jsonl"
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{path}")
    record("ticket")
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{other}")
    settings.reset()
    record("feedback")
    assert kinds(path) == ["config", "ticket"]
    assert kinds(other) == ["feedback"]


@pytest.mark.parametrize("read", [False, True], ids=["nobody reads", "somebody reads"])
def test_a_pipe_is_no_file_and_holds_up_nobody(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: bool) -> None:
    """Opening a pipe waits for its reader, and writing to one for its room: it is refused, and the ledger goes on."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader_of_pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if read else None
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{path}")
    record("ticket")
    assert [each["event"] for each in reader.read(home)] == ["config", "ticket"]
    assert "no ordinary file" in notices.counts()[None, "sink-out"][1]
    with pytest.raises(ConfigError, match="no ordinary file"):
        FileSink(path).write([b"{}\n"])
    if reader_of_pipe is not None:
        os.close(reader_of_pipe)


def test_a_sink_that_hangs_delays_neither_the_ledger_nor_the_others(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a thread of its own and a bounded hand-over; what finds no room is counted, and the ledger has it."""
    goes_on = threading.Event()
    got: list[bytes] = []

    def hang(_: StdoutSink, lines: list[bytes]) -> None:
        goes_on.wait(20)
        got.extend(lines)

    path = tmp_path / "out.jsonl"
    monkeypatch.setattr(StdoutSink, "write", hang)
    monkeypatch.setattr(courier, "CAPACITY", 4)
    monkeypatch.setenv("GUARDRAIL_SINK_SLOW", "stdout:")
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{path}")
    try:
        for _ in range(6):
            writer.event("ticket", guard="g", fields={})
            assert writer.flush(5)
        assert not flush(0.05)
        assert [each["event"] for each in reader.read(home)] == ["config", *["ticket"] * 6]
    finally:
        goes_on.set()
    assert flush(5)
    assert kinds(path)[0] == "config"
    assert [orjson.loads(line)["event"] for line in got] == ["config", *["ticket"] * 3]
    assert notices.counts()[None, "sink-slow-full"][0] == 3


def test_what_the_end_of_a_process_leaves_reaches_the_sink(tmp_path: Path) -> None:
    """A short program writes its last records as it ends, when no thread can be started any more."""
    path = tmp_path / "out.jsonl"
    program = "from guardrail import guarded; guarded(lambda x: x, name='one')(1)"
    environment = {**os.environ, "GUARDRAIL_SINK_OUT": f"file://{path}", "GUARDRAIL_HOME": str(tmp_path / "own")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=60)
    assert "call" in kinds(path)
