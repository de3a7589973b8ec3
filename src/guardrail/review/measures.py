"""How well people and model do: what was accepted and changed and why, how far people agree, what random checks found.

Rates come with exact intervals (Clopper and Pearson 1934), counts of a reviewer's answers too (Garwood 1936); what was drawn by lot is weighed by one over its probability
(Horvitz and Thompson 1952), since else a check of one in a hundred would count as much as a case that came for certain.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select

from guardrail.review import agreement, upkeep
from guardrail.review.calibrate import interval
from guardrail.review.case import Row, from_text, plain
from guardrail.review.counts import load
from guardrail.review.judge import said_by
from guardrail.store import engine
from guardrail.store.tables import claim, ticket

FAST: Final = 2.0  # seconds of work below which nobody has read a case
_NORMAL: Final = 1.96
_SHARES: Final = ("accepted", "accepted_blind", "gold", "wrong", "fast", "unsure", "percent")
_ASKED: Final = ("case", "audit")  # whose provisional answer is the model's own


class Rate(NamedTuple):
    """A share with its 95 % interval.

    Attributes:
        value: Of all cases that count; NaN without any (None in what `quality` returns).
        low: The lower end; high the upper one.
        hits: How many.
        cases: Of how many.
    """

    value: float
    low: float
    high: float
    hits: int
    cases: int


class Quality(dict[str, Any]):
    """What `quality` returns: a mapping that a notebook shows as tables."""

    def _repr_html_(self) -> str:
        from guardrail.review.cards import figures_card  # noqa: PLC0415 - for notebooks

        lines = []
        for name, each in (*self.items(), *self["agreement"].items()):
            if isinstance(each, dict) and each.get("value") is not None:
                spelled = (f"{each[part]:.1%}" if name in _SHARES else f"{each[part]:.2f}" for part in ("value", "low", "high"))
                value, low, high = spelled
                lines.append((name.replace("_", " "), value, f"{low} to {high}", f"{each['cases']:,}"))
        counts = [("answers", f"{self['decided']:,}", "", "")]
        counts += [(f"reasons: {name}", f"{many:,}", "", "") for name, many in self["reasons"].items()]
        counts += [
            (f"load: {name}", f"{each['cases']:,}", f"{each['low']:,.1f} to {each['high']:,.1f}", "")
            for name, each in self["load"].items()
        ]
        return figures_card("how well it goes", "quality", ("what", "value", "95 %", "cases"), [*lines, *counts])


def quality(queue: str | None = None, guard: str | None = None, since: float | None = None) -> Mapping[str, Any]:
    """Return how well people and model have done.

    Args:
        queue: Only of this queue.
        guard: Only of this guard.
        since: Only votes since then, in seconds since the epoch.

    Returns:
        `decided`, how many votes were cast; `accepted`, the rate of the model's answers that were accepted where it was shown, and
        `accepted_blind` where it was hidden; `reasons` for changes, with counts; `agreement` of people who answered the same cases
        (percent, kappa, ac1, alpha); `gold`, the rate of known answers that people found; `wrong`, the share of checked sure answers
        that people changed or rejected, weighed by the probability of the check; `fast`, the rate of answers within two
        seconds of work; `pace`, what took far less or far more time than others, as `guardrail.review.pace` tells; `load`, how many
        answers (`cases`) each reviewer gave, with the exact interval, `low` to `high`, of how many are to be expected of them in as long a
        time (Garwood 1936); `unsure`, the rate of votes that left a case to others.

    Raises:
        StoreError: The store cannot be read.
    """
    upkeep.catch_up_if_possible()
    from guardrail.review.outliers import paces  # noqa: PLC0415 - it takes its rates from here

    votes = engine.read(lambda connection: votes_of(connection, queue, guard, since)) if engine.exists() else []
    real = [vote for vote in votes if vote["kind"] != "gold"]
    judged = [vote for vote in real if vote["kind"] in _ASKED and vote["verdict"] != "unsure" and vote["provisional"] is not None]
    worked = [vote["voted"] - vote["claimed"] for vote in votes if vote["voted"] > vote["claimed"]]
    found = {
        "decided": len(votes),
        "accepted": _rate([vote["verdict"] == "accept" for vote in judged if not vote["blind"]])._asdict(),
        "accepted_blind": _rate([vote["verdict"] == "accept" for vote in judged if vote["blind"]])._asdict(),
        "reasons": dict(Counter(vote["reason"] or "none" for vote in judged if vote["verdict"] != "accept").most_common()),
        "agreement": {name: each._asdict() for name, each in _agreement(real)._asdict().items()},
        "gold": _rate([_right(vote) for vote in votes if vote["kind"] == "gold"])._asdict(),
        "wrong": _wrong([vote for vote in judged if vote["kind"] == "audit"]),
        "fast": _rate([seconds < FAST for seconds in worked])._asdict(),
        "pace": paces(votes).to_dict(),
        "load": load(vote["reviewer"] for vote in votes),
        "unsure": _rate([vote["verdict"] == "unsure" for vote in real])._asdict(),
    }
    return Quality({name: _without_nan(each) for name, each in found.items()})


def _without_nan(value: Any) -> Any:
    """Return what was found with None for what has no value, since JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def votes_of(connection: Connection, queue: str | None, guard: str | None, since: float | None) -> Sequence[Row]:
    """Return the votes that were cast, the oldest first, with what is known of their tickets."""
    of_ticket = [ticket.c[name] for name in ("kind", "queue", "guard", "provisional", "expected", "choices", "inclusion")]
    of_claim = [claim.c[name] for name in ("ticket_id", "reviewer", "verdict", "value", "reason", "blind", "claimed", "voted")]
    query = select(*of_claim, *of_ticket).join(ticket, ticket.c.id == claim.c.ticket_id).where(claim.c.state == "voted")
    for column, text in ((ticket.c.queue, queue), (ticket.c.guard, guard)):
        if text is not None:
            query = query.where(column == plain(text))
    if since is not None:
        query = query.where(claim.c.voted >= since)
    return connection.execute(query.order_by(claim.c.voted)).mappings().all()


def _rate(hits: Sequence[bool]) -> Rate:
    return rate(sum(hits), len(hits))


@lru_cache(maxsize=4096)
def rate(hits: int, cases: int) -> Rate:
    """Return a share with its exact 95 % interval."""
    if not cases:
        return Rate(math.nan, math.nan, math.nan, 0, 0)
    low, high = interval(hits, cases)
    return Rate(hits / cases, low, high, hits, cases)


def _right(vote: Row) -> bool:
    choices = from_text(vote["choices"])
    given, expected = (said_by(from_text(vote[name]), choices) for name in ("value", "expected"))
    return vote["value"] is not None and bool(given == expected)


def _agreement(votes: Sequence[Row]) -> agreement.Agreements:
    """Compare people who answered the same cases; a rejection is an answer too, and who is unsure gave none."""
    cases: dict[str, list[str]] = {}
    for vote in votes:
        if vote["verdict"] != "unsure":
            value = vote["provisional"] if vote["verdict"] == "accept" else vote["value"]  # the model's, in whatever form
            cases.setdefault(vote["ticket_id"], []).append("reject" if vote["verdict"] == "reject" else f"={value}")
    return agreement.agreements(list(cases.values()))


def _wrong(checked: Sequence[Row]) -> dict[str, float | int]:
    """Return the weighed share of checked answers that were wrong, with a normal interval of the weighed mean (Hájek 1971)."""
    if not checked:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "cases": 0}
    weights = [1 / vote["inclusion"] for vote in checked]
    wrong = [float(vote["verdict"] != "accept") for vote in checked]
    total = math.fsum(weights)
    share = math.fsum(weight * each for weight, each in zip(weights, wrong, strict=True)) / total
    spread = math.sqrt(math.fsum((weight * (each - share)) ** 2 for weight, each in zip(weights, wrong, strict=True))) / total
    if len(set(weights)) == 1:  # drawn alike: the exact interval holds
        low, high = interval(int(sum(wrong)), len(wrong))
    else:
        low, high = max(0.0, share - _NORMAL * spread), min(1.0, share + _NORMAL * spread)
    return {"value": share, "low": low, "high": high, "cases": len(checked), "mean_weight": statistics.fmean(weights)}
