"""Whoever waits for a person is told, by threads and by event loops, whichever process the person used."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from guardrail import review as queue
from guardrail.errors import Deferred, Refused
from guardrail.review import watch
from guardrail.review.case import Case, TicketNotFound
from guardrail.store import engine, file_lock

WAIT = 20.0
Make = Callable[..., Case]
Start = Callable[..., "subprocess.Popen[str]"]
DECIDE = "queue.decide(sys.argv[1], sys.argv[2], actor='anna')"


def waits() -> bool:
    """Return whether the watcher's thread runs."""
    return any(thread.name == "guardrail-review-watch" for thread in threading.enumerate())


def until(condition: Callable[[], bool]) -> bool:
    """Wait for something to become true."""
    for _ in range(1000):
        if condition():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.usefixtures("store")
def test_a_decision_in_another_process_wakes_a_thread(case: Make, start: Start) -> None:
    """`wait` returns what the person answered elsewhere."""
    ticket = queue.put(case())
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(ticket.wait(WAIT)))
    thread.start()
    assert until(waits)
    start(DECIDE, ticket.id, "no").wait(WAIT)
    thread.join(WAIT)
    assert got == ["no"]


@pytest.mark.usefixtures("store")
def test_a_decision_in_another_process_wakes_an_event_loop(case: Make, start: Start) -> None:
    """`await` holds no thread: many tasks wait at once, each for its own ticket, some for the same one."""
    threads = threading.active_count()
    tickets = [queue.put(case(key)) for key in range(3)]

    async def main() -> list[Any]:
        async def answer(ticket: queue.Ticket) -> Any:
            return await ticket

        tasks = [asyncio.create_task(answer(ticket)) for ticket in tickets for _ in range(20)]
        await asyncio.sleep(0.05)
        assert threading.active_count() < threads + 10
        for ticket, value in zip(tickets, ("yes", "no", "yes"), strict=True):
            start(DECIDE, ticket.id, value)
        return await asyncio.wait_for(asyncio.gather(*tasks), WAIT)

    assert asyncio.run(main()) == ["yes"] * 20 + ["no"] * 20 + ["yes"] * 20


@pytest.mark.usefixtures("store")
def test_waiting_is_bounded_and_the_ticket_stays(case: Make) -> None:
    """When the time is up, `wait` raises Deferred with the ticket; a person may still answer."""
    ticket = queue.put(case())
    with pytest.raises(Deferred) as caught:
        ticket.wait("50ms")
    assert caught.value.ticket == ticket
    assert (caught.value.guard, caught.value.decision_id) == ("credit", "decision-1")
    assert ticket.state == "pending"
    queue.decide(ticket.id, "no")
    assert ticket.wait(0) == "no"


@pytest.mark.usefixtures("store")
def test_what_is_decided_already_is_returned_at_once(case: Make) -> None:
    """Neither a thread nor a task waits for a decision that is there."""
    ticket = queue.put(case())
    queue.decide(ticket.id, verdict="accept")
    assert ticket.wait(0) == "yes"

    async def main() -> Any:
        return await ticket

    assert asyncio.run(asyncio.wait_for(main(), WAIT)) == "yes"


@pytest.mark.parametrize("how", ["reject", "cancel", "expire"])
@pytest.mark.usefixtures("store")
def test_no_answer_is_an_error_not_a_value(case: Make, wall: Any, how: str) -> None:
    """Rejected, cancelled and expired tickets raise; the model's own answer is never handed out in their place."""
    ticket = queue.put(case(due=wall.now + 60, on_expiry="provisional"))
    signal = watch.signal(ticket.id)
    if how == "reject":
        queue.decide(ticket.id, verdict="reject")
    elif how == "cancel":
        ticket.cancel("withdrawn")
    else:
        wall.now += 61  # nobody touches the queue: the watcher itself notices
    answer = signal.result(WAIT)
    expected = {"reject": ("decided", "reject"), "cancel": ("cancelled", None), "expire": ("expired", None)}[how]
    assert (answer.state, answer.verdict) == expected
    assert answer.on_expiry == "provisional"
    for again in (answer.result, lambda: ticket.wait(0)):
        with pytest.raises(Refused) as caught:
            again()
        assert caught.value.policy == "review"


@pytest.mark.usefixtures("store")
def test_a_waiter_that_goes_away_leaves_the_ticket_open(case: Make) -> None:
    """Cancelling a task, or a future, cancels no ticket, and no other waiter."""
    ticket = queue.put(case())
    other = watch.signal(ticket.id)
    watch.signal(ticket.id).cancel()

    async def main() -> None:
        async def answer() -> Any:
            return await ticket

        task = asyncio.create_task(answer())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ticket.state == "pending"
    queue.decide(ticket.id, "no")
    assert other.result(WAIT).value == "no"


@pytest.mark.usefixtures("store")
def test_the_watcher_ends_when_nobody_waits_and_begins_again(case: Make) -> None:
    """A future that nobody holds is dropped, and the thread with the last of them."""
    ticket = queue.put(case())
    signal = watch.signal(ticket.id)
    assert until(waits)
    del signal
    gc.collect()
    assert until(lambda: not waits())
    signal = watch.signal(ticket.id)
    queue.decide(ticket.id, "no")
    assert signal.result(WAIT).value == "no"


@pytest.mark.usefixtures("store")
def test_waiting_for_no_ticket_is_an_error(case: Make) -> None:
    """An id that the store does not know raises, and does not wait for ever."""
    queue.put(case())
    with pytest.raises(TicketNotFound):
        watch.signal("0193-none").result(WAIT)


@pytest.mark.usefixtures("store")
def test_a_forked_child_waits_on_its_own(case: Make) -> None:
    """The parent's watcher is not in the child; the child starts one."""
    ticket = queue.put(case())
    signal = watch.signal(ticket.id)
    assert until(waits)
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if ticket.wait(WAIT) == "no" else 2
        finally:
            os._exit(code)
    time.sleep(0.05)
    queue.decide(ticket.id, "no")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert signal.result(WAIT).value == "no"


@pytest.mark.usefixtures("store")
def test_the_ports_work_with_and_without_an_event_loop(case: Make) -> None:
    """`now` blocks, `later` awaits; both put the same ticket and find the same answer."""
    first = queue.PUT.now(case(business_id="loan-17"))

    async def main() -> tuple[queue.Ticket, queue.Answer | None]:
        again = await queue.PUT.later(case(business_id="loan-17"))
        queue.decide(again.id, "no")
        return again, await queue.ANSWER.later("credit", "loan-17", 0)

    again, answer = asyncio.run(main())
    assert again == first
    assert answer is not None
    assert answer.value == "no"


def test_opening_the_store_and_a_locked_store_do_not_block_the_event_loop(home: Any, case: Make) -> None:
    """While a case is put, other tasks go on, even if the case ends in the spool because the store is locked."""
    home.mkdir(mode=0o700)

    async def main() -> tuple[queue.Ticket, int]:
        ticks = 0
        with file_lock.held(home / "store.db.lock"):
            putting = asyncio.create_task(queue.PUT.later(case()))
            while not putting.done():
                await asyncio.sleep(0.02)
                ticks += 1
        return await putting, ticks

    ticket, ticks = asyncio.run(main())
    assert ticks > 20  # of about 100
    assert len(list(home.glob("spool/review/*.json"))) == 1
    assert ticket.state == "pending"
    engine.warm()
    assert queue.find() == [ticket]
    assert list(home.glob("spool/review/*.json")) == []
