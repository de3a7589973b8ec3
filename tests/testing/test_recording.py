"""Records of a test's own calls, as the ledger has them."""

from __future__ import annotations

import time

import pytest

from guardrail import AuditUnavailable, guarded
from guardrail.ledger import writer
from guardrail.testing import recorded, recording


@guarded(name="loans", version="3")
def predict(x: int) -> int:
    if x < 0:
        raise ValueError
    return x


def test_only_what_the_block_did_in_order():
    """Earlier records are not among them, later ones are as they come."""
    predict(1)
    with recorded() as records:
        assert len(records) == 0
        assert not records
        predict(2)
        assert [record["output"] for record in records] == [{"value": 2}]
        with pytest.raises(ValueError):
            predict(-1)
        predict(3)
        assert [record["outcome"] for record in records] == ["answered", "failed", "answered"]
        assert records[-1]["output"] == {"value": 3}
        assert [record["outcome"] for record in records[1:]] == ["failed", "answered"]
        assert repr(records) == "<3 records: call, call, call>"
        assert records[0] in records


def test_kinds_of_events():
    """The ledger's own notes are there if one asks for them."""
    with recorded() as records:
        predict(2)
        writer.event("mode", guard="loans", fields={"mode": "off"})
        assert [record["guard"] for record in records.of("call")] == ["loans"]
        assert [record["mode"] for record in records.of("mode")] == ["off"]
        assert [record["event"] for record in records] == ["call", "mode"]
        assert any(record.get("guard") == "loans" for record in records.of("config"))


def test_nested_blocks():
    """Each sees what was done since it began."""
    with recorded() as outer:
        predict(1)
        with recorded() as inner:
            predict(2)
        assert (len(outer), len(inner)) == (2, 1)


def test_records_that_are_not_written_are_no_empty_list(home, monkeypatch):
    """Where the ledger cannot write, looking is an error, and soon."""
    monkeypatch.setattr(recording, "_FLUSH_SECONDS", 0.3)
    start = time.monotonic()
    with recorded() as records:
        home.write_text("a file")
        predict(1)
        with pytest.raises(AuditUnavailable, match="doctor"):
            len(records)
    assert time.monotonic() - start < 10
