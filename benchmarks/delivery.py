"""What delivery carries and costs: records a second to a local sink; a caller's cost and memory with a sink that is down;
the way back to zero when it returns; and what a span costs beside the SDK's own (`benchmarks.spans`, in a process of its own).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from rich.console import Console
from rich.table import Table

RECORDS = 200_000
DOWN = 200_000
PACE = 20_000  # records between two looks


class Switch:
    """A sink that is down or up as a file says, and counts what arrives, in order."""

    from guardrail.delivery import Caps

    caps = Caps(items=5_000, size=8_000_000)
    up = True
    arrived = 0
    last: ClassVar[dict[str, int]] = {}
    disorder = 0

    def __init__(self, address: object) -> None:
        del address

    def send(self, batch: Sequence[object]) -> list[object]:
        from guardrail.delivery import ok, retry

        if not Switch.up:
            return [retry(reason="it is down")] * len(batch)
        for item in batch:
            Switch.disorder += item.seq != Switch.last.get(item.lane, item.seq - 1) + 1
            Switch.last[item.lane] = item.seq
        Switch.arrived += len(batch)
        return [ok] * len(batch)

    def probe(self) -> str:
        return "up" if Switch.up else "down"

    def close(self) -> None:
        pass


def resident() -> float:
    """MiB that the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def begin(home: str, **sinks: str) -> None:
    import guardrail
    from guardrail import settings
    from guardrail.delivery import schemes

    guardrail.shutdown(30)
    schemes.SCHEMES["switch"] = schemes.Scheme(f"{__name__}:Switch", "switch://host")
    sys.modules.setdefault("benchmarks.delivery", sys.modules[__name__])
    settings.reset()
    guardrail.configure(home=home, sinks=sinks)


def guard() -> object:
    from guardrail import guarded

    @guarded(name="bench", version="1", validate=False)
    def predict(x: float) -> float:
        return x

    return predict


def through_a_file(home: Path, records: int) -> tuple[float, float]:
    """Return records a second from the ledger into a file, and CPU microseconds of one; the ledger is written before."""
    import guardrail
    from guardrail.delivery.courier import Courier
    from guardrail.delivery.keeping import FileKeeping
    from guardrail.delivery.outbox import FileOutbox
    from guardrail.settings.sinks import sink

    begin(str(home))
    call(guard(), records)
    assert guardrail.shutdown(120)
    found = Courier(
        sink("file", f"file://{home}/out.jsonl?start=beginning", "the benchmark"),
        None,
        FileOutbox(home),
        FileKeeping(home, "file"),
        lambda: None,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    while found.step() is not None:
        pass
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found.close()
    lines = (home / "out.jsonl").read_bytes().count(b"\n")
    assert lines >= records, (lines, records)
    return lines / wall, cpu / lines * 1e6


def call(predict: object, many: int) -> float:
    """Make calls; return CPU microseconds of one on this thread, the best of rounds."""
    best = float("inf")
    for part in [PACE] * (many // PACE) + [many % PACE] * bool(many % PACE):
        begun = time.thread_time()
        for _ in range(part):
            predict(1.0)
        best = min(best, (time.thread_time() - begun) / part * 1e6)
    return best


def beside_a_sink_that_is_down(home: Path, records: int) -> dict[str, float]:
    """Make calls in turns without a sink and with one that is down; then let it come back."""
    import guardrail

    found: dict[str, float] = {}
    alone, down = [], []
    share = max(PACE, records // 10)
    Switch.up = False
    for _ in range(5):
        begin(str(home / "alone"))
        alone.append(call(guard(), share))
        begin(str(home / "down"), out="switch://host?start=beginning")
        down.append(call(guard(), share))
    found["alone"], found["down"] = min(alone), min(down)
    guardrail.flush(1)
    found["memory before"] = resident()
    predict, made = guard(), 5 * share
    while made < records:
        call(predict, PACE)
        made += PACE
    guardrail.flush(1)
    found["memory after"] = resident()
    Switch.up = True
    guardrail.shutdown(30)
    begin(str(home / "down"), out="switch://host?start=beginning")
    predict(1.0)
    wall = time.perf_counter()
    while not guardrail.flush(60):
        pass
    found["catching up"] = Switch.arrived / (time.perf_counter() - wall)
    found["memory caught up"] = resident()
    guardrail.shutdown(30)  # which records itself, and delivers that
    found["made"], found["arrived"], found["disorder"] = made, Switch.arrived, Switch.disorder
    found["stored"] = sum(path.read_bytes().count(b"\n") for path in (home / "down" / "ledger").glob("*/*.jsonl"))
    return found


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--records", type=int, default=RECORDS, help="how many go through a local sink")
    arguments.add_argument("--down", type=int, default=DOWN, help="how many are made while a sink is down")
    given = arguments.parse_args()
    os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix=".bench-", dir=Path.cwd())
    console = Console()
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd(), ignore_cleanup_errors=True) as home:
        rate, cpu = through_a_file(Path(home) / "file", given.records)
        found = beside_a_sink_that_is_down(Path(home), given.down)
    table = Table(title="Delivery", title_justify="left")
    for head in ("", "measured", "target"):
        table.add_column(head, justify="left" if not head else "right")
    table.add_row("ledger into a file, synced: records/s", f"{rate:,.0f}", "30,000")
    table.add_row("the same, CPU of a record", f"{cpu:.1f} µs", "")
    table.add_row("a call, no sink: CPU of the caller", f"{found['alone']:.2f} µs", "")
    table.add_row("a call, a sink that is down", f"{found['down']:.2f} µs", "")
    table.add_row("ratio", f"{found['down'] / found['alone']:.2f}", "≤ 1.1")
    table.add_row(
        f"resident after {min(5 * max(PACE, given.down // 10), given.down):,} while it is down",
        f"{found['memory before']:.1f} MiB",
        "",
    )
    table.add_row(f"resident after {found['made']:,.0f}", f"{found['memory after']:.1f} MiB", "flat")
    table.add_row("it returns: records/s until everything has arrived", f"{found['catching up']:,.0f}", "30,000")
    table.add_row("resident then", f"{found['memory caught up']:.1f} MiB", "flat")
    table.add_row("calls while it was down", f"{found['made']:,.0f}", "")
    table.add_row("records in the ledger | arrived", f"{found['stored']:,.0f} | {found['arrived']:,.0f}", "all")
    table.add_row("out of order", f"{found['disorder']:,.0f}", "0")
    console.print(table)
    import shutil

    shutil.rmtree(os.environ["XDG_CONFIG_HOME"], ignore_errors=True)
    return subprocess.run([sys.executable, "-m", "benchmarks.spans"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
