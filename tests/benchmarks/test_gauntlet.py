"""The gauntlet: its cases hold for guardrail and for the bare function, and they can fail."""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
from pathlib import Path

import pytest
from benchmarks.gauntlet import case as cases
from benchmarks.gauntlet import environments, report, run
from benchmarks.gauntlet import tool as tools
from benchmarks.gauntlet.environments import Environment
from benchmarks.gauntlet.run import Ending
from tests.benchmarks import broken_tools

import guardrail

CASES = cases.load()
HERE = Environment(sys.executable, {}, "")

# Those that need neither a process of their own nor much time.
QUICK = """
same-value same-types same-arguments same-exception same-group same-traceback same-context frozen-exception same-iterables base-exceptions odd-exceptions signatures parameter-names
wrong-shape mutable-default methods awkward-objects class-methods partial-methods decorators-below callables coroutines async-methods generators
generators-that-end-early async-generators signature coroutine-flag generator-flag async-generator-flag a-function-still ordinary-object
context-variables async-context-variables generator-context positional-is-keyword numbers-apart nested-apart array-forms-apart
changed-array mutation-of-a-hit mutation-of-a-question errors-and-none state-apart objects-apart opaque-arguments last-exception
not-tried-again generator-retries kind-behind-a-breaker check-by-position-and-keyword check-of-the-first-argument check-of-methods
check-of-async types-by-position numbers-that-fit check-that-fails
""".split()


@pytest.fixture
def ours(tmp_path):
    """Return the adapter of guardrail, in the home that every test has."""
    tool = tools.load()["guardrail"]()
    tool.home, tool.sdk, tool.late = tmp_path, guardrail, (guardrail.BudgetExceeded,)
    return tool


@pytest.mark.parametrize("name", QUICK)
def test_guardrail_does_what_the_case_asks(name, ours, tmp_path):
    """Each quick case holds under each configuration that claims it."""
    for way in ours.ways:
        ours.way = way
        if ours.offers(way, CASES[name].needs):
            CASES[name].run(ours, tmp_path)


@pytest.mark.parametrize("name", [name for name in QUICK if "wrap" in CASES[name].needs])
def test_the_bare_function_passes_every_case_of_a_wrapper(name, tmp_path):
    """What is asked of a wrapper is what the function itself does, so a failure is never the case's own."""
    tool = tools.load()["bare"]()
    tool.start(tmp_path)
    CASES[name].run(tool, tmp_path)


_EVEN_SLOPPY = {"state-apart", "callables", "numbers-that-fit"}  # what a tool in a hurry gets right


@pytest.mark.filterwarnings(
    "ignore"
)  # what such a tool leaves behind: coroutines that nobody awaits, generators that nobody closes
@pytest.mark.parametrize(
    "name", [*(name for name in QUICK if name not in _EVEN_SLOPPY), "quiet", "changed-record", "secret-of-good-calls"]
)
def test_a_sloppy_tool_is_found_out(name, tmp_path, capfd):
    """Every case can fail: a tool that claims everything and does it in a hurry fails it."""
    tool = broken_tools.Sloppy()
    tool.start(tmp_path)
    if name == "quiet":
        (tmp_path / "stdout.txt").touch()
        tool.finish = lambda: (tmp_path / "stdout.txt").write_text(capfd.readouterr().out)
    with pytest.raises((Exception, SystemExit, KeyboardInterrupt, GeneratorExit)) as caught:
        CASES[name].run(tool, tmp_path)
    assert len(cases.one_line(caught.value)) > 8


@pytest.mark.parametrize(
    ("tool", "result", "cause"),
    [
        ("Wrong", run.FAILED, "another object than the function returned"),
        ("Hangs", run.NO_RETURN, "not back after 1 s"),
        ("Crashes", run.FAILED, "the process ended with SIGSEGV"),
        ("CannotStart", run.FAILED, "set-up: ImportError: no such thing"),
    ],
)
def test_wrong_values_hangs_and_crashes_are_results(tool, result, cause):
    """A child that hangs is ended, one that crashes is told from one that fails, and the run goes on."""
    case = dataclasses.replace(CASES["same-value"], limit=1.0)
    ending = run.judge(getattr(broken_tools, tool), f"broken_tools:{tool}", case, HERE)
    assert (ending.result, cause in ending.cause) == (result, True), ending


def test_the_second_run_counts_and_the_first_is_told(tmp_path, monkeypatch):
    """A case that fails is run once more; the page says that it was."""
    monkeypatch.setenv("GAUNTLET_TEST_NOTE", str(tmp_path / "note"))
    ending = run.judge(broken_tools.SecondTime, "broken_tools:SecondTime", CASES["signatures"], HERE)
    assert ending.result == run.OK
    assert ending.cause.startswith("ok the second time; the first time: result: None instead of")


def test_what_is_not_claimed_is_not_run():
    """A tool is asked for nothing that it does not claim, nor for a combination that it leaves out."""
    assert run.judge(broken_tools.Wrong, "nowhere", CASES["coroutines"], HERE).result == run.NOT_OFFERED
    capio = tools.load()["capio"]()
    assert not capio.offers("", CASES["sleeping"].needs)
    assert capio.offers("", CASES["async-sleeping"].needs)


def test_what_cannot_be_installed_is_said_with_its_reason(tmp_path, monkeypatch):
    """The run goes on without the tool."""
    monkeypatch.setenv("GAUNTLET_HOME", str(tmp_path))
    monkeypatch.setattr(environments, "_uv", lambda: "false")
    place = environments.build("nothing", ("no-such-thing==1",))
    assert place.python is None
    assert place.reason == "cannot be installed: no reason given"
    assert not list(tmp_path.iterdir())
    ending = run.judge(broken_tools.Wrong, "nowhere", CASES["same-value"], place)
    assert (ending.result, ending.cause) == (run.NOT_INSTALLED, place.reason)


def test_every_adapter_claims_only_words_that_exist():
    """A misspelt claim would silently leave cases out; every need of a case is claimed by guardrail."""
    ours = tools.load()["guardrail"].claims
    assert {need for case in CASES.values() for need in case.needs} <= ours
    for tool in tools.load().values():
        assert tool.about and all(tool().claimed(way) <= ours for way in tool.ways), tool.name


def test_cases_and_adapters_need_nothing_of_guardrail():
    """They are imported where guardrail is not installed."""
    code = (
        "import sys; from benchmarks.gauntlet import case, tool; case.load(); tool.load(); import benchmarks.gauntlet.child;"
        "assert not {'guardrail', 'numpy', 'pydantic', 'tenacity'} & sys.modules.keys(), sys.modules.keys()"
    )
    root = Path(run.__file__).resolve().parents[2]
    assert (
        os.spawnve(os.P_WAIT, sys.executable, [sys.executable, "-c", code], {"PYTHONPATH": str(root), "PATH": os.environ["PATH"]})
        == 0
    )


def test_the_page_says_how_each_case_ended():
    """Words, versions and reasons stand in it; no tool in a table of which it offers nothing; nothing about whose machine it was."""
    both = [tools.load()["tenacity"], tools.load()["cashews"], broken_tools.Wrong]
    some = [CASES["same-value"], CASES["quiet"], CASES["errors-and-none"]]
    places = {
        "tenacity": Environment("python", {"tenacity": "9.2.1"}, ""),
        "cashews": Environment("python", {"cashews": "7.6.0"}, ""),
        "broken": Environment(None, {}, "no wheel"),
    }
    endings = [
        Ending("tenacity", "same-value", run.FAILED, "a | b *c* <d>"),
        Ending("tenacity", "quiet", run.NO_RETURN, "not back after 30 s"),
        Ending("tenacity", "errors-and-none", run.NOT_OFFERED),
        Ending("cashews", "same-value", run.NOT_OFFERED),
        Ending("cashews", "quiet", run.NOT_OFFERED),
        Ending("cashews", "errors-and-none", run.OK),
        *(Ending("broken", each.name, run.NOT_INSTALLED, "no wheel") for each in some),
    ]
    page = report.page(both, some, places, endings)
    assert "| tenacity | 9.2.1 | 0 | 1 | 1 | 1 |" in page
    assert "| case | tenacity | broken |" in page and "| case | cashews | broken |" in page
    assert "(`same-value`) | **failed** | not installed |" in page
    assert "(`quiet`) | **did not return** | not installed |" in page
    assert "- `same-value` failed: a \\| b \\*c\\* &lt;d>" in page
    assert "**broken** was not installed: no wheel" in page
    assert f"Python {platform.python_version()}" in page
    assert platform.node() not in page and str(Path.cwd()) not in page


def test_a_run_that_was_broken_off_goes_on_where_it_was(tmp_path):
    """Endings are kept as they come, the latest of a pair counts, and what was not run is not passed off as anything else."""
    file = tmp_path / "endings.jsonl"
    assert run.kept(file) == {} == run.kept(None)
    first = Ending("tenacity", "same-value", run.FAILED, "late", day="2026-01-01")
    second = Ending("tenacity", "same-value", run.OK, day="2026-01-03")
    for each in (first, Ending("tenacity", "quiet", run.NOT_OFFERED), second):
        run.keep(file, each)
    assert run.kept(file) == {("tenacity", "same-value"): second}
    tool = tools.load()["tenacity"]
    place = {"tenacity": Environment("python", {"tenacity": "9.2.1"}, "")}
    page = report.page([tool], [CASES["same-value"], CASES["quiet"], CASES["generators"]], place, [first, second])
    assert "(`same-value`) | ok |" in page and "(`quiet`) | not run |" in page
    assert "2026-01-03, Python" in page
