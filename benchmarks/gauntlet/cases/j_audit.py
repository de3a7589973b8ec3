"""The record: complete, durable, and damage is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.gauntlet.case import Failed, ask, case, equal
from benchmarks.gauntlet.tool import Tool


def _score(x: int) -> int:
    return x % 7


def _calls(tool: Tool, count: int) -> None:
    call = tool.audited(_score)
    for i in range(count):
        call(i)
    tool.finish()


@case("8 threads with 10,000 calls each: 80,000 records, and the verification finds nothing", "audit", limit=150)
def eight_threads(tool: Tool, home: Path) -> None:
    call = tool.audited(_score)

    def run():
        for i in range(10_000):
            call(i)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    tool.finish()
    equal(tool.recorded(), 80_000, "records")
    if "tamper" in tool.claimed(tool.way):
        ask(tool.intact(), "nobody touched it, and its own verification says that it was changed")


@case("calls that fail are recorded as well", "audit")
def failures_recorded(tool: Tool, home: Path) -> None:
    def work(x):
        if x % 2:
            raise ValueError("odd")

    call = tool.audited(work)
    for i in range(10):
        try:
            call(i)
        except Exception:
            continue
    tool.finish()
    equal(tool.recorded(), 10, "records")


@case(
    "kill -9 in the middle: every call that was answered is recorded, and the verification finds nothing",
    "audit",
    "durable",
    limit=60,
)
def killed(tool: Tool, home: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gauntlet.child", "--victim", tool.name, tool.way, str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=dict(os.environ), cwd=home) as victim:
        answered = 0
        assert victim.stdout is not None
        until = time.monotonic() + 40
        for line in victim.stdout:
            answered = int(line)
            if answered >= 150 or time.monotonic() > until:
                break
        victim.send_signal(signal.SIGKILL)
        rest = victim.stdout.read().split()
        answered = max([answered, *(int(each) for each in rest[:-1])])  # the last line may be half of one
    ask(answered >= 50, "the calls were not made")
    kept = tool.recorded()
    ask(kept >= answered, f"{answered} calls were answered, {kept} are recorded")
    if "tamper" in tool.claimed(tool.way):
        ask(tool.intact(), "its own verification says that it was changed")


def _damage(tool: Tool, kind: str, what: str) -> None:
    _calls(tool, 60)
    equal(tool.recorded(), 60, "records")
    ask(tool.intact(), "its own verification is not content before anything was changed")
    tool.tamper(kind)
    if tool.intact():
        raise Failed(f"{what}, and its own verification finds nothing")


@case("a changed answer in the middle is found", "audit", "tamper")
def changed_record(tool: Tool, home: Path) -> None:
    _damage(tool, "change", "a record was changed")


@case("a record taken out of the middle is found", "audit", "tamper")
def removed_record(tool: Tool, home: Path) -> None:
    _damage(tool, "remove", "a record was taken out")


@case("two records that changed places are found", "audit", "tamper")
def swapped_records(tool: Tool, home: Path) -> None:
    _damage(tool, "swap", "two records changed places")


@case("a tail that was cut off is found", "audit", "tamper")
def cut_tail(tool: Tool, home: Path) -> None:
    _damage(tool, "cut", "the last ten records were cut off")


@case("a record that is the latest is found when it is removed alone", "audit", "tamper")
def cut_last(tool: Tool, home: Path) -> None:
    _damage(tool, "cut-one", "the last record was cut off")
