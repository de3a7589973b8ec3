"""The option `Budget`, and the two policies that turn it into moments."""

import copy
import pickle
from datetime import timedelta
from types import SimpleNamespace

import cloudpickle
import pytest

from guardrail import clock
from guardrail.call import Call
from guardrail.errors import BudgetExceeded, ConfigError
from guardrail.policies.budget import AttemptDeadline, Budget, Deadline, budget_of, too_late


def a_call(start=100.0, parent=None):
    return Call(SimpleNamespace(name="loans"), (), {}, parent, start)


@pytest.fixture
def at(monkeypatch):
    """Sets the time."""

    def set_time(moment):
        monkeypatch.setattr(clock, "now", lambda: moment)

    return set_time


# ── the option ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("option", ["250ms", 0.25, timedelta(milliseconds=250), Budget("250ms")])
def test_every_way_of_writing_a_budget_means_the_same(option):
    """A text, seconds, a timedelta and the object itself are one option."""
    assert budget_of(option) == Budget(0.25)
    assert budget_of(option).total == 0.25


def test_no_budget_stays_no_budget():
    """None is a legal option: no deadline."""
    assert budget_of(None) is None


def test_durations_are_kept_as_seconds():
    """Total and attempt are floats, however they were written."""
    budget = Budget("2s", attempt="500ms")
    assert (budget.total, budget.attempt) == (2.0, 0.5)


def test_a_budget_is_a_frozen_value():
    """It compares and hashes by value, cannot be changed, and survives copy, pickle and cloudpickle."""
    budget = Budget("250ms", attempt="100ms", reserve=0.3, max_abandoned=3)
    assert budget == Budget(0.25, attempt=0.1, reserve=0.3, max_abandoned=3)
    assert budget != Budget("250ms")
    assert len({budget, Budget(0.25, attempt=0.1, reserve=0.3, max_abandoned=3)}) == 1
    with pytest.raises(AttributeError):
        budget.total = 1.0
    assert copy.copy(budget) == pickle.loads(pickle.dumps(budget)) == cloudpickle.loads(cloudpickle.dumps(budget)) == budget


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (Budget("250ms"), "Budget('250ms')"),
        (Budget(10), "Budget('10s')"),
        (
            Budget("1s", attempt="300ms", reserve=0.5, max_abandoned=2),
            "Budget('1s', attempt='300ms', reserve=0.5, max_abandoned=2)",
        ),
        (Budget("1s", enforce="report"), "Budget('1s', enforce='report')"),
        (Budget("1s", enforce="report", on_late="raise"), "Budget('1s', enforce='report', on_late='raise')"),
    ],
)
def test_a_budget_shows_itself_as_one_would_write_it(budget, text):
    """The repr is what `policies()` prints, and evaluates to the same budget."""
    assert repr(budget) == text
    assert eval(text) == budget  # noqa: S307


@pytest.mark.parametrize(("enforce", "on_late"), [("thread", "raise"), ("process", "raise"), ("report", "return")])
def test_what_happens_to_late_answers_follows_from_how_the_budget_is_enforced(enforce, on_late):
    """Abandoned and killed calls raise; a reported one returns, marked."""
    assert Budget("1s", enforce=enforce).on_late == on_late


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"total": 0}, "more than 0"),
        ({"total": -1}, "more than 0"),
        ({"total": float("nan")}, "finite"),
        ({"total": "soon"}, "not a duration"),
        ({"total": True}, "not a duration"),
        ({"total": 1, "attempt": 1}, "not less than the total"),
        ({"total": 1, "attempt": "2s"}, "not less than the total"),
        ({"total": 1, "reserve": 1}, "share of the total"),
        ({"total": 1, "reserve": -0.1}, "share of the total"),
        ({"total": 1, "reserve": float("nan")}, "share of the total"),
        ({"total": 1, "reserve": "20%"}, "share of the total"),
        ({"total": 1, "reserve": True}, "share of the total"),
        ({"total": 1, "enforce": "signal"}, '"thread", "report" or "process"'),
        ({"total": 1, "on_late": "ignore"}, '"raise" or "return"'),
        ({"total": 1, "max_abandoned": 0}, "1 or more"),
        ({"total": 1, "max_abandoned": True}, "1 or more"),
        ({"total": 1, "max_abandoned": 2.0}, "1 or more"),
        ({"total": 1, "max_abandoned": 2, "enforce": "process"}, "leave max_abandoned out"),
    ],
)
def test_wrong_budgets_are_refused_when_they_are_built(options, says):
    """Each wrong value is a ConfigError whose text says what to write instead."""
    with pytest.raises(ConfigError, match=says):
        Budget(**options)


@pytest.mark.parametrize(("enforce", "why"), [("thread", "abandoned"), ("process", "killed")])
def test_returning_late_answers_needs_a_call_that_goes_on(enforce, why):
    """`on_late="return"` under thread or process is refused, says why, and names the way out."""
    with pytest.raises(ConfigError, match=f'{why}.*enforce="report"'):
        Budget("1s", enforce=enforce, on_late="return")


# ── the whole call ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_call_ends_its_budget_after_its_start():
    """Without anything to follow, attempts may use all of it."""
    call = a_call()
    Deadline(Budget(2), "loans", reserve_needed=False).enter(call)
    assert (call.last_moment, call.deadline) == (102.0, 102.0)


@pytest.mark.parametrize(
    ("budget", "kept"),
    [
        (Budget(2), 0.4),
        (Budget(2, reserve=0.5), 1.0),
        (Budget(2, reserve=0.9), 1.8),
        (Budget(2, reserve=0), 0.0),
        (Budget("20ms"), 0.01),  # a fifth would be 4 ms, too little to do anything with
        (Budget("8ms"), 0.004),  # 10 ms would be more than all of it
    ],
)
def test_time_is_kept_for_what_follows_a_hung_function(budget, kept):
    """Attempts end before the call does, by the reserve: its share, but 10 ms or half of it all at the least."""
    call = a_call()
    Deadline(budget, "loans", reserve_needed=True).enter(call)
    assert call.last_moment == pytest.approx(100 + budget.total)
    assert call.last_moment - call.deadline == pytest.approx(kept)


def test_the_smaller_deadline_wins():
    """A nested guard inherits the end of the attempt around it, and keeps its reserve within that."""
    outer = a_call()
    outer.deadline, outer.until = 101.0, 100.5
    nested = a_call(100.1, parent=outer)
    Deadline(Budget(10), "nested", reserve_needed=True).enter(nested)
    assert nested.last_moment == 100.5
    assert nested.deadline == pytest.approx(100.5 - 0.4 * 0.2)
    short = a_call(100.1, parent=outer)
    Deadline(Budget("100ms"), "short", reserve_needed=False).enter(short)
    assert short.last_moment == pytest.approx(100.2)


def test_a_deadline_ends_with_its_call():
    """What a call left behind in the background does not inherit its deadline."""
    outer = a_call()
    outer.until, outer.ended = 100.05, True
    call = a_call(100.1, parent=outer)
    Deadline(Budget(1), "later", reserve_needed=False).enter(call)
    assert call.deadline == pytest.approx(101.1)


def test_a_call_under_a_deadline_that_has_passed_is_refused_at_once():
    """Nothing is started when the outer call has no time left."""
    outer = a_call()
    outer.until = 100.5
    with pytest.raises(BudgetExceeded, match="inherited.*was not run") as caught:
        Deadline(Budget(1), "nested", reserve_needed=False).enter(a_call(100.5, parent=outer))
    assert (caught.value.guard, caught.value.policy) == ("nested", "budget")


# ── one attempt ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_attempt_may_take_all_that_is_left(at):
    """Without an attempt budget the attempt ends with the phase."""
    call = a_call()
    call.deadline = 102.0
    at(101.0)
    AttemptDeadline(Budget(2)).enter(call)
    assert call.until == 102.0


def test_an_attempt_never_outlives_the_call(at):
    """Each attempt gets its own time, the last one only what is left."""
    call = a_call()
    call.deadline = 102.0
    policy = AttemptDeadline(Budget(2, attempt="600ms"))
    at(100.1)
    policy.enter(call)
    assert call.until == pytest.approx(100.7)
    at(101.9)
    policy.enter(call)
    assert call.until == 102.0


def test_an_attempt_that_has_no_time_is_not_started(at):
    """Waiting for a permit may use up the time; the function is not run then."""
    call = a_call()
    call.deadline = 102.0
    at(102.0)
    with pytest.raises(BudgetExceeded, match="loans within the time of 2s.*before the function could start"):
        AttemptDeadline(Budget(2)).enter(call)


def test_the_error_says_who_was_late_how_much_time_there_was_and_what_became_of_the_work():
    """And it is a TimeoutError that carries guard, policy and decision."""
    call = a_call()
    call.until = 100.25
    error = too_late(call, "the function was cancelled")
    assert error.args == ("no answer from loans within the time of 250ms that it had: the function was cancelled",)
    assert str(error) == f"{error.args[0]} (give it a larger budget, or a fallback)"
    assert isinstance(error, TimeoutError)
    assert (error.guard, error.policy, error.decision_id) == ("loans", "budget", call.id)
