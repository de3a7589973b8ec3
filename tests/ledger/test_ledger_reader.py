"""Reading back: order over lanes, filters, damage, bounded handles, and what doctor says."""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from guardrail.errors import ConfigError
from guardrail.ledger import health, reader
from guardrail.ledger.record import iso


def lane(home: Path, name: str, *files: tuple[int, list[Any]]) -> Path:
    """Write a lane by hand: per file its first number, and (moment, more fields) or raw bytes of each line."""
    folder = home / "ledger" / name
    folder.mkdir(parents=True)
    for first, lines in files:
        seq = first
        content = b""
        for each in lines:
            if isinstance(each, bytes):
                content += each
                continue
            moment, fields = each
            plain = {
                "v": 1,
                "id": f"{name}-{seq}",
                "seq": seq,
                "ts": iso(moment),
                "event": "call",
                "outcome": "answered",
                "guard": "g",
            }
            content += orjson.dumps(plain | fields) + b"\n"
            seq += 1
        (folder / f"{first:020d}.jsonl").write_bytes(content)
    return folder


def ids(records: Iterator[Any]) -> list[str]:
    """Return the ids of records."""
    return [record["id"] for record in records]


A, B = "20231114T221320000000Z-h-1-aa", "20231114T221321000000Z-h-2-bb"
T = 1_700_000_000.0


def test_lanes_are_merged_by_moment(tmp_path: Path) -> None:
    """Records of two processes come in the order of their moments; equal moments by lane and number."""
    lane(tmp_path, A, (1, [(T + 1, {}), (T + 3, {}), (T + 5, {})]))
    lane(tmp_path, B, (1, [(T + 2, {}), (T + 3, {}), (T + 4, {})]))
    expected = [f"{A}-1", f"{B}-1", f"{A}-2", f"{B}-2", f"{B}-3", f"{A}-3"]
    assert ids(reader.read(tmp_path)) == expected
    assert ids(reader.read(tmp_path, newest_first=True)) == expected[::-1]


def test_a_long_call_is_put_where_it_began(tmp_path: Path) -> None:
    """A call whose moment was fixed before those of its neighbours is sorted in, forwards and backwards."""
    lane(tmp_path, A, (1, [(T + 1, {}), (T + 2, {}), (T + 0.5, {}), (T + 3, {})]))
    expected = [f"{A}-3", f"{A}-1", f"{A}-2", f"{A}-4"]
    assert ids(reader.read(tmp_path)) == expected
    assert ids(reader.read(tmp_path, newest_first=True)) == expected[::-1]


def test_many_lanes_over_many_blocks_keep_the_order(tmp_path: Path) -> None:
    """Files larger than a block, read both ways, give the same records in opposite order."""
    for at in range(5):
        lines = [(T + n + at / 10, {"pad": "ü" * (n % 500)}) for n in range(400)]
        lane(tmp_path, f"20231114T22132{at}000000Z-h-{at}-x", (1, lines[:250]), (251, lines[250:]))
    forwards = ids(reader.read(tmp_path))
    assert len(forwards) == 2_000
    assert forwards == ids(iter(sorted(reader.read(tmp_path), key=lambda each: each["ts"])))
    assert ids(reader.read(tmp_path, newest_first=True)) == forwards[::-1]


def test_filters(tmp_path: Path) -> None:
    """By guard, outcome, event, id, business id and moment, one or several, and a limit."""
    lane(
        tmp_path, A,
        (1, [
            (T + 1, {"guard": "a"}), (T + 2, {"outcome": "failed"}), (T + 3, {"event": "gap"}),
            (T + 4, {"business_id": 'l"1'}), (T + 5, {"business_id": "l2"}),
        ]),
    )  # fmt: skip

    def seqs(**filters: Any) -> list[int]:
        return [record["seq"] for record in reader.read(tmp_path, **filters)]

    assert seqs(guard="a") == [1]
    assert seqs(guard=["a", "g"], outcome="answered") == [1, 3, 4, 5]
    assert seqs(outcome={"failed"}) == [2]
    assert seqs(event=("gap", "call"), limit=3) == [1, 2, 3]
    assert seqs(business_id='l"1') == [4]
    assert seqs(ids=[f"{A}-2", f"{A}-5", "none"]) == [2, 5]
    assert seqs(ids=[f"{A}-{at}" for at in range(1, 20)]) == [1, 2, 3, 4, 5]
    assert seqs(since=T + 3) == [3, 4, 5]
    assert seqs(since=datetime.fromtimestamp(T + 4, UTC)) == [4, 5]
    assert seqs(since=T + 2.5, newest_first=True) == [5, 4, 3]
    assert seqs(newest_first=True, limit=2) == [5, 4]
    assert seqs(limit=0) == []


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_torn_tail_and_corrupt_lines_are_passed_over(tmp_path: Path, newest_first: bool) -> None:
    """What a crash tore or a disk garbled costs only itself, and is counted."""
    good = [(T + at, {}) for at in range(3)]
    junk = [b"not json\n", b"[1]\n", b'{"ts": 5}\n', b"\x00" * 200_000 + b"\n", b"\n"]
    lane(tmp_path, A, (1, [good[0], *junk, good[1], good[2], b'{"v":1,"id":"torn']))
    skipped: Counter[str] = Counter()
    found = [record["seq"] for record in reader.read(tmp_path, skipped=skipped, newest_first=newest_first)]
    assert sorted(found) == [1, 2, 3]
    assert skipped["torn"] >= 1
    assert skipped["corrupt"] >= 4


def test_a_later_file_supersedes_what_it_holds_again(tmp_path: Path) -> None:
    """After a failed sync the next file begins with the unsure records; each is read once."""
    lane(tmp_path, A, (1, [(T, {}), (T + 1, {"unsure": True}), b'{"to']), (2, [(T + 1, {}), (T + 2, {})]))
    for newest_first in (False, True):
        found = list(reader.read(tmp_path, newest_first=newest_first))
        assert sorted(record["seq"] for record in found) == [1, 2, 3]
        assert not any("unsure" in record for record in found)


def test_find_by_id_or_unique_beginning(tmp_path: Path) -> None:
    """A whole id, a beginning that only one id has; several are an error, none is None."""
    lane(tmp_path, A, (1, [(T, {"id": "01a2-aa"}), (T, {"id": "01a2-ab"}), (T, {"id": "01a3-a", "note": "01a2-aa"})]))
    assert reader.find("01a2-ab", tmp_path)["seq"] == 2  # type: ignore[index]
    assert reader.find("01a3", tmp_path)["seq"] == 3  # type: ignore[index]
    assert reader.find("02", tmp_path) is None
    with pytest.raises(ConfigError, match="several records"):
        reader.find("01a2", tmp_path)


def test_find_by_business_id(tmp_path: Path) -> None:
    """The user's own key finds all decisions about it, the newest first, and no other event."""
    about = {"business_id": "loan-17"}
    lane(tmp_path, A, (1, [(T, about), (T + 1, about | {"event": "ticket"}), (T + 2, about | {"guard": "other"})]))
    assert [each["seq"] for each in reader.find_business("loan-17", home=tmp_path)] == [3, 1]
    assert [each["seq"] for each in reader.find_business("loan-17", "g", tmp_path)] == [1]


def test_a_folder_without_a_ledger_is_empty(tmp_path: Path) -> None:
    """Nothing was recorded yet."""
    assert list(reader.read(tmp_path / "none")) == []
    assert health.check(tmp_path / "none") == [("ok", "nothing has been recorded yet")]


def test_thousands_of_lanes_need_few_handles(tmp_path: Path) -> None:
    """Short-lived processes leave many lanes; they are read without opening all at once."""
    for at in range(400):
        lane(tmp_path, f"20231114T2213{at % 60:02d}{at:06d}Z-h-{at}-x", (1, [(T + at, {}), (T + at, {})]))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Far fewer than there are lanes, beside what this process has open already.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 60, hard))
    try:
        assert len(list(reader.read(tmp_path))) == 800
        assert len(list(reader.read(tmp_path, newest_first=True, limit=20))) == 20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_follow_gives_what_comes_and_waits_for_whole_lines(tmp_path: Path) -> None:
    """Only what is written after the start; a line in the making is given when it is whole; new lanes are seen."""
    folder = lane(tmp_path, A, (1, [(T, {})]))
    coming = reader.follow(tmp_path)
    assert next(coming) is None
    path = folder / "00000000000000000001.jsonl"
    line = orjson.dumps({"v": 1, "id": "x", "seq": 2, "ts": iso(T), "event": "call"})
    with path.open("ab") as file:
        file.write(line[:10])
        file.flush()
        assert next(coming) is None
        file.write(line[10:] + b"\n")
    lane(tmp_path, B, (1, [(T + 1, {})]))
    assert next(coming)["id"] == "x"  # type: ignore[index]
    assert next(coming)["id"] == f"{B}-1"  # type: ignore[index]
    assert next(coming) is None


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    """Torn tails are a warning; missing numbers, corrupt lines and recorded losses are bad."""
    lane(tmp_path, A, (1, [(T, {}), b"junk\n", (T, {"event": "gap", "count": 7}), b'{"to']))
    lane(tmp_path, B, (1, [(T, {})]), (5, [(T, {})]))
    found = health.check(tmp_path)
    assert found[0] == ("ok", "4 records in 2 lanes")
    levels = Counter(level for level, _ in found)
    assert levels == {"ok": 1, "warn": 1, "bad": 3}
    texts = " ".join(text for _, text in found)
    for words in ("torn line", "1 lines cannot be read", "3 numbers are missing", "7 records were lost"):
        assert words in texts


def test_check_reads_a_bounded_amount(tmp_path: Path) -> None:
    """A large ledger is not read whole by doctor, and it says what it left out."""
    lane(tmp_path, A, (1, [b"junk\n"]))
    lane(tmp_path, B, (1, [(T, {})]))
    assert health.check(tmp_path, most=10) == [("ok", "1 record in 1 lane"), ("ok", "1 older lane was not looked at")]
