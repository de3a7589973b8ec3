"""The queue under kill -9 and without its database: nothing acknowledged is lost, nothing is decided twice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from guardrail import review
from guardrail.review.case import Case
from guardrail.store import engine

Make = Callable[..., Case]
WORK = """
import itertools
name = sys.argv[1]
for number in itertools.count():
    ticket = queue.put(case((name, number)))
    print("put", ticket.id, flush=True)
    claim = queue.claim("loans", actor=name)
    if claim is not None:
        queue.decide(claim.ticket.id, "no", actor=name, token=claim.token)
        print("decided", claim.ticket.id, flush=True)
"""


@pytest.mark.usefixtures("store")
def test_four_processes_are_killed_while_they_work(start: Any, case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ticket and every decision that somebody was told of is there, once; what the dead had claimed is free again."""
    review.put(case("first"))
    processes = [start(WORK, f"r{number}") for number in range(4)]
    seen: list[str] = []
    for process in processes:  # each has decided something, and is in the middle of more
        seen.append(process.stdout.readline())
        while not seen[-1].startswith("decided"):
            seen.append(process.stdout.readline())
    for process in processes:
        process.send_signal(signal.SIGKILL)
    rest = [line for process in processes for line in process.communicate()[0].splitlines(keepends=True)]
    told = [line.split() for line in (*seen, *rest) if line.endswith("\n") and " " in line]
    put = {words[1] for words in told if words[0] == "put"}
    decided = [words[1] for words in told if words[0] == "decided"]
    assert put
    assert decided
    assert len(decided) == len(set(decided))
    there = {each.ticket.id: each for each in review.listing("loans", state="all", limit=None)}
    assert put <= set(there)
    assert all(there[each].state == "decided" for each in decided)
    assert all([step.what for step in each.steps].count("decided") <= 1 for each in there.values())
    real = engine.now
    monkeypatch.setattr(engine, "now", lambda: real() + 700)  # the leases of the dead have ended
    left = review.open_count("loans")
    for _ in range(left):
        claim = review.claim("loans", actor="heir")
        assert claim is not None
        review.decide(claim.ticket.id, "yes", actor="heir", token=claim.token)
    assert review.open_count("loans") == 0


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_the_database_is_away_for_a_while(store: str, postgres_server: Any, case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases are safe in the spool, nobody is told that they are decided, and all are in the queue when it returns."""
    from guardrail.review import filing, upkeep

    assert store == "postgres"
    monkeypatch.setattr(filing, "_PUT_SECONDS", 1.0)
    monkeypatch.setattr(upkeep, "_PATIENCE", 1.0)
    before = review.put(case("before"))
    postgres_server.end()
    try:
        during = [review.put(case(("during", number))) for number in range(3)]
        assert len({ticket.id for ticket in during}) == 3
        with pytest.raises(engine.StoreError):
            review.decide(before.id, "no", actor="anna")
    finally:
        postgres_server.start()
    review.catch_up()
    assert {each.id for each in review.find("loans")} == {before.id, *(ticket.id for ticket in during)}
    review.decide(before.id, "no", actor="anna")
    assert before.state == "decided"
