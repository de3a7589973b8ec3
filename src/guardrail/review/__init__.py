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
    from guardrail.review.desk import (
        Queue,
        cancel,
        count,
        decide,
        details,
        ending,
        find,
        get,
        listing,
        open_count,
        queue,
        resolve,
        state,
    )
    from guardrail.review.details import Details
    from guardrail.review.health import check
    from guardrail.review.upkeep import catch_up, expire_due

__all__ = [
    "ANSWER",
    "PUT",
    "Actor",
    "Answer",
    "Case",
    "Details",
    "Queue",
    "Ticket",
    "TicketClosed",
    "TicketNotFound",
    "answer_for",
    "cancel",
    "catch_up",
    "check",
    "count",
    "decide",
    "details",
    "ending",
    "expire_due",
    "find",
    "get",
    "listing",
    "open_count",
    "put",
    "queue",
    "resolve",
    "signal",
    "state",
]

_ELSEWHERE: Final = {"check": "health", "catch_up": "upkeep", "expire_due": "upkeep", "Details": "details"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"guardrail.review.{_ELSEWHERE.get(name, 'desk')}"), name)
    globals()[name] = found
    return found
