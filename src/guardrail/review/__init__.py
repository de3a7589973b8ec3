"""Cases that a person decides: the durable queue, its tickets, the spool that stands in for it, and the labels.

All its verbs in one place, `guardrail.review.queue("loans")` among them. What people use is loaded when it is first asked
for, since it loads SQLAlchemy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from guardrail.review.case import Actor, Answer, Case, TicketClosed, TicketNotFound
from guardrail.review.filing import ANSWER, PUT, answer_for, put
from guardrail.review.ticket import Ticket
from guardrail.review.watch import signal

if TYPE_CHECKING:
    from guardrail.review import people
    from guardrail.review.case import StaleClaim, TicketHeld
    from guardrail.review.conformal import Interval, Intervals, intervals
    from guardrail.review.deciding import Claim, cancel, claim, decide, decline, extend, reassign, release
    from guardrail.review.desk import count, details, ending, find, get, listing, open_count, resolve, state
    from guardrail.review.dossier import Details
    from guardrail.review.figures import stats
    from guardrail.review.health import check
    from guardrail.review.named import Queue, queue
    from guardrail.review.upkeep import catch_up, expire_due, tick
    from guardrail.review.worth import Scores, scores

_ELSEWHERE: Final = {
    name: module
    for module, names in {
        "case": ("StaleClaim", "TicketHeld"),
        "conformal": ("Interval", "Intervals", "intervals"),
        "deciding": ("Claim", "cancel", "claim", "decide", "decline", "extend", "reassign", "release"),
        "desk": ("count", "details", "ending", "find", "get", "listing", "open_count", "resolve", "state"),
        "dossier": ("Details",),
        "figures": ("stats",),
        "health": ("check",),
        "named": ("Queue", "queue"),
        "worth": ("Scores", "scores"),
        "upkeep": ("catch_up", "expire_due", "tick"),
    }.items()
    for name in names
}

__all__ = [
    "ANSWER", "PUT", "Actor", "Answer", "Case", "Claim", "Details", "Interval", "Intervals", "Queue", "Scores", "StaleClaim", "Ticket", "TicketClosed", "TicketHeld",
    "TicketNotFound", "answer_for", "cancel", "catch_up", "check", "claim", "count", "decide", "decline", "details", "ending",
    "expire_due", "extend", "find", "get", "intervals", "listing", "open_count", "people", "put", "queue", "reassign", "release", "resolve", "scores", "signal",
    "state", "stats", "tick",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "people":
        found: Any = importlib.import_module("guardrail.review.people")
    elif name in _ELSEWHERE:
        found = getattr(importlib.import_module(f"guardrail.review.{_ELSEWHERE[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found
