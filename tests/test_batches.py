"""`batch(predict, rows)` on functions that take one row."""

import asyncio
import contextlib
import contextvars
import copy
import io
import json
import pickle
import signal
import sqlite3
import sys
import threading
import time
from datetime import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import BaseModel, Field

from guardrail import (
    Batch,
    BudgetExceeded,
    ConfigError,
    Deferred,
    InvalidInput,
    Outcome,
    Prediction,
    Review,
    batch,
    flush,
    guard_of,
    guarded,
    last_decision,
    remaining,
)


class Applicant(BaseModel):
    income: float = Field(gt=0)
    debt: float = 0.0


@guarded
def score(applicant: Applicant) -> float:
    if applicant.debt > 100:
        raise LookupError("no such debtor")
    return applicant.income - applicant.debt


@guarded
def double(x: int) -> int:
    return 2 * x


def records(home, event):
    """Return the ledger's records of one kind, oldest first."""
    assert flush(5)
    lines = [line for file in sorted(home.glob("ledger/**/*.jsonl")) for line in file.read_text().splitlines()]
    return [record for record in map(json.loads, lines) if record["event"] == event]


ROWS = [{"income": 10.0, "debt": 4.0}, {"income": -1.0}, {"income": 5.0, "debt": 200.0}, {"income": 3.0}]


def check_score(result):
    assert result.values == [6.0, None, None, 3.0]
    assert [decision.outcome for decision in result] == ["answered", "refused", "failed", "answered"]
    assert result.outcomes == [Outcome.answered, Outcome.refused, Outcome.failed, Outcome.answered]


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_each_row_gets_a_decision_and_a_failing_row_stops_nobody():
    result = batch(score, ROWS)
    check_score(result)
    assert isinstance(result[1].error, InvalidInput)
    assert str(result[1].error) == "applicant.income: Input should be greater than 0"
    assert isinstance(result[2].error, LookupError)
    assert result[0].value == 6.0
    with pytest.raises(LookupError, match="no such debtor"):
        _ = result[2].value


def test_rows_without_an_answer_are_counted_and_named():
    result = batch(score, ROWS)
    assert dict(result.counts) == {Outcome.answered: 2, Outcome.refused: 1, Outcome.failed: 1}
    assert len(result) == 4
    assert result[-1].value == 3.0
    assert [decision.ok for decision in result] == [True, False, False, True]
    assert repr(result) == "<Batch of 4 rows: 2 answered, 1 refused, 1 failed>"
    assert "2" in result._repr_html_() and "refused" in result._repr_html_()
    with pytest.raises(IndexError):
        _ = result[4]


@pytest.mark.parametrize(
    "rows",
    [
        [1, 2, 3], (1, 2, 3), range(1, 4), {1, 2, 3}, iter([1, 2, 3]), np.array([1, 2, 3]), pd.Series([1, 2, 3], [9, 9, 7]),
        pl.Series([1, 2, 3]), pa.array([1, 2, 3]), pa.chunked_array([[1], [2, 3]]), {1: "a", 2: "b", 3: "c"}.keys(),
    ],
    ids=lambda rows: type(rows).__module__ + "." + type(rows).__name__,
)  # fmt: skip
def test_rows_may_stand_in_any_container(rows):
    assert batch(double, rows).values == [2, 4, 6]


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.Table.from_pylist, pa.RecordBatch.from_pylist])
def test_a_row_of_a_table_is_a_mapping_of_column_to_value(make):
    seen = []

    @guarded
    def look(row):
        seen.append(row)

    batch(look, make([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]))
    assert seen == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert [type(value) for value in seen[0].values()] == [int, str]


def test_rows_of_a_matrix_are_vectors():
    @guarded
    def total(row) -> float:
        return float(row.sum())

    assert batch(total, np.array([[1.0, 2.0], [3.0, 4.0]])).values == [3.0, 7.0]


def test_missing_cells_are_none_but_a_nan_among_floats_stays():
    seen = []

    @guarded
    def look(row):
        seen.append(row)

    frame = pd.DataFrame({
        "text": ["a", None], "whole": pd.array([1, None], dtype="Int64"), "when": [pd.Timestamp(2020, 1, 1), pd.NaT],
        "real": [1.0, float("nan")], "mixed": pd.Series([1, float("nan")], dtype=object),
    })  # fmt: skip
    batch(look, frame)
    assert seen[0] == {"text": "a", "whole": 1, "when": datetime(2020, 1, 1), "real": 1.0, "mixed": 1}
    assert seen[1].pop("real") != 0
    assert seen[1] == {"text": None, "whole": None, "when": None, "mixed": None}


def test_mappings_are_keywords_and_sequences_positions_where_more_than_one_parameter_is_required():
    @guarded
    def ratio(debt: float, income: float, scale: float = 1.0) -> float:
        return scale * debt / income

    assert batch(ratio, [{"income": 4, "debt": 2}, (3, 6), [3, 6, 2.0]]).values == [0.5, 0.5, 1.0]
    assert batch(ratio, pd.DataFrame({"income": [4], "debt": [2]})).values == [0.5]
    assert batch(ratio, np.array([[3.0, 6.0]])).values == [0.5]


def test_a_required_keyword_takes_the_row():
    @guarded
    def look(scale: int = 2, *, row: int) -> int:
        return scale * row

    assert batch(look, [1, 2]).values == [2, 4]


def test_a_row_that_does_not_fit_the_parameters_is_a_failed_row():
    @guarded
    def ratio(debt: float, income: float) -> float:
        return debt / income

    result = batch(ratio, [(1, 2), (1,), {"debt": 1, "income": 2, "age": 3}, (1, 4)])
    assert result.values == [0.5, None, None, 0.25]
    assert [type(decision.error) for decision in result] == [type(None), TypeError, TypeError, type(None)]
    assert "age" in str(result[2].error)
    assert result.outcomes[1] is Outcome.failed


def test_rows_from_a_generator_are_streamed():
    begun = []

    def rows():
        for number in range(2000):
            begun.append(number)
            yield number

    @guarded(validate=False, audit="off")
    def how_far(x) -> int:
        return len(begun)

    result = batch(how_far, rows())
    assert len(result) == 2000
    assert result[0].value < 1000


def test_methods_and_partials_are_asked_as_they_are():
    import functools

    class Model:
        factor = 3

        @guarded
        def predict(self, x: int) -> int:
            return self.factor * x

    @guarded
    def power(base: int, exponent: int) -> int:
        return base**exponent

    assert batch(Model().predict, [1, 2]).values == [3, 6]
    assert batch(functools.partial(power, exponent=2), [3, 4]).values == [9, 16]


# ── what is no batch ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_wrong_use_says_what_to_write():
    def bare(x):
        return x

    @guarded
    def items(x):
        yield x

    for fn, rows, options, text in [
        (bare, [1], {}, "not guarded"),
        (items, [1], {}, "iterate it"),
        (double, 7, {}, "type int"),
        (double, "abc", {}, "type str"),
        (double, {"x": 1}, {}, "type dict"),
        (double, pl.LazyFrame({"x": [1]}), {}, "collect"),
        (double, [1], {"workers": 0}, "workers"),
        (double, [1], {"workers": True}, "workers"),
        (double, [1], {"chunk": 0}, "chunk"),
        (double, [1], {"chunk": 1.5}, "chunk"),
        (double, [1], {"progress": "yes"}, "progress"),
    ]:
        with pytest.raises(ConfigError, match=text):
            batch(fn, rows, **options)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_config_error_passes_and_stops(workers):
    runs = []

    @guarded(confidence=0.8)
    def unreadable(x: int) -> str:
        runs.append(x)
        return "sure"

    with pytest.raises(ConfigError, match="no confidence can be read"):
        batch(unreadable, range(1000), workers=workers)
    assert len(runs) < 100


def test_what_ends_programs_passes():
    @guarded
    def leave(x):
        raise SystemExit(3)

    for workers in (1, 2):
        with pytest.raises(SystemExit):
            batch(leave, [1, 2], workers=workers)


# ── workers ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("chunk", [None, 1, 7, 1000])
@pytest.mark.parametrize("workers", [1, 4])
def test_order_is_kept_whatever_the_workers_and_portions(workers, chunk):
    @guarded
    def uneven(x: int) -> int:
        if x % 50 == 0:
            time.sleep(0.003)
        if x % 13 == 5:
            raise ValueError(x)
        return x

    result = batch(uneven, range(200), workers=workers, chunk=chunk)
    assert result.values == [None if x % 13 == 5 else x for x in range(200)]
    assert [str(decision.error) for decision in result if not decision.ok] == [str(x) for x in range(200) if x % 13 == 5]


def test_workers_run_at_the_same_time():
    meeting = threading.Barrier(4)

    @guarded
    def meet(x: int) -> int:
        meeting.wait(5)
        return x

    assert batch(meet, range(8), workers=4).values == list(range(8))


def test_a_generator_of_rows_is_asked_in_the_calling_thread():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        rows = (row[0] for row in connection.execute("values (1), (2), (3)"))
        assert batch(double, rows, workers=2).values == [2, 4, 6]


def test_context_reaches_the_rows_and_does_not_leak_from_one_to_the_next():
    tenant = contextvars.ContextVar("tenant", default="nobody")

    @guarded
    def who(x: int) -> str:
        found = tenant.get()
        tenant.set(f"row {x}")
        return found

    tenant.set("bank")
    assert set(batch(who, range(20), workers=3, chunk=4).values) == {"bank"}

    @guarded
    async def awho(x: int) -> str:
        found = tenant.get()
        tenant.set(f"row {x}")
        await asyncio.sleep(0)
        return found

    assert set(asyncio.run(batch(awho, range(20), workers=3)).values) == {"bank"}


def test_an_interrupt_stops_promptly_though_a_row_hangs():
    hang = threading.Event()
    begun = []

    @guarded
    def wait(x: int) -> int:
        begun.append(x)
        hang.wait(20)
        return x

    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    timer.start()
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            batch(wait, range(100), workers=2)
        assert time.monotonic() - start < 5
    finally:
        hang.set()
    assert len(begun) == 2


def test_rows_inherit_the_deadline_of_the_call_around_the_batch():
    @guarded
    def left(x: int) -> bool:
        return (remaining() or 99) < 30

    @guarded(budget="20s")
    def whole() -> list:
        return batch(left, [1, 2], workers=2).values

    assert whole() == [True, True]


# ── async ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("workers", [1, 10])
def test_an_async_function_gives_an_awaitable_with_bounded_concurrency(workers):
    now, most = 0, 0

    @guarded
    async def ask(x: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001 * (x % 3))
        now -= 1
        if x % 7 == 3:
            raise ValueError(x)
        return x

    result = asyncio.run(batch(ask, range(50), workers=workers))
    assert result.values == [None if x % 7 == 3 else x for x in range(50)]
    assert most == workers


def test_cancelling_an_async_batch_cancels_its_rows():
    cancelled = []

    @guarded
    async def wait(x: int) -> int:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(x)
            raise
        return x

    async def main():
        task = asyncio.ensure_future(batch(wait, range(10), workers=3))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert sorted(cancelled) == [0, 1, 2]


# ── what comes of it ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_frame_keeps_the_index_duplicates_too():
    index = pd.Index(["b", "a", "b", "z"], name="loan")
    table = batch(score, pd.DataFrame(ROWS, index=index).fillna({"debt": 0.0})).to_frame()
    pd.testing.assert_index_equal(table.index, index)
    assert list(table.columns) == ["value", "outcome", "confidence", "ticket", "error", "decision_id"]
    assert table["outcome"].tolist() == ["answered", "refused", "failed", "answered"]
    assert table["value"].tolist()[::3] == [6.0, 3.0]
    assert table["error"].iloc[1] == "InvalidInput: applicant.income: Input should be greater than 0"
    assert table["error"].iloc[0] is None
    assert table["decision_id"].is_unique


def test_the_frame_of_other_rows_has_their_places_as_its_index():
    assert batch(double, [1, 2]).to_frame().index.tolist() == [0, 1]
    assert len(batch(double, []).to_frame()) == 0


def test_a_batch_of_nothing_is_empty():
    result = batch(double, [])
    assert (len(result), list(result), result.values, dict(result.counts)) == (0, [], [], {})
    assert repr(result) == "<Batch of 0 rows>"


def test_a_batch_is_pickled_and_copied_whole():
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} {two}")

    @guarded(confidence=0.8)
    def unsure(x: int) -> Prediction[int]:
        if x == 2:
            raise Odd(1, 2)
        return Prediction(x, 0.9 if x else 0.1)

    result = batch(unsure, [0, 1, 2])
    for twin in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert isinstance(twin, Batch)
        assert twin.outcomes == [Outcome.deferred, Outcome.answered, Outcome.failed]
        assert twin.values == result.values
        assert [decision.id for decision in twin] == [decision.id for decision in result]
        assert twin[0].ticket == result[0].ticket
        assert isinstance(twin[0].error, Deferred)
        assert twin[2].error is not None


def test_unsure_rows_are_tickets_and_carry_them():
    @guarded(confidence=0.8, review=Review("loans"))
    def predict(x: int) -> Prediction[str]:
        return Prediction("yes", 0.5 if x % 2 else 0.9)

    result = batch(predict, range(6))
    assert result.outcomes == [Outcome.answered, Outcome.deferred] * 3
    assert [decision.confidence for decision in result] == [0.9, 0.5] * 3
    assert len({decision.ticket.id for decision in result if decision.ticket}) == 3
    assert result[1].ticket.decision_id == result[1].id
    assert result[1].reasons == ("confidence 0.5 is below 0.8",)
    assert result[0].threshold == 0.8


def test_errors_keep_their_tracebacks_only_as_long_as_they_are_few():
    @guarded
    def fail(x: int) -> int:
        raise ValueError(x)

    result = batch(fail, range(300))
    assert result[0].error.__traceback__ is not None
    assert result[299].error.__traceback__ is None
    assert str(result[299].error) == "299"


def test_the_records_of_rows_name_one_parent_and_nested_calls_name_their_row(home):
    @guarded(name="inner")
    def inner(x: int) -> int:
        return x

    @guarded(name="outer")
    def outer(x: int) -> int:
        return inner(x)

    result = batch(outer, [1, 2, 3], workers=2)
    rows = records(home, "row")
    assert [row["guard"] for row in rows] == ["outer"] * 3
    assert len({row["parent"] for row in rows}) == 1
    assert {row["id"] for row in rows} == {decision.id for decision in result}
    calls = records(home, "call")
    assert {call["parent"] for call in calls} == {row["id"] for row in rows}
    outer(4)
    assert "parent" not in records(home, "call")[-1]


def test_the_last_decision_after_a_batch_is_its_last_row():
    result = batch(double, [1, 2])
    assert last_decision().id == result[-1].id


def test_rows_of_a_guard_that_is_off_are_bare_runs():
    @guarded(mode="off")
    def bare(x: int) -> int:
        return 1 // x

    result = batch(bare, [1, 0])
    assert result.values == [1, None]
    assert result.outcomes == [Outcome.answered, Outcome.failed]


def test_late_rows_are_late():
    @guarded(budget="50ms")
    def slow(x: int) -> int:
        time.sleep(0.3 if x == 1 else 0)
        return x

    result = batch(slow, [0, 1, 2])
    assert result.outcomes == [Outcome.answered, Outcome.late, Outcome.answered]
    assert isinstance(result[1].error, BudgetExceeded)


def test_a_million_rows_need_little_memory_each():
    import tracemalloc

    made = Batch()
    from guardrail.batches.result import Same, add

    same = Same("g", "1", "enforce", None)
    tracemalloc.start()
    for number in range(20_000):
        add(made, number, "answered", number, 1.7e9, 1e-6, 0.9, 1, same)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / 20_000 < 150


# ── progress ──────────────────────────────────────────────────────────────────────────────────────────────────────────
class Screen(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_shown_when_asked_for_and_tells_what_went_wrong(monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    batch(score, ROWS, progress=True)
    assert "4/4" in screen.getvalue()
    assert "refused: 1, failed: 1" in screen.getvalue()
    assert "score" in screen.getvalue()


def test_no_bar_where_nobody_looks_nor_for_what_is_soon_over(monkeypatch):
    for screen, progress in [(io.StringIO(), None), (Screen(), None), (Screen(), False)]:
        monkeypatch.setattr(sys, "stderr", screen)
        batch(double, [1, 2], progress=progress)
        assert screen.getvalue() == ""


def test_a_bar_appears_by_itself_in_a_terminal_when_it_takes_long(monkeypatch):
    from guardrail.batches import progress

    monkeypatch.setattr(progress, "DELAY", 0.05)
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)

    @guarded
    def slow(x: int) -> int:
        time.sleep(0.05)
        return x

    batch(slow, iter(range(6)), chunk=1)
    assert "6/6" in screen.getvalue()


def test_the_numbers_of_the_guard_count_the_rows():
    batch(score, ROWS)
    assert guard_of(score).stats()["outcomes"]["answered"] >= 2
