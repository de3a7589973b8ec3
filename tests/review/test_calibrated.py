"""Calibration from the ledger's and the queue's labels: which count, by what chance they were made, and what cannot be known."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable

import pytest

from guardrail import Confidence, ConfigError, NoThreshold, Prediction, Review, Threshold, calibrate, decide, feedback, guarded
from guardrail import review as desk
from guardrail.ledger.opening import ERASED
from guardrail.review import calibrated_from_labels
from guardrail.review.calibrated import _used
from guardrail.review.compared import same
from guardrail.review.evidence import Checked, Evidence
from guardrail.testing import fake_clock

IN_FORCE = 0.8


@pytest.fixture(autouse=True)
def lots(monkeypatch):
    """The same answers are drawn in every run: which ones is up to a key that is otherwise made at random."""
    monkeypatch.setattr("guardrail.policies.cases._secret", bytes(32))


def risk(at_least: float) -> float:
    """The share of wrong answers among those that reach a threshold: with sureness c one is wrong with probability 0.4 (1 - c)."""
    return 0.2 * (1 - at_least)


def seen(seed: int, *, many: int, audit: float | None, told: float, answered: float) -> Evidence:
    """What is known of many answers: of those that went out a drawn share, or a share by feedback; of the rest what was decided."""
    chance = random.Random(seed)
    found = Evidence("1", array("d", (chance.random() for _ in range(many))))
    for at, sure in enumerate(found.sure):
        right, went = chance.random() >= 0.4 * (1 - sure), sure >= IN_FORCE
        found.went, found.held, found.bar = found.went + went, found.held + (not went), IN_FORCE
        drawn = audit if went else None
        if chance.random() < ((audit or told) if went else answered):
            found.checked.append(Checked(f"{seed}-{at}", sure, right, went, drawn, None))
    return found


# ── statistics ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_promise_holds_although_labels_are_not_there_by_chance():
    """Half of what went out is checked, an eighth of what was held back is decided: labels taken as they come are surer than
    the answers are, and a threshold found on them breaks its promise; thinned out to one chance for all, it holds.
    """
    broken = naive = none = 0
    draws = 60
    for seed in range(draws):
        found = seen(seed, many=6_000, audit=0.5, told=0.0, answered=0.125)
        used = _used(found, [])
        made = calibrate([each.sure for each in used], [each.right for each in used], max_error=0.08, delta=0.1)
        none += isinstance(made, NoThreshold)
        broken += isinstance(made, Threshold) and risk(made.at_least) > 0.08
        pooled = calibrate(
            [each.sure for each in found.checked], [each.right for each in found.checked], max_error=0.08, delta=0.1
        )
        naive += isinstance(pooled, Threshold) and risk(pooled.at_least) > 0.08
    assert broken / draws <= 0.1
    assert naive / draws >= 0.5
    assert none / draws <= 0.5


def test_what_is_used_is_like_all_answers():
    """The share above the threshold in force is that of all answers, within four standard errors, and the draw repeats itself."""
    found = seen(1, many=20_000, audit=0.1, told=0.0, answered=1.0)
    used = _used(found, [])
    share = sum(each.went for each in used) / len(used)
    assert abs(share - 0.2) <= 4 * math.sqrt(0.2 * 0.8 / len(used))
    assert used == _used(found, [])
    assert len(found.checked) > 5 * len(used)


def test_different_chances_are_evened_out():
    """Where one in two was drawn for a while, and then one in ten."""
    found = seen(2, many=20_000, audit=0.5, told=0.0, answered=1.0)
    kept = random.Random(1)
    later = [each._replace(drawn=0.1) if each.went and at % 2 else each for at, each in enumerate(found.checked)]
    found.checked = [each for each in later if each.drawn != 0.1 or kept.random() < 0.2]
    used = _used(found, [])
    assert abs(sum(each.went for each in used) / len(used) - 0.2) <= 4 * math.sqrt(0.2 * 0.8 / len(used))


@pytest.mark.parametrize(
    ("audit", "told", "answered", "used", "said"),
    [
        (None, 0.0, 1.0, False, []),
        (None, 0.5, 1.0, True, ["known from feedback alone"]),
        (None, 1.0, 1.0, True, []),
        (0.2, 0.0, 0.0, True, ["no threshold below the one in force"]),
        (0.2, 0.0, 0.5, True, ["have a label: the others are taken to be like those"]),
        (0.2, 0.0, 1.0, True, []),
    ],
)
def test_what_the_labels_cannot_say_is_said(audit, told, answered, used, said):
    """Nothing of what went out: nothing is used. Otherwise a warning names what is taken for granted."""
    warnings: list[str] = []
    found = _used(seen(3, many=1_000, audit=audit, told=told, answered=answered), warnings)
    assert bool(found) is used
    assert len(warnings) == len(said)
    assert all(words in warning for words, warning in zip(said, warnings, strict=True))
    if not answered:
        assert min(each.sure for each in found) >= IN_FORCE


def test_feedback_that_nobody_drew_gives_way_to_what_was_drawn():
    """Since it may come more often where an answer was wrong."""
    found = seen(4, many=1_000, audit=0.3, told=0.0, answered=1.0)
    found.checked += [Checked(f"told-{at}", 0.99, False, True, None, None) for at in range(50)]
    warnings: list[str] = []
    assert not any(each.decision_id.startswith("told") for each in _used(found, warnings))
    assert "feedback on 50 answers" in warnings[0]


# ── comparing ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("answer", "actual", "more", "right"),
    [
        ("yes", "yes", {}, True),
        ("yes", "no", {}, False),
        (1, True, {}, True),
        (2, 2.0, {}, True),
        ("1", 1, {}, None),
        (["yes", 0.9], "yes", {"sure": 0.9}, True),
        (["yes", 0.9], "no", {"sure": 0.9}, False),
        ({"value": "yes", "confidence": 0.9, "reasons": []}, "yes", {}, True),
        ({"value": "yes", "confidence": 0.9, "reasons": []}, {"value": "yes", "confidence": 1.0, "reasons": ["a"]}, {}, True),
        ({"label": "yes", "confidence": 0.9}, "yes", {}, True),
        ({"label": "yes", "price": 3}, "yes", {}, None),
        ([0.2, 0.8], 1, {}, True),
        ([0.2, 0.8], 0, {}, False),
        ([0.2, 0.8], [0.0, 1.0], {}, True),
        ([0.2, 0.8], "no", {"choices": ["yes", "no"]}, True),
        ([0.2, 0.8], "no", {}, None),
        ({"$ndarray": [[0.2, 0.8]], "dtype": "float64"}, 1, {}, True),
        ([1.0, 0.0], [0.9, 0.1], {"sure": 0.0}, True),
        (ERASED, "yes", {}, None),
        ("yes", ERASED, {}, None),
        (None, None, {}, True),
    ],
)
def test_answers_are_held_against_the_truth(answer, actual, more, right):
    """In each form in which a record or a ticket keeps them; what is of another kind is not compared, rather than wrong."""
    assert same(answer, actual, **more) is right


# ── from a real ledger and a real queue ───────────────────────────────────────────────────────────────────────────────
def truth(sure: float) -> str:
    """What is true of a case: the model says yes, and is wrong of every fifth case that it is not sure of."""
    return "no" if sure < IN_FORCE and round(sure * 1000) % 5 == 0 else "yes"


def work(many: int = 60, *, decided: bool = True, sample: float = 0.5, version: str = "1") -> Callable[..., tuple[str, float]]:
    """A guard that has answered many calls, and people who have decided what it sent them."""

    @guarded(name="credit", version=version, confidence=IN_FORCE, review=Review("loans", sample=sample))
    def predict(sure: float, region: str = "north") -> tuple[str, float]:
        return "yes", sure

    for at in range(many):
        decide(predict, 0.5 + 0.5 * at / many, region="north" if at % 2 else "south")
    while decided and (claim := desk.claim("loans", actor="ann")) is not None:
        sure = claim.details.arguments["sure"]
        desk.decide(claim.ticket.id, truth(sure), token=claim.token, actor="ann")
    return predict


def test_drawn_and_decided_cases_are_enough(store):
    """What went out counts by its draw, what was held back by its decision; the coverage is that of all answers."""
    work()
    made = calibrated_from_labels("credit", max_error=0.3, delta=0.2)
    assert (made.guard, made.version, made.answers) == ("credit", "1", 60)
    assert made.went_out == 24
    assert 36 < made.checked < 60
    assert made.used <= made.checked
    assert made.warnings == ()
    assert isinstance(made.found, Threshold)
    assert made.found.version == "1"
    assert made.found.coverage == sum(0.5 + 0.5 * at / 60 >= made.found.at_least for at in range(60)) / 60
    assert made.found.points[-1].coverage <= 1.0


def test_without_a_check_of_what_went_out_there_is_no_threshold(home):
    """However many deferred cases have been decided; and it says why, and what to do is said where there is no label at all."""
    work(sample=0.0)
    made = calibrated_from_labels("credit", max_error=0.3)
    assert isinstance(made.found, NoThreshold)
    assert "no answer that went out has been checked" in made.found.reason
    assert made.found.labels_missing > 0
    with pytest.raises(ConfigError, match="none of its 10 answers is known"):
        work(10, decided=False, version="2")
        calibrated_from_labels("credit")
    with pytest.raises(ConfigError, match="has no answers"):
        calibrated_from_labels("nobody")


def test_a_rejected_answer_was_wrong(home):
    """Although the reviewer gave no other, and so no label; but what the caller says was true later on counts more."""
    predict = guarded(name="credit", confidence=0.9)(lambda sure: ("yes", sure))
    ids = [decide(predict, 0.5 + at / 100) for at in range(3)]
    for each in ids:
        desk.decide(each.ticket.id, verdict="reject", actor="ann")
    feedback(ids[2].id, "yes")
    made = calibrated_from_labels("credit", max_error=0.5, delta=0.4)
    assert (made.checked, made.used) == (3, 3)
    assert made.found.points[-1].errors == 2


def test_feedback_by_business_id_is_about_the_latest_decision(home):
    """Of several about one matter; and a copy from a cache is none."""
    from guardrail import Audit

    audit = Audit(business_id="loan")
    predict = guarded(name="credit", confidence=Confidence(), audit=audit, cache="1h")(lambda loan, sure: Prediction("yes", sure))
    for sure in (0.2, 0.9, 0.9):
        predict("loan-1", sure)
    feedback(business_id="loan-1", actual="yes", guard="credit")
    made = calibrated_from_labels("credit", max_error=0.5, delta=0.4)
    assert (made.answers, made.checked) == (2, 1)
    assert made.left_out == {"copies": 1}
    assert "feedback alone" in made.warnings[0]
    assert made.found.points[0].at_least == 0.9


def test_what_cannot_be_compared_is_counted(home):
    """Answers of which a record has only the digest, and labels of another kind."""
    predict = guarded(name="credit", confidence=Confidence(of="score"))(lambda text: {"text": text, "score": 0.9})
    plain = guarded(name="plain", confidence=Confidence())(lambda: ("yes", 0.9))
    feedback(decide(predict, "a").id, "a")
    with pytest.raises(ConfigError, match="1 answers not kept"):
        calibrated_from_labels("credit")
    feedback(decide(plain).id, 3)
    with pytest.raises(ConfigError, match="1 not comparable"):
        calibrated_from_labels("plain")
    assert calibrated_from_labels("plain", correct=lambda answer, actual: len(answer) == actual, max_error=0.5).checked == 1


def test_disputes_say_what_is_true_and_not_what_is_common(home):
    """A label that only an appeal gave chooses its case by its being wrong, and so is left out."""
    from sqlalchemy import insert

    from guardrail.store import engine
    from guardrail.store.tables import label

    predict = guarded(name="credit", confidence=Confidence())(lambda: ("yes", 0.9))
    told, disputed = decide(predict), decide(predict)
    feedback(told.id, "yes")
    for at, each in enumerate((told, disputed)):
        row = {
            "id": f"l-{at}",
            "decision_id": each.id,
            "guard": "credit",
            "actual": '"no"',
            "at": engine.now(),
            "stored": engine.now(),
            "source": "appeal",
        }
        engine.result(engine.write(lambda connection, row=row: connection.execute(insert(label).values(**row))))
    made = calibrated_from_labels("credit", max_error=0.5, delta=0.4)
    assert (made.checked, made.left_out) == (1, {"disputed only": 1})
    assert made.found.points[0].errors == 1


def test_groups_are_an_argument(home):
    """From tickets; what nobody knows the group of is left out, and said."""
    work()
    made = calibrated_from_labels("credit", max_error=0.6, delta=0.3, groups="region")
    assert set(made.found.groups) == {"north", "south"}
    with pytest.raises(ConfigError, match="without the group"):
        calibrated_from_labels("credit", groups="country")


def test_only_one_version_counts(home):
    """The latest, or the one that is asked for."""
    work(20)
    work(10, version="2")
    assert (calibrated_from_labels("credit").version, calibrated_from_labels("credit").answers) == ("2", 10)
    first = calibrated_from_labels("credit", version="1")
    assert (first.answers, first.left_out["other versions"]) == (20, 10)


def test_answers_a_day_are_those_of_the_ledger(home):
    """Where it spans an hour or more."""
    with fake_clock() as time:
        predict = guarded(name="credit", confidence=Confidence())(lambda: ("yes", 0.9))
        feedback(decide(predict).id, "yes")
        assert calibrated_from_labels("credit", max_error=0.5).a_day is None
        time.advance("12h")
        decide(predict)
        assert calibrated_from_labels("credit", max_error=0.5).a_day == pytest.approx(4)


def test_notebooks_show_where_it_comes_from(home):
    """The guard's name, which may be anything, and the counts beside the curve."""
    predict = guarded(name="<b>", confidence=Confidence())(lambda: ("yes", 0.9))
    feedback(decide(predict).id, "yes")
    page = calibrated_from_labels("<b>", max_error=0.5)._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page.replace("<b>&lt;b&gt;", "")
    assert "1, of which 1 were used" in page
