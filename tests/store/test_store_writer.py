"""Writing: one thread, one transaction for many callers, each with a result or an error of its own."""

from __future__ import annotations

import asyncio
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from guardrail.store import engine, file_lock, sqlite, writer
from guardrail.store.engine import StoreError
from guardrail.store.tables import untold

WAIT = 20.0


def add(name: str, value: str = "") -> Callable[[Connection], str]:
    """Return a piece of work that keeps a name."""

    def work(connection: Connection) -> str:
        connection.execute(insert(untold).values(id=name, at=0.0, kind="x", fields=value))
        return name

    return work


def names() -> set[str]:
    """Return the names that are kept."""
    return set(engine.read(lambda connection: connection.execute(select(untold.c.id)).scalars().all()))


class Pause:
    """A piece of work that holds the writer until it is let go, so that others gather behind it."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.future: Future[None] = engine.write(self)
        assert self.begun.wait(WAIT)

    def __call__(self, _connection: Connection) -> None:
        self.begun.set()
        assert self.go.wait(WAIT)


def test_what_was_written_is_returned_and_there() -> None:
    """A caller gets what its function returned, and every reader sees what it wrote."""
    assert engine.write(add("a")).result(WAIT) == "a"
    assert names() == {"a"}


def test_files_are_for_their_owner_only(home: Path) -> None:
    """The folder is 0700 and every file of the store 0600, whatever the umask."""
    engine.write(add("a")).result(WAIT)
    names()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in home.glob("store.db*")}
    assert files == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm", "store.db.lock"], 0o600)


def test_callers_that_come_meanwhile_share_one_transaction() -> None:
    """Fifty callers behind a busy writer cost one transaction, and one sync, together."""
    engine.warm()
    pause = Pause()
    transactions: list[Any] = []

    def work(connection: Connection) -> None:
        transactions.append(connection.get_transaction())

    futures = [engine.write(work) for _ in range(50)]
    pause.go.set()
    for future in futures:
        future.result(WAIT)
    assert len(transactions) == 50
    assert len({id(each) for each in transactions}) == 1


def test_an_error_undoes_only_its_own_work() -> None:
    """In a shared transaction each caller gets its own error, and the others' work stays."""
    engine.write(add("there")).result(WAIT)

    def fail(connection: Connection) -> None:
        add("never")(connection)
        raise KeyError("mine")

    pause = Pause()
    good, bad, twice, last = (engine.write(work) for work in (add("good"), fail, add("there"), add("last")))
    pause.go.set()
    assert (good.result(WAIT), last.result(WAIT)) == ("good", "last")
    with pytest.raises(KeyError, match="mine"):
        bad.result(WAIT)
    with pytest.raises(StoreError):
        twice.result(WAIT)
    assert names() == {"there", "good", "last"}


def test_an_error_never_carries_values() -> None:
    """What SQLAlchemy knows of the parameters stays out of the error."""
    engine.write(add("secret-name", "secret-value")).result(WAIT)
    with pytest.raises(StoreError) as caught:
        engine.write(add("secret-name", "secret-value")).result(WAIT)
    assert "secret" not in str(caught.value)
    assert not isinstance(caught.value.__cause__, IntegrityError)


def test_work_too_large_for_the_disk_fails_alone() -> None:
    """When SQLite gives up a whole transaction, every piece of work gets a chance of its own."""
    engine.warm()

    def full(connection: Connection) -> None:
        sqlite.raw(connection).execute("PRAGMA max_page_count = 60")  # as a disk that is nearly full

    pause = Pause()
    engine.write(full)
    small, large, other = (engine.write(add(name, "x" * size)) for name, size in (("a", 9), ("b", 10**6), ("c", 9)))
    pause.go.set()
    with pytest.raises(StoreError, match="the disk is full"):
        large.result(WAIT)
    assert (small.result(WAIT), other.result(WAIT)) == ("a", "c")
    assert names() == {"a", "c"}


def test_a_transaction_that_sqlite_rolled_back_is_run_again_one_by_one() -> None:
    """If the transaction is gone, nothing of it counts, and each piece of work is done anew."""
    engine.warm()
    runs: list[str] = []

    def first(connection: Connection) -> None:
        runs.append("first")
        add("first")(connection)

    def breaks(connection: Connection) -> None:
        runs.append("breaks")
        sqlite.raw(connection).execute("ROLLBACK")  # what SQLite does by itself after some errors
        connection.exec_driver_sql("SELECT * FROM nowhere")

    pause = Pause()
    good, bad = engine.write(first), engine.write(breaks)
    pause.go.set()
    good.result(WAIT)
    with pytest.raises(StoreError):
        bad.result(WAIT)
    assert runs == ["first", "breaks", "first", "breaks"]
    assert names() == {"first"}


def test_work_called_off_in_time_is_not_done() -> None:
    """A future that is cancelled before its transaction began leaves nothing behind."""
    engine.warm()
    pause = Pause()
    unwanted = engine.write(add("unwanted"))
    assert unwanted.cancel()
    pause.go.set()
    engine.write(add("wanted")).result(WAIT)
    assert names() == {"wanted"}


def test_a_store_locked_by_another_is_an_error_in_time_and_works_later(home: Path) -> None:
    """Who waits for a locked store gets an error when the time is up, and the work is called off."""
    engine.warm()
    with file_lock.held(home / "store.db.lock"):
        with pytest.raises(StoreError, match=r"not free within 0\.1 s"):
            engine.result(engine.write(add("late")), 0.1)
        assert names() == set()  # reading goes on
    engine.result(engine.write(add("next")))
    assert names() == {"next"}


def test_readers_cannot_write() -> None:
    """A function given to `read` that writes gets an error."""
    engine.warm()
    with pytest.raises(StoreError, match="may not be written"):
        engine.read(add("a"))
    assert names() == set()


def test_the_log_is_written_back_when_it_is_large(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is checkpointed on its own, but the log does not grow for ever."""
    engine.warm()
    engine.finish(WAIT)
    monkeypatch.setattr(writer, "_LOG_BYTES", 200_000)
    monkeypatch.setattr(writer, "_LOG_MOST", 200_000)
    log = home / "store.db-wal"
    largest = 0
    for turn in range(30):
        engine.write(add(f"n{turn}", "x" * 50_000)).result(WAIT)
        largest = max(largest, log.stat().st_size)
    engine.write(lambda _: None).result(WAIT)
    assert largest > 100_000
    assert log.stat().st_size < 300_000
    assert len(names()) == 30


def test_a_large_log_is_written_back_when_nobody_waits(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While there is work the log may grow further; it is emptied in the first pause."""
    engine.warm()
    engine.finish(WAIT)
    monkeypatch.setattr(writer, "_LOG_BYTES", 200_000)
    log = home / "store.db-wal"
    for work in [engine.write(add(f"n{turn}", "x" * 500_000)) for turn in range(4)]:
        work.result(WAIT)
    until = time.monotonic() + WAIT
    while log.stat().st_size and time.monotonic() < until:
        time.sleep(0.01)
    assert log.stat().st_size == 0
    assert len(names()) == 4


def test_a_reader_at_work_only_postpones_the_write_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers never wait for a reader, and the log shrinks once the reader has gone."""
    engine.warm()
    monkeypatch.setattr(writer, "_LOG_BYTES", 100_000)
    monkeypatch.setattr(writer, "_LOG_MOST", 100_000)
    engine.finish(WAIT)
    engine.write(add("seen")).result(WAIT)

    def read_long(connection: Connection) -> set[str]:
        before = set(connection.execute(select(untold.c.id)).scalars())
        for turn in range(20):
            engine.write(add(f"n{turn}", "x" * 50_000)).result(WAIT)
        after = set(connection.execute(select(untold.c.id)).scalars())
        assert before == after
        return after

    assert engine.read(read_long) == {"seen"}
    for turn in range(20, 40):
        engine.write(add(f"n{turn}", "x" * 50_000)).result(WAIT)
    engine.write(lambda _: None).result(WAIT)
    assert (home / "store.db-wal").stat().st_size < 300_000
    assert len(names()) == 41


def test_finishing_does_all_that_was_asked_and_closes(home: Path) -> None:
    """After `finish` everything is in the one file, and the next use opens it again."""
    futures = [engine.write(add(f"n{turn}")) for turn in range(100)]
    assert names() <= {f"n{turn}" for turn in range(100)}
    assert engine.finish(WAIT)
    assert all(future.done() for future in futures)
    assert not (home / "store.db-wal").exists()
    engine.write(add("more")).result(WAIT)
    assert len(names()) == 101


def test_no_transaction_begins_without_the_file_lock(home: Path) -> None:
    """SQLite before 3.51.3 can lose commits if two write or checkpoint at once, so a lock stands around all of it."""

    def is_free(_connection: Connection | None) -> bool:
        with file_lock.held(home / "store.db.lock", block=False) as free:
            return free

    assert [engine.write(is_free).result(WAIT) for _ in range(3)] == [False, False, False]
    engine.finish(WAIT)
    assert is_free(None)


def test_a_long_line_that_moves_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time runs out only while nothing gets done: a burst is not mistaken for a locked store."""
    engine.warm()
    monkeypatch.setattr(writer, "_MOST", 1)
    before = [engine.write(lambda _: time.sleep(0.05)) for _ in range(12)]
    mine = engine.write(add("mine"))
    assert engine.result(mine, 0.2) == "mine"
    assert all(future.done() for future in before)
    again = [engine.write(lambda _: time.sleep(0.05)) for _ in range(12)]
    assert asyncio.run(engine.result_later(engine.write(add("later")), 0.2)) == "later"
    assert all(future.done() for future in again)
