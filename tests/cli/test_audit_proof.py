"""`guardrail audit verify`, `verifier`, `prove`, `check-proof` and `anchor`, as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import guardrail
from guardrail import guarded, lifecycle
from guardrail.cli.app import build
from guardrail.ledger import reader


@guarded(name="loans", version="1")
def predict(x: int) -> int:
    return x + 1


def run(*words):
    return CliRunner().invoke(build(), ["audit", *map(str, words)])


@pytest.fixture
def made(home):
    for x in range(20):
        predict(x)
    assert lifecycle.finish_all(5)
    return home


def test_a_ledger_is_verified(made):
    """As text and as JSON, with the key of this machine, which is not beside the ledger."""
    done = run("verify")
    assert done.exit_code == 0, done.output
    assert "proven" in done.output
    assert "given from outside" in done.output
    told = json.loads(run("verify", made, "--json").output)
    assert (told["code"], told["beside"]) == (0, False)


def test_verify_exits_with_the_code_of_the_verdict(made, tmp_path):
    """Altered, truncated, unanchored for too long, wrong use."""
    path = next(made.glob("ledger/*/*.jsonl"))
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"answered"', b'"fallback"', 1))
    done = run("verify")
    assert done.exit_code == 1
    assert "altered" in done.output
    assert path.parent.name in done.output
    path.write_bytes(content[: content.rindex(b"\n", 0, -1) + 1])
    assert run("verify").exit_code == 2
    path.write_bytes(content)
    assert run("verify", "--max-unanchored", "24h").exit_code == 0
    for words in (["--max-unanchored", "long"], ["--key", "x"], ["--anchor", tmp_path / "none"], [tmp_path / "none"]):
        assert run("verify", *words).exit_code == 5


def test_configured_anchors_are_read_along(made, tmp_path):
    """An older copy shows without anything being given."""
    guardrail.configure(anchors={"far": f"file://{tmp_path}/far.notes", "gone": f"file://{tmp_path}/none/x"})
    done = run("anchor")
    assert done.exit_code == 1
    assert "far: pushed" in done.output
    assert "gone: No such file" in done.output
    guardrail.configure(anchors={"far": f"file://{tmp_path}/far.notes"})
    assert run("anchor").exit_code == 0
    assert "anchored checkpoints" in run("verify").output
    leaves = next(made.glob("ledger/*/leaves"))
    for path in (leaves, leaves.with_name("checkpoints"), *leaves.parent.glob("*.jsonl")):
        path.unlink()
    assert run("verify").exit_code == 2
    assert run("verify", made, "--anchor", tmp_path / "far.notes").exit_code == 2


def test_without_an_anchor_there_is_nothing_to_push(made):
    """And it says how to have one."""
    done = run("anchor")
    assert done.exit_code == 5
    assert "GUARDRAIL_ANCHOR_" in done.output


def test_the_verifier_is_one_file_that_runs_elsewhere(made, tmp_path):
    """By a Python that has nothing but its library."""
    file = tmp_path / "verify.py"
    file.write_text(run("verifier").output, encoding="utf-8")
    key = json.loads(run("key", "--json").output)["vkey"]
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(file), str(made), "--key", key], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "proven" in done.stdout
    assert "given from outside" in done.stdout


def test_a_record_is_proven_and_the_proof_checked(made, tmp_path):
    """To a file or printed; with the key of this machine or a given one; a changed one does not hold."""
    record = next(each for each in reader.read(made) if each["event"] == "call")
    file = tmp_path / "one.tlog-proof"
    assert run("prove", record["id"], "-o", file).exit_code == 0
    assert run("prove", record["id"]).output == file.read_text(encoding="utf-8")
    done = run("check-proof", file)
    assert done.exit_code == 0, done.output
    assert record["id"] in done.output
    key = json.loads(run("key", "--json").output)["vkey"]
    told = json.loads(run("check-proof", file, "--key", key, "--json").output)
    assert json.loads(told["line"]) == record
    file.write_text(file.read_text(encoding="utf-8").replace("\nindex ", "\nindex 1"), encoding="utf-8")
    assert run("check-proof", file).exit_code == 1
    assert run("check-proof", tmp_path / "none").exit_code == 5
    assert run("check-proof", file, "--key", "nonsense").exit_code == 5
    assert run("prove", "nothing").exit_code == 1


def test_a_rotated_key_is_followed_from_either_end(made):
    """The first public key vouches for the second by its signature, and the second for what the first has signed."""
    keys = [json.loads(run("key", "--json").output)["vkey"]]
    assert run("rotate").exit_code == 0
    predict(1)
    assert lifecycle.finish_all(5)
    keys.append(json.loads(run("key", "--json").output)["vkey"])
    for words in ([], ["--key", keys[0]], ["--key", keys[1]]):
        done = run("verify", "--json", *words)
        assert (done.exit_code, json.loads(done.output)["findings"]) == (0, []), words
    record = max(reader.read(made), key=lambda each: each["ts"])
    file = made / "newest.tlog-proof"
    assert run("prove", record["id"], "-o", file).exit_code == 0
    assert run("check-proof", file, "--key", keys[1]).exit_code == 0
    assert run("check-proof", file, "--key", keys[0]).exit_code == 1


def test_a_lane_whose_process_was_killed_is_proven_before_and_after_it_is_closed(home):
    """What it had signed, and after the next process has closed it, all of it."""
    child = "import os, guardrail\n@guardrail.guarded(name='m', version='1')\ndef f(x: int) -> int: return x\n"
    child += "[f(x) for x in range(1500)]\nassert guardrail.flush(5)\nos.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", child], check=False).returncode == -9
    before = json.loads(run("verify", "--json").output)
    assert before["code"] == 0
    predict(1)
    assert guardrail.flush(5)
    assert lifecycle.finish_all(5)
    after = json.loads(run("verify", "--json").output)
    assert after["code"] == 0
    assert [each["proven"] == each["records"] for each in after["lanes"]] == [True] * 3
