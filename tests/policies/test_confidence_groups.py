"""Each group of cases has a threshold of its own: which one a call must reach, and what is said of it."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest

from guardrail import (
    Confidence,
    ConfigError,
    Deferred,
    NoThreshold,
    Prediction,
    Review,
    Threshold,
    batch,
    calibrate,
    decide,
    guarded,
    ledger,
    review,
    with_options,
)
from guardrail.cli.show import document
from guardrail.ledger import story


def one(at_least: float, **fields: Any) -> Threshold:
    """Return a threshold as `calibrate` gives it."""
    usual: dict[str, Any] = {"max_error": 0.05, "delta": 0.05, "coverage": 0.5, "coverage_interval": (0.4, 0.6), "labels": 900}
    return Threshold(at_least, **usual | fields)


GROUPS = {"north": one(0.6), "south": one(0.9), "west": NoThreshold(10, 900, "there are too few labels to certify anything")}
FOUND = one(0.9, groups=GROUPS)


class Region(Enum):
    """As a user's own type has it."""

    NORTH = "north"


def made(**options: Any) -> Any:
    """Return a guard that is as sure as it is told to be."""

    @guarded(name="credit", version="1", **{"confidence": Confidence(FOUND, group="region"), **options})
    def predict(region: str, sure: float) -> Prediction[str]:
        return Prediction("yes", sure)

    return predict


@pytest.mark.parametrize(("region", "sure", "passes"), [("north", 0.7, True), ("south", 0.7, False), ("south", 0.95, True)])
def test_each_call_must_reach_the_threshold_of_its_group(region: str, sure: float, passes: bool) -> None:
    """Group and threshold stand in the record, in the decision, on the ticket, and where the story of a decision is told."""
    decision = decide(made(), region, sure)
    wanted = {"north": 0.6, "south": 0.9}[region]
    assert (decision.ok, decision.threshold) == (passes, wanted)
    (record,) = ledger.read(event="call")
    assert (record["group"], record["threshold"]) == (region, wanted)
    told = story.tell(decision.id, None)
    assert told is not None
    assert document(told)["record"]["group"] == region
    if not passes:
        assert decision.reasons == ("confidence 0.7 is below 0.9 for the group south",)
        assert decision.ticket is not None
        assert review.details(decision.ticket.id).threshold == 0.9


@pytest.mark.parametrize(
    ("region", "why"),
    [
        ("atlantis", "the case belongs to no group that a threshold was calibrated for"),
        ("west", "no threshold is certified for the group west"),
    ],
)
def test_what_has_no_threshold_is_deferred(region: str, why: str) -> None:
    """However sure the answer is; the unknown value stands nowhere."""
    decision = decide(made(), region, 1.0)
    assert isinstance(decision.error, Deferred)
    assert decision.reasons == (why,)
    (record,) = ledger.read(event="call")
    assert record.get("group") == (region if region == "west" else None)
    assert "atlantis" not in str(record)


def test_the_group_may_be_found_by_a_function() -> None:
    """Called with the function's own arguments; by the value of an Enum too; one that fails sends the case to people."""
    by_call = made(confidence=Confidence(FOUND, group=lambda region, sure: Region(region)))
    assert decide(by_call, "north", 0.7).ok
    failed = decide(by_call, "secret region", 1.0)
    assert failed.reasons == ("the group of the case cannot be told (ValueError)",)


def test_rows_of_a_table_have_each_their_own() -> None:
    """By a column; each row's record and ticket says which."""

    @guarded(name="rows", version="1", batch=True, cache="1h", confidence=Confidence(FOUND, group="region"))
    def score(rows: list[dict[str, Any]]) -> list[Prediction[str]]:
        return [Prediction("yes", row["sure"]) for row in rows]

    rows = [{"region": name, "sure": 0.7} for name in ("north", "south", "nowhere")]
    for _ in range(2):  # the second time from the cache
        found = batch(score, rows)
        assert [(each.ok, each.threshold) for each in found] == [(True, 0.6), (False, 0.9), (False, float("inf"))]
    assert [each.reasons for each in found][1] == ("confidence 0.7 is below 0.9 for the group south",)
    records = list(ledger.read(event="row"))[:3]
    assert [record.get("group") for record in records] == ["north", "south", None]


@pytest.mark.parametrize("table", [False, True])
def test_observing_says_what_each_group_would_ask(table: bool) -> None:
    """Nothing is held back; the verdict names the group."""
    if table:

        @guarded(name="watched", version="1", batch=True, mode="observe", confidence=Confidence(FOUND, group="region"))
        def score(rows: list[dict[str, Any]]) -> list[tuple[str, float]]:
            return [("yes", row["sure"]) for row in rows]

        would = [each.would for each in batch(score, [{"region": name, "sure": 0.7} for name in ("north", "south")])]
        assert would == [(), ("confidence: low (confidence 0.7 is below 0.9 for the group south)",)]
        return
    watched = made(mode="observe")
    assert decide(watched, "north", 0.7).would == ()
    assert decide(watched, "south", 0.7).would == ("confidence: deferred (confidence 0.7 is below 0.9 for the group south)",)
    assert [record["group"] for record in ledger.read(event="call")] == ["north", "south"]


def test_a_failed_call_has_the_group_in_its_record() -> None:
    """Also where there was no answer to hold against the threshold."""

    @guarded(name="failing", version="1", confidence=Confidence(FOUND, group="region"), review=Review("x", on=["low", "failed"]))
    def predict(region: str) -> Prediction[str]:
        raise OSError

    assert isinstance(decide(predict, "north").error, Deferred)
    (record,) = ledger.read(event="call")
    assert (record["group"], record["threshold"]) == ("north", 0.6)


def test_groups_hold_where_all_together_have_no_threshold() -> None:
    """One group with too few labels takes nothing from the others, also by way of JSON."""
    sure = [at / 400 for at in range(400)] * 2 + [0.9] * 5
    right = [each > 0.5 for each in sure]
    names = ["north"] * 800 + ["west"] * 5
    found = calibrate(sure, right, max_error=0.1, groups=names)
    assert isinstance(found, NoThreshold)
    assert {name: type(each) for name, each in found.groups.items()} == {"north": Threshold, "west": NoThreshold}
    predict = made(confidence=Confidence(found, group="region"))
    assert decide(predict, "north", 0.99).ok
    assert decide(predict, "west", 0.99).reasons == ("no threshold is certified for the group west",)
    assert NoThreshold._of(found.to_dict()) == found
    with_all = one(0.9, groups={"north": found})
    assert Threshold.from_json(with_all.to_json()) == with_all


def test_what_makes_no_sense_is_refused_when_written() -> None:
    """A group without groups, of the wrong type, or of an argument that is none; another version; an expired one; weakening."""
    with pytest.raises(ConfigError, match="calibrated without groups"):
        Confidence(one(0.9), group="region")
    with pytest.raises(ConfigError, match="calibrated without groups"):
        Confidence(0.9, group="region")
    with pytest.raises(ConfigError, match="is of type int"):
        Confidence(FOUND, group=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="names no argument"):
        made(confidence=Confidence(FOUND, group="regoin"))("north", 1.0)
    with pytest.raises(ConfigError, match="another version"):
        made(confidence=Confidence(one(0.9, groups={"north": one(0.6, version="7")}), group="region"))("north", 1.0)
    with pytest.raises(ConfigError, match="has expired"):
        Confidence(one(0.9, groups={"north": one(0.6, expires=datetime(2020, 1, 1, tzinfo=UTC))}), group="region")
    with pytest.raises(ConfigError, match="cannot weaken"):
        with_options(made(), confidence=Confidence(FOUND))("south", 0.95)


def test_another_threshold_forgets_the_group() -> None:
    """A number by a setting holds for all alike."""
    kept = Confidence(FOUND, group="region")
    assert kept.but(of="score").group == "region"
    assert (kept.but(at_least=0.7).group, kept.but(at_least=0.7).at_least) == (None, 0.7)
