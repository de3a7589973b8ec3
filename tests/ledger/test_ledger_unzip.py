"""Compressed segments: the same lines as plain ones, both ways and from any place, and damage that costs only itself."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest
from made_lanes import A, T, line, pack, write

from guardrail.ledger import reader, segments, unzip


def some(many: int) -> list[bytes]:
    return [line(at + 1, T + at, pad="ü" * (at % 500)) for at in range(many)]


def test_a_compressed_segment_reads_like_a_plain_one(tmp_path: Path) -> None:
    """Forwards, backwards, and from a place in the content."""
    path = write(tmp_path, A, 1, some(2_000))
    plain = list(segments.forwards(path)), list(segments.backwards(path))
    begin = sum(map(len, plain[0][:700]))
    late = list(segments.forwards(path, begin)), list(segments.backwards(path, begin))
    packed = pack(path)
    assert (list(segments.forwards(packed)), list(segments.backwards(packed))) == plain
    assert (list(segments.forwards(packed, begin)), list(segments.backwards(packed, begin))) == late
    assert late[0] == plain[0][700:]
    assert late[1] == plain[0][:699:-1]


def test_reading_backwards_holds_a_bounded_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content of many pieces comes in order, lines across their borders whole."""
    monkeypatch.setattr(unzip, "_REGION", 10_000)
    lines = some(500)
    packed = write(tmp_path, A, 1, lines, packed=True)
    with packed.open("rb") as file:
        pieces = list(unzip.regions_backwards(file))
    assert len(pieces) > 10
    assert max(len(piece) for piece, _ in pieces) <= 10_000
    assert [first for _, first in pieces] == [False] * (len(pieces) - 1) + [True]
    assert list(segments.backwards(packed)) == lines[::-1]


def test_several_members_are_one_content(tmp_path: Path) -> None:
    """gzip files may be put one behind the other."""
    lines = some(100)
    path = write(tmp_path, A, 1, [])
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(b"".join(lines[:60])) + gzip.compress(b"".join(lines[60:])))
    path.unlink()
    assert list(segments.forwards(packed)) == lines
    assert list(segments.backwards(packed)) == lines[::-1]


@pytest.mark.parametrize("newest_first", [False, True])
def test_damage_costs_what_lies_behind_it(tmp_path: Path, newest_first: bool) -> None:
    """A cut file is torn, a changed one corrupt; both are counted, and what was read before stays."""
    packed = write(tmp_path, A, 1, some(3_000), packed=True)
    whole = packed.read_bytes()
    for content, trouble in ((whole[: len(whole) // 2], "torn"), (whole[:-8] + b"\0" * 8, "corrupt")):
        packed.write_bytes(content)
        skipped: Counter[str] = Counter()
        found = list(reader.read(tmp_path, skipped=skipped, newest_first=newest_first))
        assert len(found) > 500
        assert skipped[trouble] >= 1
        assert len({each["seq"] for each in found}) == len(found)
    packed.write_bytes(b"no gzip at all")
    skipped = Counter()
    assert list(reader.read(tmp_path, skipped=skipped, newest_first=newest_first)) == []
    assert skipped["corrupt"] == 1


def test_a_segment_may_be_compressed_while_it_is_read(tmp_path: Path) -> None:
    """Whoever listed the plain file finds the compressed one; where both are there, one of them is read."""
    lines = some(50)
    path = write(tmp_path, A, 1, lines)
    (segment,) = segments.segments(path.parent)
    packed = pack(path)
    assert list(segments.forwards(segment.path)) == lines
    assert segments.written(segment.path) > 0
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    assert [each.path for each in segments.segments(path.parent)] == [path]
    assert len(list(reader.read(tmp_path))) == 50


def test_follow_does_not_repeat_what_was_compressed(tmp_path: Path) -> None:
    """A segment that turns into a compressed one while somebody follows was read long before."""
    path = write(tmp_path, A, 1, some(5))
    coming = reader.follow(tmp_path)
    assert next(coming) is None
    pack(path)
    write(tmp_path, A, 6, [line(6, T + 9)])
    assert next(coming)["seq"] == 6  # type: ignore[index]
    assert next(coming) is None
