"""What is personal stands in records only as a ciphertext that belongs to its place, and opens only with its subject's key."""

from __future__ import annotations

import asyncio
import base64
import copy
from typing import Annotated

import orjson
import pandas as pd
import pytest
from people import ANN, BOB, ID, NAME, PASSWORD, Applicant, holding, records

from guardrail import (
    PII,
    Audit,
    BusinessId,
    ConfigError,
    Prediction,
    Secret,
    Subject,
    clock,
    guard_of,
    guarded,
    last_decision,
    notices,
)
from guardrail.content.personal import Part
from guardrail.ledger import opening, sealing, subjects
from guardrail.ledger.keys import config_folder


@pytest.fixture
def sealed():
    """One part, sealed."""
    return sealing.seal([Part("input.value.name", b'"Ann"', "ann")], "record-1", clock.wall())


def test_a_part_opens_only_in_its_own_place(sealed):
    """AES-256-GCM, bound to field and record; a changed byte is noticed."""
    assert opening.opened(sealed, "record-1") == {"input.value.name": "Ann"}
    assert opening.opened(sealed, "record-2") == {"input.value.name": opening.UNREADABLE}
    assert opening.opened({"input.value.other": sealed["input.value.name"]}, "record-1") == {
        "input.value.other": opening.UNREADABLE
    }
    altered = copy.deepcopy(sealed)
    raw = bytearray(base64.b64decode(altered["input.value.name"]["ct"]))
    raw[0] ^= 1
    altered["input.value.name"]["ct"] = base64.b64encode(raw).decode()
    assert opening.opened(altered, "record-1") == {"input.value.name": opening.UNREADABLE}
    for odd in (None, {}, {"kid": 1}, {"kid": sealed["input.value.name"]["kid"]}, {"kid": "x", "nonce": 1, "ct": []}):
        assert opening.opened({"f": odd}, "record-1") == {"f": opening.UNREADABLE}


def test_nonces_never_repeat_and_keys_are_renewed(monkeypatch):
    """A key that has sealed enough gives way to another one of the same subject."""
    monkeypatch.setattr(sealing, "MOST_USES", 3)
    boxes = [sealing.seal([Part("f", b"1", "ann")], "r", clock.wall())["f"] for _ in range(10)]
    assert len({box["nonce"] for box in boxes}) == 10
    assert len({box["kid"] for box in boxes}) >= 3
    assert all(opening.opened({"f": box}, "r") == {"f": 1} for box in boxes)


def test_plain_inputs_leave_what_is_personal_sealed():
    """`Audit(inputs="plain")`: the rest as it is; secrets nowhere; all of it back in its place for who has the keys."""

    @guarded(name="plain", audit=Audit(inputs="plain"))
    def predict(applicant: Applicant, note: Annotated[str, PII], amount: int) -> bool:
        return True

    predict(ANN, f"{NAME} is tall", 3)
    (record,) = records()
    assert record["input"]["value"]["applicant"]["income"] == 5000.0 and record["input"]["value"]["amount"] == 3
    assert set(record["sealed"]) == {"input.value.applicant.id", "input.value.applicant.name", "input.value.note"}
    assert all(set(box) == {"kid", "nonce", "ct"} for box in record["sealed"].values())
    assert record["subject"] == subjects.digest(ID)
    assert holding(NAME, ID, PASSWORD) == set()
    assert opening.unsealed(record)["input"]["value"] == {
        "applicant": {"id": ID, "name": NAME, "income": 5000.0}, "note": f"{NAME} is tall", "amount": 3,
    }  # fmt: skip
    assert "sealed" not in opening.unsealed(record)


def test_sealed_inputs_and_outputs_are_sealed_as_a_whole():
    """`Audit(inputs="sealed", output="sealed")`, several people in one call included."""

    @guarded(name="whole", audit=Audit(inputs="sealed", output="sealed"))
    def predict(applicant: Applicant, partner: Applicant) -> dict[str, str]:
        return {"who": applicant.name}

    predict(ANN, BOB)
    (record,) = records()
    assert "value" not in record["input"] and "value" not in record["output"]
    assert set(record["sealed"]) == {"input.value", "input.value.partner", "output.value"}
    assert record["subject"] == [subjects.digest(ID), subjects.digest(BOB.id)]
    assert holding(NAME, ID, PASSWORD, BOB.name, BOB.id, "5000.0") == set()
    whole = opening.unsealed(record)
    assert whole["input"]["value"]["partner"] == {"id": BOB.id, "name": BOB.name, "income": 5000.0}
    assert whole["output"]["value"] == {"who": NAME}
    subjects.keys().destroy(subjects.digest(BOB.id), clock.wall())
    whole = opening.unsealed(record)
    assert whole["input"]["value"]["partner"] == opening.ERASED
    assert whole["input"]["value"]["applicant"]["name"] == NAME


def test_sealed_inputs_without_a_subject_have_the_ledgers_own_key():
    """Nobody's in particular; arguments without annotations too."""

    @guarded(name="nobody", audit=Audit(inputs="sealed"))
    def predict(x, *rest, **more):
        return 1

    predict({"a": NAME}, 2, b=[NAME])
    (record,) = records()
    assert "subject" not in record
    assert holding(NAME) == set()
    assert opening.unsealed(record)["input"]["value"] == {"x": {"a": NAME}, "rest": [2], "b": [NAME]}


def test_digest_is_as_before_but_for_the_subject():
    """The default keeps no content, and says whom it is about, also where they stand in a list."""

    @guarded(name="one")
    def one(applicant: Applicant) -> int:
        return 1

    @guarded(name="many")
    def many(applicants: list[Applicant]) -> int:
        return 1

    @guarded(name="none", audit=Audit(inputs="none"))
    def none(applicant: Applicant) -> int:
        return 1

    one(ANN), many([ANN, BOB]), none(ANN)
    found = {record["guard"]: record for record in records()}
    assert found["one"]["subject"] == found["none"]["subject"] == subjects.digest(ID)
    assert found["many"]["subject"] == [subjects.digest(ID), subjects.digest(BOB.id)]
    assert set(found["one"]["input"]) == {"digest", "size", "schema"}
    assert all("sealed" not in record for record in found.values())
    assert holding(NAME, ID) == set()


@pytest.mark.parametrize("output", ["auto", "plain", "sealed", "digest"])
def test_personal_answers_are_never_plain(output):
    """A return type that is marked, itself, in a Prediction, in a pair, in a model."""

    @guarded(name="text", audit=Audit(output=output))
    def text(applicant: Applicant) -> Annotated[str, PII]:
        return applicant.name

    @guarded(name="prediction", audit=Audit(output=output))
    def prediction(applicant: Applicant) -> Prediction[Annotated[str, PII]]:
        return Prediction(applicant.name, 0.5)

    @guarded(name="model", audit=Audit(output=output))
    def model(applicant: Applicant) -> Applicant:
        return applicant

    @guarded(name="pair", audit=Audit(output=output))
    def pair(applicant: Applicant) -> tuple[Annotated[str, PII], float]:
        return applicant.name, 0.5

    for fn in (text, prediction, model, pair):
        fn(ANN)
    found = {record["guard"]: record for record in records()}
    assert holding(NAME, ID, PASSWORD) == set()
    for name, record in found.items():
        assert {"digest", "size", "schema"} <= set(record["output"]), name
        if output == "digest" or (output == "auto" and name == "model"):
            assert "sealed" not in record
        else:
            assert NAME in orjson.dumps(opening.unsealed(record)["output"]).decode(), name


@pytest.mark.parametrize("output", ["auto", "plain", "sealed", "digest"])
def test_secret_answers_are_recorded_nowhere(output):
    """Itself, or in a pair or model: not even sealed."""

    @guarded(name="token", audit=Audit(output=output))
    def token(x: int) -> Annotated[str, Secret]:
        return PASSWORD

    @guarded(name="pair", audit=Audit(output=output))
    def pair(x: int) -> tuple[Annotated[str, Secret], float]:
        return PASSWORD, 0.5

    assert token(1) == PASSWORD and pair(1)[0] == PASSWORD
    found = {record["guard"]: record for record in records()}
    assert "output" not in found["token"]
    assert PASSWORD not in orjson.dumps([opening.unsealed(record) for record in found.values()]).decode()


def test_rows_of_a_table_are_sealed_each_for_its_own_person():
    """`batch=True`, rows as models and as mappings."""

    @guarded(name="rows", batch=True, audit=Audit(inputs="plain"))
    def rows(applicants: list[Applicant]) -> list[float]:
        return [0.5 for _ in applicants]

    @guarded(name="sealed", batch=True, audit=Audit(inputs="sealed"))
    def sealed(applicants: list[Applicant]) -> list[Annotated[str, PII]]:
        return [each.name for each in applicants]

    rows([ANN, BOB]), sealed([ANN, BOB])
    found = records(event="row")
    assert [record["subject"] for record in found] == [subjects.digest(ID), subjects.digest(BOB.id)] * 2
    assert holding(NAME, ID, PASSWORD) == set()
    names = [orjson.dumps(opening.unsealed(record)["input"]["value"]).decode() for record in found]
    assert [NAME in each for each in names] == [True, False, True, False]
    assert opening.unsealed(found[3])["output"]["value"] == BOB.name


def test_a_frame_with_row_types_is_sealed_cell_by_cell():
    """`Annotated[DataFrame, Rows(Applicant)]` in a function that is no batch function."""
    from guardrail import Rows

    @guarded(name="frame", audit=Audit(inputs="plain"))
    def predict(frame: Annotated[pd.DataFrame, Rows(Applicant)]) -> int:
        return 1

    predict(pd.DataFrame({"id": [ID, BOB.id], "name": [NAME, BOB.name], "income": [1.0, 2.0]}))
    (record,) = records()
    assert holding(NAME, ID, BOB.name) == set()
    assert opening.unsealed(record)["input"]["value"]["frame"]["rows"] == [[ID, NAME, 1.0], [BOB.id, BOB.name, 2.0]]


def test_async_functions_and_generators_are_sealed_alike():
    """Whatever the kind of the function."""

    @guarded(name="async", audit=Audit(inputs="plain"))
    async def predict(applicant: Applicant) -> int:
        return 1

    @guarded(name="stream", audit=Audit(inputs="plain"))
    def stream(applicant: Applicant):
        yield 1

    asyncio.run(predict(ANN))
    assert list(stream(ANN)) == [1]
    found = records()
    assert len(found) == 2 and all("input.value.applicant.name" in record["sealed"] for record in found)
    assert holding(NAME) == set()


def test_annotations_that_lead_nowhere_still_count():
    """Marks in a text that cannot be resolved are honoured by their names."""

    def predict(name):
        return 1

    predict.__annotations__ = {"name": "Annotated[Missing, PII]"}
    guarded(name="lost", audit=Audit(inputs="plain"))(predict)(NAME)
    (record,) = records()
    assert "input.value.name" in record["sealed"]
    assert holding(NAME) == set()


def test_a_business_id_cannot_be_personal():
    """It stands in every record for ever."""

    @guarded(name="ids")
    def predict(email: Annotated[str, PII, BusinessId]) -> int:
        return 1

    @guarded(name="option", audit=Audit(business_id="applicant.name"))
    def option(applicant: Applicant) -> int:
        return 1

    for call in (lambda: predict(NAME), lambda: option(ANN)):
        with pytest.raises(ConfigError, match="business id is marked PII") as caught:
            call()
        assert NAME not in str(caught.value)


def test_what_cannot_be_sealed_is_refused_at_the_first_call():
    """As for tickets; the value is not named."""

    @guarded(name="odd", audit=Audit(inputs="sealed"))
    def predict(x):
        return 1

    with pytest.raises(ConfigError, match='inputs="digest"'):
        predict(object())


def broken(how):
    """Break the store of keys."""
    path = config_folder() / "subjects.db"
    subjects.keys().close()
    if how == "damaged":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 8192)
        path.chmod(0o600)
    elif how == "open":
        subjects.keys().digest("x")
        subjects.keys().close()
        path.chmod(0o644)
    else:
        config_folder().mkdir(parents=True, exist_ok=True)
        path.mkdir()


@pytest.mark.parametrize("how", ["damaged", "open", "folder"])
def test_a_dead_store_of_keys_fails_closed(how):
    """A keyed digest in place of what is personal, calls go on, and it is counted and said."""
    broken(how)

    @guarded(name="plain", audit=Audit(inputs="plain"))
    def predict(applicant: Applicant) -> Annotated[str, PII]:
        return applicant.name

    @guarded(name="sealed", audit=Audit(inputs="sealed", output="sealed"))
    def sealed(applicant: Applicant) -> str:
        return applicant.name

    assert predict(ANN) == NAME and sealed(ANN) == NAME
    found = records()
    assert len(found) == 2
    for record in found:
        assert "subject" not in record
        assert all(set(box) == {"digest", "size"} for box in record["sealed"].values())
        assert opening.unsealed(record)["input"]["value"]
    assert holding(NAME, ID, PASSWORD) == set()
    count, text = notices.counts()[(None, "sealing")]
    assert count >= 2 and "cannot be sealed" in text and ID not in text


def test_a_store_that_works_again_is_used_again(monkeypatch):
    """After a pause in which nobody waits for it."""
    broken("open")

    @guarded(name="p", audit=Audit(inputs="plain"))
    def predict(applicant: Applicant) -> int:
        return 1

    predict(ANN)
    assert "ct" not in records()[0]["sealed"]["input.value.applicant.name"]
    (config_folder() / "subjects.db").chmod(0o600)
    monkeypatch.setattr(sealing, "_PAUSE", 0.0)
    predict(ANN)
    assert "ct" in records()[1]["sealed"]["input.value.applicant.name"]


def test_the_rest_of_an_odd_record_may_be_cut_but_no_ciphertext():
    """A lone surrogate in a reason makes a record be cleaned; what is sealed in it stays whole."""

    @guarded(name="odd", audit=Audit(inputs="sealed"), explain=lambda *_: ["\ud800"])
    def predict(text: Annotated[str, PII]) -> int:
        return 1

    predict("x" * 5_000)
    (record,) = records()
    assert opening.unsealed(record)["input"]["value"] == {"text": "x" * 5_000}


def test_guards_without_marks_never_load_what_seals():
    """No store, no key, no cost: not even the import."""
    import subprocess
    import sys

    code = (
        "import sys; from guardrail import guarded, flush\n"
        "@guarded(name='bare')\ndef predict(x: float) -> float: return x\n"
        "predict(1.0); assert flush(); assert 'guardrail.ledger.sealing' not in sys.modules\n"
        "assert 'guardrail.content.personal' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert not (config_folder() / "subjects.db").exists()


def test_the_latest_decision_keeps_no_sealed_answer():
    """Nor does the guard's own list of decisions show it."""

    @guarded(name="p")
    def predict(applicant: Applicant) -> Annotated[str, PII]:
        return applicant.name

    predict(ANN)
    assert NAME not in repr(last_decision()) and NAME not in repr(guard_of(predict).last())


def test_ids_of_subjects_are_compared_as_texts():
    """A number as an id is the same person as its text."""

    @guarded(name="n", audit=Audit(inputs="plain"))
    def predict(who: Annotated[int, Subject], note: Annotated[str, PII]) -> int:
        return 1

    predict(17, NAME)
    (record,) = records()
    assert record["subject"] == subjects.digest("17")
    assert opening.unsealed(record)["input"]["value"] == {"who": 17, "note": NAME}
