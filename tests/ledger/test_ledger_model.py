"""The ledger against a plain model of it, in any order that can happen: calls, crashes, recovery, keys, pruning, holds, erasure."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from people import Applicant

from guardrail import Audit, clock, decide, flush, guarded, ledger, shutdown
from guardrail.ledger import compress, holds, lane, opening, reader, retention, rotation, seals, segments, verify, writer
from guardrail.ledger.manifest import Manifest
from guardrail.testing import fresh

DAY = 86_400.0
KEEP_DAYS = 180
NAMES = {"customer-1": "Ann Okonkwo", "customer-2": "Bob Fitzwilliam"}
SUBJECTS = st.sampled_from(sorted(NAMES))
_now = time.time


class Ledger(RuleBasedStateMachine):
    """What is kept by id: whom a call was about, and on which day it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.home = Path(self.folder.name) / "home"
        os.environ["GUARDRAIL_HOME"] = str(self.home)
        os.environ["XDG_CONFIG_HOME"] = str(Path(self.folder.name) / "config")
        self.world = fresh()
        self.world.__enter__()
        self.day = 0
        clock.wall = lambda: _now() + self.day * DAY
        self.kept: dict[str, tuple[str, int]] = {}  # by id: subject, day
        self.erased_ids: set[str] = set()
        self.held: set[str] = set()
        self.torn = False

        @guarded(name="loans", version="1", audit=Audit(inputs="sealed"))
        def loans(applicant: Applicant) -> float:
            return 0.5

        self.loans = loans

    def teardown(self) -> None:
        try:
            shutdown(10)
            if self.home.exists():
                self.look(final=True)
        finally:
            self.world.__exit__(None, None, None)
            clock.wall = _now
            self.folder.cleanup()

    @initialize()
    def begin(self) -> None:
        self.call("customer-1", 1)

    # ── what happens ──
    @rule(subject=SUBJECTS, many=st.integers(1, 12))
    def call(self, subject: str, many: int) -> None:
        for _ in range(many):
            self.kept[decide(self.loans, Applicant(id=subject, name=NAMES[subject])).id] = (subject, self.day)
        assert flush(10)
        self.recover()

    @rule(left=st.integers(0, 300))
    def crash(self, left: int) -> None:
        """End as kill -9 ends a process, in the middle of a line of which so many bytes were written."""
        own = writer._committer
        if own is None or own._lane is None:
            return
        folder = own._lane.folder
        while own.waiting:
            time.sleep(0.001)
        with writer._starting:
            writer._ending = True
        thread = writer._thread
        writer._release_bell()
        if thread is not None:
            thread.join(10)
        writer._in_child()  # lets go of everything, and writes nothing more
        *_, last = segments.segments(folder)
        line = last.path.read_bytes().splitlines(keepends=True)[-1]
        if left and not last.path.name.endswith(".gz"):
            with last.path.open("ab") as file:
                file.write(line[: min(left, len(line) - 1)])
            self.torn = True

    @rule()
    def end(self) -> None:
        assert shutdown(10)

    @rule()
    def rotate(self) -> None:
        rotation.rotate(self.home / "ledger")

    @rule(days=st.sampled_from([1, 100, 200]))
    def time_passes(self, days: int) -> None:
        self.day += days

    @rule()
    def pack(self) -> None:
        assert compress.compress(self.home, older_than=0.0).problems == []

    @rule()
    def prune(self) -> None:
        done = retention.prune(f"{KEEP_DAYS}d", reason="model")
        assert done.problems == []
        self.recover()
        left = {record["id"] for record in reader.read(self.home, event="call")}
        gone = set(self.kept) - left
        assert not gone or not self.held
        assert all(self.day - self.kept[each][1] >= KEEP_DAYS for each in gone)
        self.kept = {each: what for each, what in self.kept.items() if each in left}

    @rule(name=st.sampled_from(["case-1", "case-2"]))
    def hold(self, name: str) -> None:
        if name not in self.held:
            holds.hold(name, reason="court", everything=True)
            self.held.add(name)
            self.recover()

    @precondition(lambda self: self.held)
    @rule()
    def release(self) -> None:
        holds.release(self.held.pop(), reason="settled")
        self.recover()

    @rule(subject=SUBJECTS)
    def erase(self, subject: str) -> None:
        if self.held:
            with pytest.raises(holds.Held):
                ledger.erase(subject)
            return
        ledger.erase(subject)
        self.erased_ids |= {each for each, (of, _) in self.kept.items() if of == subject}
        self.recover()

    def recover(self) -> None:
        """Wait until the process that writes, if any does, has closed what others left open."""
        until = time.monotonic() + 10
        own = writer._committer
        if own is None or own._lane is None:
            return
        while any(not facts.closed and facts.name != own._lane.name for facts in Manifest(self.home / "ledger").lanes().values()):
            assert time.monotonic() < until, "it was not closed"
            time.sleep(0.002)
        assert flush(10)
        self.torn = False

    # ── what must be so ──
    @invariant()
    def verifies(self) -> None:
        if self.home.exists():
            flush(10)
            self.look()

    def look(self, *, final: bool = False) -> None:
        report = verify.verify(verify.Files(str(self.home)))
        assert report.code == (3 if self.torn else 0), "\n".join(report.text())
        found: dict[str, dict[str, Any]] = {record["id"]: record for record in reader.read(self.home, event="call")}
        assert set(found) == set(self.kept)
        if final:
            for each, (subject, _) in self.kept.items():
                assert (NAMES[subject] in str(opening.unsealed(found[each]))) is (each not in self.erased_ids)


@pytest.mark.slow
def test_whatever_happens_the_ledger_is_what_the_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each step it verifies and holds exactly the records of the model; at the end what was erased cannot be read."""
    monkeypatch.setattr(lane, "SEGMENT_BYTES", 4_000)
    monkeypatch.setattr(seals, "EVERY_RECORDS", 5)
    examples = int(os.environ.get("LEDGER_MODEL_EXAMPLES", "50"))
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=examples, stateful_step_count=15, deadline=None, derandomize=examples == 50, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
