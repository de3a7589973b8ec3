"""Checks of the self-test about policies: the cache, the deadline, the kill switch."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from guardrail import clock, control
from guardrail.policies.budget import Budget
from guardrail.testing.checks import NO_CASE
from guardrail.testing.spying import watched
from guardrail.testing.subject import Case, Ran, Subject
from guardrail.testing.verdicts import Tally, Verdict, skipped
from guardrail.using import guard_of, with_options

_GRACE: Final = 0.1  # seconds that a busy machine may take over a deadline
_PATIENCE: Final = 2.0  # seconds: a longer budget is tried with a smaller one in its place
_SMALLER: Final = 0.3
_TRIES: Final = 3


# ── the cache ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def cache_copies(subject: Subject) -> Verdict:
    """What a caller does to a cached answer does not reach the next caller."""
    if subject.option("cache") is None:
        return skipped("it has no cache")
    tally, spoilt = Tally(), 0
    for case in _steady(subject):
        first = subject.call(case.sample)
        second = subject.call(case.sample)
        if second.outcome != "cached" or case.bare is None:
            continue
        if [_spoil(each.value) for each in (first, second)] != [True, True]:
            continue
        spoilt += 1
        tally.compare(subject.call(case.sample), case.bare, steady=True, what="after a caller changed it: ")
    if not spoilt:
        return skipped("no cached answer can be changed by a caller")
    return tally.verdict("unharmed by a caller who changed it")


def cache_own(subject: Subject) -> Verdict:
    """No question is given the answer of another."""
    if subject.option("cache") is None:
        return skipped("it has no cache")
    tally = Tally()
    cases = _steady(subject)
    hits = 0
    for case in cases * 2:
        ran = subject.call(case.sample)
        hits += ran.outcome == "cached"
        if case.bare is not None:
            tally.compare(ran, case.bare, steady=True)
    if not hits:
        return skipped("no answer is cached: the guard's notices say why (`guardrail doctor`)" if cases else NO_CASE)
    return tally.verdict(f"each its own answer, {hits} of them from the cache,")


def _steady(subject: Subject) -> list[Case]:
    return [case for case in subject.cases if case.bare is not None and case.bare.error is None and case.steady]


def _spoil(value: Any) -> bool:
    """Change an answer in place; return whether that was possible."""
    try:
        if isinstance(value, list):
            value.append("spoilt")
        elif isinstance(value, dict):
            value["spoilt"] = "spoilt"
        elif isinstance(value, set):
            value.add("spoilt")
        elif isinstance(value, bytearray):
            value.extend(b"spoilt")
        elif isinstance(value, tuple):
            return sum(map(_spoil, value)) > 0  # all of them are changed
        elif hasattr(value, "iloc"):  # pandas
            value.iloc[0] = value.iloc[-1]
            value.index = [f"spoilt {at}" for at in range(len(value))]
        elif hasattr(value, "flat") and hasattr(value, "flags"):  # numpy
            value.flat[0] = value.flat[0] + 1
        elif type(value).__name__ == "Prediction":
            return _spoil(value.value)
        else:
            return _spoil_object(value)
    except Exception:  # noqa: BLE001 - what refuses to be changed is safe
        return False
    return True


def _spoil_object(value: Any) -> bool:
    names = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else list(vars(value))
    if not names:
        return False
    setattr(value, names[0], "spoilt")
    return True


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def deadline(subject: Subject) -> Verdict:
    """Where the function takes too long, the caller is back in time."""
    budget: Budget | None = subject.option("budget")
    if budget is None:
        return skipped("it has no budget")
    if subject.in_child:
        return skipped("the function runs in a child process, where it cannot be made slow from here")
    case = next((case for case in subject.cases if case.inner is not None), None)
    if case is None:
        return skipped(NO_CASE)
    fn, total = subject.fn, budget.total
    if total > _PATIENCE:
        total = _SMALLER
        fn = with_options(subject.fn, budget=Budget(total, enforce=budget.enforce, on_late=budget.on_late))  # type: ignore[arg-type]  # its own
    subject.call(case.sample, fn)  # what only a first call pays for
    verdict: Verdict = skipped("its policies answered in place of the function")
    for _ in range(_TRIES):  # the machine may be busy with something else
        verdict = _late(subject, case, fn, total, reports=budget.enforce == "report")
        if verdict[0] is not False:
            break
    return verdict


def _late(subject: Subject, case: Case, fn: Any, total: float, *, reports: bool) -> Verdict:
    guard = guard_of(fn)
    guard.reset()
    reached: list[None] = []
    pause = total + 3 * _GRACE
    with watched(guard, lambda: reached.append(None), pause=pause):
        start = clock.now()
        ran = subject.call(case.sample, fn)
        took = clock.now() - start
        clock.sleep(max(0.0, pause - took) + _GRACE)  # what was left behind ends before the next check
    if not reached:
        return skipped("its policies answered in place of the function")
    if reports:
        return ran.outcome == "late", f"under enforce='report' the answer after {took:.2f} s is {_marked(ran.outcome)} late"
    if ran.own:
        return False, f"the call ended as {ran.outcome} after {took:.2f} s, with a budget of {total:g} s"
    return took <= total + _GRACE, f"the caller was back after {took:.2f} s, with a budget of {total:g} s"


def _marked(outcome: str | None) -> str:
    return "marked as" if outcome == "late" else "not marked as"


# ── switches ────────────────────────────────────────────────────────────────────────────────────────────────────────
def kill_switch(subject: Subject) -> Verdict:
    """Killed, the function is not run; revived, it is."""
    case = next((case for case in subject.cases if case.inner is not None), None)
    if case is None:
        return skipped(NO_CASE)
    name = subject.guard.name
    if subject.in_child:  # where it cannot be watched from here
        control.kill(name, "a self-test", "guardrail selftest")
        killed = subject.call(case.sample)
        control.revive(name, "guardrail selftest")
        return not killed.own, f"killed: {_ending(killed)}"
    reached: list[None] = []
    with watched(subject.guard, lambda: reached.append(None)):
        subject.call(case.sample)
        before = len(reached)
        control.kill(name, "a self-test", "guardrail selftest")
        killed = subject.call(case.sample)
        meanwhile = len(reached) - before
        control.revive(name, "guardrail selftest")
        subject.guard.reset()  # or the cache would answer
        subject.call(case.sample)
        after = len(reached) - before - meanwhile
    if meanwhile or killed.own:
        return False, "the function still runs"
    if before and not after:
        return False, "it stays stopped after it was revived"
    return True, f"killed: {_ending(killed)}; revived, it answers again"


def _ending(ran: Ran) -> str:
    return type(ran.error).__name__ if ran.error is not None else f"an answer by its policies ({ran.outcome})"
