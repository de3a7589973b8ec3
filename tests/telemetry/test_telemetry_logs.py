"""The line for people."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import structlog
from traced_calls import make_entry, make_plan

from guardrail import settings
from guardrail.ledger import writer
from guardrail.telemetry import logs


def test_there_is_no_line_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """By default a call prints nothing at all."""
    writer.push(make_entry(outcome="failed", extra={"error": ValueError("secret")}))
    assert writer.flush(5)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("asked", "lines"), [("all", 3), ("problems", 2)])
def test_the_setting_says_which_calls(
    asked: str, lines: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line per call on stderr, for all or for those without an ordinary answer."""
    monkeypatch.setenv("GUARDRAIL_LOG", asked)
    settings.reset()
    writer.push(make_entry())
    writer.push(make_entry(outcome="deferred", extra={"ticket": SimpleNamespace(id="t-1")}))
    writer.push(make_entry(outcome="late", extra={"error": TimeoutError("secret"), "policy": "budget"}))
    assert writer.flush(5)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == lines
    assert err.count("credit:predict") == lines
    assert "ticket=t-1" in err
    assert "policy=budget" in err
    assert "secret" not in err


def test_hostile_text_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and line breaks in names and ids become question marks."""
    logs.take([make_entry(plan=make_plan(name="a\x1b[2J\nb\u202e"), extra={"business_id": "x\ny"})], everything=True)
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b[2J" not in err
    assert "a?[2J?b?" in err
    assert "business_id=x?y" in err


def test_the_applications_structlog_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Our lines neither configure structlog nor follow the application's configuration."""
    structlog.configure(processors=[lambda *_: pytest.fail("ours went through the application's processors")])
    try:
        logs.take([make_entry()], everything=True)
        assert structlog.is_configured()
        assert "answered" in capsys.readouterr().err
    finally:
        structlog.reset_defaults()
    logs.take([make_entry()], everything=True)
    assert not structlog.is_configured()
