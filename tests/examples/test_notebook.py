"""The notebook, executed as people do: in a kernel, whose event loop is running, with cells run again."""

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "lending" / "lending.ipynb"
LOOK = """
import gc, json
from guardrail import registry
from guardrail.ledger import reader

flush()
gc.collect()
name = guard_of(score).name
print(json.dumps({
    "alive": [guard.name for guard in registry.guards()].count(name),
    "calls": guard_of(score).stats()["calls"],
    "latest": [decision.outcome.value for decision in guard_of(score).last(50)][::-1],
    "records": [(record["outcome"], record["origin"]) for record in reader.read(guard=[name], event=["call"])],
}))
"""


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Runs cells in one kernel of this Python, in the notebook's folder, and returns their outputs by the cell's id."""
    spec = tmp_path / "jupyter" / "kernels" / "this"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "this Python", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def execute_them(cells):
        book = nbformat.v4.new_notebook(cells=cells)
        where = {"metadata": {"path": str(NOTEBOOK.parent)}}
        unwatched = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        NotebookClient(book, timeout=100, kernel_name="this", resources=where).execute(env=unwatched)
        execute_them.widgets = json.dumps(book.metadata.get("widgets"))  # what they showed in the end
        return [cell.get("outputs", []) for cell in book.cells]

    return execute_them


@pytest.fixture(scope="module")
def cells():
    """The notebook's cells by their ids."""
    return {cell.id: cell for cell in nbformat.read(NOTEBOOK, 4).cells}


def again(cell):
    """The same cell, to be run once more."""
    return nbformat.v4.new_code_cell(cell.source)


def html(outputs):
    return "".join(output.data.get("text/html", "") for output in outputs if "data" in output)


def printed(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_the_notebook_is_committed_without_outputs(cells):
    """Outputs would hold ids and times of one machine."""
    code = [cell for cell in cells.values() if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def test_the_notebook_runs_and_shows_cards(execute, cells):
    """Decisions, the guard and the batch show themselves; the event loop is used; a ticket is decided."""
    made = dict(zip(cells, execute(list(cells.values())), strict=True))
    for name, words in {
        "answered": ("loans-notebook 1.0.0", ">answered<", "approve", "0.86 (asked for 0.8)"),
        "refused": (">refused<", "InvalidInput: applicant.term_months: Input should be greater than or equal to 6"),
        "guard-card": (">enforce<", "Confidence(0.8)", "p50 · p95 · p99", ">answered<", ">refused<"),
        "batch-card": ("200 rows", ">batch<", "answered", "deferred", "refused", "height:10px"),
        "unsure": (">deferred<", "in queue notebook-desk", "a person decides: ticket", "loan-"),
        "decided": (">human<", "is used again"),
        "async-batch": ("20 rows", "deferred"),
    }.items():
        card = html(made[name])
        assert card.startswith("<div style="), name
        for word in words:
            assert word in card, (name, word)
    bar = "".join(output.data["text/plain"] if "data" in output else output.text for output in made["batch-card"])
    assert "200/200" in bar + execute.widgets
    assert "Warning" not in bar
    assert "loan-" in html(made["frame"])
    at_once = made["async"][0].data["text/plain"]
    assert at_once.count("'answered'") + at_once.count("'deferred'") == 8
    assert "Prediction('approve'" in at_once


def test_cells_run_again_leave_nothing_double(execute, cells):
    """After the defining cell ran three times there is one guard of its name, its numbers went on, each call has one record."""
    path, setup, define, call = (cells[name] for name in ("path", "setup", "define", "answered"))
    twice = nbformat.v4.new_code_cell("score(applications[0]), score(applications[0])")
    made = execute([path, setup, define, call, again(define), again(define), twice, nbformat.v4.new_code_cell(LOOK)])
    seen = json.loads(printed(made[-1]))
    assert seen["alive"] == 1
    assert seen["calls"] == 3
    assert seen["latest"] == ["answered", "answered", "cached"]  # the new function does not serve the old one's answer
    assert [tuple(each) for each in seen["records"]] == [(outcome, "notebook") for outcome in seen["latest"]]


def test_the_whole_notebook_can_be_run_again_in_the_same_kernel(execute, cells):
    """As by "run all": the same tickets, none twice, and the decided case is answered by the person at once."""
    code = [cell for cell in cells.values() if cell.cell_type == "code"]
    count = nbformat.v4.new_code_cell("print(len(review.find('notebook-desk', state='all', limit=None)))")
    made = execute([*code, count, *map(again, code), again(count)])
    before, after = (int(printed(made[at])) for at in (len(code), -1))
    assert before == after > 10
    rerun = dict(zip((cell.id for cell in code), made[len(code) + 1 :], strict=False))
    assert ">human<" in html(rerun["batch-card"])
    assert ">human<" not in html(made[[cell.id for cell in code].index("batch-card")])
