"""`guardrail selftest`: the conformance check from a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from guardrail.ledger import reader

Run = Callable[..., Result]
MODULE = """
import sys
from guardrail import guarded, guard_of
from guardrail.guard_upkeep import inject

print("noise at import")

@guarded(name="loans", version="1", cache="1m", budget="300ms")
def predict(x: int, note: str = "") -> list[int]:
    print("noise", file=sys.stdout)
    return [x]

@guarded
def broken(x: int) -> int:
    return x

inject(guard_of(broken), lambda x: x + 1)

@guarded
def untyped(x):
    raise AssertionError("run without a sample")

class Model:
    @staticmethod
    @guarded
    def predict(x: int) -> int:
        return x

def bare(x):
    return x

@guarded
def two(x: int, y: int) -> int:
    return x + y

warmed = predict(1)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of guarded functions, which one works in."""
    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "loans.py").write_text(MODULE)
    (folder / "models" / "needs.py").write_text("import guardrail_no_such_module\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "models"]:
        del sys.modules[name]


def test_table(project: Path, run: Run, home: Path) -> None:
    """A line per check with its mark; exit code 0; nothing reaches the user's own ledger."""
    ran = run("selftest", "models.loans:predict")
    assert ran.exit_code == 0, ran.output
    assert "✓   signature" in ran.stdout
    assert "2 made up from the annotations" in ran.stdout
    assert "\u2013   no raw input" in ran.stdout
    assert "all is well; 1 checks were skipped" in ran.stdout
    assert "noise" not in ran.stdout
    assert list(reader.read(home)) == []
    assert list(home.iterdir()) == []


def test_wrong_is_exit_code_1(project: Path, run: Run) -> None:
    """One check that fails is enough."""
    ran = run("selftest", "models.loans:broken")
    assert ran.exit_code == 1
    assert "✗   answers" in ran.stdout
    assert "something is wrong" in ran.stdout


def test_json(project: Path, run: Run) -> None:
    """The same for a script; what the function prints goes elsewhere."""
    (project / "data.jsonl").write_text('{"x": 1, "note": "a longer one"}\n2\n')
    ran = run("selftest", "models.loans:predict", "--data", "data.jsonl", "--json")
    assert ran.exit_code == 0
    report = json.loads(ran.stdout)
    assert report["ok"] is True
    by_check = {finding["check"]: finding for finding in report["findings"]}
    assert by_check["samples"]["text"] == "2 given"
    assert by_check["no raw input"]["ok"] is True
    assert all(set(finding) == {"check", "ok", "text"} for finding in report["findings"])


def test_more_samples_than_are_used(project: Path, run: Run) -> None:
    """It says how many of them were run."""
    (project / "data.jsonl").write_text("".join(f"{x}\n" for x in range(1200)))
    ran = run("selftest", "models.loans:Model.predict", "--data", "data.jsonl")
    assert ran.exit_code == 0, ran.output
    assert "25 given" in ran.stdout
    assert "The first 25 of 1,200 samples were used." in ran.stdout


def test_no_sample_is_no_failure(project: Path, run: Run) -> None:
    """What cannot be checked is skipped, with the reason."""
    ran = run("selftest", "models.loans:untyped")
    assert ran.exit_code == 0
    assert "x has no annotation" in ran.stdout


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("models.loans",), "models.loans does not name a function (write it as module:function"),
        ((":predict",), "does not name a function"),
        (("models.loan:predict",), "there is no module models.loan ("),
        (("model.loans:predict",), "there is no module model ("),
        (("models.loans:predikt",), "module models.loans has no predikt"),
        (("models.loans:bare",), "bare is not guarded (put @guarded above its def)"),
        (("models.loans:Model",), "Model is not guarded"),
        (("models.loans:predict", "--data", "data.jsonl"), "No such file or directory: data.jsonl"),
        (("models.loans:predict", "--data", "wrong.jsonl"), "line 2 of wrong.jsonl is not JSON"),
        (("models.loans:two", "--data", "unfit.jsonl"), "a sample of type dict does not fit the parameters (x: int, y: int)"),
    ],
)
def test_wrong_use_is_one_red_line(project: Path, run: Run, words: tuple[str, ...], error: str) -> None:
    """It says what to write instead, without a traceback."""
    (project / "wrong.jsonl").write_text("1\n{\n")
    (project / "unfit.jsonl").write_text('{"x": 1, "secret": "hunter2"}\n')
    ran = run("selftest", *words)
    assert ran.exit_code in (1, 2)
    *noise, last = ran.stderr.splitlines()
    assert set(noise) <= {"noise at import", "noise"}
    assert last.startswith("error: ")
    assert error in last
    assert "hunter2" not in ran.stderr


def test_a_module_that_needs_another_is_no_missing_module(project: Path, run: Run) -> None:
    """An import error of the user's keeps its traceback."""
    ran = run("selftest", "models.needs:predict")
    assert isinstance(ran.exception, ModuleNotFoundError)


def test_from_a_shell(project: Path, home: Path) -> None:
    """In a process of its own, with settings around it that would send records away."""
    sink = project / "sink.jsonl"
    env = {**os.environ, "GUARDRAIL_SINK_OUT": f"file://{sink}", "GUARDRAIL_MODE": "observe"}
    command = [sys.executable, "-c", "from guardrail.cli import main; main()", "selftest", "models.loans:predict", "--json"]
    ran = subprocess.run(command, env=env, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["ok"] is True
    assert list(home.iterdir()) == []
    assert sorted(path.name for path in project.iterdir()) == ["models", "sink.jsonl"]
    assert sink.read_text().count('"call"') == 1  # the module's own call while it was imported
