"""Cases in a notebook: what a card shows, and buttons that decide."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from guardrail import ConfigError, review
from guardrail.review import case_card
from guardrail.review.case import Case

Make = Callable[..., Case]
HOSTILE = '<script>alert(1)</script>\' onmouseover="x" \u202egpj.exe\x1b[2J &lt;'
VIEW = "application/vnd.jupyter.widget-view+json"


def bundle(shown: Any) -> dict[str, Any]:
    """What IPython is given to show."""
    return dict(shown._repr_mimebundle_(include=None, exclude=None))


def tags(html: str) -> set[str]:
    """The elements, and the names of their attributes."""
    found = set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.update({tag, *(f"@{name}" for name, _ in attrs)})

    Parser().feed(html)
    return found


def heard(panel: Any) -> str:
    """What the panel says below its buttons."""
    return str(panel.widget.children[-1].value)


@pytest.fixture
def without_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the extra."""
    monkeypatch.setattr(case_card, "widgets_there", lambda: False)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)


# ── cards ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.usefixtures("without_widgets")
def test_a_ticket_shows_what_a_reviewer_sees_and_how_to_decide_it(case: Make) -> None:
    """Of a ticket, its details and a claim; a queue shows its most urgent case."""
    ticket = review.put(case(guide="Handbook, chapter 4", arguments={"income": 100, "plan": "x" * 900}, reasons=["too near"]))
    shown = [bundle(ticket), bundle(review.details(ticket.id)), bundle(review.queue("loans"))]
    for each in shown:
        assert set(each) == {"text/plain", "text/html"}
        for word in ("income", "100", "x" * 900, "Handbook, chapter 4", "too near", "0.4 (asked for 0.8)", "review.decide("):
            assert word in each["text/html"]
    claim = review.claim(ticket_id=ticket.id, actor="anna", blind=True)
    assert claim is not None
    hidden = bundle(claim)["text/html"]
    assert "0.4" not in hidden
    assert "too near" not in hidden
    assert "model&#x27;s own answer" not in hidden
    review.decide(ticket.id, "no", actor="anna", note="see page 3", token=claim.token)
    closed = bundle(ticket)["text/html"]
    assert "see page 3" in closed and "by anna (asserted)" in closed
    assert "review.decide(" not in closed
    with pytest.raises(ConfigError, match="ipywidgets") as problem:
        review.queue("loans").work()
    assert "guardrail-sdk[notebook]" in str(problem.value.hint)


def test_what_show_leaves_out_is_in_no_card(case: Make) -> None:
    """Only what the guard lets people see."""
    ticket = review.put(case(arguments={"rival": "of-it"}, shown={"income": 7}))
    html = bundle(ticket)["text/html"] + bundle(review.queue("loans"))["text/html"]
    assert "income" in html
    assert "of-it" not in html


def test_hostile_text_is_only_text(case: Make) -> None:
    """In every place of a card and of the buttons: no element, no attribute, nothing that turns or clears the screen."""
    fields = {
        "guard": HOSTILE,
        "version": HOSTILE,
        "queue": HOSTILE,
        "business_id": HOSTILE,
        "guide": HOSTILE,
        "reasons": [HOSTILE],
    }
    ticket = review.put(
        case(arguments={HOSTILE: {HOSTILE: HOSTILE}}, choices=[HOSTILE, "no"], provisional=HOSTILE, reason=HOSTILE, **fields)
    )
    panel = review.queue(HOSTILE).work(actor="anna")
    made = [bundle(each)["text/html"] for each in (ticket, review.queue(HOSTILE), panel)]
    panel.buttons["accept"].click()
    assert review.state(ticket.id) == "decided"
    made += [panel.widget.children[0].value, heard(panel), bundle(ticket)["text/html"]]
    for html in made:
        assert tags(html) <= {"div", "b", "span", "table", "tr", "td", "pre", "@style"}
        assert not any(each in html for each in "\u202e\x1b")


def test_a_card_of_what_cannot_be_read_is_its_text(case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook never gets an error for looking."""
    ticket = review.put(case())

    def away(*_: Any) -> Any:
        raise case_card.StoreError("away")

    monkeypatch.setattr(case_card.desk, "details", away)
    assert bundle(ticket) == {"text/plain": repr(ticket)}


# ── buttons ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.usefixtures("store")
def test_buttons_decide_and_go_to_the_next(case: Make) -> None:
    """By a claim of the person's, with reason and note; when nothing is left it says so."""
    tickets = [review.put(case(number, priority=9 - number)) for number in range(4)]
    panel = review.queue("loans").work(actor="anna")
    assert (panel.case.ticket, panel.case.state) == (tickets[0], "claimed")
    assert list(panel.buttons) == ["=yes", "=no", "accept", "reject", "unsure", "skip", "stop"]
    panel.reason.value, panel.note.value = "model_error", "see page 3"
    panel.buttons["=no"].click()
    (part,) = review.details(tickets[0].id).parts
    assert (part.verdict, part.value, part.reason, part.note, part.reviewer.id) == (
        "change",
        "no",
        "model_error",
        "see page 3",
        "anna",
    )
    assert (panel.case.ticket, panel.reason.value, panel.note.value) == (tickets[1], "(no reason)", "")
    panel.buttons["skip"].click()
    assert panel.case.ticket == tickets[2]
    panel.buttons["unsure"].click()
    assert "another person" in heard(panel)
    panel.buttons["reject"].click()
    assert (panel.case, "Nothing else waits" in panel.widget.children[0].value) == (None, True)
    assert [review.state(ticket.id) for ticket in tickets] == ["decided", "pending", "adjudicate", "decided"]
    panel.buttons["begin"].click()
    assert panel.case.ticket == tickets[1]
    panel.buttons["stop"].click()
    assert review.state(tickets[1].id) == "pending"


def test_an_answer_of_the_functions_type_is_typed(case: Make) -> None:
    """What does not fit is told, and nothing that was written is gone."""
    ticket = review.put(case(choices=None, provisional={"grade": 1}, answers={"type": "object", "required": ["grade"]}))
    panel = review.queue("loans").work(actor="anna")
    panel.note.value = "my words"
    for wrong, why in (("", "no answer yet"), ("{", "not JSON"), ('{"note": 1}', "lacks grade")):
        panel.answer.value = wrong
        panel.buttons["answer"].click()
        assert why in heard(panel)
        assert (panel.answer.value, panel.note.value, review.state(ticket.id)) == (wrong, "my words", "claimed")
    panel.answer.value = '{"grade": 2}'
    panel.buttons["answer"].click()
    ending = review.details(ticket.id).ending
    assert ending is not None
    assert (ending.value, ending.note) == ({"grade": 2}, "my words")


def test_many_choices_are_a_list(case: Make) -> None:
    """A wall of buttons helps nobody; nothing is chosen beforehand."""
    ticket = review.put(case(choices=[f"grade {number}" for number in range(30)], provisional="grade 3"))
    panel = review.queue("loans").work(actor="anna")
    panel.buttons["answer"].click()
    assert "no answer yet" in heard(panel)
    panel.answer.value = 0
    panel.buttons["answer"].click()
    ending = review.ending(ticket.id)
    assert ending is not None
    assert ending.value == "grade 0"


def test_a_lease_that_is_over_goes_on_with_the_next(case: Make, wall: Any) -> None:
    """The late answer changes nothing, and is kept with its ticket."""
    first, second = (review.put(case(number, priority=-number)) for number in (1, 2))
    panel = review.queue("loans").work(actor="anna")
    wall.now += 601
    review.decide(first.id, "yes", actor="ben")
    panel.buttons["=no"].click()
    assert "takes no decision" in heard(panel)
    assert panel.case.ticket == second
    assert [step.what for step in review.details(first.id).steps] == ["decided", "late"]


def test_a_blind_panel_tells_the_models_answer_afterwards(case: Make) -> None:
    """Not before; and the answer counts as blind."""
    ticket = review.put(case())
    panel = review.queue("loans").work(actor="anna", blind=True)
    assert "accept" not in panel.buttons
    assert "own answer" not in panel.widget.children[0].value
    panel.buttons["=no"].click()
    assert "own answer was yes" in heard(panel)
    assert review.details(ticket.id).parts[0].blind


def test_a_ticket_alone_is_decided_where_it_stands(case: Make) -> None:
    """Looking claims nothing; another person who is at work on it is respected."""
    ticket = review.put(case())
    assert VIEW in bundle(ticket)
    panel = review.panel_of(ticket.id, actor="anna")
    assert review.state(ticket.id) == "pending"
    claim = review.claim(ticket_id=ticket.id, actor="ben")
    assert claim is not None
    panel.buttons["=no"].click()
    assert "somebody else is at work" in heard(panel)
    review.release(claim.token)
    panel.buttons["=no"].click()
    assert (review.state(ticket.id), "by anna (asserted)" in panel.widget.children[0].value) == ("decided", True)
    assert VIEW not in bundle(ticket)


# ── in a kernel ───────────────────────────────────────────────────────────────────────────────────────────────────────
ASK = """
from guardrail import Prediction, Review, decide, guarded, review

@guarded(name="g", version="1", confidence=0.9, review=Review("loans", choices=["yes", "no"]))
def predict(income: int) -> Prediction[str]:
    return Prediction("yes", 0.5)

tickets = [decide(predict, income).ticket for income in (100, 200)]
"""
PRESS = """
import json

panel.buttons["=no"].click()
panel.buttons["=yes"].click()
print(json.dumps([[each.state, each.wait(0)] for each in tickets]))
"""
WORK = "panel = review.queue('loans').work(actor='anna')\npanel"
CELLS = (ASK, "tickets[0]", "review.queue('loans')", WORK, PRESS, "panel")


def test_a_notebook_shows_and_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a real kernel: cards with buttons as the last line of a cell, and decisions that the caller gets."""
    spec = tmp_path / "jupyter" / "kernels" / "this"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "this Python", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    unwatched = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    client = NotebookClient(book, timeout=60, kernel_name="this", resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=unwatched)
    outputs = [cell.outputs for cell in book.cells]
    for at in (1, 2, 3):
        data = outputs[at][-1].data
        assert VIEW in data
        assert "income" in data["text/html"]
    assert json.loads(outputs[4][0].text) == [["decided", "no"], ["decided", "yes"]]
    assert VIEW in outputs[5][-1].data
