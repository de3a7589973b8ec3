"""`batch=True`: functions over tables, whose policies act on each row."""

import asyncio
import copy
import json
import pickle
import threading
import time
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings, strategies
from pydantic import BaseModel, Field

from guardrail import (
    Audit,
    BudgetExceeded,
    BusinessId,
    Cache,
    CircuitOpen,
    Confidence,
    ConfigError,
    Deferred,
    Fallback,
    InvalidInput,
    InvalidOutput,
    Outcome,
    PartialBatch,
    Prediction,
    Retry,
    Review,
    Rows,
    Secret,
    Stopped,
    acting_as,
    batch,
    decide,
    flush,
    guard_of,
    guarded,
    last_decision,
    last_good,
    warm,
    with_options,
)
from guardrail import call as calls
from guardrail import review as queue


class Applicant(BaseModel):
    income: float = Field(gt=0)
    debt: float = 0.0


Frame = Annotated[pd.DataFrame, Rows(Applicant)]


def records(home, event):
    """Return the ledger's records of one kind, oldest first."""
    assert flush(5)
    lines = [line for file in sorted(home.glob("ledger/**/*.jsonl")) for line in file.read_text().splitlines()]
    return [record for record in map(json.loads, lines) if record["event"] == event]


def words(result):
    return [outcome.value for outcome in result.outcomes]


def hard_frame(rows=1000):
    """A table of which 7 rows are invalid and 31 unsure, under labels that are in no order and not distinct."""
    frame = pd.DataFrame({"income": np.arange(1.0, rows + 1), "debt": 0.5, "sure": 0.9})
    frame.index = pd.Index(np.random.default_rng(7).integers(0, rows, rows), name="loan")
    frame.iloc[100:107, 0] = -1.0
    frame.iloc[500:531, 2] = np.linspace(0.1, 0.79, 31)
    return frame


# ── the whole of it ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_of_a_thousand_rows_962_are_answered_at_once_and_each_row_says_what_happened(home):
    asked = []

    @guarded(name="credit", batch=True, confidence=0.8, review="loans")
    def predict(frame: Frame):
        asked.append(frame)
        return frame["income"] * 2, frame["sure"]

    frame = hard_frame()
    result = batch(predict, frame)
    assert dict(result.counts) == {Outcome.answered: 962, Outcome.deferred: 31, Outcome.refused: 7}
    table = result.to_frame()
    pd.testing.assert_index_equal(table.index, frame.index)
    expected = (frame["income"] * 2).to_numpy()
    for at, decision in enumerate(result):
        if 100 <= at < 107:
            assert str(decision.error) == f"frame[{at}].income: Input should be greater than 0"
            assert isinstance(decision.error, InvalidInput)
            assert decision.error.decision_id == decision.id
        elif 500 <= at < 531:
            assert isinstance(decision.error, Deferred)
            assert decision.ticket.decision_id == decision.id
            assert result.values[at] is None
        else:
            assert decision.value == expected[at]
            assert decision.confidence == 0.9
    assert len({decision.ticket.id for decision in result if decision.ticket}) == 31
    assert queue.count("loans") == 31
    assert len(asked) == 1
    pd.testing.assert_frame_equal(asked[0], frame.drop(index=[]).iloc[[*range(100), *range(107, 1000)]])

    rows, calls = records(home, "row"), records(home, "call")
    assert len(rows) == 1000
    assert len(calls) == 1
    assert {row["parent"] for row in rows} == {calls[0]["id"]}
    assert [row["id"] for row in rows] == [decision.id for decision in result]
    assert [row["outcome"] for row in rows] == words(result)
    assert calls[0]["outcome"] == "deferred"
    assert rows[0]["output"] == {"value": 2.0}
    assert rows[0]["confidence"] == 0.9
    assert len({row["input"]["digest"] for row in rows}) > 990
    assert rows[500]["ticket"] == result[500].ticket.id
    assert rows[100]["error"] == {"type": "guardrail.errors.InvalidInput", "policy": "validate"}


def test_called_directly_it_raises_what_says_how_many_and_what_to_write():
    @guarded(batch=True, confidence=0.8)
    def predict(frame: Frame):
        return frame["income"] * 2, frame["sure"]

    with pytest.raises(PartialBatch) as caught:
        predict(hard_frame())
    text = str(caught.value)
    assert "38 of 1,000 rows have no answer" in text
    assert "962 answered, 31 deferred, 7 refused" in text
    assert "batch(predict, rows)" in text
    assert len(caught.value.batch) == 1000
    for twin in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert twin.batch.outcomes == caught.value.batch.outcomes
    decision = decide(predict, hard_frame())
    assert isinstance(decision.error, PartialBatch)
    assert decision.error.batch.counts[Outcome.answered] == 962
    assert decision.outcome is Outcome.deferred


def test_the_answers_of_a_partial_batch_do_not_stay_in_memory_with_its_record():
    @guarded(batch=True)
    def predict(rows: list[Applicant]) -> list[float]:
        return [row.income for row in rows]

    with pytest.raises(PartialBatch):
        predict([{"income": -1}, {"income": 1}])
    assert last_decision().error.batch is None
    assert not any(isinstance(each.error, PartialBatch) for each in guard_of(predict).last(3))


# ── what comes back when every row has an answer ──────────────────────────────────────────────────────────────────────
def test_the_functions_own_object_is_returned_when_nothing_was_changed():
    made = []

    @guarded(batch=True, confidence=0.5)
    def predict(rows: list[Applicant]):
        made.append(([row.income for row in rows], [0.9] * len(rows)))
        return made[-1]

    assert predict([Applicant(income=1), {"income": 2}]) is made[0]
    assert predict([]) is made[1]


def test_an_empty_table_is_the_functions_to_answer():
    @guarded(batch=True, confidence=0.5, cache="1m")
    def predict(frame: Frame):
        return np.full(len(frame), 0.25), np.full(len(frame), 0.9)

    empty = hard_frame().iloc[:0]
    values, sure = predict(empty)
    assert values.dtype == float and len(values) == len(sure) == 0
    assert len(batch(predict, empty)) == 0
    assert batch(predict, empty).to_frame().index.name == "loan"


@pytest.mark.parametrize("given", [
    pd.DataFrame({"x": [1, 2, 3]}, index=[7, 7, 8]), pd.Series([1, 2, 3], [7, 7, 8]), np.array([1, 2, 3]),
    np.array([[1], [2], [3]]), pl.DataFrame({"x": [1, 2, 3]}), pl.Series([1, 2, 3]), pa.table({"x": [1, 2, 3]}),
    pa.RecordBatch.from_pydict({"x": [1, 2, 3]}), pa.array([1, 2, 3]), pa.chunked_array([[1], [2, 3]]), [1, 2, 3], (1, 2, 3),
], ids=lambda given: f"{type(given).__module__}.{type(given).__name__}")  # fmt: skip
def test_rows_from_memory_leave_the_others_in_the_same_kind_of_container(given):
    asked = []

    @guarded(batch=True, cache="1m")
    def predict(table):
        asked.append(table)
        return [float(len(table))] * len(table)

    def rows(table):
        return (
            table[1:]
            if isinstance(table, list | tuple | np.ndarray)
            else table[1:3]
            if not hasattr(table, "iloc")
            else table.iloc[1:]
        )

    part = rows(given)
    assert predict(part) == [2.0, 2.0]
    assert asked[0] is part
    assert predict(given) == [1.0, 2.0, 2.0]
    assert type(asked[1]) is type(given)
    assert len(asked[1]) == 1
    if hasattr(given, "iloc"):
        assert asked[1].equals(given.iloc[:1])
    assert predict(given) == [1.0, 2.0, 2.0]
    assert len(asked) == 2
    assert batch(predict, given).outcomes == [Outcome.cached] * 3


@pytest.mark.parametrize("make", [
    list, tuple, np.array, pl.Series, pa.array, lambda items: np.array(items, dtype="float32"),
    lambda items: pa.chunked_array([items]), lambda items: pl.Series("score", items, dtype=pl.Float32),
], ids=["list", "tuple", "array", "polars", "arrow", "float32", "chunked", "named"])  # fmt: skip
def test_a_result_put_together_from_memory_is_of_the_same_kind_and_type(make):
    @guarded(batch=True, cache="1m")
    def predict(rows: list[int]):
        return make([row / 2 for row in rows])

    whole, again = predict([1, 2, 3]), predict([3, 2, 1])
    assert type(again) is type(whole)
    assert getattr(again, "dtype", None) == getattr(whole, "dtype", None)
    assert [float(item.as_py() if hasattr(item, "as_py") else item) for item in again] == [1.5, 1.0, 0.5]
    if isinstance(whole, pl.Series):
        assert again.name == whole.name


def test_a_series_put_together_has_name_type_and_the_tables_labels():
    @guarded(batch=True, cache="1m")
    def predict(frame: pd.DataFrame) -> pd.Series:
        return (frame["x"] * 2).rename("score").astype("int32")

    frame = pd.DataFrame({"x": [1, 2, 3]}, index=pd.Index(["b", "a", "b"], name="loan"))
    predict(frame.iloc[:1])
    pd.testing.assert_series_equal(predict(frame), pd.Series([2, 4, 6], frame.index, dtype="int32", name="score"))
    pd.testing.assert_series_equal(predict(frame), pd.Series([2, 4, 6], frame.index, dtype="int32", name="score"))


def test_outputs_under_the_tables_labels_in_another_order_find_their_rows():
    @guarded(batch=True)
    def ranked(frame: pd.DataFrame) -> pd.Series:
        return frame["x"].sort_values(ascending=False)

    assert batch(ranked, pd.DataFrame({"x": [1, 3, 2]}, index=["a", "b", "c"])).values == [1, 3, 2]
    assert batch(ranked, pd.DataFrame({"x": [1, 3, 2]})).values == [1, 3, 2]
    unclear = batch(ranked, pd.DataFrame({"x": [1, 3, 2]}, index=["a", "a", "c"]))
    assert all(isinstance(decision.error, InvalidOutput) for decision in unclear)


def test_outputs_that_are_only_counted_belong_to_the_rows_in_their_order():
    @guarded(batch=True)
    def plain(frame: pd.DataFrame) -> pd.Series:
        return pd.Series(frame["x"].to_numpy() * 10)

    assert batch(plain, pd.DataFrame({"x": [1, 2, 3]}, index=[2, 0, 1])).values == [10, 20, 30]


def test_several_ways_to_give_one_output_per_row():
    matrix = np.array([[0.9, 0.1], [0.3, 0.7], [0.45, 0.55]])
    results = {
        "predictions": [Prediction("a", 0.9), Prediction("b", 0.7), Prediction("b", 0.55, ["close"])],
        "pairs": [("a", 0.9), ("b", 0.7), ("b", 0.55)],
        "two lists": (["a", "b", "b"], [0.9, 0.7, 0.55]),
        "two arrays": (np.array(["a", "b", "b"]), np.array([0.9, 0.7, 0.55])),
        "two series": (pd.Series(["a", "b", "b"]), pd.Series([0.9, 0.7, 0.55])),
        "probabilities": matrix,
        "lists of probabilities": matrix.tolist(),
        "mappings": [{"answer": "a", "confidence": 0.9}, {"confidence": 0.7}, {"confidence": 0.55}],
        "a table": pd.DataFrame({"answer": ["a", "b", "b"], "confidence": [0.9, 0.7, 0.55]}),
    }
    for name, made in results.items():

        @guarded(batch=True, confidence=0.6, name=name)
        def predict(rows: list[int], made=made):
            return made

        result = batch(predict, [1, 2, 3])
        assert [decision.confidence for decision in result] == pytest.approx([0.9, 0.7, 0.55]), name
        assert words(result) == ["answered", "answered", "deferred"], name
        assert result.values[2] is None


def test_reasons_of_predictions_stand_on_their_rows(home):
    @guarded(batch=True, confidence=0.6)
    def predict(rows: list[int]) -> list[Prediction[int]]:
        return [Prediction(row, 0.9, [f"row {row}"] if row == 2 else []) for row in rows]

    assert [decision.reasons for decision in batch(predict, [1, 2])] == [(), ("row 2",)]
    assert [row.get("reasons") for row in records(home, "row")] == [None, ["row 2"]]


def test_two_rows_and_two_columns_are_not_confused():
    @guarded(batch=True, confidence=0.6)
    def columns(rows: list[int]):
        return [5.0, 6.0], [0.9, 0.1]

    @guarded(batch=True, confidence=0.6)
    def pairs(rows: list[int]):
        return ((5.0, 0.9), (6.0, 0.1))

    @guarded(batch=True, confidence=0.6)
    def vectors(rows: list[int]) -> tuple[list[float], ...]:
        return ([0.9, 0.1], [0.5, 0.5])

    assert [decision.confidence for decision in batch(columns, [1, 2])] == [0.9, 0.1]
    assert [decision.confidence for decision in batch(pairs, [1, 2])] == [0.9, 0.1]
    assert [decision.confidence for decision in batch(vectors, [1, 2])] == [0.9, 0.5]
    assert batch(columns, [1, 2]).values[0] == 5.0
    assert batch(pairs, [1, 2]).values[0] == (5.0, 0.9)


@pytest.mark.parametrize("made", [[1], [1, 2, 3], "ab", b"ab", {"a": 1, "b": 2}, {1, 2}, None, 7, iter([1, 2]), ([1, 2], [0.5])])
def test_anything_but_one_output_per_row_is_an_invalid_output(made):
    @guarded(batch=True)
    def predict(rows: list[int]):
        return made

    with pytest.raises(InvalidOutput):
        predict([5, 6])
    result = batch(predict, [5, 6])
    assert words(result) == ["refused", "refused"]
    assert all(isinstance(decision.error, InvalidOutput) for decision in result)
    assert "one entry per row" in str(result[0].error)


def test_nan_and_confidences_outside_their_range_are_low():
    @guarded(batch=True, confidence=0.6)
    def predict(rows: list[int]):
        return rows, [float("nan"), 1.7, -1.0, 0.6, 1.0]

    assert words(batch(predict, range(5))) == ["deferred"] * 3 + ["answered"] * 2


def test_a_vector_without_a_sum_of_one_or_with_nan_is_read_as_for_a_single_call():
    matrix = np.array([[0.9, 0.1], [float("nan"), 0.5]])

    @guarded(batch=True, confidence=0.6)
    def predict(rows: list[int]):
        return matrix

    assert words(batch(predict, [1, 2])) == ["answered", "deferred"]
    matrix = np.array([[0.9, 0.1], [2.0, 3.0]])
    with pytest.raises(ConfigError, match="no confidence can be read"):
        batch(predict, [1, 2])


def test_the_users_own_reading_of_confidence_applies_to_each_row():
    @guarded(batch=True, confidence=Confidence(0.6, of=lambda row: abs(row - 0.5) * 2))
    def predict(rows: list[int]) -> np.ndarray:
        return np.array([0.01, 0.45, 0.99])

    assert words(batch(predict, [1, 2, 3])) == ["answered", "deferred", "answered"]


def test_outputs_are_checked_row_by_row_where_the_annotation_says_of_what_they_are():
    @guarded(batch=True)
    def predict(rows: list[int]) -> list[int]:
        return [row if row != 2 else "two" for row in rows]

    @guarded(batch=True, confidence=0.5)
    def predictions(rows: list[int]) -> list[Prediction[int]]:
        return [Prediction(row, 0.9) if row == 1 else Prediction("two", 0.9) if row == 2 else row for row in rows]

    result = batch(predict, [1, 2, 3])
    assert words(result) == ["answered", "refused", "answered"]
    assert result[1].error.decision_id == result[1].id
    assert words(batch(predictions, [1, 2, 3])) == ["answered", "refused", "refused"]

    @guarded(batch=True)
    def array(rows: list[int]) -> np.ndarray:
        return list(rows)

    assert words(batch(array, [1])) == ["refused"]


def test_reasons_are_asked_for_row_by_row():
    @guarded(batch=True, explain=lambda answer, row: f"{answer} for {row}")
    def predict(rows: list[int]) -> list[int]:
        return [row * 2 for row in rows]

    assert [decision.reasons for decision in batch(predict, [1, 2])] == [("2 for 1",), ("4 for 2",)]


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_list_of_models_is_received_as_models_from_any_table():
    asked = []

    @guarded(batch=True)
    def predict(rows: list[Applicant]) -> list[float]:
        asked.append(rows)
        return [row.income - row.debt for row in rows]

    table = {"income": [1.0, 2.0], "debt": [0.5, 1.0]}
    rows = [{"income": 1.0, "debt": 0.5}, {"income": 2.0, "debt": 1.0}]
    own = [Applicant(**row) for row in rows]
    for some in (rows, own, tuple(rows), iter(rows), pd.DataFrame(table), pl.DataFrame(table), pa.table(table)):
        assert predict(some) == [0.5, 1.0]
        assert type(asked[-1]) is list
        assert [type(row) for row in asked[-1]] == [Applicant] * 2
    predict(own)
    assert asked[-1][0] is own[0]


def test_a_list_of_models_that_is_marked_as_rows_is_judged_row_by_row_too():
    """`Annotated[list[M], Rows(M)]` says the same twice: one bad row is refused, and not the table."""
    asked = []

    @guarded(batch=True)
    def predict(rows: Annotated[list[Applicant], Rows(Applicant)]) -> list[float]:
        asked.append(rows)
        return [row.income for row in rows]

    result = batch(predict, [{"income": 1}, {"income": -1}, Applicant(income=3)])
    assert words(result) == ["answered", "refused", "answered"]
    assert str(result[1].error) == "rows[1].income: Input should be greater than 0"
    assert asked == [[Applicant(income=1), Applicant(income=3)]]
    assert predict(pd.DataFrame({"income": [5.0]})) == [5.0]


def test_other_sequences_of_models_keep_their_container():
    asked = []

    @guarded(batch=True)
    def some(rows: Sequence[Applicant]) -> list[float]:
        asked.append(rows)
        return [row.income for row in rows]

    @guarded(batch=True)
    def fixed(rows: tuple[Applicant, ...]) -> list[float]:
        asked.append(rows)
        return [row.income for row in rows]

    some(({"income": 1},))
    fixed([{"income": 1}])
    assert [type(rows) for rows in asked] == [tuple, tuple]


def test_a_validated_frame_keeps_its_values_and_types():
    asked = []

    @guarded(batch=True)
    def predict(frame: Frame) -> pd.Series:
        asked.append(frame)
        return frame["income"]

    frame = pd.DataFrame({"income": np.array([1, 2], dtype="int8"), "debt": ["3", "4"], "other": [None, "x"]})
    predict(frame)
    assert asked[0] is frame
    frame["income"] = np.array([1, -2], dtype="int8")
    with pytest.raises(PartialBatch):
        predict(frame)
    assert asked[1].dtypes.equals(frame.dtypes)
    assert asked[1].index.tolist() == [0]


def test_missing_cells_are_none_for_the_row_type():
    class Loose(BaseModel):
        name: str | None
        age: int | None
        born: object

    @guarded(batch=True)
    def predict(frame: Annotated[pd.DataFrame, Rows(Loose)]) -> list[int]:
        return [1] * len(frame)

    frame = pd.DataFrame({"name": ["a", None], "age": pd.array([1, None], dtype="Int64"), "born": [pd.NaT, pd.NaT]})
    assert predict(frame) == [1, 1]


def test_other_arguments_are_validated_as_usual_and_reach_the_function():
    @guarded(batch=True)
    def predict(rows: list[Applicant], factor: int = 2, *, plus: float = 0.0) -> list[float]:
        return [row.income * factor + plus for row in rows]

    assert predict([{"income": 1}], "3", plus="0.5") == [3.5]
    assert predict(rows=[{"income": 1}]) == [2.0]
    with pytest.raises(InvalidInput, match="factor"):
        predict([{"income": 1}], "three")
    with pytest.raises(TypeError):
        predict([{"income": 1}], 1, 2)
    with pytest.raises(InvalidInput, match="should be a table of rows"):
        predict(7)
    with pytest.raises(InvalidInput, match="should be a table of rows"):
        predict("rows")


def test_methods_take_tables():
    class Model:
        factor = 3

        @guarded(batch=True, cache="1m")
        def predict(self, rows: list[int]) -> list[int]:
            return [row * self.factor for row in rows]

        def __guard_key__(self):
            return self.factor

    one, other = Model(), Model()
    other.factor = 5
    assert one.predict([1, 2]) == [3, 6]
    assert other.predict([1, 2]) == [5, 10]
    assert words(batch(one.predict, [2, 3])) == ["cached", "answered"]


def test_a_table_needs_a_parameter():
    for fn in ((lambda: [1]), lambda *rows: rows, lambda **rows: rows):
        with pytest.raises(ConfigError, match="first parameter"):
            guarded(fn, batch=True)


def test_a_function_that_changes_its_table_does_not_change_what_people_see():
    @guarded(batch=True, confidence=0.8)
    def predict(frame: pd.DataFrame):
        frame["x"] = 0
        frame.insert(0, "extra", 1)
        return ["a", "b"], [0.1, 0.2]

    result = batch(predict, pd.DataFrame({"x": [5, 6]}))
    assert [queue.details(decision.ticket.id).arguments["x"] for decision in result] == [5, 6]


def test_rows_of_tensors_and_sparse_matrices_are_taken_out_too():
    class Tensor:
        """The least that looks like an array."""

        def __init__(self, array):
            self.array, self.shape, self.dtype = array, array.shape, array.dtype

        def __getitem__(self, at):
            found = self.array[at]
            return Tensor(found) if getattr(found, "ndim", 0) else float(found)

    asked = []

    @guarded(batch=True, cache="1m")
    def predict(tensor):
        asked.append(tensor)
        return tensor.array.tolist()

    assert predict(Tensor(np.array([1.0, 2.0]))) == [1.0, 2.0]
    assert predict(Tensor(np.array([3.0, 2.0]))) == [3.0, 2.0]
    assert asked[1].array.tolist() == [3.0]
    assert isinstance(asked[1], Tensor)


# ── the cache ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_only_rows_that_are_not_in_memory_are_asked_about():
    asked = []

    @guarded(batch=True, cache="1m", confidence=0.5)
    def predict(rows: list[Applicant]):
        asked.append([row.income for row in rows])
        return [row.income * 2 for row in rows], [0.1 if row.income == 3 else 0.9 for row in rows]

    first = batch(predict, [{"income": 1}, {"income": 3}, {"income": 2}])
    again = batch(predict, [{"income": 4}, {"income": 2}, {"income": 3}, {"income": 1.0}])
    assert words(first) == ["answered", "deferred", "answered"]
    assert words(again) == ["answered", "cached", "deferred", "cached"]
    assert asked == [[1.0, 3.0, 2.0], [4.0, 3.0]]
    assert again.values == [8.0, 4.0, None, 2.0]
    assert again[1].confidence == 0.9
    assert [decision.attempts for decision in again] == [1, 0, 1, 0]
    assert predict([{"income": 1}, {"income": 2}]) == ([2.0, 4.0], [0.9, 0.9])
    assert decide(predict, [{"income": 1}]).outcome is Outcome.cached
    guard_of(predict).reset()
    assert words(batch(predict, [{"income": 1}])) == ["answered"]


def test_what_a_row_is_includes_types_columns_labels_and_the_other_arguments():
    @guarded(batch=True, cache="1m")
    def predict(table, factor=1):
        return [factor] * len(table)

    known = pd.DataFrame({"a": [1, 2]})
    predict(known)
    assert words(batch(predict, known.iloc[[1]].reset_index(drop=True))) == ["cached"]
    for other in (
        known.rename(columns={"a": "b"}), known.astype("int32"), known.astype(float), known.set_axis(["x", "y"]), [1, 2], [(1,), (2,)],
        known["a"], known.to_numpy(),
    ):  # fmt: skip
        assert words(batch(predict, other)) == ["answered"] * 2, type(other)
    assert predict(known, factor=3) == [3, 3]
    labelled = known.set_axis(["x", "y"])
    assert words(batch(predict, labelled.iloc[::-1])) == ["cached"] * 2


def test_cells_that_are_missing_in_different_ways_are_different_rows():
    @guarded(batch=True, cache="1m")
    def predict(frame):
        return [str(cell) for cell in frame["a"]]

    frame = pd.DataFrame({"a": pd.Series([None, float("nan"), pd.NA, pd.NaT], dtype=object)})
    assert predict(frame) == ["None", "nan", "<NA>", "NaT"]
    assert predict(frame.iloc[::-1].reset_index(drop=True)) == ["NaT", "<NA>", "nan", "None"]


def test_a_cached_answer_cannot_be_changed_by_who_gets_it():
    @guarded(batch=True, cache="1m")
    def predict(rows: list[int]):
        return [{"answer": row} for row in rows]

    predict([1])[0]["answer"] = "spoilt"
    assert predict([1]) == [{"answer": 1}]
    predict([1])[0]["answer"] = "spoilt"
    assert predict([1]) == [{"answer": 1}]


def test_rows_of_one_principal_are_not_anothers_when_the_cache_says_so():
    @guarded(batch=True, cache=Cache("1m", per="principal"))
    def predict(rows: list[int]) -> list[int]:
        return list(rows)

    with acting_as("anna"):
        predict([1])
    with acting_as("ben"):
        assert words(batch(predict, [1])) == ["answered"]
    with acting_as("anna"):
        assert words(batch(predict, [1])) == ["cached"]


def test_the_users_own_key_is_asked_about_each_row():
    @guarded(batch=True, cache=Cache("1m", key=lambda row: row["id"]))
    def predict(frame: pd.DataFrame) -> list[int]:
        return frame["id"].tolist()

    predict(pd.DataFrame({"id": [1, 2], "noise": [0.1, 0.2]}))
    assert words(batch(predict, pd.DataFrame({"id": [2, 3], "noise": [0.3, 0.4]}))) == ["cached", "answered"]


def test_answers_expire(monkeypatch):
    from guardrail import clock

    now = [1000.0]
    monkeypatch.setattr(clock, "now", lambda: now[0])

    @guarded(batch=True, cache=Cache("10s", jitter=0))
    def predict(rows: list[int]) -> list[int]:
        return list(rows)

    predict([1])
    now[0] += 9
    assert words(batch(predict, [1])) == ["cached"]
    now[0] += 2
    assert words(batch(predict, [1])) == ["answered"]


def test_rows_that_cannot_be_keyed_are_asked_again():
    class Odd:
        __slots__ = ("lock",)

        def __init__(self):
            self.lock = threading.Lock()

    @guarded(batch=True, cache="1m")
    def predict(rows):
        return [1] * len(rows)

    rows = [Odd(), 5]
    predict(rows)
    assert words(batch(predict, rows)) == ["answered", "cached"]


def test_variants_share_the_rows_in_memory():
    @guarded(batch=True, cache="1m")
    def predict(rows: list[int]) -> list[int]:
        return list(rows)

    predict([1])
    assert words(batch(with_options(predict, budget="5s"), [1])) == ["cached"]


# ── fallback ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_value_stands_in_for_unsure_rows_and_nothing_else():
    @guarded(batch=True, confidence=0.8, fallback=-1.0)
    def predict(frame: Frame):
        return frame["income"] * 2, frame["sure"]

    result = batch(predict, hard_frame())
    assert dict(result.counts) == {Outcome.answered: 962, Outcome.fallback: 31, Outcome.refused: 7}
    assert result.values[500] == -1.0
    assert queue.count() == 31  # people are asked all the same
    values, sure = predict(hard_frame().drop(columns="income").assign(income=1.0))
    assert values.tolist()[500] == -1.0
    assert sure.tolist()[500] == 0.0


def test_none_is_a_legal_value_of_a_fallback():
    @guarded(batch=True, confidence=0.8, fallback=None)
    def predict(rows: list[int]):
        return np.array([1.0, 2.0]), np.array([0.9, 0.1])

    result = batch(predict, [1, 2])
    assert (result.values, words(result), result[1].value) == ([1.0, None], ["answered", "fallback"], None)
    assert predict([1, 2])[0].tolist() == [1.0, None]


def test_a_callable_is_given_the_table_of_the_unsure_rows():
    given = []

    def cheaper(frame, factor):
        given.append(frame)
        return frame["income"] * factor

    @guarded(batch=True, confidence=0.8, fallback=cheaper)
    def predict(frame: Frame, factor: int = 2):
        return frame["income"] * factor, frame["sure"]

    frame = hard_frame()
    result = batch(predict, frame)
    pd.testing.assert_frame_equal(given[0], frame.iloc[500:531])
    assert result.values[500:531] == (frame["income"].iloc[500:531] * 2).tolist()
    assert words(result)[500:531] == ["fallback"] * 31


def test_with_a_fallback_and_a_review_the_ticket_is_filed_all_the_same():
    @guarded(batch=True, confidence=0.8, fallback="no", review="loans")
    def predict(rows: list[int]) -> list[Prediction[str]]:
        return [Prediction("yes", row / 10) for row in rows]

    result = batch(predict, [9, 3])
    assert words(result) == ["answered", "fallback"]
    assert result[1].value == Prediction("no", 0.0, ("fallback",))
    assert result[1].ticket.reason == "low"
    assert queue.count("loans") == 1


def test_rungs_are_tried_in_order_and_the_latest_good_answer_is_one():
    state = {"sure": 0.9}

    def broken(rows):
        raise OSError

    def short(rows):
        return [0]

    @guarded(batch=True, confidence=0.8, fallback=Fallback(broken, short, last_good, -1))
    def predict(rows: list[int]):
        return [row * state["sure"] for row in rows], [state["sure"]] * len(rows)

    predict([10, 20])
    state["sure"] = 0.1
    result = batch(predict, [30, 20])
    assert result.values == [-1, 18.0]
    assert words(result) == ["fallback", "fallback"]
    assert result[0].reasons == (
        "confidence 0.1 is below 0.8", "fallback 1 failed: OSError", "fallback 2 failed: InvalidOutput",
    )  # fmt: skip


def test_a_failure_of_the_whole_call_goes_to_the_fallback_row_by_row():
    @guarded(batch=True, fallback=lambda rows: [0.5] * len(rows))
    def predict(rows: list[Applicant]) -> list[float]:
        raise OSError("down")

    result = batch(predict, [{"income": 1}, {"income": -1}, {"income": 2}])
    assert words(result) == ["fallback", "refused", "fallback"]
    assert predict([{"income": 1}]) == [0.5]


# ── endings of the whole call ─────────────────────────────────────────────────────────────────────────────────────────
def test_the_functions_own_exception_passes_unchanged_when_it_is_the_end_of_every_row():
    error = LookupError("no model")

    @guarded(batch=True)
    def predict(rows: list[Applicant]) -> list[float]:
        raise error

    with pytest.raises(LookupError) as caught:
        predict([{"income": 1}, {"income": 2}])
    assert caught.value is error
    result = batch(predict, [{"income": 1}, {"income": 2}])
    assert words(result) == ["failed", "failed"]
    assert result[0].error is error
    with pytest.raises(PartialBatch) as partial:
        predict([{"income": 1}, {"income": -2}])
    assert partial.value.__cause__ is error
    assert words(partial.value.batch) == ["failed", "refused"]


def test_a_late_call_makes_late_rows():
    @guarded(batch=True, budget="50ms")
    def predict(rows: list[int]) -> list[int]:
        time.sleep(0.5)
        return list(rows)

    with pytest.raises(BudgetExceeded):
        predict([1, 2])
    result = batch(predict, [1, 2])
    assert words(result) == ["late", "late"]


def test_the_fallback_is_reached_in_time_when_the_function_hangs():
    @guarded(batch=True, budget="400ms", confidence=0.5, fallback=lambda rows: [0.5 * row for row in rows])
    def predict(rows: list[int]):
        time.sleep(3)
        return rows, [0.9] * len(rows)

    start = time.monotonic()
    assert batch(predict, [1, 2]).values == [0.5, 1.0]
    assert time.monotonic() - start < 1.0


def test_an_invalid_output_may_be_tried_again():
    asked = []

    @guarded(batch=True, retry=Retry(2, on=[InvalidOutput], wait="1ms"))
    def predict(rows: list[int]) -> list[int]:
        asked.append(1)
        return list(rows) if len(asked) > 1 else []

    assert predict([1, 2]) == [1, 2]


def test_a_transient_failure_is_tried_again_with_the_same_rows():
    asked = []

    @guarded(batch=True, retry=Retry(3, wait="1ms"))
    def predict(rows: list[Applicant]) -> list[float]:
        asked.append(len(rows))
        if len(asked) < 3:
            raise ConnectionError
        return [row.income for row in rows]

    result = batch(predict, [{"income": 1}, {"income": -1}, {"income": 2}])
    assert words(result) == ["answered", "refused", "answered"]
    assert asked == [2, 2, 2]
    assert [decision.attempts for decision in result] == [3, 0, 3]


def test_an_open_breaker_and_a_full_limit_end_the_rows():
    from guardrail import Breaker, Limit, LimitExceeded

    @guarded(batch=True, breaker=Breaker(min_calls=2), name="broken")
    def broken(rows: list[int]) -> list[int]:
        raise OSError

    for _ in range(3):
        batch(broken, [1])
    assert isinstance(batch(broken, [1])[0].error, CircuitOpen)

    @guarded(batch=True, limit=Limit(rate="1/h"), name="rare")
    def rare(rows: list[int]) -> list[int]:
        return list(rows)

    assert words(batch(rare, [1, 2, 3])) == ["answered"] * 3
    assert all(isinstance(decision.error, LimitExceeded) for decision in batch(rare, [1, 2, 3]))


def test_a_stopped_guard_is_not_run_and_its_fallback_answers():
    runs = []

    def make(**options):
        @guarded(batch=True, mode="killed", **options)
        def predict(rows: list[Applicant]) -> list[float]:
            runs.append(1)
            return [0.0] * len(rows)

        return predict

    with pytest.raises(Stopped):
        make()([{"income": 1}, {"income": -1}])
    assert make(fallback=7.0)([{"income": 1}, {"income": 2}]) == [7.0, 7.0]
    assert not runs


def test_a_killed_guard_answers_from_its_fallback_in_the_kind_of_the_table():
    @guarded(batch=True, mode="killed", fallback=0.5)
    def predict(table):
        return table

    frame = pd.DataFrame({"x": [1, 2]}, index=["a", "b"])
    pd.testing.assert_series_equal(predict(frame), pd.Series([0.5, 0.5], ["a", "b"]))
    assert isinstance(predict(np.array([1, 2])), np.ndarray)
    assert predict([1, 2]) == [0.5, 0.5]


def test_an_interrupt_passes():
    @guarded(batch=True, confidence=0.5, fallback=1)
    def predict(rows: list[int]) -> list[int]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict([1])
    with pytest.raises(KeyboardInterrupt):
        batch(predict, [1])


# ── people ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_ticket_shows_its_row_and_leaves_secrets_out():
    class Case(BaseModel):
        income: float
        ssn: Annotated[str, Secret]

    @guarded(batch=True, confidence=0.8)
    def models(rows: list[Case], region: str = "north"):
        return ["yes"] * len(rows), [0.5] * len(rows)

    @guarded(batch=True, confidence=0.8)
    def frames(frame: Annotated[pd.DataFrame, Rows(Case)]):
        return ["yes"] * len(frame), [0.5] * len(frame)

    frame = pd.DataFrame({"income": [1.0, 2.0], "ssn": ["xy-123-z", "xy-456-z"]})
    for fn, more in ((models, {"region": "north"}), (frames, {})):
        result = batch(fn, frame)
        details = [queue.details(decision.ticket.id) for decision in result]
        assert [detail.arguments for detail in details] == [{"income": 1.0, **more}, {"income": 2.0, **more}]
        assert [decision.ticket.provisional for decision in result] == ["yes", "yes"]
        assert not any(secret in str(details) for secret in frame["ssn"])


def test_review_may_show_columns_or_what_a_callable_makes_of_the_row():
    for show, seen in ((["x"], {"x": 1}), (lambda row: {"twice": row["x"] * 2}, {"twice": 2})):

        @guarded(batch=True, confidence=0.8, review=Review(show=show), name=str(seen))
        def predict(frame: pd.DataFrame):
            return ["yes"], [0.5]

        ticket = batch(predict, pd.DataFrame({"x": [1], "y": [2]}))[0].ticket
        assert queue.details(ticket.id).shown == seen


def test_equal_rows_share_one_open_ticket():
    @guarded(batch=True, confidence=0.8)
    def predict(rows: list[int]):
        return ["yes"] * len(rows), [0.5] * len(rows)

    result = batch(predict, [1, 1, 2])
    assert result[0].ticket == result[1].ticket != result[2].ticket
    assert queue.count() == 2


def test_reviews_of_other_endings_take_each_row():
    @guarded(batch=True, review=Review(on=["failed", "invalid"]))
    def predict(rows: list[Applicant]) -> list[float]:
        raise OSError("down")

    result = batch(predict, [{"income": 1}, {"income": -2}, {"income": 3}])
    assert words(result) == ["deferred"] * 3
    assert [decision.ticket.reason for decision in result] == ["failed", "invalid", "failed"]
    assert isinstance(result[0].error.__cause__, OSError)
    with pytest.raises(PartialBatch):
        predict([{"income": 1}])


def test_the_call_waits_for_people_and_takes_their_answers():
    @guarded(batch=True, confidence=0.8, review=Review(wait="20s", choices=["yes", "no"]))
    def predict(rows: list[int]) -> list[Prediction[str]]:
        return [Prediction("yes", row / 10) for row in rows]

    def people():
        until = time.monotonic() + 15
        while queue.count() < 2 and time.monotonic() < until:
            time.sleep(0.01)
        for ticket in queue.find():
            queue.decide(ticket.id, "no", actor="anna")

    thread = threading.Thread(target=people)
    thread.start()
    answer = predict([9, 2, 3])
    thread.join()
    assert answer[0] == Prediction("yes", 0.9)
    assert [(one.value, one.confidence) for one in answer[1:]] == [("no", 1.0)] * 2


def test_waiting_is_bounded_once_for_all_rows():
    @guarded(batch=True, confidence=0.8, review=Review(wait="200ms"))
    def predict(rows: list[int]):
        return ["yes"] * len(rows), [0.5] * len(rows)

    batch(predict, [100])
    start = time.monotonic()
    assert words(batch(predict, range(8))) == ["deferred"] * 8
    assert time.monotonic() - start < 1.0


def test_a_persons_answer_is_used_again_for_the_same_business_id(home):
    class Loan(BaseModel):
        id: Annotated[str, BusinessId]
        x: float

    @guarded(name="reused", version="1", batch=True, confidence=0.8, review=Review(reuse="1h"))
    def predict(rows: list[Loan]):
        return ["yes"] * len(rows), [0.5] * len(rows)

    first = batch(predict, [{"id": "loan-1", "x": 1}, {"id": "loan-2", "x": 1}])
    assert [decision.business_id for decision in first] == ["loan-1", "loan-2"]
    queue.decide(first[0].ticket.id, "no", actor="anna")
    again = batch(predict, [{"id": "loan-1", "x": 2}, {"id": "loan-2", "x": 2}])
    assert words(again) == ["human", "deferred"]
    assert again[0].value == "no"
    assert [row["business_id"] for row in records(home, "row")] == ["loan-1", "loan-2"] * 2


def test_the_business_id_may_be_a_column():
    @guarded(batch=True, audit=Audit(business_id="loan"))
    def predict(frame: pd.DataFrame) -> list[int]:
        return [1] * len(frame)

    assert [decision.business_id for decision in batch(predict, pd.DataFrame({"loan": ["a", "b"]}))] == ["a", "b"]


def test_a_queue_that_is_down_refuses_rows_but_takes_no_fallback_away(home):
    from guardrail import ReviewUnavailable

    home.mkdir()
    (home / "store.db").mkdir()
    (home / "spool").write_text("not a folder")

    def predict(rows: list[int]):
        return ["yes"] * len(rows), [0.5 if row else 0.9 for row in rows]

    result = batch(guarded(predict, batch=True, confidence=0.8), [0, 1, 2])
    assert words(result) == ["answered", "refused", "refused"]
    assert isinstance(result[1].error, ReviewUnavailable)
    result = batch(guarded(predict, batch=True, confidence=0.8, fallback="no", review="loans"), [0, 1])
    assert words(result) == ["answered", "fallback"]


def test_many_tickets_are_filed_in_one_go():
    @guarded(batch=True, confidence=0.8)
    def predict(rows: list[int]):
        return ["yes"] * len(rows), [0.5] * len(rows)

    result = batch(predict, range(250))
    assert len({decision.ticket.id for decision in result}) == 250
    assert queue.count() == 250


# ── modes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_off_runs_the_bare_function():
    @guarded(batch=True, mode="off", confidence=0.8)
    def predict(rows: list[Applicant]):
        return ["a", "b"], [0.1, 0.2]

    assert predict([{"income": -1}, 2]) == (["a", "b"], [0.1, 0.2])
    result = batch(predict, [{"income": -1}, 2])
    assert result.values == ["a", "b"]
    assert words(result) == ["answered", "answered"]

    @guarded(batch=True, mode="off")
    def fail(rows):
        raise ValueError("no")

    assert words(batch(fail, [1, 2])) == ["failed", "failed"]


def test_observe_changes_nothing_and_counts_what_enforcing_would_have_done(home):
    asked = []

    @guarded(batch=True, mode="observe", confidence=0.8, cache="1m")
    def predict(frame: Frame):
        asked.append(frame)
        return frame["income"] * 2, frame["sure"]

    frame = hard_frame()
    values, _ = predict(frame)
    assert asked == [frame] if asked[0] is frame else False
    pd.testing.assert_series_equal(values, frame["income"] * 2)
    assert last_decision().would == ("validate: 7 of 1000 rows refused", "confidence: 31 of 1000 rows deferred")
    assert last_decision().outcome is Outcome.answered
    result = batch(predict, frame)
    assert dict(result.counts) == {Outcome.answered: 1000}
    assert result[100].would == ("validate: refused (frame[100].income: Input should be greater than 0)",)
    assert result[500].would == ("confidence: low (confidence 0.1 is below 0.8)",)
    assert result[100].value == -2.0
    assert queue.count() == 0
    assert len(records(home, "row")) == 2000
    assert [call["would"] for call in records(home, "call")] == [list(last_decision().would)] * 2


def test_observe_lets_failures_and_odd_results_pass():
    @guarded(batch=True, mode="observe")
    def odd(rows: list[int]):
        return "nothing of the kind"

    assert odd([1, 2]) == "nothing of the kind"
    assert "not one output per row" in last_decision().would[0]

    @guarded(batch=True, mode="observe")
    def fail(rows: list[int]):
        raise LookupError("no")

    with pytest.raises(LookupError):
        fail([1])
    assert words(batch(fail, [1, 2])) == ["failed", "failed"]

    @guarded(batch=True, mode="observe")
    def count(rows):
        return [1] * len(list(rows))

    assert count(iter([1, 2])) == [1, 1]


# ── batch() on such functions ─────────────────────────────────────────────────────────────────────────────────────────
def test_chunks_are_calls_and_workers_share_them():
    asked = []

    @guarded(batch=True, confidence=0.8)
    def predict(frame: Frame):
        asked.append(len(frame))
        return frame["income"] * 2, frame["sure"]

    frame = hard_frame()
    for workers in (1, 3):
        asked.clear()
        result = batch(predict, frame, chunk=300, workers=workers)
        assert dict(result.counts) == {Outcome.answered: 962, Outcome.deferred: 31, Outcome.refused: 7}
        assert result.values[999] == 2000.0
        assert sorted(asked) == [100, 293, 300, 300]
        pd.testing.assert_index_equal(result.to_frame().index, frame.index)
    with pytest.raises(ConfigError, match="chunk="):
        batch(predict, frame, workers=2)


def test_a_chunk_that_fails_does_not_stop_the_others():
    @guarded(batch=True)
    def predict(rows: list[int]) -> list[int]:
        if 4 in rows:
            raise OSError("down")
        return list(rows)

    result = batch(predict, (number for number in range(9)), chunk=3)
    assert words(result) == ["answered"] * 3 + ["failed"] * 3 + ["answered"] * 3


def test_the_other_arguments_of_such_a_function_must_be_bound():
    import functools

    @guarded(batch=True)
    def predict(rows: list[int], factor: int) -> list[int]:
        return [row * factor for row in rows]

    @guarded(batch=True)
    def named(*, rows: list[int]) -> list[int]:
        return list(rows)

    with pytest.raises(ConfigError, match="functools.partial"):
        batch(predict, [1])
    assert batch(functools.partial(predict, factor=3), [1, 2]).values == [3, 6]
    assert batch(named, [1, 2]).values == [1, 2]
    assert named(rows=[3]) == [3]


def test_a_call_that_is_refused_as_a_whole_is_the_end_of_every_row():
    @guarded(batch=True)
    def predict(frame: pd.DataFrame) -> list[int]:
        return [1] * len(frame)

    result = batch(predict, [1, 2])
    assert [type(decision.error) for decision in result] == [InvalidInput] * 2
    with pytest.raises(InvalidInput):
        predict([1, 2])


def test_a_batch_inside_a_function_over_tables_is_its_own():
    @guarded(batch=True)
    def inner(rows: list[int]) -> list[int]:
        return [row + 1 for row in rows]

    @guarded(batch=True)
    def outer(rows: list[int]) -> list[int]:
        return inner(rows)

    assert batch(outer, [1, 2]).values == [2, 3]
    assert outer([1]) == [2]


@pytest.mark.parametrize("workers", [1, 2])
def test_async_functions_over_tables(workers):
    @guarded(batch=True, confidence=0.8, budget="10s")
    async def predict(frame: Frame):
        await asyncio.sleep(0)
        return frame["income"] * 2, frame["sure"]

    async def main():
        result = await batch(predict, hard_frame(), chunk=250, workers=workers)
        assert dict(result.counts) == {Outcome.answered: 962, Outcome.deferred: 31, Outcome.refused: 7}
        with pytest.raises(PartialBatch):
            await predict(hard_frame())
        values, _ = await predict(hard_frame().iloc[:10])
        assert len(values) == 10
        assert (await decide(predict, hard_frame().iloc[:10])).ok

    asyncio.run(main())


def test_async_fallbacks_take_the_unsure_rows():
    async def cheaper(rows):
        await asyncio.sleep(0)
        return ["cheap"] * len(rows)

    @guarded(batch=True, confidence=0.8, fallback=cheaper)
    async def predict(rows: list[int]):
        return ["dear"] * len(rows), [0.9 if row else 0.1 for row in rows]

    assert asyncio.run(predict([1, 0])) == (["dear", "cheap"], [0.9, 0.0])


def test_a_rehearsal_converts_the_rows():
    seen = []

    @guarded(batch=True)
    def predict(rows: list[Applicant]) -> list[float]:
        seen.extend(rows)
        return [row.income for row in rows]

    warm(predict, [{"income": 1}])
    assert [type(row) for row in seen] == [Applicant]
    with pytest.raises(InvalidInput):
        warm(predict, [{"income": -1}])


# ── records ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_records_of_rows_are_durable_before_a_synchronous_answer(home):
    @guarded(batch=True, audit="sync")
    def predict(rows: list[int]) -> list[int]:
        return list(rows)

    predict([1, 2, 3])
    lines = [line for file in home.glob("ledger/**/*.jsonl") for line in file.read_text().splitlines()]
    assert [json.loads(line)["event"] for line in lines].count("row") == 3


def test_rows_stand_in_the_record_where_the_audit_asks_for_it(home):
    @guarded(batch=True, audit=Audit(inputs="plain"))
    def predict(rows: list[Applicant]) -> list[float]:
        return [row.income for row in rows]

    predict([{"income": 1}, {"income": 2}])
    assert [row["input"]["value"] for row in records(home, "row")] == [{"income": 1.0, "debt": 0.0}, {"income": 2.0, "debt": 0.0}]


def test_records_say_who_asked_and_equal_rows_have_equal_digests(home):
    @guarded(batch=True)
    def predict(frame: pd.DataFrame) -> list[int]:
        return [1] * len(frame)

    with acting_as("anna", purpose="scoring"):
        predict(pd.DataFrame({"x": [1, 2, 1]}))
    rows = records(home, "row")
    digests = [row["input"]["digest"] for row in rows]
    assert digests[0] == digests[2] != digests[1]
    assert {row["actor"]["id"] for row in rows} == {"anna"}
    assert records(home, "call")[0]["input"]["digest"]


def test_a_full_queue_of_records_makes_the_rows_wait_not_go_missing(home, monkeypatch):
    from guardrail.ledger import writer

    monkeypatch.setattr(writer, "CAPACITY", 500)

    @guarded(batch=True)
    def predict(rows: list[int]) -> list[int]:
        return list(rows)

    predict(range(5000))
    assert len(records(home, "row")) == 5000


def test_the_record_of_a_call_over_a_table_pretends_no_answer(home):
    """What the rows were answered stands in their own records, and how many ended how goes with the call's."""

    @guarded(batch=True, confidence=0.8)
    def predict(frame: Frame):
        return frame["income"] * 2, frame["sure"]

    predict(hard_frame().iloc[:50])
    assert "output" not in records(home, "call")[0] or "value" not in records(home, "call")[0]["output"]
    batch(predict, hard_frame())
    assert last_decision().outcome == "deferred"
    assert calls.latest.get()[9]["rows"] == {"answered": 962, "deferred": 31, "refused": 7}


def test_the_digest_of_a_vector_is_the_same_for_a_row_as_for_a_call(home):
    matrix = np.array([[0.9, 0.1], [0.3, 0.7]], order="F")

    @guarded(batch=True)
    def rows(table: list[int]):
        return matrix

    @guarded
    def one(x: int):
        return matrix[0].copy()

    rows([1, 2])
    one(1)
    assert records(home, "row")[0]["output"] == records(home, "call")[-1]["output"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tables=strategies.lists(
        strategies.lists(strategies.tuples(strategies.integers(-1, 4), strategies.sampled_from([0.1, 0.9])), max_size=8),
        max_size=4,
    ),
    as_frame=strategies.booleans(),
)
def test_any_mixture_of_rows_ends_as_its_rows_do(tables, as_frame):
    asked = []

    def predict(table):
        rows = list(zip(table["income"], table["sure"])) if as_frame else [(row["income"], row["sure"]) for row in table]
        asked.extend(rows)
        return [income * 2 for income, _ in rows], [sure for _, sure in rows]

    class Row(BaseModel):
        income: int = Field(gt=0)
        sure: float

    predict.__annotations__["table"] = Annotated[pd.DataFrame if as_frame else list, Rows(Row)]
    guard = guarded(predict, batch=True, confidence=0.5, cache=Cache("1h", jitter=0), fallback="low")
    known = set()
    for rows in tables:
        expected = []
        for row in rows:
            income, sure = row
            if income <= 0:
                expected.append(("refused", None))
            elif row in known:
                expected.append(("cached", income * 2))
            elif sure < 0.5:
                expected.append(("fallback", "low"))
            else:
                expected.append(("answered", income * 2))
        del asked[:]
        records = [{"income": income, "sure": sure} for income, sure in rows]
        result = batch(guard, pd.DataFrame(records, columns=["income", "sure"]) if as_frame else records)
        assert list(zip(words(result), result.values)) == expected
        assert asked == [row for row, (outcome, _) in zip(rows, expected) if outcome in ("answered", "fallback")]
        known |= {row for row, (outcome, _) in zip(rows, expected) if outcome == "answered"}


def test_records_that_find_no_room_become_a_gap_and_do_not_hold_the_answer_for_ever(home, monkeypatch):
    from guardrail.ledger import writer
    from guardrail.policies import table_records

    monkeypatch.setattr(table_records, "_PATIENCE", 0.05)
    monkeypatch.setattr(writer, "full", lambda: True)

    @guarded(batch=True)
    def predict(rows: list[int]) -> list[int]:
        return list(rows)

    start = time.monotonic()
    assert predict([1] * 1000) == [1] * 1000
    assert time.monotonic() - start < 2
    assert sum(gap["count"] for gap in records(home, "gap")) == 1000
