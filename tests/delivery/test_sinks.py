"""The two sinks that need nobody else: a file, and the standard output."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from guardrail import ConfigError, flush, notices, settings
from guardrail.delivery import schemes
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
    for kind in ("ticket", "feedback"):
        writer.event(kind, guard="g", fields={})
    assert not flush(0.5)
    assert kinds(path) == ["config", "ticket", "feedback"] == [each["event"] for each in reader.read(home)]
    assert "No such file" in notices.counts()[None, "sink-bad"][1]


def test_sinks_follow_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that is configured away gets no more, and its file is closed."""
    path, other = tmp_path / "out.jsonl", tmp_path / "other.jsonl"
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{path}")
    record("ticket")
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{other}")
    settings.reset()
    record("feedback")
    assert kinds(path) == ["config", "ticket"]
    assert kinds(other) == ["feedback"]  # the sink is known by its name: it goes on where it was


@pytest.mark.parametrize("read", [False, True], ids=["nobody reads", "somebody reads"])
def test_a_pipe_is_no_file_and_holds_up_nobody(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: bool) -> None:
    """Opening a pipe waits for its reader, and writing to one for its room: it is refused, and the ledger goes on."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader_of_pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if read else None
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{path}")
    writer.event("ticket", guard="g", fields={})
    assert not flush(0.5)
    assert [each["event"] for each in reader.read(home)] == ["config", "ticket"]
    assert "no ordinary file" in notices.counts()[None, "sink-out"][1]
    where, kind = schemes.read("out", f"file://{path}", "GUARDRAIL_SINK_OUT")
    with pytest.raises(ConfigError, match="no ordinary file"):
        kind(where).probe()
    if reader_of_pipe is not None:
        os.close(reader_of_pipe)
