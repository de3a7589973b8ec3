"""Looks the ledger over for `guardrail doctor`: torn and corrupt lines, missing numbers, recorded losses, lanes nobody may read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final, Literal, NamedTuple

from guardrail.ledger.disk import FOLDER
from guardrail.ledger.manifest import Manifest
from guardrail.ledger.segments import Segment, forwards, lanes, parsed, segments

Level = Literal["ok", "warn", "bad"]
READ_BYTES: Final = 256 * 2**20  # the newest of the ledger that one look reads


class _Found(NamedTuple):
    records: int
    lost: int
    findings: list[tuple[Level, str]]


def check(home: Path, most: int = READ_BYTES) -> list[tuple[Level, str]]:
    """Look the ledger over, the newest lanes first.

    Args:
        home: The folder of the embedded store.
        most: So many bytes at most; what is older is left out, and that is said.

    Returns:
        Findings: "ok" for what is well, "warn" for what is explained by a process that was killed, "bad" for the rest.
    """
    findings: list[tuple[Level, str]] = []
    records = lost = size = left_out = 0
    try:
        found = lanes(home)
    except OSError as problem:
        return [("bad", f"the ledger's folder cannot be read ({problem.strerror})")]
    if not found:
        return [("ok", "nothing has been recorded yet")]
    try:
        facts = Manifest(home / FOLDER).lanes()
    except OSError as problem:
        return [("bad", f"the manifest cannot be read ({problem.strerror})")]
    for lane in reversed(found):
        try:
            files = segments(lane)
            size += sum(each.path.stat().st_size for each in files)
            if size > most and lane != found[-1]:
                left_out += 1
                continue
            one = _lane(lane, files, facts[lane.name].pruned if lane.name in facts else [])
        except OSError as problem:
            findings.append(("bad", f"lane {lane.name} cannot be read ({problem.strerror})"))
            continue
        records += one.records
        lost += one.lost
        findings += one.findings
    if left_out:
        were = "lane was" if left_out == 1 else "lanes were"
        findings.append(("ok", f"{left_out} older {were} not looked at"))
    if lost:
        findings.append(("bad", f"{lost:,} records were lost, and their loss is recorded: guardrail tail --event gap"))
    looked = len(found) - left_out
    return [("ok", f"{_many(records, 'record')} in {_many(looked, 'lane')}"), *findings]


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _lane(lane: Path, files: list[Segment], pruned: list[tuple[int, int]]) -> _Found:
    findings: list[tuple[Level, str]] = []
    records = lost = missing = 0
    expected = files[0].first if files else 0
    gone = {first: last + 1 for first, last in sorted(pruned)}
    for segment in files:
        skipped: Counter[str] = Counter()
        for line in forwards(segment.path):
            record = parsed(line, segment, skipped)
            if record is None:
                continue
            records += 1
            while expected < record["seq"] and expected in gone:
                expected = gone[expected]
            missing += max(0, record["seq"] - expected)
            expected = record["seq"] + 1
            if record.get("event") == "gap" and isinstance(record.get("count"), int):
                lost += record["count"]
        where = f"{lane.name}/{segment.path.name}"
        if skipped["torn"]:
            findings.append(("warn", f"{where} ends with a torn line: the process ended, or the disk failed, as it was written"))
        if skipped["corrupt"]:
            findings.append(("bad", f"{where}: {skipped['corrupt']} lines cannot be read"))
    if missing:
        findings.append(("bad", f"{lane.name}: {missing} numbers are missing"))
    return _Found(records, lost, findings)
