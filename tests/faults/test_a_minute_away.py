"""The queue's database gone for a whole minute, while many ask and one waits for a person."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from guardrail import Deferred, guarded, review
from guardrail.store import engine

AWAY = 60.0  # seconds
CALLERS = 8


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.usefixtures("store")
def test_a_minute_without_the_database_loses_no_case_and_no_waiter(postgres_server: Any) -> None:
    """Each call is deferred with a ticket of its own all the time; afterwards each is in the queue once, and can be decided."""

    @guarded(name="loans", version="1", confidence=0.9, review="loans")
    def predict(number: int) -> tuple[str, float]:
        return "yes", 0.4

    tickets: list[str] = []
    others: list[BaseException] = []
    longest = [0.0]
    over = threading.Event()

    def ask(first: int) -> None:
        number = first
        while not over.is_set():
            began = time.monotonic()
            try:
                predict(number)
            except Deferred as waits:
                tickets.append(waits.ticket.id)
            except BaseException as problem:
                others.append(problem)
            longest[0] = max(longest[0], time.monotonic() - began)
            number += CALLERS
            over.wait(0.05)

    with pytest.raises(Deferred) as first:
        predict(-1)
    waited: list[Any] = []
    waiter = threading.Thread(target=lambda: waited.append(first.value.ticket.wait(4 * AWAY)), daemon=True)
    callers = [threading.Thread(target=ask, args=(each,), daemon=True) for each in range(CALLERS)]
    for thread in (waiter, *callers):
        thread.start()
    time.sleep(1.0)
    postgres_server.end()
    try:
        time.sleep(AWAY)
        with pytest.raises(engine.StoreError):
            review.decide(first.value.ticket.id, "no", actor="anna")
        assert not waited
    finally:
        postgres_server.start()
    time.sleep(2.0)
    over.set()
    for thread in callers:
        thread.join(60)
    assert not others
    assert len(tickets) == len(set(tickets)) > 10 * CALLERS
    assert longest[0] < AWAY / 2  # nobody waited for the database to come back
    review.catch_up()
    assert {each.id for each in review.find("loans", limit=None)} == {first.value.ticket.id, *tickets}
    review.decide(first.value.ticket.id, "no", actor="anna")
    waiter.join(60)
    assert waited == ["no"]
    claim = review.claim("loans", actor="anna")
    assert claim is not None
    assert review.decide(claim.ticket.id, "yes", actor="anna", token=claim.token).state == "decided"
