"""What is put together from texts made once reads the same as what is encoded whole, whatever the call was."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from fake_calls import make_entry, make_plan
from hypothesis import given
from hypothesis import strategies as st

from guardrail.ledger import moulds as moulds_module
from guardrail.ledger import record
from guardrail.ledger.entry import Entry
from guardrail.ledger.moulds import Moulds

KEY = record.Key(b"k" * 32)
AROUND = {"service": 'lo"ans\\é', "origin": "test", "host": "h", "pid": 7, "sdk": "1"}
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), FLOATS, st.text(), st.characters(categories=["Cs"]),
    st.tuples(st.text(max_size=3), st.floats(0, 1)), st.tuples(), st.lists(st.integers(0, 9), max_size=2).map(tuple),
)  # fmt: skip


def pour(moulds: Moulds, entry: Entry) -> bytes | None:
    """Return a call's line as it is poured, None where it is left to the encoder."""
    left: list[Entry] = []
    lines = moulds_module.pour([entry], lambda _entry: moulds, lambda odd, _moulds: left.append(odd))
    assert len(lines) + len(left) == 1
    return lines[0] if lines else None


def both(plan: Any, key: record.Key | None, parts: dict[str, Any]) -> tuple[bytes | None, bytes]:
    """Return a call's line as it is poured, and as it is encoded."""
    entry, same = make_entry(plan, **parts), record.sameness(plan)
    return pour(Moulds(same, AROUND, key), entry), record.call_body(entry, same, AROUND, key)


@given(
    outcome=st.sampled_from(["answered", "cached", "stale", "fallback", "human", "late", "failed", "refused", "deferred"]),
    output=VALUES,
    confidence=st.one_of(st.none(), FLOATS, st.integers(0, 1)),
    attempts=st.integers(0, 3),
    snapshot=st.one_of(st.none(), st.binary(max_size=300)),
    took=st.floats(0, 1e9),
    at=st.floats(0, 4e9),
    plan=st.fixed_dictionaries(
        {},
        optional={
            "threshold": st.one_of(st.none(), FLOATS), "budget_ms": st.none(), "schema": st.one_of(st.none(), st.text(max_size=9)),
            "inputs": st.sampled_from(["none", "digest", "plain"]), "tags": st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
            "returns_prediction": st.booleans(), "cache_words": st.just({"cached": "hit", "answered": "miss"}), "name": st.text(),
        },
    ),
    keyed=st.booleans(),
)  # fmt: skip
def test_a_poured_line_reads_as_the_encoded_one(plan: dict[str, Any], keyed: bool, **parts: Any) -> None:
    """The same fields in the same order with the same values; what cannot be poured is left to the other."""
    poured, encoded = both(make_plan(**plan), KEY if keyed else None, parts)
    if poured is not None:
        assert orjson.loads(poured) == orjson.loads(encoded)
        assert list(orjson.loads(poured)) == list(orjson.loads(encoded))


@pytest.mark.parametrize("output", ["approve", 0.5, 7, True, None, ("approve", 0.9)])
def test_ordinary_calls_are_poured(output: Any) -> None:
    """None of these needs to be encoded whole, and each mould serves many calls."""
    plan = make_plan(returns_prediction=True)
    moulds = Moulds(record.sameness(plan), AROUND, KEY)
    for at in range(3):
        line = pour(moulds, make_entry(plan, output=output, took=0.001 * at))
        assert line is not None
        assert orjson.loads(line)["output"] == {"value": output[0] if isinstance(output, tuple) else output}


@pytest.mark.parametrize(
    "parts",
    [{"extra": {"reasons": ("thin file",)}}, {"output": "x" * 70_000}, {"output": [1]}, {"confidence": 2.0}, {"took": "long"}],
)
def test_what_is_not_ordinary_is_left_to_the_encoder(parts: dict[str, Any]) -> None:
    """Rare facts, long or structured answers, and parts of another kind."""
    plan = make_plan()
    assert pour(Moulds(record.sameness(plan), AROUND, KEY), make_entry(plan, **parts)) is None


def test_moulds_of_one_plan_are_bounded() -> None:
    """However many attempts calls need."""
    plan = make_plan()
    moulds = Moulds(record.sameness(plan), AROUND, KEY)
    for attempts in range(1_000):
        assert pour(moulds, make_entry(plan, attempts=attempts)) is not None
    assert len(moulds.shapes) <= 256


CALLS = st.tuples(
    st.sampled_from([0.0, 1_700_000_000.0, 1_700_000_000.9999999, 1_700_000_001.0]),
    st.floats(-0.002, 0.002),
    st.sampled_from([1, 2**18 - 1, 2**18, 2**32]),
    st.integers(0, 3),
    st.sampled_from(["answered", "failed"]),
)


@given(calls=st.lists(CALLS, max_size=12))
def test_calls_poured_one_after_the_other_share_no_more_than_they_have_in_common(calls: list[Any]) -> None:
    """Ids and moments are right over the edges of milliseconds and seconds, whichever way time goes."""
    plans = make_plan(), make_plan(name="other", inputs="none")
    moulds = {each.name: Moulds(record.sameness(each), AROUND, KEY) for each in plans}
    entries = [
        make_entry(plans[step % 2], at=at + more, seq=seq + step, outcome=outcome) for at, more, seq, step, outcome in calls
    ]
    lines = moulds_module.pour(
        entries, lambda entry: moulds[entry[3].name], lambda _entry, _moulds: pytest.fail("it is ordinary")
    )
    encoded = [record.call_body(each, moulds[each.plan.name].same, AROUND, KEY) for each in entries]
    assert [orjson.loads(line) for line in lines] == [orjson.loads(line) for line in encoded]


def test_what_is_left_to_the_encoder_stays_in_its_place() -> None:
    """Lines stand in the order of the calls; those of a plan without moulds, and those that cannot be made, have none."""
    plan, silent = make_plan(), make_plan(name="silent")
    moulds = Moulds(record.sameness(plan), AROUND, KEY)
    ends = {"a": b"odd", "b": None}
    entries = [
        make_entry(plan, output="first"), make_entry(silent), make_entry(plan, output=["a"]), make_entry(plan, output="second"),
        make_entry(plan, output=["b"]), make_entry(silent), make_entry(plan, output="third"),
    ]  # fmt: skip
    lines = moulds_module.pour(entries, lambda each: moulds if each[3] is plan else None, lambda odd, _moulds: ends[odd[6][0]])
    assert [line if line == b"odd" else orjson.loads(line)["output"]["value"] for line in lines] == [
        "first",
        b"odd",
        "second",
        "third",
    ]
