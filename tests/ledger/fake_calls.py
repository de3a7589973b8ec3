"""Stand-ins for a compiled plan and for what a call leaves, and a way to wait for another thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from guardrail import call, lifecycle
from guardrail.ledger import writer
from guardrail.ledger.entry import Entry


def make_plan(**facts: Any) -> Any:
    """Return a stand-in for a compiled plan; see `guardrail.plan.Facts`."""
    audit = {"durability": "buffered", "inputs": "digest", "output": "auto", "required": False}
    audit.update({name: facts.pop(name) for name in list(facts) if name in audit})
    plain = {
        "name": "credit:predict", "version": "3.2.0", "mode": "enforce", "digest": "d1", "kind": "model", "tags": {}, "cache_words": {},
        "budget_ms": 250.0, "threshold": 0.8, "schema": "applicant: Applicant", "returns_prediction": False,
    }  # fmt: skip
    plan = SimpleNamespace(audit=SimpleNamespace(**audit), describe=lambda: {"budget": "250ms"}, **(plain | facts))
    plan.facts = plan
    return plan


def make_entry(plan: Any = None, **parts: Any) -> Entry:
    """Return what a call leaves, an ordinary answer unless told otherwise."""
    plain = {
        "seq": call.next_seq(), "at": time.time(), "took": 0.001, "plan": plan or make_plan(), "outcome": "answered",
        "snapshot": b"(x)", "output": 0.5, "confidence": 0.9, "attempts": 1, "extra": None,
    }  # fmt: skip
    return Entry(**(plain | parts))


def call_once() -> None:
    """Make one call in a process that ends right afterwards."""
    lifecycle.arm()
    writer.push(make_entry())


def until(true: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait for something that happens on another thread; fail if it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = true()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError("it did not happen in time")
