"""Arrays and tables in the exact codec: dtype, shape, order, names, index and content, whatever the layout in memory."""

from __future__ import annotations

import copy
import gc
import sys
import warnings

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings

from guardrail.content import Unkeyable, encode, encode_call, size_of
from guardrail.content.codec import LIMIT

OLD_PANDAS = int(pd.__version__.split(".")[0]) < 3

# ── numpy ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
dtypes = st.sampled_from(
    ["?", "i1", "u1", "<i8", ">i8", "f4", "<f8", ">f8", "c8", "U2", "S2", "M8[D]", "M8[ns]", "m8[s]", "g"]
    + [[("a", "i1"), ("b", "f8")], [("b", "i1"), ("a", "f8")]]
)


def arrays(dtype):
    """Arrays of few different values, some in Fortran order."""
    dtype = np.dtype(dtype)
    shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    filled = shapes.flatmap(lambda shape: st.builds(lambda seed: seeded(dtype, shape, seed), st.integers(0, 3)))
    return st.builds(lambda array, by_columns: np.asfortranarray(array) if by_columns else array, filled, st.booleans())


def seeded(dtype, shape, seed):
    numbers = np.random.default_rng(seed).integers(0, 2, (*shape, dtype.itemsize)).astype(np.uint8)
    if dtype.kind in "fcgUSMm?" or dtype.names:
        plain = np.ascontiguousarray(numbers[..., 0]).reshape(shape)
        if dtype.names:
            return np.array([(one, one) for one in plain.reshape(-1).tolist()], dtype).reshape(shape)
        return plain.astype("i8").astype(dtype)
    return np.frombuffer(numbers.tobytes(), dtype).reshape(shape) if numbers.size else np.zeros(shape, dtype)


def same_array(a, b):
    if (a.dtype, a.dtype.char, a.shape) != (b.dtype, b.dtype.char, b.shape):
        return False
    order = [(one.flags.f_contiguous and not one.flags.c_contiguous) for one in (a, b)]
    return order[0] == order[1] and a.tolist() == b.tolist()


@settings(max_examples=500, deadline=None)
@given(dtypes.flatmap(arrays), dtypes.flatmap(arrays))
def test_two_arrays_share_bytes_exactly_when_nothing_tells_them_apart(a, b):
    """By dtype with its byte order, shape, order and content."""
    assert (encode(a) == encode(b)) == same_array(a, b)
    assert encode(a) == encode(a.copy(order="K"))


def test_a_thousand_inputs_have_a_thousand_encodings():
    """Arrays that are made, used and thrown away, as in a service: nothing goes by identity."""
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(1000):
        seen.add(encode_call((rng.normal(size=(1, 8)),), {}))
        gc.collect(0)
    assert len(seen) == 1000


def different():
    one = np.arange(4.0)
    noisy = np.ma.array([1.0, 2.0], mask=[False, True])
    yield from [
        one,
        one.astype("f4"),
        one.astype(">f8"),
        one.reshape(2, 2),
        np.asfortranarray(one.reshape(2, 2)),
        one[:3],
        one[None],
    ]
    yield from [
        one.reshape(2, 2).T.copy(),
        one.tolist(),
        tuple(one.tolist()),
        one.tobytes(),
        one.view(np.recarray),
        list(one),
        one.astype(object),
    ]
    yield from [
        np.array([0.0]),
        np.array([-0.0]),
        np.array([np.nan]),
        np.array([-np.nan]),
        np.zeros(0),
        np.zeros((0, 3)),
        np.zeros((3, 0)),
    ]
    yield from [
        np.zeros(0, "f4"),
        np.array(1.0),
        np.float64(1),
        np.float32(1),
        np.float16(1),
        np.int64(1),
        np.longlong(1),
        np.int32(1),
        1.0,
        1,
    ]
    yield from [
        np.True_,
        True,
        np.array(True),
        np.str_("a"),
        "a",
        np.bytes_(b"a"),
        b"a",
        np.array("a"),
        np.array(["a"]),
        np.array(["a"], "U2"),
    ]
    yield from [np.array([b"a"]), np.datetime64("2020"), np.datetime64("2020", "D"), np.datetime64("NaT"), np.timedelta64(1, "s")]
    yield from [
        np.timedelta64(1, "ms"),
        np.datetime64("2020").astype("M8[2Y]"),
        np.longdouble(1),
        np.clongdouble(1),
        np.complex64(1),
        np.complex128(1),
    ]
    yield from [
        np.array([1, "a", None], object),
        np.array([1.0, "a", None], object),
        np.array([[1], [2]], object),
        np.array([1, 2], object),
    ]
    yield from [
        np.zeros(2, [("a", "i4"), ("b", "i4")]),
        np.zeros(2, [("b", "i4"), ("a", "i4")]),
        np.zeros(2, [("a", "i4"), ("b", "f4")]),
    ]
    yield from [np.zeros(2, np.dtype([("a", "i1"), ("b", "i4")])), np.zeros(2, np.dtype([("a", "i1"), ("b", "i4")], align=True))]
    yield from [
        np.zeros(2, [("a", "i4", (2,))]),
        np.zeros(2, [("a", "i4", (1, 2))]),
        np.rec.array(np.zeros(2, [("a", "i4"), ("b", "i4")])),
    ]
    yield from [np.zeros(1, "V4"), np.zeros(1, "V5"), np.void(b"abcd"), np.zeros(1, [("a", "i4")])[0], np.zeros(1, [("a", "O")])]
    yield from [np.array([1.0, 2.0]), noisy, np.ma.array([1.0, 2.0]), np.ma.array([1.0, 2.0], mask=[False, False]), np.ma.masked]
    yield from [np.ma.array([1.0, 3.0], mask=[False, True]), np.ma.array([1.0, 2.0], mask=[False, True], fill_value=7)]
    yield from [np.ma.array([1.0, 2.0], mask=[False, True], hard_mask=True)]
    if hasattr(np.dtypes, "StringDType"):
        for options in ({}, {"coerce": False}, {"na_object": None}, {"na_object": ...}):
            yield np.array(["a"], np.dtypes.StringDType(**options))
    yield from [
        np.dtype("f8"),
        np.dtype("f4"),
        np.dtype(">f8"),
        np.float64,
        np.dtype("f8", metadata={"a": 1}),
        np.zeros(4, np.dtype("f8", metadata={"a": 1})),
    ]
    yield from [
        np.zeros(LIMIT),
        np.zeros(LIMIT + 1),
        np.zeros(LIMIT, "i8"),
        np.zeros((LIMIT, 1)),
        np.zeros((256, 256)),
        np.zeros((256, 256), order="F"),
    ]


def test_every_kind_of_array_has_bytes_of_its_own():
    """All pairs out of many arrays and scalars, alone and inside a list."""
    seen: dict[bytes, object] = {}
    many = [*different()]
    for value in many + [[value] for value in many]:
        encoding = encode(value)
        assert encoding not in seen, (seen[encoding], value)
        seen[encoding] = value
    for one, other in zip(different(), different(), strict=True):
        assert encode(one) == encode(other), one


def test_a_view_equals_its_content():
    """Strides, offsets, broadcasting and read-only flags are no content."""
    base = np.arange(24.0)
    assert encode(base[::2]) == encode(base[::2].copy())
    assert encode(base[::-1]) == encode(base[::-1].copy())
    assert encode(base.reshape(4, 6)[1:3, 1:4]) == encode(base.reshape(4, 6)[1:3, 1:4].copy())
    assert encode(base.reshape(2, 3, 4).transpose(1, 0, 2)) == encode(base.reshape(2, 3, 4).transpose(1, 0, 2).copy(order="C"))
    assert encode(np.broadcast_to(np.float64(3), (2, 2))) == encode(np.full((2, 2), 3.0))
    frozen = base.copy()
    frozen.flags.writeable = False
    assert encode(frozen) == encode(base)
    shifted = np.frombuffer(b"\0" + base.tobytes(), dtype="u1")[1:].view("f8")
    assert encode(shifted) == encode(base)


def test_what_lies_between_the_fields_and_beyond_the_digits_is_no_content():
    """Padding bytes may hold anything."""
    dtype = np.dtype([("a", "i1"), ("b", "i8")], align=True)
    one, other = np.zeros(1, dtype), np.frombuffer(bytearray(b"\xff" * dtype.itemsize), dtype).copy()
    other["a"], other["b"] = 0, 0
    assert encode(one) == encode(other)
    assert encode(one[0]) == encode(other[0])
    long, dirty = np.ones(2, "g"), np.ones(2, "g")
    if np.finfo("g").nmant == 63:
        dirty.view("u1").reshape(2, -1)[:, 10:] = 0xAB
    assert encode(long) == encode(dirty)
    assert encode(long[0]) == encode(dirty[0])


def test_a_change_in_place_changes_the_bytes():
    """At any element, in any of the kinds."""
    array, frame = np.zeros((3, 3)), pd.DataFrame({"a": [1, 2], "o": [[1], [2]]})
    before = encode((array, frame))
    array[2, 2] = 1
    after = encode((array, frame))
    frame.loc[0, "o"].append(2)
    assert len({before, after, encode((array, frame))}) == 3


def test_attributes_of_an_array_of_the_users_count():
    """A subclass of ndarray, and what hangs on it."""

    class Tagged(np.ndarray):
        pass

    tagged = np.zeros(2).view(Tagged)
    before = encode(tagged)
    tagged.tag = "a"
    assert len({before, encode(tagged), encode(np.zeros(2))}) == 3


def test_a_large_array_is_hashed_and_not_copied_into_the_key():
    """80 MB stay 80 MB in the record of sizes."""
    array = np.zeros(10_000_000)
    encoding = encode(array)
    assert len(encoding) < 300
    assert 80_000_000 < size_of(encoding) < 80_001_000


def test_objects_in_an_array_are_written_one_by_one():
    """And refused where they cannot be."""
    with pytest.raises(Unkeyable, match=r"\[1\]"):
        encode(np.array([1, object()], dtype=object))
    loop = np.empty(1, object)
    loop[0] = loop
    with pytest.raises(Unkeyable):
        encode(loop)


# ── pandas ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def frame(**columns):
    return pd.DataFrame(columns)


def columns_of_all_kinds():
    yield from [[1, 2], [1.0, 2.0], [True, False], ["1", "2"], [1, "2"], [1.0, None], ["1", None], [[1], [2]], [(1,), (2,)]]
    yield from [pd.array([1, None], dtype="Int64"), pd.array([1, None], dtype="Int32"), pd.array([1.0, None], dtype="Float64")]
    yield from [
        pd.array([True, None], dtype="boolean"),
        pd.array([1, 0], dtype="Int64"),
        np.array([1, 2], "i4"),
        np.array([1, 2], "f4"),
    ]
    yield from [pd.array(["1", "2"], dtype=pd.StringDtype("python")), pd.array(["1", "2"], dtype=pd.StringDtype("pyarrow"))]
    yield from [
        pd.array(["1", None], dtype=pd.StringDtype("python")),
        pd.Series(["1", "2"], dtype=object),
        pd.Series(["1", np.nan], dtype=object),
    ]
    yield from [
        pd.Series(["1", pd.NA], dtype=object),
        pd.Series(["1", pd.NaT], dtype=object),
        pd.Series(["1", None], dtype=object),
    ]
    yield from [pd.Categorical(["1", "2"]), pd.Categorical(["1", "2"], ["2", "1"]), pd.Categorical(["1", "2"], ["1", "2", "3"])]
    yield from [pd.Categorical(["1", "2"], ordered=True), pd.Categorical([1, 2]), pd.Categorical(["1", None])]
    yield from [
        pd.to_datetime(["2020", "2021"]),
        pd.to_datetime(["2020", None]),
        pd.to_datetime(["2020", "2021"]).tz_localize("UTC"),
    ]
    yield from [pd.to_datetime(["2020", "2021"]).tz_localize("Europe/Paris"), pd.to_datetime(["2020", "2021"]).as_unit("ns")]
    yield from [
        pd.to_timedelta([1, 2], unit="s"),
        pd.period_range("2020", periods=2, freq="M"),
        pd.period_range("2020", periods=2, freq="D"),
    ]
    yield from [
        pd.interval_range(0, 2),
        pd.interval_range(0, 2, closed="left"),
        pd.arrays.SparseArray([0, 1]),
        pd.arrays.SparseArray([0, 1], fill_value=1),
    ]
    yield from [
        pd.array([1, 2], dtype="int64[pyarrow]"),
        pd.array([1, None], dtype="int64[pyarrow]"),
        pd.array([1, 2], dtype="int32[pyarrow]"),
    ]


def frames():
    for column in columns_of_all_kinds():
        yield frame(a=column)
        yield pd.Series(column, name="a")
    base = frame(a=[1, 2], b=[3.0, 4.0])
    yield from [
        base,
        base[["b", "a"]],
        base.rename(columns={"a": "c"}),
        base.iloc[::-1],
        base.iloc[:1],
        base.set_index("a"),
        base.T,
    ]
    yield from [base.set_index(pd.Index([5, 6])), base.set_axis(pd.Index(np.array([0, 1])), axis=0), base.rename_axis("i")]
    yield from [
        base.rename_axis(columns="x"),
        base.rename_axis(index="x"),
        base.set_index(["a", "b"]),
        pd.DataFrame(),
        pd.DataFrame(index=[1]),
    ]
    yield from [
        pd.DataFrame(columns=["a"]),
        base.set_flags(allows_duplicate_labels=False),
        base["a"].rename("b"),
        base["a"].rename(None),
    ]
    yield from [
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=[0, 1]),
        pd.DataFrame([[1, 2]], columns=["0", "1"]),
    ]
    noted = base.copy()
    noted.attrs["unit"] = "EUR"
    hung = base.copy()
    hung.version = 3
    yield from [
        noted,
        hung,
        base.index,
        base.columns,
        pd.Index([0, 1]),
        pd.Index([0.0, 1.0]),
        pd.Index([0, 1], name="i"),
        pd.RangeIndex(0, 4, 2),
    ]
    yield from [
        pd.MultiIndex.from_product([[1, 2], ["a"]]),
        pd.MultiIndex.from_product([[1, 2], ["a"]], names=["x", "y"]),
        pd.CategoricalIndex(["a"]),
    ]
    yield from [
        pd.date_range("2020", periods=2),
        pd.DatetimeIndex(["2020-01-01", "2020-01-02"]),
        pd.Index(["a"]),
        pd.Index(["a"], dtype=object),
    ]
    yield from [
        pd.Timestamp("2020"),
        pd.Timestamp("2020", tz="UTC"),
        pd.Timestamp("2020").as_unit("ns"),
        pd.Timestamp(1),
        pd.NaT,
        pd.NA,
    ]
    yield from [
        pd.Timestamp("2020", tz="Europe/Paris"),
        pd.Timedelta(1),
        pd.Timedelta(1, "s"),
        pd.Period("2020", "M"),
        pd.Period("2020", "Y"),
    ]
    yield from [
        pd.Timestamp("2020").to_pydatetime(),
        pd.Interval(0, 1),
        pd.Interval(0, 1, "left"),
        pd.Interval(0.0, 1.0),
        pd.Categorical(["a"]),
        ["a"],
    ]
    yield from [pd.array([1]), np.array([1]), base.to_numpy(), base.to_dict(), base.to_dict("records")]


def test_every_kind_of_frame_has_bytes_of_its_own():
    """All pairs out of many frames, columns, indexes and scalars; each is written the same again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many, again = [*frames()], [*frames()]
    seen: dict[bytes, object] = {}
    for value, other in zip(many, again, strict=True):
        encoding = encode(value)
        # Before pandas 3 texts are objects, and two of these frames are the same.
        assert encoding not in seen or (OLD_PANDAS and value.equals(seen[encoding])), (seen[encoding], value)
        seen[encoding] = value
        assert encode(other) == encoding, value
        if not hasattr(value, "version"):  # pandas' own copies lose what a user hung on a frame
            assert encode(copy.deepcopy(value)) == encoding, value


def test_how_a_frame_came_about_is_no_content():
    """Blocks, slices and what stands under missing values play no part."""
    whole = frame(a=[1.0, 2.0, 3.0], b=[4.0, 5.0, 6.0], s=["x", "y", "z"])
    pieces = pd.concat([whole[["a"]], whole[["b"]], whole[["s"]]], axis=1)
    assert encode(pieces) == encode(whole)
    assert encode(whole.iloc[1:].reset_index(drop=True)) == encode(frame(a=[2.0, 3.0], b=[5.0, 6.0], s=["y", "z"]))
    assert encode(pd.concat([whole.iloc[:1], whole.iloc[1:]], ignore_index=True)) == encode(whole)
    one, other = pd.array([1, 2], dtype="Int64"), pd.array([1, 3], dtype="Int64")
    one[1] = other[1] = pd.NA
    assert encode(one) == encode(other)


def test_a_frame_of_a_kind_not_known_is_refused():
    """An extension type of somebody else's, and objects without a key; the path leads to the column."""
    with pytest.raises(Unkeyable, match=r"^value\.iloc\[:, 1\]\[0\] is of type object"):
        encode(frame(a=[1], o=[object()]))


# ── polars and Arrow ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_every_kind_of_polars_column_has_bytes_of_its_own():
    """By name, type and content; each is written the same again."""
    kinds = [
        [1, None], [1, 2], [1.0, 2.0], ["1", "2"], [True, None], [None, None], [[1], [2]], [[1.0], None], [{"a": 1}, None], [b"1", None],
    ]  # fmt: skip
    typed = [
        (["1", "2"], pl.Categorical), (["1", "2"], pl.Enum(["1", "2"])), (["1", "2"], pl.Enum(["2", "1"])), ([1, 2], pl.Int8), ([1, 2], pl.Int128),
        ([1, 2], pl.Decimal(10, 2)), ([1, 2], pl.Decimal(10, 1)), ([1, 2], pl.Datetime("us")), ([1, 2], pl.Datetime("ns")), ([1, 2], pl.Duration),
        ([1, 2], pl.Datetime("us", "UTC")), ([1, 2], pl.Date), ([1, 2], pl.Time), ([1, 2], pl.Float32), ([[1], [2]], pl.Array(pl.Int64, 1)),
    ]  # fmt: skip
    seen: dict[bytes, object] = {}
    for items, kind in [(items, None) for items in kinds] + typed:
        column = pl.Series("a", items, kind)
        for value in (column, column.to_frame(), column.rename("b")):
            encoding = encode(value)
            assert encoding not in seen, (seen[encoding], value)
            seen[encoding] = value
            assert encode(pl.Series("a", items, kind)) == encode(column)
            assert encode(copy.deepcopy(value)) == encoding
    assert encode(pl.DataFrame()) != encode(pl.Series())
    with pytest.raises(Unkeyable):
        encode(pl.DataFrame({"a": [object()]}))


def test_how_a_polars_frame_came_about_is_no_content():
    """Chunks, offsets, sorted flags and what stands under missing values play no part."""
    whole = pl.DataFrame({"a": [1, None, 3], "s": ["x", None, "z"], "b": [True, False, None]})
    assert encode(pl.concat([whole[:1], whole[1:]], rechunk=False)) == encode(whole)
    assert encode(pl.concat([whole, whole])[3:]) == encode(whole)
    assert encode(whole.sort("a", nulls_last=True)[[0, 1, 2]].sort("a", nulls_last=True)) == encode(
        whole.sort("a", nulls_last=True)
    )
    computed = pl.DataFrame({"a": pl.Series([1, 5, 3]) + pl.Series([0, None, 0])})
    assert encode(computed) == encode(whole.select("a"))
    assert encode(whole.set_sorted("a")) == encode(whole)


def test_every_kind_of_arrow_value_has_bytes_of_its_own():
    """Tables, batches, arrays, scalars: by schema and content."""
    batch = pa.record_batch({"a": [1, None]})
    many = [
        pa.array([1, 2]), pa.array([1, None]), pa.array([1, 2], pa.int32()), pa.array([1.0, 2.0]), pa.array(["1", "2"]), pa.array([b"1", b"2"]),
        pa.array(["1", "2"], pa.large_string()), pa.array(["1", "2"]).dictionary_encode(), pa.array([[1], [2]]), pa.array([{"a": 1}]), pa.nulls(2),
        pa.array(["1", "2"], pa.string_view()), pa.array([True, None]), pa.chunked_array([[1, 2]]), pa.scalar(1), pa.scalar(1, pa.int8()), pa.scalar(None),
        pa.table({"a": [1, None]}), batch, pa.table({"b": [1, None]}), pa.table({"a": [1, None]}).replace_schema_metadata({"k": "v"}), pa.table({}),
        pa.table({"a": pa.array([1, None])}, schema=pa.schema([pa.field("a", pa.int64(), metadata={"k": "v"})])), batch.schema, [1, 2],
        pa.chunked_array([], pa.int8()), pa.array([], pa.int8()),
    ]  # fmt: skip
    seen: dict[bytes, object] = {}
    for value in many:
        encoding = encode(value)
        assert encoding not in seen, (seen[encoding], value)
        seen[encoding] = value
        assert encode(value, shared=True) == encoding


def test_how_an_arrow_table_came_about_is_no_content():
    """Slices, chunks, offsets and what stands under missing values play no part."""
    whole = pa.table({"a": [1, None, 3], "s": ["x", None, "z"], "b": [True, False, True]})
    assert encode(pa.concat_tables([whole.slice(0, 1), whole.slice(1)])) == encode(whole)
    assert encode(pa.concat_tables([whole, whole]).combine_chunks().slice(3)) == encode(whole)
    assert encode(pc.add(pa.array([1, 5, 3]), pa.array([0, None, 0]))) == encode(whole["a"].combine_chunks())
    assert encode(pa.array([None, 1, 2]).slice(1)) == encode(pa.array([1, 2]))


def test_no_library_is_imported_to_look_at_values_of_another():
    """numpy values alone bring in neither pandas nor polars nor Arrow."""
    import os
    import subprocess

    code = (
        "import sys, numpy; from guardrail.content import encode, freeze, jsonable;"
        "encode(numpy.zeros(3)); freeze(numpy.zeros(3)); jsonable(numpy.zeros(3));"
        "print(sorted({'pandas', 'polars', 'pyarrow', 'pydantic'} & sys.modules.keys()))"
    )
    path = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
