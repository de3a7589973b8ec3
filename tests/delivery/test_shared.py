"""Delivery over PostgreSQL, on a real server: one process of a fleet serves a sink, and another takes over when it dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from made import Recorder, run, sink

import guardrail
from guardrail import guarded, settings
from guardrail.delivery import ok, reject, retry
from guardrail.delivery.courier import WAIT_TURN, Courier
from guardrail.delivery.keeping import State
from guardrail.delivery.shared import SharedKeeping, SharedOutbox
from guardrail.ledger.postgres.link import Away
from guardrail.ledger.postgres.schema import SchemaRefused


@guarded(name="loans", version="1")
def predict(x: int) -> int:
    return x + 1


def calls(url, many, service="tests"):
    """Make records in a lane of their own."""
    guardrail.configure(service=service, database_url=url)
    for x in range(many):
        predict(x)
    assert guardrail.shutdown(10)


def courier(url, service="tests", **how):
    found = sink(start="beginning")
    return Courier(found, None, SharedOutbox(url, service), SharedKeeping(url, service, found.name), lambda: None)


def lines(url, service="tests"):
    query = "SELECT lane, seq, line FROM guardrail_ledger WHERE line IS NOT NULL AND record ->> 'service' = %s ORDER BY lane, seq"
    with psycopg.connect(url) as connection:
        return connection.execute(query, (service,)).fetchall()


def test_what_the_database_holds_arrives_as_it_stands_there(url):
    """Lane, number and bytes of every record of this service, and the cursor behind the last."""
    calls(url, 20)
    calls(url, 5, service="others")
    found = courier(url)
    run(found)
    want = lines(url)
    assert [item for batch in found._to.batches for item in batch] == want
    assert {lane for lane, _, _ in want} == found._keeping.done()  # their processes have closed them
    found.close()


def test_one_process_serves_and_the_next_goes_on(url):
    """The lock is the database's, and ends with its connection."""
    calls(url, 3)
    one, two = courier(url), courier(url)
    run(one)
    assert two.step() == WAIT_TURN
    one.close()
    calls(url, 2)
    run(two)
    assert {lane for lane, _ in two._to.sent}.isdisjoint({lane for lane, _ in one._to.sent})
    assert len(one._to.sent) + len(two._to.sent) == len(lines(url))
    two.close()


def test_another_process_takes_over_from_one_that_was_killed(url, tmp_path):
    """kill -9 while it serves: whoever waits its turn gets it within seconds, and nothing is missing."""
    calls(url, 30)
    program = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_shared import courier
found = courier({url!r})
found.step()
print("serving", flush=True)
time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "serving\n"
        mine = courier(url)
        assert mine.step() == WAIT_TURN
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        until = time.monotonic() + 20
        while not mine._to.sent and time.monotonic() < until:
            if mine.step() is WAIT_TURN:
                time.sleep(0.05)
        run(mine)
        made = [(lane, seq) for lane, seq, _ in lines(url)]
        assert set(mine._to.sent) >= set(made[Recorder.caps.items :])  # the first batch had arrived
        mine.close()
    finally:
        child.kill()
        child.wait(10)
        child.stdout.close()


def test_a_server_that_is_away_costs_a_pause_and_nothing_else(postgres_server, url):
    """Its connection is lost in the middle: the lock is taken again, and what was not remembered is sent again."""
    calls(url, 10)
    found = courier(url)
    found.step()
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (url.rpartition("/")[2],))
    for _ in range(200):
        try:
            if found.step() is None:
                break
        except Away:
            time.sleep(0.02)
    assert set(found._to.sent) == {(lane, seq) for lane, seq, _ in lines(url)}
    found.close()


def test_dead_letters_and_state_are_kept_in_the_database(url):
    """Where every process of the fleet, and a person at any of its hosts, sees them."""
    calls(url, 3)
    found = courier(url)
    found._to.answers = lambda item: reject("it is malformed") if item.seq == 2 else ok
    run(found)
    found.close()
    keeping = SharedKeeping(url, "tests", "out")
    (letter,) = keeping.dead()
    assert (letter.seq, letter.reason) == (2, "it is malformed")
    assert keeping.state().delivered == len(lines(url)) - 1
    assert SharedKeeping(url, "others", "out").dead() == []
    assert SharedKeeping(url, "others", "out").state() == State()
    keeping.exhume({(letter.lane, letter.seq)})
    assert keeping.dead() == []


def test_closed_lanes_leave_the_cursor(url, monkeypatch):
    """What has arrived and was closed is not asked about again."""
    calls(url, 2)
    found = courier(url)
    run(found)
    found._next_closed = 0.0
    run(found)
    assert found._keeping.positions() == {}
    assert found._keeping.done() == {lane for lane, _, _ in lines(url)}
    found._to.answers = lambda item: retry()
    assert found.step() is None
    found.close()


def test_tables_of_an_older_release_say_what_to_type(url):
    """The ledger goes on with them; delivery needs its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE guardrail_cursors, guardrail_sinks, guardrail_dead_letters")
    with pytest.raises(SchemaRefused, match="guardrail store migrate"):
        courier(url).step()
    settings.reset()
