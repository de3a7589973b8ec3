"""Which sure answers people see: conditions, random checks; and what of people's options reaches the ticket."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Annotated, Any

import pytest

from guardrail import (
    BusinessId,
    ConfigError,
    Deferred,
    Level,
    PartialBatch,
    Prediction,
    Review,
    batch,
    configure,
    decide,
    guarded,
    review,
)
from guardrail.call import MISSING
from guardrail.errors import InvalidInput, InvalidOutput
from guardrail.review import labels
from guardrail.review.judging import draw, judged
from guardrail.review.triggers import Seen, always, below, failed, outside, rule, sample
from guardrail.store import engine

LOAN = SimpleNamespace(size={"net": 10})


def seen(
    answer: Any = "yes",
    confidence: float | None = 0.95,
    error: BaseException | None = None,
    arguments: dict[str, Any] | None = None,
) -> Seen:
    """Return what a condition looks at."""
    given = {"name": "x"} if arguments is None else arguments
    return Seen((5,), given, answer if error is None else MISSING, confidence, error, ("number",))


@pytest.mark.parametrize(
    ("trigger", "fires", "rests"),
    [
        (below(0.9), seen(confidence=0.89), seen(confidence=0.9)),
        (below(0.9), seen(confidence=None), seen(error=ValueError())),
        (below(0.9), seen(confidence=float("nan")), seen()),
        (outside(0.4, 0.6), seen(0.39), seen(0.4)),
        (outside(0.4, 0.6), seen(Prediction(0.7, 1.0)), seen(Prediction(0.6, 1.0))),
        (outside(1, 2, of=len), seen("abc"), seen("ab")),
        (rule(lambda number, name: number == 5 and name == "x"), seen(), seen(error=ValueError())),
        (rule(lambda number, name, answer: answer == "no"), seen("no"), seen("yes")),  # noqa: ARG005 - as the function has them
        (failed(TimeoutError, KeyError), seen(error=KeyError()), seen(error=ValueError())),
        (failed(), seen(error=ValueError()), seen()),
        (always(), seen(), seen(error=ValueError())),
        (below(0.9) & always(), seen(confidence=0.1), seen()),
        (below(0.9) | outside(0, 1, of=len), seen("ab"), seen("a")),
        (~below(0.9), seen(), seen(confidence=0.1)),
        (~below(0.9), seen(), seen(error=ValueError())),  # says nothing of a call without an answer
        (below(0.9) & ~failed(), seen(confidence=0.1), seen(error=ValueError())),
        (below(0.9) | failed(KeyError), seen(error=KeyError()), seen(error=ValueError())),
        (~failed(KeyError), seen(error=ValueError()), seen(error=KeyError())),
        (below(0.9), seen(confidence=1.5), seen(confidence=1.0)),
        (outside(0, 1), seen(float("nan")), seen(1)),
        (outside(0, 9, of="amount"), seen(arguments={"amount": 10}), seen(arguments={"amount": 9})),
        (outside(0, 9, of="loan.size.net"), seen(arguments={"loan": LOAN}), seen(arguments={"loan": {"size": {"net": 1}}})),
    ],
)
def test_a_condition_fires(trigger: Any, fires: Seen, rests: Seen) -> None:
    """For what it names, and for nothing else."""
    assert trigger.fires(fires, 0.5)
    assert not trigger.fires(rests, 0.5)


def test_a_draw_is_fair_and_always_the_same() -> None:
    """A tenth of many questions, within what chance allows; the same question again; another secret draws otherwise."""
    drawn = [draw(b"secret", "audit", str(number).encode()) for number in range(10_000)]
    assert 880 < sum(each < 0.1 for each in drawn) < 1120  # four standard deviations
    assert drawn[:100] == [draw(b"secret", "audit", str(number).encode()) for number in range(100)]
    assert drawn[:100] != [draw(b"other", "audit", str(number).encode()) for number in range(100)]
    assert len(set(drawn)) == len(drawn)


def test_the_probability_of_being_drawn_is_exact() -> None:
    """For shares alone, joined, and beside a condition that fires for certain."""
    low = seen(confidence=0.1)
    assert judged([sample(0.1)], seen(), lambda: 0.05).inclusion == pytest.approx(0.1)
    assert judged([sample(0.1), sample(0.3)], seen(), lambda: 0.2).inclusion == pytest.approx(0.3)
    assert judged([below(0.9) & sample(0.25)], low, lambda: 0.2).inclusion == pytest.approx(0.25)
    assert judged([sample(0.1), below(0.9)], low, lambda: 0.5).inclusion == 1.0
    assert judged([~sample(0.1)], seen(), lambda: 0.5).inclusion == pytest.approx(0.9)
    assert judged([sample(0.1)], seen(), lambda: 0.5) == ((), 1.0, None)


def test_each_condition_is_asked_once_for_a_call() -> None:
    """However often it stands in others, and however much chance there is to weigh; what is not needed is not asked."""
    asked: list[str] = []
    one, two = (rule(lambda number, name, word=word: asked.append(word) or word == "one") for word in ("one", "two"))  # type: ignore[func-returns-value]
    found = judged([one & sample(0.5), one & sample(0.3), two | one, always() | two], seen(), lambda: 0.4)
    assert asked == ["one", "two"]
    assert [each["name"] for each in found.triggers] == ["(rule & sample(0.5))", "(rule | rule)", "(always() | rule)"]
    assert found.inclusion == 1.0


def test_a_condition_that_fails_where_nothing_was_drawn_counts_as_one_that_fires() -> None:
    """In the probability of being seen: had the lot been another, it would have sent the case to people."""

    def broken(number: int, name: str) -> bool:
        raise RuntimeError

    found = judged([sample(0.2) & rule(broken), sample(0.7) & ~sample(0.2)], seen(), lambda: 0.5)
    assert (found.reason, found.inclusion) == ("trigger", pytest.approx(0.7))
    assert judged([sample(0.2) & rule(broken)], seen(), lambda: 0.1).reason == "trigger_failed"
    assert judged([sample(0.2)], seen(), lambda: 1 / 0).reason == "trigger_failed"  # no key to draw with
    assert judged([sample(0.2)], seen(error=ValueError()), lambda: 1 / 0).reason is None


def test_all_that_fire_are_stored_and_the_caller_is_told() -> None:
    """A sure answer goes to a person, with every condition that held, named and versioned."""

    def young(age: int) -> bool:
        return age < 21

    @guarded(
        name="g",
        version="1",
        confidence=0.5,
        review=Review("loans", triggers=[rule(young, version="7"), below(0.99), outside(0, 1)]),
    )
    def predict(age: int) -> Prediction[float]:
        return Prediction(0.5, 0.6 if age < 30 else 1.0)

    assert predict(40).value == 0.5
    with pytest.raises(Deferred) as raised:
        predict(20)
    case = review.details(raised.value.ticket.id)
    assert case.ticket.reason == "trigger"
    assert case.triggers == [{"name": "young", "version": "7"}, {"name": "below(0.99)", "version": "1"}]
    assert (case.inclusion, case.kind) == (1.0, "case")
    decision = decide(predict, 25)
    assert decision.ticket is not None
    assert list(decision.reasons) == ["a condition of the review holds: below(0.99)"]


def test_a_condition_that_fails_sends_the_case_to_people() -> None:
    """Never silently passed; the reason tells it from one that fired."""

    @guarded(name="g", version="1", review=Review("loans", triggers=[rule(lambda x: 1 / 0)]))  # noqa: ARG005 - as the function has it
    def predict(x: int) -> int:
        return x

    decision = decide(predict, 1)
    assert decision.ticket is not None
    assert decision.ticket.reason == "trigger_failed"


def test_a_condition_on_errors_takes_them_to_people() -> None:
    """One kind of error is for people, another goes to the caller as it is."""

    @guarded(name="g", version="1", review=Review("loans", triggers=[failed(KeyError)]))
    def predict(x: int) -> int:
        raise (KeyError if x else ValueError)("no")

    with pytest.raises(ValueError, match="no"):
        predict(0)
    with pytest.raises(Deferred):
        predict(1)


@pytest.mark.parametrize("kind", ["sync", "async", "table"])
def test_a_random_check_lets_the_answer_out(kind: str) -> None:
    """The caller gets what it asked for; the case waits beside it once for each question, with its probability."""
    option = Review("loans", sample=1.0)

    @guarded(name="g", version="1", confidence=0.5, review=option, cache="1m")
    def predict(x: int) -> Prediction[int]:
        return Prediction(x, 0.9)

    @guarded(name="g", version="1", confidence=0.5, review=option, cache="1m")
    async def later(x: int) -> Prediction[int]:
        return Prediction(x, 0.9)

    for _ in range(2):
        if kind == "sync":
            assert [predict(x).value for x in range(3)] == [0, 1, 2]
        elif kind == "async":
            assert [asyncio.run(later(x)).value for x in range(3)] == [0, 1, 2]
        else:
            assert [each.value for each in batch(predict, [0, 1, 2]).values if each is not None] == [0, 1, 2]
        engine.result(engine.aside(lambda: None))
        engine.result(engine.write(lambda _: None))
    found = review.listing("loans")
    assert len(found) == 3
    assert {(each.kind, each.inclusion, each.ticket.reason) for each in found} == {("audit", 1.0, "audit")}
    review.decide(found[0].ticket.id, 9, actor="anna")
    assert [(label.source, label.actual) for label in labels.read()] == [("audit", 9)]
    if kind == "sync":
        predict(0)
        engine.result(engine.write(lambda _: None))
        assert review.count("loans", state="all") == 3


def test_a_share_is_checked_and_the_rest_is_not() -> None:
    """About as many as asked for, and never a call without an answer."""

    @guarded(name="g", version="1", review=Review("loans", sample=0.2))
    def predict(x: int) -> int:
        return x

    assert [predict(x) for x in range(200)] == list(range(200))
    engine.result(engine.write(lambda _: None))
    assert 15 < review.open_count("loans") < 70


def test_conditions_hold_for_rows_of_a_table() -> None:
    """Each row by itself; the others are answered."""

    @guarded(name="g", version="1", batch=True, review=Review("loans", triggers=[rule(lambda row: row == 2)]))
    def predict(rows: list[int]) -> list[int]:
        return [row * 10 for row in rows]

    with pytest.raises(PartialBatch) as raised:
        predict([1, 2, 3])
    assert list(raised.value.batch.values) == [10, None, 30]
    (case,) = review.listing("loans")
    assert (case.ticket.reason, case.ticket.provisional) == ("trigger", 20)


def test_a_queue_that_is_down_takes_no_answer_away(home: Any) -> None:
    """A random check is a convenience: without store and spool the caller has the answer, and it is said once."""
    home.mkdir()
    (home / "store.db").mkdir()
    (home / "spool").write_text("in the way")

    @guarded(name="g", version="1", review=Review("loans", sample=1.0))
    def predict(x: int) -> int:
        return x

    assert [predict(x) for x in range(3)] == [0, 1, 2]


def test_levels_reviewers_and_type_reach_the_ticket() -> None:
    """What `Review` says of people, and what the function returns, is what the reviewer works with."""

    @guarded(
        name="g",
        version="1",
        confidence=0.9,
        review=Review(
            "loans",
            reviewers=4,
            agree=3,
            on_expiry="reject",
            levels=[Level("clerk", within="1h", notify=["desk"]), Level("senior", within="2h")],
        ),
    )
    def predict(x: int) -> Prediction[int]:
        return Prediction(x, 0.1)

    ticket = decide(predict, 1).ticket
    assert ticket is not None
    case = review.details(ticket.id)
    assert (case.reviewers, case.agree, case.role, case.answers) == (4, 3, "clerk", {"type": "integer"})
    assert ticket.due is not None
    assert (ticket.due - ticket.created).total_seconds() == pytest.approx(3 * 3600, abs=5)


def test_a_persons_answer_that_does_not_fit_is_no_answer() -> None:
    """What `answer=` makes of a choice is checked like the function's own answer."""

    @guarded(
        name="h", version="1", confidence=0.9, review=Review("loans", reuse="1h", choices=["a"], answer=lambda choice, provisional: choice),  # noqa: ARG005
    )  # fmt: skip
    def guess(loan: Annotated[str, BusinessId]) -> Prediction[int]:
        return Prediction(1, 0.1)

    ticket = decide(guess, "loan-1").ticket
    assert ticket is not None
    review.decide(ticket.id, "a", actor="anna")
    with pytest.raises(InvalidOutput, match="what a person answered does not fit"):
        guess("loan-1")


async def a_coroutine(x: int) -> bool:
    """Whose truth nobody waits for."""
    return bool(x)


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (lambda: Review(triggers=below(0.9)), "no list of conditions"),
        (lambda: Review(triggers=["low"]), "no list of conditions"),
        (lambda: Review(levels=["senior"]), "no list of levels"),
        (lambda: Review(reviewers=0), "whole number from 1"),
        (lambda: Review(reviewers=True), "whole number from 1"),
        (lambda: Review(reviewers=4, agree=2), "more than half"),
        (lambda: Review(agree=2), "more than half"),
        (lambda: Review(reviewers=2, agree=True), "more than half"),
        (lambda: Review(sample=1.5), "between 0 and 1"),
        (lambda: Review(callback="http://x"), "https URL"),
        (lambda: Level("", within="1h"), "has a role"),
        (lambda: Level("senior", within="1h", notify="pager"), "list of names"),
        (lambda: Level("senior", within="soon"), "within of the level"),
        (lambda: below(2), "between 0 and 1"),
        (lambda: sample(0), "never fires"),
        (lambda: outside(1, 0), "smaller first"),
        (lambda: rule(3), "wants a function"),
        (lambda: failed("x"), "types of errors"),
        (lambda: below(0.1) | 3, "joined with triggers"),
        (lambda: rule(a_coroutine), "not a coroutine function"),
        (lambda: failed(KeyboardInterrupt), "types of errors"),
        (lambda: failed(InvalidInput), "no condition sees"),
        (lambda: outside(0, 1, of=3), "is of type int"),
    ],
)
def test_what_makes_no_sense_is_refused_when_written(made: Any, what: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigError, match=what):
        made()


def test_a_callback_needs_a_key() -> None:
    """Asked for when the guard is made, not when the first case is decided."""

    def predict(x: int) -> int:
        return x

    option = Review("loans", callback="https://bank.example/hook")
    with pytest.raises(ConfigError, match="GUARDRAIL_CALLBACK_SECRET"):
        guarded(name="g", version="1", review=option)(predict)(1)
    configure(callback_secret="whsec_" + "QUJD" * 8)
    assert guarded(name="h", version="1", review=option)(predict)(1) == 1
