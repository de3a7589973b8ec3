"""The ledger verifies itself while it is in use: it finds damage, tells it once, and costs a bounded part each time."""

from __future__ import annotations

import threading
import time

import pytest

import guardrail
from guardrail import doctor, guarded, lifecycle, notices, settings
from guardrail.ledger import reader, selfcheck, writer


@guarded(name="loans", version="1")
def predict(x: int) -> int:
    return x + 1


def write(records=200):
    for x in range(records):
        predict(x)
    assert lifecycle.finish_all(5)


def damage(home, lane=0, old=b'"answered"', new=b'"fallback"'):
    path = sorted(home.glob("ledger/*/*.jsonl"))[lane]
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    return path.parent.name


def test_a_sound_ledger_gives_no_alarm(home):
    """While it is written, and afterwards; it is remembered when it was looked at."""
    predict(1)
    assert guardrail.flush(5)
    check = selfcheck.Check(home)
    assert check.newest() == []
    write()
    assert check.round() == []
    known = selfcheck.state(home)
    assert known["findings"] == []
    assert known["whole_at"] > 0
    told = [each.text for each in doctor.examine(stdout=False) if each.what == "selfcheck"]
    assert "found nothing wrong" in told[0]


def test_damage_is_found_by_either_look(home):
    """The newest segments at the start, everything in rounds."""
    write()
    lane = damage(home)
    for look in ("newest", "round"):
        (home / selfcheck.STATE).unlink(missing_ok=True)
        found = getattr(selfcheck.Check(home), look)()
        assert [(each.code, each.what, each.lane) for each in found] == [(1, "altered", lane)]


def test_a_round_is_bounded_and_the_next_goes_on(home):
    """Damage at the end is found only when the rounds have come to it."""
    for _ in range(3):
        write(100)
    lane = damage(home, lane=2)
    check = selfcheck.Check(home)
    rounds = 0
    while not (found := check.round(most=20_000)):
        rounds += 1
        assert rounds < 50
    assert rounds >= 3
    assert found[0].lane == lane


def test_what_was_told_is_not_told_again(home):
    """Not by this process, nor by the next; what is new is."""
    write()
    write()
    damage(home)
    assert len(selfcheck.Check(home).round()) == 1
    assert selfcheck.Check(home).round() == []
    assert len(selfcheck.state(home)["findings"]) == 1
    second = damage(home, lane=1)
    assert [each.lane for each in selfcheck.Check(home).round()] == [second]


def test_what_a_crash_leaves_is_no_alarm(home):
    """A torn line, of a process that is gone."""
    predict(1)
    assert guardrail.flush(5)
    path = next(home.glob("ledger/*/*.jsonl"))
    content = path.read_bytes()
    path.write_bytes(content + b'{"v":1')
    assert selfcheck.Check(home).round() == []
    path.write_bytes(content)


def test_a_finding_becomes_a_notice_a_record_and_a_line_of_doctor(home):
    """So that somebody hears of it."""
    write()
    lane = damage(home)
    selfcheck.tell(selfcheck.Check(home).round())
    assert guardrail.flush(5)
    assert lane in notices.counts()[None, "selfcheck"][1]
    (incident,) = [each for each in reader.read(home, event="incident") if each.get("what") == "verification"]
    assert incident["findings"][0]["lane"] == lane
    told = [each for each in doctor.examine(stdout=False) if each.what == "selfcheck"]
    assert (told[0].level, lane in told[0].text) == ("bad", True)


def test_the_check_runs_by_itself(home, monkeypatch):
    """Soon after the first record, and again and again; by one process of a home only."""
    write()
    lane = damage(home)
    monkeypatch.setattr(selfcheck, "START_SECONDS", 0.01)
    predict(1)
    until = time.monotonic() + 20
    while (None, "selfcheck") not in notices.counts() and time.monotonic() < until:
        time.sleep(0.01)
    assert lane in notices.counts()[None, "selfcheck"][1]
    assert [each.name for each in threading.enumerate()].count("guardrail-selfcheck") == 1
    other = selfcheck.Keeper(home, 3600.0)
    other._keep = lambda: pytest.fail("two check one home")
    other.start()
    time.sleep(0.2)
    assert other.stop(5)
    assert lifecycle.finish_all(5)
    assert "guardrail-selfcheck" not in [each.name for each in threading.enumerate()]


def test_it_can_be_turned_off(home, monkeypatch):
    """Then no thread is there; the word is `off`, and a duration otherwise."""
    guardrail.configure(selfcheck="off")
    predict(1)
    assert guardrail.flush(5)
    assert "guardrail-selfcheck" not in [each.name for each in threading.enumerate()]
    assert [each.level for each in doctor.examine(stdout=False) if each.what == "selfcheck"] == ["info"]
    guardrail.configure(selfcheck="10m")
    assert settings.current().selfcheck == 600.0
    with pytest.raises(guardrail.ConfigError, match="selfcheck"):
        guardrail.configure(selfcheck="sometimes")


def test_a_check_that_breaks_breaks_nothing_else(home, monkeypatch):
    """It is told, and tried again the next time."""
    write()
    monkeypatch.setattr(selfcheck.Check, "newest", lambda *_, **__: 1 / 0)
    keeper = selfcheck.Keeper(home, 3600.0)
    assert keeper._quietly(selfcheck.Check(home).newest) == []
    assert "ZeroDivisionError" in notices.counts()[None, "selfcheck-failed"][1]
    assert writer.flush(1)
