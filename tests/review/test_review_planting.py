"""Gold cases among real ones: nobody can tell them, and they count for themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from guardrail import ConfigError, ledger, override, review
from guardrail.cli.app import build
from guardrail.review import rows
from guardrail.review.case import Case
from guardrail.store import engine

Make = Callable[..., Case]
USUAL: dict[str, Any] = {
    "reviewers": 2, "version": "7", "priority": 3, "skills": ["mortgages"], "owner": "credit-ml", "threshold": 0.9, "guide": "chapter 4",
    "levels": [{"role": "clerk", "within": 3600.0, "notify": []}], "on_expiry": "reject",
}  # fmt: skip


def decided(case: Make, number: int, *answers: str, **fields: Any) -> review.Ticket:
    """A case that people have decided, of an older version."""
    names = ("anna", "ben", "cleo")
    old = review.put(case(("old", number), **{"reviewers": len(answers), "arguments": {"income": number}, **fields}))
    for name, answer in zip(names, answers, strict=False):
        review.decide(old.id, answer, actor=name)
    return old


def gold() -> list[dict[str, Any]]:
    """What the store knows of gold cases."""
    found = engine.read(
        lambda connection: rows.find(
            connection, queue="loans", guard=None, business_id=None, states=(), limit=None, now=engine.now()
        )
    )
    return [dict(row) for row in found if row["kind"] == "gold"]


@pytest.mark.usefixtures("store")
def test_gold_cases_cannot_be_told_from_those_that_wait(case: Make, wall: Any) -> None:
    """But for the question nothing is different: not the fields, not when they were filed, not what the ledger says."""
    for number in range(6):
        decided(case, number, "no", "no", reasons=["too near"])
    real = []
    for number in range(10):
        wall.now += 100
        real.append(review.put(case(number, due=wall.now + 7200, arguments={"income": 900}, reasons=["too near"], **USUAL)))
    wall.now += 50
    assert review.plant("loans", count=4)[::2] == (4, 10)
    cases = review.listing("loans", state="open")
    planted = {row["id"] for row in gold()}
    assert (len(cases), len(planted)) == (14, 4)
    own = ("ticket", "arguments", "steps", "parts")
    for each in cases:
        same = {name: getattr(each, name) for name in each.__slots__ if name not in own}
        assert same == {name: getattr(cases[0], name) for name in same}
        assert real[0].created <= each.ticket.created <= real[-1].created.fromtimestamp(wall.now, real[0].created.tzinfo)
        assert each.ticket.due is not None
        assert (each.ticket.due - each.ticket.created).total_seconds() == pytest.approx(7200)
    assert [each.ticket.created for each in cases] == sorted(each.ticket.created for each in cases)  # handed out as filed
    assert not any("gold" in str(each.to_dict()) for each in cases)
    review.people.set("dora", roles=["clerk"])
    for each in cases:
        review.decide(each.ticket.id, "no", actor="dora")
    told = [set(event) - {"reason"} for event in ledger.read(event="decision") if event["actor"]["id"] == "dora"]
    assert len(told) == 14
    assert len({frozenset(each) for each in told}) == 1, [set.union(*told) - each for each in told]
    assert (review.quality()["gold"]["hits"], review.quality()["gold"]["cases"]) == (4, 4)


@pytest.mark.usefixtures("store")
def test_only_answers_that_people_agreed_on_are_known(case: Make) -> None:
    """Nor what was disputed afterwards, what one person said, or what nobody answered; and none twice."""
    agreed = decided(case, 1, "no", "no")
    decided(case, 2, "no")
    decided(case, 3, "no", "yes", "yes", reviewers=2)  # adjudicated: two said yes
    disputed = decided(case, 4, "no", "no")
    ticket = review.put(case("x", reviewers=2))
    for name in ("anna", "ben"):
        review.decide(ticket.id, verdict="reject", actor=name)
    override(disputed.decision_id, "yes", reason="model_error", actor="sue")
    for number in range(10):
        review.put(case(number))
    assert review.plant("loans", count=10).planted == 2
    assert {json.loads(row["arguments"])["income"]: json.loads(row["expected"]) for row in gold()} == {1: "no", 3: "yes"}
    with pytest.raises(ConfigError, match="no decided case") as problem:
        review.plant("loans")
    assert "2 people" in str(problem.value.hint)
    assert review.plant("loans", agreed=1).planted == 1
    assert agreed.id not in {row["id"] for row in gold()}


def test_the_models_own_answer_is_wrong_as_often_as_is_asked(case: Make) -> None:
    """With choices another one is shown; who only agrees is found."""
    for number in range(12):
        decided(case, number, "yes", "yes")
        review.put(case(number))
    assert review.plant("loans", count=6, wrong=1.0) == (6, 6, 12)
    assert review.plant("loans", count=6, wrong=0.0) == (6, 0, 12)
    for each in review.listing("loans", state="open"):
        review.decide(each.ticket.id, verdict="accept", actor="dora")
    assert (review.quality()["gold"]["hits"], review.quality()["gold"]["cases"]) == (6, 12)
    assert all(row["label_source"] == "review" for row in review.labelled())
    assert len(review.labelled()) == 24  # the decided ones and those that waited: gold makes none


def test_own_cases_are_planted_and_checked(case: Make) -> None:
    """Against the choices of the guard; nothing is planted where one cannot be used."""
    for number in range(3):
        review.put(case(number, business_id=f"loan-{number}"))
    fine = {"arguments": {"income": 7}, "expected": "no", "provisional": "yes", "business_id": "loan-99", "confidence": 0.5}
    for wrong, why in (
        ({"arguments": {}}, "case 2 cannot be used"),
        ({"arguments": {}, "expected": "perhaps"}, "none of the choices"),
        ({"arguments": {}, "expected": "no", "kind": "gold"}, "case 2"),
    ):
        with pytest.raises(ConfigError, match=why):
            review.plant("loans", [fine, wrong])
    assert gold() == []
    assert review.queue("loans").plant([fine], wrong=1.0) == (1, 1, 3)
    (row,) = gold()
    assert (row["arguments"], row["expected"], row["provisional"], row["business_id"]) == (
        '{"income":7}',
        '"no"',
        '"yes"',
        "loan-99",
    )


def test_what_is_personal_is_not_copied(case: Make) -> None:
    """A copy would be one more place to erase."""
    sealed = {"name": {"$sealed": {"field": "name"}}, "income": 1}
    for number, fields in enumerate(
        ({"arguments": sealed}, {"shown": sealed}, {"provisional": {"$sealed": {"field": "answer"}}})
    ):
        decided(case, number, "no", "no", **fields)
    review.put(case(1))
    with pytest.raises(ConfigError, match="no decided case"):
        review.plant("loans")


def test_gold_does_not_stand_out_by_number(case: Make) -> None:
    """There must be others to hide among, of the same guard; misuse says what to write."""
    decided(case, 1, "no", "no")
    with pytest.raises(ConfigError, match="nothing waits"):
        review.plant("loans")
    review.put(case(1, guard="another"))
    with pytest.raises(ConfigError, match="no decided case"):
        review.plant("loans")
    review.put(case(2))
    with pytest.raises(ConfigError, match="several guards"):
        review.plant("loans", [{"arguments": {}, "expected": "no"}])
    with pytest.raises(ConfigError, match="stand out"):
        review.plant("loans", count=3)
    for wrong in ({"count": 0}, {"wrong": 1.5}, {"agreed": 0}):
        with pytest.raises(ConfigError):
            review.plant("loans", **wrong)  # type: ignore[arg-type]


def test_by_command(case: Make, tmp_path: Path) -> None:
    """It prints how many, and no id."""
    for number in range(4):
        review.put(case(number))
    (tmp_path / "known.jsonl").write_text('{"arguments": {"income": 7}, "expected": "no", "provisional": "no"}\n\n')
    words = ["review", "plant", "loans", "--from", str(tmp_path / "known.jsonl"), "--wrong", "0"]
    done = CliRunner().invoke(build(), words)
    assert (done.exit_code, done.output.strip()) == (0, "1 planted among 4 that wait; in 0 the model's own answer is wrong")
    (tmp_path / "known.jsonl").write_text("{")
    assert CliRunner().invoke(build(), words).exit_code != 0
    decided(case, 1, "no", "no")
    done = CliRunner().invoke(build(), ["review", "plant", "loans", "--json", "--wrong", "1"])
    assert json.loads(done.stdout) == {"planted": 1, "wrong": 1, "waiting": 4}
