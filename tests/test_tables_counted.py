"""A call over a table is the parent of its rows: the rows are counted, the call says how many ended how, nothing is kept alive."""

from __future__ import annotations

import gc
import json
import weakref

from guardrail import batch, flush, guard_of, guarded
from guardrail import call as calls


def ask():
    """Judge four rows, of which one is unsure."""

    @guarded(name="desk", batch=True, confidence=0.8)
    def score(rows: list[int]):
        return ["yes"] * len(rows), [0.9 if row else 0.1 for row in rows]

    batch(score, [1, 2, 0, 3])
    return score


def test_rows_are_counted_and_the_call_over_them_is_not_counted_beside_them():
    """Four rows are four decisions, whatever the call over them ended as."""
    score = ask()
    figures = guard_of(score).stats()
    assert (figures["calls"], figures["tables"], figures["outcomes"]) == (4, 1, {"answered": 3, "deferred": 1})
    assert [decision.outcome for decision in guard_of(score).last(9)] == ["answered", "deferred", "answered", "answered"]


def test_the_record_of_the_call_says_how_many_rows_ended_how(home):
    """Also where not all have an answer."""
    ask()
    assert flush(5)
    lines = [json.loads(line) for file in home.glob("ledger/**/*.jsonl") for line in file.read_text().splitlines()]
    (call,) = [line for line in lines if line["event"] == "call"]
    assert call["output"] == {"rows": {"answered": 3, "deferred": 1}}


def test_the_latest_decisions_keep_no_function_alive():
    """What is remembered of a guard are facts: its function is collected when the user drops it."""

    def work(x):
        return x

    predict = guarded(work, name="dropped")
    predict(1)
    assert guard_of(predict).last()[0].guard == "dropped"
    gone = weakref.ref(work)
    del work, predict
    calls.latest.set(None)

    @guarded(name="dropped")
    def other(x):
        return x

    other(2)  # the ledger's thread remembers the plan of its latest call, for speed
    assert len(guard_of(other).last()) == 2
    gc.collect()
    assert gone() is None
