"""The one table of how a call ends: what goes to the fallback, what to people, what to the caller."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
import time

import pytest

from guardrail import (
    UNSET,
    AccessDenied,
    Audit,
    AuditUnavailable,
    Breaker,
    Budget,
    BudgetExceeded,
    CircuitOpen,
    Confidence,
    ConfigError,
    Decision,
    Deferred,
    Fallback,
    GuardrailError,
    InvalidInput,
    InvalidOutput,
    LimitExceeded,
    Prediction,
    Review,
    ReviewUnavailable,
    Stopped,
    batch,
    configure,
    control,
    decide,
    guard_of,
    guarded,
    last_decision,
    last_good,
    with_options,
)
from guardrail import review as queue
from guardrail.testing import force

NAN = float("nan")


def sure(confidence):
    """A model that is as sure as it is told to be."""

    def predict(x: int) -> Prediction[str]:
        return Prediction(f"answer {x}", confidence)

    return predict


@pytest.mark.parametrize(
    "confidence, passes", [(0.8, True), (1.0, True), (0.79, False), (NAN, False), (1.2, False), (-0.1, False)]
)
def test_only_a_confidence_that_reaches_the_threshold_passes(confidence, passes):
    """NaN and what lies outside [0, 1] is low."""
    decision = decide(guarded(sure(confidence), confidence=0.8), 1)
    assert decision.outcome == ("answered" if passes else "deferred")
    assert decision.threshold == 0.8


def test_an_unsure_answer_becomes_a_durable_ticket():
    """Deferred carries the ticket; its text names decide and batch; the ticket holds what a person needs."""
    predict = guarded(sure(0.4), confidence=0.8, review=Review("loans", choices=["yes", "no"], guide="the handbook"), version="3")
    with pytest.raises(Deferred, match="decide") as caught:
        predict(7)
    ticket = caught.value.ticket
    assert (ticket.state, ticket.queue, ticket.reason) == ("pending", "loans", "low")
    assert caught.value.decision_id == ticket.decision_id == last_decision().id
    details = queue.details(ticket.id)
    assert details.arguments == {"x": 7}
    assert tuple(details.choices) == ("yes", "no")
    assert (details.confidence, details.threshold) == (0.4, 0.8)


def test_there_is_one_open_ticket_for_identical_input():
    """Asking again does not add to the queue."""
    predict = guarded(sure(0.4), confidence=0.8)
    ids = {decide(predict, x).ticket.id for x in (1, 2, 1, "1", 2)}
    assert len(ids) == 2
    assert queue.open_count("default") == 2


def test_an_unsure_answer_with_a_fallback_gets_both():
    """The caller gets the fallback, the ticket is filed all the same, and the low answer is not cached."""
    predict = guarded(sure(0.4), confidence=0.8, fallback="refer", review="loans", cache="1h")
    decision = decide(predict, 1)
    assert (decision.outcome, decision.ok) == ("fallback", True)
    assert decision.value == Prediction("refer", 0.0, ("fallback",))
    assert decision.ticket.state == "pending"
    assert decide(predict, 1).outcome == "fallback"


def test_none_is_a_legal_fallback():
    """A fallback of None is a value, not the absence of one."""
    assert guarded(lambda: 1 / 0, fallback=None)() is None
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 / 0, fallback=UNSET)()


def test_a_fallback_chain_is_climbed_in_order():
    """A rung that fails gives way to the next; a callable gets the same arguments."""

    def broken(x):
        raise OSError("no")

    def cheaper(x):
        return -x

    predict = guarded(lambda x: 1 / 0, fallback=Fallback(broken, cheaper, 0))
    assert predict(3) == -3
    assert "OSError" in last_decision().reasons[0]
    with pytest.raises(ZeroDivisionError):
        guarded(lambda x: 1 / 0, fallback=Fallback(broken, broken))(3)


def test_last_good_gives_the_latest_answer_to_the_same_question():
    """However old, but never the answer to another question."""
    down = []

    def predict(x: int) -> int:
        if down:
            raise ConnectionError("down")
        return x * 10

    predict = guarded(predict, fallback=last_good)
    assert predict(1) == 10
    down.append(True)
    assert (predict(1), last_decision().outcome) == (10, "fallback")
    with pytest.raises(ConnectionError):
        predict(2)


@pytest.mark.parametrize(
    "trigger, kind, option",
    [
        ("failed", ZeroDivisionError, {}),
        ("late", BudgetExceeded, {"budget": "50ms"}),
        ("open", CircuitOpen, {"breaker": Breaker(min_calls=1)}),
        ("open", LimitExceeded, {"limit": 1}),
        ("stopped", Stopped, {"mode": "killed"}),
        ("failed", InvalidOutput, {}),
    ],
)
def test_each_ending_goes_where_the_table_says(trigger, kind, option):
    """To the fallback if there is one, else to review if it is named there, else it is raised."""

    def make(**more):
        def predict(x: int) -> int:
            if kind is BudgetExceeded:
                time.sleep(0.5)
            if kind is InvalidOutput:
                return "no number"
            return 1 // 0

        return guarded(predict, **option, **more, name=f"{trigger}-{kind.__name__}-{len(more)}-{'fallback' in more}")

    def states(fn):
        return {"breaker": "open"} if kind is CircuitOpen else {"limit": "full"} if kind is LimitExceeded else None

    for more, expected in (({}, None), ({"fallback": 5}, "fallback"), ({"review": Review(on=(trigger,))}, "deferred")):
        predict = make(**more)
        forced = states(predict)
        if forced:
            with force(predict, **forced):
                decision = decide(predict, 1)
        else:
            decision = decide(predict, 1)
        if expected is None:
            assert type(decision.error) is kind
        else:
            assert decision.outcome == expected
            if expected == "deferred":
                assert type(decision.error) is Deferred
                assert decision.ticket.reason == trigger


def test_invalid_input_never_reaches_the_fallback():
    """Only a person may take it, and only if review names it."""

    def predict(x: int) -> int:
        return x

    with pytest.raises(InvalidInput):
        guarded(predict, fallback=0)("x")
    decision = decide(guarded(predict, fallback=0, review=Review(on=("invalid",)), name="asks"), "x")
    assert (decision.outcome, decision.ticket.reason) == ("deferred", "invalid")


@pytest.mark.parametrize("error", [AccessDenied("no"), ConfigError("wrong")])
def test_what_is_final_stays_final(error):
    """No fallback answers in place of a denial."""

    def predict():
        raise error

    with pytest.raises(type(error)):
        guarded(predict, fallback="never", retry=3)()


def test_a_queue_that_cannot_take_the_case_fails_closed(tmp_path, monkeypatch):
    """Neither store nor spool: ReviewUnavailable, never the unsure answer."""
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("GUARDRAIL_HOME", str(blocked / "home"))
    with pytest.raises(ReviewUnavailable):
        guarded(sure(0.1), confidence=0.8)(1)


def test_a_decision_reaches_the_waiting_caller():
    """`wait` holds the call, bounded, until the person has decided; in threads and in asyncio."""
    predict = guarded(sure(0.4), confidence=0.8, review=Review(wait="20s", choices=["yes", "no"]))

    def person(ids):
        while True:
            for details in queue.listing():
                if details.ticket.id not in ids:
                    queue.decide(details.ticket.id, "yes", actor="anna")
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=person, args=(set(),))
    thread.start()
    decision = decide(predict, 1)
    thread.join()
    assert (decision.outcome, decision.value.value, decision.value.confidence) == ("human", "yes", 1.0)

    async def apredict(x: int) -> Prediction[str]:
        return Prediction("maybe", 0.1)

    thread = threading.Thread(target=person, args=({decision.ticket.id},))
    thread.start()
    answered = asyncio.run(decide(guarded(apredict, confidence=0.8, review=Review(wait="20s"), name="later"), 2))
    thread.join()
    assert (answered.outcome, answered.value.value) == ("human", "yes")


def test_a_wait_that_ends_leaves_the_ticket_open():
    """The caller is back after the wait, and the case is still there."""
    predict = guarded(sure(0.4), confidence=0.8, review=Review(wait="50ms"))
    with pytest.raises(Deferred) as caught:
        predict(1)
    assert caught.value.ticket.state == "pending"


def test_a_persons_answer_is_used_again_for_the_same_business_id_only():
    """And the record says so."""
    from typing import Annotated

    from guardrail import BusinessId

    @guarded(name="reused", version="1", confidence=0.8, review=Review(reuse="30d"))
    def predict(loan: Annotated[str, BusinessId], x: int) -> Prediction[str]:
        return Prediction("maybe", 0.2)

    first = decide(predict, "loan-17", 1)
    assert first.business_id == "loan-17"
    queue.decide(first.ticket.id, "yes", actor="anna")
    again = decide(predict, "loan-17", 2)
    assert (again.outcome, again.value.value) == ("human", "yes")
    assert first.id in again.reasons[-1]
    assert decide(predict, "loan-18", 2).outcome == "deferred"


@pytest.mark.parametrize(
    "answer, expected",
    [
        (("yes", 0.7), 0.7),
        ({"label": "a", "confidence": 0.6}, 0.6),
        ([0.1, 0.9], 0.9),
        ([[0.25, 0.75]], 0.75),
        ((0.3, 0.7), 0.7),
    ],
)
def test_confidence_is_read_from_the_documented_places(answer, expected):
    """A pair, a key, a vector of probabilities."""
    assert decide(guarded(lambda: answer, confidence=0.0)).confidence == expected


def test_confidence_of_arrays():
    """A vector, shape (1, k), and a table that must say batch=True."""
    import numpy as np

    assert decide(guarded(lambda: np.array([0.2, 0.8]), confidence=0.5)).confidence == 0.8
    assert decide(guarded(lambda: np.array([[0.2, 0.8]], dtype="float32"), confidence=0.5)).confidence == pytest.approx(0.8)
    with pytest.raises(ConfigError, match="batch=True"):
        guarded(lambda: np.array([[0.2, 0.8], [0.5, 0.5]]), confidence=0.5)()


@pytest.mark.parametrize("answer", ["yes", 0.9, {"score": 0.9}, [0.9, 0.9], (1, 2), None, [1.0]])
def test_what_cannot_be_read_names_of(answer):
    """A score needs `of=`: 0.03 may be a sure no."""
    with pytest.raises(ConfigError, match="of="):
        guarded(lambda: answer, confidence=0.5)()
    if isinstance(answer, dict):
        assert decide(guarded(lambda: answer, confidence=Confidence(0.5, of="score"))).confidence == 0.9
        assert decide(guarded(lambda: answer, confidence=Confidence(0.5, of=lambda a: a["score"]))).confidence == 0.9


def test_a_hanging_function_leaves_time_for_its_fallback():
    """The fallback runs on reserved time, inside the budget."""
    predict = guarded(lambda x: time.sleep(30), budget=Budget("300ms"), fallback=lambda x: x + 1)
    start = time.monotonic()
    assert predict(1) == 2
    assert time.monotonic() - start < 3


def test_nothing_is_recorded_as_answered_that_was_not():
    """One entry per call with its true ending."""
    predict = guarded(sure(0.4), confidence=0.8, name="counted")
    for _ in range(3):
        decide(predict, 1)
    decide(predict, "x")
    assert guard_of(predict).stats()["outcomes"] == {"deferred": 3, "refused": 1}


@pytest.mark.parametrize("batch", [False, True])
def test_a_stopped_guard_says_what_lets_it_run_again(monkeypatch, batch):
    """A switch is taken back on the command line; an option or a setting has to be changed where it stands."""

    def hint(name, **options):
        predict = guarded(lambda x: x, name=name, batch=batch, **options)
        with pytest.raises(Stopped) as caught:
            predict([1])
        return caught.value.hint

    assert hint("a", mode="killed") == 'take mode="killed" out of its decorator'
    monkeypatch.setenv("GUARDRAIL_GUARD__B__MODE", "killed")
    configure()
    assert hint("b") == "change GUARDRAIL_GUARD__B__MODE"
    control.kill("a", "wrong", "ann")
    control.kill("c d", "wrong", "ann")
    control.kill("*", "all of them", "ann")
    assert hint("c d") == "guardrail revive 'c d', and guardrail revive '*'"
    assert hint("e") == "guardrail revive '*'"
    control.revive("*", "ann")
    assert hint("a", mode="killed") == 'guardrail revive a, and take mode="killed" out of its decorator'


def test_with_options_opens_no_kill():
    """The decorator says that it is killed; a caller cannot say otherwise."""
    predict = guarded(lambda x: x, mode="killed")
    with pytest.raises(ConfigError, match="kill"):
        with_options(predict, mode="enforce")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_answer_without_its_required_record_is_refused(kind, home) -> None:
    """Whatever the function said: nobody gets it, and the decision says the same as the error."""
    home.write_text("a file stands where the folder has to be")

    @guarded(name="required", version="1", audit=Audit("sync", required=True))
    def predict(x: int) -> int:
        return x

    @guarded(name="required later", version="1", audit=Audit("sync", required=True))
    async def later(x: int) -> int:
        return x

    decision = decide(predict, 1) if kind == "sync" else asyncio.run(decide(later, 1))
    assert (decision.outcome, type(decision.error)) == ("refused", AuditUnavailable)
    assert not decision.ok


@pytest.mark.parametrize("way", [lambda found: pickle.loads(pickle.dumps(found)), copy.copy, copy.deepcopy])
def test_a_decision_travels_whole(way) -> None:
    """To another process, into a cache, as a copy: with outcome, error, ticket and times; what was not kept is still not kept."""

    @guarded(name="traveller", confidence=0.5, review="loans")
    def predict(sure: float) -> tuple[list[str], float]:
        if sure > 1:
            raise ValueError("too sure")
        return ["yes"], sure

    decisions = [decide(predict, given) for given in (0.9, 0.1, 2.0, "x")]
    assert [each.outcome for each in decisions] == ["answered", "deferred", "failed", "refused"]
    (*_, earlier) = guard_of(predict).last(4)
    for decision in (*decisions, earlier):
        twin = way(decision)
        assert repr(twin) == repr(decision)
        for name in Decision.__slots__:
            if name not in ("_value", "error", "ticket"):
                assert getattr(twin, name) == getattr(decision, name), name
        assert str(twin.error) == str(decision.error)
        assert (twin.ticket and twin.ticket.id) == (decision.ticket and decision.ticket.id)
    assert way(decisions[0]).value == (["yes"], 0.9)
    with pytest.raises(Deferred):
        _ = way(decisions[1]).value
    with pytest.raises(GuardrailError, match="not kept"):
        _ = way(earlier).value


def test_figures_are_json() -> None:
    """Of a guard, a decision and a batch."""

    @guarded(name="figures", cache="1m", breaker=True, limit=2, retry=2)
    def predict(number: float) -> float:
        return number

    decision = decide(predict, 1.0)
    for each in (guard_of(predict).stats(), decision.timings, batch(predict, [(1.0,), (2.0,)]).counts):
        assert json.loads(json.dumps(each)) == each
