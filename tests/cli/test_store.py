"""`guardrail store` and what of `guardrail audit` speaks to a database, on a real server."""

from __future__ import annotations

import json
import sys

import psycopg
import pytest
from typer.testing import CliRunner

import guardrail
from guardrail import guarded
from guardrail.cli.app import build
from guardrail.ledger import reader
from guardrail.testing import fresh

SECRET = "hunter2"


@pytest.fixture
def url(postgres_server):
    return postgres_server.database().replace("guardrail@", f"guardrail:{SECRET}@")


@pytest.fixture
def use(url, monkeypatch):
    monkeypatch.setenv("GUARDRAIL_SERVICE", "tests")
    monkeypatch.setenv("GUARDRAIL_DATABASE_URL", url)
    guardrail.settings.reset()


def run(*words):
    done = CliRunner().invoke(build(), list(words))
    assert SECRET not in done.output
    return done


@guarded(name="loans", version="1")
def predict(x: int) -> int:
    return x + 1


def test_without_a_database_it_says_what_to_set():
    """Nothing is accepted and ignored."""
    for words in (("store", "migrate"), ("store", "replay"), ("audit", "export-files", "x")):
        done = run(*words)
        assert done.exit_code == 2
        assert "GUARDRAIL" in done.output


@pytest.mark.usefixtures("use")
def test_the_whole_way(url, tmp_path, home):
    """Refused before it is migrated; then records, verified by URL or setting, shown, exported, and every reading recorded."""
    done = run("audit", "verify")
    assert done.exit_code == 5
    assert "guardrail store migrate" in done.output
    assert "revision 0004" in run("store", "migrate").output
    assert "already" in run("store", "migrate").output
    predict(1)
    assert guardrail.flush(5)
    assert "nothing waits" in run("store", "replay").output
    key = json.loads(run("audit", "key", "--json").output)
    guardrail.shutdown(5)
    assert run("audit", "verify").exit_code == 0
    assert run("audit", "verify", url, "--key", key["vkey"]).exit_code == 0
    assert "proven" in run("audit", "verify", url).output
    out = run("audit", "export-files", str(tmp_path / "out"), "--json")
    assert json.loads(out.stdout)["lanes"] == 1
    assert run("audit", "verify", str(tmp_path / "out"), "--key", key["vkey"]).exit_code == 0
    assert "loans" in run("tail").output
    assert run("audit", "search", "--guard", "loans", "--json").exit_code == 0
    found = next(reader.read(event="call"))
    assert run("show", found["id"]).exit_code == 0
    assert run("audit", "prove", found["id"]).exit_code == 0
    said = run("doctor").output
    assert "answers, PostgreSQL" in said
    assert "may change and delete" in said
    assert run("audit", "rotate").exit_code == 0
    guardrail.shutdown(5)
    assert run("audit", "verify").exit_code == 0
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT record ->> 'how' FROM guardrail_ledger WHERE record ->> 'event' = 'read'").fetchall()
    assert {how for (how,) in rows} >= {"tail", "search", "show", "export"}
    assert not (home / "ledger").exists()


def test_a_missing_extra_is_named(monkeypatch):
    """When the setting is read."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with fresh(), pytest.raises(guardrail.ConfigError, match=r"guardrail-sdk\[postgres\]"):
        guardrail.configure(service="x", database_url="postgresql://h/db")
