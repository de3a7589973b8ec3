"""An argument that fits goes in as it is."""

from __future__ import annotations

import enum
import io
from array import array
from collections import Counter, OrderedDict, UserDict, UserList, defaultdict, deque, namedtuple
from collections.abc import Generator, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from typing import IO, Annotated, Any, NamedTuple, Never, NoReturn, TextIO

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from annotated_types import Gt, Len
from pydantic import AfterValidator, BaseModel
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from guardrail import InvalidInput, guarded

Point = namedtuple("Point", "x y")  # noqa: PYI024 - without annotations, as older code has them


class Place(NamedTuple):
    x: float
    y: float


class Colour(enum.IntEnum):
    red = 1


class Text(str):
    __slots__ = ()


class Rows(list):
    pass


class Applicant(BaseModel):
    income: float


class Row(TypedDict):
    income: float


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (dict, defaultdict(int, a=1)),
        (dict[str, int], OrderedDict(b=1, a=2)),
        (Mapping[str, int], Counter("aab")),
        (tuple, Point(1, 2)),
        (tuple[int, int], Point(1, 2)),
        (Place, Place(1.0, 2.0)),
        (list, Rows([1])),
        (list[int], [1, 2]),
        (list[list[float]], [[1.5], [2.5]]),
        (list[Applicant], [Applicant(income=1)]),
        (list[str], [Text("a")]),
        (Sequence[int], deque([1])),
        (Sequence[int], array("i", [1])),
        (Sequence[int] | None, range(3)),
        (MutableSequence[int], deque([1])),
        (MutableSequence[int], UserList([1])),
        (MutableMapping[str, int], UserDict(a=1)),
        (MutableSet[int], {1}),
        (AbstractSet, {1}),
        (AbstractSet[int], {1}),
        (AbstractSet[int], frozenset({1})),
        (dict[str, AbstractSet[int]], {"a": {1}}),
        (Annotated[AbstractSet[int], Len(1)], {1}),
        (deque, deque([1], maxlen=3)),
        (set[int], {1}),
        (frozenset[str], frozenset({"a"})),
        (int, Colour.red),
        (int, True),
        (str, Text("a")),
        (float, np.float64(1.5)),
        (datetime, pd.Timestamp("2026-01-01T00:00:00.000000001")),
        (Row, {"income": 1.5}),
        (list[int] | None, [1]),
        (Iterable[int], [1, 2]),
        (Iterator[int], iter([1, 2])),
        (Generator[int, None, None], (each for each in [1])),
        (dict[str, Iterable[int]], {"a": [1]}),
        (complex, 3.0),
        (npt.ArrayLike, 3.0),
        (npt.ArrayLike, [1.0, 2.0]),
        (IO[str], io.StringIO("a")),
        (TextIO | None, io.StringIO("a")),
    ],
)
def test_what_fits_is_handed_on_itself(kind, value):
    """The function gets the caller's object: a subclass stays one, and nothing is copied."""

    def give(value):
        return value

    give.__annotations__["value"] = kind
    assert guarded(give)(value) is value


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (float, 3, 3.0),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (list[float], [np.float32(1)], [1.0]),
        (list[int], (1, 2), [1, 2]),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (dict[int, int], {"1": 1}, {1: 1}),
        (set[float], {1}, {1.0}),
        (set[int], {True}, {1}),
        (frozenset[int], {1}, frozenset({1})),
        (AbstractSet[int], {"1"}, frozenset({1})),
        (AbstractSet[int], {1: "a"}.keys(), frozenset({1})),
        (Sequence[int], array("d", [1.0]), [1]),
        (Sequence[int], ("1",), (1,)),
        (MutableSequence[int], (1,), [1]),
        (list[list[int]], [["1"]], [[1]]),
        (Place, (1, 2), Place(1.0, 2.0)),
        (list[Applicant], [{"income": 1}], [Applicant(income=1)]),
        (Row, {"income": 1}, {"income": 1.0}),
    ],
)
def test_what_has_to_be_converted_is_converted_throughout(kind, value, expected):
    """One entry that does not fit as it is, and the function gets the converted value, of plain types."""
    before = repr(value)

    def give(value):
        return value

    give.__annotations__["value"] = kind
    got = guarded(give)(value)
    assert got == expected and repr(got) == repr(expected)
    assert repr(value) == before  # the caller's own stays as it was


def test_what_the_function_adds_to_a_list_reaches_its_caller():
    """A list, a dict and a set of fitting entries are the caller's own inside."""

    @guarded
    def fill(numbers: list[int], *rest: dict[str, int], seen: set[str]) -> None:
        numbers.append(3)
        rest[0]["n"] = 3
        seen.add("c")

    numbers, counts, seen = [1], {"a": 1}, {"b"}
    fill(numbers, counts, seen=seen)
    assert (numbers, counts, seen) == ([1, 3], {"a": 1, "n": 3}, {"b", "c"})


@pytest.mark.parametrize(
    ("kind", "value"),
    [(Sequence[int], ["a"]), (Sequence[str], "ab"), (AbstractSet[int], {"a"}), (Annotated[AbstractSet[int], Len(2)], {1})],
)
def test_what_does_not_fit_an_abstract_kind_is_refused(kind, value):
    """By its entries, their number, or for being a text."""

    def give(value):
        return value

    give.__annotations__["value"] = kind
    with pytest.raises(InvalidInput):
        guarded(give)(value)


def test_a_default_is_the_same_call_given_or_left_out():
    """Also where it would not pass, and where an equal text is another object; anything else is checked."""

    @guarded
    def act(kind: Annotated[str, Len(0, 3)] = "whatever", *, at_least: Annotated[int, Gt(0)] = -1000) -> tuple[str, int]:
        return kind, at_least

    assert act() == act(b"whatever".decode()) == act(at_least=-int("1000")) == ("whatever", -1000)
    for wrong in ({"kind": "what"}, {"at_least": -1}, {"at_least": -1000.0}):
        with pytest.raises(InvalidInput):
            act(**wrong)


def test_a_moment_is_no_date_and_the_error_says_what_to_give():
    """A time of day would be lost on a function that counts in days."""

    @guarded
    def weekday(day: date) -> int:
        return day.weekday()

    with pytest.raises(InvalidInput, match=r"\.date\(\)"):
        weekday(datetime(2026, 1, 5, 8, 30))  # noqa: DTZ001
    assert weekday(datetime(2026, 1, 5)) == weekday(date(2026, 1, 5)) == 0  # noqa: DTZ001


def test_what_a_validator_of_ones_own_makes_of_it_is_used():
    """A validator that changes a value is obeyed, also where the change is one of order alone."""

    @guarded
    def look(
        text: Annotated[str, AfterValidator(str.strip)],
        numbers: Annotated[list[int], AfterValidator(sorted)],
        table: Annotated[dict[str, int], AfterValidator(lambda table: dict(sorted(table.items())))],
    ) -> Any:
        return text, numbers, list(table)

    assert look(" a ", [2, 1], {"b": 1, "a": 2}) == ("a", [1, 2], ["a", "b"])


def test_a_value_that_calls_itself_equal_is_not_believed():
    """A text whose `==` says yes to everything does not get past a validator that replaced it."""

    class Sly(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    @guarded
    def act(action: Annotated[str, AfterValidator(lambda text: text if text == "read" else "nothing")]) -> str:
        return str.__str__(action)

    assert act(Sly("export")) == "nothing"


def test_an_iterable_can_be_gone_through_as_often_as_before():
    """A list that is annotated as an iterable stays a list inside: it has a length, and a second time gives the same."""

    @guarded
    def mean(numbers: Iterable[float]) -> float:
        return sum(numbers) / len(list(numbers))

    assert mean([1.0, 2.0, 6.0]) == 3.0


@pytest.mark.parametrize("kind", [NoReturn, Never])
def test_a_function_that_never_returns_is_no_reason_to_warn(kind):
    """What it raises is what the caller gets."""

    def fail() -> Any:
        raise KeyError("k")

    fail.__annotations__["return"] = kind
    with pytest.raises(KeyError):
        guarded(fail)()


def test_an_answer_that_is_a_range_is_a_sequence():
    """A range is what `Sequence[int]` promises, and a list is not asked for."""

    @guarded
    def pages(count: int) -> Sequence[int]:
        return range(count)

    assert pages(3) == range(3)
