"""`guardrail review`: what a person at a terminal sees and does; whatever is shown may be hostile."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from guardrail import review as queue
from guardrail.ledger import writer
from guardrail.review.case import Case
from guardrail.store import engine

Run = Callable[..., Result]
HOSTILE = "\x1b[2J\x9b31m[red]\u202egpj.exe\u200b\r\nfake row[/red]"


@pytest.fixture(autouse=True)
def closed(home: Path) -> Iterator[None]:
    """Close what the test opened before its home goes away."""
    del home
    yield
    engine.finish(5)
    writer.shutdown(5)


def put(key: object = 1, **fields: Any) -> queue.Ticket:
    """Put a case and return its ticket."""
    usual: dict[str, Any] = {
        "queue": "loans",
        "guard": "credit",
        "version": "3.2",
        "key": repr(key).encode(),
        "decision_id": "decision-1",
        "reason": "low",
        "arguments": {"income": 100, "purpose": "car"},
        "provisional": "yes",
        "choices": ["yes", "no"],
        "confidence": 0.41,
        "threshold": 0.8,
        "business_id": "loan-17",
    }
    return queue.put(Case(**usual | fields))


def harmless(text: str) -> bool:
    """Return whether nothing in a text steers a terminal or hides."""
    return not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e\ud800-\udfff]", text)


def test_an_empty_queue_says_so_and_makes_no_store(run: Run, home: Path) -> None:
    """Looking creates nothing."""
    result = run("review", "list")
    assert (result.exit_code, result.stdout) == (0, "No open tickets.\n")
    assert run("review", "list", "--json").stdout == "[]\n"
    assert not (home / "store.db").exists()


def test_list_shows_what_a_reviewer_chooses_by(run: Run) -> None:
    """Id, age, guard, reason, confidence against threshold, business id; the most urgent first."""
    one, two = put(1), put(2, priority=9, business_id="loan-18", confidence=None)
    lines = run("review", "list").stdout.splitlines()
    rows = [line for line in lines if "loan-" in line]
    assert [two.id[-8:] in rows[0], one.id[-8:] in rows[1]] == [True, True]
    for word in ("pending", "credit", "low", "0.41 < 0.8", "loan-17"):
        assert word in rows[1]
    assert "? < 0.8" in rows[0]


def test_list_filters_and_says_what_it_left_out(run: Run) -> None:
    """By queue, guard, state and matter; a limit is never silent."""
    put(1)
    put(2, queue="fraud", guard="g2", business_id="loan-18")
    queue.decide(put(3, business_id="loan-19").id, "no")
    found = {
        option: [ticket["business_id"] for ticket in json.loads(run("review", "list", "--json", *option).stdout)]
        for option in (("--queue", "fraud"), ("--guard", "g2"), ("--state", "decided"), ("--business-id", "loan-17"))
    }
    assert list(found.values()) == [["loan-18"], ["loan-18"], ["loan-19"], ["loan-17"]]
    assert len(json.loads(run("review", "list", "--state", "all", "--json").stdout)) == 3
    assert "… and 1 more; --limit 2 shows them all" in run("review", "list", "--limit", "1").stdout
    wrong = run("review", "list", "--state", "done")
    assert wrong.exit_code == 2
    assert "no such state" in wrong.stderr


def test_show_tells_the_case_and_how_to_decide_it(run: Run) -> None:
    """What is asked, what the model said, which answers are allowed, what to follow."""
    ticket = put(guide="see chapter 4", reasons=["new postcode"], owner="credit-ml", skills=["mortgages"])
    shown = run("review", "show", ticket.id[-8:]).stdout
    for text in (ticket.id, "credit 3.2", "low, new postcode", "0.41 < 0.8", "income", "100", "car", "see chapter 4"):
        assert text in shown
    assert f"guardrail review decide {ticket.id[-8:]} yes|no | --accept | --reject" in shown
    run("review", "decide", ticket.id[-8:], "no", "--by", "anna", "--note", "not proven")
    shown = run("review", "show", ticket.id).stdout
    for text in ("Decided", "by anna (asserted)", "change", "not proven"):
        assert text in shown
    assert "To decide it" not in shown


def test_show_prefers_what_is_meant_to_be_shown(run: Run) -> None:
    """Where the guard says what a reviewer sees, the arguments stay out of sight."""
    ticket = put(shown={"income": "about 100"}, arguments={"ssn": "078-05-1120"})
    shown = run("review", "show", ticket.id).stdout
    assert "about 100" in shown
    assert "078-05-1120" not in shown


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["no"], ("change", "no")),
        (["yes"], ("accept", "yes")),
        (["--accept"], ("accept", "yes")),
        (["--reject"], ("reject", None)),
        (['"no"', "--json-value"], ("change", "no")),
    ],
)
def test_decide_ends_the_case(run: Run, words: list[str], kept: tuple[str, Any]) -> None:
    """By value, by accepting, by rejecting; as the user of the system unless said otherwise."""
    ticket = put()
    result = run("review", "decide", ticket.id[-8:], *words)
    assert result.exit_code == 0
    assert f"decided {ticket.id} for credit by " in result.stdout
    (step,) = queue.details(ticket.id).steps
    assert (step.verdict, step.value) == kept
    assert step.actor is not None
    assert step.actor.known_by == "os"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["maybe"], "none of the choices (write one of: yes, no)"),
        ([], "exactly one thing (write a VALUE, --accept, --reject or --unsure)"),
        (["yes", "--accept"], "exactly one thing"),
        (["--accept", "--reject"], "exactly one thing"),
        (["{", "--json-value"], "not JSON"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(run: Run, words: list[str], text: str) -> None:
    """One line says what to write; the case stays open and the wrong value is not repeated."""
    ticket = put()
    result = run("review", "decide", ticket.id, *words)
    assert result.exit_code in (1, 2)
    assert text in result.stderr
    assert "maybe" not in result.stderr
    assert ticket.state == "pending"


def test_without_choices_a_value_is_read_like_the_models_answer(run: Run) -> None:
    """Text for text, JSON for anything else."""
    for key, (provisional, words, kept) in enumerate(
        [("yes", "0.5", "0.5"), (0.25, "0.5", 0.5), (None, "null", "null"), ({"a": 1}, '{"a": 2}', {"a": 2})]
    ):
        ticket = put(key, choices=None, provisional=provisional)
        assert run("review", "decide", ticket.id, words).exit_code == 0
        assert queue.details(ticket.id).steps[0].value == kept
    ticket = put("last", choices=None, provisional=0.25)
    assert "write JSON" in run("review", "decide", ticket.id, "half").stderr
    assert run("review", "decide", ticket.id, "--", "-1").exit_code == 0
    assert queue.details(ticket.id).steps[0].value == -1


def test_choices_that_are_no_text_are_typed_as_json(run: Run) -> None:
    """Numbers and truth values are spelled as in `show`."""
    ticket = put(choices=[1, 2, True], provisional=2)
    assert "1|2|true" in run("review", "show", ticket.id).stdout
    assert run("review", "decide", ticket.id, "true").exit_code == 0
    assert queue.details(ticket.id).steps[0].value is True


def test_deciding_twice_is_refused_and_so_is_an_unknown_id(run: Run) -> None:
    """The second decision is told that there is one."""
    ticket = put()
    assert run("review", "decide", ticket.id, "no").exit_code == 0
    again = run("review", "decide", ticket.id, "yes")
    assert again.exit_code == 1
    assert "is decided and takes no decision" in again.stderr
    for words in (("show",), ("decide", "--accept"), ("cancel", "--reason", "x")):
        missing = run("review", words[0], "ffffffff", *words[1:])
        assert missing.exit_code == 1
        assert "there is no ticket" in missing.stderr


def test_cancel_takes_it_out(run: Run) -> None:
    """With a reason, which is kept."""
    ticket = put()
    assert run("review", "cancel", ticket.id[-8:]).exit_code == 2
    assert run("review", "cancel", ticket.id[-8:], "--reason", "withdrawn", "--by", "anna").exit_code == 0
    assert ticket.state == "cancelled"
    shown = run("review", "show", ticket.id).stdout
    assert "Cancelled" in shown
    assert "withdrawn" in shown


def test_hostile_text_steers_no_terminal_and_hides_nothing(run: Run) -> None:
    """Control characters, markup and direction marks of a case or a person are shown, not obeyed; JSON is plain ASCII."""
    ticket = put(
        queue=HOSTILE, guard=HOSTILE, business_id=HOSTILE, guide=HOSTILE, owner=HOSTILE, version=HOSTILE,
        decision_id=HOSTILE, reasons=[HOSTILE], skills=[HOSTILE], arguments={HOSTILE: {HOSTILE: [HOSTILE]}},
        provisional=HOSTILE, choices=[HOSTILE, "no"], actor={HOSTILE: HOSTILE},
    )  # fmt: skip
    outputs = [
        run("review", "list").stdout,
        run("review", "list", "--json").stdout,
        run("review", "show", ticket.id).stdout,
        run("review", "decide", ticket.id, "wrong").stderr,
        run("review", "decide", ticket.id, "no", "--by", HOSTILE, "--note", HOSTILE).stdout,
        run("review", "show", ticket.id).stdout,
        run("review", "show", ticket.id, "--json").stdout,
        run("review", "show", HOSTILE).stderr,
    ]
    assert all(outputs)
    for output in outputs:
        assert harmless(output)
    assert "[red]" in outputs[2]
    assert not [line for line in outputs[0].splitlines() if line.startswith("fake row")]
    assert json.loads(outputs[6])["business_id"] == HOSTILE


def test_json_has_everything_of_the_case(run: Run) -> None:
    """A script reads what a person sees."""
    ticket = put(reasons=["new postcode"])
    queue.decide(ticket.id, "no", actor="anna", note="not proven")
    shown = json.loads(run("review", "show", ticket.id, "--json").stdout)
    assert shown["id"] == ticket.id
    assert (shown["state"], shown["arguments"]) == ("decided", {"income": 100, "purpose": "car"})
    assert (shown["confidence"], shown["threshold"], shown["provisional"]) == (0.41, 0.8, "yes")
    (step,) = shown["steps"]
    assert (step["verdict"], step["value"], step["note"]) == ("change", "no", "not proven")
    assert step["actor"] == {"id": "anna", "known_by": "asserted"}
    assert shown["created"] == ticket.created.isoformat()
