"""`guardrail tail`, `show` and `would` over records that were really written."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import Result

from guardrail import call as calls
from guardrail import decide, guarded
from guardrail.call import decision_id
from guardrail.ledger import writer
from guardrail.ledger.entry import Entry

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def ledger(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    yield
    writer.shutdown(5)


def make_plan(**facts: Any) -> Any:
    audit = SimpleNamespace(durability="buffered", inputs="digest", output="auto", required=False)
    plain = {
        "name": "credit:predict", "version": "3.2.0", "mode": "enforce", "digest": "plan-1", "kind": "model", "tags": {}, "cache_words": {},
        "budget_ms": 250.0, "threshold": 0.8, "schema": "applicant: Applicant", "returns_prediction": False,
    }  # fmt: skip
    return SimpleNamespace(audit=audit, describe=lambda: {"budget": "250ms", "retry": {"attempts": 2}}, **(plain | facts))


def made(plan: Any = None, **parts: Any) -> str:
    """Record a call and return its id."""
    plain = {
        "seq": calls.next_seq(), "at": time.time(), "took": 0.0123, "plan": plan or make_plan(), "outcome": "answered",
        "snapshot": b"(x)", "output": 0.5, "confidence": 0.93, "attempts": 1, "extra": None,
    }  # fmt: skip
    entry = Entry(**(plain | parts))
    writer.push(entry)
    assert writer.flush(5)
    return decision_id(entry.at, entry.seq)


def test_tail_shows_one_line_per_decision(run: Run) -> None:
    """Time, outcome, guard, duration, answer, confidence and id, the latest last."""
    ids = [made(), made(outcome="refused", output=None, extra={"error": ValueError("secret"), "policy": "validation"})]
    lines = run("tail").stdout.splitlines()
    assert len(lines) == 2
    for words in ("answered", "credit:predict", "12.3 ms", "→ 0.5", "sure 0.93", ids[0]):
        assert words in lines[0]
    for words in ("refused", "ValueError by validation", ids[1]):
        assert words in lines[1]
    assert "secret" not in lines[1]


def test_tail_filters_and_limits(run: Run) -> None:
    """By guard, outcome and kind of event, and only as many as asked for."""
    for at in range(30):
        made(make_plan(name=f"g{at % 3}"), outcome="failed" if at % 2 else "answered")
    writer.event("ticket", guard="g0", fields={"ticket": "t-1", "state": "pending"})
    writer.flush(5)
    assert len(run("tail").stdout.splitlines()) == 20
    assert len(run("tail", "-n", "7").stdout.splitlines()) == 7
    assert len(run("tail", "--guard", "g1", "--guard", "g2", "--outcome", "failed").stdout.splitlines()) == 10
    (line,) = run("tail", "--event", "ticket").stdout.splitlines()
    assert "ticket=t-1" in line
    assert "state=pending" in line


def test_tail_as_json_is_the_record(run: Run) -> None:
    """One JSON document per line, the record as it is."""
    identity = made()
    (line,) = run("tail", "--json").stdout.splitlines()
    record = json.loads(line)
    assert (record["id"], record["output"], record["plan"]) == (identity, {"value": 0.5}, "plan-1")


def test_tail_without_records_says_where_it_looked(run: Run, home: Path) -> None:
    """An empty ledger is no error; the folder is named, since it may be the wrong one."""
    result = run("tail")
    assert result.exit_code == 0
    assert str(home) in result.stdout.replace("\n", "")


def test_tail_follows(home: Path) -> None:
    """With -f, what another process records appears, and Ctrl-C ends it in peace."""
    made()
    # A shell that runs the tests in the background has them ignore Ctrl-C, and what they start inherits that.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from guardrail.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", heeding, "tail", "-f", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            first = json.loads(process.stdout.readline())
            identity = made(outcome="failed", output=None)
            second = json.loads(process.stdout.readline())
            process.send_signal(2)
            assert process.wait(10) == 130
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
    assert first["outcome"] == "answered"
    assert second["id"] == identity


def test_show_tells_the_whole_story(run: Run) -> None:
    """The record, the calls inside, the events that name it or its ticket, and the plan in force."""
    identity = made(
        outcome="deferred", output=None, confidence=0.61,
        extra={"ticket": SimpleNamespace(id="ticket-9"), "business_id": "loan-17", "reasons": ("thin file",), "stages": {"look up": 0.002}},
    )  # fmt: skip
    inner = made(make_plan(name="bureau", digest="plan-2"), extra={"parent": identity})
    made(make_plan(name="stranger"))
    writer.event("ticket", guard="credit:predict", fields={"ticket": "ticket-9", "state": "pending", "decision_id": identity})
    writer.event("decision", guard="credit:predict", fields={"ticket": "ticket-9", "verdict": "approve", "actor": {"id": "ann"}})
    writer.event("feedback", guard="credit:predict", fields={"decision_id": identity, "label": "label-3"})
    writer.flush(5)
    told = run("show", identity).stdout
    for words in (
        identity, "deferred", "thin file", "timings.look up", "loan-17", "within it", inner, "what names it", "state=pending",
        "verdict=approve", "label-3", "the plan in force", "250ms", "retry.attempts",
    ):  # fmt: skip
        assert words in told, words
    assert "stranger" not in told
    document = json.loads(run("show", identity, "--json").stdout)
    assert document["record"]["id"] == identity
    assert [each["id"] for each in document["inner"]] == [inner]
    assert [each["event"] for each in document["events"]] == ["ticket", "decision", "feedback"]
    assert document["plan"] == {"budget": "250ms", "retry": {"attempts": 2}}


def test_show_takes_the_beginning_of_an_id_and_a_business_id(run: Run) -> None:
    """Enough of an id, or the user's own key: then the latest, and the earlier ones are named."""
    old = made(at=time.time() - 3_600, extra={"business_id": "loan-17"})
    new = made(extra={"business_id": "loan-17"})
    assert new in run("show", new[:20]).stdout
    told = json.loads(run("show", "loan-17", "--json").stdout)
    assert (told["record"]["id"], told["others"]) == (new, [old])
    assert "1 earlier" in run("show", "loan-17").stdout


def test_show_takes_a_ticket_as_people_see_it(run: Run) -> None:
    """Its whole id, or its end, as the list of cases prints it; also where the queue has forgotten it."""

    @guarded(name="loans", version="1", confidence=0.8, review="loans")
    def predict(income: float) -> tuple[str, float]:
        return "yes", 0.5

    decision = decide(predict, 5.0)
    assert decision.ticket is not None
    writer.flush(5)
    for part in (decision.ticket.id, decision.ticket.id[-8:]):
        assert json.loads(run("show", part, "--json").stdout)["record"]["id"] == decision.id
    gone = made(outcome="deferred", output=None, extra={"ticket": SimpleNamespace(id="ticket-9")})
    writer.flush(5)
    assert json.loads(run("show", "ticket-9", "--json").stdout)["record"]["id"] == gone


def test_show_of_nothing_is_an_error(run: Run) -> None:
    """An unknown id ends with exit code 1 and says where to look; an ambiguous one asks for more."""
    result = run("show", "nonsense")
    assert result.exit_code == 1
    assert "guardrail tail" in result.stderr
    now = time.time()
    identity = made(at=now)
    made(at=now)
    result = run("show", identity[:15])
    assert result.exit_code == 2
    assert "several records" in result.stderr


def test_hostile_records_cannot_steer_the_terminal(run: Run) -> None:
    """Escape sequences and markup in names, ids and answers are shown harmlessly by both commands."""
    nasty = "\x1b[2J[red]\u202eevil"
    identity = made(make_plan(name=nasty), output=nasty, extra={"business_id": nasty})
    for result in (run("tail"), run("show", identity)):
        assert result.exit_code == 0, result.output
        assert "\x1b[2J" not in result.stdout
        assert "\u202e" not in result.stdout
        assert "[red]" in result.stdout


def observed(*would: str) -> str:
    return made(make_plan(mode="observe", digest="plan-o"), extra={"would": would} if would else None)


def test_would_tells_what_enforcing_would_have_done(run: Run) -> None:
    """Counts, shares, reasons and examples in plain words, out of the calls that were observed."""
    for _ in range(5):
        observed()
    late = observed("budget: late (0.31 s > 0.25 s)")
    for age in (11, 12, 13):
        both = observed(f"validation: refused (age {age}: Input should be greater than 18)")
    last = observed("confidence: deferred (0.62 < 0.8)", "limit: refused")
    made()  # enforced: not counted
    made(make_plan(name="other", mode="observe"), extra={"would": ("limit: refused",)})
    told = run("would", "credit:predict").stdout
    for words in (
        "10 calls were observed", "changed 5 of them (50.0%)", "validation", "would have refused them", "30.0%", "(3)",
        "would have ended them for being late", "0.31 s > 0.25 s", "would have sent them to a person", late, both, last,
    ):  # fmt: skip
        assert words in told, words
    document = json.loads(run("would", "credit:predict", "--json").stdout)
    assert (document["observed"], document["changed"]) == (10, 5)
    first = document["verdicts"][0]
    assert (first["policy"], first["verdict"], first["calls"], first["share"]) == ("validation", "refused", 3, 0.3)
    assert first["details"] == [{"detail": first["details"][0]["detail"], "calls": 3}]
    assert len(first["examples"]) == 3
    assert sum(each["calls"] for each in document["verdicts"]) == 6


def test_would_of_a_guard_that_nothing_would_change(run: Run) -> None:
    """Observed, and enforcing would have changed nothing; or not observed at all, and how to begin."""
    observed()
    assert "changed none of them" in run("would", "credit:predict").stdout
    assert "guardrail mode 'nobody' observe" in run("would", "nobody").stdout


def test_would_looks_back_only_so_far(run: Run) -> None:
    """Calls before `--since` are not counted; something that is no duration is an error."""
    made(make_plan(mode="observe"), at=time.time() - 7_200, extra={"would": ("limit: refused",)})
    observed()
    assert json.loads(run("would", "credit:predict", "--since", "1h", "--json").stdout)["observed"] == 1
    assert json.loads(run("would", "credit:predict", "--since", "3h", "--json").stdout)["observed"] == 2
    assert run("would", "credit:predict", "--since", "yesterday").exit_code == 2
