"""Opening, reading, changes by others, processes that die or fork, and files that are not what they should be."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from guardrail import settings
from guardrail.store import engine, file_lock, forks
from guardrail.store.changes import Changes
from guardrail.store.engine import StoreError
from guardrail.store.schema import HEAD, TABLE
from guardrail.store.tables import untold

WAIT = 20.0
ADD = """
import sys
from sqlalchemy import insert
from guardrail.store import engine
from guardrail.store.tables import untold
def add(name):
    engine.result(engine.write(lambda connection: connection.execute(insert(untold).values(id=name, at=0.0, kind="x", fields="")) and None))
"""
Start = Callable[..., "subprocess.Popen[str]"]


def add(name: str) -> Callable[[Connection], None]:
    """Return a piece of work that keeps a name."""

    def work(connection: Connection) -> None:
        connection.execute(insert(untold).values(id=name, at=0.0, kind="x", fields=""))

    return work


def names() -> set[str]:
    """Return the names that are kept."""
    return set(engine.read(lambda connection: connection.execute(select(untold.c.id)).scalars().all()))


def run(start: Start, program: str, *arguments: str) -> str:
    """Run a program in another process to its end and return what it printed."""
    process = start(program, *arguments)
    printed, _ = process.communicate(timeout=WAIT)
    assert process.returncode == 0
    return printed


def test_importing_opens_and_loads_nothing() -> None:
    """No SQLAlchemy, no thread, no folder before something is stored."""
    program = """
import sys, threading
from guardrail.store import engine, changes
from guardrail import review as queue
assert "sqlalchemy" not in sys.modules and threading.active_count() == 1 and not engine.exists()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=WAIT)  # noqa: S603 - our own program


def test_the_store_of_the_next_release_serves_this_one_too(home: Path) -> None:
    """What a later release adds is left alone, and its number stays: a rollback never stops a service."""
    engine.warm()
    engine.finish(WAIT)
    with sqlite3.connect(home / "store.db") as connection:
        connection.execute(f"UPDATE {TABLE} SET version_num = '9999'")
        connection.execute("ALTER TABLE guardrail_desk ADD COLUMN later TEXT")
    connection.close()
    assert HEAD < "9999"
    engine.result(engine.write(add("a")))
    assert names() == {"a"}
    engine.finish(WAIT)
    with sqlite3.connect(home / "store.db") as connection:
        assert connection.execute(f"SELECT version_num FROM {TABLE}").fetchall() == [("9999",)]
    connection.close()


def test_a_folder_in_the_place_of_the_store_is_an_error(home: Path) -> None:
    """What cannot be opened says so, for writing and for reading."""
    (home / "store.db").mkdir(parents=True)
    for use in (lambda: engine.result(engine.write(add("a"))), names):
        with pytest.raises(StoreError, match="cannot be opened"):
            use()


def test_a_file_that_is_no_store_is_an_error_and_left_alone(home: Path) -> None:
    """A file with another content is not overwritten."""
    home.mkdir()
    (home / "store.db").write_text("dear diary\n" * 500)
    for use in (lambda: engine.result(engine.write(add("a"))), names):
        with pytest.raises(StoreError, match="not a store"):
            use()
    assert (home / "store.db").read_text().startswith("dear diary")


def test_a_store_removed_under_a_running_process_is_made_anew(home: Path) -> None:
    """Clearing the home folder in a running notebook loses what was there, and nothing that comes after."""
    engine.result(engine.write(add("before")))
    assert names() == {"before"}
    for file in home.glob("store.db*"):
        file.unlink()
    engine.result(engine.write(add("after")))
    assert names() == {"after"}


def test_at_exit_everything_is_in_the_one_file(home: Path, start: Start) -> None:
    """A process that ends, even with a watcher at work, leaves a file that can be copied."""
    program = ADD + "from guardrail.store.changes import Changes\nadd('a')\nchanges = Changes()\nchanges.wait(0)\nchanges.wait(0)"
    run(start, program)
    copy = home / "copy.db"
    copy.write_bytes((home / "store.db").read_bytes())
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert ("a",) in connection.execute("SELECT id FROM guardrail_untold").fetchall()


def test_another_home_is_another_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store follows the setting."""
    engine.result(engine.write(add("here")))
    monkeypatch.setenv("GUARDRAIL_HOME", str(home.with_name("elsewhere")))
    settings.reset()
    assert names() == set()
    engine.result(engine.write(add("there")))
    assert names() == {"there"}


def test_many_threads_may_open_it_at_once() -> None:
    """The first use by sixteen threads makes one store, and every one of them is served."""
    gate, seen = threading.Barrier(16), []

    def use(number: int) -> None:
        gate.wait()
        engine.result(engine.write(add(f"n{number}")))
        seen.append(f"n{number}" in names())

    threads = [threading.Thread(target=use, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert seen == [True] * 16
    assert len(names()) == 16


def test_four_processes_write_and_nobody_finds_it_locked(start: Start) -> None:
    """Processes that all begin with an empty folder take turns; every write arrives."""
    program = ADD + "for turn in range(40): add(f'{sys.argv[1]}-{turn}')"
    processes = [start(program, str(number)) for number in range(4)]
    for process in processes:
        process.communicate(timeout=WAIT)
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert len(names()) == 160


def test_a_process_killed_while_it_writes_holds_nobody_up(start: Start) -> None:
    """The lock of a dead process is free at once, and its half-done work is gone."""
    program = (
        ADD
        + """
import time
def work(connection):
    connection.execute(insert(untold).values(id="half", at=0.0, kind="x", fields=""))
    print("inside", flush=True)
    time.sleep(60)
engine.write(work).result()
"""
    )
    process = start(program)
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    engine.result(engine.write(add("next")), WAIT)
    assert names() == {"next"}


def test_changes_of_other_processes_are_seen_and_nothing_else(start: Start) -> None:
    """The watcher's question is answered with yes once per change, whoever made it."""
    engine.result(engine.write(add("a")))
    changes = Changes()
    assert [changes.wait(0), changes.wait(0)] == [True, False]
    engine.result(engine.write(add("b")))
    assert [changes.wait(0), changes.wait(0)] == [True, False]
    run(start, ADD + "add('c')")
    assert [changes.wait(0), changes.wait(0)] == [True, False]
    names()
    assert changes.wait(0) is False
    changes.close()


def test_a_forked_child_has_a_store_of_its_own() -> None:
    """The child opens the store anew while the parent's threads go on writing; neither hangs nor loses anything."""
    engine.result(engine.write(add("parent")))
    names()
    stop, busy = threading.Event(), []

    def work(number: int) -> None:
        turn = 0
        while not stop.is_set():
            engine.result(engine.write(add(f"t{number}-{turn}")))
            names()
            turn += 1
        busy.append(turn)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    codes = []
    for number in range(12):
        child = os.fork()
        if not child:
            code = 1
            try:
                engine.result(engine.write(add(f"child{number}")), WAIT)
                code = 0 if {"parent", f"child{number}"} <= names() and engine.finish(WAIT) else 2
            finally:
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    stop.set()
    for thread in threads:
        thread.join(WAIT)
    assert codes == [0] * 12
    assert len(busy) == 3
    assert len(names()) == 1 + 12 + sum(busy)


def test_a_fork_does_not_pass_the_file_lock_on(home: Path) -> None:
    """A child forked while its parent holds the lock neither keeps it locked nor unlocks it."""
    engine.warm()
    lock = home / "store.db.lock"
    with file_lock.held(lock):
        child = os.fork()
        if not child:
            with file_lock.held(lock, block=False) as held:
                os._exit(1 if held else 0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with file_lock.held(lock, block=False) as held:
            assert not held
    with file_lock.held(lock, block=False) as held:
        assert held


def test_an_event_loop_goes_on_while_the_store_is_locked(home: Path) -> None:
    """Waiting with `result_later` does not block the loop, and gives up in time."""
    engine.warm()

    async def main() -> int:
        ticks = 0
        with file_lock.held(home / "store.db.lock"):
            waiting = asyncio.ensure_future(engine.result_later(engine.write(add("late")), 0.2))
            while not waiting.done():
                await asyncio.sleep(0.01)
                ticks += 1
            with pytest.raises(StoreError, match="not free"):
                await waiting
        assert await engine.result_later(engine.read_later(lambda connection: connection.execute(select(untold)).all())) == []
        return ticks

    assert asyncio.run(main()) >= 3
    assert names() == set()


def test_a_block_apart_from_forks_may_stand_within_another():
    """The inner one is nothing; a fork waits for the outer."""
    with forks.apart():
        with forks.apart():
            pass
        assert forks._inside == 1
    assert forks._inside == 0


def open_files(path: Path) -> int:
    """Return how many descriptors of this process stand on a file."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += os.readlink(descriptor) == str(path)
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks at the descriptors as Linux shows them")
def test_no_connection_is_left_to_the_garbage_collector(home: Path) -> None:
    """Who reads while the store is closed closes what it used, on whatever thread; and so does a store that is refused."""
    engine.warm()
    path = engine.path().resolve()
    reading, goes_on = threading.Event(), threading.Event()

    def read(_: Connection) -> None:
        reading.set()
        goes_on.wait(20)

    thread = threading.Thread(target=engine.read, args=(read,))
    thread.start()
    assert reading.wait(20)
    assert engine.finish(5)
    goes_on.set()
    thread.join(20)
    assert open_files(path) == 0

    path.write_bytes(b"this is no store" * 100)
    with pytest.raises(engine.StoreError):
        engine.read(lambda connection: None, 5)
    engine.finish(5)
    assert open_files(path) == 0
