"""`guardrail audit prune`, `compress`, `hold`, `release` and `holds` at a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from guardrail.ledger import reader

sys.path.insert(0, str(Path(__file__).parent.parent / "ledger"))
from kept import names, old, stands_alone

Run = Callable[..., Result]


def test_prune_says_what_goes_and_then_does_it(run: Run, home: Path) -> None:
    """First the dry run; a table for people, JSON for scripts; and the record says who did it."""
    one = old(home, 10)
    planned = run("audit", "prune", "--older-than", "180d", "--dry-run")
    assert planned.exit_code == 0
    assert "would be pruned: 10 records in 3 segments" in planned.output and one.name in planned.output
    assert len(names(one)) == 3
    done = run("audit", "prune", "--older-than", "180d", "--by", "dpo@bank.example", "--reason", "yearly", "--json")
    assert done.exit_code == 0
    found = json.loads(done.output)
    assert (found["records"], found["dry_run"], found["problems"]) == (10, False, [])
    (record,) = reader.read(home, event="prune")
    assert (record["actor"]["id"], record["reason"], record["id"]) == ("dpo@bank.example", "yearly", found["ranges"][0]["id"])
    assert "0 records" in run("audit", "prune", "--older-than", "180d").output
    assert stands_alone(home) in {0, 3}


def test_prune_without_a_period_says_what_to_write(run: Run, home: Path) -> None:
    """And what is due but does not verify makes it fail, named."""
    refused = run("audit", "prune")
    assert refused.exit_code != 0
    assert "--older-than 180d" in str(refused.exception) + refused.output
    one = old(home, 4)
    path = one.folder / f"{1:020d}.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"n":2', b'"n":7'))
    failed = run("audit", "prune", "--older-than", "180d")
    assert failed.exit_code == 1
    assert "not touched" in failed.output and one.name in failed.output
    assert names(one)


def test_holds_are_placed_listed_and_released(run: Run, home: Path) -> None:
    """They keep records from being pruned, and say so."""
    one = old(home, 4)
    assert run("audit", "hold", "case-17", "--all").exit_code != 0  # no reason
    placed = run("audit", "hold", "case-17", "--reason", "court order", "--by", "counsel", "--guard", "loans")
    assert placed.exit_code == 0 and "held: case-17, guard loans" in placed.output
    (listed,) = json.loads(run("audit", "holds", "--json").output)
    assert (listed["hold"], listed["reason"], listed["by"], listed["what"]) == (
        "case-17",
        "court order",
        "counsel",
        {"guard": "loans"},
    )
    assert "case-17" in run("audit", "holds").output
    kept = run("audit", "prune", "--older-than", "180d")
    assert "hold case-17" in kept.output and names(one)
    ended = run("audit", "release", "case-17", "--reason", "settled")
    assert ended.exit_code == 0 and "placed by counsel" in ended.output
    assert json.loads(run("audit", "holds", "--json").output) == []
    assert run("audit", "release", "case-17", "--reason", "settled").exit_code != 0


def test_compress_says_what_was_won(run: Run, home: Path) -> None:
    """Now, whatever the setting says; a problem is named and makes it fail."""
    one = old(home, 10)
    assert "compressed 0 segments" in run("audit", "compress", "--older-than", "300d").output
    done = run("audit", "compress", "--older-than", "0s")
    assert done.exit_code == 0 and "compressed 3 segments" in done.output
    assert all(each.endswith(".gz") for each in names(one))
    assert json.loads(run("audit", "compress", "--json").output)["segments"] == 0


@pytest.mark.parametrize(
    "words", [("hold", "x", "--reason", "r"), ("hold", "x y", "--reason", "r", "--all"), ("prune", "--older-than", "1h")]
)
def test_what_makes_no_sense_is_refused(run: Run, words: tuple[str, ...]) -> None:
    """With a text that says what to write."""
    refused = run("audit", *words)
    assert refused.exit_code != 0
    assert "write" in str(refused.exception) + refused.output or "say what" in str(refused.exception) + refused.output
