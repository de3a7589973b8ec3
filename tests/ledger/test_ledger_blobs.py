"""The content of records that are too long for a line goes into sealed files of their own."""

from __future__ import annotations

import hashlib
import os
import stat

import orjson
from people import ANN, ID, NAME, Applicant, holding, records

from guardrail import Audit, clock, guarded, notices, settings
from guardrail.ledger import blobs, opening, reader, subjects
from guardrail.ledger.schema import LINE_LIMIT
from guardrail.ledger.segments import lanes, segments

LONG = Applicant(id=ID, name=NAME * 8_000)


def call(**audit):
    @guarded(name="long", audit=Audit(**audit))
    def predict(applicant: Applicant, note: str) -> str:
        return "x" * 100_000

    predict(LONG, "y" * 100_000)
    (record,) = records()
    return record


def test_a_long_record_names_a_file_that_holds_its_content():
    """The line is short, the file is sealed and named by its hash, and all of it can be put together again."""
    record = call(inputs="plain", output="plain")
    lines = [
        line for lane in lanes(settings.home()) for segment in segments(lane) for line in segment.path.read_bytes().splitlines()
    ]
    assert max(map(len, lines)) < LINE_LIMIT
    assert record["blob"]["holds"] and "truncated" not in record
    assert record["input"]["digest"] and "value" not in record["input"]
    path = blobs.path_of(settings.home(), record["blob"]["sha256"])
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == path.name == record["blob"]["sha256"]
    assert len(content) == record["blob"]["size"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert holding(NAME, "y" * 100) == set()
    whole = opening.unsealed(blobs.whole(record))
    assert whole["input"]["value"] == {"applicant": {"id": ID, "name": LONG.name, "income": 5000.0}, "note": "y" * 100_000}


def test_who_reads_the_ledger_sees_no_lane_in_the_files():
    """The folder of the files is none of a process."""
    call(inputs="plain")
    assert all(lane.name != "blobs" for lane in lanes(settings.home()))
    assert reader.check(settings.home())[0][0] == "ok"


def test_a_file_that_is_gone_altered_or_erased_says_so():
    """The record stays as it is."""
    record = call(inputs="sealed")
    path = blobs.path_of(settings.home(), record["blob"]["sha256"])
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert blobs.whole(record)["blob"]["trouble"] == "the file was altered"
    path.unlink()
    assert "cannot be read" in blobs.whole(record)["blob"]["trouble"]
    path.write_bytes(content)
    assert "trouble" not in blobs.whole(record)["blob"]
    subjects.keys().destroy(subjects.digest(ID), clock.wall())
    assert blobs.whole(record)["blob"]["trouble"] == opening.ERASED


def test_content_that_finds_no_file_is_cut(monkeypatch):
    """A disk that refuses, or keys that cannot be used: as much as fits, and the record says what was cut."""

    def refuse(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(blobs, "put", refuse)
    record = call(inputs="plain")
    assert "blob" not in record and record["truncated"]
    assert holding(NAME) == set()
    assert "No space left" in notices.counts()[(None, "blobs")][1]


def test_hostile_names_of_files_are_not_followed():
    """Nothing but a hash is looked for."""
    for name in ("../../../etc/passwd", "x" * 64, 7, None, "a" * 63):
        assert blobs.named({"blob": {"sha256": name}}) is None
    assert blobs.whole({"id": "x", "blob": {"sha256": "../x"}}) == {"id": "x", "blob": {"sha256": "../x"}}


def test_long_records_without_content_are_cut_as_ever():
    """Reasons that people wrote at length."""

    @guarded(name="reasons", explain=lambda *_: ["r" * 900] * 190)
    def predict(applicant: Applicant) -> int:
        return 1

    predict(ANN)
    (record,) = records()
    assert record["truncated"] == ["reasons"] and "blob" not in record
    assert len(orjson.dumps(record)) < LINE_LIMIT
