"""A fresh world: nothing of before, nothing left behind, and cheap enough for every test."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import guardrail
from guardrail import control, decide, guard_of, guarded, notices, settings
from guardrail.errors import Stopped
from guardrail.ledger import reader, writer
from guardrail.testing import force, fresh
from guardrail.testing.world import apart


def test_answers_breakers_switches_and_counts_begin_anew():
    """What a test did to a guard is not there for the next one, although the guard itself lives on."""
    ran = []

    @guarded(name="loans", version="1", cache="1h", breaker=True)
    def predict(x: int) -> int:
        ran.append(x)
        return x

    with fresh():
        predict(1)
        predict(1)
        notices.say("topic", "text", guard="loans")
        control.kill("loans", "because", "ann")
        with pytest.raises(Stopped):
            predict(2)
        assert ran == [1]
        assert guard_of(predict).stats()["calls"] == 3
    control.revive("loans", "ann")
    with fresh():
        assert notices.counts() == {}
        assert guard_of(predict).stats()["calls"] == 0
        assert guardrail.last_decision() is None
        predict(1)
    assert ran == [1, 1]


def test_settings_are_read_again(monkeypatch):
    """A variable that the test sets counts inside, and no longer afterwards."""

    @guarded(name="loans")
    def predict(x: int) -> int:
        return x

    assert guard_of(predict).mode == "enforce"
    with monkeypatch.context() as patch:
        patch.setenv("GUARDRAIL_MODE", "observe")
        with fresh():
            assert guard_of(predict).mode == "observe"
    with fresh():
        assert guard_of(predict).mode == "enforce"


def test_what_an_application_configured_is_there_again_afterwards():
    """`configure()` of an application's start does not count inside, and is not lost by a test either."""
    guardrail.configure(service="loans")
    with fresh():
        assert settings.current().service is None
        guardrail.configure(service="other")
    assert settings.current().service == "loans"


def test_a_failing_test_leaves_nothing_either():
    """An exception passes, and the world is clean after it."""
    with pytest.raises(KeyError), fresh():
        notices.say("topic", "text")
        raise KeyError
    assert notices.counts() == {}


def test_files_are_written_and_closed_at_the_end(home: Path):
    """Whoever looks into the home afterwards finds every record."""

    @guarded(name="loans")
    def predict(x: int) -> int:
        return x

    with fresh():
        for x in range(20):
            predict(x)
    assert sum(record["event"] == "call" for record in reader.read(home)) == 20
    assert [path for path in _open_files() if path.startswith(str(home))] == []


def _open_files() -> Iterator[str]:
    """Yield the paths of this process's open files, where the system tells."""
    for descriptor in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(OSError):
            yield str(descriptor.readlink())


def test_unused_it_costs_next_to_nothing():
    """Twenty tests in a row that use nothing pay less than a millisecond each, and none 20 ms."""
    took = []
    for _ in range(20):
        start = time.perf_counter()
        with fresh():
            pass
        took.append(time.perf_counter() - start)
    assert min(took) < 0.001
    assert sorted(took)[10] < 0.02


def test_apart_from_whatever_is_configured(monkeypatch, tmp_path):
    """A self-test reaches no shared cache and no sink, and its home vanishes."""
    sink = tmp_path / "sink.jsonl"
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", f"file://{sink}")
    monkeypatch.setenv("GUARDRAIL_MODE", "observe")
    monkeypatch.setenv("GUARDRAIL_SERVICE", "loans")

    @guarded(name="loans")
    def predict(x: int) -> int:
        return x

    with apart() as home:
        assert guard_of(predict).mode == "enforce"
        assert settings.home() == home
        assert decide(predict, 1).ok
        assert writer.flush(5)
        assert list(home.glob("ledger/**/*.jsonl"))
    assert not home.parent.exists()
    assert not sink.exists()
    assert guard_of(predict).mode == "observe"


def test_a_forced_state_does_not_outlive_the_world():
    """Even where the block that forced it is still open."""

    @guarded(breaker=True)
    def predict(x: int) -> int:
        return x

    with force(predict, breaker="open"), fresh():
        assert predict(1) == 1


def test_importing_the_fixtures_is_enough_for_pytest(tmp_path):
    """The three fixtures are found by themselves, work together, and leave other tests alone."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "test_loans.py").write_text("""
import os
import guardrail
from guardrail import guarded

@guarded(name="loans", version="1", cache="10m")
def predict(x: int) -> int:
    return x + 1

def test_records(guardrail_records, guardrail_clock):
    assert [predict(1), predict(1)] == [2, 2]
    assert [record["outcome"] for record in guardrail_records] == ["answered", "cached"]
    guardrail_clock.advance("12m")
    predict(1)
    assert guardrail_records[-1]["outcome"] == "answered"
    assert guardrail_records[-1]["ts"] > guardrail_records[0]["ts"]

def test_begins_anew(guardrail_fresh):
    predict(1)
    assert guardrail.last_decision().outcome == "answered"
    home = os.environ["GUARDRAIL_HOME"]
    assert "guardrail" in home and not home.endswith(".guardrail")

def test_without_fixtures():
    assert "GUARDRAIL_HOME" not in os.environ
    assert predict(1) == 2
""")
    env = {name: value for name, value in os.environ.items() if not name.startswith("GUARDRAIL_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(project)]
    ran = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "3 passed" in ran.stdout
    assert sorted(path.name for path in project.iterdir() if path.name != "__pycache__") == ["test_loans.py"]
