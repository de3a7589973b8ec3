"""Marks on types: as class or instance, wherever they stand, and what pydantic makes of AllowNaN."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import pydantic
import pytest

from guardrail.errors import ConfigError
from guardrail.markers import PII, AllowNaN, BusinessId, Rows, Secret, Subject, fields_of, finder, holds, marked, path_to

UserId = typing.NewType("UserId", Annotated[str, Subject])


class Loan(pydantic.BaseModel):
    number: Annotated[str, BusinessId, pydantic.Field(min_length=1)]
    amount: float = 1.0


class Applicant(pydantic.BaseModel):
    name: Annotated[str, PII()]
    loan: Loan | None = None


@dataclasses.dataclass
class Request:
    applicant: Applicant
    token: Annotated[str, Secret] = ""


class Wish(typing.TypedDict):
    request: Request


def test_a_marker_is_the_same_as_class_and_as_instance():
    """And equal to itself only."""
    for marker in (PII, Secret, Subject, BusinessId, AllowNaN):
        assert marked(Annotated[str, marker], marker)
        assert marked(Annotated[str, marker()], marker)
        assert marked(Annotated[str, "doc", marker] | None, marker)
        assert marked(typing.Optional[Annotated[str, marker]], marker)
        assert not marked(str, marker)
        assert marker() == marker()
        assert repr(marker()) == f"{marker.__name__}()"
        assert len({marker(), marker()}) == 1
    assert PII() != Secret()
    assert not marked(Annotated[str, PII], Secret)
    assert not marked(list[Annotated[str, PII]], PII)
    assert marked(UserId, Subject)


def test_rows_carries_the_class_of_one_row():
    """Compared by it; anything but a class is refused."""
    assert Rows(Loan).model is Loan
    assert Rows(Loan) == Rows(Loan) != Rows(Applicant)
    assert hash(Rows(Loan)) == hash(Rows(Loan))
    assert repr(Rows(Loan)) == "Rows(Loan)"
    with pytest.raises(ConfigError, match="write Annotated"):
        Rows("Loan")  # type: ignore[arg-type]


def test_a_path_leads_to_the_marker():
    """Through models, dataclasses, typed dicts and unions; None where it stands nowhere."""
    assert path_to(Annotated[str, BusinessId], BusinessId) == []
    assert path_to(Loan, BusinessId) == ["number"]
    assert path_to(Annotated[Request, "doc"], BusinessId) == ["applicant", "loan", "number"]
    assert path_to(Wish, PII) == ["request", "applicant", "name"]
    assert path_to(Wish | int, Secret) == ["request", "token"]
    assert path_to(Wish, Subject) is None
    assert path_to(int, PII) is None
    assert path_to(Any, PII) is None

    class Node(pydantic.BaseModel):
        inner: Node | None = None

    Node.model_rebuild(_types_namespace={"Node": Node})
    assert path_to(Node, PII) is None


def test_a_finder_reads_one_field_of_a_call():
    """From positional and keyword arguments, attributes and mappings; None where there is nothing."""
    loan = Applicant(name="a", loan=Loan(number="loan-17"))
    find = finder(("x", "applicant"), ["applicant", "loan", "number"])
    assert find(types.SimpleNamespace(args=(1, loan), kwargs={})) == "loan-17"
    assert find(types.SimpleNamespace(args=(1, {"loan": {"number": 17}}), kwargs={})) == "17"
    assert find(types.SimpleNamespace(args=(1, Applicant(name="a")), kwargs={})) is None
    assert find(types.SimpleNamespace(args=(1,), kwargs={})) is None
    find = finder(("x",), ["applicant", "loan", "number"])
    assert find(types.SimpleNamespace(args=(1,), kwargs={"applicant": loan})) == "loan-17"
    assert find(types.SimpleNamespace(args=(1,), kwargs={})) is None


def test_fields_of_a_class_whose_annotations_lead_nowhere_keep_their_marks():
    """A class inside a function may name what only the function knows: a secret stays one."""

    class Here:
        pass

    @dataclasses.dataclass
    class Data:
        here: Here
        token: Annotated[str, Secret] = ""
        name: Annotated[Here, PII] | None = None

    fields = fields_of(Data)
    assert marked(fields["token"], Secret)
    assert marked(fields["name"], PII)
    assert not marked(fields["here"], Secret)


FINITE = pydantic.ConfigDict(allow_inf_nan=False)


@pytest.mark.parametrize("mark", [AllowNaN, AllowNaN()])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (float, math.nan), (list[float], [math.nan]), (dict[str, float], {"a": -math.inf}), (float | None, math.inf), (tuple[int, float], (1, math.nan)),
        (Annotated[float, pydantic.Field(gt=0)], math.inf), (list[list[float] | None], [None, [math.nan]]), (set[float], {math.inf}),
    ],
)  # fmt: skip
def test_allow_nan_frees_every_float_within(mark, kind, value):
    """Where the surrounding configuration refuses it; pydantic's other rules stay."""
    with pytest.raises(pydantic.ValidationError):
        pydantic.TypeAdapter(kind, config=FINITE).validate_python(value)
    assert repr(pydantic.TypeAdapter(Annotated[kind, mark], config=FINITE).validate_python(value)) == repr(value)
    with pytest.raises(pydantic.ValidationError):
        pydantic.TypeAdapter(Annotated[kind, mark], config=FINITE).validate_python("no")


def test_allow_nan_leaves_the_models_of_the_user_alone():
    """Their own configuration rules."""

    class Strict(pydantic.BaseModel):
        model_config = FINITE
        a: float

    with pytest.raises(pydantic.ValidationError):
        pydantic.TypeAdapter(Annotated[list[Strict], AllowNaN]).validate_python([{"a": math.nan}])
    with pytest.raises(pydantic.ValidationError, match="greater than 0"):
        pydantic.TypeAdapter(Annotated[float, pydantic.Field(gt=0), AllowNaN], config=FINITE).validate_python(-1.0)


def test_markers_do_not_disturb_a_model():
    """Validation, JSON schema and pickling of a class that uses them all go on."""

    class All(pydantic.BaseModel):
        a: Annotated[float, AllowNaN] = math.nan
        b: Annotated[str, PII, Subject, BusinessId, Secret] = ""

    assert All.model_json_schema()["properties"].keys() == {"a", "b"}
    assert math.isnan(All(a=math.nan).a)
    assert All.model_validate_json('{"b": "x"}').b == "x"


def test_markers_are_found_wherever_they_stand():
    """In containers, unions, row types, fields of fields and types that contain themselves; not where there are none."""

    class Leaf:
        __annotations__ = {"name": Annotated[str, PII]}
        __dataclass_fields__ = {}

    for kind in (
        Annotated[str, PII], list[Annotated[str, PII]], dict[str, list[Leaf] | None], tuple[int, Leaf], Leaf,
        Annotated[list[Any], Rows(Leaf)],
    ):  # fmt: skip
        assert holds(kind, PII, Secret), kind
        assert not holds(kind, Subject), kind
    for kind in (int, Any, None, list[int], typing.Literal["PII"], "PII", Callable[[int], str]):
        assert not holds(kind, PII, Subject, Secret), kind


def test_marks_beside_what_has_no_hash_are_seen_too():
    """Any object may be annotated on a type."""
    assert marked(Annotated[str, {"doc": []}, PII], PII)
    assert not marked(Annotated[str, {"doc": []}], PII)
