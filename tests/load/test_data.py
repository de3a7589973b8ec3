"""Rows from files, and how they become arguments."""

from __future__ import annotations

import itertools
import json

import pytest
from pydantic import BaseModel

from guardrail.errors import ConfigError
from guardrail.load import data
from guardrail.load.data import Fitting

ROWS = [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]


def test_every_kind_of_file(tmp_path):
    """The same rows from each; CSV is text until somebody asks for numbers."""
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "a.csv").write_text("\ufeffx,y\n1,a\n2,b\n", encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    for name in ("a.json", "a.jsonl", "a.parquet"):
        assert data.read(tmp_path / name) == ROWS
    text = data.read(tmp_path / "a.csv")
    assert text == [{"x": "1", "y": "a"}, {"x": "2", "y": "b"}]
    assert [data.typed(row) for row in text] == ROWS


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.xls", ""), ("a.csv", "x\n"), ("a.csv", "x,y\n1\n"), ("a.json", "{"), ("a.json", "[]"), ("a.jsonl", "{")],
)
def test_files_that_cannot_be_used(tmp_path, name, text):
    """Each says what is wrong."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError):
        data.read(tmp_path / name)


def test_numbers_in_text():
    """What JSON reads as a number is one; an article number with a nought in front is text."""
    row = {"a": "1", "b": "-2.5e3", "c": "007", "d": "1_000", "e": "", "f": "NaN", "g": "-"}
    assert data.typed(row) == {**row, "a": 1, "b": -2500.0}


def test_in_turn_or_drawn():
    """The same for the same seed; by weight, where there is one."""
    assert list(itertools.islice(data.endless([1, 2], sample=False, weights=None, seed=1), 5)) == [1, 2, 1, 2, 1]
    first, again = (list(itertools.islice(data.endless(range(99), sample=True, weights=None, seed=7), 20)) for _ in range(2))
    assert first == again != sorted(first)
    rows, weights = data.weights_of([{"x": 1, "n": "0"}, {"x": 2, "n": 3}], "n")
    drawn = list(itertools.islice(data.endless(rows, sample=False, weights=weights, seed=1), 20))
    assert drawn == [{"x": 2}] * 20
    for wrong in ([{"x": 1}], [{"n": "many"}], [{"n": -1}], [{"n": 0}], [1]):
        with pytest.raises(ConfigError):
            data.weights_of(wrong, "n")


class Applicant(BaseModel):
    income: float


def test_columns_are_keywords():
    """Those that the function takes; others are left out, and said."""

    def f(x: float, y: str, z=None):
        """Two that must be given."""

    fitting = Fitting(f, checked=True)
    assert fitting.fit({"x": "1", "y": "2", "z": "3", "id": "4"}, text=True) == ((), {"x": "1", "y": "2", "z": 3})
    assert fitting.left_out == ["id"]
    assert Fitting(f, checked=False).fit({"x": "1", "y": "2"}, text=True).kwargs == {"x": 1, "y": "2"}
    assert fitting.fit([1, 2]).args == (1, 2)
    with pytest.raises(ConfigError, match=r"no column y, which f needs \(their columns are x, Y\)"):
        fitting.fit({"x": 1, "Y": 2})


def test_a_row_is_the_one_argument():
    """Where its columns are not the parameter's name."""

    def f(applicant: Applicant, /):
        """Takes the row."""

    def g(*, x):
        """By keyword only."""

    assert Fitting(f, checked=True).fit({"income": "5"}, text=True) == (({"income": "5"},), {})
    assert Fitting(f, checked=True).fit({"applicant": 1}) == ((1,), {})
    assert Fitting(g, checked=True).fit(7) == ((), {"x": 7})
