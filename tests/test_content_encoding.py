"""The exact codec: what differs never shares bytes, what is the same always does."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import gc
import json
import marshal
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import threading
import time
import types
import typing
import uuid
import zoneinfo
from unittest import mock

import hypothesis.strategies as st
import pydantic
import pytest
from hypothesis import given, settings

from guardrail.content import Unkeyable, digest, encode, encode_call, size_of
from guardrail.content import codec as codecs
from guardrail.decision import Prediction

LEVELS = [dt.timedelta(0), dt.timedelta(hours=1)]


class Colour(enum.Enum):
    RED = "red"
    BLUE = 1


class Level(enum.IntEnum):
    LOW = 1


class Text(enum.StrEnum):
    RED = "red"


class Flag(enum.Flag):
    A = 1
    B = 2


class Whole(int):
    pass


class Named(str):
    __slots__ = ("more",)


class Listing(list):
    pass


class Pair(typing.NamedTuple):
    a: object
    b: object = 2


@dataclasses.dataclass
class Point:
    x: object
    y: object = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: object
    y: object = 0


@dataclasses.dataclass
class Empty:
    pass


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    a: typing.Any = None
    b: typing.Any = None


class Alike(pydantic.BaseModel):
    a: typing.Any = None
    b: typing.Any = None


class Open(pydantic.BaseModel, extra="allow"):
    a: int = 0
    _hidden: int = pydantic.PrivateAttr(default=0)


class Lossy(pydantic.BaseModel):
    """All the ways in which JSON would lose something."""

    key: pydantic.SecretStr
    left_out: int = pydantic.Field(exclude=True)
    rounded: float

    @pydantic.field_serializer("rounded")
    def _round(self, value):
        return round(value)


class Own:
    def __init__(self, key):
        self.key = key

    def __guard_key__(self):
        return self.key


class Opaque:
    pass


def helper():
    pass


def identical(a, b):
    """Whether no function could tell two values apart: type, bits, order and content."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, complex):
        return identical(a.real, b.real) and identical(a.imag, b.imag)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, dict):
        return identical([*a.items()], [*b.items()])
    if isinstance(a, set | frozenset):
        return len(a) == len(b) and all(any(identical(one, other) for other in b) for one in a)
    if isinstance(a, pydantic.BaseModel):
        return identical(a.__dict__, b.__dict__) and a.model_fields_set == b.model_fields_set
    if isinstance(a, Point | Own):
        return identical(a.__dict__, b.__dict__)
    if isinstance(a, Prediction):
        return identical((a.value, a.confidence, a.reasons), (b.value, b.confidence, b.reasons))
    if isinstance(a, dt.datetime):
        return (a.replace(tzinfo=None), a.fold, a.tzinfo) == (b.replace(tzinfo=None), b.fold, b.tzinfo)
    return a == b


# Few values that are easily taken for one another, so that two drawn values are often the same or nearly so.
scalars = st.sampled_from(
    [None, False, True, 0, 1, -1, 2**31, 2**63, 0.0, -0.0, 1.0, float("nan"), -float("nan"), float("inf"), 1j, complex(0.0, -0.0)]
    + ["", "a", "\ud800", "1", b"", b"a", b"1", ..., Colour.RED, Colour.BLUE, Level.LOW, Text.RED, "red", "(", "u", "\0"]
    + [dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, fold=1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)]
)


def grown(inner):
    hashable = scalars | st.tuples(scalars, scalars)
    return (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.sets(hashable, max_size=3)
        | st.frozensets(hashable, max_size=3)
        | st.builds(Model, a=inner, b=inner)
        | st.builds(Model, b=inner)
        | st.builds(Alike, a=inner)
        | st.builds(Point, inner, inner)
        | st.builds(Prediction, inner, scalars, st.lists(st.sampled_from(["", "a"]), max_size=2))
    )


values = st.recursive(scalars, grown, max_leaves=8)


@settings(max_examples=600, deadline=None)
@given(values, values)
def test_two_values_share_bytes_exactly_when_nothing_tells_them_apart(a, b):
    """Injective and canonical, over values that are easily taken for one another."""
    assert (encode(a) == encode(b)) == identical(a, b)


@settings(max_examples=200, deadline=None)
@given(values)
def test_a_deep_copy_has_the_same_bytes(value):
    """Identity plays no part."""
    assert encode(copy.deepcopy(value)) == encode(value)


@settings(max_examples=300, deadline=None)
@given(st.lists(values, max_size=3), st.dictionaries(st.sampled_from("abc"), values, max_size=2))
def test_calls_share_bytes_exactly_when_their_arguments_are_the_same(args, kwargs):
    """No way of passing some arguments is taken for another."""
    mine = encode_call(tuple(args), kwargs)
    assert mine == encode_call(tuple(copy.deepcopy(args)), dict(reversed(kwargs.items())))
    others = [((tuple(args),), kwargs), ((args,), kwargs), ((*args, None), kwargs), (tuple(args), {**kwargs, "z": 1})]
    others += [((), {"a": tuple(args), **kwargs})] if "a" not in kwargs else []
    for other in others:
        same = identical(tuple(args), other[0]) and identical(sorted(kwargs.items()), sorted(other[1].items()))
        assert (mine == encode_call(*other)) == same


@settings(max_examples=300, deadline=None)
@given(st.lists(scalars | st.integers() | st.floats() | st.text() | st.binary(), max_size=5))
def test_pieces_are_joined_as_marshal_itself_would_write_them(items):
    """A container of simple values, written in one go, has the bytes that its parts have together."""
    simple = [item for item in items if type(item) in codecs.SCALARS]
    parts = [marshal.dumps(item, 2) for item in simple]
    assert codecs.listed(parts) == marshal.dumps(simple, 2) == encode(simple)
    assert codecs.joined(parts) == marshal.dumps(tuple(simple), 2) == encode(tuple(simple))
    assert encode([*simple, ...])[5:].startswith(b"".join(parts))


def everything():
    """Many values, each of which some function can tell from all others."""
    zone = zoneinfo.ZoneInfo("Europe/Paris")
    named = Named("a")
    named.more = 1
    adorned = Listing([1])
    adorned.name = "x"
    hung = Point(1)
    hung.more = 2
    yield from [1, 1.0, True, 1 + 0j, "1", b"1", bytearray(b"1"), memoryview(b"1"), Whole(1), Level.LOW, Level, int, Whole]
    yield from [0, 0.0, -0.0, False, None, "", b"", (), [], {}, set(), frozenset(), bytearray(), range(0), range(1, 1), ...]
    yield from [float("nan"), -float("nan"), float("inf"), -float("inf"), struct.unpack("d", b"\1\0\0\0\0\0\xf8\x7f")[0]]
    yield from ["a", "á", "a\u0301", "\ud800", "\U00010000", "\ud800\udc00", named, Named("a"), Text.RED, "red", Colour.RED]
    yield from [(1,), [1], {1}, frozenset({1}), {1: None}, {None: 1}, Listing([1]), adorned, collections.deque([1])]
    yield from [collections.deque([1], maxlen=1), ((1,),), [(1,)], ([1],), (1, 1), (1, (1,)), ((1, 1),), (..., 1), (..., "...")]
    yield from [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {1: 1}, {1.0: 1}, {True: 1}, {"1": 1}, {Text.RED: 1}, {"red": 1}, {(1, 2): 1}]
    yield from [collections.OrderedDict(a=1), collections.Counter("a"), collections.defaultdict(int, a=1), {"a": 1}]
    yield from [collections.defaultdict(list, a=1), collections.defaultdict(None, a=1), types.MappingProxyType({"a": 1})]
    yield from [types.SimpleNamespace(a=1), Pair(1), (1, 2), [1, 2], Pair(1, 3), {1, 2}, {1, "2"}, {(1, 2)}, frozenset({(1, 2)})]
    yield from [Colour.BLUE, Flag.A, Flag.B, Flag.A | Flag.B, Flag(0), Colour, "Colour.BLUE"]
    yield from [dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, fold=1), dt.time(0), dt.time(0, fold=1)]
    yield from [dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, tzinfo=dt.timezone(LEVELS[1])), dt.timedelta(1)]
    yield from [dt.datetime(2020, 1, 1, tzinfo=dt.timezone(LEVELS[1], "x")), dt.datetime(2020, 1, 1, tzinfo=zone), dt.UTC, zone]
    yield from [dt.time(0, tzinfo=dt.UTC), dt.timedelta(0, 1), dt.timedelta(0, 0, 1), zoneinfo.ZoneInfo("Europe/Rome")]
    yield from [zoneinfo.ZoneInfo.no_cache("Europe/Paris"), dt.timezone(dt.timedelta(0), "UTC")]
    yield from [
        decimal.Decimal(text) for text in ("1.0", "1.00", "1", "-0", "0", "NaN", "sNaN", "NaN1", "Infinity", "1E+1", "10")
    ]
    yield from [fractions.Fraction(1, 2), fractions.Fraction(1), uuid.UUID(int=1), pathlib.Path("a"), pathlib.PurePath("a/b")]
    yield from [pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("a"), slice(1), slice(1, None, 1), slice(None, 1, True)]
    yield from [Point(1), Point(1, 1), Point(1.0), Point(Point(1)), Slotted(1), Slotted(True), hung, Empty(), Point, Empty]
    yield from [Model(a=1), Model(b=1), Model(a=1, b=None), Model(a=None, b=1), Model(a=True), Alike(a=1), Model(), Model]
    yield from [Model(a=Model(a=1)), Model(a={"a": 1}), Model.model_construct(b=1, a=1, _fields_set={"a"}), Model(a=1, b=1)]
    yield from [Open(a=1), Open(a=1, b=2), Open(a=1, b=2.0), hidden(1), hidden(2), Open(a=1, _other=1)]
    yield from [Lossy(key="a", left_out=1, rounded=1.1), Lossy(key="b", left_out=1, rounded=1.1)]
    yield from [Lossy(key="a", left_out=2, rounded=1.1), Lossy(key="a", left_out=1, rounded=1.2)]
    yield from [Lossy(key="a", left_out=1, rounded=float("nan")), pydantic.SecretStr("a"), pydantic.SecretStr("b")]
    yield from [pydantic.SecretBytes(b"a"), pydantic.Secret("a"), pydantic.Secret(1), pydantic.HttpUrl("http://a.b")]
    yield from [pydantic.AnyUrl("http://a.b"), pydantic.HttpUrl("http://a.c"), pydantic.RootModel[int](1)]
    yield from [
        Prediction(1, 0.5),
        Prediction(True, 0.5),
        Prediction(1, 0.5, ["a"]),
        Prediction("a", 0.5),
        Prediction((1, 2), 0.5),
    ]
    yield from [
        (1, 0.5),
        (1, 0.5, ()),
        Own(1),
        Own(True),
        Own([1]),
        Own((1,)),
        [Own(1)],
        helper,
        len,
        list[int],
        typing.List[int],
    ]  # noqa: UP006
    yield from [list[str], typing.Sequence[int], math_like(1), math_like(2), "x" * 70_000, "x" * 70_001, b"x" * 70_000]
    yield from [["x" * 70_000], ("x" * 70_000,), bytearray(70_000), bytearray(70_001), [0] * 20_000, (0,) * 20_000]
    yield from [2**31 - 1, 2**31, 2**63, 2**64, -(2**64), 2**5000]


def hidden(value):
    one = Open(a=1)
    one._hidden = value
    return one


def math_like(value):
    import array

    return array.array("i", [value])


def test_every_kind_of_value_has_bytes_of_its_own():
    """All pairs out of many values of all kinds."""
    found: dict[bytes, object] = {}
    for value in [*everything(), *([value] for value in everything())]:
        encoding = encode(value)
        assert encoding not in found or identical(found[encoding], value), (found[encoding], value)
        found[encoding] = value
    assert len(found) > 400


def test_every_kind_of_value_is_written_the_same_again():
    """Canonical: an equal value made anew has the same bytes."""
    for one, other in zip(everything(), everything(), strict=True):
        assert encode(one) == encode(other), one


def test_order_of_sets_and_of_given_fields_plays_no_part():
    """What has no order has none in the bytes."""
    assert encode({"a", "b", "c", 1}) == encode({1, "c", "b", "a"})
    assert encode(Model(a=1, b=2)) == encode(Model(b=2, a=1))
    assert encode(Model.model_construct(b=2, a=1)) == encode(Model(a=1, b=2))


SCRIPT = """
import sys, enum, dataclasses, datetime, decimal, uuid, hashlib
sys.path[:0] = {path!r}
import pydantic, numpy, pandas, polars, pyarrow
from guardrail.content import encode, encode_call
from guardrail.decision import Prediction
class Colour(enum.Enum):
    RED = "red"
@dataclasses.dataclass
class Point:
    x: object
class Model(pydantic.BaseModel):
    a: float = 1.0
    b: object = None
values = [
    1, 1.5, "a", None, (1, 2), [1, {{"a": 1}}], {{"a", "b", "c", "d", 1, 2.5}}, frozenset("abcdef"), Colour.RED, Point({{1, 2}}),
    Model(b={{"x", "y", "z"}}), Model(a=2, b=Colour.RED), Prediction("a", 0.5, ("b", "c")), datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    decimal.Decimal("1.0"), uuid.UUID(int=5), "x" * 100_000, numpy.arange(12.0).reshape(3, 4), numpy.array(["a", {{"b"}}], dtype=object),
    pandas.DataFrame({{"a": [1, 2], "s": ["x", None], "c": pandas.Categorical(["u", "v"]), "o": [[1], {{"a"}}]}}),
    polars.DataFrame({{"a": [1, None], "s": ["x", None]}}), pyarrow.table({{"a": [1, None], "s": ["x", None]}}),
]
for value in values:
    print(hashlib.sha256(encode(value)).hexdigest(), hashlib.sha256(encode(value, shared=True)).hexdigest())
print(encode_call((Model(), 2), {{"b": 1, "a": 2}}).hex())
"""


def test_bytes_are_the_same_in_every_process():
    """Whatever the seed of Python's own hashes."""
    script = SCRIPT.format(path=[path for path in sys.path if path])
    found = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(found) == 1
    lines = found.pop().decode().split()
    assert len(lines) == 45
    assert lines[:44:2] == lines[1:44:2]


def test_bytes_do_not_change_from_one_release_to_the_next():
    """Keys in a shared cache and digests in records outlive an upgrade."""
    value = (1, [True, 2.5, "é", b"\0", None, {"a": (1,)}], frozenset({1}), Prediction("a", 0.5), dt.date(2020, 1, 1))
    assert digest(encode(value)).hex() == "954eb1a2a3308b9945220e16bdbdfe9048c9a258"


# ── what cannot be written ────────────────────────────────────────────────────────────────────────────────────────────
def refused(value):
    with pytest.raises(Unkeyable) as caught:
        encode(value)
    return caught.value


def test_an_error_names_the_place_and_the_type_and_no_value():
    """The path leads there; keys of the user's dicts are counted, not shown."""
    deep = Model(a=[1, {"pin-1234": Point((Slotted(Opaque()),))}])
    problem = refused(deep)
    assert (problem.path, problem.kind) == ("value.a[1].values()[0].x[0].x", "Opaque")
    assert "pin-1234" not in str(problem)
    with pytest.raises(Unkeyable, match=r"^args\[0\]\.a\[1\]") as caught:
        encode_call((deep, 1), {})
    with pytest.raises(Unkeyable, match=r"^args\[0\]\.a\[1\]"):
        encode_call((deep,), {})
    with pytest.raises(Unkeyable, match=r"^applicant\.a\[1\]"):
        encode_call((1,), {"applicant": deep, "z": 1})
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.kind, str(again)) == (caught.value.path, "Opaque", str(caught.value))
    assert refused({Opaque(): 1}).path == "value.keys()[0]"
    assert refused(Open(a=1, more=Opaque())).path == "value.more"
    assert refused(Prediction(Opaque(), 0.5)).path == "value.value"
    assert refused(pydantic.Secret(Opaque())).path.startswith("value")
    assert refused(Own(Opaque())).path == "value.__guard_key__()"


@pytest.mark.parametrize(
    "value",
    [
        Opaque(), object(), lambda: None, functools.partial(helper), mock.Mock(), mock.MagicMock(), iter([1]), (i for i in [1]), sys,
        threading.Lock(), [].append, Opaque().__init__, ValueError("x"), time.struct_time(range(9)), Opaque.__init__, type("New", (), {}),
        typing.Annotated[int, 1], int | str,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_has_no_exact_content_is_refused(value):
    """Never a guess by repr, pickle or identity."""
    assert refused(value).path == "value"
    assert refused([value]).path == "value[0]"


def test_what_holds_itself_or_is_too_deep_is_refused():
    """Within bounds, and without running out of stack."""
    loop: list = []
    loop.append(loop)
    assert "levels deep" in str(refused(loop))
    model = Model()
    model.a = {"model": model}
    assert len(refused(model).path) < 300
    deep: object = 1
    for _ in range(90):
        deep = [deep]
    encode(deep)
    for _ in range(20):
        deep = (deep,)
    refused(deep)
    for _ in range(10_000):
        deep = Point(deep)
    refused(deep)


def test_whatever_goes_wrong_while_reading_is_unkeyable_and_tells_nothing():
    """The text of a foreign exception may hold the value."""

    class Broken:
        def __guard_key__(self):
            raise ValueError("secret")

    class Unfinished(pydantic.BaseModel):
        a: int = 1

    problem = refused([Broken()])
    assert "secret" not in str(problem)
    assert problem.__cause__ is None
    assert problem.__suppress_context__
    assert problem.path == "value[0]"
    assert refused(Unfinished.__new__(Unfinished)).kind == "Unfinished"


def test_an_interrupt_is_not_taken_for_a_problem():
    """KeyboardInterrupt passes."""

    class Stopped:
        def __guard_key__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(Stopped())


def test_a_class_that_hides_state_in_c_is_refused():
    """A subclass written in C may hold more than its base and its attributes show."""
    import _io
    import ctypes

    class Structure(ctypes.Structure):
        _fields_ = [("a", ctypes.c_int)]

    for value in (Structure(1), _io.BytesIO(b"a"), collections.ChainMap(), types.SimpleNamespace):
        if value is not types.SimpleNamespace:
            refused(value)


def test_a_class_whose_metaclass_says_what_is_equal_is_refused():
    """Two such classes could pass for each other in a table."""

    class Same(type):
        def __eq__(cls, other):
            return True

        def __hash__(cls):
            return 1

    one = Same("One", (int,), {})
    refused(one(1))
    refused(one)


# ── classes ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def made():
    @dataclasses.dataclass
    class Thing:
        x: int

    return Thing


def test_two_classes_of_one_name_never_share_bytes():
    """As made by a factory, or by running a notebook cell again; not even when the first is gone."""
    one, other = made(), made()
    assert encode(one(1)) != encode(other(1))
    assert encode(one(1)) == encode(one(1))
    seen = {encode(one(1)), encode(other(1))}
    for _ in range(5):
        one = other = None
        codecs_of_classes_forgotten()
        gc.collect()
        encoding = encode(made()(1))
        assert encoding not in seen
        seen.add(encoding)


def codecs_of_classes_forgotten():
    from guardrail.content import encoding

    for cls in list(encoding._here):
        if cls.__qualname__ == "made.<locals>.Thing":
            del encoding._here[cls]


def test_enums_and_models_and_named_tuples_of_one_name_differ_too():
    """However a class says what its values are."""

    def kinds():
        class Kind(enum.Enum):
            A = 1

        class Data(pydantic.BaseModel):
            a: int = 1

        class Row(typing.NamedTuple):
            a: int = 1

        class Key:
            def __guard_key__(self):
                return 1

        return Kind.A, Data(), Row(), Key()

    for one, other in zip(kinds(), kinds(), strict=True):
        assert encode(one) != encode(other)


def test_the_class_table_is_bounded(monkeypatch):
    """A program that makes classes for ever does not fill the memory, and classes keep their names."""
    monkeypatch.setattr(codecs, "_MOST_CLASSES", 40)
    kept = made()
    before = encode(kept(1))
    from guardrail.content import encoding

    for _ in range(60):
        encode(made()(1))
    assert len(encoding._here) <= 41
    assert encode(kept(1)) == before
    assert encode((1, [2], {3})) == encode((1, [2], {3}))


def test_bytes_for_other_processes_name_only_what_they_can_find():
    """A class inside a function, or one that its name no longer leads to, is refused for a shared cache."""
    for value in (Model(a=1), Point(1), Colour.RED, Pair(1), Own(1), Whole(1), Prediction(Point(1), 0.5), {1: (dt.UTC,)}):
        assert encode(value, shared=True) == encode(value)
    assert encode_call((Point(1),), {"a": 2}, shared=True) == encode_call((Point(1),), {"a": 2})
    with pytest.raises(Unkeyable, match="top of a module"):
        encode([made()(1)], shared=True)
    old = Point
    point = Point(1)
    encode(point, shared=True)
    try:
        globals()["Point"] = dataclasses.make_dataclass("Point", ["x"], namespace={"__module__": __name__})
        new = globals()["Point"]
        assert encode(new(1)) != encode(point)
        encode(new(1), shared=True)
        with pytest.raises(Unkeyable):
            encode(point, shared=True)
        with pytest.raises(Unkeyable):
            encode(old)
        with pytest.raises(Unkeyable):
            encode_call((point,), {}, shared=True)
    finally:
        globals()["Point"] = old


def test_a_function_is_keyed_by_its_name_only_while_that_leads_to_it():
    """A function defined anew under the same name is another function."""
    global helper  # noqa: PLW0603
    old, before = helper, encode(helper)
    try:

        def helper():
            pass

        helper.__qualname__ = "helper"
        globals()["helper"] = helper
        assert encode(helper) != before
        refused(old)
    finally:
        globals()["helper"] = old
    assert encode(old) == before


def test_one_class_gets_one_name_whoever_asks_first():
    """Eight threads meet a new class at once."""
    thing = made()(1)
    found: list[bytes] = []
    barrier = threading.Barrier(8)

    def meet():
        barrier.wait()
        found.append(encode(thing))

    threads = [threading.Thread(target=meet) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


# ── models and objects ────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_change_to_any_part_changes_the_bytes():
    """Every call is encoded anew, so that a value changed in between is another question."""
    model, point, data = Model(a=1, b=[1]), Point([1]), {"a": [1, {2}]}
    seen = [encode((model, point, data))]

    def changed():
        seen.append(encode((model, point, data)))

    for change in (
        lambda: setattr(model, "a", 2), lambda: model.b.append(1), lambda: point.x.append(2), lambda: setattr(point, "more", 1),
        lambda: data["a"][1].add(3), lambda: data.update(b=1), lambda: model.model_fields_set.discard("a"),
        lambda: model.__dict__.update(more=1), lambda: model.__dict__.pop("b"), lambda: point.__dict__.pop("x"),
    ):  # fmt: skip
        change()
        changed()
    assert len(set(seen)) == len(seen)


def test_a_computed_attribute_that_is_stored_counts():
    """A function sees the stored value, which may be older than the fields."""

    class Cached(pydantic.BaseModel):
        a: int

        @functools.cached_property
        def double(self):
            return 2 * self.a

    one, other = Cached(a=1), Cached(a=1)
    assert one.double == 2
    one.a = 3
    other.a = 3
    assert encode(one) != encode(other)


def test_attributes_of_subclasses_and_slots_count():
    """A str, int or datetime of the user's is not the plain one, and what hangs on it is part of it."""

    class Stamp(dt.datetime):
        pass

    stamp = Stamp(2020, 1, 1)
    before = encode(stamp)
    assert before != encode(dt.datetime(2020, 1, 1))
    stamp.label = "a"
    assert encode(stamp) != before
    assert encode(Listing([1])) != encode([1])

    class Contrary(str):  # noqa: SLOT000 - as people write them
        def __str__(self):
            return "other"

        def __eq__(self, other):
            return True

        __hash__ = str.__hash__

    assert encode(Contrary("a")) != encode(Contrary("b"))

    class Emptied(dict):
        def items(self):
            return []

        def __iter__(self):
            return iter(())

        def __len__(self):
            return 0

    assert encode(Emptied(a=1)) != encode(Emptied(a=2))


def test_a_lie_about_the_class_is_not_believed():
    """`type` decides, not `__class__`."""

    class Liar:
        __class__ = int  # type: ignore[assignment]

    refused(Liar())


def test_a_buffer_is_never_taken_for_bytes():
    """marshal would write any of them as bytes, in any place."""
    import array

    for value in (bytearray(b"a"), memoryview(b"a"), array.array("B", b"a")):
        for box in (lambda x: x, lambda x: (x,), lambda x: [x], lambda x: {"k": x}, lambda x: Model(a=x), lambda x: Point(x)):
            assert encode(box(value)) != encode(box(b"a"))
        assert encode_call((value,), {}) != encode_call((b"a",), {})
        assert encode_call((1, value), {}) != encode_call((1, b"a"), {})
        assert encode_call((), {"k": value}) != encode_call((), {"k": b"a"})
    assert encode({memoryview(b"a"): 1}) != encode({b"a": 1})


def test_a_generic_dataclass_and_its_arguments():
    """`Box[int](1)` carries its alias, which a function can see."""
    encode(Box[int](1))
    assert encode(Box[int](1)) != encode(Box[str](1)) != encode(Box(1))


T = typing.TypeVar("T")


@dataclasses.dataclass
class Box(typing.Generic[T]):
    x: T


def test_attrs_classes_are_written_by_their_attributes():
    """With and without slots."""
    attrs = pytest.importorskip("attrs")
    loose = attrs.make_class("Loose", ["a"], slots=False)
    tight = attrs.make_class("Tight", ["a"], slots=True)
    for cls in (loose, tight):
        assert encode(cls(1)) == encode(cls(1)) != encode(cls(1.0))


# ── sizes, digests, cost ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("length", [10, 70_000, 1_000_000])
def test_an_encoding_is_bounded_and_its_size_is_not_forgotten(length):
    """A long one is its hash and says how long it was, buffers inside included."""
    for value in ("x" * length, bytearray(length), [bytearray(length)] * 3, {"a": ["x" * length]}):
        encoding = encode(value)
        assert len(encoding) <= codecs.LIMIT
        times = 3 if isinstance(value, list) else 1
        assert times * length <= size_of(encoding) <= times * (length + 100)
    many = encode([bytearray(70_000)] * 2_000)
    assert len(many) < 100
    assert 140_000_000 < size_of(many) < 141_000_000


def test_a_digest_is_short_and_may_be_keyed():
    """20 bytes; another key, another digest."""
    found = {digest(b""), digest(b"a"), digest(b"a", key=b"k"), digest(b"a", key=b"l")}
    assert len(found) == 4
    assert {len(one) for one in found} == {20}


def test_nothing_is_imported_for_values_that_cannot_be_there():
    """The codec costs an import of nothing but the language's own small modules."""
    code = (
        "import sys; from guardrail.content import encode, freeze, summary;"
        "encode((1, [2.5, {'a': None}])); freeze({'a': 1}); summary(1.5); summary([1]);"
        "heavy = {'pydantic', 'numpy', 'pandas', 'polars', 'pyarrow', 'decimal', 'uuid', 'fractions', 'zoneinfo', 'orjson'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    path = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


class Applicant(pydantic.BaseModel):
    amount: float
    age: int
    city: str
    state: str
    owner: bool


def cheapest(function, *args, times=2_000, rounds=15):
    best = float("inf")
    for _ in range(rounds):
        start = time.thread_time()
        for _ in range(times):
            function(*args)
        best = min(best, time.thread_time() - start)
    return best


def test_the_common_values_cost_less_than_other_ways_of_writing_them():
    """Measured against the same work by others in the same run."""

    applicant = Applicant(amount=1.5, age=40, city="Boston", state="MA", owner=True)
    row = (1.5, 40, "Boston", "MA", True)
    assert cheapest(encode, row) < cheapest(json.dumps, row)
    assert cheapest(encode, applicant) < cheapest(pickle.dumps, applicant)
    assert cheapest(encode_call, (applicant,), {}) < cheapest(repr, applicant)
