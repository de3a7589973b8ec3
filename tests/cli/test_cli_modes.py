"""`guardrail mode`, `kill`, `revive`: what they do and what they say."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from guardrail import control, notices
from guardrail.ledger import reader, writer

Run = Callable[..., Result]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """What was handed to the ledger."""
    seen: list[Mapping[str, Any]] = []

    def event(kind: str, *, guard: str | None, fields: Mapping[str, Any], sync: bool = False) -> str:
        seen.append({"kind": kind, "guard": guard, "sync": sync, **fields})
        return "id"

    monkeypatch.setattr(writer, "event", event)
    return seen


def test_mode_is_switched_shown_and_cleared(run: Run) -> None:
    """One guard's mode from beginning to end."""
    assert "nothing is switched" in run("mode").output
    assert "loan is switched to observe" in run("mode", "loan", "observe", "--by", "ann").output
    assert run("mode", "loan").output == "loan: observe\n"
    assert json.loads(run("mode", "--json").output)[0] | {"at": 0} == {
        "guard": "loan", "mode": "observe", "killed": False, "reason": None, "by": "ann", "known_by": "asserted", "at": 0,
    }  # fmt: skip
    assert "configured mode again" in run("mode", "loan", "--clear").output
    assert "nothing is switched for loan" in run("mode", "loan").output
    assert json.loads(run("mode", "loan", "--json").output) == {
        "guard": "loan",
        "mode": None,
        "killed": False,
        "reason": None,
    }


def test_kill_and_revive(run: Run) -> None:
    """A kill is listed with its reason, and taken back."""
    shown = run("kill", "loan", "--reason", "wrong since noon", "--by", "ann")
    assert shown.exit_code == 0
    assert "loan is killed" in shown.output
    assert "within 2 seconds" in shown.output
    listed = run("mode").output
    assert "wrong since noon" in listed
    assert "ann" in listed
    assert run("mode", "loan").output == "loan: killed (wrong since noon)\n"
    assert "loan runs again" in run("revive", "loan").output
    assert control.state_of("loan") == (None, False)


def test_reviving_one_of_all_says_that_it_stays_killed(run: Run) -> None:
    """Who revives one guard while all are killed must not believe that it runs."""
    run("kill", "*", "--reason", "incident")
    assert "stays killed" in run("revive", "loan").output
    assert "runs again" in run("revive", "*").output


def test_author_is_the_user_of_the_system(run: Run, events: list[Mapping[str, Any]]) -> None:
    """Without --by it is the account, known by the system; with it the name is only asserted."""
    run("kill", "loan", "--reason", "x")
    run("revive", "loan", "--by", "ann")
    assert [event["actor"] for event in events] == [
        {"id": pwd.getpwuid(os.getuid()).pw_name, "known_by": "os"},
        {"id": "ann", "known_by": "asserted"},
    ]


def test_json_of_a_change(run: Run) -> None:
    """A script gets what is now in force, and nothing else on stdout."""
    shown = json.loads(run("kill", "loan", "--reason", "x", "--by", "ann", "--json").stdout)
    assert (shown["guard"], shown["killed"], shown["reason"], shown["by"]) == ("loan", True, "x", "ann")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("mode", "loan", "shadow"), "next release"),
        (("mode", "loan", "killed"), "kill"),
        (("mode", "loan", "sideways"), "enforce, observe, off"),
        (("mode", "loan", "observe", "--clear"), "one of them"),
        (("mode", "--clear"), "needs the name"),
        (("kill", "loan", "--reason", " "), "needs a reason"),
        (("kill", "loan", "--reason", "x", "--by", " "), "not a name"),
        (("mode", "a\x1b[2Jb", "observe"), "control characters"),
    ],
)
def test_mistakes_change_nothing(home: Path, run: Run, words: tuple[str, ...], why: str) -> None:
    """A wrong command says in one line what to write, ends with 2, and switches nothing."""
    shown = run(*words)
    assert shown.exit_code == 2
    assert why in shown.stderr
    assert shown.stderr.startswith("error: ")
    assert shown.stderr.count("\n") == 1
    assert not (home / "control.json").exists()


def test_kill_without_a_reason_is_a_usage_error(run: Run) -> None:
    """The reason is required, and nobody is asked for it at a terminal that may not be there."""
    shown = run("kill", "loan")
    assert shown.exit_code == 2
    assert "--reason" in shown.stderr


def test_new_home_is_pointed_out(home: Path, run: Run) -> None:
    """Who kills from the wrong folder makes a new home there; that is said, since the application will not hear of it."""
    home.rmdir()
    assert "that folder is new" in run("kill", "loan", "--reason", "x").output
    assert "that folder is new" not in run("revive", "loan").output


def test_hostile_switches_are_shown_harmless(home: Path, run: Run) -> None:
    """The file may have been written by anything: no markup, no escape sequence, no impossible date gets through."""
    entry = {"killed": True, "reason": "[red]x[/red]\x1b[2J", "by": "[/]", "at": 1e300}
    (home / "control.json").write_text(json.dumps({"[bold]loan\x1b[2J": entry, "b": {"mode": "off", "at": -1}}))
    shown = run("mode")
    assert shown.exit_code == 0
    assert "[bold]loan" in shown.output
    assert "[red]x[/red]" in shown.output
    assert "\x1b" not in shown.output
    assert run("mode", "--json").output.isascii()


def test_damaged_switches_are_not_called_none(home: Path, run: Run) -> None:
    """A kill may stand in a file that cannot be read, so the list does not say that nothing is switched; a kill mends it."""
    (home / "control.json").write_text("{broken")
    shown = run("mode")
    assert shown.exit_code == 1
    assert "cannot be read" in shown.stderr
    assert shown.stdout == ""
    run("kill", "loan", "--reason", "x")
    notices.reset()
    assert "killed" in run("mode", "loan").output


def test_change_is_in_the_ledger(run: Run) -> None:
    """Whoever reads the trail later finds who switched what."""
    run("kill", "loan", "--reason", "wrong since noon", "--by", "ann")
    (record,) = reader.read(event="mode")
    assert record["guard"] == "loan"
    assert (record["killed"], record["reason"]) == (True, "wrong since noon")
    assert record["actor"] == {"id": "ann", "known_by": "asserted"}


def test_guard_that_nobody_has_heard_of(run: Run) -> None:
    """A misspelt kill stops nothing, so the nearest name of the ledger is told; the switch is set all the same."""
    assert "no guard of the name" not in run("kill", "app:loan", "--reason", "x").output
    writer.event("feedback", guard="app:loan", fields={"actual": 1}, sync=True)
    assert "no guard of the name" not in run("revive", "app:loan").output
    assert "no guard of the name" not in run("kill", "*", "--reason", "x").output
    assert "did you mean app:loan?" in run("kill", "app:loam", "--reason", "x").output
    assert control.state_of("app:loam") == (None, True)
