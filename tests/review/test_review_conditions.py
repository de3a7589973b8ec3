"""Conditions, random checks and people's answers, as calls of every kind meet them."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from guardrail import (
    BusinessId,
    Confidence,
    ConfigError,
    Decision,
    Deferred,
    InvalidOutput,
    Prediction,
    Review,
    batch,
    decide,
    guard_of,
    guarded,
    notices,
    review,
    with_options,
)
from guardrail.policies import cases
from guardrail.review import filing, labels
from guardrail.review.triggers import Trigger, always, below, failed, outside, rule, sample
from guardrail.store import engine

KINDS = pytest.mark.parametrize("kind", ["sync", "async", "table"])
Ask = Callable[[Any], Decision[Any]]


def asking(kind: str, answer: Callable[[Any], Any], returns: Any = Prediction[float], **options: Any) -> Ask:
    """Guard a function of one argument; return what asks it for a Decision."""
    options = {"name": "g", "version": "1", **options}

    def model(amount: float) -> Any:
        return answer(amount)

    async def later(amount: float) -> Any:
        return answer(amount)

    def table(rows: list[dict[str, float]]) -> Any:
        return [answer(row["amount"]) for row in rows]

    model.__annotations__["return"] = later.__annotations__["return"] = returns
    table.__annotations__["return"] = list[returns]
    if kind == "sync":
        guarded_one = guarded(**options)(model)
        return lambda amount: decide(guarded_one, amount)
    if kind == "async":
        guarded_later = guarded(**options)(later)
        return lambda amount: asyncio.run(decide(guarded_later, amount))
    guarded_table = guarded(batch=True, **options)(table)
    return lambda amount: batch(guarded_table, [{"amount": amount}])[0]


def settled() -> None:
    """Wait until what was filed beside answers is stored."""
    engine.result(engine.aside(lambda: None))
    engine.result(engine.write(lambda _: None))


@KINDS
def test_a_condition_looks_at_an_argument_by_name(kind: str) -> None:
    """Of a table at the row's column, by its name alone or below the parameter's."""
    path = "rows.amount" if kind == "table" else "amount"
    ask = asking(kind, lambda amount: Prediction(amount, 1.0), review=Review("loans", triggers=[outside(0, 100, of=path)]))
    assert ask(100.0).ok
    decision = ask(101.0)
    assert decision.ticket is not None
    assert review.details(decision.ticket.id).triggers == [{"name": f"outside(0, 100, {path})", "version": "1"}]
    if kind == "table":
        again = asking(
            kind, lambda amount: Prediction(amount, 1.0), review=Review(triggers=[outside(0, 1, of="amount")]), name="h"
        )
        assert [again(amount).ok for amount in (1.0, 2.0)] == [True, False]


@KINDS
@pytest.mark.parametrize("returns", [Prediction[float], tuple[float, float]])
def test_a_condition_reads_the_confidence_by_itself(kind: str, returns: Any) -> None:
    """Where no threshold is asked for, it is read as one would be; what cannot be read is an error that says so."""
    made: Any = Prediction if returns == Prediction[float] else lambda value, sure: (value, sure)
    option = Review("loans", triggers=[below(0.9)])
    ask = asking(kind, lambda amount: made(amount, amount / 10), returns, review=option)
    sure, unsure = ask(9.0), ask(8.9)
    assert (sure.ok, unsure.ok, sure.confidence) == (True, False, 0.9)
    blind = asking(kind, lambda amount: amount, float, review=option, name="h")
    with pytest.raises(ConfigError, match="no confidence can be read"):
        blind(1.0)


@KINDS
def test_a_condition_on_errors_stands_beside_the_fallback(kind: str) -> None:
    """The caller has the fallback's answer, and a person sees the case; other errors only fall back."""

    def answer(amount: float) -> Any:
        raise (KeyError if amount else ValueError)("no")

    ask = asking(kind, answer, fallback=0.0, review=Review("loans", triggers=[failed(KeyError)]))
    other, wanted = ask(0.0), ask(1.0)
    assert (other.outcome, other.ticket) == ("fallback", None)
    assert (wanted.outcome, wanted.value.value) == ("fallback", 0.0)
    assert wanted.ticket is not None
    assert (wanted.ticket.reason, review.open_count("loans")) == ("trigger", 1)


@KINDS
@pytest.mark.parametrize(("options", "said"), [({}, "review: deferred"), ({"fallback": 0.0}, "fallback: answered instead")])
def test_observing_says_what_conditions_would_do(kind: str, options: dict[str, Any], said: str) -> None:
    """And files nothing, neither for a condition nor by lot."""
    option = Review("loans", triggers=[outside(0, 1, of="amount")], sample=1.0)
    ask = asking(kind, lambda amount: Prediction(amount, 1.0), review=option, mode="observe", **options)
    passed, seen = ask(1.0), ask(2.0)
    assert (passed.outcome, list(passed.would), seen.outcome) == ("answered", [], "answered")
    assert list(seen.would) == [f"{said} (a condition of the review holds: outside(0, 1, amount))"]
    settled()
    assert review.count("loans", state="all") == 0


@KINDS
def test_a_trigger_by_lot_is_stored_with_its_probability(kind: str) -> None:
    """The same questions are drawn each time; what is certain besides is certain."""
    option = Review("loans", triggers=[sample(0.5), outside(0, 100, of="amount")])
    ask = asking(kind, lambda amount: Prediction(amount, 1.0), review=option)
    drawn = [ask(float(amount)).ticket is not None for amount in range(30)]
    assert 3 < sum(drawn) < 27
    assert [ask(float(amount)).ticket is not None for amount in range(30)] == drawn
    assert {case.inclusion for case in review.listing("loans")} == {0.5}
    certain = ask(101.0).ticket
    assert certain is not None
    assert review.details(certain.id).inclusion == 1.0


@KINDS
def test_a_check_is_no_case_of_the_callers(kind: str) -> None:
    """A question that is drawn for a check and later deferred has two tickets: a label of one says nothing of the other's chance."""
    option = Review("loans", sample=1 - 1e-9)
    ask = asking(kind, lambda amount: Prediction(amount, 0.9), confidence=0.8, review=option)
    strict = asking(kind, lambda amount: Prediction(amount, 0.9), confidence=0.95, review=option)
    assert ask(1.0).ok
    settled()
    assert strict(1.0).ticket is not None
    assert sorted((case.kind, case.inclusion) for case in review.listing("loans")) == [("audit", 1 - 1e-9), ("case", 1.0)]
    for case in review.listing("loans"):
        review.decide(case.ticket.id, 2.0, actor="anna")
    assert sorted(label.source for label in labels.read()) == ["audit", "review"]


@KINDS
def test_a_check_that_cannot_be_drawn_takes_no_answer_away(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key nothing is drawn; it is said once and counted, and every caller has the answer."""
    (tmp_path / "config").mkdir(exist_ok=True)
    (tmp_path / "config" / "guardrail").write_text("in the way")
    monkeypatch.setattr(cases, "_secret", None)
    ask = asking(kind, lambda amount: Prediction(amount, 0.9), audit="off", review=Review("loans", sample=1.0))
    assert [ask(float(amount)).value.value for amount in range(3)] == [0.0, 1.0, 2.0]
    assert notices.counts()["g", "review-audit"][0] == 3


def test_a_check_has_deadlines_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filed beside the answer, it is watched over like any other case."""
    watched: list[str] = []
    monkeypatch.setattr(filing, "watch_over", lambda row: watched.append(row["kind"]))
    ask = asking("sync", lambda amount: Prediction(amount, 0.9), review=Review("loans", sample=1.0, sla="1h", on_expiry="reject"))
    ask(1.0)
    settled()
    assert watched == ["audit"]


# ── what people answer ────────────────────────────────────────────────────────────────────────────────────────────────
class Offer(BaseModel):
    """What a model may return."""

    price: float
    until: dt.date


OFFER = Offer(price=1, until=dt.date(2026, 1, 1))


@KINDS
@pytest.mark.parametrize("predicts", [True, False])
def test_a_persons_answer_gets_the_type_of_the_function(kind: str, predicts: bool) -> None:  # noqa: FBT001 - a case
    """JSON knows no models and no dates; the caller does."""
    returns: Any = Prediction[Offer] if predicts else Offer
    ask = asking(
        kind, lambda _: Prediction(OFFER, 0.1) if predicts else OFFER, returns,
        review=Review("loans", triggers=[always()], reuse="1h"),
        audit=by_amount(kind),
    )  # fmt: skip
    ticket = ask(5.0).ticket
    assert ticket is not None
    review.decide(ticket.id, {"price": 2.5, "until": "2027-03-04"}, actor="anna")
    decision = ask(5.0)
    value = decision.value.value if predicts else decision.value
    assert (decision.outcome, value) == ("human", Offer(price=2.5, until=dt.date(2027, 3, 4)))


def by_amount(kind: str) -> Any:
    """Let the amount be the user's own key of the matter."""
    from guardrail import Audit

    return Audit(business_id="rows.amount" if kind == "table" else "amount")


@KINDS
def test_an_accepted_answer_is_what_the_model_gave(kind: str) -> None:
    """Also where the function fails by now: as a Prediction with its own confidence, not as the JSON of one."""
    broken: list[bool] = []

    def answer(amount: float) -> Any:
        if broken:
            raise ValueError("no")
        return Prediction(amount, 0.25, ("thin file",))

    ask = asking(kind, answer, confidence=0.9, review=Review("loans", on=["low", "failed"], reuse="1h"), audit=by_amount(kind))
    ticket = ask(5.0).ticket
    assert ticket is not None
    review.decide(ticket.id, verdict="accept", actor="anna")
    broken.append(True)
    decision = ask(5.0)
    assert (decision.outcome, decision.value.value, decision.value.confidence) == ("human", 5.0, 0.25)


@KINDS
@pytest.mark.parametrize(
    ("own", "returns", "one_hot"),
    [([0.4, 0.6], list[float], [0.0, 1.0]), ((0.4, 0.6), tuple[float, float], (0.0, 1.0)), ([0.3, 0.6, 0.1], list[float], [0.0, 1.0, 0.0])],
)  # fmt: skip
def test_who_chooses_what_a_vector_says_accepts_it(kind: str, own: Any, returns: Any, one_hot: Any) -> None:
    """The caller gets the choice, one-hot, or by `answer=`; the model's own vector where it was accepted without a choice."""
    choices = ["no", "yes", "later"][: len(own)]
    option = {"confidence": Confidence(0.99, of=max), "audit": by_amount(kind)}
    ask = asking(kind, lambda _: own, returns, **option, review=Review("loans", reuse="1h", choices=choices))
    for amount, said in ((1.0, {"value": "yes"}), (2.0, {"verdict": "accept"})):
        ticket = ask(amount).ticket
        assert ticket is not None
        review.decide(ticket.id, actor="anna", **said)
        assert review.ending(ticket.id).verdict == "accept"
    assert [ask(amount).value for amount in (1.0, 2.0)] == [one_hot, own]
    assert review.quality()["accepted"]["hits"] == 2
    ways = Review("loans", reuse="1h", choices=choices, answer=lambda choice, provisional: {"said": choice, "of": provisional})
    assert asking(kind, lambda _: own, Any, **option, review=ways)(1.0).value == {"said": "yes", "of": own}


def test_a_choice_is_the_answer_where_the_model_has_none_by_now() -> None:
    """What was chosen for an earlier vector is no vector by itself; an array stays an array."""
    np = pytest.importorskip("numpy")
    broken: list[bool] = []

    def answer(amount: float) -> Any:
        if broken and amount == 1.0:
            raise ValueError("no")
        return np.array([[0.4, 0.6]])

    option = Review("loans", on=["low", "failed"], reuse="1h", choices=["no", "yes"])
    ask = asking("sync", answer, Any, confidence=0.9, review=option, audit=by_amount("sync"))
    for amount in (1.0, 2.0):
        ticket = ask(amount).ticket
        assert ticket is not None
        review.decide(ticket.id, "yes", actor="anna")
        assert review.ending(ticket.id).verdict == "accept"
    broken.append(True)
    assert ask(1.0).value == "yes"
    assert ask(2.0).value.tolist() == [[0.0, 1.0]]


def test_only_the_row_ends_whose_answer_does_not_fit() -> None:
    """What a person answered to one row takes no other row's answer away."""

    @guarded(
        name="g", version="1", batch=True, confidence=0.8, audit=by_amount("table"),
        review=Review("loans", reuse="1h", choices=["a"], answer=lambda choice, provisional: choice),  # noqa: ARG005
    )  # fmt: skip
    def predict(rows: list[dict[str, float]]) -> list[Prediction[float]]:
        return [Prediction(1.0, 0.1 if row["amount"] == 5 else 0.9) for row in rows]

    rows = [{"amount": 4.0}, {"amount": 5.0}]
    ticket = batch(predict, rows)[1].ticket
    assert ticket is not None
    review.decide(ticket.id, "a", actor="anna")
    found = batch(predict, rows)
    assert [each.outcome for each in found] == ["answered", "refused"]
    assert isinstance(found[1].error, InvalidOutput)
    assert ticket.id in (found[1].error.hint or "")
    assert review.details(ticket.id).state == "decided"


def test_a_persons_answer_holds_for_the_version_that_was_asked() -> None:
    """Another model is another question: its unsure answer goes to a person of its own."""

    def guard(version: str) -> Any:
        def predict(loan: Annotated[str, BusinessId]) -> Prediction[str]:
            return Prediction("no", 0.1)

        return guarded(name="g", version=version, confidence=0.9, review=Review("loans", reuse="1h"))(predict)

    ticket = decide(guard("1"), "loan-17").ticket
    assert ticket is not None
    review.decide(ticket.id, "yes", actor="anna")
    same, other = decide(guard("1"), "loan-17"), decide(guard("2"), "loan-17")
    assert (same.outcome, same.value.value) == ("human", "yes")
    assert list(same.reasons)[-1] == f"a person's answer to decision {ticket.decision_id} is used again"
    assert (other.outcome, review.open_count("loans")) == ("deferred", 1)


@pytest.mark.parametrize("named", [{}, {"name": "g"}, {"version": "1"}])
def test_answers_that_are_used_again_belong_to_a_named_model(named: dict[str, str]) -> None:
    """A hash of the code does not change when the model is trained again."""
    with pytest.raises(ConfigError, match="which function and model an answer belongs to"):
        guarded(**named, review=Review("loans", reuse="1h"))(a_model)  # type: ignore[call-overload]


def a_model(loan: Annotated[str, BusinessId]) -> str:
    """Answer."""
    return loan


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("condition", "options", "said"),
    [
        (outside(0, 1, of="size"), {}, "names no argument of the function"),
        (~(always() & outside(0, 1, of="size.net")), {}, "names no argument of the function"),
        (rule(lambda answer: bool(answer)), {}, "has that name too"),
        (below(0.5), {"confidence": Confidence(max_width=1.0)}, "how wide it is"),
    ],
)
def test_a_condition_that_cannot_be_asked_is_refused_at_once(condition: Trigger, options: dict[str, Any], said: str) -> None:
    """With the guard, not by sending every case to people."""

    @guarded(name="g", version="1", review=Review("loans", triggers=[condition]), **options)
    def predict(answer: float) -> float:
        return answer

    with pytest.raises(ConfigError, match=said):
        predict(1.0)


@pytest.mark.parametrize("weaker", [{"triggers": []}, {"reviewers": 1}, {"sample": 0.1}, {"on": ["failed"]}])
def test_options_cannot_keep_from_people_what_the_decorator_gives_them(weaker: dict[str, Any]) -> None:
    """Fewer conditions, fewer people or fewer checks are for the decorator to say; more may be asked for."""
    strong: dict[str, Any] = {"triggers": [always()], "reviewers": 2, "sample": 0.5}

    @guarded(name="g", version="1", review=Review("loans", **strong))
    def predict(x: float) -> Prediction[float]:
        return Prediction(x, 1.0)

    with pytest.raises(ConfigError, match="cannot weaken the review"):
        with_options(predict, review=Review("loans", **strong | weaker))
    more = {"triggers": [*strong["triggers"], below(0.1)], "reviewers": 3, "sample": 0.6, "on": ["low", "failed"]}
    stronger = with_options(predict, review=Review("loans", **more))
    with pytest.raises(Deferred) as raised:
        stronger(1.0)
    assert review.details(raised.value.ticket.id).reviewers == 3


def test_another_form_of_a_condition_is_another_policy() -> None:
    """Records carry a digest of the options; it changes with the code of a rule, whatever its name."""

    def digest(condition: Trigger) -> str:
        fn = guarded(name="g", version="1", review=Review("loans", triggers=[condition]))(a_model)
        return str(guard_of(fn).plan.digest)

    one, two = rule(lambda loan: loan == "a", name="strange"), rule(lambda loan: loan == "b", name="strange")
    assert digest(one) == digest(rule(lambda loan: loan == "a", name="strange"))
    assert len({digest(one), digest(two), digest(one & always()), digest(always())}) == 4


def test_a_rules_version_is_the_same_in_every_process() -> None:
    """Whatever order sets of texts have there; and another when its code is another, also inside it."""
    program = """
from guardrail.review import rule
print(rule(lambda word: word in {"a", "b", "c", "d"}).version, rule(lambda words: any(w == "x" for w in words)).version,
      rule(lambda words: any(w == "y" for w in words)).version)
"""
    found = {
        subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    (versions,) = found
    assert len(set(versions.split())) == 3
