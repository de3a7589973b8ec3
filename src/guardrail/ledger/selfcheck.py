"""Verifies the ledger while it is in use: its newest segments soon after the start, then all of it, a bounded part at a time."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guardrail import clock, notices, settings
from guardrail.errors import ConfigError
from guardrail.ledger import disk, trust
from guardrail.ledger.background import Post, Worker
from guardrail.ledger.sources import source_of
from guardrail.ledger.verify import Facts, Finding, Run, Scan
from guardrail.store import file_lock

ROUND_BYTES: Final = 16 * 2**20
START_SECONDS: Final = 5.0  # after the first record: a process that ends sooner pays nothing
NEWEST_LANES: Final = 8
EXIT_ORDER: Final = 75  # at exit: before the ledger closes, so that nothing is found half closed
STATE: Final = "selfcheck.json"
LOCK: Final = "selfcheck.lock"  # of all processes of a home, one checks
_IDLE: Final = 4.0  # a step that took a second is followed by so many of rest
_ALARMS: Final = (1, 2, 5)
_TOLD: Final = 5  # findings in one incident record
_KEPT: Final = 1_000  # findings that are remembered as told


@dataclass
class Part(Run):
    """A verification of some lanes, or of their newest segments only, relying on the stored hashes of what was before.

    Attributes:
        only: The lanes; None: all.
        newest: Whether to pass over all segments but the last.
    """

    only: set[str] | None = None
    newest: bool = False

    def lane_steps(self, lane: str) -> Iterator[int]:
        """Read a lane, if it is one of those."""
        if self.only is None or lane in self.only:
            yield from super().lane_steps(lane)

    def scan(self, lane: str, facts: Facts) -> Scan:
        """Begin to read a lane; what is passed over counts as pruned."""
        scan = super().scan(lane, facts)
        if self.newest and len(scan.files) > 1:
            facts.pruned.append((1, scan.files[-1][1] - 1))
            del scan.files[:-1]
        return scan

    def judge(self) -> None:
        """Judge nothing as a whole that was read in part."""
        if self.only is None and not self.newest:
            super().judge()


class Check:
    """The self-check of one home. `round` may be called again and again; each call goes on where the last one stopped.

    Args:
        home: The folder of the embedded store.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._run: Part | None = None
        self._steps: Iterator[int] = iter(())

    def newest(self, most: int = ROUND_BYTES, end: threading.Event | None = None) -> list[Finding]:
        """Verify the last segments of the newest lanes, within a bound; return what is wrong and was not known."""
        lanes = source_of(self.home).lanes()[-NEWEST_LANES:]
        run = self._part(set(lanes), newest=True)
        done = _spend(run.steps(), most, end)
        return self._judge(run, whole=False) if done is not None else []

    def round(self, most: int = ROUND_BYTES, end: threading.Event | None = None) -> list[Finding]:
        """Verify on from where the last round stopped, within a bound; return what is wrong and was not known.

        Whatever is wrong is told when the whole ledger has been read, and looked at once more before: files are pruned and
        compressed meanwhile.
        """
        if self._run is None:
            self._run = self._part()
            self._steps = self._run.steps()
        done = _spend(self._steps, most, end)
        if not done:
            return []
        run, self._run = self._run, None
        return self._judge(run, whole=True)

    def _part(self, only: set[str] | None = None, *, newest: bool = False) -> Part:
        return Part(source_of(self.home), trust.own_keys(self.home), only=only, newest=newest)

    def _judge(self, run: Part, *, whole: bool) -> list[Finding]:
        found = [each for each in run.report.findings if each.code in _ALARMS]
        if found:
            again = self._part({each.lane for each in found if each.lane} if all(each.lane for each in found) else None)
            for _ in again.steps():
                pass
            found = [each for each in again.report.findings if each.code in _ALARMS]
        known = state(self.home)
        told = {tuple(each) for each in known.get("told", ())}
        fresh = [each for each in found if _mark(each) not in told]
        marks = [*known.get("told", ()), *map(_mark, fresh)][-_KEPT:]
        now = {"at": clock.wall(), "told": marks, "findings": [each._asdict() for each in found[:50]]}
        now["whole_at"] = now["at"] if whole else known.get("whole_at", 0.0)
        if not whole and not found:
            now["findings"] = known.get("findings", [])  # of the rest, which was not looked at now
        with contextlib.suppress(OSError):
            disk.replace(self.home / STATE, json.dumps(now).encode())
        return fresh


def _spend(steps: Iterator[int], most: int, end: threading.Event | None) -> bool | None:
    """Go on until so many bytes were read; return whether that was all, None if it was to end."""
    spent = 0
    began = clock.now()
    for many in steps:
        spent += many
        if spent >= most:
            return False
        if end is not None:
            if end.wait((clock.now() - began) * _IDLE):
                return None
            began = clock.now()
    return True


def _mark(found: Finding) -> tuple[str, str, str, int]:
    return found.what, found.lane or "", found.segment or "", found.seq or 0


def state(home: Path) -> dict[str, Any]:
    """Return what the latest check of a home has found: `at`, `whole_at`, `findings`; nothing where there was none."""
    try:
        found = json.loads((home / STATE).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────────────
class Keeper(Worker):
    """The thread that checks a home."""

    def __init__(self, home: Path, every: float) -> None:
        super().__init__(home, "guardrail-selfcheck")
        self._every = every

    def work(self) -> None:
        """Check, as often as it was told, while no other process of the home does."""
        pause = START_SECONDS
        while not self._end.wait(pause):
            with contextlib.suppress(OSError), file_lock.held(self.home / LOCK, block=False) as alone:
                if alone:
                    self._keep()
            pause = self._every

    def _keep(self) -> None:
        check = Check(self.home)
        tell(self._quietly(check.newest))
        while not self._end.wait(self._every):
            tell(self._quietly(check.round))

    def _quietly(self, look: Any) -> list[Finding]:
        try:
            found: list[Finding] = look(end=self._end)
        except Exception as problem:  # noqa: BLE001 - a check that breaks must not end all checks
            notices.say("selfcheck-failed", f"the ledger could not check itself ({type(problem).__name__})")
            return []
        return found


def tell(findings: list[Finding]) -> None:
    """Tell of what was found: a notice, and a record of its own."""
    if not findings:
        return
    from guardrail.ledger import writer  # noqa: PLC0415 - which starts us

    first = findings[0]
    where = " ".join(filter(None, (first.lane or "manifest", first.segment, f"#{first.seq}" if first.seq else "")))
    notices.say(
        "selfcheck", f"the ledger was changed: {where}: {first.what}: {first.text}; `guardrail audit verify` tells all",
    )  # fmt: skip
    shown = [each._asdict() for each in findings[:_TOLD]]
    writer.event("incident", fields={"what": "verification", "findings": shown, "found": len(findings)})


_post = Post(EXIT_ORDER)


def begin(home: Path) -> None:
    """Begin to check a home, if that is wanted and not done already."""
    try:
        every = settings.current().selfcheck
    except ConfigError:
        return
    if every is not None:
        _post.begin(Keeper(home, every))
