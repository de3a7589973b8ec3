"""Working on cases from the command line: by commands for scripts, by keys for people."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from guardrail import review
from guardrail.cli.app import build
from guardrail.review.case import Case

Run = Callable[..., Any]
HOSTILE = "\x1b[2J\x1b[31m[red]\u202egpj.exe"


def put(key: object = 1, **fields: Any) -> review.Ticket:
    """Open a case."""
    usual: dict[str, Any] = {
        "queue": "loans", "guard": "credit", "version": "3.2", "key": repr(key).encode(), "decision_id": f"d-{key}", "reason": "low",
        "arguments": {"income": 100}, "provisional": "yes", "choices": ["yes", "no"], "confidence": 0.4, "threshold": 0.8,
    }  # fmt: skip
    return review.put(Case(**usual | fields))


def keys(*words: str, typed: str) -> Any:
    """Run `guardrail review` with what a person types, a key on each line."""
    return CliRunner().invoke(build(), ["review", *words], input="".join(f"{each}\n" for each in typed.split(" ")))


def test_a_script_claims_and_decides_by_token(run: Run) -> None:
    """All as JSON: the case, the token, what became of it."""
    ticket = put()
    claimed = json.loads(run("review", "claim", "--queue", "loans", "--by", "anna", "--json").stdout)
    assert claimed["case"]["id"] == ticket.id
    assert run("review", "claim", "--by", "ben").exit_code == 1
    refused = run("review", "decide", ticket.id, "no", "--by", "ben")
    assert refused.exit_code == 1
    assert "somebody else is at work" in refused.stderr
    words = ("--by", "anna", "--token", claimed["token"], "--reason", "model_error", "--note", "see page 3", "--json")
    assert json.loads(run("review", "decide", ticket.id, "no", *words).stdout) == {"ticket": ticket.id, "state": "decided"}
    shown = run("review", "show", ticket.id).stdout
    assert "model_error" in shown
    assert "see page 3" in shown


def test_claims_are_extended_given_back_declined_and_handed_on(run: Run) -> None:
    """Each by its command."""
    ticket = put()

    def claim(name: str) -> str:
        return str(json.loads(run("review", "claim", "--by", name, "--json").stdout)["token"])

    token = claim("anna")
    assert "yours until" in run("review", "extend", token, "--lease", "20m").stdout
    assert "released" in run("review", "release", token).stdout
    assert "is over" in run("review", "release", token).stderr
    assert "declined" in run("review", "decline", claim("anna"), "--reason", "not_my_field").stdout
    assert "ben has it" in run("review", "reassign", ticket.id[-8:], "--to", "ben", "--reason", "his field").stdout
    given = json.loads(run("review", "reassign", ticket.id[-8:], "--to", "cleo", "--reason", "hers", "--json").stdout)
    assert (given["to"], sorted(given)) == ("cleo", ["lease_until", "to", "token"])
    assert "waits in the queue again" in run("review", "reassign", ticket.id[-8:], "--reason", "on leave").stdout
    assert "unsure" not in run("review", "decide", ticket.id, "--unsure", "--by", "cleo").stderr
    assert ticket.state == "adjudicate"


def test_people_figures_and_the_clock(run: Run) -> None:
    """Who reviews, how the queue stands, what time has left to do."""
    assert "Nobody is named" in run("review", "people", "list").stdout
    assert "roles senior; skills cars" in run("review", "people", "set", "sue", "--role", "senior", "--skill", "cars").stdout
    assert json.loads(run("review", "people", "list", "--json").stdout) == [
        {"name": "sue", "roles": ["senior"], "skills": ["cars"]}
    ]
    put(1)
    put(2, levels=[{"role": "duty", "within": 60.0, "notify": []}])
    run("review", "decide", put(3).id, "no", "--by", "anna")
    told = run("review", "stats").stdout
    for text in ("2 pending", "1 wait for a role that nobody has", "3 filed", "1 change", "anna", "0.0 to 5.6"):
        assert text in told
    assert json.loads(run("review", "stats", "--queue", "none", "--json").stdout)["open"]["pending"] == 0
    assert json.loads(run("review", "tick", "--json").stdout) == {
        "expired": 0, "escalated": 0, "reminded": 0, "unopened": 0, "delivered": 0,
    }  # fmt: skip
    assert "removed" in run("review", "people", "remove", "sue").stdout


def test_an_appeal_without_a_senior_says_so(run: Run) -> None:
    """Where the case is shown, and where the queue is."""
    ticket = put(1, kind="appeal", queue="appeals")
    assert "nobody who may decide it had the role senior" in " ".join(run("review", "show", ticket.id).stdout.split())
    assert "1 wait for anybody who had no part in the decision" in run("review", "stats").stdout
    assert "1 appeals wait for anybody" in " ".join(run("doctor").stdout.split())


def test_how_well_it_goes(run: Run) -> None:
    """Rates with their intervals for people; everything, without NaN, for scripts."""
    for number, answer in enumerate(["yes", "no"]):
        run("review", "decide", put(number).id, answer, "--by", "anna", *(["--reason", "fraud"] if answer == "no" else []))
    told = run("review", "quality").stdout
    for text in ("accepted    50.0%", "fraud", "anna", "0.2 to 7.2"):
        assert text in told
    assert json.loads(run("review", "quality", "--queue", "loans", "--json").stdout)["gold"]["value"] is None


def test_why_people_decide_otherwise(run: Run) -> None:
    """By guard, and by a field: the reason with its share, few as few; a field that no case has names those that there are."""
    for number in range(7):
        ticket = put(number, arguments={"region": "north" if number < 5 else "south"})
        given: dict[str, Any] = {"value": "no", "reason": "fraud"} if number == 0 else {"verdict": "accept"}
        review.decide(ticket.id, actor="anna", **given)
    told = run("review", "stats", "--by", "region", "--queue", "loans").stdout
    for text in ("of 7 answers", "north", "fraud", "20.0%", "0.5% to 71.6%", "(others)", "fewer than 5"):
        assert text in told
    assert "south" not in told
    (found,) = json.loads(run("review", "stats", "--json").stdout)["overridden"]["slices"]
    assert (found["name"], found["reasons"]["fraud"]["hits"], found["few"]) == ("all", 1, False)
    assert "there are region" in run("review", "stats", "--by", "income").stderr


def test_labels_are_written_for_training(run: Run, tmp_path: Any) -> None:
    """A line for each; what cannot be is told."""
    run("review", "decide", put().id, "no", "--by", "anna")
    path = tmp_path / "labels.jsonl"
    assert "1 labels in" in run("review", "export", str(path)).stdout
    assert json.loads(path.read_text())["label"] == "no"
    assert "there already" in run("review", "export", str(path)).stderr
    assert "no such format" in run("review", "export", str(tmp_path / "x"), "--format", "csv").stderr
    assert run("review", "export", str(tmp_path / "none" / "x")).exit_code == 1


def test_one_case_after_another_by_keys() -> None:
    """Choose, accept, reject; the next comes by itself, until nothing waits."""
    tickets = [put(number) for number in range(4)]
    done = keys("--by", "anna", typed="2 a r u")
    assert done.exit_code == 0, done.output
    endings = [review.details(ticket.id).ending for ticket in tickets]
    assert [None if ending is None else (ending.verdict, ending.value) for ending in endings] == [
        ("change", "no"), ("accept", "yes"), ("reject", None), None,
    ]  # fmt: skip
    assert tickets[3].state == "adjudicate"
    assert "Nothing else waits for you." in done.stdout
    assert "4 decided, 0 skipped" in done.stdout


def test_keys_for_all_else() -> None:
    """Why, another answer, more time, help, skip, decline, quit; what is left goes back to the queue."""
    free = put("free", choices=None)
    skipped, declined, left = (put(name) for name in ("skipped", "declined", "left"))
    typed = "w\nmissing_context\nno payslip\n?\nt\nx\nc\nmaybe\ns\nd\nnot_my_field\nq\n"
    done = CliRunner().invoke(build(), ["review", "--by", "anna"], input=typed)
    assert done.exit_code == 0, done.output
    ending = review.details(free.id).ending
    assert ending is not None
    assert (ending.value, ending.reason, ending.note) == ("maybe", "missing_context", "no payslip")
    assert "ten minutes more" in done.stdout
    assert [ticket.state for ticket in (skipped, declined, left)] == ["pending"] * 3
    assert [step.what for step in review.details(declined.id).steps] == ["declined"]
    assert "1 decided, 1 skipped" in done.stdout or "2 decided, 1 skipped" in done.stdout


def test_what_does_not_fit_leaves_the_case_where_it_is() -> None:
    """An unknown reason or a wrong answer is told, and the person goes on; what they wrote beside it is kept."""
    ticket = put(choices=None, provisional=0.25)
    done = CliRunner().invoke(build(), ["review", "--by", "anna"], input="w\nmood\nI did read it\nc\nhalf\nc\n0.5\n")
    assert "not on the list" in done.stdout
    assert "not JSON" in done.stdout
    ending = review.details(ticket.id).ending
    assert ending is not None
    assert (ending.value, ending.reason, ending.note) == (0.5, None, "I did read it")


def test_a_choice_beyond_the_keys_is_typed_and_declining_may_need_a_note() -> None:
    """With more than nine choices `c` takes the others; "other" is a reason to decline, with its note."""
    other, many = (
        put("other", priority=1),
        put("many", choices=[f"grade {number}" for number in range(12)], provisional="grade 1"),
    )
    done = CliRunner().invoke(build(), ["review", "--by", "anna"], input="d\nother\nmy neighbour\nc\ngrade 11\n")
    assert "change" in done.stdout
    assert [(step.reason, step.note) for step in review.details(other.id).steps] == [("other", "my neighbour")]
    ending = review.details(many.id).ending
    assert ending is not None
    assert ending.value == "grade 11"


def test_a_blind_session_shows_the_models_answer_afterwards() -> None:
    """First one's own answer, then the model's."""
    put(provisional="yes")
    done = keys("--by", "anna", "--blind", typed="2")
    before, _, after = done.stdout.partition("decided")
    assert "own answer" not in before
    assert "the model's own answer was yes" in after


def test_nothing_waits() -> None:
    """Said, and no error."""
    done = keys("--queue", "loans", typed="q")
    assert done.exit_code == 0
    assert "Nothing waits for you." in done.stdout


def test_hostile_text_steers_no_session() -> None:
    """Neither case nor choices reach the terminal as they are."""
    put(arguments={HOSTILE: HOSTILE}, choices=[HOSTILE, "no"], provisional=HOSTILE, guide=HOSTILE)
    done = keys("--by", "anna", typed="? q")
    assert "\x1b[2J" not in done.stdout
    assert "\u202e" not in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a terminal of our own")
def test_single_keys_in_a_real_terminal() -> None:
    """No Enter is needed, and Ctrl-C gives the case back."""
    first, second = put(1), put(2)
    ours, theirs = pty.openpty()
    program = "from guardrail.cli.app import build; build()(['review', '--by', 'anna'])"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)  # noqa: S603
    os.close(theirs)
    seen = b""
    try:
        for key, does in ((b"2", b"decided"), (b"\x03", b"skipped")):
            while b"uit   " not in seen:
                seen += os.read(ours, 65_536)
            asked = seen.rindex(b"uit   ")
            while does not in seen[asked:]:  # what comes before the terminal is ready for single keys is thrown away by it
                os.write(ours, key)
                while select.select([ours], [], [], 0.3)[0]:
                    seen += os.read(ours, 65_536)
            told, seen = seen, seen[asked + 6 :]
    except OSError:  # how Linux says that the other side has gone
        told = seen
    finally:
        assert process.wait(20) == 0
        os.close(ours)
    assert (first.state, second.state) == ("decided", "pending")
    assert b"1 decided" in told + seen
