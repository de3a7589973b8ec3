"""Cases go to Label Studio and Argilla as their own files, and answers come back: on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from guardrail import PII, ConfigError, Prediction, Review, Secret, Subject, decide, guarded, ledger, review
from guardrail.cli.app import build
from guardrail.review import forms, label_studio
from guardrail.review.case import Case

on_both = pytest.mark.usefixtures("store")  # the others are about files, wherever the queue is

Make = Callable[..., Case]
HOSTILE = '<img src=x onerror=alert(1)> & "q" \' $case ]]> \x07\u202e\nsecond line'


def choice(label: str, question: str = "answer") -> dict[str, Any]:
    """What Label Studio exports for a chosen label."""
    return {"from_name": question, "to_name": "case", "type": "choices", "value": {"choices": [label]}}


def text(written: Any, question: str = "answer") -> dict[str, Any]:
    """What Label Studio exports for a text, or for a number."""
    kind, value = ("number", {"number": written}) if isinstance(written, int | float) else ("textarea", {"text": [written]})
    return {"from_name": question, "to_name": "case", "type": kind, "value": value}


def annotated(tasks: Path, said: Callable[[str], list[dict[str, Any]]], to: Path) -> Path:
    """Write what Label Studio 1.23 exports when these tasks have been annotated."""
    found = json.loads(tasks.read_text())
    for number, task in enumerate(found, 1):
        usual = {"was_cancelled": False, "ground_truth": False, "lead_time": 4.2, "task": number, "project": 1, "completed_by": 1}
        task |= {"id": number, "annotations": [usual | each for each in said(task["data"]["ticket"])], "drafts": [], "project": 1}
    to.write_text(json.dumps(found))
    return to


def outcomes(taken: list[review.Taken]) -> list[tuple[str | None, str]]:
    return [(each.person, each.outcome) for each in taken]


# ── Label Studio ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_tasks_hold_what_a_reviewer_sees(case: Make, tmp_path: Path) -> None:
    """The case, what is known of it, the model's answer as a prediction; the files are their owner's, and the ledger knows."""
    ticket = review.put(
        case(business_id="loan-17", guide="Handbook, chapter 4", arguments={"income": 100, "notes": ["a", {"b": 1}]})
    )
    done = review.hand_out(tmp_path / "tasks.json", "loans")
    assert done == ((ticket.id,), 0, (tmp_path / "tasks.json", tmp_path / "tasks.xml"))
    (task,) = json.loads(done.paths[0].read_text())
    assert task == {
        "data": {
            "ticket": ticket.id,
            "case": {"income": "100", "notes": '["a", {"b": 1}]'},
            "about": {
                "business id": "loan-17", "guard": "credit 1", "guide": "Handbook, chapter 4", "why": "low", "confidence": "0.4",
                "the model's own answer": "yes",
            },
        },
        "meta": {"queue": "loans", "guard": "credit", "version": "1", "business_id": "loan-17", "model_answer": "shown"},
        "predictions": [{"model_version": "credit 1", "score": 0.4, "result": [{"id": "answer", **choice("yes")}]}],
    }  # fmt: skip
    assert [path.stat().st_mode & 0o777 for path in done.paths] == [0o600, 0o600]
    assert review.get(ticket.id).state == "pending"


def test_the_configuration_asks_for_the_choices_a_verdict_and_a_reason(case: Make, tmp_path: Path) -> None:
    """All controls belong to a table that the tasks fill; the labels are those of the case."""
    review.put(case())
    root = ET.fromstring(review.hand_out(tmp_path / "t.json", "loans").paths[1].read_text())
    controls = {each.get("name"): each for each in root if each.get("toName")}
    tables = {each.get("name"): each.get("value") for each in root.iter("Table")}
    assert tables == {"case": "$case", "about": "$about"}
    assert {each.get("toName") for each in controls.values()} == {"case"}
    assert [each.get("value") for each in controls["answer"]] == ["yes", "no", "(reject)", "(unsure)"]
    assert "model_error" in [each.get("value") for each in controls["reason"]]
    assert controls["note"].tag == "TextArea"


@on_both
def test_answers_decide_once_however_often_they_are_taken_in(case: Make, tmp_path: Path) -> None:
    """Through the function that every answer goes through: actor asserted, reason and note, a label; again it is repeated."""
    tickets = [review.put(case(number)) for number in range(4)]
    said = {
        tickets[0].id: [{"result": [choice("no"), choice("model_error", "reason"), text("see page 3", "note")]}],
        tickets[1].id: [{"result": [choice("yes")]}],
        tickets[2].id: [{"result": [choice("(reject)")], "completed_by": {"id": 2, "email": "ben@bank.example"}}],
        tickets[3].id: [{"result": [], "was_cancelled": True}],
    }
    review.hand_out(tmp_path / "t.json", "loans")
    export = annotated(tmp_path / "t.json", said.__getitem__, tmp_path / "export.json")
    first = review.take_in(export, people={"1": "anna"})
    assert outcomes(first) == [("anna", "decided"), ("anna", "decided"), ("ben@bank.example", "decided"), ("anna", "skipped")]
    events = len(list(ledger.read(event="decision")))
    assert outcomes(review.take_in(export, people={"1": "anna"})) == [
        ("anna", "repeated"), ("anna", "repeated"), ("ben@bank.example", "repeated"), ("anna", "skipped"),
    ]  # fmt: skip
    assert len(list(ledger.read(event="decision"))) == events == 3
    changed = review.details(tickets[0].id)
    assert changed.ending is not None
    assert (changed.ending.verdict, changed.ending.value, changed.ending.reason) == ("change", "no", "model_error")
    assert (changed.ending.note, changed.ending.actor) == ("see page 3", review.Actor("anna", "asserted"))
    assert [review.ending(ticket.id).verdict for ticket in tickets[1:3]] == ["accept", "reject"]  # type: ignore[union-attr]
    assert [len(review.details(ticket.id).steps) for ticket in tickets] == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("fields", "result", "value"),
    [
        ({"provisional": 3, "answers": {"type": "integer", "maximum": 5}}, [text(4)], 4),
        ({"provisional": 3, "answers": {"type": "integer", "maximum": 5}}, [text(4.0)], 4),
        ({"provisional": 3.0}, [text(4)], 4.0),
        ({"provisional": "maybe"}, [text("so be it"), choice("(as written)", "verdict")], "so be it"),
        ({"provisional": {"grade": 1}, "answers": {"type": "object"}}, [text('{"grade": 2}')], {"grade": 2}),
        ({"provisional": {"grade": 1}}, [text('{"grade":1}'), choice("(accept)", "verdict")], {"grade": 1}),
        ({"provisional": True, "answers": {"type": "boolean"}}, [choice("false")], False),
        ({"provisional": "low", "answers": {"type": "string", "enum": ["low", "high"]}}, [choice("high")], "high"),
    ],
)
def test_answers_are_of_the_functions_type(fields: dict[str, Any], result: Any, value: Any, case: Make, tmp_path: Path) -> None:
    """A number, a text, JSON, true or false: what comes back is what a person here would have answered."""
    ticket = review.put(case(choices=None, **fields))
    review.hand_out(tmp_path / "t.json", "loans")
    export = annotated(tmp_path / "t.json", lambda _: [{"result": result}], tmp_path / "e.json")
    assert outcomes(review.take_in(export, people={"1": "anna"})) == [("anna", "decided")]
    ending = review.ending(ticket.id)
    assert ending is not None
    assert (type(ending.value), ending.value) == (type(value), value)


@pytest.mark.parametrize(
    ("fields", "result", "why"),
    [
        ({}, [choice("perhaps")], "none of the choices"),
        ({}, [], "neither an answer nor a verdict"),
        ({}, [choice("no"), choice("because", "reason")], "not on the list"),
        ({}, [choice("no"), choice("other", "reason")], "needs a note"),
        ({"choices": None}, [text("another"), choice("(reject)", "verdict")], "do not go together"),
        ({"choices": None, "provisional": {"grade": 1}, "answers": {"type": "object"}}, [text("{grade")], "not JSON"),
        (
            {"choices": None, "provisional": {"grade": 1}, "answers": {"type": "object", "required": ["grade"]}},
            [text('{"note": 4}')],
            "lacks grade",
        ),
        ({"choices": None, "provisional": 3, "answers": {"type": "integer", "maximum": 5}}, [text(9)], "maximum 5"),
    ],
)
def test_what_does_not_fit_is_told_and_kept(fields: Any, result: Any, why: str, case: Make, tmp_path: Path) -> None:
    """The case goes on waiting; what was written is with the ticket, once, shown when the case is closed, and in the report."""
    ticket = review.put(case(**fields))
    review.hand_out(tmp_path / "t.json", "loans")
    export = annotated(tmp_path / "t.json", lambda _: [{"result": [*result, text("my words", "note")][-3:]}], tmp_path / "e.json")
    if "needs a note" in why:
        export = annotated(tmp_path / "t.json", lambda _: [{"result": result}], tmp_path / "e.json")
    for _ in range(2):
        (taken,) = review.take_in(export, people={"1": "anna"})
        assert (taken.outcome, taken.ticket_id, why in str(taken.problem)) == ("misfit", ticket.id, True)
    assert "my words" in str(taken.said) or "needs a note" in why
    assert "my words" not in repr(taken)
    (step,) = review.details(ticket.id).steps
    assert (step.what, step.actor, step.value, step.note) == ("not_taken", review.Actor("anna"), None, None)
    assert review.get(ticket.id).state == "pending"
    review.cancel(ticket.id, "enough")
    kept = review.details(ticket.id).steps[0]
    assert ("my words" in str(kept.note)) or "needs a note" in why
    wrote = [written for each in result if each["from_name"] == "answer" for written in each["value"].values()]
    assert kept.value in [*(one[0] if isinstance(one, list) else one for one in wrote), *([] if wrote else [None]), {"note": 4}]


@on_both
def test_who_comes_too_late_changes_nothing(case: Make, tmp_path: Path) -> None:
    """Decided here meanwhile: what was said there is kept beside it, once."""
    ticket = review.put(case())
    review.hand_out(tmp_path / "t.json", "loans")
    review.decide(ticket.id, "yes", actor="ben")
    export = annotated(tmp_path / "t.json", lambda _: [{"result": [choice("no"), text("hm", "note")]}], tmp_path / "e.json")
    for _ in range(2):
        assert outcomes(review.take_in(export, people={"1": "anna"})) == [("anna", "late")]
    ending, late = review.ending(ticket.id), review.details(ticket.id).steps[1:]
    assert ending is not None
    assert (ending.value, ending.actor) == ("yes", review.Actor("ben"))
    assert [(step.what, step.value, step.note) for step in late] == [("late", "no", "hm")]


@on_both
def test_an_expired_case_takes_no_answer_but_a_label(case: Make, tmp_path: Path, wall: Any) -> None:
    """What the person knows is worth keeping, once."""
    ticket = review.put(case(due=wall.now + 60, on_expiry="reject"))
    review.hand_out(tmp_path / "t.json", "loans")
    export = annotated(tmp_path / "t.json", lambda _: [{"result": [choice("no")]}], tmp_path / "e.json")
    wall.now += 61
    for _ in range(2):
        assert outcomes(review.take_in(export, people={"1": "anna"})) == [("anna", "late")]
    assert review.state(ticket.id) == "expired"
    assert [row["label_source"] for row in review.labelled()] == ["late"]


def test_unknown_cases_and_people_are_told(case: Make, tmp_path: Path) -> None:
    """Nobody is made up: a user of the tool who is not named here decides nothing."""
    ticket = review.put(case())
    review.hand_out(tmp_path / "t.json", "loans")
    export = annotated(tmp_path / "t.json", lambda _: [{"result": [choice("no")], "completed_by": 7}], tmp_path / "e.json")
    (taken,) = review.take_in(export, people={"1": "anna"})
    assert (taken.outcome, taken.person, taken.problem) == ("unknown", "7", "nobody is named for the user 7")
    other = json.loads(export.read_text())
    other[0]["data"]["ticket"] = "01a2093a-d270-75d2-9983-0ce2e7390b3e"
    export.write_text(json.dumps(other))
    (taken,) = review.take_in(export, people={"7": "anna"})
    assert (taken.outcome, taken.problem, taken.said) == ("unknown", "there is no such case", {"answer": "no"})
    assert review.get(ticket.id).state == "pending"


@on_both
def test_people_are_told_apart(case: Make, tmp_path: Path) -> None:
    """Two users who are one person here have one vote; who asked, or lacks the role, has none."""
    two = review.put(case(1, reviewers=2, priority=9))
    own = review.put(case(2, reviewers=2, actor={"id": "anna", "known_by": "asserted"}))
    senior = review.put(case(3, reviewers=2, levels=[{"role": "senior", "within": 60.0, "notify": []}]))
    by = [{"result": [choice("no")], "completed_by": number} for number in (1, 2, 3)]
    review.hand_out(tmp_path / "t.json", "loans")
    export = annotated(tmp_path / "t.json", lambda _: by, tmp_path / "e.json")
    review.people.set("sue", roles=["senior"])
    taken = review.take_in(export, people={"1": "anna", "2": "anna", "3": "sue"})
    found = {ticket.id: [each.outcome for each in taken if each.ticket_id == ticket.id] for ticket in (two, own, senior)}
    assert found == {
        two.id: ["noted", "repeated", "decided"],
        own.id: ["denied", "denied", "noted"],
        senior.id: ["denied", "denied", "noted"],
    }


def test_the_same_person_twice_and_not_alike_decides_nothing(case: Make, tmp_path: Path) -> None:
    """Nobody can tell which of the two they meant."""
    ticket = review.put(case())
    by = [{"result": [choice(label)]} for label in ("yes", "no")]
    review.hand_out(tmp_path / "t.json", "loans")
    export = annotated(tmp_path / "t.json", lambda _: by, tmp_path / "e.json")
    assert outcomes(review.take_in(export, people={"1": "anna"})) == [("anna", "misfit")] * 2
    assert review.get(ticket.id).state == "pending"


@on_both
def test_cases_are_claimed_for_who_will_answer(case: Make, tmp_path: Path, wall: Any) -> None:
    """Others are not handed them; when the lease is over, who answers first has decided."""
    for number in range(3):
        review.put(case(number))
    review.put(case(9, actor={"id": "anna", "known_by": "asserted"}))  # she asked for it herself
    done = review.hand_out(tmp_path / "t.json", "loans", actor="anna", lease="1h", limit=2)
    assert (len(done.tickets), done.left) == (2, 0)
    first, second = done.tickets
    held = {each.ticket.id for each in review.listing("loans") if each.state == "claimed"}
    assert held == {first, second}
    with pytest.raises(review.TicketHeld):
        review.decide(first, "no", actor="ben")
    export = annotated(tmp_path / "t.json", lambda _: [{"result": [choice("no")]}], tmp_path / "e.json")
    wall.now += 3601
    claim = review.claim(ticket_id=second, actor="ben")
    assert claim is not None
    assert outcomes(review.take_in(export, people={"1": "anna"})) == [("anna", "decided"), ("anna", "held")]
    review.decide(second, "yes", actor="ben", token=claim.token)
    assert outcomes(review.take_in(export, people={"1": "anna"})) == [("anna", "repeated"), ("anna", "late")]


@on_both
def test_the_models_answer_can_be_hidden(case: Make, tmp_path: Path) -> None:
    """Nothing in the files tells of it, and quality counts the answer among the blind ones."""
    review.put(case(provisional="yes", reasons=["nearly yes"], choices=["no", "maybe"], confidence=0.444))
    done = review.hand_out(tmp_path / "t.json", "loans", blind=True)
    written = "".join(path.read_text() for path in done.paths)
    assert not any(word in written for word in ("yes", "0.444", "predictions"))
    export = annotated(tmp_path / "t.json", lambda _: [{"result": [choice("no")]}], tmp_path / "e.json")
    review.take_in(export, people={"1": "anna"})
    found = review.quality("loans")
    assert (found["accepted_blind"]["cases"], found["accepted"]["cases"]) == (1, 0)


def test_what_a_reviewer_may_not_see_is_in_no_file(tmp_path: Path) -> None:
    """Arguments that `show` leaves out, secrets, and what is sealed for its subject."""

    @guarded(name="g", version="1", confidence=0.9, review=Review("loans", choices=["yes", "no"]))
    def predict(
        who: Annotated[str, Subject], name: Annotated[str, PII], key: Annotated[str, Secret], income: int
    ) -> Prediction[str]:
        return Prediction("yes", 0.5)

    @guarded(name="h", version="1", confidence=0.9, review=Review("loans", choices=["yes", "no"], show=["income"]))
    def shown(income: int, rival: str) -> Prediction[str]:
        return Prediction("yes", 0.5)

    decide(predict, "subject-of-it", "name-of-it", "key-of-it", 1234)
    decide(shown, 5678, "rival-of-it")
    for to in ("label-studio", "argilla"):
        done = review.hand_out(tmp_path / to, "loans", to)  # type: ignore[arg-type]
        written = "".join(path.read_text() for path in done.paths)
        assert len(done.tickets) == 2
        assert "1234" in written and "5678" in written
        assert not any(f"{word}-of-it" in written for word in ("name", "key", "rival"))
        assert "$sealed" not in written and "$subject" not in written


def test_gold_cases_cannot_be_told_in_files(case: Make, tmp_path: Path) -> None:
    """Not by what is there, nor by what is not."""
    for number, fields in enumerate(({}, {"kind": "gold", "expected": "no"})):
        review.put(case(number, **fields))
    review.hand_out(tmp_path / "t.json", "loans")
    real, gold = json.loads((tmp_path / "t.json").read_text())
    for each in (real, gold):
        each["data"].pop("ticket")
    assert real == gold


def test_one_hand_out_is_of_one_form(case: Make, tmp_path: Path) -> None:
    """The most urgent case's; the others are counted, and can be narrowed down to."""
    review.put(case(1))
    urgent = review.put(case(2, choices=["a", "b"], priority=5, guard="other"))
    review.put(case(3))
    done = review.hand_out(tmp_path / "1.json", "loans")
    assert (done.tickets, done.left) == ((urgent.id,), 2)
    assert len(review.hand_out(tmp_path / "2.json", "loans", guard="credit").tickets) == 2
    assert review.hand_out(tmp_path / "3.json", "none") == ((), 0, ())
    assert not (tmp_path / "3.json").exists()
    with pytest.raises(ConfigError, match="there already"):
        review.hand_out(tmp_path / "1.json", "loans")


def test_claims_are_given_back_where_the_files_cannot_be_written(case: Make, tmp_path: Path) -> None:
    """Nothing is half handed out."""
    ticket = review.put(case())
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        review.hand_out(tmp_path / "file" / "t.json", "loans", actor="anna")
    assert review.get(ticket.id).state == "pending"


@pytest.mark.parametrize("wrong", ["", "{", "3", "{}", "[3]", '[{"id": 1}]', '[{"data": {}, "annotations": [3]}]'])
def test_a_file_that_is_no_export_is_refused_whole(wrong: str, tmp_path: Path) -> None:
    """With what to export instead."""
    (tmp_path / "e.json").write_text(wrong)
    with pytest.raises(ConfigError, match=r"no (export|JSON) of Label Studio") as problem:
        review.take_in(tmp_path / "e.json")
    assert "JSON-MIN" in str(problem.value.hint)


# ── hostile text ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_hostile_text_stays_text(case: Make, tmp_path: Path) -> None:
    """In arguments and their names, choices, guide, names of guard and version: the XML stays XML, and answers come back exact."""
    for key in (1, 2):
        review.put(
            case(
                key, choices=[HOSTILE, "$case", " a  b ", "(reject)", "x" * 300, 1, "1", None], provisional=HOSTILE, guide=HOSTILE,
                arguments={HOSTILE: {HOSTILE: [HOSTILE]}}, guard=HOSTILE, version=HOSTILE, business_id=HOSTILE,
            )
        )  # fmt: skip
    done = review.hand_out(tmp_path / "t.json", "loans")
    root = ET.fromstring(done.paths[1].read_text())
    assert {each.tag for each in root.iter()} == {"View", "Header", "Table", "Choices", "Choice", "TextArea"}
    labels = [each.get("value") for each in next(root.iter("Choices"))]
    assert all(label is not None and label.isprintable() and not label.startswith(("$", "<")) for label in labels)
    export = annotated(tmp_path / "t.json", lambda _: [{"result": [choice(str(labels[3]))]}], tmp_path / "e.json")
    assert [each.outcome for each in review.take_in(export, people={"1": "anna"})] == ["decided"] * 2
    assert review.ending(done.tickets[0]).value == "(reject)"  # type: ignore[union-attr]
    review.put(case(3, choices=[HOSTILE, "no"], arguments={HOSTILE: HOSTILE}, version=HOSTILE))
    review.hand_out(tmp_path / "a", "loans", "argilla")
    (record,) = json.loads((tmp_path / "a" / "records.json").read_text())
    assert [line for line in record["fields"]["case"].splitlines() if not line.startswith("    ")] == [
        HOSTILE.splitlines()[0]
    ]  # what follows is indented


@given(st.lists(st.one_of(st.text(), st.integers(-9, 9), st.booleans(), st.none()), max_size=8, unique_by=repr))
def test_labels_are_safe_and_tell_choices_apart(choices: list[Any]) -> None:
    """Whatever the choices: as many labels, each one line that XML gives back as it was, none of ours."""
    found = forms.labelled(choices)
    assert [repr(each) for each in found.values()] == [repr(each) for each in choices]
    assert not any(label in forms.VERDICTS for label in found)
    form = forms.Form("choice", tuple(found), 1)
    root = ET.fromstring(label_studio.configuration(form, blind=False))
    assert [each.get("value") for each in next(root.iter("Choices"))] == [*found, "(reject)", "(unsure)"]


# ── Argilla ───────────────────────────────────────────────────────────────────────────────────────────────────────────
USER, OTHER = "7ccc3d5d-eeef-4bad-9ea5-093e72a6452a", "1208c463-2ac0-401e-b77b-2f1e73b7e031"


def test_argilla_gets_a_folder_that_its_library_reads(case: Make, tmp_path: Path) -> None:
    """Settings with a required question, as many submitted answers as people are asked, and suggestions by the model."""
    ticket = review.put(case(reviewers=2, version="3 <2>"))
    done = review.hand_out(tmp_path / "a", "loans", "argilla")
    assert [str(path.relative_to(tmp_path)) for path in done.paths] == [
        "a/records.json", "a/.argilla/settings.json", "a/.argilla/dataset.json",
    ]  # fmt: skip
    records, settings, dataset = (json.loads(path.read_text()) for path in done.paths)
    assert (records[0]["id"], records[0]["fields"]["case"]) == (ticket.id, "income: 100")
    assert records[0]["suggestions"] == {"answer": {"value": "yes", "score": 0.4, "agent": "credit 3 _2_"}}
    assert settings["distribution"] == dataset["distribution"] == {"strategy": "overlap", "min_submitted": 2}
    assert [(each["name"], each["required"]) for each in settings["questions"]] == [
        ("answer", True), ("reason", False), ("note", False),
    ]  # fmt: skip
    assert not any(each["settings"].get("use_markdown") for each in (*settings["fields"], *settings["questions"]))


def shapes(ticket_id: str, state: str, **values: Any) -> dict[str, Any]:
    """The same answer as Argilla's functions give it: flat, nested, and by its API."""
    flat: dict[str, Any] = {"id": ticket_id, "status": "completed", "case": "income: 100", "model_answer": "shown"}
    for name, value in values.items():
        flat |= {f"{name}.responses": [value], f"{name}.responses.users": [USER], f"{name}.responses.status": [state]}
    nested = {name: [{"value": value, "user_id": USER}] for name, value in values.items()}
    said = {"values": {name: {"value": value} for name, value in values.items()}, "status": state, "user_id": USER}
    return {
        "flat": [flat],
        "nested": [{"id": ticket_id, "status": "completed", "metadata": {"model_answer": "shown"}, "responses": nested}],
        "api": {"items": [{"id": OTHER, "external_id": ticket_id, "metadata": {}, "responses": [said]}]},
    }


@pytest.mark.parametrize("shape", ["flat", "nested", "api"])
def test_answers_of_argilla_decide_once(shape: str, case: Make, tmp_path: Path) -> None:
    """In each of the forms that its records come in."""
    ticket = review.put(case())
    values = {"answer": "no", "reason": "model_error", "note": "see page 3"}
    (tmp_path / "r.json").write_text(json.dumps(shapes(ticket.id, "submitted", **values)[shape]))
    assert outcomes(review.take_in(tmp_path / "r.json", "argilla", people={USER: "anna"})) == [("anna", "decided")]
    assert outcomes(review.take_in(tmp_path / "r.json", "argilla", people={USER: "anna"})) == [("anna", "repeated")]
    ending = review.details(ticket.id).ending
    assert ending is not None
    assert (ending.value, ending.reason, ending.note) == ("no", "model_error", "see page 3")


@pytest.mark.parametrize(("state", "outcome"), [("draft", "draft"), ("discarded", "skipped")])
def test_drafts_of_argilla_are_no_answers(state: str, outcome: str, case: Make, tmp_path: Path) -> None:
    """Nor is what was discarded; where the file does not tell them apart, nothing is decided, and the way out is named."""
    ticket = review.put(case())
    (tmp_path / "r.json").write_text(json.dumps(shapes(ticket.id, state, answer="no")["flat"]))
    assert outcomes(review.take_in(tmp_path / "r.json", "argilla", people={USER: "anna"})) == [("anna", outcome)]
    unclear = shapes(ticket.id, state, answer="no")["nested"]
    unclear[0]["responses"]["answer"].append({"value": "yes", "user_id": OTHER})
    (tmp_path / "r.json").write_text(json.dumps(unclear))
    taken = review.take_in(tmp_path / "r.json", "argilla", people={USER: "anna", OTHER: "ben"})
    assert [(each.outcome, "draft" in str(each.problem)) for each in taken] == [("misfit", True)] * 2
    assert review.get(ticket.id).state == "pending"


def test_free_answers_by_argilla(case: Make, tmp_path: Path) -> None:
    """A number is asked as text beside a required verdict; what was filled in beside a rejection is no answer."""
    tickets = [review.put(case(key, choices=None, provisional=3, answers={"type": "integer"})) for key in (1, 2)]
    review.hand_out(tmp_path / "a", "loans", "argilla")
    asked = json.loads((tmp_path / "a/.argilla/settings.json").read_text())["questions"]
    assert [(each["name"], each["required"]) for each in asked][:2] == [("answer", False), ("verdict", True)]
    records = [
        *shapes(tickets[0].id, "submitted", answer="4", verdict="(as written)")["flat"],
        *shapes(tickets[1].id, "submitted", answer="3", verdict="(reject)")["flat"],
    ]
    (tmp_path / "r.json").write_text(json.dumps(records))
    assert outcomes(review.take_in(tmp_path / "r.json", "argilla", people={USER: "anna"})) == [("anna", "decided")] * 2
    endings = [review.ending(ticket.id) for ticket in tickets]
    assert [(each.verdict, each.value) for each in endings if each] == [("change", 4), ("reject", None)]


# ── the command line ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_by_commands(case: Make, tmp_path: Path) -> None:
    """Hand out, take in; what was not taken makes the exit code 1, and is told by case."""
    ticket, other = (review.put(case(number)) for number in (1, 2))

    def run(*words: object) -> Any:
        return CliRunner().invoke(build(), ["review", *map(str, words)])

    done = run("hand-out", "loans", "--to", "label-studio", "--out", tmp_path / "t.json", "--for", "anna", "--lease", "8h")
    assert (done.exit_code, "2 cases" in done.output) == (0, True)
    labels = {ticket.id: "no", other.id: "perhaps"}
    export = annotated(tmp_path / "t.json", lambda each: [{"result": [choice(labels[each])]}], tmp_path / "e.json")
    taken = run("take-in", export, "--from", "label-studio", "--person", "1=anna")
    assert taken.exit_code == 1
    assert "1 decided, 1 misfit" in taken.output
    assert "none of the choices" in taken.output
    again = run("take-in", export, "--from", "label-studio", "--person", "1=anna", "--json")
    assert [(each["outcome"], each["said"]) for each in json.loads(again.stdout)] == [
        ("repeated", {"answer": "no"}), ("misfit", {"answer": "perhaps"}),
    ]  # fmt: skip
    assert run("hand-out", "none", "--to", "argilla", "--out", tmp_path / "a").exit_code == 1
    for words in (["--to", "excel"], ["--to", "label-studio", "--limit", "0"]):
        assert run("hand-out", "loans", "--out", tmp_path / "x", *words).exit_code != 0
    assert run("take-in", export, "--from", "label-studio", "--person", "anna").exit_code != 0
