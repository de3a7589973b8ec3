"""`guardrail load`: from a shell to a verdict and a report."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import Result
from werkzeug import Response

from guardrail import control
from guardrail.cli import load as command
from guardrail.ledger import reader
from guardrail.load.tally import Tally

Run = Callable[..., Result]
MODULE = """
import time
from guardrail import Prediction, guarded, stage

@guarded(name="<script>alert(1)</script>&\\"'", version="1", budget="10s")
def hostile(x: int) -> int:
    with stage("<img src=x onerror=alert(2)>"):
        if x < 0:
            raise type("<b>Boom</b>", (Exception,), {})
        return x

@guarded(name="loans", confidence=0.8, review="loans")
def unsure(x: int) -> Prediction[str]:
    print("noise")
    return Prediction("yes", 0.1)

@guarded(name="slow", budget="2ms")
def slow(x: int) -> int:
    time.sleep(0.03)
    return x

@guarded(name="tables", batch=True)
def tables(rows: list[dict]) -> list[int]:
    return [row["x"] for row in rows]

def bare(x):
    return x + 1
"""
FAST = ("--rate", "50", "--duration", "200ms", "--warm-up", "1")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module and its data, which one works in."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "loaded.py").write_text(MODULE)
    (folder / "data.csv").write_text("id,x\n1,1\n2,2\n")
    (folder / "bad.jsonl").write_text('{"x": "hunter2"}\n')
    (folder / "mixed.jsonl").write_text('{"x": 1}\n{"x": -1}\n')
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("guardrail.ledger.surroundings._testing", False)
    yield folder
    sys.modules.pop("loaded", None)


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_within_budget(project: Path, run: Run, home: Path) -> None:
    """A table, a verdict, exit code 0; nothing reaches the application's own home."""
    ran = run("load", "loaded:hostile", "--data", "data.csv", *FAST)
    assert ran.exit_code == 0, ran.output
    assert "within budget" in ran.stdout
    assert re.search(r"50/s +10 +", ran.stdout)
    assert "The function takes no id: these columns are left out." in ran.stderr
    assert "really run" in ran.stderr
    assert list(home.iterdir()) == []
    assert list(reader.read(home)) == []


def test_the_report_is_one_safe_file(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No script, nothing from elsewhere, hostile names as text, secrets of the command line masked, pictures with words."""
    monkeypatch.setattr(sys, "argv", ["guardrail", "load", "--url=http://h/?token=hunter2", "http://ann:hunter2@h/"])
    ran = run(
        "load", "loaded:hostile", "--data", "mixed.jsonl", "--rate", "20,40", *FAST[2:], "--report", "r.html", "--workers", "1,2"
    )
    assert ran.exit_code == 0, ran.output
    text = (project / "r.html").read_text(encoding="utf-8")
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "b>boom<", "form", "base", "use", "image"}
    assert not [
        key for _, attributes in page.tags for key in attributes if key.startswith("on") or key in ("href", "src", "xlink:href")
    ]
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "hunter2" not in text
    said = " ".join(page.words)
    for hostile in ("<script>alert(1)</script>&\"'", "<img src=x onerror=alert(2)>", "<b>Boom</b>"):
        assert hostile in said
    pictures = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("role") == "img"]
    assert len(pictures) == 8
    assert all(attributes["aria-label"] for attributes in pictures)
    assert "prefers-color-scheme:dark" in text


def test_broken_budget_is_exit_code_1(project: Path, run: Run) -> None:
    """With what broke it; another budget, or a condition in its place, may be kept."""
    broken = run("load", "loaded:slow", "--data", "data.csv", *FAST)
    assert broken.exit_code == 1, broken.output
    assert "The budget of 2 ms breaks at 50/s" in broken.stdout
    assert run("load", "loaded:slow", "--data", "data.csv", *FAST, "--fail-over", "p99>60s").exit_code == 0
    assert run("load", "loaded:slow", "--data", "data.csv", *FAST, "--budget", "60s", "--fail-over", "late>1%").exit_code == 1


def test_json(project: Path, run: Run) -> None:
    """For a script: figures of each step, what they say, and nothing of what the function prints."""
    ran = run("load", "loaded:unsure", "--data", "data.csv", *FAST, "--json", "--poisson", "--sample", "--seed", "5")
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    (step,) = found["steps"]
    assert step["outcomes"] == {"deferred": step["offered"]}
    assert step["errors"] == {"Deferred": step["offered"]}
    assert step["offered"] == step["ended"] > 0
    assert set(step["latency"]) == {"p50", "p90", "p99", "p99.9", "mean", "max"}
    assert found["verdict"] == "no budget"
    assert found["curves"][0]["breaks_at"] is None


def test_real_records_are_those_of_a_test(project: Path, run: Run, home: Path) -> None:
    """No load files real tickets unawares; observing files none; with both flags it does what was asked for."""
    refused = run("load", "loaded:slow", "--data", "data.csv", *FAST, "--real")
    assert refused.exit_code == 2
    assert "this may file a real ticket for every call of loans" in refused.stderr
    observed = run("load", "loaded:unsure", "--data", "data.csv", *FAST, "--real", "--mode", "observe")
    assert observed.exit_code == 0, observed.output
    records = list(reader.read(home, event="call"))
    assert {record["mode"] for record in records} == {"observe"}
    assert {record["origin"] for record in records} == {"test"}
    assert len(records) == 11
    sys.modules.pop("loaded")
    filed = run("load", "loaded:unsure", "--data", "data.csv", *FAST, "--real", "--tickets", "--mode", "enforce")
    assert filed.exit_code == 0, filed.output
    assert {record["outcome"] for record in reader.read(home, event="call")} == {"answered", "deferred"}


def test_a_killed_guard_is_not_run(project: Path, run: Run) -> None:
    """Neither for real nor apart."""
    control.kill("slow", "harm", "ann")
    ran = run("load", "loaded:slow", "--data", "data.csv", *FAST)
    assert ran.exit_code == 2
    assert "is killed" in ran.stderr


def test_rows_and_plain_functions(project: Path, run: Run) -> None:
    """Steps of rows for a table; a function without a guard is said to be none."""
    tables = run("load", "loaded:tables", "--data", "data.csv", *FAST, "--rows", "1,3", "--json")
    assert tables.exit_code == 0, tables.output
    assert [step["outcomes"] for step in json.loads(tables.stdout)["steps"]] == [{"answered": 10}, {"answered": 30}]
    plain = run("load", "loaded:bare", "--data", "data.csv", *FAST)
    assert plain.exit_code == 0, plain.output
    assert "is not guarded" in plain.stdout


def test_an_endpoint(project: Path, run: Run, httpserver) -> None:
    """Rows of a CSV as JSON, its query masked wherever it is told; a Locust file instead of load."""
    bodies = []
    httpserver.expect_request("/p").respond_with_handler(lambda request: bodies.append(request.get_json()) or Response("{}"))
    url = httpserver.url_for("/p?token=hunter2")
    ran = run("load", "--url", url, "--data", "data.csv", *FAST, "--report", "r.html", "--json")
    assert ran.exit_code == 0, ran.output
    rows = [{"id": 1, "x": 1}, {"id": 2, "x": 2}]
    assert all(each in rows for each in bodies)
    assert all(each in bodies for each in rows)  # in which order they come is the threads' affair
    assert "hunter2" not in ran.stdout + ran.stderr + (project / "r.html").read_text(encoding="utf-8")
    asked = len(bodies)
    written = run("load", "--url", url, "--data", "data.csv", *FAST, "--locust", "l.py")
    assert written.exit_code == 0, written.output
    assert (project / "l.py").exists()
    assert len(bodies) == asked


def test_ctrl_c_still_writes_the_report(project: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 130, and what was measured by then."""
    from guardrail.cli import load_view

    pressed = []

    def interrupt(tally: Tally) -> None:
        if tally.offered == 3 and not pressed:
            pressed.append(True)
            raise KeyboardInterrupt

    class Live:
        def __init__(self, _steps: object) -> None: ...
        def __enter__(self) -> Callable[[Tally], None]:
            return interrupt

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(load_view, "live", Live)
    ran = run("load", "loaded:hostile", "--data", "data.csv", "--rate", "4", "--duration", "60s", "--report", "r.html")
    assert ran.exit_code == 130, ran.output
    assert "stopped early" in ran.stdout
    assert "stopped before its end" in (project / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "one thing is to be loaded"),
        (("loaded:slow", "--url", "http://h/"), "one thing is to be loaded"),
        (("loaded:slow",), "slow has to be given something"),
        (("loaded:slow", "--data", "bad.jsonl"), "the first row of the data does not fit"),
        (("loaded:slow", "--data", "missing.csv"), "No such file"),
        (("loaded:slow", "--data", "data.csv", "--rate", "quick"), "--rate is no number"),
        (("loaded:slow", "--data", "data.csv", "--mode", "off"), "--mode is none"),
        (("loaded:slow", "--data", "data.csv", "--tickets"), "needs --real"),
        (("loaded:slow", "--data", "data.csv", "--rows", "3"), "needs a guard with batch=True"),
        (("loaded:slow", "--data", "data.csv", "--report", "r.pdf"), "does not end in .html"),
        (("loaded:slow", "--data", "data.csv", "--locust", "l.py"), "a Locust file is for HTTP"),
        (("loaded:slow", "--data", "data.csv", "--fail-over", "speed>1"), "--fail-over cannot judge"),
        (("--url", "http://ann:hunter2@h/"), "holds a user or a password"),
    ],
)
def test_wrong_use_is_one_red_line(project: Path, run: Run, words: tuple[str, ...], error: str) -> None:
    """Before any load, and without a rejected value."""
    ran = run("load", *words)
    assert ran.exit_code in (1, 2)
    assert error in ran.stderr
    assert "hunter2" not in ran.stderr
    assert ran.stdout == ""


def test_the_command_is_documented() -> None:
    """The help names what it does to the world."""
    assert "The function is really run" in (command.load.__doc__ or "")
