"""Why people decided otherwise, by slice, and how long they took: on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from guardrail import ConfigError, override, review
from guardrail.review import outliers, slices
from guardrail.review.case import Case
from guardrail.store import engine
from guardrail.store.tables import claim

pytestmark = pytest.mark.usefixtures("store")

Make = Callable[..., Case]


def answered(case: Case, *, reason: str | None = None, actor: str = "anna", **answer: Any) -> None:
    """File a case and have it answered: accepted, or changed for a reason."""
    given = answer or ({"verdict": "accept"} if reason is None else {"value": "no"})
    review.decide(review.put(case).id, actor=actor, reason=reason, **given)


def of(found: review.Overridden, name: str) -> review.Slice:
    """Return the slice of a name."""
    return next(each for each in found.slices if each.name == name)


def test_reasons_by_guard(case: Make) -> None:
    """How often each reason is given, of all that was answered, with its exact interval; who was unsure and gold say nothing."""
    for number in range(8):
        answered(case(number), reason=("model_error", "fraud")[number % 2] if number < 3 else None)
    answered(case("x"), verdict="unsure")
    answered(case("g", kind="gold", expected="no"), reason="fraud")
    answered(case("r"), verdict="reject")
    (found,) = review.overridden("loans").slices
    assert (found.guard, found.name, found.cases) == ("credit", "all", 9)
    assert found.changed is not None and found.reasons is not None
    assert (found.changed.hits, found.changed.cases) == (4, 9)
    assert {name: share.hits for name, share in found.reasons.items()} == {"model_error": 2, "fraud": 1, "none": 1}
    assert found.reasons["fraud"].low == pytest.approx(0.00281, abs=1e-5)
    assert found.reasons["fraud"].high == pytest.approx(0.48250, abs=1e-5)
    assert review.overridden("another").slices == ()
    loans = review.queue("loans")
    assert loans.overridden().slices == (found,)
    assert loans.tick().expired == 0


def test_numbers_are_cut_at_their_quartiles(case: Make) -> None:
    """Each bin has its answers, and the edges are rounded, so that they are nobody's own number."""
    for number in range(24):
        answered(case(number, arguments={"loan": {"amount": 1000.0 + number * 1001}}), reason="fraud" if number >= 18 else None)
    found = review.overridden(by="loan.amount")
    assert [(each.name, each.cases) for each in found.slices] == [
        ("below 6,760", 6), ("6,760 to below 12,500", 6), ("12,500 to below 18,300", 6), ("18,300 or more", 6),
    ]  # fmt: skip
    assert [None if each.changed is None else each.changed.hits for each in found.slices] == [0, 0, 0, 6]


def test_small_slices_are_said_as_such(case: Make) -> None:
    """A text that fewer than five cases share is never named; together they are one slice, and a small one tells nothing but that."""
    for number in range(9):
        shown = {"region": "north"} if number < 6 else {"region": f"secret street {number}"}
        answered(case(number, shown=shown), reason="fraud" if number % 2 else None)
    answered(case("a", shown={"region": None}))
    found = review.overridden(by="region")
    assert [(each.name, each.cases) for each in found.slices] == [("north", 6), ("(others)", 3), ("(not given)", 1)]
    others = found.to_dict()["slices"][1]
    assert (others["few"], others["changed"], others["reasons"]) == (True, None, None)
    assert "secret street" not in json.dumps(found.to_dict()) + found._repr_html_() + repr(found.rows())
    assert found.rows()[-2][1:4] == ("(others)", "3", "fewer than 5 answers")


def test_texts_are_bounded_and_escaped(case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many texts are slices, the rest together; a hostile one stays text in a notebook."""
    monkeypatch.setattr(slices, "_VALUES", 1)
    for number in range(13):
        answered(case(number, arguments={"kind": "<script>" if number < 7 else "car", "long": "x" * 61}))
    found = review.overridden(by="kind")
    assert [each.name for each in found.slices] == ["<script>", "(others)"]
    assert "<script>" not in found._repr_html_()
    assert [each.name for each in review.overridden(by="long").slices] == ["(others)"]


def test_what_is_sealed_is_no_slice(case: Make) -> None:
    """Nobody's sealed field is opened, nor one that only some cases have sealed; what was erased says nothing."""
    for number in range(6):
        income = {"$sealed": {"field": "input.value.income"}} if number == 2 else 1234567
        answered(case(number, arguments={"income": income, "who": "[erased]"}))
    found = review.overridden(by="income")
    assert [each.name for each in found.slices] == ["all"]
    assert found.notes == ("credit: income is personal or kept as a digest, and so no slice",)
    assert "1234567" not in json.dumps(found.to_dict())
    with pytest.raises(ConfigError, match="no case has the field.*there are income, who"):
        review.overridden(by="who")
    with pytest.raises(ConfigError, match="no case has the field"):
        review.overridden(by="age")


def test_overrides_count_with_the_reason_of_whoever_asked(case: Make) -> None:
    """One that a second person approved counts for the first one's reason; none of them is an answer of the model's."""
    for number in range(5):
        answered(case(number))
    override("decision-1", "no", reason="policy_exception", actor="cleo")
    approved = case("o", kind="override", parent="decision-2", reasons=("fraud",), actor={"id": "cleo", "known_by": "asserted"})
    answered(approved, actor="sue")
    refused = case("p", kind="override", parent="decision-3", reasons=("fraud",), actor={"id": "cleo", "known_by": "asserted"})
    answered(refused, actor="sue", verdict="reject")
    (found,) = review.overridden().slices
    assert found.changed is not None and found.reasons is not None
    assert found.cases == 7
    assert {name: share.hits for name, share in found.reasons.items()} == {"policy_exception": 1, "fraud": 1}
    told = review.quality()["accepted"]
    assert (told["hits"], told["cases"]) == (5, 5)


def timed(case: Case, seconds: float, actor: str) -> None:
    """Have a case decided by somebody who worked on it for so long."""
    ticket = review.put(case)
    review.decide(ticket.id, verdict="accept", actor=actor)
    engine.result(
        engine.write(
            lambda connection: connection.execute(
                claim.update().where(claim.c.ticket_id == ticket.id).values(claimed=claim.c.voted - seconds)
            )
        )
    )


def test_times_far_from_the_others(case: Make) -> None:
    """Too fast and too slow by reviewer, robustly: outliers do not move the bounds; nobody with few decisions is told of."""
    usual = [20, 22, 24, 26, 28, 30, 33, 36, 40, 44]
    for number, seconds in enumerate(usual):
        timed(case(number), seconds, "anna")
        timed(case(f"b{number}"), 0.5 if number < 3 else seconds, "ben")
    timed(case("c"), 7200, "cleo")
    (found,) = review.pace("loans").groups
    assert (found.timed, found.unsaid) == (21, 1)
    assert found.fast_below is not None and found.slow_above is not None
    assert 0.5 < found.fast_below < 20 and 44 < found.slow_above < 7200
    assert [(each.reviewer, each.fast.hits, each.slow.hits) for each in found.people] == [("ben", 3, 0), ("anna", 0, 0)]
    assert found.people[0].fast.low > 0
    assert "cleo" not in json.dumps(review.quality("loans")["pace"])
    assert "a hint to look, not a finding" in review.queue("loans").pace()._repr_html_()


def test_nothing_is_said_of_few_decisions_or_of_times_that_do_not_differ(case: Make) -> None:
    """Below twenty there is no median; where all took the same time nothing is an outlier; where most did, the mean deviation helps."""
    for number in range(19):
        timed(case(number), 30, "anna")
    (few,) = review.pace().groups
    assert (few.timed, few.median, few.people) == (19, None, ())
    timed(case("x"), 30, "anna")
    (same,) = review.pace().groups
    assert (same.median, same.fast_below) == (pytest.approx(30, abs=1e-3), None)
    assert same.people[0].fast.hits == same.people[0].slow.hits == 0
    assert outliers._spread([3.0, 3.0, 3.0, 5.0], 3.0) == pytest.approx(0.5 * 1.253314)
