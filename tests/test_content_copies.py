"""Copies for the cache: nothing that one caller does to an answer reaches the next; what cannot change is shared."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import gc
import io
import pathlib
import re
import threading
import time
import types
import typing
import uuid
import weakref

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given, settings

from guardrail.content import Unkeyable, encode, freeze
from guardrail.decision import Prediction


class Colour(enum.Enum):
    RED = "red"


class Row(typing.NamedTuple):
    a: object


@dataclasses.dataclass
class Point:
    x: object
    y: object = 0


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: object


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlots:
    x: object


@dataclasses.dataclass(slots=True)
class Slots:
    x: object


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True, extra="allow")
    a: typing.Any = None
    _hidden: typing.Any = pydantic.PrivateAttr(default=None)


class FrozenModel(pydantic.BaseModel, frozen=True):
    a: typing.Any = None


class Plain:
    def __init__(self, x):
        self.x = x


class Text(str):  # noqa: SLOT000 - it is to have a __dict__
    pass


SHARED = [
    None, True, 1, 1.5, 1j, "a", b"a", 2**100, ..., range(3), Colour.RED, Colour, len, re.compile("a"), np.float32(1), np.datetime64("2020"), np.str_("a"),
    dt.date(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.time(1), dt.timedelta(1), dt.UTC, decimal.Decimal(1), fractions.Fraction(1, 2),
    uuid.UUID(int=1), pathlib.PurePosixPath("a"), pd.Timestamp("2020"), pd.Timedelta(1), pd.NA, pd.NaT, pd.Interval(0, 1), pa.array([1]), pa.table({"a": [1]}),
    (), (1, "a"), (1, (2, frozenset({3}))), frozenset({1, (2,)}), Row(1), Row((1, 2)), Prediction("a", 0.5), Prediction("a", 0.5, ["b"]),
    Prediction(Colour.RED, np.float64(0.5)), Prediction((1, 2), 0.5), Frozen(1), Frozen((1, Frozen("a"))), FrozenSlots(1), FrozenModel(a=1),
    FrozenModel(a=(1, Frozen(2))), pydantic.SecretStr("a"),
]  # fmt: skip


@pytest.mark.parametrize("value", SHARED, ids=lambda value: type(value).__name__)
def test_what_nobody_can_change_is_shared(value):
    """No copy at all; a size all the same."""
    kept, thaw, size = freeze(value)
    assert kept is value
    assert thaw is None
    assert 0 <= size < 1_000


def make_object_frame():
    return pd.DataFrame(
        {"a": [1, 2], "o": [[1], {"k": [2]}], "s": ["x", None], "c": pd.Categorical(["u", "v"])}, index=pd.Index([5, 6], name="i")
    )


def noted():
    frame = pd.DataFrame({"a": [1.0]})
    frame.attrs["list"] = [1]
    return frame


MADE = {
    "list": (lambda: [1, 2], lambda v: v.append(3)),
    "inner list": (lambda: [[1], 2], lambda v: v[0].append(3)),
    "dict": (lambda: {"a": 1}, lambda v: v.update(a=2)),
    "inner dict": (lambda: {"a": {"b": [1]}}, lambda v: v["a"]["b"].append(2)),
    "set": (lambda: {1, 2}, lambda v: v.add(3)),
    "bytearray": (lambda: bytearray(b"a"), lambda v: v.extend(b"b")),
    "tuple of lists": (lambda: (1, [2]), lambda v: v[1].append(3)),
    "named tuple": (lambda: Row([1]), lambda v: v.a.append(2)),
    "deque": (lambda: collections.deque([1], maxlen=2), lambda v: v.append(2)),
    "ordered dict": (lambda: collections.OrderedDict(b=1, a=[2]), lambda v: v.move_to_end("b")),
    "default dict": (lambda: collections.defaultdict(list, a=[1]), lambda v: v["b"]),
    "counter": (lambda: collections.Counter("aab"), lambda v: v.update("b")),
    "proxy": (lambda: types.MappingProxyType({"a": [1]}), lambda v: v["a"].append(2)),
    "text with attributes": (lambda: adorned(Text("a")), lambda v: v.more.append(2)),
    "dataclass": (lambda: Point([1]), lambda v: setattr(v, "y", 2)),
    "inner of a dataclass": (lambda: Point([1]), lambda v: v.x.append(2)),
    "dataclass with slots": (lambda: Slots([1]), lambda v: v.x.append(2)),
    "frozen dataclass of a list": (lambda: Frozen([1]), lambda v: v.x.append(2)),
    "frozen dataclass with slots of a list": (lambda: FrozenSlots([1]), lambda v: v.x.append(2)),
    "model": (lambda: Model(a=1), lambda v: setattr(v, "a", 2)),
    "fields set of a model": (lambda: Model(a=1), lambda v: v.model_fields_set.clear()),
    "inner of a model": (lambda: Model(a=Point([1])), lambda v: v.a.x.append(2)),
    "extra of a model": (lambda: Model(a=1, more=[1]), lambda v: v.more.append(2)),
    "private of a model": (lambda: hidden([1]), lambda v: v._hidden.append(2)),
    "frozen model of a list": (lambda: FrozenModel(a=[1]), lambda v: v.a.append(2)),
    "root model": (lambda: pydantic.RootModel[list[int]]([1]), lambda v: v.root.append(2)),
    "prediction of a list": (lambda: Prediction([1], 0.5), lambda v: v.value.append(2)),
    "array": (lambda: np.arange(4.0), lambda v: v.__setitem__(0, 9)),
    "array by columns": (lambda: np.asfortranarray(np.arange(4.0).reshape(2, 2)), lambda v: v.__setitem__((0, 0), 9)),
    "array of objects": (lambda: np.array([[1], {}, None], object), lambda v: v[0].append(2)),
    "array of records": (lambda: np.zeros(2, [("a", "i4"), ("b", "f4")]), lambda v: v.__setitem__("a", 1)),
    "record of an array": (lambda: np.zeros(2, [("a", "i4")])[0], lambda v: v.__setitem__("a", 1)),
    "masked array": (lambda: np.ma.array([1, 2], mask=[0, 1]), lambda v: v.__setitem__(1, 5)),
    "array in a dict": (lambda: {"a": [np.zeros(2)]}, lambda v: v["a"][0].fill(1)),
    "frame": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: v.__setitem__("b", 1)),
    "frame in place": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: v.iloc.__setitem__((0, 0), 9)),
    "objects in a frame": (make_object_frame, lambda v: v.loc[5, "o"].append(9)),
    "index name of a frame": (make_object_frame, lambda v: setattr(v.index, "name", "z")),
    "column names of a frame": (make_object_frame, lambda v: setattr(v.columns, "name", "z")),
    "index of a frame": (make_object_frame, lambda v: overwrite(v.index)),
    "index of a series": (lambda: make_object_frame()["a"], lambda v: overwrite(v.index)),
    "attributes of a frame": (noted, lambda v: v.attrs["list"].append(2)),
    "series": (lambda: pd.Series([1, 2], name="a"), lambda v: v.iloc.__setitem__(0, 9)),
    "objects in a series": (lambda: pd.Series([[1], {2}]), lambda v: v[0].append(2)),
    "index": (lambda: pd.Index([1, 2], name="a"), lambda v: setattr(v, "name", "b")),
    "categorical": (lambda: pd.Categorical(["a", "b"]), lambda v: v.__setitem__(0, "b")),
    "polars frame": (lambda: pl.DataFrame({"a": [1, 2]}), lambda v: v.__setitem__((0, "a"), 9)),
    "columns of a polars frame": (lambda: pl.DataFrame({"a": [1, 2]}), lambda v: v.drop_in_place("a")),
    "polars series": (lambda: pl.Series("a", [1, 2]), lambda v: v.__setitem__(0, 9)),
}


def overwrite(index):
    values = index.values  # noqa: PD011 - what a careless caller does
    values.flags.writeable = True
    values[0] += 1


def adorned(value):
    value.more = [1]
    return value


def hidden(value):
    model = Model(a=1)
    model._hidden = value
    return model


@pytest.mark.parametrize(("make", "spoil"), MADE.values(), ids=MADE)
def test_what_one_caller_spoils_nobody_else_sees(make, spoil):
    """Not the caller whose call made it, nor any reader: every one gets the value as it was."""
    original, fresh = make(), encode(make())
    kept, thaw, size = freeze(original)
    assert thaw is not None
    assert size > 0
    spoil(original)
    assert encode(original) != fresh
    for _ in range(3):
        answer = thaw(kept)
        assert type(answer) is type(original)
        assert encode(answer) == fresh
        spoil(answer)
        assert encode(answer) != fresh
    assert encode(kept) == fresh


simple = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3)
nested = st.recursive(
    simple,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Model, a=inner)
        | st.builds(Frozen, inner)
        | st.builds(Prediction, inner, st.floats())
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(nested)
def test_a_copy_is_exact_and_shares_nothing_that_can_change(value):
    """Same bytes, and no list, dict or model of the one in the other."""
    kept, thaw, _ = freeze(value)
    answer = kept if thaw is None else thaw(kept)
    assert encode(kept) == encode(value) == encode(answer)
    assert not changeable(kept) & changeable(value)
    assert not changeable(answer) & changeable(kept)


def changeable(value, found=None):
    found = set() if found is None else found
    if isinstance(value, list | dict | Point | Model):
        found.add(id(value))
    inner = (
        value.values()
        if isinstance(value, dict)
        else value
        if isinstance(value, list | tuple)
        else vars(value).values()
        if hasattr(value, "__dict__")
        else ()
    )
    for one in inner if not isinstance(value, Prediction) else (value.value,):
        changeable(one, found)
    return found


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("writeable", [True, False])
def test_an_array_keeps_its_order_and_its_flags(order, writeable):
    """A copy by rows stays by rows; one that must not be written to stays so."""
    array = np.array([[1, 2], [3, 4]], dtype=">i4", order=order)
    array.flags.writeable = writeable
    for value in (array, {"a": array}, array.astype(object, order="K")):
        kept, thaw, _ = freeze(value)
        answer = thaw(kept)
        if isinstance(value, dict):
            answer = answer["a"]
        assert answer.flags.f_contiguous == (order == "F")
        assert answer.flags.c_contiguous == (order == "C")
        of_objects = not isinstance(value, dict) and value.dtype == object
        assert answer.flags.writeable == (writeable or of_objects)  # astype made a new one
        assert answer.flags.owndata


def test_what_was_one_thing_stays_one_thing():
    """Two places that hold the same list hold one copy; a value that holds itself can be copied."""
    shared: list = [1]
    value = {"a": shared, "b": (shared, Point(shared)), "m": Model(a=shared)}
    kept, thaw, _ = freeze(value)
    answer = thaw(kept)
    assert answer["a"] is answer["b"][0] is answer["b"][1].x is answer["m"].a
    assert answer["a"] is not kept["a"] is not shared
    loop: list = [1]
    loop.append((loop, Frozen(loop), {"me": loop}))
    kept, thaw, _ = freeze(loop)
    answer = thaw(kept)
    assert answer is answer[1][0] is answer[1][1].x is answer[1][2]["me"]
    assert answer is not kept is not loop


@pytest.mark.parametrize(
    "make",
    [threading.Lock, lambda: (i for i in [1]), lambda: pathlib.Path(__file__).open(), lambda: memoryview(b"a"), lambda: pl.DataFrame({"a": [object()]})],
    ids=["lock", "generator", "file", "memoryview", "polars objects"],
)  # fmt: skip
def test_what_cannot_be_copied_is_refused(make):
    """Alone and inside; the type is named."""
    value = make()
    for outer in (value, [1, value], Point(value), Model(a=value), Prediction(value, 0.5)):
        with pytest.raises(Unkeyable) as caught:
            freeze(outer)
        assert caught.value.kind == type(outer).__name__
        assert caught.value.__cause__ is None
    if isinstance(value, io.IOBase):
        value.close()


def test_a_class_of_the_users_is_copied_as_it_says():
    """By its own `__deepcopy__` or `__reduce__`, or as copy.deepcopy does."""

    class Counted:
        copies = 0

        def __deepcopy__(self, memo):
            Counted.copies += 1
            return self

    counted = Counted()
    assert freeze([counted])[0][0] is counted
    assert Counted.copies == 1

    class Special(pydantic.BaseModel):
        a: list[int]

        def __deepcopy__(self, memo=None):
            return Special(a=[*self.a, 0])

    assert freeze(Special(a=[1]))[0].a == [1, 0]
    plain = Plain([1])
    kept, thaw, _ = freeze(plain)
    plain.x.append(2)
    assert thaw(kept).x == [1]

    @dataclasses.dataclass
    class Stateful:
        x: int

        def __getstate__(self):
            return {"x": self.x + 1}

    assert freeze(Stateful(1))[0] == copy.deepcopy(Stateful(1))


def test_a_kept_answer_does_not_hold_the_callers_object():
    """The original can be freed."""
    model = Model(a=[1])
    gone = weakref.ref(model)
    kept, _, _ = freeze(model)
    del model
    gc.collect()
    assert gone() is None
    assert kept.a == [1]


def test_sizes_follow_what_a_value_holds():
    """Estimates for the cache's bound: of the right order, with everything inside."""
    megabyte = 1_000_000
    many = [
        "x" * megabyte, b"x" * megabyte, [0.5] * 125_000, {"a": "x" * megabyte}, ("x" * megabyte, 1), Prediction("x" * megabyte, 0.5), np.zeros(125_000),
        {"a": [np.zeros(125_000)]}, Model(a="x" * megabyte), Point(["x" * megabyte]), Slots("x" * megabyte), pd.DataFrame({"a": np.zeros(125_000)}),
        pl.DataFrame({"a": np.zeros(125_000)}), pa.table({"a": np.zeros(125_000)}), np.array(["x" * megabyte], object), Plain("x" * megabyte),
        collections.deque(["x" * megabyte]), FrozenSlots("x" * megabyte), bytearray(megabyte),
    ]  # fmt: skip
    for value in many:
        size = freeze(value)[2]
        assert 0.9 * megabyte < size < 6 * megabyte, type(value)
    assert freeze([0] * 1_000)[2] < 50_000


def test_sharing_costs_next_to_nothing():
    """Against copy.deepcopy in the same run."""

    def cost(function, value):
        best = float("inf")
        for _ in range(10):
            start = time.thread_time()
            for _ in range(2_000):
                function(value)
            best = min(best, time.thread_time() - start)
        return best

    prediction = Prediction("approve", 0.93)
    assert cost(freeze, prediction) < cost(copy.deepcopy, prediction) / 4
    assert cost(freeze, 0.5) < cost(copy.deepcopy, 0.5)
    kept, thaw, _ = freeze(Model(a=1))
    assert cost(thaw, kept) < cost(copy.deepcopy, kept)
