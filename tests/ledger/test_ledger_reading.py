"""`guardrail.ledger.read`: filters, bounded memory, data frames and notebooks, and the event that each reading leaves."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from made_lanes import A, B, T, identity, line, write

from guardrail import acting_as
from guardrail.errors import ConfigError
from guardrail.ledger import read, reader, writer
from guardrail.ledger.wanted import Wanted, wanted


@pytest.fixture(autouse=True)
def settled():
    yield
    writer.shutdown(5)


def reads(home: Path) -> list[dict[str, Any]]:
    writer.flush(5)
    return list(reader.read(home, event="read"))


def test_it_gives_records_and_is_recorded_once(home: Path) -> None:
    """Oldest first; one event that says who, what was asked for and how much was given; never of the library's own reads."""
    write(home, A, 1, [line(1, T, guard="a"), line(2, T + 1, guard="b"), line(3, T + 2, guard="a")])
    found = read(guard="a", since=T)
    assert "ledger" in repr(found)
    assert reads(home) == []
    assert [each["seq"] for each in found] == [1, 3]
    (event,) = reads(home)
    assert event["how"] == "read"
    assert event["count"] == 2
    assert event["filters"] == {"guard": ["a"], "since": "2023-11-14T22:13:20.000000Z"}
    assert event["actor"] == {"id": pwd.getpwuid(os.getuid()).pw_name, "known_by": "os"}
    list(reader.read(home))
    assert len(reads(home)) == 1


def test_a_reading_that_is_given_up_is_recorded_too(home: Path) -> None:
    """With as many records as were given, and in the name of whom the reader acts for."""
    write(home, A, 1, [line(at, T + at) for at in range(1, 50)])
    with acting_as("ann@bank.example", purpose="complaint 7"):
        for each in read(event="call"):
            if each["seq"] == 3:
                break
    (event,) = reads(home)
    assert (event["count"], event["actor"], event["purpose"]) == (
        3, {"id": "ann@bank.example", "kind": "user", "known_by": "asserted"}, "complaint 7",
    )  # fmt: skip


def test_every_filter(home: Path) -> None:
    """One value or several, moments in any form, and a limit."""
    write(home, A, 1, [
        line(1, T + 1, business_id="loan-1", actor={"id": "ann"}), line(2, T + 2, outcome="failed", subject="a" * 40),
        line(3, T + 3, event="mode"), line(4, T + 4, subject={"digest": "b" * 40}),
    ])  # fmt: skip

    def seqs(**filters: Any) -> list[int]:
        return [each["seq"] for each in read(**({"until": T + 100} | filters))]

    assert seqs(business_id="loan-1") == [1]
    assert seqs(actor="ann") == seqs(actor=["ann", "bob"]) == [1]
    assert seqs(outcome="failed") == [2]
    assert seqs(event=("mode", "gap")) == [3]
    assert seqs(ids=identity(2, T + 2)) == [2]
    assert seqs(subject="a" * 40) == [2]
    assert seqs(subject=["a" * 40, "b" * 40]) == [2, 4]
    assert seqs(since=T + 2, until=T + 4) == [2, 3]
    assert seqs(since="2023-11-14T22:13:22+00:00") == [2, 3, 4]
    assert seqs(since=datetime.fromtimestamp(T + 3, UTC)) == [3, 4]
    assert seqs(since="1h") == []
    assert seqs(limit=2, newest_first=True) == [4, 3]
    with pytest.raises(ConfigError, match="since is no moment"):
        read(since="yesterday")
    with pytest.raises(ConfigError, match="negative"):
        read(limit=-1)


def test_what_this_process_just_did_is_read(home: Path) -> None:
    """A reader waits for the records of its own process."""
    writer.event("incident", guard="g", fields={"what": "x"})
    (found,) = read(event="incident")
    assert found["what"] == "x"


def test_memory_is_bounded(home: Path) -> None:
    """A ledger of many megabytes passes through a small part of memory."""
    for name in (A, B):
        write(home, name, 1, [line(at, T + at, pad="x" * 1_000) for at in range(1, 10_001)])
    list(read(guard="nobody"))
    tracemalloc.start()
    count = sum(1 for _ in read())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 20_000
    assert peak < 4_000_000


def test_a_data_frame(home: Path) -> None:
    """One row per record; moments, numbers and what has no column."""
    import pandas as pd

    write(home, A, 1, [
        line(1, T, confidence=0.9, output={"value": "yes", "schema": "str"}, timings={"total": 0.25, "look up": 0.1}, attempts=2),
        line(2, T + 1, confidence="NaN", actor={"id": "ann", "known_by": "asserted"}, tags={"region": "north"}, attempts=2**63),
        line(3, T + 2, event="mode", guard="g", killed=True, confidence=[]),
    ])  # fmt: skip
    frame = read(until=T + 100).to_frame()
    assert list(frame["seq"]) == [1, 2, 3]
    assert frame["ts"][0] == pd.Timestamp(T, unit="s", tz="UTC")
    assert frame["confidence"].dtype == "float64"
    assert frame["confidence"][0] == 0.9
    assert frame["confidence"].isna().tolist() == [False, True, True]
    assert (frame["output"][0], frame["seconds"][0], frame["actor"][1], frame["lane"][0]) == ("yes", 0.25, "ann", A)
    assert frame["more"][0] == {"output": {"schema": "str"}, "timings": {"look up": 0.1}}
    assert frame["more"][2] == {"killed": True}
    assert reads(home)[-1]["count"] == 3
    assert list(read(guard="nobody").to_frame().columns) == list(frame.columns)


def test_a_table_in_a_notebook(home: Path) -> None:
    """The first few, hostile text made harmless, and the event says how many were shown."""
    write(home, A, 1, [line(at, T + at, guard="<script>alert(1)</script>") for at in range(1, 31)])
    html = read(event="call")._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 20
    assert "and more" in html
    assert reads(home)[-1]["count"] == 20
    assert "no such record" in read(guard="nobody")._repr_html_()


def test_a_folder_without_a_ledger_is_not_made(home: Path) -> None:
    """Nothing to read, nothing to record."""
    assert list(read()) == []
    writer.flush(5)
    assert not (home / "ledger").exists()


def test_importing_the_package_brings_nothing(tmp_path: Path) -> None:
    """Neither pandas nor SQLite nor the reader are loaded before somebody reads; `read` is there all the same."""
    code = (
        "import sys, guardrail.ledger as it\n"
        "assert not {'pandas', 'sqlite3', 'sqlalchemy', 'guardrail.ledger.reader', 'orjson'} & set(sys.modules), sys.modules\n"
        "assert 'read' in dir(it) and callable(it.read)\n"
        "assert not {'pandas', 'sqlite3', 'sqlalchemy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_what_is_told_of_a_question_is_short() -> None:
    """Of many ids a few and their number."""
    told = wanted(ids=[f"id-{at:03d}" for at in range(100)]).told()
    assert len(told["ids"]) == 20
    assert told["ids_count"] == 100
    assert Wanted().told() == {}
