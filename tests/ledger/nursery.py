"""A program that forks children which write through the public API until they are killed, and checks what is left of it.

    python nursery.py '{"do": "kills", "rounds": 50, "seed": 1}'

It has everything imported, so that a child costs milliseconds; it writes nothing itself, so that each child is a process of its
own to the ledger. What it found goes to its standard output as JSON.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from pathlib import Path

from guardrail import call, decide, flush, guarded, settings, shutdown
from guardrail.ledger import lane, manifest, seals, verify, writer

PLACES = {name: os.environ[name] for name in ("GUARDRAIL_HOME", "XDG_CONFIG_HOME")}
HOME = Path(PLACES["GUARDRAIL_HOME"])
ID = len('{"v":1,"id":"')
REAL_WRITE = os.write


@guarded(name="careful", version="1", audit="sync")
def careful(x: int) -> int:
    return x + 1


@guarded(name="quick", version="1")
def quick(x: int) -> int:
    return x + 1


def small() -> None:
    """Have segments and checkpoints come often, so that kills meet them."""
    lane.SEGMENT_BYTES, seals.EVERY_RECORDS, seals.SYNC_SECONDS, seals.EVERY_SECONDS = 12_000, 20, 0.01, 0.05


def warm_up() -> None:
    """Live once, elsewhere, so that everything is imported and compiled: a child then costs milliseconds."""
    with tempfile.TemporaryDirectory() as elsewhere:
        for name, folder in (("GUARDRAIL_HOME", "home"), ("XDG_CONFIG_HOME", "config")):
            os.environ[name] = f"{elsewhere}/{folder}"
        settings.reset()
        careful(1)
        quick(1)
        shutdown(10)
    os.environ.update(PLACES)
    settings.reset()
    call.latest.set(None)


def tell(out: int, *ids: str) -> None:
    REAL_WRITE(out, "".join(f"{each}\n" for each in ids).encode())


def write_for_ever(out: int, seed: int) -> None:
    """Tell every id as soon as it is acknowledged."""
    chance = random.Random(seed)
    at = 0
    while True:
        at += 1
        tell(out, decide(careful, at).id)
        ids = [decide(quick, at).id for _ in range(chance.randrange(30))]
        if flush(10):
            tell(out, *ids)


def forked(work, *args) -> tuple[int, int]:
    """Return pid and the end of a pipe on which the child tells what was acknowledged."""
    out_of, into = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(out_of)
            work(into, *args)
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(into)
    return pid, out_of


def told(out_of: int) -> list[str]:
    """Return what a child has told until its end, without a last word that was cut short."""
    found = b""
    while block := os.read(out_of, 65_536):
        found += block
    os.close(out_of)
    return [each.decode() for each in found.split(b"\n")[:-1]]


def stored() -> list[bytes]:
    """Return the ids of all lines, in the order in which they lie there."""
    found = []
    for folder in sorted((HOME / "ledger").glob("*/")):
        for path in sorted(folder.glob("*.jsonl")):
            found += [line[ID : ID + 36] for line in path.read_bytes().split(b"\n")[:-1]]
    return found


def verdict() -> tuple[int, str]:
    report = verify.verify(verify.Files(str(HOME)))
    return report.code, "\n".join(report.text())


def check(found: dict, acknowledged: set[str], when: str, *, good=(0, 3)) -> None:
    """Note what is not as it must be."""
    if not (HOME / "ledger").is_dir() and not acknowledged:
        return  # killed before there was anything
    code, text = verdict()
    found["codes"][code] = found["codes"].get(code, 0) + 1
    if code == 5 and not acknowledged and not stored():  # noqa: PLR2004 - killed before the ledger had a first line
        return
    if code not in good:
        found["wrong"].append(f"{when}: verdict {code}\n{text}")
    lost = acknowledged - {each.decode() for each in stored()}
    if lost:
        found["wrong"].append(f"{when}: {len(lost)} acknowledged records are lost")


def settle(found: dict, acknowledged: set[str]) -> None:
    """Let one more process close what is left open, and end as it should: then nothing is torn, or open, any more."""

    def last(out: int) -> None:
        tell(out, decide(careful, 0).id)
        until = time.monotonic() + 20
        own = writer._committer._lane.name
        while time.monotonic() < until:
            flush(5)
            if all(facts.closed for facts in manifest.Manifest(HOME / "ledger").lanes().values() if facts.name != own):
                break
            time.sleep(0.01)
        shutdown(10)

    pid, out_of = forked(last)
    acknowledged.update(told(out_of))
    if os.waitpid(pid, 0)[1]:
        found["wrong"].append("the last process did not end as it should")
    check(found, acknowledged, "at the end", good=(0,))
    still = [facts.name for facts in manifest.Manifest(HOME / "ledger").lanes().values() if not facts.closed]
    if still:
        found["wrong"].append(f"{still} were not closed by the next process")
    ids = stored()
    found["stored"], found["acknowledged"] = len(ids), len(acknowledged)
    if len(set(ids)) != len(ids):
        found["wrong"].append("records stand twice")


def kills(found: dict, rounds: int, seed: int) -> None:
    """Kill children at random moments: some as they begin, some in the middle of their work, often two at a time."""
    chance, acknowledged = random.Random(seed), set()
    for at in range(rounds):
        children = [forked(write_for_ever, chance.random()) for _ in range(chance.choice((1, 1, 2)))]
        if chance.random() < 0.6:
            select.select([children[0][1]], [], [], 20)  # it is open, and has acknowledged something
        time.sleep(chance.uniform(0, 0.05))
        for pid, _ in children:
            os.kill(pid, signal.SIGKILL)
        for pid, out_of in children:
            os.waitpid(pid, 0)
            acknowledged.update(told(out_of))
        check(found, acknowledged, f"round {at}")
        found["kills"] = found.get("kills", 0) + len(children)
    settle(found, acknowledged)


CALLS = ("write", "pwrite", "fsync", "fdatasync", "ftruncate", "mkdir", "replace", "rename", "unlink", "open")


def die_at(number: int, half: bool) -> None:
    """Have this process killed at one of the calls that change the disk: before it, or in the middle of it."""
    count = 0

    def dying(name, real):
        def call(*args, **kwargs):
            nonlocal count
            if name == "open" and not (len(args) > 1 and args[1] & os.O_CREAT):
                return real(*args, **kwargs)
            if name in ("write", "pwrite") and args[0] <= 2:
                return real(*args, **kwargs)
            count += 1
            if count == number:
                if half and name in ("write", "pwrite"):
                    real(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                elif half:
                    real(*args, **kwargs)
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)
            return real(*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, dying(name, getattr(os, name)))
    lane._sync = seals._sync = lane.disk.sync = os.fdatasync


def a_life(out: int, number: int, half: bool) -> None:
    """Everything that a process does to the disk in its life, in little: killed at one of its steps."""
    die_at(number, half)
    for at in range(4):
        tell(out, decide(careful, at).id)
    ids = [decide(quick, at).id for at in range(40)]
    if flush(10):
        tell(out, *ids)
    tell(out, writer.event("feedback", fields={"label": "x"}, sync=True))
    shutdown(10)
    tell(out, "done")


def steps(found: dict, every: int, seed: int) -> None:
    """Kill a child at the first step of its life, the next one at the second, and so on, until one comes to its end."""
    acknowledged, number = set(), 1 + seed % every
    while True:
        pid, out_of = forked(a_life, number, bool(random.Random(number + seed).randrange(2)))
        words = told(out_of)
        os.waitpid(pid, 0)
        acknowledged.update(set(words) - {"done"})
        check(found, acknowledged, f"step {number}")
        if "done" in words:
            break
        found["kills"] = found.get("kills", 0) + 1
        number += every
    settle(found, acknowledged)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    result: dict = {"wrong": [], "codes": {}}
    warm_up()
    small()
    {"kills": kills, "steps": steps}[asked.pop("do")](result, **asked)
    print(json.dumps(result))  # noqa: T201 - to the test that started it
