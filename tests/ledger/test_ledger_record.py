"""Lines: their fields, their order, and what hostile values become."""

from __future__ import annotations

import hashlib
import math
from enum import Enum
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from fake_calls import make_entry, make_plan

from guardrail.call import decision_id
from guardrail.content import digest as content_digest
from guardrail.content import summary
from guardrail.errors import InvalidInput
from guardrail.ledger import record, schema
from guardrail.principal import Principal

KEY = b"k" * 32
PREV = b"ab" * 32
AROUND = {"service": "loans", "origin": "test", "host": "h", "pid": 7, "sdk": "1"}


def made(plan: Any = None, *, key: bytes | None = KEY, **parts: Any) -> dict[str, Any]:
    """Return the record that a call with these parts gets, read back from its line."""
    entry = make_entry(plan, **parts)
    keyed = None if key is None else record.Key(key)
    line = record.seal(record.call_body(entry, record.sameness(entry.plan), AROUND, keyed), 12, PREV)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= schema.LINE_LIMIT
    found: dict[str, Any] = orjson.loads(line)
    return found


def test_an_ordinary_call_is_recorded_whole() -> None:
    """Every field of an ordinary record, compared whole."""
    entry = make_entry(make_plan(tags={"team": "credit"}), seq=3, at=1_700_000_000.25, took=0.0123456789)
    line = record.seal(record.call_body(entry, record.sameness(entry.plan), AROUND, record.Key(KEY)), 12, PREV)
    assert orjson.loads(line) == {
        "v": 1, "id": decision_id(1_700_000_000.25, 3), "seq": 12, "prev": "ab" * 32, "ts": "2023-11-14T22:13:20.250000Z",
        "event": "call", "outcome": "answered", "guard": "credit:predict", "version": "3.2.0", "plan": "d1", "mode": "enforce",
        "input": {"digest": hashlib.blake2b(b"(x)", digest_size=20, key=KEY).hexdigest(), "size": 3, "schema": "applicant: Applicant"},
        "output": {"value": 0.5}, "confidence": 0.9, "threshold": 0.8, "attempts": 1, "timings": {"total": 0.0123456},
        "budget_ms": 250.0, **AROUND, "tags": {"team": "credit"},
    }  # fmt: skip


def test_fields_stand_in_one_order() -> None:
    """Whatever a call has, its fields come in the order that the schema names."""
    full = made(
        make_plan(tags={"a": "b"}),
        extra={
            "actor": (Principal("ann", roles=["r"]), "credit decision"), "business_id": "loan-17", "reasons": ("thin file",),
            "ticket": SimpleNamespace(id="t-1"), "parent": "p-1", "stop_reason": "out of time", "stages": {"retrieve": 0.1},
            "error": ValueError("secret"), "policy": "validation", "would": ("validation: refused (x)",),
            "span": SimpleNamespace(trace_id=1, span_id=2), "late": True,
        },
    )  # fmt: skip
    assert [name for name in full if name != "late"] == [name for name in schema.ORDER if name in full]
    assert full["actor"] == {"id": "ann", "kind": "user", "known_by": "asserted", "roles": ["r"]}
    assert full["timings"] == {"total": 0.001, "retrieve": 0.1}
    assert full["error"] == {"type": "ValueError", "policy": "validation"}
    assert full["trace_id"] == "00000000000000000000000000000001"
    assert full["ticket"] == "t-1"


def test_what_is_absent_has_no_field() -> None:
    """A call without threshold, budget, input, confidence or answer has none of these fields."""
    bare = made(
        make_plan(threshold=None, budget_ms=None, schema=None), outcome="failed", snapshot=None, confidence=None, attempts=0,
        output=None, extra={"error": RuntimeError()},
    )  # fmt: skip
    assert set(bare) == set("v id seq prev ts event outcome guard version plan mode timings error".split()) | set(AROUND)


def test_an_answer_of_none_is_an_answer() -> None:
    """None that was answered is recorded; a refusal has no output."""
    assert made(output=None)["output"] == {"value": None}
    assert "output" not in made(output=None, outcome="refused")


@pytest.mark.parametrize(
    ("value", "spelled"),
    [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"), (2**70, hex(2**70)), (True, True), (-0.5, -0.5)],
)
def test_numbers_that_json_lacks_are_spelled(value: Any, spelled: Any) -> None:
    """NaN, infinities and huge integers give a valid line that still says what they were."""
    assert made(output=value)["output"]["value"] == spelled


def test_a_confidence_that_is_no_number_stays_visible() -> None:
    """A NaN confidence is why a case was deferred, so the record says NaN."""
    assert made(confidence=math.nan, outcome="deferred")["confidence"] == "NaN"
    assert made(confidence=1.5)["confidence"] == 1.5


def test_an_event_of_any_size_fits_a_line() -> None:
    """Many long fields are cut and then left out, the longest first, until the line fits."""
    much = {f"field{at}": {"list": ["x" * 900] * 100} for at in range(150)} | {"small": "kept"}
    body = record.event_body(decision_id(1.0, 1), 1.0, "incident", guard="g", fields=much, around=AROUND)
    assert len(record.seal(body, 10**18, PREV)) <= schema.LINE_LIMIT
    found = orjson.loads(body)
    assert (found["event"], found["guard"], found["small"], found["pid"]) == ("incident", "g", "kept", 7)
    assert set(found["truncated"]) >= set(much) - set(found)


def test_a_large_answer_is_digested_under_the_key() -> None:
    """Of what is no plain value the record says digest, size and type; without a key, never a digest."""
    large = summary(list(range(1_000)))
    said = made(output=large)["output"]
    assert said == {"digest": content_digest(large.encoding, key=KEY).hex(), "size": said["size"], "schema": "list(1000)"}
    assert set(made(output=large, key=None)["output"]) == {"size", "schema"}


def test_an_answer_with_a_confidence_is_recorded_without_it() -> None:
    """A Prediction or a pair is its value, since the confidence has its own field; another pair stays a pair."""
    sure = 0.7
    assert made(output=("approve", sure), confidence=sure)["output"] == {"value": "approve"}
    assert made(output=("approve", 0.25), confidence=sure)["output"] == {"value": ["approve", 0.25]}
    assert made(make_plan(returns_prediction=True), output=("no", 0.0), confidence=0.3, outcome="fallback")["output"] == {
        "value": "no"
    }
    assert "output" not in made(output=())


def test_a_plain_answer_is_kept_as_it_is() -> None:
    """`output="plain"` keeps a mapping or a long list whole, as long as the line can hold it."""
    answer = {"rows": list(range(500)), "note": "x" * 2_000}
    assert made(output=answer)["output"]["value"] == answer


def test_an_enum_is_recorded_by_its_value() -> None:
    """An enum's value is the answer that a reader understands."""
    assert made(output=Enum("Answer", {"yes": "YES"}).yes)["output"] == {"value": "YES"}  # type: ignore[attr-defined]


def test_hostile_text_cannot_break_a_line() -> None:
    """Newlines, lone surrogates and control characters in names, ids and reasons leave one valid line."""
    nasty = 'a\n"}\ud800\x1b[2J\u2028'
    found = made(
        make_plan(name=nasty, version=nasty, tags={nasty: nasty}), output=nasty,
        extra={"business_id": nasty, "reasons": (nasty,), "would": (nasty,), "stages": {nasty: 1.0}, "stop_reason": nasty,
               "actor": (Principal(nasty, roles=[nasty], tenant=nasty), nasty)},
    )  # fmt: skip
    kept = nasty.replace("\ud800", "?")
    assert found["guard"] == found["business_id"] == found["purpose"] == found["actor"]["id"] == found["reasons"][0] == kept
    assert found["output"]["value"] == kept


def test_the_text_of_an_error_is_never_recorded() -> None:
    """Neither the function's own message nor ours reaches the record, only the type."""
    found = made(outcome="refused", output=None, extra={"error": InvalidInput("age 17 is too low"), "policy": "validation"})
    assert found["error"] == {"type": "guardrail.errors.InvalidInput", "policy": "validation"}
    assert b"17" not in orjson.dumps({name: found[name] for name in ("error", "outcome", "input")})


@pytest.mark.parametrize("size", [70_000, 5_000_000])
def test_a_line_is_bounded_and_says_what_was_cut(size: int) -> None:
    """However much people write, a line stays below 64 kB, names what was cut, and keeps what identifies the call."""
    much = tuple(f"{at} " + "ü" * 900 for at in range(size // 900))
    found = made(
        make_plan(name="n" * size, tags={str(at): "t" * 900 for at in range(300)}), extra={"reasons": much, "would": much}
    )
    assert {"reasons", "would", "tags"} <= set(found["truncated"])
    assert found["outcome"] == "answered"
    assert found["reasons"][0].startswith("0 ü")
    assert found["guard"].endswith("… (cut)")


def test_plain_input_is_kept_only_where_the_guard_asks_for_it() -> None:
    """`inputs="plain"` keeps the arguments, "none" nothing at all, and too large ones go into a file of their own."""
    extra = {"plain": b'{"applicant": {"age": 41}}'}
    assert made(make_plan(inputs="plain"), extra=extra)["input"]["value"] == {"applicant": {"age": 41}}
    assert "value" not in made(make_plan(inputs="digest"), extra=extra)["input"]
    assert "input" not in made(make_plan(inputs="none"), extra=extra)
    large = made(make_plan(inputs="plain"), extra={"plain": orjson.dumps("x" * 80_000)})
    assert "value" not in large["input"]
    assert large["input"]["digest"]
    assert large["blob"]["holds"] == ["input.value"]
    assert "truncated" not in large


def test_without_a_key_there_is_no_digest() -> None:
    """An input is never digested without a key, since anyone could then try out what it was."""
    assert made(key=None)["input"] == {"size": 3, "schema": "applicant: Applicant"}


def test_digests_are_those_of_the_content_room() -> None:
    """The shortcut for many digests under one key gives what `content` gives."""
    assert made(snapshot=b"x" * 1_000)["input"]["digest"] == content_digest(b"x" * 1_000, key=KEY).hex()


def test_a_row_belongs_to_its_batch() -> None:
    """A row of a batch is an event of its own kind, and its parent is the batch."""
    found = made(extra={"batch": "b-1", "parent": "p-1"})
    assert (found["event"], found["parent"]) == ("row", "b-1")


def test_a_stage_called_total_hides_nothing() -> None:
    """A user's stage named `total` stands beside the total."""
    assert made(extra={"stages": {"total": 0.5}})["timings"] == {"total": 0.001, "total (stage)": 0.5}


def test_an_event_keeps_its_fields_in_order_and_bounded() -> None:
    """An event's fields come in the schema's order, cleaned, without what is None."""
    body = record.event_body(
        decision_id(1.0, 1), 1.0, "ticket", guard="g", around=AROUND,
        fields={"ticket": "t", "state": "open", "actor": {"id": "a\ud800"}, "why": None, "n": math.nan},
    )  # fmt: skip
    found = orjson.loads(record.seal(body, 1, PREV))
    assert list(found)[5:10] == ["event", "guard", "actor", "ticket", "state"]
    assert found["actor"] == {"id": "a?"}
    assert found["n"] == "NaN"
    assert "why" not in found


def test_moments_are_spelled_to_the_microsecond() -> None:
    """Moments before and after the epoch, across a change of second."""
    assert record.iso(0.0) == "1970-01-01T00:00:00.000000Z"
    assert record.iso(1_700_000_000.999999) == "2023-11-14T22:13:20.999999Z"
    assert record.iso(1_700_000_001.0) == "2023-11-14T22:13:21.000000Z"
    assert record.iso(-0.5) == "1969-12-31T23:59:59.500000Z"
