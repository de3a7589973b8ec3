"""The index: what it finds is what a scan finds, it grows with the ledger, and it is never believed."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from made_lanes import A, B, T, close, identity, line, pack, write

from guardrail.ledger import index, index_build, index_file, reader
from guardrail.ledger.index import Index
from guardrail.ledger.index_query import Question
from guardrail.ledger.wanted import Wanted, wanted
from guardrail.store import file_lock


@pytest.fixture(autouse=True)
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each search looks how far the index reaches."""
    monkeypatch.setattr(index, "_FRESH", -1.0)


def some(lane: int, many: int, start: int = 1) -> list[bytes]:
    dice = random.Random(lane)
    lines = []
    for at in range(start, start + many):
        fields: dict[str, Any] = {
            "id": identity(lane * 100_000 + at, T + at), "guard": dice.choice("abc"), "outcome": dice.choice(["answered"] * 5 + ["failed"]),
            "event": dice.choice(["call"] * 6 + ["row", "mode", "ticket"]), "business_id": f"loan-{dice.randrange(20)}",
        }  # fmt: skip
        if dice.random() < 0.3:
            fields["actor"] = {"id": f"user-{dice.randrange(5)}"}
        if dice.random() < 0.3:
            fields["subject"] = f"digest-{dice.randrange(5)}"
        if dice.random() < 0.3:
            fields["parent"] = identity(lane * 100_000 + at - 1, T + at - 1)
        lines.append(line(at, T + at + dice.random() * 3, **fields))
    return lines


QUESTIONS = [
    {"ids": [identity(100_005, T + 5), identity(200_007, T + 7), "none"]}, {"business_id": "loan-3"}, {"actor": "user-2"},
    {"actor": ["user-1", "user-4"], "guard": "a"}, {"guard": "b"}, {"guard": ["a", "b"], "outcome": "failed"}, {"outcome": "failed"},
    {"event": "mode"}, {"event": ("ticket", "mode"), "guard": "c"}, {"event": "call", "guard": "a", "since": T + 50, "until": T + 200},
    {"business_id": "loan-3", "guard": "c", "event": "call"}, {"outcome": ["failed", "answered"], "guard": "a"}, {"guard": "nobody"},
    {"business_id": "loan-1", "since": T + 100}, {"subject": "digest-3"},
]  # fmt: skip


def ask(home: Path, question: dict[str, Any], *, indexed: bool, **more: Any) -> list[str]:
    question = dict(question)
    subject = question.pop("subject", None)
    which = wanted(**question)
    if subject:
        which = Wanted(subject=frozenset({subject}))
    return [each.record["id"] for each in reader.stored(which, home, indexed=indexed, **more)]


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_index_finds_what_a_scan_finds(tmp_path: Path, newest_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every filter, over several lanes, segments and pages, in the same order."""
    monkeypatch.setattr(index, "_FIRST_PAGE", 3)
    monkeypatch.setattr(index, "_PAGE", 7)
    write(tmp_path, A, 1, some(1, 150))
    write(tmp_path, A, 151, some(1, 100, 151), packed=True)
    write(tmp_path, B, 1, some(2, 200))
    for question in QUESTIONS:
        expected = ask(tmp_path, question, indexed=False, newest_first=newest_first)
        assert ask(tmp_path, question, indexed=True, newest_first=newest_first) == expected, question
        assert ask(tmp_path, question, indexed=True, newest_first=newest_first, limit=4) == expected[:4], question
    assert (tmp_path / "ledger" / "index.db").stat().st_mode & 0o777 == 0o600
    assert Index(tmp_path).count() == 450


def test_mentions_find_calls_by_ticket_and_parent_and_events_by_any_text(tmp_path: Path) -> None:
    """The record itself, what was called by it, and events that name it wherever they do."""
    own = identity(1, T)
    lines = [
        line(1, T, ticket="ticket-1"), line(2, T + 1, parent=own), line(3, T + 2, event="feedback", about={"deep": [own]}),
        line(4, T + 3, event="decision", ticket="ticket-1"), line(5, T + 4, ticket="ticket-2"),
    ]  # fmt: skip
    write(tmp_path, A, 1, lines)
    assert [each["seq"] for each in reader.mentions([own, "ticket-1"], tmp_path)] == [1, 2, 3, 4]


def test_the_index_grows_with_the_ledger(tmp_path: Path) -> None:
    """What is appended, a new segment, a new lane, and a line that was torn and is finished later."""
    path = write(tmp_path, A, 1, some(1, 50))
    whole = line(51, T + 51, business_id="late")
    with path.open("ab") as file:
        file.write(whole[:20])
    assert reader.find_business("late", home=tmp_path) == []
    with path.open("ab") as file:
        file.write(whole[20:])
    assert len(reader.find_business("late", home=tmp_path)) == 1
    write(tmp_path, A, 52, [line(52, T + 52, business_id="late")])
    write(tmp_path, B, 1, [line(1, T + 53, business_id="late")])
    assert [each["ts"][-10:] for each in reader.find_business("late", home=tmp_path)] == [
        "13.000000Z",
        "12.000000Z",
        "11.000000Z",
    ]
    assert Index(tmp_path).count() == 53


def test_what_is_not_indexed_yet_is_found_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search waits a bounded time for the index; the rest it reads from the segments, in order, nothing twice."""
    monkeypatch.setattr(index_file, "BATCH", 40)
    write(tmp_path, A, 1, some(1, 150))
    write(tmp_path, B, 1, some(2, 150), packed=True)
    Index(tmp_path).refresh(0.0)
    assert Index(tmp_path).count() == 40
    monkeypatch.setattr(index, "PATIENCE", 0.0)
    monkeypatch.setattr(Index.refresh, "__defaults__", (0.0, None))
    for question in QUESTIONS:
        for newest_first in (False, True):
            expected = ask(tmp_path, question, indexed=False, newest_first=newest_first)
            assert ask(tmp_path, question, indexed=True, newest_first=newest_first) == expected, question


def test_while_another_process_indexes_a_search_goes_on(tmp_path: Path) -> None:
    """Whoever does not get the lock uses what is there, and reads the rest."""
    write(tmp_path, A, 1, some(1, 50))
    Index(tmp_path).refresh()
    write(tmp_path, B, 1, [line(1, T, business_id="new")])
    with file_lock.held(tmp_path / "ledger" / "index.lock"):
        assert len(reader.find_business("new", home=tmp_path)) == 1
        assert Index(tmp_path).count() == 50


@pytest.mark.parametrize("damage", ["junk", "empty", "middle", "foreign"])
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage: str) -> None:
    """Whatever stands in its place, the search finds what there is, and afterwards the index is whole."""
    write(tmp_path, A, 1, some(1, 300))
    expected = ask(tmp_path, {"business_id": "loan-3"}, indexed=False)
    Index(tmp_path).refresh()
    path = tmp_path / "ledger" / "index.db"
    if damage == "junk":
        path.write_bytes(b"this is no index" * 1_000)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "middle":
        content = bytearray(path.read_bytes())
        content[4096:] = os.urandom(len(content) - 4096)
        path.write_bytes(content)
    else:
        path.unlink()
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 1")
            db.execute("CREATE TABLE record (other)")
        db.close()
    assert ask(tmp_path, {"business_id": "loan-3"}, indexed=True) == expected
    assert ask(tmp_path, {"business_id": "loan-3"}, indexed=True) == expected
    assert Index(tmp_path).count() == 300


def test_an_index_that_lies_is_not_believed(tmp_path: Path) -> None:
    """Hits are read from the segments: an entry that points elsewhere, or says something else, costs the index its place."""
    write(tmp_path, A, 1, some(1, 100))
    expected = ask(tmp_path, {"business_id": "loan-3"}, indexed=False)
    for lie in (
        "UPDATE record SET place = place + 1 WHERE business_id = 'loan-3'",
        "UPDATE record SET business_id = 'loan-3' WHERE business_id = 'loan-4'",
        "UPDATE record SET seq = seq + 1 WHERE business_id = 'loan-3'",
    ):
        Index(tmp_path).refresh()
        with sqlite3.connect(tmp_path / "ledger" / "index.db") as db:
            db.execute(lie)
        db.close()
        assert ask(tmp_path, {"business_id": "loan-3"}, indexed=True) == expected
        assert not (tmp_path / "ledger" / "index.db").exists()


def test_a_segment_that_was_replaced_is_indexed_again(tmp_path: Path) -> None:
    """Shorter than it was, or with another last line: what was known of it is dropped."""
    path = write(tmp_path, A, 1, [line(1, T, business_id="x"), line(2, T, business_id="x")])
    assert len(reader.find_business("x", home=tmp_path)) == 2
    path.write_bytes(line(1, T, business_id="y"))
    assert len(reader.find_business("x", home=tmp_path)) == 0
    assert len(reader.find_business("y", home=tmp_path)) == 1
    path.write_bytes(line(1, T, business_id="z") + line(2, T, business_id="y"))
    os.utime(path, ns=(1, 1))
    assert len(reader.find_business("y", home=tmp_path)) == 1
    assert len(reader.find_business("z", home=tmp_path)) == 1


def test_a_compressed_segment_keeps_its_entries(tmp_path: Path) -> None:
    """Places are counted in the content, so nothing is indexed again but its end is looked at once."""
    path = write(tmp_path, A, 1, some(1, 200))
    expected = ask(tmp_path, {"business_id": "loan-3"}, indexed=True)
    pack(path)
    assert ask(tmp_path, {"business_id": "loan-3"}, indexed=True) == expected
    assert ask(tmp_path, {"business_id": "loan-3"}, indexed=True) == expected
    assert Index(tmp_path).count() == 200
    assert all(part.closed for part in Index(tmp_path).refresh().parts.values())


def test_pruned_segments_leave_the_index(tmp_path: Path) -> None:
    """A file that is gone has no entries; a whole lane that is gone neither."""
    first = write(tmp_path, A, 1, some(1, 60))
    write(tmp_path, A, 61, some(1, 60, 61))
    write(tmp_path, B, 1, some(2, 60))
    close(tmp_path, B)
    Index(tmp_path).refresh()
    first.unlink()
    Index(tmp_path).refresh()
    assert Index(tmp_path).count() == 120
    for each in (tmp_path / "ledger" / B).iterdir():
        each.unlink()
    (tmp_path / "ledger" / B).rmdir()
    Index(tmp_path).refresh()
    assert Index(tmp_path).count() == 60


def test_what_a_later_file_holds_again_is_found_once(tmp_path: Path) -> None:
    """The unsure record of a failed sync was indexed before the file came that supersedes it."""
    write(tmp_path, A, 1, [line(1, T), line(2, T + 1, business_id="x", unsure=True)])
    assert "unsure" in reader.find_business("x", home=tmp_path)[0]
    write(tmp_path, A, 2, [line(2, T + 1, business_id="x")])
    (found,) = reader.find_business("x", home=tmp_path)
    assert "unsure" not in found
    assert Index(tmp_path).path.exists()


def test_closed_lanes_are_not_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that the manifest says is closed, and that is indexed whole, costs one look at its folder."""
    write(tmp_path, A, 1, some(1, 50))
    write(tmp_path, B, 1, some(2, 50))
    close(tmp_path, A)
    assert Index(tmp_path).refresh().done == {A}
    seen: list[str] = []
    real = index_build.segments
    monkeypatch.setattr(index_build, "segments", lambda lane: seen.append(lane.name) or real(lane))
    Index(tmp_path).refresh()
    assert seen == [B]
    pack(tmp_path / "ledger" / A / f"{1:020d}.jsonl")
    assert ask(tmp_path, {"business_id": "loan-3"}, indexed=True) == ask(tmp_path, {"business_id": "loan-3"}, indexed=False)


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_ledger_that_may_only_be_read_is_scanned(tmp_path: Path) -> None:
    """No index and no right to make one: the search reads the segments; with one, it is used as it is."""
    write(tmp_path, A, 1, some(1, 50))
    folder = tmp_path / "ledger"
    expected = ask(tmp_path, {"business_id": "loan-3"}, indexed=False)
    folder.chmod(0o500)
    try:
        assert ask(tmp_path, {"business_id": "loan-3"}, indexed=True) == expected
        assert not (folder / "index.db").exists()
    finally:
        folder.chmod(0o700)


def test_an_index_of_a_later_release_is_left_alone(tmp_path: Path) -> None:
    """It is neither read nor replaced."""
    write(tmp_path, A, 1, some(1, 50))
    Index(tmp_path).refresh()
    path = tmp_path / "ledger" / "index.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    assert ask(tmp_path, {"business_id": "loan-3"}, indexed=True) == ask(tmp_path, {"business_id": "loan-3"}, indexed=False)
    assert path.read_bytes() == before


def test_made_anew_it_is_the_same(tmp_path: Path) -> None:
    """`renew` sorts at the end, grows afterwards, and leaves nothing beside the index."""
    path = write(tmp_path, A, 1, some(1, 100))
    Index(tmp_path).renew()
    for question in QUESTIONS:
        assert ask(tmp_path, question, indexed=True) == ask(tmp_path, question, indexed=False), question
    with path.open("ab") as file:
        file.write(line(101, T + 999, business_id="late"))
    assert len(reader.find_business("late", home=tmp_path)) == 1
    beside = {each.name for each in (tmp_path / "ledger").iterdir() if each.is_file()}
    assert beside - {"index.db-journal"} == {"index.db", "index.lock"}


def test_threads_search_while_the_ledger_grows(tmp_path: Path) -> None:
    """Every search finds all that was there when it began."""
    path = write(tmp_path, A, 1, [line(1, T, business_id="x")])
    wrong: list[int] = []
    done = threading.Event()

    def look() -> None:
        least = 0
        while not done.is_set():
            found = [each["seq"] for each in reader.find_business("x", home=tmp_path)]
            if len(found) < least or len(set(found)) != len(found):
                wrong.append(len(found))
            least = len(found)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for at in range(2, 200):
        with path.open("ab") as file:
            file.write(line(at, T + at, business_id="x"))
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(reader.find_business("x", home=tmp_path)) == 199


def test_ids_that_are_no_uuids_are_found_by_their_beginning(tmp_path: Path) -> None:
    """So are UUIDs, cut anywhere."""
    write(tmp_path, A, 1, [line(1, T), line(2, T, id="01a2-aa"), line(3, T, id="zz-ü")])
    for text, seq in ((identity(1, T)[:9], 1), (identity(1, T)[:30], 1), ("01a2", 2), ("zz", 3)):
        assert reader.find(text, tmp_path)["seq"] == seq  # type: ignore[index]
    assert reader.find("018bcfe-", tmp_path) is None


def test_a_killed_indexer_leaves_a_usable_index(tmp_path: Path) -> None:
    """Killed in the middle of a transaction; the next search goes on from the last whole one."""
    write(tmp_path, A, 1, some(1, 400))
    code = (
        "import os, sys, pathlib\n"
        "from guardrail.ledger import index_file\n"
        "from guardrail.ledger.index import Index\n"
        "index_file.BATCH = 50\n"
        "write = index_file.IndexFile.write\n"
        "def dying(self, steps):\n"
        "    write(self, steps)\n"
        "    if self._db.in_transaction and self._db.execute('SELECT count(*) FROM record').fetchone()[0] > 120:\n"
        "        os.kill(os.getpid(), 9)\n"
        "index_file.IndexFile.write = dying\n"
        "Index(pathlib.Path(sys.argv[1])).refresh(None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -9
    for question in QUESTIONS:
        assert ask(tmp_path, question, indexed=True) == ask(tmp_path, question, indexed=False), question
    assert Index(tmp_path).count() == 400


def test_on_media_that_cannot_be_written_an_index_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written after it is read from the segments."""
    write(tmp_path, A, 1, some(1, 100))
    Index(tmp_path).refresh()
    write(tmp_path, B, 1, some(2, 100))
    before = (tmp_path / "ledger" / "index.db").read_bytes()

    def refused(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(file_lock, "_open_locked", refused)
    for question in QUESTIONS:
        assert ask(tmp_path, question, indexed=True) == ask(tmp_path, question, indexed=False), question
    (tmp_path / "ledger" / "index.db").unlink()
    assert ask(tmp_path, QUESTIONS[1], indexed=True) == ask(tmp_path, QUESTIONS[1], indexed=False)
    assert before
    assert not (tmp_path / "ledger" / "index.db").exists()


def test_an_id_that_the_index_knows_is_read_from_its_own_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files and lanes there are; of several ids, one of which it does not know, the rest is looked through."""
    for start in range(1, 101, 10):
        write(tmp_path, A, start, some(1, 10, start))
    Index(tmp_path).refresh(None)
    opened = []
    real = reader._scanned
    monkeypatch.setattr(reader, "_scanned", lambda *args, **more: opened.append(1) or real(*args, **more))
    known = [identity(100_000 + at, T + at) for at in (3, 55, 98)]
    for each in known:
        assert reader.find(each, tmp_path)["id"] == each
    assert len(list(reader.read(tmp_path, ids=known))) == 3
    assert not opened
    assert len(list(reader.read(tmp_path, ids=[*known, identity(1, T)]))) == 3
    assert opened


def test_a_lookup_costs_the_same_in_a_larger_ledger(tmp_path: Path) -> None:
    """Ten times the records, and no more lines are read than there are hits."""
    read: dict[str, int] = {}
    for name, many in (("small", 300), ("large", 3_000)):
        home = tmp_path / name
        write(home, A, 1, some(1, many))
        Index(home).refresh(None)
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        with contextlib.closing(Index(home)._open()) as db:
            db.set_progress_handler(count, 1)
            rows = Question(Wanted(ids=frozenset({identity(100_005, T + 5)})), newest_first=False).page(db, None, 50)
        assert len(rows) == 1
        read[name] = steps
    assert read["large"] < read["small"] * 1.5
