"""The review queue on a home of its own, a clock to set, and other processes that use the same queue."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from guardrail import clock, ledger
from guardrail.policies import cases
from guardrail.review import filing, sweeper, upkeep
from guardrail.review.case import Case
from guardrail.store import engine

Start = Callable[..., "subprocess.Popen[str]"]
Events = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a locked store for 0.2 s, not 2."""
    monkeypatch.setattr(filing, "_PUT_SECONDS", 0.2)
    monkeypatch.setattr(upkeep, "_PATIENCE", 0.2)


@pytest.fixture(autouse=True)
def lots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the same in every run: what a test finds is no luck."""
    monkeypatch.setattr(cases, "_secret", b"the same lots in every run")


class Wall:
    """The wall clock, set by the test."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self.now


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """A wall clock that stands still until the test moves it."""
    made = Wall()
    monkeypatch.setattr(clock, "wall", made)
    monkeypatch.setattr(engine, "now", made)  # a server has a clock of its own
    monkeypatch.setattr(sweeper, "ensure", lambda: None)  # only the test does what the clock it sets asks for
    return made


@pytest.fixture
def events() -> Events:
    """Return what the ledger says of tickets and labels, oldest first."""
    return lambda: list(ledger.read(event=["ticket", "decision", "feedback"]))


def make_case(key: object = 1, **fields: Any) -> Case:
    """Return a case of one guard, like the others but for its key and what is given."""
    usual: dict[str, Any] = {
        "queue": "loans",
        "guard": "credit",
        "version": "1",
        "key": repr(key).encode(),
        "decision_id": f"decision-{key}",
        "reason": "low",
        "arguments": {"income": 100},
        "provisional": "yes",
        "choices": ["yes", "no"],
        "confidence": 0.4,
        "threshold": 0.8,
    }
    return Case(**usual | fields)


@pytest.fixture
def case() -> Callable[..., Case]:
    """Make cases."""
    return make_case


PROGRAM = """
import sys, time
from guardrail import review as queue
from guardrail.review import filing, sweeper, upkeep
from guardrail.review.case import Case
def case(key, **fields):
    usual = dict(queue="loans", guard="credit", version="1", key=repr(key).encode(), decision_id=f"decision-{key}",
                 reason="low", arguments={"income": 100}, provisional="yes", choices=["yes", "no"])
    return Case(**usual | fields)
"""


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a Python program in another process, with `queue` and `case` at hand; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM + program, *arguments]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))  # noqa: S603
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
