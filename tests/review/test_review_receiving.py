"""Answers that arrive by webhook: signed, fresh, once; everything else is refused, and nothing is lost."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from guardrail import AccessDenied, ConfigError, InvalidInput, ledger, review, settings
from guardrail.review.case import Case

KEY = b"fedcba9876543210fedcba9876543210"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
Make = Callable[..., Case]
on_both = pytest.mark.usefixtures("store")


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that senders sign with."""
    monkeypatch.setenv("GUARDRAIL_RECEIVE_SECRET", SECRET)
    settings.reset()


def message(
    ticket: str, *, name: str = "msg-1", at: float = 1_800_000_000, key: bytes = KEY, **data: Any
) -> tuple[dict[str, str], bytes]:
    """A message as a library of Standard Webhooks makes it, from the text of the specification."""
    body = json.dumps({"type": "review.answer", "data": {"ticket": ticket, "person": "anna", **data}}).encode()
    signed = base64.b64encode(hmac.digest(key, f"{name}.{int(at)}.".encode() + body, "sha256")).decode()
    return {"Webhook-Id": name, "webhook-timestamp": str(int(at)), "WEBHOOK-SIGNATURE": f"v1,{signed}"}, body


@on_both
@pytest.mark.usefixtures("secret", "wall")
def test_a_signed_message_decides_once(case: Make) -> None:
    """By the person that it names, asserted; again it is repeated, and so is the same id for another case."""
    ticket, other = review.put(case(1)), review.put(case(2))
    sent = message(ticket.id, value="no", reason="model_error", note="see page 3")
    found = review.receive(*sent)
    assert (found.outcome, found.status, found.ticket_id) == ("decided", 200, ticket.id)
    assert [review.receive(*sent).outcome for _ in range(2)] == ["repeated"] * 2
    assert review.receive(*message(ticket.id, name="msg-2", value="no")).outcome == "repeated"
    assert review.receive(*message(other.id, value="yes")).outcome == "repeated"
    assert review.get(other.id).state == "pending"
    (step,) = review.details(ticket.id).steps
    assert (step.verdict, step.value, step.reason, step.note) == ("change", "no", "model_error", "see page 3")
    assert step.actor == review.Actor("anna", "asserted")
    assert len(list(ledger.read(event="decision"))) == 1


@on_both
@pytest.mark.usefixtures("secret", "wall")
def test_many_copies_at_once_decide_once(case: Make) -> None:
    """However they race."""
    ticket = review.put(case(reviewers=2))
    sent, found = message(ticket.id, value="no"), list[str]()
    threads = [threading.Thread(target=lambda: found.append(review.receive(*sent).outcome)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 6
    assert set(found) <= {"noted", "repeated"}
    assert (review.details(ticket.id).voted, len(list(ledger.read(event="decision")))) == (1, 1)


def test_without_a_secret_nothing_is_taken(case: Make, wall: Any) -> None:
    """Not even what is signed with an empty one."""
    ticket = review.put(case())
    with pytest.raises(ConfigError, match="no key"):
        review.receive(*message(ticket.id, value="no"))
    with pytest.raises(ConfigError, match="no key"):
        review.receive(*message(ticket.id, value="no", key=b""))
    assert review.get(ticket.id).state == "pending"


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("wrong", ["key", "body", "id", "time", "old", "ahead", "none", "half", "names", "v2", "huge"])
def test_what_is_not_signed_as_expected_is_refused(wrong: str, case: Make, wall: Any) -> None:
    """A signature of another key, over something else, of another time; and nothing of the message is named."""
    ticket = review.put(case())
    at = {"old": wall.now - 301, "ahead": wall.now + 301}.get(wrong, wall.now)
    headers, body = message(ticket.id, value="no", at=at, key=b"another key" if wrong == "key" else KEY)
    if wrong == "body":
        body = body.replace(b'"no"', b'"yes"')
    changed = {
        "id": {"Webhook-Id": "msg-9"}, "time": {"webhook-timestamp": str(int(wall.now) + 1)}, "none": {"WEBHOOK-SIGNATURE": ""},
        "half": {"WEBHOOK-SIGNATURE": headers["WEBHOOK-SIGNATURE"][:-4]}, "names": {"webhook-timestamp": "\uff11800000000"},
        "v2": {"WEBHOOK-SIGNATURE": headers["WEBHOOK-SIGNATURE"].replace("v1", "v2")}, "huge": {"webhook-timestamp": "9" * 5000},
    }.get(wrong, {})  # fmt: skip
    with pytest.raises(AccessDenied) as problem:
        review.receive(headers | changed, body)
    assert not any(word in str(problem.value) for word in ("anna", ticket.id, "msg-1", SECRET))
    assert review.get(ticket.id).state == "pending"


@pytest.mark.usefixtures("secret", "wall")
def test_a_key_is_changed_without_a_gap(case: Make) -> None:
    """A sender that has two keys signs with both; one that fits is enough, wherever it stands."""
    ticket = review.put(case())
    headers, body = message(ticket.id, value="no")
    headers["WEBHOOK-SIGNATURE"] = f"v1,AAAA v1a,ed25519 {headers['WEBHOOK-SIGNATURE']}"
    assert review.receive(headers, body).outcome == "decided"


@pytest.mark.usefixtures("secret", "wall")
@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{", "not JSON"),
        ("[]", "type"),
        ({"type": "review.decided", "data": {"ticket": "t", "person": "anna"}}, "type"),
        ({"type": "review.answer"}, "data is no object"),
        ({"type": "review.answer", "data": {"person": "anna"}}, "data.ticket"),
        ({"type": "review.answer", "data": {"ticket": "t", "person": " "}}, "data.person"),
        ({"type": "review.answer", "data": {"ticket": "t", "person": "anna", "note": 3}}, "data.note"),
        ({"type": "review.answer", "data": {"ticket": "t", "person": "anna", "blind": 1}}, "data.blind"),
        ({"type": "review.answer", "data": {"ticket": "t", "person": "anna", "known_by": "oidc"}}, "something else"),
        ("x" * (1 << 20) + "x", "longer"),
    ],
)
def test_a_signed_message_of_another_form_names_the_field(body: Any, why: str) -> None:
    """Our own messages are no answers either, whoever signs them."""
    text = (body if isinstance(body, str) else json.dumps(body)).encode()
    signed = base64.b64encode(hmac.digest(KEY, b"msg-1.1800000000." + text, "sha256")).decode()
    with pytest.raises(InvalidInput, match=why):
        review.receive({"webhook-id": "msg-1", "webhook-timestamp": "1800000000", "webhook-signature": f"v1,{signed}"}, text)


@on_both
@pytest.mark.usefixtures("secret")
def test_what_cannot_be_taken_says_why_and_is_kept(case: Make, wall: Any) -> None:
    """Each with a status of its own; the same message may be taken later, when nobody else is at work on the case."""
    ticket = review.put(case(1, due=wall.now + 3600, on_expiry="reject"))
    senior = review.put(case(2, levels=[{"role": "senior", "within": 60.0, "notify": []}]))
    claim = review.claim(ticket_id=ticket.id, actor="ben")
    assert claim is not None
    found = [
        review.receive(*message(ticket.id, name="1", value="no", note="my words")),
        review.receive(*message(senior.id, name="2", value="no")),
        review.receive(*message(ticket.id, name="3", value="perhaps")),
        review.receive(*message(ticket.id, name="4", value="no", reason="because")),
        review.receive(*message(ticket.id, name="5", verdict="maybe")),
        review.receive(*message("no-such", name="6", value="no")),
    ]
    assert [(each.outcome, each.status) for each in found] == [
        ("held", 409), ("denied", 403), ("misfit", 422), ("misfit", 422), ("misfit", 422), ("unknown", 404),
    ]  # fmt: skip
    review.release(claim.token)
    assert review.receive(*message(ticket.id, name="1", value="no", note="my words")).outcome == "decided"
    late = review.receive(*message(ticket.id, name="7", value="yes", person="cleo"))
    assert (late.outcome, late.status) == ("late", 409)
    kept = [(step.what, step.value, step.note) for step in review.details(ticket.id).steps]
    assert kept == [
        ("not_taken", "no", "my words"), ("not_taken", "perhaps", None), ("not_taken", "no", "because"), ("not_taken", None, "maybe"),
        ("decided", "no", "my words"), ("late", "yes", None),
    ]  # fmt: skip


@pytest.mark.usefixtures("secret")
def test_a_claim_that_is_held_here_is_used(case: Make, wall: Any) -> None:
    """By its token, or because it is the person's own; a token that is over is refused, and the words are kept."""
    first, second, third = (review.put(case(number)) for number in range(3))
    claims = {ticket.id: review.claim(ticket_id=ticket.id, actor="anna", blind=True) for ticket in (first, second, third)}
    held = claims[first.id]
    assert held is not None
    assert review.receive(*message(first.id, name="1", value="no", token=held.token)).outcome == "decided"
    assert review.receive(*message(second.id, name="2", value="no")).outcome == "decided"
    assert all(review.details(ticket.id).parts[0].blind for ticket in (first, second))
    wall.now += 601
    over = claims[third.id]
    assert over is not None
    assert review.receive(*message(third.id, name="3", at=wall.now, value="no", token=over.token)).outcome == "late"
    assert [step.what for step in review.details(third.id).steps] == ["late"]
