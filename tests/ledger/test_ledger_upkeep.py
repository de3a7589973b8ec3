"""Compression and retention by themselves: on a thread, at a low rate, and never where a clock has leapt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_calls import make_entry, until
from kept import aged, later, made, names, old, stands_alone, verdict

from guardrail import clock, configure, notices, shutdown
from guardrail.ledger import compress, holds, reader, retention, upkeep, writer


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "START_SECONDS", 0.01)


@pytest.mark.usefixtures("soon")
def test_a_process_that_writes_records_keeps_the_ledger_in_order(home: Path) -> None:
    """What is older than a day is compressed, and with a retention what is too old goes; both without anybody asking."""
    configure(retention="180d")
    ancient, yesterday, today = old(home, 8), old(home, 8, days=2, first=50), made(home, 8, first=100)
    writer.push(make_entry())
    until(lambda: not names(ancient))
    until(lambda: all(each.endswith(".gz") for each in names(yesterday)))
    (record,) = until(lambda: list(reader.read(home, event="prune")))
    assert (record["lane"], record["policy"], record["reason"]) == (ancient.name, "180d", "retention")
    assert "actor" not in record
    assert names(today) == [f"{1:020d}.jsonl", f"{5:020d}.jsonl"]
    assert shutdown(10)
    assert stands_alone(home) == 0


@pytest.mark.usefixtures("soon")
def test_without_a_retention_nothing_goes_and_compression_can_be_off(home: Path) -> None:
    """The default keeps everything, compressed; `compress=False` leaves files as they are, and then there is no thread."""
    one = old(home, 8, days=4_000)
    configure(compress=False)
    writer.push(make_entry())
    assert writer.flush(10)
    assert upkeep._post.worker is None
    assert shutdown(10)
    configure(compress=True)
    writer.push(make_entry())
    until(lambda: all(each.endswith(".gz") for each in names(one)))
    assert retention.by_itself(lambda _: None) is None


def test_a_clock_that_leaps_prunes_nothing(home: Path) -> None:
    """Years at once are no retention that has run out; it is said."""
    configure(retention="180d")
    one = old(home, 4, days=1)
    keeper = upkeep.Upkeep(home)
    with later(3_650):
        keeper.round()
    assert names(one)
    assert (None, "ledger-clock") in notices.counts()
    with later(3_650):
        upkeep.Upkeep(home).round()
    assert not names(one)


def test_work_is_followed_by_rest_and_ends_with_the_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as long as it took; when the process ends, a half-made file is removed and the plain one is there."""
    one = old(home, 8)
    keeper = upkeep.Upkeep(home)
    waits = []
    now = [0.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])
    monkeypatch.setattr(keeper._end, "wait", waits.append)
    keeper._worked_at = 0.0
    now[0] = 0.5
    keeper._pace(1)
    assert waits == [2.0]
    monkeypatch.setattr(keeper._end, "wait", lambda _: True)
    with pytest.raises(upkeep._Ended):
        keeper.round()
    assert names(one) == [f"{1:020d}.jsonl", f"{5:020d}.jsonl"]
    assert not list(one.folder.glob(".*"))
    assert keeper._end.wait(0)


def test_what_is_wrong_is_said_and_ends_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses, a segment that does not verify: each is a notice."""
    configure(retention="180d")
    one = old(home, 4)
    path = one.folder / f"{1:020d}.jsonl"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"n":2', b'"n":7'))
    aged(home, 200)
    upkeep.Upkeep(home).round()
    assert (None, "ledger-retention") in notices.counts()
    for trouble, topic in ((OSError(28, "No space left on device"), "ledger-upkeep"), (RuntimeError("?"), "ledger-upkeep")):
        with monkeypatch.context() as broken:

            def fails(*_: object, _trouble: Exception = trouble, **__: object) -> None:
                raise _trouble

            broken.setattr(compress, "compress", fails)
            upkeep.Upkeep(home).round()
        assert (None, topic) in notices.counts()


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from fake_calls import make_entry
from guardrail import clock, configure
from guardrail.ledger import upkeep, writer
upkeep.START_SECONDS = 0.0
configure(retention="180d")
writer.push(make_entry())
print("begun", flush=True)
clock.sleep(30)
"""


def test_a_process_that_is_killed_amid_its_upkeep_leaves_a_ledger_that_verifies(home: Path) -> None:
    """At moments of chance; the next process goes on."""
    lanes = [old(home, 8, first=at * 10) for at in range(12)]
    assert shutdown(10)
    for at in range(5):
        command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "GUARDRAIL_HOME": str(home)}) as process:
            assert process.stdout is not None
            process.stdout.readline()
            clock.sleep(0.02 + 0.04 * at)
            process.send_signal(signal.SIGKILL)
        assert verdict(home) in {0, 3}
    configure(retention="180d")
    upkeep.Upkeep(home).round()
    assert not any(names(each) for each in lanes)
    assert verdict(home) in {0, 3}


def test_a_hold_keeps_records_from_the_upkeep(home: Path) -> None:
    """As from people."""
    configure(retention="180d")
    one = old(home, 8)
    holds.hold("case", reason="court", everything=True)
    upkeep.Upkeep(home).round()
    assert len(names(one)) == 2
