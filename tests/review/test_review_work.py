"""People at work on cases: claims, votes, roles, levels. On SQLite and on PostgreSQL alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from guardrail import ConfigError, configure, review
from guardrail.errors import AccessDenied, InvalidInput
from guardrail.ledger import read
from guardrail.review import labels, people
from guardrail.review.case import Case, StaleClaim, TicketClosed, TicketHeld
from guardrail.store import engine

pytestmark = pytest.mark.usefixtures("store")

Make = Callable[..., Case]
ANSWERS = {"type": "object", "properties": {"grade": {"type": "integer", "maximum": 5}}, "required": ["grade"]}


class Clock:
    """The store's clock, moved by the test and else as it is."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.real = engine.now

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self.real() + self.ahead


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Lets time pass: `later.ahead += 60`."""
    made = Clock()
    monkeypatch.setattr(engine, "now", made)
    return made


def told(*states: str) -> list[dict[str, Any]]:
    """Return what the ledger says of tickets in some states."""
    return [each for each in read(event=["ticket", "decision", "incident"]) if each.get("state") in states]


def test_a_claimed_case_is_nobody_elses(case: Make) -> None:
    """Who claims gets the most urgent one; the next person gets the next; nobody is handed what others work on."""
    urgent = review.put(case(1, priority=5))
    other = review.put(case(2))
    first, second = (review.claim("loans", actor=name) for name in ("anna", "ben"))
    assert first is not None and second is not None
    assert (first.ticket.id, second.ticket.id) == (urgent.id, other.id)
    assert (urgent.state, other.state) == ("claimed", "claimed")
    assert review.claim("loans", actor="cleo") is None
    assert [part.reviewer.id for part in first.details.parts] == ["anna"]
    with pytest.raises(TicketHeld, match="somebody else is at work"):
        review.decide(urgent.id, "no", actor="cleo")
    review.decide(urgent.id, "no", actor="anna", token=first.token)
    assert urgent.state == "decided"
    assert first.token not in repr(first)


def test_a_lease_ends_by_itself_and_a_late_answer_is_kept(case: Make, later: Clock) -> None:
    """No reaper: the case is free when its time is up; who comes late is refused, and what they wrote is not lost."""
    ticket = review.put(case())
    claim = review.claim("loans", actor="anna", lease="10m")
    assert claim is not None
    later.ahead += 601
    assert ticket.state == "pending"
    again = review.claim("loans", actor="ben")
    assert again is not None
    assert again.ticket == ticket
    with pytest.raises(StaleClaim, match="is over"):
        review.decide(ticket.id, "no", actor="anna", token=claim.token, note="I did read it all", reason="model_error")
    review.decide(ticket.id, "yes", actor="ben", token=again.token)
    late, ending = (step for step in review.details(ticket.id).steps if step.what in ("late", "decided"))
    assert (late.what, late.value, late.note, late.reason) == ("late", "no", "I did read it all", "model_error")
    assert late.actor is not None
    assert (late.actor.id, ending.value) == ("anna", "yes")
    assert [label.actual for label in labels.read()] == ["yes"]


def test_an_ended_lease_is_refused_even_if_nobody_took_the_case(case: Make, later: Clock) -> None:
    """The token is in the predicate, not in anybody's good will; claimed again it can be decided."""
    ticket = review.put(case())
    claim = review.claim("loans", actor="anna", lease="10m")
    assert claim is not None
    later.ahead += 700
    for use in (lambda: review.decide(ticket.id, "no", actor="anna", token=claim.token), lambda: review.extend(claim.token)):
        with pytest.raises(StaleClaim):
            use()
    again = review.claim("loans", actor="anna")
    assert again is not None
    assert again.token != claim.token
    review.decide(ticket.id, "no", actor="anna", token=again.token)


def test_a_lease_can_be_extended_and_given_back(case: Make, later: Clock) -> None:
    """More time while it holds; released it is at once anybody's, the same person's too."""
    ticket = review.put(case())
    claim = review.claim("loans", actor="anna", lease="10m")
    assert claim is not None
    later.ahead += 500
    assert review.extend(claim.token, "10m") > claim.lease_until
    later.ahead += 500
    assert ticket.state == "claimed"
    review.release(claim.token)
    assert ticket.state == "pending"
    again = review.claim("loans", actor="anna")
    assert again is not None
    assert again.ticket == ticket


def test_who_declines_is_not_handed_the_case_again(case: Make) -> None:
    """A conflict of interest is said once; others get the case, and see that somebody declined."""
    ticket = review.put(case())
    claim = review.claim("loans", actor="anna")
    assert claim is not None
    review.decline(claim.token, "conflict_of_interest", "my neighbour")
    assert review.claim("loans", actor="anna") is None
    with pytest.raises(TicketHeld, match="declined"):
        review.decide(ticket.id, "no", actor="anna")
    other = review.claim("loans", actor="ben")
    assert other is not None
    assert [(step.what, step.reason) for step in other.details.steps] == [("declined", "conflict_of_interest")]
    with pytest.raises(ConfigError, match="not on the list"):
        review.decline(other.token, "no_mood")


def test_two_reviewers_who_agree_decide(case: Make) -> None:
    """Two different people; the first sees nothing of the second's vote, nor the second of the first's."""
    ticket = review.put(case(reviewers=2))
    first = review.claim("loans", actor="anna")
    second = review.claim("loans", actor="ben")
    assert first is not None and second is not None
    assert first.ticket == second.ticket == ticket
    assert review.claim("loans", actor="cleo") is None
    review.decide(ticket.id, "no", actor="anna", token=first.token)
    assert ticket.state == "claimed"
    seen = review.details(ticket.id)
    assert [(part.reviewer.id, part.state, part.verdict, part.value) for part in seen.parts] == [
        ("anna", "voted", None, None), ("ben", "held", None, None),
    ]  # fmt: skip
    with pytest.raises(TicketHeld, match="has voted"):
        review.decide(ticket.id, "no", actor="anna")
    review.decide(ticket.id, "no", actor="ben", token=second.token)
    assert ticket.state == "decided"
    assert [(part.reviewer.id, part.value) for part in review.details(ticket.id).parts] == [("anna", "no"), ("ben", "no")]
    assert [label.actual for label in labels.read()] == ["no"]


def test_reviewers_who_differ_need_one_more(case: Make) -> None:
    """A third person decides alone: a senior, if there is one; neither of the two can."""
    people.set("sue", roles=["senior"])
    ticket = review.put(case(reviewers=2))
    review.decide(ticket.id, "no", actor="anna")
    assert ticket.state == "pending"
    review.decide(ticket.id, "yes", actor="ben")
    assert ticket.state == "adjudicate"
    with pytest.raises(AccessDenied, match="role senior"):
        review.decide(ticket.id, "no", actor="cleo")
    assert review.claim("loans", actor="cleo") is None
    claim = review.claim("loans", actor="sue")
    assert claim is not None
    assert [part.verdict for part in claim.details.parts] == [None, None, None]
    review.decide(ticket.id, "yes", actor="sue", token=claim.token)
    ending = review.details(ticket.id).ending
    assert ending is not None
    assert ending.actor is not None
    assert (ending.value, ending.actor.id) == ("yes", "sue")
    assert [each["state"] for each in told("adjudicate")].count("adjudicate") >= 1


def test_a_majority_decides_as_soon_as_it_is_one(case: Make) -> None:
    """Two of three: the third is not asked; who is at work on it is told that it is closed, and what they wrote is kept."""
    ticket = review.put(case(reviewers=3, agree=2))
    third = review.claim("loans", actor="cleo")
    assert third is not None
    review.decide(ticket.id, "no", actor="anna")
    assert review.details(ticket.id).people == "1 of 3 have answered; 2 equal answers decide"
    review.decide(ticket.id, "no", actor="ben")
    assert ticket.state == "decided"
    with pytest.raises(TicketClosed):
        review.decide(ticket.id, "yes", actor="cleo", token=third.token, note="I differ")
    assert [(step.what, step.value) for step in review.details(ticket.id).steps] == [("decided", "no"), ("late", "yes")]
    assert [label.actual for label in labels.read()] == ["no"]


def test_a_minority_does_not_stop_a_majority(case: Make) -> None:
    """Of three votes two are enough, in whatever order; the one that decides is told of."""
    ticket = review.put(case(reviewers=3, agree=2))
    for name, answer in (("anna", "yes"), ("ben", "no")):
        review.decide(ticket.id, answer, actor=name)
        assert ticket.state == "pending"
    review.decide(ticket.id, "no", actor="cleo")
    ending = review.details(ticket.id).ending
    assert ending is not None and ending.actor is not None
    assert (ending.verdict, ending.value, ending.actor.id) == ("change", "no", "cleo")


@pytest.mark.parametrize(
    ("reviewers", "agree", "votes"),
    [(4, 3, "no yes no yes"), (3, 2, "unsure unsure"), (5, 3, "unsure unsure unsure"), (2, None, "unsure"), (3, None, "no yes")],
)
def test_without_a_majority_one_more_person_decides(case: Make, reviewers: int, agree: int | None, votes: str) -> None:
    """As soon as no answer can get there: ties, too many who are unsure. Who is at work on it then loses the claim, not the text."""
    ticket = review.put(case(reviewers=reviewers, agree=agree))
    said = votes.split()
    others = reviewers - len(said)
    held = review.claim("loans", actor="held") if others else None
    for number, answer in enumerate(said):
        assert ticket.state in ("pending", "claimed")
        given: dict[str, Any] = {"verdict": "unsure"} if answer == "unsure" else {"value": answer}
        review.decide(ticket.id, actor=f"r{number}", **given)
    assert ticket.state == "adjudicate"
    if held is not None:
        with pytest.raises(StaleClaim):
            review.decide(ticket.id, "yes", actor="held", token=held.token, note="my view")
        assert [step.note for step in review.details(ticket.id).steps if step.what == "late"] == ["my view"]
    review.decide(ticket.id, "no", actor="sue")
    assert ticket.state == "decided"


def test_who_declines_leaves_the_place_to_another(case: Make) -> None:
    """Declining is no vote: a majority is still found among as many people as were asked."""
    ticket = review.put(case(reviewers=3, agree=2))
    claim = review.claim("loans", actor="anna")
    assert claim is not None
    review.decline(claim.token, "not_my_field")
    for name, answer in (("ben", "no"), ("cleo", "yes"), ("dan", "yes")):
        assert ticket.state == "pending"
        review.decide(ticket.id, answer, actor=name)
    assert ticket.state == "decided"


def test_equal_answers_that_are_sealed_are_equal(case: Make) -> None:
    """Each is sealed by itself, and no two alike; they are compared as people gave them."""
    for answers, state in ((("no", "no"), "decided"), (("no", "yes"), "adjudicate")):
        ticket = review.put(case(answers, reviewers=2, subjects=("customer-1",), personal_answer=True))
        for name, answer in zip(("anna", "ben"), answers, strict=True):
            review.decide(ticket.id, answer, actor=name)
        assert ticket.state == state


def test_who_is_unsure_leaves_it_to_somebody_else(case: Make) -> None:
    """Unsure is an answer, but no decision."""
    ticket = review.put(case())
    review.decide(ticket.id, verdict="unsure", actor="anna", note="the scan is unreadable")
    assert ticket.state == "adjudicate"
    assert labels.read() == []
    with pytest.raises(TicketHeld):
        review.decide(ticket.id, "no", actor="anna")
    review.decide(ticket.id, "no", actor="ben")
    assert ticket.state == "decided"


def test_distinct_people_under_a_race(case: Make) -> None:
    """However many try at once, as many as are asked have a place, each another person; the database sees to it."""
    ticket = review.put(case(reviewers=3))
    start, got = threading.Barrier(12), []

    def take(name: str) -> None:
        start.wait()
        claim = review.claim("loans", actor=name)
        if claim is not None:
            got.append(name)

    threads = [threading.Thread(target=take, args=(f"r{number % 6}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(set(got)) == 3
    assert {part.reviewer.id for part in review.details(ticket.id).parts if part.state == "held"} == set(got)


def test_one_decision_however_many_decide_at_once(case: Make) -> None:
    """Of many who decide the same case one is taken; all others are told, and what they wrote is kept."""
    ticket = review.put(case())
    start, taken, refused = threading.Barrier(8), [], []

    def decide(name: str) -> None:
        start.wait()
        try:
            review.decide(ticket.id, "no", actor=name)
            taken.append(name)
        except (TicketClosed, TicketHeld):
            refused.append(name)

    threads = [threading.Thread(target=decide, args=(f"r{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 7)
    assert [step.what for step in review.details(ticket.id).steps].count("decided") == 1
    assert len(labels.read()) == 1


def test_an_answer_must_be_of_the_functions_type(case: Make) -> None:
    """Field and rule are named, the value is not; the case stays open, and accepting the model's own answer is free."""
    ticket = review.put(case(choices=None, answers=ANSWERS, provisional={"grade": 9}))
    for value, what in (({"grade": "topsecret"}, "value.grade"), ({"grade": 7}, "maximum 5"), ({}, "lacks grade"), ("x", "type")):
        with pytest.raises(InvalidInput, match=what) as raised:
            review.decide(ticket.id, value)
        assert "topsecret" not in str(raised.value)
    assert ticket.state == "pending"
    review.decide(ticket.id, {"grade": 4})
    ending = review.details(ticket.id).ending
    assert ending is not None
    assert ending.verdict == "change"


def test_reasons_are_a_closed_list_that_the_user_extends(case: Make) -> None:
    """An unknown reason says which there are; "other" needs a note."""
    ticket = review.put(case())
    with pytest.raises(ConfigError, match=r"not on the list.*wrong_input"):
        review.decide(ticket.id, "no", reason="late_documents")
    with pytest.raises(ConfigError, match="needs a note"):
        review.decide(ticket.id, "no", reason="other")
    configure(review_reasons=["late_documents"])
    review.decide(ticket.id, "no", reason="late_documents", actor="anna")
    assert labels.read()[0].actual == "no"
    (event,) = told("decided")
    assert event["cause"] == "late_documents"


def test_skills_hand_out_and_roles_forbid(case: Make) -> None:
    """Of whom something is known gets what they know; whose role it is not cannot even ask for it."""
    people.set("anna", skills=["cars"])
    people.set("ben", skills=["mortgages"], roles=["senior"])
    mortgage = review.put(case(1, skills=["mortgages"]))
    senior = review.put(case(2, levels=[{"role": "senior", "within": 60.0, "notify": []}]))
    assert review.claim("loans", actor="anna") is None
    assert review.claim("loans", ticket_id=mortgage.id, actor="anna") is not None
    with pytest.raises(AccessDenied, match="role senior"):
        review.claim(ticket_id=senior.id, actor="anna")
    claim = review.claim("loans", actor="ben")
    assert claim is not None
    assert claim.ticket == senior
    assert people.listing()[1].roles == ("senior",)
    assert people.remove("ben")
    assert not people.remove("ben")


def test_nobody_reviews_what_they_asked_for(case: Make) -> None:
    """Separation of duties: neither handed out nor taken."""
    ticket = review.put(case(actor={"id": "anna", "known_by": "asserted"}))
    assert review.claim("loans", actor="anna") is None
    with pytest.raises(AccessDenied, match="same person"):
        review.decide(ticket.id, "no", actor="anna")
    assert review.claim("loans", actor="ben") is not None


def test_a_case_can_be_taken_over_and_reassigned(case: Make) -> None:
    """Both take it from whoever has it; the ledger knows who did so and why, and the first one's claim is over."""
    ticket = review.put(case())
    first = review.claim("loans", actor="anna")
    second = review.claim(ticket_id=ticket.id, actor="ben", take_over=True)
    assert first is not None and second is not None
    with pytest.raises(StaleClaim):
        review.decide(ticket.id, "no", actor="anna", token=first.token)
    third = review.reassign(ticket.id, to="cleo", reason="on leave", actor="boss")
    assert third is not None
    with pytest.raises(StaleClaim):
        review.decide(ticket.id, "no", actor="ben", token=second.token)
    (event,) = told("reassigned")
    assert (event["actor"]["id"], event["cause"], event["to"]) == ("boss", "on leave", "cleo")
    assert review.reassign(ticket.id, reason="nobody there") is None
    assert ticket.state == "pending"


def test_a_blind_claim_hides_the_models_answer(case: Make) -> None:
    """The person sees the case, not what the model thought of it; that they were blind is kept."""
    ticket = review.put(case(reasons=["confidence 0.4 is below 0.8"]))
    claim = review.claim("loans", actor="anna", blind=True)
    assert claim is not None
    assert (claim.ticket.provisional, claim.details.confidence, claim.details.reasons) == (None, None, ())
    assert claim.details.arguments == {"income": 100}
    review.decide(ticket.id, "no", actor="anna", token=claim.token)
    assert review.details(ticket.id).parts[0].blind


LEVELS = [
    {"role": "clerk", "within": 600.0, "notify": ["desk"]},
    {"role": "senior", "within": 3600.0, "notify": ["desk", "pager"]},
]


def test_levels_follow_each_other_with_reminders(case: Make, later: Clock) -> None:
    """Each has its time, role and people to tell; what nobody looked at for long is at the right level all the same."""
    ticket = review.put(case(levels=LEVELS))
    assert review.details(ticket.id).role == "clerk"
    later.ahead += 301
    review.tick()
    later.ahead += 180
    review.tick()
    assert [each["notify"] for each in told("reminded")] == [["desk"], ["desk"]]
    later.ahead += 130
    seen = review.details(ticket.id)
    assert (seen.level, seen.role) == (1, "senior")
    (event,) = told("escalated")
    assert (event["role"], event["notify"]) == ("senior", ["desk", "pager"])
    later.ahead += 100_000
    review.tick()
    assert ticket.state == "pending"
    assert review.tick().escalated == 0
    assert len(told("escalated")) == 1


def test_deadlines_fire_with_no_reader(case: Make, later: Clock) -> None:
    """The process that filed a case sees to its end, though nobody looks at the queue and no cron runs."""
    from guardrail.review import sweeper

    ticket = review.put(case(due=engine.now() + 60, on_expiry="reject"))
    later.ahead += 61
    sweeper.ensure()
    done = threading.Event()
    for _ in range(200):
        if told("expired"):
            done.set()
            break
        threading.Event().wait(0.05)
    assert done.is_set()
    assert ticket.state == "expired"


def test_a_late_answer_to_an_expired_case_is_a_label_and_nothing_else(case: Make, later: Clock) -> None:
    """It is kept for learning, and never delivered."""
    ticket = review.put(case(due=engine.now() + 60, on_expiry="reject"))
    later.ahead += 61
    with pytest.raises(TicketClosed, match="expired"):
        review.decide(ticket.id, "no", actor="anna", note="sorry")
    (label,) = labels.read()
    assert (label.actual, label.source) == ("no", "late")
    assert ticket.state == "expired"


def test_a_queue_that_nobody_opens_is_told_once_a_day(case: Make, later: Clock) -> None:
    """The owner hears of it; whoever opens the queue ends that."""
    review.put(case(owner="credit-ml"))
    assert review.tick().unopened == 0
    later.ahead += 90_000
    assert [review.tick().unopened, review.tick().unopened] == [1, 0]
    (event,) = list(read(event="incident"))
    assert (event["what"], event["queue"], event["waiting"], event["notify"]) == ("queue_not_opened", "loans", 1, ["credit-ml"])
    later.ahead += 90_000
    review.claim("loans", actor="anna")
    engine.finish(5)
    assert review.tick().unopened == 0


def test_figures_of_a_queue(case: Make, later: Clock) -> None:
    """What waits, what was decided, by whom, and how long that took."""
    first, second = review.put(case(1)), review.put(case(2, due=engine.now() + 30))
    review.put(case(3, levels=[{"role": "duty", "within": 9.0, "notify": []}]))
    claim = review.claim("loans", ticket_id=first.id, actor="anna")
    assert claim is not None
    later.ahead += 40
    review.decide(first.id, "no", actor="anna", token=claim.token)
    found = review.queue("loans").stats()
    assert found["open"] == {"pending": 2, "claimed": 0, "adjudicate": 0}
    assert (found["overdue"], found["unclaimable"]) == (1, 1)
    assert found["last_day"]["decided"] == {"change": 1}
    assert found["last_day"]["by_reviewer"] == {"anna": pytest.approx({"cases": 1, "low": 0.025318, "high": 5.571643}, abs=1e-6)}
    assert 39 < found["last_day"]["seconds_of_work"]["p50"] < 60
    assert second.state == "pending"


def test_a_queue_by_name_has_all_the_verbs(case: Make) -> None:
    """`guardrail.review.queue("loans")`: list, show, claim, decide, reassign, cancel, stats."""
    loans = review.queue("loans")
    tickets = [review.put(case(number)) for number in range(3)]
    assert [each.ticket for each in loans.list()] == tickets
    claim = loans.claim(actor="anna")
    assert claim is not None
    loans.decide(claim.ticket.id[-8:], "no", actor="anna", token=claim.token)
    assert loans.reassign(tickets[1].id, to="ben", reason="his field") is not None
    loans.cancel(tickets[2].id, "withdrawn")
    assert [loans.show(ticket.id).state for ticket in tickets] == ["decided", "claimed", "cancelled"]
    assert len(loans) == 1


@pytest.mark.parametrize("lease", ["1s", "2d"])
def test_a_lease_has_bounds(lease: str) -> None:
    """Neither so short that nobody can use it, nor so long that a case is lost with a person."""
    with pytest.raises(ConfigError, match="between 5 seconds and a day"):
        review.claim("loans", lease=lease)


@pytest.mark.parametrize(
    ("own", "choices"),
    [
        ({"value": "yes", "confidence": 0.4, "reasons": []}, ["yes", "no"]), ({"value": "yes", "confidence": 0.4, "reasons": []}, None),
        (["yes", 0.4], ["yes", "no"]), ([0.6, 0.4], ["yes", "no"]), ([0.4, 0.4, 0.2], ["yes", "no", "later"]),
        ({"$ndarray": [[0.6, 0.4]], "dtype": "float64"}, ["yes", "no"]), ({"value": [0.6, 0.4], "confidence": 0.6, "reasons": []}, ["yes", "no"]),
    ],
)  # fmt: skip
def test_who_gives_the_models_answer_agrees_with_it(case: Make, own: Any, choices: Any) -> None:
    """However sure the model was of it: the answer is accepted, and two who say it, each in their own way, agree."""
    ticket = review.put(case(provisional=own, choices=choices, reviewers=2))
    review.decide(ticket.id, "yes", actor="anna")
    review.decide(ticket.id, verdict="accept", actor="ben")
    ending = review.details(ticket.id).ending
    assert ending is not None
    assert (ending.verdict, ending.value) == ("accept", "yes")
    assert review.quality()["agreement"]["percent"]["value"] == 1.0
    assert review.quality()["accepted"]["value"] == 1.0
    other = review.put(case(2, provisional=own, choices=choices))
    review.decide(other.id, "no", actor="anna")
    changed = review.details(other.id).ending
    assert changed is not None
    assert (changed.verdict, changed.value) == ("change", "no")


@pytest.mark.parametrize(
    ("own", "choices", "chosen", "verdict"),
    [
        ([0.6, 0.4], ["yes", "no", "later"], "yes", "change"),  # not one entry for each choice
        ([0.6, 0.6], ["yes", "no"], "yes", "change"),  # no probabilities
        ([0.3, 0.7], [0.3, 0.5], 0.3, "accept"),  # a pair: a number that is a choice, and how sure it is
        ([0.3, 0.7], [0.3, 0.5], 0.5, "change"),
        ([0.0, 1.0], [0, 1], 1, "accept"),  # choices that are places
        ([1.0, 0.0], [0, 1], 1, "change"),
        ([0.5, 0.5], [[0.5, 0.5], [1.0, 0.0]], [0.5, 0.5], "accept"),  # the vector is a choice itself
    ],
)
def test_a_vector_says_a_choice_where_it_has_one_probability_for_each(
    case: Make, own: Any, choices: Any, chosen: Any, verdict: str
) -> None:
    """And nothing else is taken for one."""
    ticket = review.put(case(provisional=own, choices=choices))
    review.decide(ticket.id, chosen, actor="anna")
    ending = review.details(ticket.id).ending
    assert ending is not None
    assert (ending.verdict, ending.value) == (verdict, chosen)
