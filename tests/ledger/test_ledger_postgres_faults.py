"""The ledger over PostgreSQL while the server is away, hangs, is killed, or the process is: no acknowledged record is lost or doubled."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
import time

import pytest
from shared import end, process, rows, spooled, use, verified

import guardrail
from guardrail import clock, guarded
from guardrail.ledger.lane import Lane
from guardrail.ledger.postgres import lane as lane_module
from guardrail.ledger.postgres import recovery
from guardrail.ledger.postgres.lane import SharedLane
from guardrail.ledger.postgres.link import Away

Proxy = sys.modules["servers"].Proxy


@pytest.fixture
def proxy(postgres_server):
    found = Proxy(postgres_server.port)
    yield found
    found.close()


@guarded(name="loans", version="1", audit="sync")
def predict(x: str) -> str:
    return x


def through(url, proxy):
    head, _, rest = url.partition("@")
    return f"{head}@127.0.0.1:{proxy.port}/{rest.partition('/')[2]}"


def waited(test, seconds=20.0):
    until = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < until
        time.sleep(0.02)


def answers(url):
    found = [json.loads(line) for *_, line in rows(url)]
    return [each["output"]["value"] for each in found if each["event"] == "call"]


def test_a_server_killed_under_load_loses_and_doubles_nothing(postgres_server, url, home):
    """kill -9 of the server and its restart while four threads call: whatever was acknowledged is there, once, and proven."""
    use(url)
    acknowledged, end_it = [], threading.Event()

    def work(name):
        at = 0
        while not end_it.is_set():
            predict(f"{name}-{at}")
            acknowledged.append(f"{name}-{at}")
            at += 1
            time.sleep(0.001)  # slower than the server takes them, so that what was spooled comes to an end

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for each in threads:
        each.start()
    try:
        for _ in range(2):
            time.sleep(0.7)
            postgres_server.end(signal.SIGKILL)
            waited(lambda: spooled(home))
            before = len(acknowledged)
            waited(lambda before=before: len(acknowledged) > before + 50)
            postgres_server.start()
            waited(lambda: not spooled(home))
    finally:  # whatever went wrong must not go on in other tests
        end_it.set()
        for each in threads:
            each.join()
        if postgres_server.server is None:
            postgres_server.start()
    assert guardrail.flush(10)
    end()
    found = answers(url)
    assert len(found) == len(set(found))
    assert set(acknowledged) == set(found)
    report = verified(url)
    assert (report.code, report.findings) == (0, [])
    assert list((home / "ledger-spool").glob("2*")) == []


def test_a_server_that_swallows_everything_holds_up_a_commit_for_a_bound_once(url, home, proxy):
    """Two seconds for the first record, nothing for those after it; when it flows again all is replayed in order."""
    use(through(url, proxy))
    predict("before")
    proxy.flowing.clear()
    began = clock.now()
    predict("first")
    first = clock.now() - began
    began = clock.now()
    for x in range(20):
        predict(f"later-{x}")
    later = clock.now() - began
    assert 1.5 < first < 4.0
    assert later < 1.5
    assert spooled(home)
    proxy.flowing.set()
    waited(lambda: not spooled(home))
    predict("after")
    assert answers(url) == ["before", "first", *(f"later-{x}" for x in range(20)), "after"]
    end()
    assert verified(url).code == 0


def test_a_server_that_takes_no_writes_counts_as_away(url, home):
    """Records go into files, and into the database when it takes them again."""
    use(url)
    predict("one")
    name = url.rpartition("/")[2]
    rows(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    rows(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()",
    )
    predict("two")
    predict("three")
    assert spooled(home)
    assert answers(url) == ["one"]
    rows(url.replace(name, "postgres"), f"ALTER DATABASE {name} RESET default_transaction_read_only")
    waited(lambda: not spooled(home))
    assert answers(url) == ["one", "two", "three"]
    end()
    assert verified(url).code == 0


def test_a_process_that_begins_while_the_server_is_away_enters_its_lane_later(postgres_server, url, home):
    """Also one whose ledger was never reached from this home: then nothing is signed before."""
    postgres_server.end()
    use(url)
    predict("alone")
    assert spooled(home)
    assert not list(home.glob("ledger-spool/*/checkpoints"))
    postgres_server.start()
    waited(lambda: not spooled(home))
    end()
    assert answers(url) == ["alone"]
    postgres_server.end()
    predict("again")
    end()
    assert list(home.glob("ledger-spool/*/checkpoints"))
    postgres_server.start()
    recovery.replay(home, url)
    assert sorted(answers(url)) == ["again", "alone"]
    report = verified(url)
    assert (report.code, report.findings) == (0, [])


def test_what_a_killed_process_has_spooled_is_replayed_by_the_next(postgres_server, url, home, monkeypatch):
    """kill -9 of a process while its server is away: the next one brings in all that was acknowledged, and closes the lane."""
    body = "import os\npredict(0); print('in', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.01)\nx = 0\nwhile True: x += 1; predict(x); print(x, flush=True)"
    folder = home.parent
    monkeypatch.chdir(folder)
    child = process(url, home, body)
    assert [child.stdout.readline(), child.stdout.readline()] == ["ready\n", "in\n"]
    postgres_server.end(signal.SIGKILL)
    (folder / "go").touch()
    seen = [int(child.stdout.readline()) for _ in range(100)]
    child.kill()
    seen += [int(each) for each in child.communicate()[0].split() if each.isdecimal()][:-1]
    assert spooled(home)
    with next(iter(spooled(home))).open("ab") as torn:
        torn.write(b'{"v":1,"id":"torn')
    postgres_server.start()
    assert not [each for each in rows(url) if b'"value":51' in each[2]]
    use(url)
    predict("next")
    waited(lambda: not list(home.glob(f"ledger-spool/*-{child.pid}-*")))
    found = [each for each in answers(url) if isinstance(each, int)]
    assert found == list(range(1, len(found) + 1))  # predict(0) gives 1
    assert len(found) > max(seen)
    assert guardrail.flush(5)
    end()
    report = verified(url)
    assert (report.code, report.findings) == (0, [])
    closed = [
        json.loads(line) for _, line in rows(url, "SELECT n, line FROM guardrail_manifest ORDER BY n") if b'"recovered"' in line
    ]
    assert [each["recovered"]["cut_bytes"] for each in closed if each["recovered"]["cut_bytes"]] == [17]


def test_a_spool_that_was_changed_is_not_replayed(postgres_server, url, home):
    """Of a process that is gone: it stays where it is, and that is said."""
    use(url)
    predict("one")
    postgres_server.end()
    predict("two")
    predict("three")
    end()
    path = spooled(home)[0]
    path.write_bytes(path.read_bytes().replace(b'"two"', b'"owt"'))
    postgres_server.start()
    (done,) = recovery.replay(home, url)
    assert "does not follow" in done.problem
    assert spooled(home)
    assert answers(url) == ["one"]


def test_a_commit_whose_answer_is_lost_is_not_made_twice(url, home, monkeypatch):
    """The server has the records, the answer never came, and the disk is full, too: they keep their numbers whatever follows."""
    lane = SharedLane(home, url)
    body = b'{"v":1,"id":"00000000-0000-7000-8000-%012d","ts":"2026-01-01T00:00:00.000000Z","event":"call"}'
    assert len(lane.append([body % 1])) == 1
    real, sent = lane._insert, []

    def insert(*given):
        real(*given)
        sent.append(given)
        raise Away("lost", certain=False)

    def full(_):
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(lane, "_insert", insert)
        patch.setattr(Lane, "_ready", full)
        assert lane.append([body % 2, body % 3]) == []
        assert lane.problem.errno == errno.ENOSPC
        assert len(sent) == 1
    made = lane.append([body % 3, body % 4])  # the second was withdrawn meanwhile: too late
    assert len(made) == 2
    lane.upkeep(clock.now())
    waited(lambda: lane.upkeep(clock.now()) or not lane._away)
    lane.close()
    assert [json.loads(line)["id"][-1] for *_, line in rows(url)] == ["1", "2", "3", "4"]
    assert verified(url).code == 0


def test_required_audit_is_met_by_the_spool(postgres_server, url, home):
    """While the server is away, a record in files that are synced is a durable one."""

    @guarded(name="strict", version="1", audit=guardrail.Audit("sync", required=True))
    def strict(x: int) -> int:
        return x

    use(url)
    postgres_server.end()
    try:
        assert strict(1) == 1
    finally:
        postgres_server.start()
    assert spooled(home)


def test_a_forked_child_has_a_lane_and_a_connection_of_its_own(url):
    """And leaves its parent's alone."""
    use(url)
    predict("parent")
    pid = os.fork()
    if not pid:
        try:
            predict("child")
            guardrail.flush(10)
            guardrail.shutdown(10)
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    predict("parent again")
    end()
    assert sorted(answers(url)) == ["child", "parent", "parent again"]
    assert len({lane for lane, *_ in rows(url)}) == 2
    assert verified(url).code == 0


def test_records_that_come_faster_than_the_server_takes_them_go_into_files_first(url, home):
    """A write as large as only a backlog makes it does not wait for the server; all of it is replayed, in order."""
    lane = SharedLane(home, url)
    body = b'{"v":1,"id":"00000000-0000-7000-8000-%012d","ts":"2026-01-01T00:00:00.000000Z","event":"call"}'
    assert len(lane.append([body % 1])) == 1
    assert len(lane.append([body % at for at in range(2, 2 + lane_module.BEHIND)])) == lane_module.BEHIND
    assert spooled(home)
    assert len(lane.append([body % 99_999])) == 1
    waited(lambda: lane.upkeep(clock.now()) or not lane._away)
    assert not spooled(home)
    lane.close()
    assert [int(json.loads(line)["id"][-12:]) for *_, line in rows(url)] == [*range(1, 2 + lane_module.BEHIND), 99_999]
    assert verified(url).code == 0
