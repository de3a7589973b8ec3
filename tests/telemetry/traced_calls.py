"""Calls as the drivers make them, with a stand-in for a compiled plan."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from guardrail import call as calls
from guardrail import clock
from guardrail.call import Call
from guardrail.ledger.entry import Entry
from guardrail.telemetry import traces


def make_plan(**facts: Any) -> Any:
    """Return a stand-in for a compiled plan; see `guardrail.plan.Facts`."""
    audit = SimpleNamespace(durability="buffered", inputs="digest", output="auto", required=False)
    plain = {
        "name": "credit:predict", "version": "3.2.0", "mode": "enforce", "digest": "d1", "kind": "model", "tags": {}, "cache_words": {},
        "budget_ms": 250.0, "threshold": 0.8, "schema": None, "returns_prediction": False,
    }  # fmt: skip
    plan = SimpleNamespace(audit=audit, describe=dict, **(plain | facts))
    plan.facts = plan
    return plan


def make_entry(**parts: Any) -> Entry:
    """Return what a call leaves, an ordinary answer unless told otherwise."""
    plain = {
        "seq": calls.next_seq(), "at": clock.wall(), "took": 0.001, "plan": make_plan(), "outcome": "answered",
        "snapshot": None, "output": 0.5, "confidence": 0.9, "attempts": 1, "extra": None,
    }  # fmt: skip
    return Entry(**(plain | parts))


def guard(fn: Callable[[], Any], *, outcome: str = "answered", error: BaseException | None = None, **facts: Any) -> Entry:
    """Call a function inside a span, as a driver does, and return what the call leaves."""
    call = Call(make_plan(**facts), (), {}, None, clock.now())
    call.attempts = 1
    call.confidence = 0.9
    token = traces.begin(call)
    fn()
    if error is not None:
        call.extra = {**(call.extra or {}), "error": error}
    if token is not None:
        traces.end(token, call, outcome)
    if not call.seq:
        call.seq, call.at = calls.next_seq(), clock.wall()
    return make_entry(seq=call.seq, at=call.at, took=clock.now() - call.start, plan=call.plan, outcome=outcome, extra=call.extra)
