"""A file system that loses what was not synced: whatever was acknowledged before the power went is there afterwards."""

from __future__ import annotations

import contextlib
import ctypes.util
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_ledger_crashes import BEFORE, environment, told

from guardrail.ledger import verify

ROUNDS = 12
WRITE = """
from guardrail import Audit
lane.SEGMENT_BYTES, seals.EVERY_RECORDS = 20_000, 30
acknowledged = guarded(careful.__wrapped__, name="acknowledged", version="1", audit=Audit("sync", required=True))
at = 0
while True:
    at += 1
    found = decide(acknowledged, at)
    if found.error is None: tell(found.id)
    ids = [decide(quick, at).id for _ in range(at % 40)]
    if flush(10): tell(*ids)
"""


def why_not() -> str | None:
    """Return what is missing here, if anything is."""
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse here"
    if ctypes.util.find_library("fuse") is None:
        return "libfuse 2 is not installed (Debian: libfuse2)"
    if importlib.util.find_spec("fuse") is None:
        return "fusepy is not installed (pip: fusepy)"
    return "only root may mount here" if os.geteuid() else None


pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@contextlib.contextmanager
def powered(mount: Path, state: Path, *seed: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have the file system there; whatever happens, it is gone afterwards."""
    command = [sys.executable, str(Path(__file__).with_name("power_cut.py")), str(mount), str(state), *seed]
    with subprocess.Popen(command) as process:
        try:
            until = time.monotonic() + 10
            while not os.path.ismount(mount):
                assert process.poll() is None and time.monotonic() < until, "it could not be mounted"
                time.sleep(0.01)
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            subprocess.run(["umount", "-l", str(mount)], check=False, capture_output=True)


def cut(process: subprocess.Popen[bytes], mount: Path) -> None:
    """Cut the power."""
    process.send_signal(signal.SIGUSR1)
    until = time.monotonic() + 20
    while process.poll() is None:
        assert time.monotonic() < until
        with contextlib.suppress(OSError):
            (mount / "none").exists()  # the signal is heeded as the kernel asks for something
        time.sleep(0.005)


def there(home: Path) -> set[str]:
    """Return the ids of all whole lines."""
    head = len('{"v":1,"id":"')
    return {
        line[head : head + 36].decode()
        for path in home.rglob("0*.jsonl")
        for line in path.read_bytes().split(b"\n")[:-1]
        if line[:5] == b'{"v":'
    }


@pytest.mark.parametrize("seed", [None, "1", "2", "3"])
def test_a_power_failure_takes_nothing_that_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: str | None
) -> None:
    """Cut at a random moment, mounted again, gone on with, cut again; keys lie there too. In the end one process puts all in order."""
    mount, state = tmp_path / "mount", tmp_path / "state"
    mount.mkdir()
    state.mkdir()
    monkeypatch.setenv("GUARDRAIL_HOME", str(mount / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(mount / "config"))
    chance = random.Random(seed or "0")
    acknowledged: set[str] = set()
    for at in range(ROUNDS):
        with powered(mount, state, *([] if seed is None else [f"{seed}-{at}"])) as disk:
            command = [sys.executable, "-c", BEFORE + WRITE]
            with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writing:
                assert writing.stdout is not None
                if chance.random() < 0.7:
                    acknowledged.add(writing.stdout.readline().decode().strip())
                    time.sleep(chance.uniform(0, 1.5))
                else:
                    time.sleep(chance.uniform(0.3, 1.2))
                cut(disk, mount)
                writing.kill()
                acknowledged |= {line.decode().strip() for line in writing.stdout if line.endswith(b"\n")}
        lost = acknowledged - there(state / "home")
        assert not lost, f"round {at}: {len(lost)} of {len(acknowledged)} acknowledged records are lost"
        if (state / "home" / "ledger").is_dir():
            report = verify.verify(verify.Files(str(state / "home")))
            assert report.code in ({0, 3} if acknowledged else {0, 3, 5}), f"round {at}\n" + "\n".join(report.text())
    with powered(mount, state):
        code = """
from guardrail.ledger.manifest import Manifest
tell(decide(careful, 0).id)
for _ in range(400):
    flush(5)
    if sum(not facts.closed for facts in Manifest(writer._committer._lane.folder.parent).lanes().values()) == 1: break
    time.sleep(0.02)
assert shutdown(10)
"""
        acknowledged |= set(told(code))
        assert acknowledged <= there(mount / "home")
        report = verify.verify(verify.Files(str(mount / "home")))
        assert report.code == 0, "\n".join(report.text())
    assert len(acknowledged) > 20 * ROUNDS
