"""What the queue does with a case from its arrival to its end."""

from __future__ import annotations

import enum
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from guardrail import clock
from guardrail import review as queue
from guardrail.content import jsonable
from guardrail.errors import ConfigError, GuardrailError, InvalidInput
from guardrail.review import labels
from guardrail.review.case import Actor, Case, TicketClosed, TicketNotFound

pytestmark = pytest.mark.usefixtures("store")


Make = Callable[..., Case]
Events = Callable[[], list[dict[str, Any]]]


def test_a_case_becomes_a_ticket_that_says_where_it_stands(case: Make, wall: Any) -> None:
    """The ticket carries what the contract names, times in UTC, and its state is read from the store."""
    ticket = queue.put(case(business_id="loan-17", due=wall.now + 60))
    assert (ticket.queue, ticket.guard, ticket.decision_id) == ("loans", "credit", "decision-1")
    assert (ticket.business_id, ticket.reason, ticket.provisional) == ("loan-17", "low", "yes")
    assert ticket.created == datetime.fromtimestamp(wall.now, UTC)
    assert ticket.due == datetime.fromtimestamp(wall.now + 60, UTC)
    assert ticket.state == "pending"
    assert queue.get(ticket.id) == ticket


def test_one_open_ticket_for_one_key(case: Make) -> None:
    """The same question again is the same ticket while it is open, and a new one afterwards."""
    first = queue.put(case())
    assert queue.put(case(decision_id="another")) == first
    assert queue.put(case(2)) != first
    queue.decide(first.id, "no")
    second = queue.put(case())
    assert second != first
    assert (first.state, second.state) == ("decided", "pending")


def test_the_reviewer_sees_what_was_asked(case: Make) -> None:
    """Everything of the case comes back as JSON knows it."""
    given: dict[str, Any] = {
        "arguments": {"income": 100, "ratio": 0.25, "tags": ["a", None, True], "deep": {"x": {"y": 1}}},
        "shown": {"income": "100 €"},
        "reasons": ("confidence too low", "new postcode"),
        "guide": "https://example/guide",
        "priority": 3,
        "skills": ("mortgages",),
        "owner": "credit",
        "actor": {"id": "svc", "kind": "service"},
    }
    seen = queue.details(queue.put(case(**given)).id)
    assert seen.arguments == given["arguments"]
    assert (seen.shown, seen.reasons, seen.guide) == (given["shown"], list(given["reasons"]), given["guide"])
    assert (seen.priority, seen.skills, seen.owner) == (3, ["mortgages"], "credit")
    assert (seen.requester, seen.choices) == (given["actor"], ["yes", "no"])
    assert (seen.confidence, seen.threshold, seen.state, seen.steps) == (0.4, 0.8, "pending", [])


@pytest.mark.parametrize("text", ["\x00", "lone \ud800 surrogate", "'; DROP TABLE ticket; --", "%_%", "\u202e[red]", ""])
def test_any_text_can_be_kept(case: Make, text: str) -> None:
    """No text of the user's breaks the store or another case."""
    ticket = queue.put(case(business_id=text or None, guide=text, owner=text, reasons=[text.replace("\ud800", "?")]))
    assert ticket.state == "pending"
    assert queue.details(ticket.id).guide == text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    assert len(queue.find(business_id=ticket.business_id, state="open")) == 1


def test_a_confidence_that_is_no_number_is_kept_as_none(case: Make) -> None:
    """NaN and infinity have no form in JSON."""
    for key, value in enumerate([float("nan"), float("inf")]):
        assert queue.details(queue.put(case(key, confidence=value)).id).confidence is None


def test_a_decision_is_final_and_says_by_whom(case: Make, wall: Any) -> None:
    """A decided ticket tells who, when, what and how it compares, and takes no second decision."""
    ticket = queue.put(case())
    wall.now += 5
    queue.decide(ticket.id, "no", actor="anna", note="income not proven")
    (step,) = queue.details(ticket.id).steps
    assert (step.state, step.verdict, step.value, step.note) == ("decided", "change", "no", "income not proven")
    assert (step.actor, step.at) == (Actor("anna", "asserted"), datetime.fromtimestamp(wall.now, UTC))
    with pytest.raises(TicketClosed, match=f"{ticket.id} is decided"):
        queue.decide(ticket.id, "yes")
    with pytest.raises(TicketClosed):
        queue.cancel(ticket.id, "too late")
    assert queue.details(ticket.id).ending == step


def test_who_decides_without_a_name_is_the_user_of_the_system(case: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment cannot make someone else of them."""
    monkeypatch.setenv("USER", "mallory")
    monkeypatch.setenv("LOGNAME", "mallory")
    ticket = queue.put(case())
    queue.decide(ticket.id, verdict="accept")
    (step,) = queue.details(ticket.id).steps
    assert step.actor is not None
    assert step.actor.known_by == "os"
    assert step.actor.id != "mallory"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (("yes", None), ("accept", "yes")),
        (("no", None), ("change", "no")),
        (("yes", "accept"), ("accept", "yes")),
        (("no", "change"), ("change", "no")),
        ((queue.__name__, "reject"), None),
        (("no", "accept"), None),
        (("maybe", None), None),
        ((None, None), None),
        (("yes", "perhaps"), None),
    ],
)
def test_the_verdict_follows_from_the_value(case: Make, given: Any, kept: Any) -> None:
    """A value that equals the model's answer is accepted, another one changes it; what contradicts itself is refused."""
    value, verdict = given
    ticket = queue.put(case())
    if kept is None:
        with pytest.raises((InvalidInput, ConfigError)) as caught:
            queue.decide(ticket.id, value, verdict=verdict)
        assert "maybe" not in str(caught.value)
        assert ticket.state == "pending"
    else:
        queue.decide(ticket.id, value, verdict=verdict)
        (step,) = queue.details(ticket.id).steps
        assert (step.verdict, step.value) == kept


def test_accepting_and_rejecting_need_no_value(case: Make) -> None:
    """ "accept" takes the model's own answer, even when it is none of the choices; "reject" gives none."""
    accepted, rejected = queue.put(case(1, provisional={"score": 0.4})), queue.put(case(2))
    queue.decide(accepted.id, verdict="accept")
    queue.decide(rejected.id, verdict="reject")
    first, second = (queue.details(ticket.id).steps[0] for ticket in (accepted, rejected))
    assert (first.verdict, first.value) == ("accept", {"score": 0.4})
    assert (second.verdict, second.value) == ("reject", None)
    with pytest.raises(InvalidInput, match="no answer of the model"):
        queue.decide(queue.put(case(3, provisional=None)).id, verdict="accept")
    with pytest.raises(InvalidInput, match="needs an answer"):
        queue.decide(queue.put(case(4)).id)


def test_choices_are_told_apart_exactly(case: Make) -> None:
    """1, 1.0 and True are three answers; an enum stands for its value."""

    class Grade(enum.Enum):
        A = "a"

    ticket = queue.put(case(1, choices=[1, "1"], provisional=None))
    for wrong in (True, 1.0, None):
        with pytest.raises(InvalidInput, match="none of the choices"):
            queue.decide(ticket.id, wrong)
    queue.decide(ticket.id, 1)
    assert queue.details(ticket.id).steps[0].value == 1
    graded = queue.put(case(2, choices=[Grade.A], provisional=Grade.A))
    queue.decide(graded.id, Grade.A)
    assert queue.details(graded.id).steps[0].verdict == "accept"


def test_without_choices_any_answer_is_allowed(case: Make) -> None:
    """None is an answer too."""
    for key, value in enumerate([None, 0.5, {"a": [1]}, "words"]):
        ticket = queue.put(case(key, choices=None))
        queue.decide(ticket.id, value)
        assert queue.details(ticket.id).steps[0].value == value


def test_a_cancelled_ticket_leaves_the_queue(case: Make) -> None:
    """It is listed no more, takes no decision, and the same question opens a new one."""
    ticket = queue.put(case())
    ticket.cancel("withdrawn")
    assert ticket.state == "cancelled"
    assert queue.find(state="open") == []
    with pytest.raises(TicketClosed, match="cancelled"):
        queue.decide(ticket.id, "yes")
    assert queue.put(case()) != ticket
    with pytest.raises(ConfigError, match="reason"):
        ticket.cancel("  ")


def test_the_most_urgent_come_first(case: Make, wall: Any) -> None:
    """By priority, then the oldest; and the filters do what they say."""
    tickets = []
    for key, (priority, name) in enumerate([(0, "loans"), (5, "loans"), (0, "fraud"), (5, "loans")]):
        wall.now += 1
        tickets.append(queue.put(case(key, priority=priority, queue=name, guard=f"g{key}", business_id=f"b{key}")))
    assert queue.find() == [tickets[1], tickets[3], tickets[0], tickets[2]]
    assert queue.find(queue="fraud") == [tickets[2]]
    assert queue.find(guard="g3", state="pending") == [tickets[3]]
    assert queue.find(business_id="b0") == [tickets[0]]
    assert queue.find(limit=1) == [tickets[1]]
    assert (queue.open_count(), queue.open_count("loans"), queue.open_count("none")) == (4, 3, 0)
    queue.decide(tickets[1].id, "yes")
    assert queue.find(state="decided") == [tickets[1]]
    assert queue.open_count("loans") == 2
    with pytest.raises(ConfigError, match="no such state"):
        queue.find(state="done")  # type: ignore[arg-type]


def test_looking_makes_no_store(home: Any, store: str) -> None:
    """Reading an empty queue creates nothing."""
    assert (queue.find(), queue.open_count(), queue.answer_for("g", "b", 0)) == ([], 0, None)
    assert queue.check() == [("ok", "no case was ever filed" if store == "embedded" else "no open tickets")]
    with pytest.raises(TicketNotFound):
        queue.get("0193")
    assert not home.exists()


def test_an_id_may_be_shortened_while_it_is_clear(case: Make) -> None:
    """The beginning or the end of an id is enough, unless two tickets have it."""
    first, second = queue.put(case(1)), queue.put(case(2))
    assert queue.resolve(first.id) == first.id
    assert queue.resolve(f" {first.id[-8:].upper()} ") == first.id
    assert queue.resolve(second.id[:-1]) == second.id
    with pytest.raises(TicketNotFound, match="more than one"):
        queue.resolve(first.id[:4])
    for wrong in ("", "%", "_", "zzz", "x" * 5000, "\ud800"):
        with pytest.raises(TicketNotFound):
            queue.resolve(wrong)


@pytest.mark.parametrize("on_expiry", ["reject", "fallback", "provisional"])
def test_a_ticket_that_nobody_answers_in_time_expires(case: Make, wall: Any, events: Events, on_expiry: Any) -> None:
    """No sweeper is needed: any look at it is enough, and it is told to the ledger once."""
    ticket = queue.put(case(due=wall.now + 60, on_expiry=on_expiry))
    wall.now += 59
    assert ticket.state == "pending"
    wall.now += 1
    assert ticket.state == "expired"
    assert ticket.state == "expired"
    with pytest.raises(TicketClosed, match="expired"):
        queue.decide(ticket.id, "yes")
    reminded, event = events()
    assert (reminded["event"], reminded["state"]) == ("ticket", "reminded")
    assert (event["event"], event["state"], event["on_expiry"]) == ("ticket", "expired", on_expiry)
    assert "actor" not in event


def test_a_held_ticket_stays_open_after_its_time(case: Make, wall: Any) -> None:
    """`hold` waits for a person, however long it takes."""
    ticket = queue.put(case(due=wall.now + 60, on_expiry="hold"))
    wall.now += 10_000
    assert queue.expire_due() == []
    queue.decide(ticket.id, "yes")
    assert ticket.state == "decided"


@pytest.mark.parametrize("look", ["find", "count", "put", "decide", "expire_due", "cancel", "check"])
def test_every_use_expires_what_is_due(case: Make, wall: Any, look: str) -> None:
    """Whichever verb comes first sees the queue as it stands now."""
    ticket = queue.put(case(due=wall.now + 1, on_expiry="reject"))
    wall.now += 2
    if look == "find":
        assert queue.find(state="open") == []
    elif look == "count":
        assert queue.open_count() == 0
    elif look == "put":
        assert queue.put(case(due=wall.now + 1, on_expiry="reject")) != ticket
    elif look == "expire_due":
        assert queue.expire_due() == [ticket.id]
    elif look == "check":
        assert queue.check() == [("ok", "no open tickets")]
    else:
        with pytest.raises(TicketClosed):
            _ = queue.decide(ticket.id, "yes") if look == "decide" else queue.cancel(ticket.id, "why")
    assert queue.find(state="expired") == [ticket]


def test_the_last_answer_about_a_matter_is_found(case: Make, wall: Any) -> None:
    """By guard and business id, not before a moment; an answer about another matter is never taken."""
    start = wall.now
    for key, value in enumerate(["yes", "no"]):
        wall.now = start + 10 * key
        queue.decide(queue.put(case(key, business_id="loan-17")).id, value, actor="anna")
    queue.cancel(queue.put(case(7, business_id="loan-17")).id, "withdrawn")
    queue.put(case(8, business_id="loan-18"))
    answer = queue.answer_for("credit", "loan-17", start)
    assert answer is not None
    assert (answer.value, answer.verdict, answer.result()) == ("no", "change", "no")
    assert (answer.actor, answer.at.timestamp()) == (Actor("anna"), start + 10)
    assert queue.answer_for("credit", "loan-17", datetime.fromtimestamp(start + 11, UTC)) is None
    assert queue.answer_for("credit", "loan-18", 0) is None
    assert queue.answer_for("other", "loan-17", 0) is None
    assert queue.ANSWER.now("credit", "loan-17", start) == answer


def test_the_ledger_knows_who_and_what_became_of_it_but_no_values(case: Make, events: Events) -> None:
    """Decisions and cancellations are events, synced before the call returns; what they decided stays in the store."""
    one = queue.put(case(1, business_id="loan-17", arguments={"ssn": "078-05-1120"}))
    two = queue.put(case(2))
    queue.decide(one.id, "no", actor="anna", note="private note")
    two.cancel("withdrawn")
    decided, cancelled = events()
    assert (decided["event"], decided["ticket"], decided["state"]) == ("decision", one.id, "decided")
    assert (decided["verdict"], decided["business_id"], decided["decision_id"]) == ("change", "loan-17", "decision-1")
    assert decided["actor"] == {"id": "anna", "known_by": "asserted"}
    assert (cancelled["event"], cancelled["ticket"], cancelled["cause"]) == ("ticket", two.id, "withdrawn")
    assert cancelled["actor"]["known_by"] == "os"
    assert not {"078-05-1120", "private note", "no"} & set(map(str, (decided | cancelled).values()))


def test_an_event_that_the_ledger_refused_is_told_later(
    case: Make, wall: Any, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision stands, doctor knows of the event, and the next use a minute later writes it."""
    from guardrail.ledger import writer

    ticket = queue.put(case())

    def refuse(*_: Any, **__: Any) -> str:
        raise GuardrailError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(writer, "event", refuse)
        queue.decide(ticket.id, "yes")
        wall.now += 61
        assert ("warn", "the ledger does not take what became of tickets: 1 waiting") in queue.check()
    assert events() == []
    assert ticket.state == "decided"
    (event,) = events()
    assert (event["event"], event["ticket"]) == ("decision", ticket.id)
    wall.now += 61
    assert len(queue.find()) == 1
    assert len(events()) == 1


def test_a_queue_by_name_for_a_notebook(case: Make) -> None:
    """list, show, decide and cancel on one queue."""
    loans = queue.queue("loans")
    one, two = queue.put(case(1)), queue.put(case(2))
    queue.put(case(3, queue="fraud"))
    assert [each.ticket for each in loans.list()] == [one, two]
    assert len(loans) == 2
    assert loans.show(one.id[-8:]).ticket == one
    loans.decide(one.id[-8:], "yes", actor="anna")
    loans.cancel(two.id[-8:], "withdrawn")
    assert (len(loans), one.state, two.state) == (0, "decided", "cancelled")
    assert repr(loans) == "<Queue 'loans'>"


def test_a_ticket_is_plain_data(case: Make) -> None:
    """It pickles, is equal to and hashes as its copy, and its repr tells no value."""
    ticket = queue.put(case(business_id="secret-id", provisional={"score": "secret-score"}, choices=None))
    copy = pickle.loads(pickle.dumps(ticket))  # noqa: S301 - our own
    assert copy == ticket
    assert len({copy, ticket}) == 1
    assert (copy.state, copy.provisional) == ("pending", {"score": "secret-score"})
    assert ticket.id in repr(ticket)
    for shown in (repr(ticket), repr(case(business_id="secret-id")), repr(queue.details(ticket.id))):
        assert "secret" not in shown


def test_what_was_put_is_a_copy(case: Make) -> None:
    """Changing the arguments afterwards changes nothing in the queue."""
    arguments = {"list": [1]}
    ticket = queue.put(case(arguments=arguments))
    arguments["list"].append(2)
    assert queue.details(ticket.id).arguments == {"list": [1]}


def test_a_decision_is_a_label_too(case: Make) -> None:
    """What a reviewer answered can be learned from; a rejection says nothing of what is true."""
    ticket = queue.put(case(1, business_id="loan-17"))
    queue.decide(ticket.id, "no")
    queue.decide(queue.put(case(2)).id, verdict="reject")
    (label,) = labels.read("credit")
    assert (label.actual, label.source, label.ticket_id) == ("no", "review", ticket.id)
    assert (label.decision_id, label.business_id) == ("decision-1", "loan-17")


def test_ids_are_ordered_by_time(case: Make, wall: Any) -> None:
    """A later ticket has a greater id, and it is a UUID of version 7."""
    ids = []
    for key in range(5):
        wall.now += 0.002
        ids.append(queue.put(case(key)).id)
    assert ids == sorted(ids)
    assert all(len(each) == 36 and each[14] == "7" for each in ids)
    assert clock.wall() == wall.now


class Grade(enum.Enum):
    """An answer with a name."""

    GOOD = "good"


@pytest.mark.parametrize(
    ("value", "same", "others"),
    [
        (float("nan"), float("nan"), [None, 0.0, "nan"]),
        (10**30, 10**30, [1e30, str(10**30)]),
        ({1: "a"}, {1: "a"}, [{"1": "a"}]),
        ({"b": 1, "a": [1.0]}, {"a": [1.0], "b": 1}, [{"a": [1], "b": 1}]),
        (Grade.GOOD, "good", ["bad"]),
        ("\ud800", "\ud800", ["\\ud800", "?"]),
        (0.0, 0.0, [-0.0, 0, False]),
    ],
)
def test_answers_are_compared_exactly_and_encoded_once(case: Make, value: Any, same: Any, others: list[Any]) -> None:
    """What JSON has no form for is told apart all the same, and the store's own form of it is taken back."""
    ticket = queue.put(case(choices=[value], provisional=jsonable(value)))
    for other in others:
        with pytest.raises(InvalidInput):
            queue.decide(ticket.id, other)
    (choice,) = queue.details(ticket.id).choices or ()
    assert queue.put(case(2, choices=[choice])).id != ticket.id
    for key, answer in enumerate([same, choice]):
        asked = queue.put(case(("again", key), choices=[value], provisional=jsonable(value)))
        queue.decide(asked.id, answer)
        (step,) = queue.details(asked.id).steps
        assert (step.verdict, step.value) == ("accept", choice)


def test_what_cannot_be_json_is_refused_by_its_type(case: Make) -> None:
    """Nothing is stored, and the error names the type and not the value."""
    ticket = queue.put(case(choices=None))
    for refused in (lambda: queue.decide(ticket.id, object()), lambda: labels.add("d", object())):
        with pytest.raises(ConfigError, match="of type object"):
            refused()
    assert ticket.state == "pending"


def test_ids_of_one_process_stand_in_the_order_in_which_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many in one instant, and when the clock goes back a little; the oldest case is the first that a person gets."""
    from guardrail import clock
    from guardrail.review.case import new_id

    moment = [1_800_000_000.0]
    monkeypatch.setattr(clock, "wall", lambda: moment[0])
    ids = [new_id() for _ in range(500)]
    moment[0] -= 0.1
    ids += [new_id() for _ in range(500)]
    assert ids == sorted(set(ids))
    moment[0] -= 3600
    assert new_id() < ids[0]
