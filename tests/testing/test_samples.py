"""Samples: what a line of JSON means for a function, and what can be made up from annotations."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import inspect
import typing
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Gt, MinLen
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, TypeAdapter, field_validator

from guardrail import ConfigError, guard_of, guarded
from guardrail.samples import Sample, make_up, read_lines, sample_of


class Colour(enum.Enum):
    red = "r"
    blue = "b"


class Address(BaseModel):
    model_config = ConfigDict(extra="forbid")
    city: str = Field(min_length=3)
    post_code: str = Field(alias="postCode")


class Applicant(BaseModel):
    income: float = Field(gt=1000, le=5000)
    age: int = Field(ge=18, lt=20)
    share: Annotated[float, Field(gt=0, lt=1)]
    children: PositiveInt
    even: int = Field(multiple_of=2, gt=10)
    address: Address
    colours: list[Colour] = Field(min_length=2)
    kind: Literal["new", "old"]
    note: str | None = None


def made_up(fn: Any) -> list[Sample] | str:
    guard = guard_of(guarded(fn))
    _ = guard.plan
    return make_up(inspect.signature(fn), guard.parts["annotations"])


# ── given ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def one(row): ...
def one_and_more(row, scale=1.0): ...
def two(x, y): ...
def only_defaults(x=1, y=2): ...
def anything(*args, **kwargs): ...


@pytest.mark.parametrize(
    ("fn", "value", "args", "kwargs"),
    [
        (one, 5, (5,), {}),
        (one, [1, 2], ([1, 2],), {}),
        (one, {"income": 1}, ({"income": 1},), {}),
        (one, {"row": {"income": 1}}, (), {"row": {"income": 1}}),
        (one_and_more, [1, 2], ([1, 2],), {}),
        (one_and_more, {"row": 1, "scale": 2}, (), {"row": 1, "scale": 2}),
        (two, [1, 2], (1, 2), {}),
        (two, (1, 2), (1, 2), {}),
        (two, {"y": 1, "x": 2}, (), {"y": 1, "x": 2}),
        (only_defaults, {}, (), {}),
        (only_defaults, [3], (3,), {}),
        (only_defaults, 3, (3,), {}),
        (anything, {"a": 1}, (), {"a": 1}),
        (anything, [1, 2, 3], (1, 2, 3), {}),
    ],
)
def test_what_a_value_means(fn, value, args, kwargs):
    """By name, by position, or the one argument itself."""
    assert sample_of(value, inspect.signature(fn)) == Sample(args, kwargs)


@pytest.mark.parametrize(("fn", "value"), [(two, 1), (two, [1]), (two, {"x": 1}), (two, {"x": 1, "y": 2, "z": 3})])
def test_a_value_that_fits_neither_way(fn, value):
    """It says which parameters there are, and shows no value."""
    with pytest.raises(ConfigError, match=r"\(x, y\)"):
        sample_of(value, inspect.signature(fn))


def test_lines_of_json(tmp_path):
    """One value per line; empty lines and a byte order mark do not matter; a wrong line is named."""
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"x": 1}\n\n[1, 2]\r\n"text"\n')
    assert read_lines(path) == [{"x": 1}, [1, 2], "text"]
    path.write_text('{"x": 1}\n{"x": hunter2}\n')
    with pytest.raises(ConfigError, match="line 2 of .*data.jsonl is not JSON") as caught:
        read_lines(path)
    assert "hunter2" not in str(caught.value)


# ── made up ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "kind",
    [
        bool,
        int,
        float,
        str,
        bytes,
        None,
        decimal.Decimal,
        dt.datetime,
        dt.date,
        dt.timedelta,
        uuid.UUID,
        Colour,
        Literal["a", "b"],
        int | None,
        typing.Optional[str],
        list[int],
        Sequence[float],
        set[str],
        frozenset[int],
        dict[str, int],
        Mapping[str, list[int]],
        tuple[int, str],
        tuple[int, ...],
        list[Colour],
        Annotated[int, Gt(10)],
        Annotated[list[int], MinLen(3)],
        Annotated[str, Field(min_length=5)],
        Annotated[float, Field(ge=0.2, lt=0.3)],
        Address,
        Applicant,
        list[Applicant],
    ],
)
def test_what_is_made_up_fits(kind):
    """Each of the two samples is valid by pydantic's own word."""

    def fn(x): ...

    fn.__annotations__ = {"x": kind}
    samples = made_up(fn)
    assert len(samples) == 2
    for sample in samples:
        TypeAdapter(kind).validate_python(sample.kwargs["x"], strict=kind is not Applicant)


def test_two_different_questions():
    """Where the type has more than one value, so that answers can be told apart."""

    def fn(a: int, b: str, c: Colour, d: Applicant, e: bool, /, *, f: float, g: int = 5): ...

    first, second = made_up(fn)
    assert len(first.args) == 5
    assert list(first.kwargs) == ["f"]
    for one, other in zip((*first.args, first.kwargs), (*second.args, second.kwargs), strict=True):
        assert one != other


@dataclass
class Opaque:
    x: int


class Picky(BaseModel):
    code: str

    @field_validator("code")
    @classmethod
    def _known(cls, value: str) -> str:
        raise ValueError(value)


def test_what_cannot_be_made_up():
    """It says for which parameter, and never guesses."""

    def untyped(x): ...
    def opaque(x: int, row: Opaque): ...
    def picky(row: Picky): ...
    def any_at_all(row: Any): ...
    def bare_list(rows: list): ...
    def in_vain(x: Annotated[int, Field(gt=5, lt=6)]): ...

    assert "x has no annotation" in made_up(untyped)
    for fn, name in ((opaque, "row"), (picky, "row"), (any_at_all, "row"), (bare_list, "rows")):
        assert f"made up for {name}" in made_up(fn)
    assert made_up(in_vain)  # no integer fits; validation will say so


def test_no_required_parameter_is_enough():
    """A function that needs nothing is run as it is."""

    def fn(x=1, *, y=2): ...

    assert made_up(fn) == [Sample((), {}), Sample((), {})]
