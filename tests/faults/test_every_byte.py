"""A ledger as it is written, of several lanes, segments and keys, damaged at each of its bytes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from kept import body, small

from guardrail import clock
from guardrail.ledger import compress, rotation, seals, verify
from guardrail.ledger.lane import Lane

NO_EVIDENCE = {"lock", "manifest.lock", "keep.lock", "holds.lock", "keep"}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Two lanes of several segments each, a rotation between them, one segment compressed."""
    home = tmp_path / "home"
    with small():
        for at, many in enumerate((14, 9)):
            one = Lane(home)
            for each in range(many):
                one.append([body(100 * at + each)])
                one.upkeep(clock.now() + seals.EVERY_SECONDS * (each % 3 == 0))
            one.close()
            if at == 0:
                compress.compress(home, older_than=-1e9)
                rotation.rotate(home / "ledger")
    assert verify.verify(verify.Files(str(home))).code == 0
    return home


@pytest.mark.timeout(1_800)
def test_damage_at_each_byte_is_found_and_named(whole: Path, tmp_path: Path) -> None:
    """One bit of each byte is flipped, in turns: each time the verdict is not clean, and a finding names the lane and the segment."""
    shown = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    home = Path(shutil.copytree(whole, shown / f"every-byte-{os.getpid()}"))
    missed, unnamed, looked = [], [], 0
    try:
        for path in sorted(each for each in home.rglob("*") if each.is_file() and each.name not in NO_EVIDENCE):
            content = path.read_bytes()
            lane = None if path.parent.name == "ledger" else path.parent.name
            for at in range(len(content)):
                looked += 1
                path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
                report = verify.verify(verify.Files(str(home)))
                where = f"{path.name} at {at} ({content[at : at + 1]!r})"
                if report.code not in {1, 2, 5}:
                    missed.append(f"{where}: {report.code}")
                elif lane is not None and not any(
                    each.lane == lane and (each.segment or "").startswith(path.name.partition(".")[0]) for each in report.findings
                ):
                    unnamed.append(f"{where}: " + "; ".join(f"{each.lane} {each.segment}" for each in report.findings[:3]))
            path.write_bytes(content)
    finally:
        shutil.rmtree(home)
    assert looked > 10_000
    assert not missed, f"{len(missed)} of {looked} were missed: {missed[:20]}"
    assert not unnamed, f"{len(unnamed)} of {looked} were not named: {unnamed[:20]}"
