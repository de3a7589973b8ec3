"""Labels: what turned out to be true, kept and found again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from guardrail.errors import ConfigError
from guardrail.review import labels

Events = Callable[[], list[dict[str, Any]]]


def test_a_label_is_kept_by_decision_or_by_business_id(wall: Any) -> None:
    """Both ways in, every field back out, in the order they came."""
    known = datetime(2026, 5, 1, 12, tzinfo=UTC)
    first = labels.add("decision-1", {"repaid": True}, guard="credit", value=-1200.5, at=known, source="core-banking")
    labels.add(actual=None, business_id="loan-17", guard="credit")
    one, two = labels.read("credit")
    assert one == labels.Label(first, "decision-1", "credit", None, None, {"repaid": True}, -1200.5, known, "core-banking")
    assert (two.business_id, two.decision_id, two.actual, two.source) == ("loan-17", None, None, "caller")
    assert two.at == datetime.fromtimestamp(wall.now, UTC)
    assert labels.read(decision_id="decision-1") == [one]
    assert labels.read(business_id="loan-17") == [two]
    assert labels.read(source="core-banking", limit=5) == [one]
    assert labels.read(since=known + timedelta(seconds=1)) == [two]
    assert labels.read("other") == []


def test_reading_where_nothing_was_kept_makes_no_store(home: Any) -> None:
    """No label, no file."""
    assert labels.read() == []
    assert not home.exists()


def test_the_ledger_knows_of_a_label_but_not_what_it_says(events: Events) -> None:
    """One event with ids and source."""
    labels.add("decision-1", "secret-truth", guard="credit", business_id="loan-17", value=17.25)
    (event,) = events()
    assert (event["event"], event["guard"], event["decision_id"]) == ("feedback", "credit", "decision-1")
    assert "secret-truth" not in str(event)
    assert "17.25" not in str(event)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"actual": 1}, "what it is about"),
        ({"decision_id": "", "actual": 1}, "are texts"),
        ({"decision_id": "d"}, "what was true"),
        ({"decision_id": "d", "actual": ...}, "what was true"),
        ({"decision_id": "d", "actual": 1, "value": float("nan")}, "no finite number"),
        ({"decision_id": "d", "actual": 1, "value": True}, "no finite number"),
        ({"decision_id": "d", "actual": 1, "at": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
    ],
)
def test_a_label_of_no_use_is_refused(arguments: dict[str, Any], text: str) -> None:
    """The error says what is missing, before anything is stored."""
    with pytest.raises(ConfigError, match=text):
        labels.add(**arguments)
    assert labels.read() == []
