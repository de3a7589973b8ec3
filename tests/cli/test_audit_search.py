"""`guardrail audit search`, `reindex` and `export`, and the story that `guardrail show` tells, over records really written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from guardrail import Confidence, acting_as, control, decide, flush, guarded, shutdown
from guardrail import review as queue
from guardrail.decision import Prediction
from guardrail.ledger import reader, story, writer

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def ledger(home: Path) -> Iterator[None]:
    yield
    shutdown(5)


@guarded(name="bureau", version="1")
def bureau(income: float) -> float:
    return income / 2


@guarded(name="loans", version="3.2.0", confidence=Confidence(0.8), budget="5s")
def loans(income: float) -> Prediction[str]:
    return Prediction("approve", 0.9 if bureau(income) > 100 else 0.5)


def decided(run: Run) -> tuple[str, str]:
    """Make an answer and a deferred case; return their ids."""
    with acting_as("ann@bank.example"):
        good = decide(loans, 5_000)
    hard = decide(loans, 10)
    assert flush(5)
    return good.id, hard.id


def test_search_finds_and_is_recorded(run: Run, home: Path) -> None:
    """As a table and as JSON, by any filter; one `read` event for each search."""
    good, hard = decided(run)
    told = run("audit", "search", "--guard", "loans", "--actor", "ann@bank.example").stdout
    assert good in told
    assert hard not in told
    for words in ("answered", "loans", "ann@bank.example", "approve"):
        assert words in told
    found = json.loads(run("audit", "search", "--outcome", "deferred", "--json").stdout)
    assert [each["id"] for each in found["records"]] == [hard]
    assert found["more"] is False
    one = json.loads(run("audit", "search", "--event", "call", "-n", "1", "--json").stdout)
    assert len(one["records"]) == 1
    assert one["more"] is True
    assert "No such record" in run("audit", "search", "--business-id", "none").stdout
    reads = [each for each in reader.read(home, event="read") if each["how"] == "search"]
    assert [each["count"] for each in reads] == [1, 1, 1, 0]
    assert reads[0]["filters"] == {"guard": ["loans"], "actor": ["ann@bank.example"]}


def test_search_by_time_and_order(run: Run) -> None:
    """The latest first unless told otherwise; a moment that is none says what to write."""
    decided(run)
    late = json.loads(run("audit", "search", "--event", "call", "--since", "1h", "--json").stdout)["records"]
    early = json.loads(run("audit", "search", "--event", "call", "--since", "1h", "--oldest-first", "--json").stdout)["records"]
    assert [each["id"] for each in late] == [each["id"] for each in early][::-1]
    assert json.loads(run("audit", "search", "--until", "1h", "--json").stdout)["records"] == []
    result = run("audit", "search", "--since", "whenever")
    assert result.exit_code == 2
    assert "2026-01-31" in result.stderr


def test_reindex_makes_the_index_anew(run: Run, home: Path) -> None:
    """Even where it was removed; without a ledger it says so."""
    assert run("audit", "reindex").exit_code == 1
    decided(run)
    run("audit", "search", "--guard", "loans")
    flush(5)
    (home / "ledger" / "index.db").unlink()
    found = json.loads(run("audit", "reindex", "--json").stdout)
    assert found["records"] == len(list(reader.read(home)))
    assert "records are indexed" in run("audit", "reindex").stdout


def test_export_writes_a_file_and_says_its_digest(run: Run, home: Path, tmp_path: Path) -> None:
    """With filters; an existing file needs --force; the event has the same digest."""
    good, hard = decided(run)
    out = tmp_path / "out.jsonl"
    made = json.loads(
        run("audit", "export", "--format", "jsonl", "--out", str(out), "--guard", "loans", "--event", "call", "--json").stdout
    )
    assert [json.loads(each)["id"] for each in out.read_bytes().splitlines()] == [good, hard]
    assert made["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert (made["records"], made["recorded"]) == (2, True)
    again = run("audit", "export", "--format", "ocsf", "--out", str(out))
    assert again.exit_code == 2
    assert "--force" in again.stderr
    told = run("audit", "export", "--format", "ocsf", "--out", str(out), "--force").stdout
    assert hashlib.sha256(out.read_bytes()).hexdigest() in told
    assert run("audit", "export", "--format", "jsonl", "--out", str(tmp_path / "no" / "x")).exit_code == 2
    reads = [each for each in reader.read(home, event="read") if each["how"] == "export"]
    assert [each["form"] for each in reads] == ["jsonl", "ocsf"]


def test_the_whole_story_of_a_decision(run: Run, home: Path, tmp_path: Path) -> None:
    """What it called, the rules then, the switches around it, the person's decision, who read it and where it stands."""
    control.set_mode("loans", "enforce", "ops")
    _, hard = decided(run)
    control.set_mode("loans", "observe", "ops")
    (case,) = queue.Queue("default").list()
    queue.Queue("default").decide(case.ticket.id, "decline", actor="rita", note="no income")
    run("audit", "export", "--format", "jsonl", "--out", str(tmp_path / "all"))
    run("audit", "export", "--format", "jsonl", "--out", str(tmp_path / "other"), "--guard", "bureau")
    flush(5)
    told = json.loads(run("show", hard, "--json").stdout)
    assert told["record"]["id"] == hard
    assert [each["guard"] for each in told["inner"]] == ["bureau"]
    assert told["plan"]["confidence"]
    assert told["config"]["event"] == "config"
    assert "started" in told["process"]
    assert (told["mode"]["before"]["mode"], told["mode"]["after"]["mode"]) == ("enforce", "observe")
    assert [each["event"] for each in told["events"] if each["event"] == "decision"] == ["decision"]
    assert told["ticket"]["state"] == "decided"
    assert told["ticket"]["steps"][0]["actor"]["id"] == "rita"
    assert "arguments" not in told["ticket"]
    assert [each["how"] for each in told["reads"]] == ["export"]
    assert told["lane"]
    assert told["seq"] >= 1
    inner = json.loads(run("show", told["inner"][0]["id"], "--json").stdout)
    assert inner["parent"]["id"] == hard
    again = run("show", hard).stdout
    for words in (
        "within it",
        "the plan in force",
        "rita",
        "no income",
        "switched before",
        "who has read it",
        "how=show",
        "its process began",
    ):
        assert words in again, words


def test_the_story_says_whether_the_record_is_proven(run: Run, home: Path) -> None:
    """Once a checkpoint covers it; a record that was changed afterwards is not what was signed."""
    good, _ = decided(run)
    shutdown(5)  # closes the lane, with a checkpoint
    found = story.tell(good, home=home)
    assert found is not None
    assert found.proof.state == "proven"
    assert found.proof.key_id
    assert "proven" in run("show", good).stdout
    shutdown(5)
    (path,) = (home / "ledger" / found.lane).glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(b'"value":"approve"', b'"value":"decline"'))
    changed = story.tell(good, home=home)
    assert changed is not None
    assert changed.record["output"]["value"] == "decline"
    assert changed.proof.state == "altered"
    assert "altered" in run("show", good).stdout


def test_a_story_of_a_record_beyond_the_checkpoints(home: Path) -> None:
    """It is not proven yet, which is no harm."""
    writer.event("incident", guard="g", fields={"what": "x"})
    flush(5)
    (record,) = reader.read(home, event="incident")
    found = story.tell(record["id"])
    assert found is not None
    assert found.proof.state in {"pending", "proven"}


def test_a_ledger_that_takes_no_records_is_read_all_the_same(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be recorded is said on stderr."""
    good, _ = decided(run)

    def refused(*_: Any, **__: Any) -> str:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(writer, "event", refused)
    for words in (("tail",), ("show", good), ("audit", "search", "--guard", "loans")):
        result = run(*words)
        assert result.exit_code == 0
        assert good in result.stdout
        assert "could not be recorded" in result.stderr


def test_tail_is_recorded_once(run: Run, home: Path) -> None:
    """One event for the command, whatever it shows; an empty home stays empty."""
    assert run("tail").exit_code == 0
    assert not (home / "ledger").exists()
    decided(run)
    run("tail", "-n", "3")
    (event,) = [each for each in reader.read(home, event="read") if each["how"] == "tail"]
    assert event["count"] == 3


def test_hostile_records_cannot_steer_the_terminal(run: Run, home: Path) -> None:
    """Nor does a search show escape sequences, or take names for markup."""
    nasty = "\x1b[2J[red]\u202eevil"
    writer.event("incident", guard=nasty, fields={"what": nasty})
    flush(5)
    told = run("audit", "search", "--event", "incident").stdout
    assert "\x1b[2J" not in told
    assert "\u202e" not in told
    assert "[red]" in told
