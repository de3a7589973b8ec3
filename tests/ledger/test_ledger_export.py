"""Exports: each form is what its standard asks for, the file appears whole, and the export is recorded with its digest."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from made_lanes import A, B, T, identity, line, write

from guardrail.errors import ConfigError
from guardrail.ledger import export as exports
from guardrail.ledger import reader, writer
from guardrail.ledger.export import export, ocsf
from guardrail.ledger.reader import Stored
from guardrail.ledger.wanted import Wanted, wanted

# What OCSF 1.8.0 (Apache-2.0, https://github.com/ocsf/ocsf-schema) demands of class api_activity and of the objects in it, and
# which attributes these may have: an excerpt of events/application/api_activity.json, base_event.json, profiles and objects.
REQUIRED = {
    "": {"activity_id", "actor", "api", "category_uid", "class_uid", "metadata", "severity_id", "src_endpoint", "time", "type_uid"},
    "metadata": {"product", "version"}, "api": {"operation"}, "api.request": {"uid"}, "ai_model": {"ai_provider", "name"},
    "raw_data_hash": {"algorithm_id", "value"}, "trace": {"uid"},
}  # fmt: skip
ALLOWED = {
    "": REQUIRED[""] | {
        "activity_name", "category_name", "class_name", "severity", "type_name", "status", "status_id", "status_code", "status_detail",
        "message", "unmapped", "raw_data", "raw_data_hash", "raw_data_size", "ai_model", "message_context", "trace", "resources",
    },
    "metadata": {
        "version", "product", "profiles", "uid", "log_name", "sequence", "original_time", "event_code", "correlation_uid", "labels",
    },
    "metadata.product": {"name", "vendor_name", "version"},
    "api": {"operation", "version", "request", "response", "service", "group"},
    "api.response": {"code", "error", "error_message", "message"}, "api.service": {"name", "uid", "version"},
    "actor": {"user", "app_name", "app_uid", "process", "session", "invoked_by"},
    "actor.user": {"uid", "name", "type_id", "type", "groups", "org", "account"}, "actor.user.org": {"name", "uid"},
    "src_endpoint": {"hostname", "svc_name", "ip", "name", "uid"}, "ai_model": {"name", "version", "ai_provider", "uid"},
    "raw_data_hash": {"algorithm", "algorithm_id", "value"}, "trace": {"uid", "span", "service"}, "api.request": {"uid", "data"},
}  # fmt: skip
TYPES = {
    "activity_id": int, "category_uid": int, "class_uid": int, "severity_id": int, "time": int, "type_uid": int, "status_id": int,
    "metadata.version": str, "metadata.sequence": int, "api.operation": str, "ai_model.name": str, "ai_model.ai_provider": str,
    "raw_data_hash.algorithm_id": int, "raw_data_size": int,
}  # fmt: skip
ACTIVITIES = {1: "Create", 2: "Read", 3: "Update", 4: "Delete"}


def check_ocsf(event: dict[str, Any]) -> None:
    for where, names in REQUIRED.items():
        found: Any = event
        for name in filter(None, where.split(".")):
            found = found.get(name) if found is not None else None
        if found is not None:
            assert names <= set(found), where
    for where, names in ALLOWED.items():
        found = event
        for name in filter(None, where.split(".")):
            found = found.get(name) if found is not None else None
        if found is not None:
            assert set(found) <= names, where
    for path, kind in TYPES.items():
        found = event
        for name in path.split("."):
            found = found.get(name) if found is not None else None
        assert found is None or type(found) is kind, path
    assert (event["class_uid"], event["category_uid"]) == (6003, 6)
    assert event["type_uid"] == 600_300 + event["activity_id"]
    assert event["activity_id"] in {0, 1, 2, 3, 4, 99}
    assert event["activity_name"] == ACTIVITIES.get(event["activity_id"], event["activity_name"])
    assert event["severity_id"] in range(7)
    assert event.get("status_id", 0) in {0, 1, 2, 99}
    assert set(event["actor"]) & {"process", "user", "invoked_by", "session", "app_name", "app_uid"}
    assert set(event["src_endpoint"]) & {"hostname", "name", "ip", "svc_name"}
    assert event["metadata"]["version"] == "1.8.0"


RICH = {
    "version": "3.2.0", "plan": "p1", "mode": "enforce", "actor": {"id": "ann", "kind": "user", "known_by": "asserted", "roles": ["risk"], "tenant": "north"},
    "purpose": "scoring", "business_id": "=loan-1", "output": {"value": {"a": 1}}, "confidence": 0.9, "reasons": ["thin file"],
    "timings": {"total": 0.01}, "error": {"type": "ValueError", "policy": "validation"}, "trace_id": "a" * 32, "span_id": "b" * 16,
    "service": "credit", "origin": "service", "host": "h1", "pid": 7, "sdk": "0.1.0", "tags": {"region": "north"}, "would": ["limit: refused"],
}  # fmt: skip


@pytest.fixture
def ledger(home: Path):
    write(
        home,
        A,
        1,
        [
            line(1, T + 1, **RICH),
            line(2, T + 3, outcome="refused"),
            line(3, T + 5, event="mode", outcome=None, actor={"id": "ops"}),
        ],
    )
    write(
        home,
        B,
        1,
        [line(1, T + 2, guard="other", outcome="deferred"), line(2, T + 4, event="gap", guard=None, outcome=None, count=7)],
    )
    (home / "ledger" / "manifest.jsonl").write_bytes(b'{"v":1,"n":1,"event":"ledger","ledger":"0123456789abcdef"}\n')
    yield home
    writer.shutdown(5)


CALLS = wanted(until=T + 100)


def lines_of(path: Path) -> list[Any]:
    return [json.loads(each) for each in path.read_text("utf-8").splitlines()]


def test_jsonl_has_the_bytes_as_stored(ledger: Path, tmp_path: Path) -> None:
    """In the order of time, over all lanes; the digest and the number are recorded."""
    made = export(CALLS, "jsonl", tmp_path / "out.jsonl")
    stored = [each.line for each in reader.stored(CALLS, ledger)]
    content = (tmp_path / "out.jsonl").read_bytes()
    assert content == b"".join(stored)
    assert (made.records, made.size, made.sha256, made.recorded) == (5, len(content), hashlib.sha256(content).hexdigest(), True)
    (event,) = reader.read(ledger, event="read")
    assert (event["how"], event["form"], event["sha256"], event["bytes"], event["count"]) == (
        "export",
        "jsonl",
        made.sha256,
        made.size,
        5,
    )
    assert event["filters"] == {"until": "2023-11-14T22:15:00.000000Z"}
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600


def test_filters_and_limit(ledger: Path, tmp_path: Path) -> None:
    """Only what was asked for."""
    assert export(wanted(guard="other"), "jsonl", tmp_path / "a").records == 1
    assert export(CALLS, "jsonl", tmp_path / "b", limit=2).records == 2


def test_ocsf_events_are_valid(ledger: Path, tmp_path: Path) -> None:
    """Every kind of record has what the class demands and nothing that it does not know."""
    export(CALLS, "ocsf", tmp_path / "out")
    events = lines_of(tmp_path / "out")
    assert len(events) == 5
    for event in events:
        check_ocsf(event)
    first = events[0]
    assert first["time"] == int((T + 1) * 1000)
    assert first["api"]["operation"] == "g"
    assert first["metadata"]["uid"] == identity(1, T + 1)
    assert first["metadata"]["log_name"] == f"guardrail/0123456789abcdef/{A}"
    assert first["actor"]["user"] == {"uid": "ann", "type_id": 1, "groups": [{"name": "risk"}], "org": {"name": "north"}}
    assert first["ai_model"] == {"name": "g", "version": "3.2.0", "ai_provider": "credit"}
    assert first["unmapped"]["confidence"] == 0.9
    assert (first["status_id"], first["severity_id"]) == (1, 1)
    by_code = {event.get("status_code", event["metadata"]["event_code"]): event for event in events}
    assert (by_code["refused"]["status_id"], by_code["refused"]["severity_id"]) == (2, 3)
    assert (by_code["deferred"]["status_id"], by_code["deferred"]["status"]) == (99, "deferred")
    assert (by_code["mode"]["activity_id"], by_code["gap"]["severity_id"]) == (3, 4)
    raw = first["raw_data"].encode()
    assert hashlib.sha256(raw).hexdigest() == first["raw_data_hash"]["value"]
    assert orjson.loads(raw)["id"] == first["metadata"]["uid"]


@pytest.mark.parametrize("field", [*RICH, "guard", "outcome", "event", "id"])
def test_ocsf_events_of_odd_records_are_valid(field: str) -> None:
    """A field of another type, as another release or a hostile hand may write it, breaks nothing."""
    for odd in (None, 5, [], {}, {"id": 5}, "x"):
        record = orjson.loads(line(1, T, **RICH)) | {field: odd}
        check_ocsf(ocsf.event(Stored(A, 1, orjson.dumps(record) + b"\n", record), "local"))


def test_cloudevents_hold_the_stored_record(ledger: Path, tmp_path: Path) -> None:
    """The required attributes, ids that are unique within a source, and the record's own bytes as data."""
    export(CALLS, "cloudevents", tmp_path / "out")
    raw = (tmp_path / "out").read_bytes().splitlines()
    events = [json.loads(each) for each in raw]
    first = events[0]
    assert {name: first[name] for name in ("specversion", "id", "source", "type", "subject", "time")} == {
        "specversion": "1.0", "id": f"{A}/1", "source": f"guardrail/0123456789abcdef/{A}", "type": "guardrail.call", "subject": "g",
        "time": "2023-11-14T22:13:21.000000Z",
    }  # fmt: skip
    assert len({(each["source"], each["id"]) for each in events}) == 5
    for each in events:
        assert all(name.isalnum() and name.islower() and len(name) <= 20 for name in each)
        assert all(isinstance(value, str) and value for name, value in each.items() if name != "data")
    for each, stored in zip(raw, reader.stored(CALLS, ledger), strict=True):
        assert each.endswith(b',"data":' + stored.line.rstrip(b"\n") + b"}")


def test_parquet_is_typed_and_keeps_the_line(ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of a bounded size, and the stored bytes beside the columns."""
    import pyarrow.parquet as pq

    from guardrail.ledger.export import parquet

    monkeypatch.setattr(parquet, "_BATCH", 2)
    export(CALLS, "parquet", tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 3
    rows = table.to_pylist()
    assert [each["line"] for each in rows] == [each.line for each in reader.stored(CALLS, ledger)]
    assert rows[0]["ts"].timestamp() == T + 1
    assert (rows[0]["confidence"], json.loads(rows[0]["output"]), rows[0]["reasons"]) == (0.9, {"a": 1}, ["thin file"])
    assert json.loads(rows[0]["more"]) == {"actor": {"kind": "user", "roles": ["risk"], "tenant": "north"}}
    assert table.schema.metadata[b"guardrail.ledger"] == b"0123456789abcdef"


def test_csv_is_safe_to_open(ledger: Path, tmp_path: Path) -> None:
    """A text that a spreadsheet would run gets an apostrophe; lists and objects are JSON."""
    export(CALLS, "csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert (rows[0]["business_id"], rows[0]["output"], rows[0]["confidence"]) == ("'=loan-1", '{"a":1}', "0.9")
    assert rows[1]["confidence"] == ""


def test_an_export_that_fails_leaves_nothing(ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a part of a file, nor the loss of the one that was there; nor is it recorded."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "file").write_text("before")

    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("guardrail.ledger.export.ocsf.event", broken)
    with pytest.raises(OSError, match="No space"):
        export(CALLS, "ocsf", out / "file", replace=True)
    assert [each.name for each in out.iterdir()] == ["file"]
    assert (out / "file").read_text() == "before"
    assert list(reader.read(ledger, event="read")) == []


def test_misuse_says_what_to_do(ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown form, a file that is there, a missing package."""
    with pytest.raises(ConfigError, match="cloudevents"):
        export(CALLS, "xml", tmp_path / "x")
    (tmp_path / "there").touch()
    with pytest.raises(ConfigError, match="--force"):
        export(CALLS, "jsonl", tmp_path / "there")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"guardrail-sdk\[parquet\]"):
        export(CALLS, "parquet", tmp_path / "p")
    assert set(exports.FORMATS) == {"jsonl", "csv", "cloudevents", "ocsf", "parquet"}


def test_a_ledger_without_a_manifest_is_called_local(home: Path) -> None:
    """Older ledgers have none."""
    assert exports.ledger_id(home) == "local"
    assert export(Wanted(), "cloudevents", home.parent / "none").records == 0
