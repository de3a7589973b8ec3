"""How well people and model do, told from votes: on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from guardrail import review
from guardrail.review import labels
from guardrail.review.case import Case

pytestmark = pytest.mark.usefixtures("store")

Make = Callable[..., Case]


def test_what_people_made_of_the_models_answers(case: Make) -> None:
    """Accepted shown and blind, reasons of changes, who did how much, who was unsure; each rate with its interval."""
    for number in range(6):
        ticket = review.put(case(number))
        blind = number < 2
        claim = review.claim(ticket_id=ticket.id, actor="anna" if number % 2 else "ben", blind=blind)
        assert claim is not None
        answer: dict[str, Any] = {"value": "no", "reason": "model_error"} if number in (0, 2) else {"verdict": "accept"}
        review.decide(ticket.id, actor=claim.actor, token=claim.token, **answer)
    review.decide(review.put(case("x")).id, verdict="unsure", actor="anna")
    found = review.quality("loans")
    assert found["decided"] == 7
    assert (found["accepted"]["hits"], found["accepted"]["cases"]) == (3, 4)
    assert (found["accepted_blind"]["hits"], found["accepted_blind"]["cases"]) == (1, 2)
    assert found["accepted"]["low"] < 0.75 < found["accepted"]["high"]
    assert found["reasons"] == {"model_error": 2}
    assert [(name, each["cases"]) for name, each in found["load"].items()] == [("anna", 4), ("ben", 3)]
    assert found["load"]["ben"] == pytest.approx({"cases": 3, "low": 0.618672, "high": 8.767273}, abs=1e-6)
    assert (found["unsure"]["hits"], found["unsure"]["cases"]) == (1, 7)
    assert review.quality("none")["accepted"]["value"] is None
    card = found._repr_html_()  # type: ignore[attr-defined]
    for text in ("75.0%", "19.4% to 99.4%", "reasons: model_error", "load: anna", "1.1 to 10.2"):
        assert text in card


def test_how_far_people_agree(case: Make) -> None:
    """From cases that two people answered; a rejection is an answer too."""
    for number, (one, other) in enumerate([("yes", "yes"), ("no", "no"), ("yes", "no"), ("yes", "yes")]):
        ticket = review.put(case(number, reviewers=2))
        review.decide(ticket.id, one, actor="anna")
        review.decide(ticket.id, other, actor="ben")
    found = review.quality()["agreement"]
    assert found["percent"]["value"] == pytest.approx(0.75)
    assert found["percent"]["cases"] == 4
    assert 0 < found["alpha"]["value"] < found["percent"]["value"]


def test_gold_cases_look_like_others_and_are_counted_apart(case: Make) -> None:
    """Nobody can tell them; they become no label; what people made of them is one rate, also where the model is wrong on purpose."""
    gold = [review.put(case(number, kind="gold", expected="no", provisional="yes")) for number in range(2)]
    seen = review.details(gold[0].id)
    assert (seen.kind, "expected" in seen.to_dict(), "gold" in str(seen.to_dict())) == ("case", False, False)
    review.decide(gold[0].id, "no", actor="anna")
    review.decide(gold[1].id, verdict="accept", actor="anna")
    found = review.quality()
    assert (found["gold"]["hits"], found["gold"]["cases"]) == (1, 2)
    assert found["accepted"]["cases"] == 0
    assert labels.read() == []


def test_a_gold_case_with_a_vector_is_known_by_the_choice_that_it_says(case: Make) -> None:
    """Whether that was chosen, or accepted as it stood."""
    for number, value in ((7, "yes"), (8, "no"), (9, None)):
        shown = review.put(case(number, kind="gold", expected=[0.2, 0.8], provisional=[0.2, 0.8], choices=["no", "yes"]))
        review.decide(shown.id, actor="kim", **({"verdict": "accept"} if value is None else {"value": value}))
    assert (review.quality()["gold"]["hits"], review.quality()["gold"]["cases"]) == (2, 3)


def test_checks_are_weighed_by_the_chance_that_they_were_made(case: Make) -> None:
    """A wrong answer that was drawn once in ten counts ten times one that came for certain."""
    for number, (inclusion, answer) in enumerate([(0.1, "no"), (0.1, "yes"), (1.0, "yes"), (1.0, "yes")]):
        review.decide(review.put(case(number, kind="audit", inclusion=inclusion)).id, answer, actor="anna")
    found = review.quality()["wrong"]
    assert found["value"] == pytest.approx(10 / 22)
    assert found["low"] < found["value"] < found["high"]
