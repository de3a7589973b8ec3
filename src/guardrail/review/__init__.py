"""Cases that a person decides: the durable queue, its tickets, the spool that stands in for it, and the labels.

All its verbs in one place, `guardrail.review.queue("loans")` among them. Each is loaded when it is first asked for, since most of
them load SQLAlchemy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from guardrail.review import people
    from guardrail.review.appeals import reply
    from guardrail.review.calibrated import Calibration, calibrated_from_labels
    from guardrail.review.case import Actor, Answer, Case, DecisionNotFound, StaleClaim, TicketClosed, TicketHeld, TicketNotFound
    from guardrail.review.conformal import Interval, Intervals, intervals
    from guardrail.review.deciding import Claim, cancel, claim, decide, decline, extend, reassign, release
    from guardrail.review.desk import count, details, ending, find, get, listing, open_count, resolve, state
    from guardrail.review.dossier import Details
    from guardrail.review.figures import stats
    from guardrail.review.filing import ANSWER, PUT, answer_for, put
    from guardrail.review.handing_out import HandedOut, hand_out
    from guardrail.review.health import check
    from guardrail.review.measures import quality
    from guardrail.review.named import Queue, queue
    from guardrail.review.outliers import Pace, Paces, pace
    from guardrail.review.panel import panel_of
    from guardrail.review.planting import Planted, plant
    from guardrail.review.receiving import Received, receive
    from guardrail.review.rechecked import Recheck, recheck, recheck_from_labels
    from guardrail.review.slices import Overridden, Slice, overridden
    from guardrail.review.taking_in import Taken, take_in
    from guardrail.review.ticket import Ticket
    from guardrail.review.training import export_labelled, labelled
    from guardrail.review.triggers import always, below, failed, outside, rule, sample
    from guardrail.review.upkeep import catch_up, expire_due, tick
    from guardrail.review.watch import signal
    from guardrail.review.worth import Scores, scores

_ELSEWHERE: Final = {
    name: f"guardrail.{module}"
    for module, names in {
        "review.appeals": ("reply",),
        "review.case": (
            "Actor",
            "Answer",
            "Case",
            "DecisionNotFound",
            "StaleClaim",
            "TicketClosed",
            "TicketHeld",
            "TicketNotFound",
        ),
        "review.calibrated": ("Calibration", "calibrated_from_labels"),
        "review.conformal": ("Interval", "Intervals", "intervals"),
        "review.deciding": ("Claim", "cancel", "claim", "decide", "decline", "extend", "reassign", "receive", "release"),
        "review.desk": ("count", "details", "ending", "find", "get", "listing", "open_count", "resolve", "state"),
        "review.dossier": ("Details",),
        "review.figures": ("stats",),
        "review.filing": ("ANSWER", "PUT", "answer_for", "put"),
        "review.handing_out": ("HandedOut", "hand_out"),
        "review.health": ("check",),
        "review.named": ("Queue", "queue"),
        "review.outliers": ("Pace", "Paces", "pace"),
        "review.panel": ("panel_of",),
        "review.planting": ("Planted", "plant"),
        "review.receiving": ("Received", "receive"),
        "review.rechecked": ("Recheck", "recheck", "recheck_from_labels"),
        "review.slices": ("Overridden", "Slice", "overridden"),
        "review.taking_in": ("Taken", "take_in"),
        "review.ticket": ("Ticket",),
        "review.training": ("export_labelled", "labelled"),
        "review.measures": ("quality",),
        "review.triggers": ("always", "below", "failed", "outside", "rule", "sample"),
        "review.upkeep": ("catch_up", "expire_due", "tick"),
        "review.watch": ("signal",),
        "review.worth": ("Scores", "scores"),
    }.items()
    for name in names
}

__all__ = [
    "ANSWER", "PUT", "Actor", "Answer", "Calibration", "Case", "Claim", "DecisionNotFound", "Details", "HandedOut", "Interval", "Intervals", "Overridden", "Pace", "Paces", "Planted", "Queue", "Received", "Recheck", "Scores", "Slice", "StaleClaim", "Taken", "Ticket", "TicketClosed", "TicketHeld",
    "TicketNotFound", "always", "answer_for", "below", "calibrated_from_labels", "cancel", "catch_up", "check", "claim", "count", "decide", "decline", "details", "ending",
    "expire_due", "export_labelled", "extend", "failed", "find", "get", "hand_out", "intervals", "labelled", "listing", "open_count", "outside", "overridden", "pace", "panel_of", "people", "plant", "put", "quality", "queue", "reassign", "receive", "recheck", "recheck_from_labels", "release", "reply", "resolve",
    "rule", "sample", "scores", "signal",
    "state", "stats", "take_in", "tick",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "people":
        found: Any = importlib.import_module("guardrail.review.people")
    elif name in _ELSEWHERE:
        found = getattr(importlib.import_module(_ELSEWHERE[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found
