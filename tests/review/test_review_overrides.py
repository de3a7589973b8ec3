"""Decisions that people change afterwards: overrides with reasons and a second approval, appeals that another person decides."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from guardrail import (
    BusinessId,
    ConfigError,
    Deferred,
    Prediction,
    Principal,
    Review,
    acting_as,
    appeal,
    configure,
    decide,
    guarded,
    notices,
    override,
    review,
    with_options,
)
from guardrail.errors import AccessDenied, InvalidInput
from guardrail.ledger import read
from guardrail.review import health, labels, people
from guardrail.review.case import DecisionNotFound, TicketHeld
from guardrail.review.case_card import case_card

pytestmark = pytest.mark.usefixtures("store")


@guarded(name="credit", version="3", confidence=0.8, review=Review("loans", choices=["yes", "no"], reuse="1d"))
def predict(loan: Annotated[str, BusinessId], income: int) -> Prediction[str]:
    """Sure from an income of 100 on."""
    return Prediction("yes", 0.9 if income >= 100 else 0.3)


@guarded(name="surgery", version="1", tags={"risk": "high"})
def operate(loan: Annotated[str, BusinessId]) -> str:
    """Much hangs on this one."""
    return "operate"


def events(kind: str) -> list[dict[str, Any]]:
    """Return what the ledger holds of a kind."""
    return list(read(event=kind))


def test_an_automated_decision_is_overridden() -> None:
    """The old record stays; reason and actor stand in the ledger, the value in the labels; unsure calls get the new answer."""
    old = decide(predict, "loan-1", 100)
    new = override(old.id, "no", reason="missing_context", actor="anna")
    assert (new.value, new.outcome, new.id, new.business_id, new.ok) == ("no", "human", old.id, "loan-1", True)
    (event,) = events("override")
    assert (event["actor"]["id"], event["cause"], event["parent"], event["decision_id"]) == (
        "anna",
        "missing_context",
        old.id,
        old.id,
    )
    assert "no" not in event.values()
    (label,) = labels.read()
    assert (label.source, label.actual, label.decision_id) == ("override", "no", old.id)
    again = decide(predict, "loan-1", 5)
    assert (again.value.value, again.outcome) == ("no", "human")
    assert len([each for each in read(ids=old.id) if each["event"] == "call"]) == 1


def test_by_the_users_own_key_the_newest_decision_is_meant() -> None:
    """A business id is enough; where several guards decided on it, one must be named."""
    decide(predict, "loan-1", 100)
    newest = decide(predict, "loan-1", 200)
    assert override(value="no", business_id="loan-1", reason="model_error", actor="anna").id == newest.id
    decide(operate, "loan-1")
    with pytest.raises(ConfigError, match="several guards"):
        override(value="no", business_id="loan-1", reason="model_error", actor="anna")
    assert override(value="no", business_id="loan-1", guard="credit", reason="model_error", actor="anna").ok


def test_overriding_what_still_waits_decides_it() -> None:
    """The case is closed by it, and no second one is opened."""
    deferred = decide(predict, "loan-1", 5)
    assert deferred.ticket is not None
    new = override(deferred.id, "no", reason="model_error", actor="anna")
    assert (new.value, new.ok, deferred.ticket.state) == ("no", True, "decided")
    assert review.count(state="all") == 1


def test_above_a_risk_class_a_second_person_approves() -> None:
    """Until then nothing changes; the same person cannot approve, another one can, or refuse."""
    people.set("sue", roles=["senior"])
    people.set("anna", roles=["senior"])
    old = decide(operate, "patient-1")
    new = override(old.id, "wait", reason="policy_exception", note="fever", actor="anna")
    assert (new.outcome, new.ok) == ("deferred", False)
    with pytest.raises(Deferred):
        _ = new.value
    assert new.ticket is not None
    assert labels.read() == []
    case = review.details(new.ticket.id)
    assert (case.kind, case.role, case.shown) == (
        "override",
        "senior",
        {"by": "anna", "decided": "operate", "note": "fever", "override": "wait"},
    )
    with pytest.raises(AccessDenied, match="same person"):
        review.decide(new.ticket.id, verdict="accept", actor="anna")
    review.decide(new.ticket.id, verdict="accept", actor="sue")
    assert [(label.source, label.actual) for label in labels.read()] == [("override", "wait")]
    configure(second_approval=[])
    assert override(old.id, "wait", reason="policy_exception", actor="anna").ok


@pytest.mark.parametrize(
    ("said", "error", "what"),
    [
        ({"reason": "bad mood"}, ConfigError, "not on the list"),
        ({"reason": "other"}, ConfigError, "needs a note"),
        ({"value": ...}, ConfigError, "another answer"),
        ({"value": "maybe"}, InvalidInput, "none of the choices"),
        ({"decision_id": "0193-none"}, DecisionNotFound, "no such decision"),
        ({"business_id": "loan-1"}, ConfigError, "needs one id"),
        ({"actor": " "}, ConfigError, "not a name"),
    ],
)
def test_an_override_that_makes_no_sense_changes_nothing(said: dict[str, Any], error: Any, what: str) -> None:
    """With what is wrong, and without the value."""
    old = decide(predict, "loan-1", 5)
    assert old.ticket is not None
    review.decide(old.ticket.id, "yes", actor="ben")
    given: dict[str, Any] = {"decision_id": old.id, "value": "no", "reason": "model_error", "actor": "anna"} | said
    with pytest.raises(error, match=what) as raised:
        override(**given)
    assert "maybe" not in str(raised.value)
    assert len(labels.read()) == 1
    assert review.count(state="all") == 1


def test_an_appeal_goes_to_another_person_who_is_not_told_who_decided() -> None:
    """A different, senior reviewer, blind to the first; the person concerned is answered in plain words."""
    people.set("sue", roles=["senior"])
    people.set("ben", roles=["senior"])
    old = decide(predict, "loan-1", 5)
    assert old.ticket is not None
    review.decide(old.ticket.id, "no", actor="ben", note="income not proven")
    ticket = appeal(old.id, "I sent the payslips twice", by="customer-1")
    assert appeal(old.id, "and again", by="customer-1") == ticket
    assert (ticket.queue, ticket.reason, ticket.state) == ("appeals", "appeal", "pending")
    assert "is going to look at it" in review.reply(ticket.id)
    for name, error in (("ben", TicketHeld), ("cleo", AccessDenied)):
        with pytest.raises(error):
            review.decide(ticket.id, "yes", actor=name, note="x")
    claim = review.claim("appeals", actor="sue")
    assert claim is not None
    assert "ben" not in str([step.actor for step in claim.details.steps])
    assert claim.details.arguments == {"loan": "loan-1", "income": 5}
    assert claim.details.reasons == ["I sent the payslips twice"]
    with pytest.raises(ConfigError, match="owed an explanation"):
        review.decide(ticket.id, "yes", actor="sue", token=claim.token)
    review.decide(ticket.id, "yes", actor="sue", token=claim.token, note="The payslips had been filed under another name.")
    told = review.reply(ticket.id)
    assert "no part in the decision" in told
    assert told.endswith("The payslips had been filed under another name.")
    assert [(label.source, label.actual) for label in labels.read()] == [("review", "no"), ("appeal", "yes")]
    assert [each["parent"] for each in events("appeal")] == [old.id]


def test_an_appeal_goes_to_another_person_where_nobody_is_senior() -> None:
    """It waits for anybody but whoever decided, and that is said: once as a warning, and wherever the queue is looked at."""
    old = decide(predict, "loan-1", 5)
    assert old.ticket is not None
    review.decide(old.ticket.id, "no", actor="ben")
    ticket = appeal(old.id, "I sent the payslips", by="customer-1")
    count, words = notices.counts()["credit", "review-senior"]
    assert (count, "nobody who may decide an appeal has the role senior" in words) == (1, True)
    assert "anybody may who had no part" in str(review.details(ticket.id).deciders)
    assert "anybody may who had no part" in case_card(review.details(ticket.id))
    assert (review.stats()["without_senior"], review.stats("loans")["without_senior"]) == (1, 0)
    assert any("1 appeals wait for anybody" in words for level, words in health.check() if level == "warn")
    with pytest.raises(TicketHeld):
        review.decide(ticket.id, "no", actor="ben", note="x")
    assert review.claim("appeals", actor="ben") is None
    review.decide(ticket.id, "yes", actor="cleo", note="They were there.")
    assert review.details(ticket.id).deciders is None
    assert review.stats()["without_senior"] == 0


def test_the_only_senior_is_not_waited_for_where_they_decided() -> None:
    """Neither by an appeal, nor by a second approval that they asked for, nor where they are one of those who differ."""
    people.set("ben", roles=["senior"])
    configure(second_approval=["high"])
    old = decide(predict, "loan-1", 5)
    assert old.ticket is not None
    review.decide(old.ticket.id, "no", actor="ben")
    ticket = appeal(old.id, "I sent the payslips", by="customer-1")
    assert review.details(ticket.id).role is None
    assert (notices.counts()["credit", "review-senior"][0], review.stats()["unclaimable"]) == (1, 0)
    second = override(decide(operate, "case-1").id, "wait", reason="missing_context", actor="ben").ticket
    assert second is not None
    assert review.details(second.id).role is None
    differ = with_options(predict, review=Review("loans", choices=["yes", "no"], reviewers=2))
    both = decide(differ, "loan-2", 6).ticket
    assert both is not None
    for name, said in (("ben", "no"), ("anna", "yes")):
        review.decide(both.id, said, actor=name)
    assert (review.details(both.id).state, review.details(both.id).role) == ("adjudicate", None)
    people.set("sue", roles=["senior"])
    later = appeal(decide(predict, "loan-3", 100).id, "I did not apply", by="customer-3")
    assert review.details(later.id).role == "senior"
    assert notices.counts()["credit", "review-senior"][0] == 1


def test_a_role_that_nobody_is_left_for_is_said() -> None:
    """The senior is removed, or declines: the case waits, and figures and doctor say so."""
    for name in ("sue", "ben"):
        people.set(name, roles=["senior"])
    old = decide(predict, "loan-1", 5)
    assert old.ticket is not None
    review.decide(old.ticket.id, "no", actor="ben")
    ticket = appeal(old.id, "I sent the payslips", by="customer-1")
    assert (review.details(ticket.id).role, review.stats()["unclaimable"]) == ("senior", 0)
    claim = review.claim("appeals", actor="sue")
    assert claim is not None
    review.decline(claim.token, reason="conflict_of_interest")
    assert (review.stats()["unclaimable"], review.stats("loans")["unclaimable"]) == (1, 0)
    assert any("1 open tickets wait for a role" in words for level, words in health.check() if level == "warn")
    people.set("kim", roles=["senior"])
    assert review.stats()["unclaimable"] == 0


def test_whoever_had_a_part_in_a_decision_decides_no_appeal() -> None:
    """Who overrode it, who decided the appeal before, whose answer was used again, and for whom the case was opened."""
    automated = decide(predict, "loan-1", 100)
    override(automated.id, "no", reason="missing_context", actor="anna")
    first = appeal(automated.id, "why", by="customer-1")
    with pytest.raises(TicketHeld):
        review.decide(first.id, "yes", actor="anna", note="x")
    review.decide(first.id, "no", actor="ben", note="We looked at it.")
    second = appeal(automated.id, "again: why", by="customer-1")
    for name in ("anna", "ben"):
        with pytest.raises(TicketHeld):
            review.decide(second.id, "yes", actor=name, note="x")
    with acting_as(Principal("clerk")):
        asked = decide(predict, "loan-2", 5)
    assert asked.ticket is not None
    review.decide(asked.ticket.id, "no", actor="ben")
    again = decide(predict, "loan-2", 6)
    assert (again.outcome, again.ticket) == ("human", None)
    third = appeal(again.id, "why", by="customer-2")
    with pytest.raises(TicketHeld):
        review.decide(third.id, "yes", actor="ben", note="x")
    fourth = appeal(asked.id, "why", by="customer-2")
    for name in ("ben", "clerk"):
        with pytest.raises(TicketHeld):
            review.decide(fourth.id, "yes", actor=name, note="x")
    review.decide(fourth.id, "yes", actor="cleo", note="You are right.")


def test_an_automated_decision_can_be_appealed_against() -> None:
    """What was answered is shown; nobody had a part in it but the machine; who appeals cannot decide it."""
    old = decide(predict, "loan-1", 100)
    ticket = appeal(business_id="loan-1", text="I did not apply", by="customer-1")
    assert (ticket.decision_id, ticket.provisional is not None) == (old.id, True)
    with pytest.raises(AccessDenied):
        review.decide(ticket.id, verdict="accept", actor="customer-1", note="x")
    review.decide(ticket.id, verdict="accept", actor="anna", note="You did, on Monday.")
    assert "stays as it was" in review.reply(ticket.id)


def test_an_appeal_says_something() -> None:
    """Neither nothing, nor a book; and only of a decision that there is."""
    old = decide(predict, "loan-1", 100)
    for text, what in ((" ", "says why"), ("x" * 20_001, "longer than")):
        with pytest.raises(ConfigError, match=what):
            appeal(old.id, text, by="customer-1")
    with pytest.raises(DecisionNotFound):
        appeal("0193-none", "why", by="customer-1")
    with pytest.raises(ConfigError, match="no appeal"):
        review.reply(decide(predict, "loan-2", 5).ticket.id)  # type: ignore[union-attr]


def test_who_asked_stays_known() -> None:
    """The principal of the call is whom a case was asked for by: they do not review it."""
    with acting_as(Principal("anna")):
        ticket = decide(predict, "loan-1", 5).ticket
    assert ticket is not None
    with pytest.raises(AccessDenied, match="same person"):
        review.decide(ticket.id, "no", actor="anna")
