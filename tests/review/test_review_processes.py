"""Several processes, threads and sudden deaths: nothing acknowledged is lost, nothing is decided twice."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable

from guardrail import review as queue
from guardrail.review.case import Case, TicketClosed

WAIT = 30.0
Make = Callable[..., Case]
Start = Callable[..., "subprocess.Popen[str]"]


def test_killed_while_it_puts_a_process_loses_no_acknowledged_ticket(start: Start) -> None:
    """SIGKILL at any moment: every id that was returned is in the queue."""
    program = r"""
import os, threading
def work(number):
    for turn in range(10_000):
        os.write(1, f"{queue.put(case((number, turn))).id}\n".encode())
for number in range(4):
    threading.Thread(target=work, args=(number,)).start()
"""
    acknowledged: set[str] = set()
    for turn in range(5):
        process = start(program.replace("number, turn", f"{turn}, number, turn"))
        assert process.stdout is not None
        acknowledged.add(process.stdout.readline().strip())
        time.sleep(0.03 * turn)
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().splitlines(keepends=True)
        acknowledged.update(line.strip() for line in lines if line.endswith("\n") and len(line) == 37)
    assert len(acknowledged) >= 5
    assert acknowledged <= {ticket.id for ticket in queue.find(limit=None)}


def test_sixteen_threads_put_and_each_gets_its_own(case: Make) -> None:
    """Every thread gets the tickets of its own cases."""
    found: dict[int, list[queue.Ticket]] = {}

    def work(number: int) -> None:
        found[number] = [queue.put(case((number, turn), business_id=f"{number}-{turn}")) for turn in range(20)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert queue.open_count() == 320
    for number, tickets in found.items():
        assert [ticket.business_id for ticket in tickets] == [f"{number}-{turn}" for turn in range(20)]


def test_four_processes_put_and_decide_at_once(start: Start) -> None:
    """Nobody finds the store locked, and every case is decided by exactly one of them."""
    program = """
from guardrail.review.case import TicketClosed
mine = 0
for turn in range(25):
    queue.put(case((sys.argv[1], turn)))
    for ticket in queue.find(state="open", limit=3):
        try:
            queue.decide(ticket.id, "yes", actor=sys.argv[1])
        except TicketClosed:
            continue
        mine += 1
print(mine)
"""
    processes = [start(program, str(number)) for number in range(4)]
    decided = [int(process.communicate(timeout=2 * WAIT)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    everything = queue.listing(limit=None)
    assert len(everything) == 100
    assert sum(decided) == sum(each.state == "decided" for each in everything)
    assert all([step.what for step in each.steps].count("decided") == (each.state == "decided") for each in everything)


def test_one_open_ticket_per_key_across_processes(start: Start) -> None:
    """Four processes that ask the same ten questions at once open ten tickets."""
    program = "sys.stdin.readline()\nprint(*[queue.put(case(key)).id for key in range(10)])"
    processes = [start(program) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=WAIT)[0] for process in processes]
    assert [len(ids.split()) for ids in printed] == [10] * 4
    tickets = queue.find(state="open")
    assert len(tickets) == 10
    for ids in printed:  # a process that had to use the spool has ids of its own for the same ten cases
        assert {queue.get(each) for each in ids.split()} == set(tickets)


def test_a_decision_is_made_once_however_many_try(case: Make) -> None:
    """Eight reviewers at the same moment: one decides, the others are told that it is decided."""
    ticket = queue.put(case())
    gate, closed = threading.Barrier(8), []

    def work(number: int) -> None:
        gate.wait()
        try:
            queue.decide(ticket.id, "yes", actor=f"r{number}")
        except TicketClosed:
            closed.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert len(closed) == 7
    assert [step.what for step in queue.details(ticket.id).steps].count("decided") == 1
