"""`guardrail calibrate` over a ledger and labels that were really written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import Result

from guardrail import Audit, Confidence, NoThreshold, Threshold, batch, feedback, guarded

Run = Callable[..., Result]
EASY = ("--max-error", "0.2", "--delta", "0.2")


@pytest.fixture
def answers() -> None:
    """Sixty answers of one guard, half of them sure and right, a quarter of the others wrong; all but one known from feedback."""

    @guarded(name="credit", version="3", confidence=Confidence(), batch=True)
    def predict(rows: list[float]) -> list[tuple[str, float]]:
        return [("yes", each) for each in rows]

    for each in list(batch(predict, [at / 60 for at in range(60)]))[1:]:
        feedback(each.id, "no" if each.confidence < 0.5 and round(each.confidence * 60) % 4 == 0 else "yes")


def test_it_tells_threshold_coverage_curve_and_what_it_takes_for_granted(run: Run, answers: None) -> None:
    """In plain words, without colours where nobody looks."""
    result = run("calibrate", "credit", *EASY)
    assert result.exit_code == 0, result.output
    for words in (
        "credit 3", "at least", "at most 0.2 wrong, with probability 0.8", "95 % interval", "60, of which 60 went out",
        "59, of which 59 were used", "ECE · Brier · AURC · AUGRC", "known from feedback alone", "█", "certified", "7 of 59",
    ):  # fmt: skip
        assert words in result.stdout, words
    assert "\x1b" not in result.stdout


def test_it_says_what_that_means_for_people(run: Run, answers: None) -> None:
    """And warns where they are too few; without a measure of the calls a day it asks for one."""
    few = run(
        "calibrate", "credit", "--max-error", "0.1", "--delta", "0.2", "--reviewers", "1", "--per-hour", "5", "--per-day", "9000"
    ).stdout
    assert "the queue grows without end" in few
    assert "expected wait" in few
    assert "without end" in few.partition("expected wait")[2].splitlines()[0]
    asked = run("calibrate", "credit", *EASY, "--reviewers", "1")
    assert asked.exit_code == 2
    assert "--per-day" in asked.output


def test_it_writes_a_signed_threshold_and_a_picture(run: Run, answers: None, tmp_path: Path) -> None:
    """Which guards, settings and browsers can take; other endings are refused before anything is read."""
    out, plot = tmp_path / "credit.json", tmp_path / "curve.svg"
    result = run(
        "calibrate", "credit", *EASY, "--out", str(out), "--plot", str(plot), "--json", "--reviewers", "2", "--per-day", "60"
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert Threshold.load(out, signed_by=told["signed_by"]).at_least == told["threshold"]["at_least"]
    assert Threshold.load(out).version == "3"
    assert ET.fromstring(plot.read_text()).tag.endswith("svg")
    assert told["answers"] == 60
    assert told["reviews"]["warning"] is None
    for words in (("--plot", "curve.png"), ("--out", "credit.toml")):
        refused = run("calibrate", "credit", *words)
        assert refused.exit_code == 2
        assert "does not end in" in refused.output


def test_without_a_threshold_it_fails_and_writes_none(run: Run, answers: None, tmp_path: Path) -> None:
    """So that no script deploys one; the words say how many labels are missing."""
    out = tmp_path / "credit.json"
    result = run("calibrate", "credit", "--out", str(out))
    assert result.exit_code == 1
    assert "no threshold is certified" in result.stdout
    assert "more labels" in result.stdout
    assert not out.exists()
    told = run("calibrate", "credit", "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["no_threshold"]["labels"] == 59


def test_groups_are_written_where_all_together_have_no_threshold(run: Run, tmp_path: Path) -> None:
    """With status 0 and a plain word: one group has five labels, and takes nothing from the other."""

    @guarded(name="credit", version="3", confidence=Confidence(), audit=Audit(inputs="plain"))
    def predict(region: str) -> tuple[str, float]:
        return "yes", 0.9

    for each in batch(predict, ["south" if at < 5 else "north" for at in range(60)]):
        feedback(each.id, "yes")
    out = tmp_path / "credit.json"
    result = run("calibrate", "credit", *EASY, "--groups", "region", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "only groups have a threshold, all together have none" in result.stdout
    assert "all others are deferred" in result.stdout
    found = Threshold.load(out)
    assert isinstance(found, NoThreshold)
    assert found.certified == ("north",)


def test_a_saved_threshold_is_held_against_the_labels_of_today(run: Run, answers: None, tmp_path: Path) -> None:
    """The same labels, then more; what they say of it decides the exit status, how many there are does not."""
    out = tmp_path / "credit.json"
    assert run("calibrate", "credit", *EASY, "--out", str(out)).exit_code == 0
    same = run("calibrate", "credit", "--check", str(out))
    assert same.exit_code == 0, same.output
    for words in ("today's labels certify it", "made from these 59 labels", "at most 0.2 wrong, with probability 0.8", "yes"):
        assert words in same.stdout, words

    @guarded(name="credit", version="3", confidence=Confidence(), batch=True)
    def predict(rows: list[float]) -> list[tuple[str, float]]:
        return [("yes", each) for each in rows]

    for each in batch(predict, [0.95 + at / 1_000 for at in range(20)]):
        feedback(each.id, "yes")
    more = run("calibrate", "credit", "--check", str(out), "--json")
    assert more.exit_code == 0
    told = json.loads(more.stdout)
    assert (told["holds"], told["made_from"], told["then"], told["now"]) == (True, "fewer", 59, 79)
    for each in batch(predict, [0.9 + at / 1_000 for at in range(40)]):
        feedback(each.id, "no")
    worse = run("calibrate", "credit", "--check", str(out))
    assert worse.exit_code == 1
    assert "more answers are wrong than it promises" in worse.stdout
    assert "made from 59 labels; now there are 119" in worse.stdout


def test_a_check_is_refused_where_it_says_nothing(run: Run, answers: None, tmp_path: Path) -> None:
    """With what finds a threshold; of a file that was changed; with groups that the threshold knows nothing of; of no labels."""
    out = tmp_path / "credit.json"
    run("calibrate", "credit", *EASY, "--out", str(out))
    for words, why in (
        (("credit", "--check", str(out), "--out", str(tmp_path / "x.json")), "--check finds no threshold"),
        (("credit", "--check", str(out), "--max-error", "0.02", "--hours", "8"), "leave out --max-error, --hours"),
        (("credit", "--per-day", "60"), "--per-day says nothing without reviewers"),
        (("credit", "--check", str(out), "--groups", "region"), "made without groups"),
        (("nobody", "--check", str(out)), "no answers of this guard"),
    ):
        refused = run("calibrate", *words)
        assert (refused.exit_code, why in refused.output) == (2, True), refused.output
    kept = json.loads(out.read_text())
    out.write_text(json.dumps(kept | {"threshold": kept["threshold"] | {"at_least": 0.0}}))
    changed = run("calibrate", "credit", "--check", str(out))
    assert (changed.exit_code, "not as it was signed" in changed.output) == (2, True)


def test_a_guard_without_answers_is_an_error(run: Run) -> None:
    """By its name, with what to do."""
    result = run("calibrate", "nobody")
    assert result.exit_code == 2
    assert "no answers of this guard" in result.output
