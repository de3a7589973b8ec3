"""What becomes of a call that waits for a person: answered, rejected, too late, cancelled, or with the fallback after all."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from guardrail import Budget, ConfigError, Deferred, Prediction, Review, ReviewUnavailable, batch, decide, guarded
from guardrail import review as queue

CASES = pytest.mark.parametrize("table", [False, True], ids=["one", "table"])
KINDS = pytest.mark.parametrize("kind", ["sync", "async", "table"])


def unsure(kind="sync", **options):
    """Guard a model that is never sure, and return what asks it once for a Decision."""
    options = {"confidence": 0.8, **options}
    if kind == "table":

        @guarded(batch=True, **options)
        def table(rows: list[int]):
            return ["yes"] * len(rows), [0.4] * len(rows)

        return lambda: batch(table, [1])[0]
    if kind == "async":

        @guarded(**options)
        async def later(x: int) -> Prediction[str]:
            return Prediction("yes", 0.4)

        return lambda: asyncio.run(decide(later, 1))

    @guarded(**options)
    def predict(x: int) -> Prediction[str]:
        return Prediction("yes", 0.4)

    return lambda: decide(predict, 1)


def person(do):
    """Have somebody do something to the first open ticket, as soon as there is one."""

    def wait():
        until = time.monotonic() + 15
        while time.monotonic() < until:
            for ticket in queue.find(state="open"):
                do(ticket)
                return
            time.sleep(0.01)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def text_of(answer):
    """Return an answer without its confidence."""
    return answer.value if isinstance(answer, Prediction) else answer[0] if isinstance(answer, tuple) else answer


def reject(ticket):
    """Say no to the model's answer, and give no other."""
    queue.decide(ticket.id, verdict="reject", actor="anna")


@CASES
@pytest.mark.parametrize(
    ("review", "do", "said", "state"),
    [
        (Review(wait="20s"), reject, "a person rejected the model's answer and gave no other", "decided"),
        (Review(wait="20s"), lambda ticket: ticket.cancel("withdrawn"), "the case was taken out of the queue", "cancelled"),
        (Review(wait="20s", sla="100ms", on_expiry="reject"), None, "nobody decided in time", "expired"),
        (Review(wait="50ms"), None, "nobody has decided yet", "pending"),
        (Review(), None, "a person decides", "pending"),
    ],
    ids=["rejected", "cancelled", "expired", "waited", "not waited"],
)
def test_a_call_without_a_persons_answer_says_why(table, review, do, said, state) -> None:
    """It is deferred, with its ticket; the text says what became of the ticket and the hint what to do."""
    thread = None if do is None else person(do)
    decision = unsure("table" if table else "sync", review=review)()
    if thread is not None:
        thread.join()
    assert decision.outcome == "deferred"
    assert isinstance(decision.error, Deferred)
    assert str(decision.error).startswith(f"{said}: ticket {decision.ticket.id} in queue default (")
    assert decision.ticket.state == state
    assert decision.error.hint


@pytest.mark.parametrize(
    ("kind", "rung"),
    [
        *((kind, "ask the branch") for kind in ("sync", "async", "table")),
        *((kind, lambda _: "ask the branch") for kind in ("sync", "async")),
        ("table", lambda rows: ["ask the branch"] * len(rows)),
    ],
)
def test_on_expiry_fallback_asks_the_person_first_and_falls_back_when_the_ticket_expires(kind, rung) -> None:
    """The wait is outside the call's own budget, so the fallback has its reserved time all the same."""
    review = Review(wait="20s", sla="400ms", on_expiry="fallback")
    decision = unsure(kind, review=review, fallback=rung, budget="300ms")()
    assert (decision.outcome, text_of(decision.value)) == ("fallback", "ask the branch")
    assert decision.ticket.state == "expired"
    assert decision.reasons[-1] == "nobody decided in time"


@KINDS
def test_on_expiry_fallback_gives_the_persons_answer_where_there_is_one(kind) -> None:
    """The fallback is for a wait in vain."""
    thread = person(lambda ticket: queue.decide(ticket.id, "no", actor="anna"))
    decision = unsure(kind, review=Review(wait="20s", sla="1h", on_expiry="fallback"), fallback="ask the branch")()
    thread.join()
    assert (decision.outcome, text_of(decision.value)) == ("human", "no")


@CASES
@pytest.mark.parametrize("end", ["rejected", "waited"])
def test_a_call_with_a_fallback_is_never_left_without_an_answer(table, end) -> None:
    """Whatever else ends the wait in vain, the fallback answers; a ticket that is open stays open."""
    thread = person(reject) if end == "rejected" else None
    wait = "20s" if end == "rejected" else "50ms"
    kind = "table" if table else "sync"
    decision = unsure(kind, review=Review(wait=wait, sla="1h", on_expiry="fallback"), fallback="ask the branch")()
    if thread is not None:
        thread.join()
    assert (decision.outcome, text_of(decision.value)) == ("fallback", "ask the branch")
    assert decision.ticket.state == ("decided" if thread is not None else "pending")
    assert decision.reasons[-1].startswith("a person rejected" if thread is not None else "nobody has decided yet")


@CASES
def test_a_fallback_that_fails_after_the_wait_leaves_the_case_deferred(table) -> None:
    """People are asked once, not again for the failed fallback."""

    def broken(_):
        raise OSError("down")

    review = Review(wait="20s", sla="200ms", on_expiry="fallback")
    start = time.monotonic()
    decision = unsure("table" if table else "sync", review=review, fallback=broken)()
    assert decision.outcome == "deferred"
    assert str(decision.error).startswith("nobody decided in time: ticket")
    assert time.monotonic() - start < 10
    assert queue.count() == 1


@CASES
def test_endings_that_people_are_not_asked_about_fall_back_at_once(table) -> None:
    """`on=` names what goes to people; the rest waits for nobody."""

    def fail(x):
        raise OSError("down")

    review = Review(on=["low"], wait="20s", sla="1h", on_expiry="fallback")
    predict = guarded(fail, confidence=0.8, review=review, fallback="ask the branch", batch=table)
    start = time.monotonic()
    decision = batch(predict, [1])[0] if table else decide(predict, 1)
    assert (decision.outcome, decision.value) == ("fallback", "ask the branch")
    assert time.monotonic() - start < 10
    assert queue.count() == 0


@CASES
def test_a_queue_that_is_down_does_not_take_the_fallback_away(monkeypatch, tmp_path, table) -> None:
    """Beside a fallback the queue fails open, also where people are asked first."""
    (tmp_path / "blocked").write_text("a file where the folder should be")
    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path / "blocked" / "home"))
    review = Review(wait="20s", sla="1h", on_expiry="fallback")
    ask = unsure("table" if table else "sync", review=review, fallback="ask the branch")
    decision = ask()
    assert (decision.outcome, text_of(decision.value)) == ("fallback", "ask the branch")

    def broken(_):
        raise OSError("down")

    assert isinstance(unsure("table" if table else "sync", review=review, fallback=broken)().error, ReviewUnavailable)


def test_an_outer_budget_bounds_the_wait_and_the_fallback() -> None:
    """The person is waited for inside the time of the call around it, with some of it kept for the fallback."""
    inner = guarded(
        lambda x: Prediction("yes", 0.4), confidence=0.8, name="inner", fallback=lambda x: "ask the branch",
        review=Review(wait="20s", sla="1h", on_expiry="fallback"),
    )  # fmt: skip
    outer = guarded(lambda x: inner(x), budget=Budget("1s", enforce="report", on_late="raise"), name="outer")
    start = time.monotonic()
    decision = decide(outer, 1)
    assert decision.outcome == "answered"
    assert decision.value.value == "ask the branch"
    assert time.monotonic() - start < 1.5


def test_on_expiry_fallback_without_a_fallback_says_what_to_write() -> None:
    """At decoration."""
    with pytest.raises(ConfigError, match=r"add fallback=\.\.\., or write Review\(on_expiry=\"reject\"\)"):
        guarded(lambda x: x, review=Review(sla="1h", on_expiry="fallback"))


@CASES
def test_where_people_are_asked_something_else_it_is_another_ticket(table) -> None:
    """The same input meets the open ticket of the same question only."""
    kind = "table" if table else "sync"
    tickets = [
        unsure(kind, name="same", version="1", review=review)().ticket.id
        for review in (Review("a"), Review("a"), Review("b"), Review("a", choices=("yes", "no")), Review("a", guide="look twice"))
    ]
    assert tickets[0] == tickets[1]
    assert len(set(tickets)) == 4
