"""Run-time switches: in force in every process within a poll, never raising into a call, always recorded."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from guardrail import clock, control, control_file, notices, settings
from guardrail.errors import AuditUnavailable, ConfigError
from guardrail.ledger import writer

Event = tuple[str, str | None, Mapping[str, Any], bool]


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    """A home of its own for each test, nothing switched."""
    settings.reset()
    notices.reset()
    control.reset()
    settings.configure(home=tmp_path / "home")
    yield tmp_path / "home"
    control.reset()
    notices.reset()
    settings.reset()


@pytest.fixture(autouse=True)
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """What was handed to the ledger."""
    seen: list[Event] = []

    def event(kind: str, *, guard: str | None, fields: Mapping[str, Any], sync: bool = False) -> str:
        seen.append((kind, guard, fields, sync))
        return "id"

    monkeypatch.setattr(writer, "event", event)
    return seen


def written(home: Path, content: Any) -> None:
    """Put a file of switches in place as another process would."""
    home.mkdir(exist_ok=True)
    new = home / "from-another-process"
    new.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    new.replace(home / "control.json")


def elsewhere(home: Path, code: str) -> str:
    """Run code in another process on the same home."""
    env = {**os.environ, "GUARDRAIL_HOME": str(home)}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_nothing_switched_and_nothing_made(home: Path) -> None:
    """Looking for switches makes no file."""
    assert control.state_of("loan") == (None, False)
    assert control.switches() == {}
    assert not control.poll()
    assert not home.exists()


def test_mode_and_kill_are_apart() -> None:
    """A kill leaves the mode alone, and the mode a kill."""
    control.set_mode("loan", "observe", "ann")
    control.kill("loan", "wrong since noon", "bob")
    assert control.state_of("loan") == ("observe", True)
    control.set_mode("loan", "off", "ann")
    assert control.state_of("loan") == ("off", True)
    control.revive("loan", "bob")
    assert control.state_of("loan") == ("off", False)
    control.set_mode("loan", None, "ann")
    assert control.switches() == {}


def test_star_addresses_every_guard() -> None:
    """A mode for one guard comes before one for all; a kill of all holds whatever is revived for one."""
    control.set_mode("*", "observe", "ann")
    control.set_mode("loan", "enforce", "ann")
    assert control.state_of("loan") == ("enforce", False)
    assert control.state_of("churn") == ("observe", False)
    control.kill("*", "incident 7", "ann")
    control.revive("loan", "ann")
    assert control.state_of("loan") == ("enforce", True)
    control.revive("*", "ann")
    assert control.state_of("loan") == ("enforce", False)


def test_reason_of_a_kill() -> None:
    """The reason is that of the kill which is in force, of the guard itself or of all."""
    control.set_mode("loan", "observe", "ann")
    assert control.why_killed("loan") is None
    control.kill("*", "incident 7", "ann")
    assert control.why_killed("loan") == "incident 7"
    control.kill("loan", "wrong since noon", "ann")
    assert control.why_killed("loan") == "wrong since noon"
    assert control.why_killed("churn") == "incident 7"


def test_change_is_an_event_of_the_ledger(monkeypatch: pytest.MonkeyPatch, events: list[Event]) -> None:
    """Each change says who, what, why and when, durably."""
    monkeypatch.setattr(clock, "wall", lambda: 1_700_000_000.0)
    fields = control.kill("loan", "wrong since noon", "ann", known_by="os")
    assert fields == {
        "guard": "loan", "mode": None, "killed": True, "reason": "wrong since noon",
        "by": "ann", "known_by": "os", "at": 1_700_000_000.0,
    }  # fmt: skip
    (event,) = events
    assert event[:2] == ("mode", "loan")
    assert event[2] == {
        "mode": None, "killed": True, "reason": "wrong since noon", "actor": {"id": "ann", "known_by": "os"}, "at": 1_700_000_000.0,
    }  # fmt: skip
    assert event[3] is True
    assert control.revive("loan", "bob")["reason"] is None
    assert control.set_mode("loan", "observe", "bob")["mode"] == "observe"
    assert [(event[2]["killed"], event[2]["mode"]) for event in events[1:]] == [(False, None), (False, "observe")]


def test_kill_holds_even_if_it_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk under the ledger does not keep a model running; the caller hears of it."""

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "event", full)
    with pytest.raises(AuditUnavailable, match="in force"):
        control.kill("loan", "wrong", "ann")
    assert control.state_of("loan") == (None, True)


@pytest.mark.parametrize("mode", ["shadow", "advise", "canary:0.1", "killed", "sideways", "", "a" * 9000, "\x1b[0m"])
def test_modes_that_cannot_be_switched_on(mode: str, home: Path) -> None:
    """Only enforce, observe and off; the others say why not, and change nothing."""
    with pytest.raises(ConfigError) as caught:
        control.set_mode("loan", mode, "ann")
    assert (
        "kill(" in str(caught.value) if mode == "killed" else "enforce" in str(caught.value) or len(mode) > 100 or "\x1b" in mode
    )
    assert not (home / "control.json").exists()


@pytest.mark.parametrize("reason", ["", "  ", "a\nb"])
def test_kill_needs_a_reason(reason: str) -> None:
    """Those who find the guard stopped want to know why."""
    with pytest.raises(ConfigError, match="reason"):
        control.kill("loan", reason, "ann")


@pytest.mark.parametrize("name", ["", " ", "a\x00b", "a" * 301, "\udcff"])
def test_hostile_names(name: str) -> None:
    """Neither a guard nor a person has such a name."""
    with pytest.raises(ConfigError):
        control.kill(name, "why", "ann")
    with pytest.raises(ConfigError):
        control.kill("loan", "why", name)


def test_poll_sees_what_another_process_switched(home: Path) -> None:
    """One poll later the change is in force here, and whoever compiled a plan has been told."""
    assert control.state_of("loan") == (None, False)
    heard: list[tuple[str | None, bool]] = []
    control.subscribe(lambda: heard.append(control.state_of("loan")))
    elsewhere(home, "from guardrail import control; control.kill('loan', 'wrong', 'ann')")
    assert control.state_of("loan") == (None, False)
    assert control.poll()
    assert heard == [(None, True)]
    assert not control.poll()
    elsewhere(home, "from guardrail import control; control.revive('loan', 'ann')")
    assert control.poll()
    assert heard == [(None, True), (None, False)]


def test_own_change_tells_at_once() -> None:
    """The process that switches need not wait for its own poll, and is told once."""
    heard: list[bool] = []

    def tell() -> None:
        heard.append(control.state_of("loan")[1])

    control.subscribe(tell)
    control.subscribe(tell)
    control.kill("loan", "wrong", "ann")
    assert not control.poll()
    assert heard == [True]


def test_unchanged_file_is_not_read_again(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A poll is one stat: an untouched file is not opened, not even a broken one."""
    written(home, b"{broken")
    opened: list[Path] = []
    monkeypatch.setattr(control, "read", lambda path: (opened.append(path), control_file.read(path))[1])
    for _ in range(5):
        control.poll()
    assert len(opened) == 1


def test_same_size_in_the_same_instant_is_seen(home: Path) -> None:
    """Two versions of one size and one modification time differ by their inode."""
    written(home, {"loan": {"mode": "enforce"}})
    control.poll()
    at = (home / "control.json").stat()
    (home / "b").write_text(json.dumps({"loan": {"mode": "observe"}}))
    os.utime(home / "b", ns=(at.st_atime_ns, at.st_mtime_ns))
    (home / "b").replace(home / "control.json")
    assert control.poll()
    assert control.state_of("loan") == ("observe", False)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"loan": ', b"\xff\xfe", b"[" * 200_000, b" " * 2_000_000, b'"text"', b"{} {}"],
)
def test_corrupt_file_keeps_the_last_good_state(home: Path, content: bytes) -> None:
    """Garbage neither raises nor revives what was killed; it is said once, and the next good file counts."""
    written(home, {"loan": {"killed": True}})
    control.poll()
    written(home, content)
    assert not control.poll()
    assert control.state_of("loan") == (None, True)
    assert (None, "control") in notices.counts()
    written(home, {})
    assert control.poll()
    assert control.state_of("loan") == (None, False)


def test_file_that_disappears_clears(home: Path) -> None:
    """Without the file nothing is switched."""
    written(home, {"loan": {"killed": True}})
    assert control.poll()
    (home / "control.json").unlink()
    assert control.poll()
    assert control.state_of("loan") == (None, False)


def test_trouble_that_passes_is_tried_again(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Too many open files in the very moment of a kill: the kill comes with the next poll, the file being unchanged."""
    control.poll()
    written(home, {"loan": {"killed": True}})

    def no_more(_: Path) -> bytes:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(control, "read", no_more)
        assert not control.poll()
    assert control.poll()
    assert control.state_of("loan") == (None, True)


def test_home_that_cannot_be_looked_into(home: Path) -> None:
    """What stands where the home should be, or broken settings, never raise into a call."""
    home.parent.mkdir(exist_ok=True)
    home.write_text("not a folder")
    assert not control.poll()
    assert control.state_of("loan") == (None, False)
    with pytest.raises(NotADirectoryError):
        control.kill("loan", "why", "ann")


def test_odd_entries_do_not_hide_the_others(home: Path) -> None:
    """A mode of a newer release leaves the last one; an odd kill counts as a kill; the rest is read."""
    written(home, {"loan": {"mode": "observe"}})
    control.poll()
    written(
        home,
        {
            "loan": {"mode": "shadow", "at": "noon", "by": 7}, "fresh": {"mode": ["x"]}, "churn": 7,
            "fraud": {"killed": "yes", "at": float("nan")}, "ok": {"mode": "off", "killed": False, "more": 1},
        },
    )  # fmt: skip
    assert control.poll()
    assert control.state_of("loan") == ("observe", False)
    assert control.state_of("fresh") == (None, False)
    assert control.state_of("churn") == (None, False)
    assert control.state_of("fraud") == (None, True)
    assert control.state_of("ok") == ("off", False)
    assert control.switches()["fraud"].at == 0.0
    assert {guard for guard, topic in notices.counts() if topic == "control-entry"} == {"loan", "fresh", "churn"}


def test_kill_writes_over_a_broken_file(home: Path) -> None:
    """A file that makes no sense is put aside; what was in force stays, and the kill is written."""
    written(home, {"churn": {"mode": "observe"}})
    control.poll()
    written(home, b"{broken")
    control.kill("loan", "wrong", "ann")
    assert (home / "control.json.broken").read_bytes() == b"{broken"
    assert set(json.loads((home / "control.json").read_bytes())) == {"churn", "loan"}


def test_file_is_private_and_whole(home: Path) -> None:
    """Only its owner reads it, and no half-written file stays behind."""
    control.kill("loan", "wrong", "ann")
    assert stat.S_IMODE((home / "control.json").stat().st_mode) == 0o600
    assert not (home / "control.json.new").exists()
    (home / "control.json.new").symlink_to(home / "elsewhere")
    with pytest.raises(OSError, match="control.json.new"):
        control.revive("loan", "ann")
    assert control.state_of("loan") == (None, True)


def test_many_writers_lose_nothing(home: Path) -> None:
    """Threads and processes that switch at once each find their switch in the file."""
    code = "import sys\nfrom guardrail import control\nfor i in range(10): control.kill(f'{sys.argv[1]}{i}', 'why', 'ann')"
    env = {**os.environ, "GUARDRAIL_HOME": str(home)}
    others = [subprocess.Popen([sys.executable, "-c", code, name], env=env) for name in "ab"]
    threads = [threading.Thread(target=lambda n=n: [control.kill(f"{n}{i}", "why", "ann") for i in range(10)]) for n in "cd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.wait(60) for other in others] == [0, 0]
    assert len(json.loads((home / "control.json").read_bytes())) == 40


def test_lock_that_is_never_freed_is_waited_for_boundedly(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A writer that hangs makes others give up after five seconds, with a plain error."""
    passed = [0.0]
    monkeypatch.setattr(clock, "now", lambda: passed[0])
    monkeypatch.setattr(clock, "sleep", lambda seconds: passed.__setitem__(0, passed[0] + seconds))
    home.mkdir()
    with control_file.alone(home / "control.json.lock"), pytest.raises(TimeoutError, match="held the lock"):
        control.kill("loan", "why", "ann")
    assert 5 <= passed[0] < 6


def test_deaf_listener_does_not_keep_a_kill_from_the_others() -> None:
    """Whatever one subscriber does, the others are told, and nothing reaches the caller."""
    heard: list[int] = []

    def deaf() -> None:
        raise RuntimeError("deaf")

    control.subscribe(deaf)
    control.subscribe(lambda: heard.append(1))
    control.kill("loan", "why", "ann")
    assert heard == [1]
    assert (None, "control-listener") in notices.counts()


def test_forked_child_sees_switches_while_another_thread_was_reading(home: Path) -> None:
    """The child does not inherit a lock that nobody will free."""
    home.mkdir()
    code = (
        "import os, threading\nfrom guardrail import control\n"
        "control.switches(); entered = threading.Event()\n"
        "def hold():\n    with control._lock: entered.set(); threading.Event().wait(60)\n"
        "threading.Thread(target=hold, daemon=True).start(); entered.wait()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    open(os.environ['GUARDRAIL_HOME'] + '/control.json', 'w').write('{\"loan\": {\"killed\": true}}')\n"
        "    print(control.poll(), control.state_of('loan'), flush=True); os._exit(0)\n"
        "os.waitpid(pid, 0); os._exit(0)\n"
    )
    assert elsewhere(home, code) == "True (None, True)"
