"""What is personal in a value is taken out of it, each part with where it stood and whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypedDict

import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pydantic import BaseModel

from guardrail import PII, Prediction, Rows, Secret, Subject
from guardrail.content import Unencodable
from guardrail.content.personal import apart, apart_value, filled


class Applicant(BaseModel):
    id: Annotated[str, Subject]
    name: Annotated[str, PII]
    password: Annotated[str, Secret] = "swordfish"
    income: float = 1.0


@dataclass
class Couple:
    first: Applicant
    second: Applicant


class Request(TypedDict):
    customer: Annotated[str, Subject]
    email: Annotated[str, PII]
    amount: float


ANN, BOB = Applicant(id="ann", name="Ann"), Applicant(id="bob", name="Bob")


def taken(found):
    """Return the parts by field, as content and subject."""
    return {part.field: (orjson.loads(part.content), part.subject) for part in found.parts}


def test_parts_are_taken_out_of_models_with_where_they_stood():
    """PII and Subject become parts, Secret is nowhere, the rest stays where it was."""
    found = apart({"who": ANN}, {"who": Applicant}, root="in", subject=None)
    assert found.shown == {"who": {"id": {"$sealed": "in.who.id"}, "name": {"$sealed": "in.who.name"}, "income": 1.0}}
    assert taken(found) == {"in.who.id": ("ann", "ann"), "in.who.name": ("Ann", "ann")}
    assert found.subjects == ("ann",)


@pytest.mark.parametrize(
    "value, annotation",
    [
        (Couple(ANN, BOB), Couple),
        ([ANN, BOB], list[Applicant]),
        ({"a": ANN, "b": BOB}, dict[str, Applicant]),
        ((ANN, BOB), tuple[Applicant, ...]),
    ],
)
def test_a_part_is_the_subjects_of_the_nearest_object_around_it(value, annotation):
    """Two people in one argument are erased apart."""
    found = apart({"x": value}, {"x": annotation}, root="in", subject=None)
    assert {(content, subject) for content, subject in taken(found).values()} == {
        ("ann", "ann"), ("Ann", "ann"), ("bob", "bob"), ("Bob", "bob"),
    }  # fmt: skip
    assert found.subjects == ("ann", "bob")


def test_what_stands_beside_a_subject_is_the_calls_own():
    """A note given with an applicant is about the applicant."""
    found = apart({"who": ANN, "note": "tall"}, {"note": Annotated[str, PII]}, root="in", subject="ann")
    assert taken(found)["in.note"] == ("tall", "ann")


def test_typed_dicts_have_subjects_too():
    """Keys of a mapping that a TypedDict declares."""
    found = apart({"r": {"customer": 17, "email": "a@b", "amount": 2.0}}, {"r": Request}, root="in", subject=None)
    assert taken(found) == {"in.r.values()[0]": (17, "17"), "in.r.values()[1]": ("a@b", "17")}
    assert found.shown["r"]["amount"] == 2.0


def test_what_is_sealed_as_a_whole_keeps_others_apart():
    """With `whole`, only what is another subject's is taken out, as a whole."""
    found = apart({"a": ANN, "b": BOB}, {"a": Applicant, "b": Applicant}, root="in", subject="ann", whole=True)
    assert found.shown == {"a": {"id": "ann", "name": "Ann", "income": 1.0}, "b": {"$sealed": "in.b"}}
    assert taken(found) == {"in.b": ({"id": "bob", "name": "Bob", "income": 1.0}, "bob")}


def test_inside_something_personal_another_subject_is_still_apart():
    """A marked container around marked objects."""
    found = apart({"x": [ANN, BOB]}, {"x": Annotated[list[Applicant], PII]}, root="in", subject="ann")
    assert taken(found)["in.x"] == ([{"id": "ann", "name": "Ann", "income": 1.0}, {"$sealed": "in.x[1]"}], "ann")
    assert taken(found)["in.x[1]"][1] == "bob"


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"id": ["ann", "bob"], "name": ["Ann", "Bob"], "income": [1.0, 2.0], "password": ["x", "y"]}),
        pl.DataFrame({"id": ["ann", "bob"], "name": ["Ann", "Bob"], "income": [1.0, 2.0], "password": ["x", "y"]}),
        pa.table({"id": ["ann", "bob"], "name": ["Ann", "Bob"], "income": [1.0, 2.0], "password": ["x", "y"]}),
    ],
    ids=["pandas", "polars", "arrow"],
)
def test_cells_of_a_table_are_their_rows_subjects(frame):
    """`Annotated[DataFrame, Rows(Applicant)]`: each personal cell under the subject of its row, also when all else is sealed."""
    for whole in (False, True):
        found = apart({"t": frame}, {"t": Annotated[type(frame), Rows(Applicant)]}, root="in", subject=None, whole=whole)
        assert found.shown["t"]["columns"] == ["id", "name", "income"]
        assert taken(found)["in.t.name[1]"] == ("Bob", "bob")
        assert found.subjects == ("ann", "bob")
        assert "Bob" not in orjson.dumps(found.shown).decode()


def test_an_answer_in_a_prediction_keeps_its_marks():
    """The type argument of a Prediction says what its value is."""
    shown, parts = apart_value(Prediction("Ann", 0.9), Prediction[Annotated[str, PII]], root="out")
    assert shown == {"value": {"$sealed": "out.value"}, "confidence": 0.9, "reasons": []}
    assert parts[0].content == b'"Ann"'


def test_places_are_filled_again():
    """What was taken out is put back."""
    found = apart({"who": ANN}, {"who": Applicant}, root="in", subject=None)
    parts = {part.field: orjson.loads(part.content) for part in found.parts}
    assert filled(found.shown, parts.__getitem__) == {"who": {"id": "ann", "name": "Ann", "income": 1.0}}


def test_no_data_of_the_users_look_like_a_place():
    """A dict of the user's with such a key is shown as pairs."""
    found = apart({"x": {"$sealed": "in.y"}}, {}, root="in", subject=None)
    assert filled(found.shown, lambda _: "wrong") == {"x": {"$dict": [["$sealed", "in.y"]]}}


def test_what_cannot_be_shown_is_named_without_its_value():
    """An object without fields, and a property that raises with the value in its text."""

    class Nasty(BaseModel):
        name: Annotated[str, PII]

        def __getattribute__(self, name):
            if name == "name":
                raise ValueError("swordfish")
            return super().__getattribute__(name)

    for value in (object(), Nasty(name="swordfish")):
        with pytest.raises(Unencodable) as caught:
            apart({"x": value}, {}, root="in", subject=None)
        assert "swordfish" not in str(caught.value) and caught.value.__cause__ is None
