"""JSON for people: readable, unambiguous, with secrets left out and personal data sealed; and what a record keeps."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import pathlib
import sys
import threading
import time
import typing
import uuid
from typing import Annotated

import hypothesis.strategies as st
import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given, settings

from guardrail.content import (
    Unencodable,
    digest,
    digested,
    dumps,
    encode,
    is_secret,
    jsonable,
    schema_of,
    shown,
    size_of,
    summary,
)
from guardrail.decision import Prediction
from guardrail.markers import PII, BusinessId, Rows, Secret

nan = float("nan")


class Colour(enum.Enum):
    RED = "red"
    ODD = threading.Lock


class Loan(pydantic.BaseModel):
    number: Annotated[str, BusinessId]
    amount: float
    name: Annotated[str, PII, pydantic.Field(min_length=1)] = "Ann"
    pin: Annotated[str, Secret] = "hush-1"
    other: Annotated[str, Secret()] | None = "hush-2"
    password: pydantic.SecretStr = pydantic.SecretStr("hush-3")
    maybe: pydantic.SecretBytes | None = pydantic.SecretBytes(b"hush-4")
    hidden: str = pydantic.Field(default="hush-5", exclude=True)
    codes: list[Annotated[str, Secret]] = ["hush-6"]
    by_name: dict[str, Annotated[str, Secret]] = {"a": "hush-7"}
    keyed: dict[Annotated[str, Secret], int] = {"hush-8": 1}
    _private: str = pydantic.PrivateAttr(default="hush-9")


@dataclasses.dataclass
class Request:
    loan: Loan
    token: Annotated[str, Secret] = "hush-10"
    tags: tuple[Annotated[str, PII], ...] = ("x",)


class Wish(typing.TypedDict):
    name: Annotated[str, PII]
    key: Annotated[str, Secret]


class Row(typing.NamedTuple):
    a: int
    key: Annotated[str, Secret] = "hush-11"


LOAN = {"number": "17", "amount": 1.5, "name": "Ann", "codes": [{"$omitted": "secret"}], "by_name": {}}


def test_a_model_is_shown_by_its_fields_without_secrets():
    """Marked by class or instance, within unions and containers, excluded, private or of a secret type."""
    assert jsonable(Loan(number="17", amount=1.5)) == LOAN


def test_objects_are_shown_by_their_fields():
    """Dataclasses, named tuples, typed dicts by their annotations, root models, extras."""
    loan = Loan(number="17", amount=1.5)
    assert jsonable(Request(loan)) == {"loan": LOAN, "tags": ["x"]}
    assert jsonable(Row(1)) == {"a": 1}
    assert jsonable({"name": "Ann", "key": "hush"}, Wish) == {"name": "Ann"}
    assert jsonable([{"name": "Ann", "key": "hush"}], list[Wish] | None) == [{"name": "Ann"}]
    assert jsonable(pydantic.RootModel[list[int]]([1])) == [1]

    class Open(pydantic.BaseModel, extra="allow"):
        a: int

    assert jsonable(Open(a=1, b=[2])) == {"a": 1, "b": [2]}
    assert jsonable(Prediction("a", 0.5, ["b"])) == {"value": "a", "confidence": 0.5, "reasons": ["b"]}


def test_no_secret_gets_out_wherever_its_mark_stands():
    """By parameter annotation, at any depth; the text of the whole is searched."""
    secret = Annotated[str, Secret]
    many = [
        ("hush", secret), ("hush", secret | None), (["hush"], list[secret]), (("a", "hush"), tuple[str, secret]), ({"a": "hush"}, dict[str, secret]),
        ({"hush": 1}, dict[secret, int]), ([["hush"]], list[list[secret]] | None), (["hush"], list[secret] | tuple[secret, ...]),
        (["hush"], list[str] | list[secret]), ({"hush"}, set[secret]), (pydantic.SecretStr("hush"), None), ([pydantic.Secret("hush")], list),
        (Request(Loan(number="1", amount=1)), None), ({"a": [Request(Loan(number="1", amount=1))]}, typing.Any), (collections.deque(["hush"]), collections.deque[secret]),
    ]  # fmt: skip
    for value, annotation in many:
        assert b"hush" not in dumps(value, annotation)
    assert is_secret(secret)
    assert is_secret(pydantic.SecretStr | None)
    assert is_secret(Annotated[pydantic.Secret[int], "doc"])
    assert not is_secret(str)
    assert not is_secret(None)


def test_personal_data_are_sealed_where_they_stand():
    """By whatever the caller gives for it; without that they are shown."""
    calls: list[object] = []

    def seal(value):
        calls.append(value)
        return {"sealed": len(calls)}

    found = jsonable(Request(Loan(number="17", amount=1.5), tags=("x", "y")), seal=seal)
    assert found == {"loan": {**LOAN, "name": {"sealed": 1}}, "tags": [{"sealed": 2}, {"sealed": 3}]}
    assert calls == ["Ann", "x", "y"]
    assert jsonable([1, 2], Annotated[list[int], PII], seal=seal) == {"sealed": 4}


def test_what_json_lacks_is_tagged():
    """So that nothing is ambiguous; a dict that looks like a tag is no tag."""
    expected = [
        (nan, {"$float": "nan"}), (-float("inf"), {"$float": "-inf"}), (2**63, {"$int": "0x8000000000000000"}), (b"hi", {"$bytes": "aGk="}),
        (1 + nan * 1j, {"$complex": [{"$float": "nan"}, {"$float": "nan"}]}), ("\ud800", {"$str": "\\ud800"}), ({1: 2}, {"$dict": [[1, 2]]}),
        ({"$float": "nan"}, {"$dict": [["$float", "nan"]]}), (range(3), {"$range": [0, 3, 1]}), (decimal.Decimal("1.50"), "1.50"), (Colour.RED, "red"),
        (fractions.Fraction(1, 2), "1/2"), (dt.date(2020, 1, 2), "2020-01-02"), (dt.datetime(2020, 1, 2, tzinfo=dt.UTC), "2020-01-02T00:00:00+00:00"),
        (dt.time(1, 2), "01:02:00"), (dt.timedelta(days=1, seconds=2.5), "P1DT2.5S"), (-dt.timedelta(seconds=1), "-P0DT1S"), (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        (pathlib.PurePosixPath("a/b"), "a/b"), (pydantic.HttpUrl("http://a.b"), "http://a.b/"), ({3, 1, 2}, [1, 2, 3]), ((1, (2,)), [1, [2]]), (None, None),
        (True, True), (-0.0, -0.0), (bytearray(b"hi"), {"$bytes": "aGk="}), (Colour.ODD, "ODD"), ({"a": {(1, 2): 3}}, {"a": {"$dict": [[[1, 2], 3]]}}),
    ]  # fmt: skip
    for value, shown_as in expected:
        assert repr(jsonable(value)) == repr(shown_as)


def test_a_shown_value_can_be_read_back_by_the_type_it_came_from():
    """Dates, durations, decimals, ids and enums in the forms that pydantic reads."""
    kinds = {
        dt.datetime: dt.datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC), dt.date: dt.date(2020, 1, 2), dt.time: dt.time(1, 2, 3, 4), uuid.UUID: uuid.UUID(int=7),
        dt.timedelta: dt.timedelta(days=-3, seconds=7, microseconds=1), decimal.Decimal: decimal.Decimal("1.50"), Colour: Colour.RED, pathlib.Path: pathlib.Path("a"),
    }  # fmt: skip
    for kind, value in kinds.items():
        assert pydantic.TypeAdapter(kind).validate_json(dumps(value)) == value


def test_arrays_and_tables_are_shown_as_rows():
    """With names and types; missing values as null, NaN tagged."""
    frame = pd.DataFrame(
        {"a": [1, 2], "s": ["x", "y"], "t": pd.to_datetime(["2020", None]), "i": pd.array([1, None], dtype="Int64")}
    )
    assert jsonable(frame) == {
        "$table": "pandas", "columns": ["a", "s", "t", "i"], "dtypes": [str(kind) for kind in frame.dtypes],
        "rows": [[1, "x", "2020-01-01T00:00:00", 1], [2, "y", None, None]],
    }  # fmt: skip
    assert jsonable(frame[["a"]].set_index(pd.Index([5, 6])))["index"] == [5, 6]
    assert jsonable(frame["a"]) == {"$series": [1, 2], "name": "a", "dtype": "int64"}
    assert jsonable(pd.Index([1.5])) == {"$array": [1.5], "dtype": "float64"}
    assert jsonable(np.array([[1.0, nan]])) == {"$ndarray": [[1.0, {"$float": "nan"}]], "dtype": "float64"}
    assert jsonable(np.array([[1, 2]], "i4")) == {"$ndarray": [[1, 2]], "dtype": "int32"}
    assert jsonable(np.array([2**64 - 1], "u8")) == {"$ndarray": [{"$int": "0xffffffffffffffff"}], "dtype": "uint64"}
    assert jsonable(np.array(["2020", "NaT"], "M8[D]"))["$ndarray"] == ["2020-01-01", "NaT"]
    assert jsonable(np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]))["$ndarray"] == [[1, 2.0]]
    assert jsonable(np.ma.array([1, 2], mask=[0, 1]))["$ndarray"] == [1, None]
    assert jsonable([np.float32(0.5), np.int8(1), np.True_, np.str_("a"), np.float64(nan), np.longdouble(1)]) == [
        0.5,
        1,
        True,
        "a",
        {"$float": "nan"},
        "1.0",
    ]
    assert jsonable(pl.DataFrame({"a": [1, None]})) == {
        "$table": "polars",
        "columns": ["a"],
        "dtypes": ["Int64"],
        "rows": [[1], [None]],
    }
    assert jsonable(pa.table({"a": [1, None]})) == {
        "$table": "arrow",
        "columns": ["a"],
        "dtypes": ["int64"],
        "rows": [[1], [None]],
    }
    assert jsonable([pl.Series("a", [1]), pa.array([1]), pa.scalar(1), pd.NA, pd.Timestamp("2020"), pd.Interval(0, 1)]) == [
        {"$series": [1], "name": "a", "dtype": "Int64"}, {"$array": [1], "dtype": "int64"}, 1, None, "2020-01-01T00:00:00", "(0, 1]",
    ]  # fmt: skip
    assert jsonable(pd.DataFrame([[1, 2]], columns=["a", "a"]))["rows"] == [[1, 2]]


def test_the_row_type_of_a_table_says_which_columns_are_secret():
    """`Annotated[DataFrame, Rows(Loan)]`: secret columns are left out, personal ones sealed cell by cell."""
    frame = pd.DataFrame({"number": ["1", "2"], "pin": ["hush", "hush"], "name": ["Ann", "Bob"], "more": [1, 2]})
    found = jsonable(frame, Annotated[pd.DataFrame, Rows(Loan)], seal=lambda value: "sealed")
    assert found["columns"] == ["number", "name", "more"]
    assert found["rows"] == [["1", "sealed", 1], ["2", "sealed", 2]]


def test_what_cannot_be_shown_names_its_place_and_type():
    """And no value; a value that holds itself ends."""
    loop: list = []
    loop.append(loop)
    cases = [
        ([1, {"hush": object()}], "[1].values()[0]", "object"), (Prediction(object(), 0.5), "value", "object"), (object(), "the value", "object"),
        (lambda: 0, "the value", "function"), ([iter([])], "[0]", "list_iterator"), (np.array([object()]), "[0]", "object"),
    ]  # fmt: skip
    for value, path, kind in cases:
        with pytest.raises(Unencodable) as caught:
            jsonable(value)
        assert (caught.value.path, caught.value.kind) == (path, kind)
        assert "hush" not in str(caught.value)
    with pytest.raises(Unencodable, match="levels deep"):
        jsonable(loop)

    class Broken(collections.UserDict):
        def items(self):
            raise ValueError("hush")

    with pytest.raises(Unencodable) as caught:
        jsonable(Broken())
    assert "hush" not in str(caught.value)
    assert caught.value.__cause__ is None


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=4)
    | st.binary(max_size=3)
    | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2) | st.integers(), inner, max_size=3),
    max_leaves=8,
)


def back(shown_as):
    """Read a shown value back."""
    if isinstance(shown_as, list):
        return [back(item) for item in shown_as]
    if not isinstance(shown_as, dict):
        return shown_as
    tag = next(iter(shown_as), "")
    if not tag.startswith("$"):
        return {key: back(item) for key, item in shown_as.items()}
    content = shown_as[tag]
    return {
        "$float": lambda: float(content), "$int": lambda: int(content, 16), "$bytes": lambda: __import__("base64").b64decode(content),
        "$str": lambda: content.encode("ascii").decode("unicode_escape"), "$complex": lambda: complex(*map(back, content)),
        "$dict": lambda: {back(key): back(item) for key, item in content},
    }[tag]()  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(values)
def test_nothing_is_lost_on_the_way_to_json_and_back(value):
    """Through real JSON text, in two parsers."""
    text = dumps(value)
    assert repr(back(orjson.loads(text))) == repr(value)
    assert repr(back(json.loads(text))) == repr(value)


# ── what a record keeps ───────────────────────────────────────────────────────────────────────────────────────────────
class Sized(int):
    pass


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (1, 1), (1.5, 1.5), (nan, nan), (True, True), (None, None), ("a" * 200, "a" * 200), (2**200, 2**200), (Colour.RED, "red"), (Colour.ODD, "ODD"),
        (np.float32(0.5), 0.5), (np.int8(1), 1), (np.True_, True), (np.str_("a"), "a"), (decimal.Decimal("1.50"), "1.50"), (1j, "1j"), (Sized(3), 3),
        (fractions.Fraction(1, 2), "1/2"), (Prediction("a", 0.5), ("a", 0.5)), (Prediction(Colour.RED, np.float32(0.5)), ("red", 0.5)), (("a", 0.5), ("a", 0.5)),
        ((1, np.float64(0.5)), (1, 0.5)), (Prediction(None, nan, ["because"]), (None, nan)),
    ],
)  # fmt: skip
def test_short_answers_are_kept_as_plain_values(value, kept):
    """Exact Python types only: nothing of the user's stays alive in a record."""
    found = summary(value)
    assert repr(found) == repr(kept)
    assert type(found) is type(kept)
    if isinstance(found, tuple):
        assert [type(one) for one in found] == [type(one) for one in kept]


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ("a" * 201, "str"), ([1, 2], "list(2)"), ({"a": 1}, "dict(1)"), (("a", "b"), "tuple(2)"), (("a", 1), "tuple(2)"), ((1, 2.0, 3), "tuple(3)"), (b"abc", "bytes(3)"),
        (2**300, "int"), (Prediction([1], 0.5), "Prediction[list(1)]"), (Prediction("a" * 201, 0.5), "Prediction[str]"), (Loan(number="1", amount=1), "Loan"),
        (np.zeros((3, 4)), "ndarray[float64](3, 4)"), (pd.DataFrame({"a": range(5)}), "DataFrame(5×1)"), (pl.DataFrame({"a": [1]}), "DataFrame(1×1)"),  # noqa: RUF001
        (pa.array([1, 2]), "Int64Array(2)"), (np.longdouble(1), "longdouble"), (np.datetime64("2020"), "datetime64"), (dt.date(2020, 1, 1), "date"),
    ],
)  # fmt: skip
def test_long_answers_are_digested(value, schema):
    """Digest, size and type; the digest is that of the exact encoding, and may be keyed."""
    found = summary(value)
    encoding = encode(value)
    assert dict(found) == {"digest": digest(encoding).hex(), "size": size_of(encoding), "schema": schema}
    assert found.fields(b"key")["digest"] == digest(encoding, key=b"key").hex()
    assert schema_of(value) == schema
    assert found == digested(value)
    assert len(found) == 3


def test_an_answer_without_an_encoding_keeps_its_type():
    """And nothing fails."""
    assert dict(summary(threading.Lock())) == {"schema": "lock"}
    assert dict(summary([object()])) == {"schema": "list(1)"}

    class Strange:
        shape = "odd"

    Strange.__module__ = "numpy"
    assert schema_of(Strange()) == "Strange"


def test_an_answer_in_plain_is_shown_or_digested():
    """Secrets left out; what cannot be shown is digested."""
    assert shown(Loan(number="17", amount=1.5)) == LOAN
    assert dict(shown([lambda: 0])) == {"schema": "list(1)"}
    assert shown([len])["schema"] == "list(1)"


def test_a_summary_of_a_short_answer_costs_next_to_nothing():
    """Against str() of the same value in the same run."""

    def cost(function, value):
        best = sys.maxsize
        for _ in range(10):
            start = time.thread_time_ns()
            for _ in range(2_000):
                function(value)
            best = min(best, time.thread_time_ns() - start)
        return best

    assert cost(summary, 0.123456) < cost(repr, 0.123456)
    prediction = Prediction("approve", 0.93)
    assert cost(summary, prediction) < cost(repr, prediction)
