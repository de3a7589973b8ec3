"""Closed segments are compressed: the same bytes when read back, whoever reads meanwhile, whatever fails."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from kept import aged, body, lines, made, names, old, proofs_hold, report, stands_alone, verdict

from guardrail import clock, settings
from guardrail.ledger import compress, keeping, reader, recovery, segments
from guardrail.ledger.lane import Lane

FIRST = "00000000000000000001.jsonl"
HERE = Path(__file__).parent


def members(path: Path) -> list[bytes]:
    """Return what each member of a gzip file unpacks to."""
    rest, found = path.read_bytes(), []
    while rest:
        inner = zlib.decompressobj(31)
        found.append(inner.decompress(rest))
        rest = inner.unused_data
    return found


@pytest.mark.parametrize("close", [True, False])
def test_closed_segments_are_compressed_and_read_back_the_same(home: Path, close: bool) -> None:
    """Of a closed lane all, of a lane in use all but the open one; content, moment and rights stay, and it verifies."""
    one = old(home, 10, close=close)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in one.folder.glob("*.jsonl")}
    records = lines(one.folder)
    done = compress.compress(home)
    assert (done.segments, done.problems) == (3 if close else 2, [])
    assert names(one) == [f"{FIRST}.gz", f"{5:020d}.jsonl.gz", f"{9:020d}.jsonl{'.gz' if close else ''}"]
    for path in one.folder.glob("*.gz"):
        content, moment = before[path.name.removesuffix(".gz")]
        assert (gzip.decompress(path.read_bytes()), path.stat().st_mtime_ns) == (content, moment)
        assert path.stat().st_mode & 0o777 == 0o600
    assert lines(one.folder) == records
    assert [each["n"] for each in reader.read(home, event="call")] == list(range(10))
    assert stands_alone(home) == verdict(home) == 0
    proofs_hold(one.folder, records)
    if not close:
        assert len(one.append([body(10)])) == 1
        one.close()
        assert verdict(home) == 0


def test_only_what_is_older_than_a_day_is_compressed(home: Path) -> None:
    """By the moment when a segment was written last."""
    one = made(home, 10)
    assert compress.compress(home).segments == 0
    aged(home, 1.1)
    assert compress.compress(home).segments == 3
    assert compress.compress(home).segments == 0
    assert len(names(one)) == 3


def test_members_hold_about_a_mebibyte_of_whole_lines(home: Path) -> None:
    """So a reader can begin at any of them."""
    one = Lane(home)
    one.append([body(at, text="x" * 500) for at in range(5_000)])
    one.close()
    content = (one.folder / FIRST).read_bytes()
    compress.compress(home, older_than=0)
    *found, seal = members(one.folder / f"{FIRST}.gz")
    assert seal == b""
    assert b"".join(found) == content
    assert all(each.endswith(b"\n") for each in found)
    assert all(2**19 < len(each) <= 2**20 + 65_536 for each in found[:-1]) and len(found) > 2
    assert list(segments.backwards(one.folder / f"{FIRST}.gz"))[::-1] == content.splitlines(keepends=True)


def test_a_file_without_line_breaks_and_an_empty_one_keep_their_bytes(tmp_path: Path) -> None:
    """What a failed write leaves at the end of a file that was left for another one."""
    for at, content in enumerate((b"", b'{"v":1,"id', os.urandom(3 * 2**20).replace(b"\n", b""), b"a\nb\nc")):
        path = tmp_path / f"{at}.jsonl"
        path.write_bytes(content)
        compress.pack(path)
        assert gzip.decompress((tmp_path / f"{at}.jsonl.gz").read_bytes()) == content
        assert [each.name for each in tmp_path.glob(f"*{at}.jsonl*")] == [f"{at}.jsonl.gz"]


def test_what_does_not_read_back_leaves_the_plain_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that gives back other bytes than it was given: the plain file stays, nothing else does, and it is told."""
    one = old(home, 4)
    content = (one.folder / FIRST).read_bytes()
    write = compress._write

    def lies(source: int, making: Path, pace: keeping.Pace) -> tuple[bytes, int]:
        found = write(source, making, pace)
        broken = bytearray(making.read_bytes())
        broken[len(broken) // 2] ^= 1
        making.write_bytes(broken)
        return found

    monkeypatch.setattr(compress, "_write", lies)
    done = compress.compress(home)
    assert done.segments == 0
    assert "does not read back" in done.problems[0]
    assert (one.folder / FIRST).read_bytes() == content
    assert not [each for each in one.folder.iterdir() if ".gz" in each.name]


def test_a_full_disk_leaves_the_plain_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing half made; the others are tried all the same."""
    one = old(home, 8)

    def full(_handle: int, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compress.disk, "write_all", full)
    done = compress.compress(home)
    assert len(done.problems) == 2
    assert "No space left" in done.problems[0]
    assert names(one) == [FIRST, f"{5:020d}.jsonl"]
    assert not list(one.folder.glob(".*"))


def test_damage_in_a_compressed_segment_is_found_and_named(home: Path) -> None:
    """By the file's name, whichever byte it is: a changed one, a cut one, and one of the member's own checksum."""
    one = old(home, 12)
    compress.compress(home)
    path = one.folder / f"{5:020d}.jsonl.gz"
    content = path.read_bytes()
    for at in [*range(10, len(content), 37), len(content) - 6]:
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :])
        found = report(home)
        assert found.code in {1, 2}, at
        assert path.name in {each.segment for each in found.findings}, at
    path.write_bytes(content[:-20])
    assert path.name in {each.segment for each in report(home).findings}
    assert stands_alone(home) == 1
    path.unlink()
    assert stands_alone(home) == 2


def test_several_processes_compress_each_segment_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time, and nobody fails because another was there first."""
    one = old(home, 40)
    records = lines(one.folder)
    program = "import sys; from pathlib import Path; from guardrail.ledger.compress import compress\n"
    program += "done = compress(Path(sys.argv[1])); print(done.segments); assert not done.problems, done.problems"
    command = [sys.executable, "-c", program, str(home)]
    at_work = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sum(int(each.communicate(timeout=60)[0]) for each in at_work) == 10
    assert lines(one.folder) == records
    assert verdict(home) == 0


def test_readers_and_the_verifier_see_every_record_meanwhile(home: Path) -> None:
    """Files change their form under their hands, and nothing is missed or seen twice."""
    old(home, 120)
    ended = threading.Event()
    wrong = []

    def look() -> None:
        while not ended.is_set():
            numbers = [each["n"] for each in reader.read(home, event="call")]
            backwards = [each["n"] for each in reader.read(home, event="call", newest_first=True)]
            if numbers != list(range(120)) or backwards[::-1] != numbers or verdict(home):
                wrong.append(numbers)

    looking = threading.Thread(target=look)
    looking.start()
    compress.compress(home, pace=lambda _: clock.sleep(0.005))
    ended.set()
    looking.join()
    assert not wrong


PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from guardrail.ledger import compress
left = [int(sys.argv[2])]
def step(name, of):
    do = getattr(of, name)
    def count(*args, **options):
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return do(*args, **options)
    setattr(of, name, count)
for of, name in ((compress, "_write"), (compress, "_checked"), (compress, "_unchanged"), (Path, "replace"),
                 (compress.disk, "sync_folder"), (Path, "unlink")):
    step(name, of)
compress.compress(Path(sys.argv[1]))
"""


def test_a_process_that_is_killed_while_it_compresses_loses_nothing(home: Path) -> None:
    """At every step: the ledger verifies, every record is there once, and the next round finishes the work."""
    one = old(home, 8)
    records = lines(one.folder)
    died = 0
    for at in range(8):
        command = [sys.executable, "-c", PROGRAM, str(home), str(at), str(HERE)]
        died += subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
        assert lines(one.folder) == records
        assert verdict(home) == 0
    assert died >= 7
    compress.compress(home)
    assert names(one) == [f"{FIRST}.gz", f"{5:020d}.jsonl.gz"]
    assert sorted(each.name for each in one.folder.iterdir()) == [*names(one), "checkpoints", "leaves", "lock"]
    assert lines(one.folder) == records


def test_a_dead_lane_with_compressed_segments_is_recovered(home: Path) -> None:
    """Its closed segments were compressed while it lived; its torn end is cut, and it is closed."""
    one = old(home, 10, close=False)
    assert compress.compress(home).segments == 2
    one.abandon()
    with (one.folder / f"{9:020d}.jsonl").open("ab") as file:
        file.write(b'{"v":1,"id":')
    other = Lane(home)
    other.append([body(99)])
    (done,) = recovery.recover(other.manifest, other.name)
    other.close()
    assert done is not None
    assert (done.problem, done.size, done.cut_bytes) == (None, 10, 12)
    assert verdict(home) == 0


def test_nothing_is_there_to_compress(home: Path) -> None:
    """No ledger yet, and nothing is made."""
    assert compress.compress(settings.home(create=False)).segments == 0
    assert not home.exists()
