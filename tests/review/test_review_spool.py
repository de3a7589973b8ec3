"""When the store cannot take a case, the spool does; when neither can, nothing pretends."""

from __future__ import annotations

import asyncio
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from guardrail import notices
from guardrail import review as queue
from guardrail.errors import ReviewUnavailable
from guardrail.review import spool
from guardrail.review.case import Case
from guardrail.store import file_lock
from guardrail.store.engine import StoreError

WAIT = 20.0
Make = Callable[..., Case]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def broken(home: Path) -> Path:
    """A folder in the place of the store."""
    place = home / "store.db"
    place.mkdir(parents=True)
    return place


def files(home: Path) -> list[Path]:
    """Return the cases that wait in the spool."""
    return sorted(home.glob("spool/review/*.json"))


def test_a_case_waits_in_the_spool_and_moves_into_the_store(home: Path, case: Make, broken: Path) -> None:
    """Its ticket is pending meanwhile, and keeps its id and its time."""
    ticket = queue.put(case(business_id="loan-17"))
    (file,) = files(home)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert ticket.state == "pending"
    assert ("credit", "review-spool") in notices.counts()
    assert [level for level, _ in queue.check()] == ["bad", "bad"]
    with pytest.raises(StoreError):
        queue.decide(ticket.id, "yes")
    broken.rmdir()
    (found,) = queue.find(business_id="loan-17")
    assert (found, found.created) == (ticket, ticket.created)
    assert files(home) == []
    queue.decide(ticket.id, "no")
    assert ticket.wait(0) == "no"


def test_one_open_ticket_per_key_holds_in_the_spool_too(home: Path, case: Make, broken: Path) -> None:
    """Sixteen threads that ask the same question share one file and one ticket."""
    tickets: list[queue.Ticket] = []
    threads = [threading.Thread(target=lambda: tickets.append(queue.put(case()))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    other = queue.put(case(2))
    assert len(tickets) == 16
    assert len(set(tickets)) == 1
    assert len(files(home)) == 2
    assert {path.suffix for path in (home / "spool" / "review").iterdir()} == {".json"}
    broken.rmdir()
    assert set(queue.find()) == {tickets[0], other}


def test_the_next_case_that_the_store_takes_brings_the_others_along(home: Path, case: Make, broken: Path) -> None:
    """A successful `put` empties the spool; the same question gets the ticket that was handed out."""
    ticket = queue.put(case())
    broken.rmdir()
    other = queue.PUT.now(case(2))
    assert files(home) == []
    assert queue.put(case()) == ticket
    assert queue.find() == [ticket, other] or queue.find() == [other, ticket]


@pytest.mark.usefixtures("hasty")
def test_a_ticket_from_the_spool_whose_key_is_open_in_the_store_is_the_same_case(home: Path, case: Make) -> None:
    """Both ids answer: who holds the one from the spool gets what the person said to the other."""
    known = queue.put(case())
    with file_lock.held(home / "store.db.lock"):
        spooled = queue.put(case())
        assert spooled != known
        assert (spooled.state, known.state) == ("pending", "pending")
    assert queue.find(state="open") == [known]
    signal = queue.signal(spooled.id)
    queue.decide(known.id, "no")
    assert (spooled.state, known.state) == ("decided", "decided")
    assert (spooled.wait(0), signal.result(WAIT).value) == ("no", "no")
    assert queue.get(spooled.id) == known


def test_moving_twice_changes_nothing(home: Path, case: Make, broken: Path) -> None:
    """A process that dies between storing a case and removing its file leaves one case, not two."""
    ticket = queue.put(case())
    (file,) = files(home)
    shutil.copy(file, home / "copy")
    broken.rmdir()
    assert queue.find() == [ticket]
    queue.decide(ticket.id, "no")
    shutil.copy(home / "copy", file)
    assert queue.find() == [ticket]
    assert ticket.state == "decided"
    assert files(home) == []


def test_a_waiter_for_a_spooled_ticket_is_told(home: Path, case: Make, broken: Path, start: Start) -> None:
    """The watcher moves the spool when the store is back, and then sees the decision made elsewhere."""
    ticket = queue.put(case())
    signal = queue.signal(ticket.id)
    assert not signal.done()
    broken.rmdir()
    program = "while not queue.find(): time.sleep(0.02)\nqueue.decide(queue.find()[0].id, 'no')"
    start(program)
    assert signal.result(WAIT).value == "no"
    assert files(home) == []


def test_when_neither_takes_it_the_call_is_refused(home: Path, case: Make, broken: Path) -> None:
    """Fail closed: no ticket is pretended, and the error says what failed, not what was asked."""
    (home / "spool").write_text("in the way")
    with pytest.raises(ReviewUnavailable) as caught:
        queue.put(case(arguments={"ssn": "078-05-1120"}))
    assert (caught.value.guard, caught.value.decision_id) == ("credit", "decision-1")
    assert "cannot be opened" in str(caught.value)
    assert "guardrail doctor" in str(caught.value)
    assert "078-05" not in str(caught.value)
    with pytest.raises(ReviewUnavailable):
        asyncio.run(queue.PUT.later(case()))


def test_a_file_that_cannot_be_read_is_set_aside(home: Path, case: Make, broken: Path) -> None:
    """A torn file holds up no other case, is kept, and is said."""
    ticket = queue.put(case())
    for number, content in enumerate([b"", b"{", b"[]", b'{"key": "zz"}', b"\xff\xfe"]):
        (home / "spool" / "review" / f"torn{number}.json").write_bytes(content)
    broken.rmdir()
    assert queue.find() == [ticket]
    assert files(home) == []
    assert len(list(home.glob("spool/review/*.unreadable"))) == 5
    assert (None, "review-spool") in notices.counts()


def test_two_processes_may_move_the_spool_at_once(home: Path, case: Make, broken: Path, start: Start) -> None:
    """No case is lost or doubled."""
    tickets = {queue.put(case(key)).id for key in range(30)}
    broken.rmdir()
    program = "sys.stdin.readline(); queue.find(); print(len(queue.find()))"
    processes = [start(program) for _ in range(3)]
    for process in processes:
        process.communicate("go\n", timeout=WAIT)
    assert {ticket.id for ticket in queue.find()} == tickets
    assert files(home) == []


DISK = """
import resource
queue.put(case(0))
resource.setrlimit(resource.RLIMIT_FSIZE, (size := 60_000, size))
tickets = []
for key in range(1, 30):
    tickets.append(queue.put(case(key, arguments={"text": "x" * 9_000})))
print(len({ticket.id for ticket in tickets}), *{ticket.state for ticket in tickets}, queue.spool_count())
""".replace("queue.spool_count()", "__import__('guardrail.review.spool').review.spool.count() > 0")


def test_a_store_that_may_not_grow_spools(home: Path, start: Start) -> None:
    """A full disk for the store (here a limit on the size of one file) loses no case; small files still fit."""
    process = start(DISK)
    printed, _ = process.communicate(timeout=3 * WAIT)
    assert printed.split() == ["29", "pending", "True"]
    assert spool.waiting()
    assert queue.open_count() == 30
    assert not spool.waiting()


def test_a_full_disk_refuses(home: Path, case: Make, tmp_path: Path, start: Start) -> None:
    """When not even the spool fits, the call is refused, and what was kept before is still there."""
    program = """
import resource
first = queue.put(case(0))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    queue.put(case(1))
except Exception as problem:
    print(type(problem).__name__, first.state)
"""
    printed, _ = start(program).communicate(timeout=WAIT)
    assert printed == "ReviewUnavailable pending\n"
    assert queue.open_count() == 1
    assert list(home.glob("spool/review/*.tmp")) == []


@pytest.mark.usefixtures("hasty")
def test_a_reader_is_not_kept_out_by_a_locked_store(home: Path, case: Make) -> None:
    """What cannot be moved or expired now is said, and reading goes on."""
    ticket = queue.put(case())
    with file_lock.held(home / "store.db.lock"):
        spooled: Any = spool.keep(case(2).row())
        assert queue.find() == [ticket]
        assert any(topic == "review-store" for _, topic in notices.counts())
    assert {each.id for each in queue.find()} == {ticket.id, spooled["id"]}
