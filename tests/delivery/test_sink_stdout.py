"""The sink that is the standard output: bytes as stored, lines for people that nobody can forge, a reader that is gone."""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import threading

import orjson
import pytest
import structlog
from backends import items, kinds, quickly, sink

from guardrail.delivery import Item
from guardrail.errors import ConfigError

HOSTILE = "a\nevent='call' guard='forged'\r\x1b[2J\x9b31m\u202e\u2028\x00\x7f"


def shown(line: str) -> dict[str, object]:
    """Return what a line says, read by its quotes."""
    found = re.findall(r"""(\w+)=('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s'"]+)""", line)
    assert " ".join(f"{key}={value}" for key, value in found) == line
    assert len(dict(found)) == len(found)
    return {key: ast.literal_eval(value) for key, value in found}


def test_json_is_what_the_ledger_has(capsysbinary):
    """Each process its own, byte by byte and in order; the probe is a line that says what it is."""
    found = sink("stdout:")
    assert found.caps.per_process
    batch = items(3) + [Item("b", 1, '{"text":"ä\u20ac"}'.encode()), Item("b", 2, b"no json \xff any more")]
    assert kinds(found.send(batch)) == ["ok"] * 5
    assert capsysbinary.readouterr().out == b"".join(item.line + b"\n" for item in batch)
    assert found.probe() == "it takes a test line"
    assert orjson.loads(capsysbinary.readouterr().out) == {"event": "test", "sink": "out", "text": "a test line of guardrail"}


def test_a_stream_of_another_encoding_holds_nothing_up(monkeypatch):
    """As under LC_ALL=C: a record with a word that ASCII has not would be tried for ever."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    sys.stdout.write("of the application\n")
    batch = [Item("b", 1, '{"text":"ä\u20ac"}'.encode())]
    assert kinds(sink("stdout:").send(batch)) == ["ok"]
    assert raw.getvalue() == b"of the application\n" + batch[0].line + b"\n"


def test_a_stream_that_takes_text_alone_gets_text(monkeypatch):
    """As a notebook's does."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    assert kinds(sink("stdout:").send([Item("b", 1, '{"text":"ä"}'.encode())])) == ["ok"]
    assert stream.getvalue() == '{"text":"ä"}\n'


def test_a_line_for_people_says_the_little_that_may_be_said(capsys):
    """What happened, to which guard, how sure it was, how long it took and why; no input, no output, no sentence."""
    batch = items(
        1, id="0197-1", confidence=0.25, timings={"total": 0.01234}, outcome="deferred", reasons=["low_confidence", "Jane Q. Public"],
        error={"type": "KeyError", "policy": "retry"}, input={"value": "Jane Q. Public"}, output={"value": "Jane Q. Public"},
    )  # fmt: skip
    assert kinds(sink("stdout:?format=text").send(batch)) == ["ok"]
    assert capsys.readouterr().out == (
        "ts='2026-01-01T00:00:00.000001Z' event='call' guard='loans' outcome='deferred' confidence=0.25 ms=12.3"
        " why='KeyError by retry, low_confidence' id='0197-1'\n"
    )
    assert not structlog.is_configured()


def test_a_record_forges_no_line_and_steers_no_terminal(capsys):
    """Whatever its fields hold, and whatever they are; what is no record any more is a line, too."""
    fields = ("id", "guard", "event", "outcome", "ts", "stop_reason", "confidence")
    batch = items(
        1, reasons=[HOSTILE], error={"type": HOSTILE, "policy": HOSTILE}, timings=HOSTILE, **dict.fromkeys(fields, HOSTILE)
    )
    batch += items(1, **{key: [HOSTILE] for key in fields}, timings={"total": HOSTILE}, reasons=HOSTILE, error=HOSTILE)
    batch += items(1, guard="a\\' event='call' \ue000\u00ad")
    batch += [Item("b", 1, b"[1]"), Item("b", 2, b"no json \xff"), Item("b", 3, b"{}")]
    assert kinds(sink("stdout:?format=text").send(batch)) == ["ok"] * len(batch)
    out = capsys.readouterr().out
    assert all(each == "\n" or each.isprintable() for each in out)
    lines = [shown(line) for line in out[:-1].split("\n")]
    assert [line["id"] for line in lines] == [item.id for item in batch]
    assert [line.get("event") for line in lines] == [None, None, "call", None, None, None]
    assert lines[0]["guard"] == "a event='call' guard='forged'  [2J 31m    "


def test_a_pipe_that_nobody_reads_holds_up_nobody(monkeypatch):
    """What was written counts as arrived, what was not is sent again: read to the end, each line stands there once and whole."""
    near, far = os.pipe()
    monkeypatch.setattr(sys, "stdout", os.fdopen(far, "w"))
    found = sink("stdout:?timeout=0.1s")
    batch = items(1_000, text="x" * 200)
    results = quickly(found, batch, seconds=3.0)
    written = kinds(results).count("ok")
    assert 0 < written < 1_000
    assert kinds(results) == ["ok"] * written + ["retry"] * (1_000 - written)
    assert results[-1].reason == "nobody reads the standard output"
    with pytest.raises(OSError, match="nobody reads"):
        found.probe()
    got: list[bytes] = []

    def read() -> None:
        with os.fdopen(near, "rb") as pipe:
            got.extend(pipe)

    reader = threading.Thread(target=read)
    reader.start()
    while left := [item for item, result in zip(batch, results, strict=True) if result.kind != "ok"]:
        results = [result for result in results if result.kind == "ok"] + found.send(left)
    sys.stdout.close()
    reader.join(10)
    assert got == [item.line + b"\n" for item in batch]


def test_a_stream_that_is_gone_is_told(monkeypatch):
    """Closed by the application, by the reader, or never there."""
    found = sink("stdout:?timeout=0.1s")
    monkeypatch.setattr(sys, "stdout", None)
    (result,) = found.send(items(1))
    assert (result.kind, result.reason) == ("retry", "this process has no standard output")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    with pytest.raises(ValueError, match="closed"):
        found.send(items(1))
    near, far = os.pipe()
    os.close(near)
    broken = io.TextIOWrapper(os.fdopen(far, "wb", buffering=0), write_through=True)
    monkeypatch.setattr(sys, "stdout", broken)
    with pytest.raises(BrokenPipeError):
        found.send(items(1))
    broken.detach().close()


@pytest.mark.parametrize("url", ["stdout://host", "stdout:/path", "stdout:?format=xml", "stdout:?sync=true"])
def test_a_url_that_names_more_is_refused(url):
    """When the settings are read."""
    with pytest.raises(ConfigError, match="GUARDRAIL_SINK_OUT"):
        sink(url)
