"""Labelled data with where each label comes from: on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

from guardrail import (
    PII,
    BusinessId,
    ConfigError,
    Prediction,
    Review,
    Subject,
    appeal,
    decide,
    feedback,
    guarded,
    override,
    review,
)
from guardrail.ledger import read
from guardrail.review.case import Case

pytestmark = pytest.mark.usefixtures("store")

Make = Callable[..., Case]


@guarded(name="credit", version="3", confidence=0.8, review=Review("loans", choices=["yes", "no"]))
def predict(loan: Annotated[str, BusinessId], income: int) -> Prediction[str]:
    """Never sure."""
    return Prediction("yes", 0.3)


def test_each_label_says_where_it_comes_from() -> None:
    """Who said it (by a pseudonym), why, of what, by what chance; a later one supersedes it; reading is recorded."""
    first = decide(predict, "loan-1", 5)
    assert first.ticket is not None
    review.decide(first.ticket.id, "no", actor="anna", reason="model_error")
    feedback(first.id, "defaulted")
    override(first.id, "yes", reason="wrong_input", actor="ben")
    rows = review.labelled("credit")
    assert [(row["label"], row["label_source"], row["reason"], row["superseded_by"]) for row in rows] == [
        ("no", "review", "model_error", 2), ("defaulted", "caller", None, 2), ("yes", "override", "wrong_input", None),
    ]  # fmt: skip
    row = rows[0]
    assert (row["input"], row["version"], row["confidence"], row["threshold"]) == ({"loan": "loan-1", "income": 5}, "3", 0.3, 0.8)
    assert row["model_output"]["value"] == "yes"
    assert (row["inclusion_prob"], row["triggers"], row["blind"]) == (1.0, [{"name": "low", "version": "1"}], False)
    assert "anna" not in json.dumps(rows)
    assert rows[0]["reviewer"] != rows[2]["reviewer"]
    assert [(each["how"], each["count"], each["what"]) for each in read(event="read") if each.get("what") == "labels"] == [
        ("export", 3, "labels")
    ]


def test_a_matter_is_always_on_one_side(case: Make) -> None:
    """Split by the user's own key: about as many as asked for, the same each time; an appeal is never trained on."""
    for number in range(60):
        for turn in range(2):
            review.decide(review.put(case((number, turn), business_id=f"loan-{number}")).id, "no", actor="anna")
    rows = review.labelled()
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row["business_id"], set()).add(row["split"])
    assert all(len(each) == 1 for each in sides.values())
    assert [row["split"] for row in rows] == [row["split"] for row in review.labelled()]
    assert 60 < sum(row["split"] == "train" for row in rows) < 110
    settled = decide(predict, "loan-x", 5)
    review.decide(appeal(settled.id, "why", by="customer").id, "no", actor="anna", note="because")
    assert review.labelled()[-1]["split"] == "held_out"


def test_how_far_people_agreed_is_told(case: Make) -> None:
    """Two who differ and a third who decides: a third of the pairs agree."""
    ticket = review.put(case(reviewers=2))
    for name, answer in (("anna", "no"), ("ben", "yes"), ("sue", "no")):
        review.decide(ticket.id, answer, actor=name)
    (row,) = review.labelled()
    assert (row["agreement"], row["adjudicated"]) == (pytest.approx(1 / 3), True)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_file_for_its_owner_only(case: Make, tmp_path: Path, form: Any) -> None:
    """Written whole, never over another file; what is unknown is refused."""
    review.decide(review.put(case(business_id="loan-1")).id, "no", actor="anna")
    path = tmp_path / f"labels.{form}"
    assert review.export_labelled(path, form) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if form == "jsonl":
        (row,) = map(json.loads, path.read_text().splitlines())
    else:
        import pyarrow.parquet as pq

        (row,) = pq.read_table(path).to_pylist()
        row["label"] = json.loads(row["label"])
    assert (row["label"], row["business_id"]) == ("no", "loan-1")
    with pytest.raises(ConfigError, match="there already"):
        review.export_labelled(path, form)
    with pytest.raises(ConfigError, match="no such format"):
        review.export_labelled(tmp_path / "x", "csv")  # type: ignore[arg-type]


def test_what_is_personal_stays_sealed() -> None:
    """Neither a person's data nor a personal answer leaves with the labels."""

    @guarded(name="personal", version="1", confidence=0.8, review="loans")
    def about(person: Annotated[str, Subject], name: Annotated[str, PII]) -> Prediction[str]:
        return Prediction("yes", 0.1)

    ticket = decide(about, "p-1", "Erika Mustermann").ticket
    assert ticket is not None
    review.decide(ticket.id, "no", actor="anna")
    assert "Mustermann" not in json.dumps(review.labelled())
