"""`guardrail sink` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardrail import flush, settings, shutdown
from guardrail.delivery.keeping import FileKeeping, Letter, State
from guardrail.ledger import writer


@pytest.fixture
def arrived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a sink named `out`."""
    path = tmp_path / "out.jsonl"
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{path}")
    settings.reset()
    return path


def record(many: int) -> None:
    for number in range(many):
        writer.event("ticket", guard="g", fields={"number": number})
    assert flush(5)


def test_status_shows_what_is_behind_and_why(home, run, arrived):
    """Nothing is behind; then a sink that fails, with its reason and exit code 1."""
    record(3)
    done = run("sink", "status", "--json")
    assert done.exit_code == 0
    assert json.loads(done.output)["out"] | {"state": None} == {"behind": 0, "oldest": 0.0, "dead": 0, "state": None}
    assert shutdown(5)  # nobody serves it any more
    keeping = FileKeeping(home, "out")
    (lane,) = keeping.positions()
    keeping.save({lane: 1})
    keeping.tell(State(breaker="open", failures=7, problem="it refuses", delivered=1))
    done = run("sink", "status")
    assert done.exit_code == 1
    assert "it refuses" in done.output
    assert "open" in done.output
    said = json.loads(run("sink", "status", "--json").output)["out"]
    assert said["behind"] >= 3
    assert said["oldest"] >= 0


def test_a_sink_is_proven_by_a_round_trip(run, arrived, monkeypatch, tmp_path):
    """A labelled line arrives; one that cannot take it is exit code 1."""
    assert "takes a test line" in run("sink", "test", "out").output
    assert json.loads(arrived.read_text())["event"] == "test"
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{tmp_path}/missing/x")
    settings.reset()
    done = run("sink", "test", "out")
    assert done.exit_code == 1
    assert "No such file" in done.output


def test_dead_letters_are_listed_and_sent_again(home, run, arrived):
    """What arrives is forgotten, what is no longer in the ledger is counted."""
    record(3)
    keeping = FileKeeping(home, "out")
    assert "no dead letters" in run("sink", "dead", "out").output
    (lane,) = keeping.positions()
    keeping.bury([Letter(lane, 2, "it is [red]malformed", 1, 0.0, 1.0), Letter("gone", 1, "old", 1, 0.0, 1.0)])
    shown = run("sink", "dead", "out").output
    assert "it is [red]malformed" in shown
    assert len(json.loads(run("sink", "dead", "out", "--json").output)) == 2
    before = len(arrived.read_text().splitlines())
    done = run("sink", "replay", "out", "--dead")
    assert done.exit_code == 0
    assert "1 arrived, 1 no longer in the ledger" in done.output
    assert len(arrived.read_text().splitlines()) == before + 1
    assert [letter.lane for letter in keeping.dead()] == ["gone"]


def test_a_stretch_of_time_is_sent_again_by_its_route(run, arrived, monkeypatch):
    """The same bytes as the ledger has."""
    record(4)
    monkeypatch.setenv("GUARDRAIL_ROUTE_OUT", "event:ticket")
    settings.reset()
    arrived.unlink()
    done = run("sink", "replay", "out", "--from", "1h", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["arrived"] == 4
    assert [json.loads(line)["number"] for line in arrived.read_text().splitlines()] == [0, 1, 2, 3]


def test_what_is_asked_for_wrongly_is_told(run, arrived):
    """An unknown sink names the nearest; a replay wants to know of what."""
    done = run("sink", "test", "outt")
    assert done.exit_code == 2
    assert "did you mean out?" in done.output
    assert run("sink", "replay", "out").exit_code == 2
    assert run("sink", "replay", "out", "--dead", "--from", "1h").exit_code == 2


def test_without_a_sink_it_says_so(run):
    """And exits with 0: there is nothing wrong."""
    done = run("sink", "status")
    assert done.exit_code == 0
    assert "no sink is configured" in done.output
