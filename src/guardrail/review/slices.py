"""Why people decided otherwise, and where: how often each reason is given, by guard and by slices of a field that reviewers are shown.

A slice is told only of five answers or more, and a text only where five cases share it, so that no slice is one person's case.
What is sealed stays sealed: it is never opened for this.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import Connection, select

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.ledger.opening import ERASED, UNREADABLE
from guardrail.review import upkeep
from guardrail.review.case import Row, from_text, plain
from guardrail.review.measures import Rate, rate
from guardrail.store import engine
from guardrail.store.tables import claim, ticket

FEWEST: Final = 5  # answers of which a slice is told
_MOST: Final = 20_000  # answers that are looked at, the newest first
_BINS: Final = 4  # of a field of numbers
_VALUES: Final = 8  # of a field of texts: those with the most answers; the others together are one slice
_LONGEST: Final = 60  # characters of a text that is a kind of case, not a story
_DIGITS: Final = 3  # of the edges between bins, which are nobody's own number then
_GONE: Final = frozenset({ERASED, UNREADABLE})
_ALL, _OTHERS, _NOT_GIVEN = "all", "(others)", "(not given)"
_CLOSED: Final = object()  # what is sealed, digested or left out


@dataclass(frozen=True, slots=True)
class Slice:
    """The answers to cases of one kind.

    Attributes:
        guard: Of which guard.
        name: Which cases: "all", a text, or between which numbers.
        cases: How many answers.
        changed: The share that did not take the model's answer, or overrode a decision; None where there are fewer than five.
        reasons: For each reason the share that was given it ("none" for those without); None where there are fewer than five.
    """

    guard: str
    name: str
    cases: int
    changed: Rate | None
    reasons: Mapping[str, Rate] | None


@dataclass(frozen=True, slots=True)
class Overridden:
    """Why people decided otherwise, by slice.

    Attributes:
        by: The field, None for guards alone.
        cases: How many answers were looked at.
        slices: By guard; texts with the most answers first, numbers from small to large.
        notes: What a reader should know.
    """

    by: str | None
    cases: int
    slices: tuple[Slice, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as what can be JSON."""
        slices = [
            asdict(each)
            | {
                "changed": None if each.changed is None else each.changed._asdict(),
                "reasons": None if each.reasons is None else {reason: share._asdict() for reason, share in each.reasons.items()},
                "few": each.changed is None,
            }
            for each in self.slices
        ]
        return {"by": self.by, "cases": self.cases, "slices": slices, "notes": list(self.notes)}

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """Return lines for people: guard, slice, answers, reason, share, its interval."""
        found = []
        for each in self.slices:
            first = (each.guard, each.name, f"{each.cases:,}")
            if each.changed is None or each.reasons is None:
                found.append((*first, f"fewer than {FEWEST} answers", "", ""))
                continue
            for at, (reason, share) in enumerate((("any", each.changed), *each.reasons.items())):
                shares = (f"{share.value:.1%}", f"{share.low:.1%} to {share.high:.1%}")
                found.append((*(first if not at else ("", "", "")), reason, *shares))
        return found

    def _repr_html_(self) -> str:
        from guardrail.review.cards import figures_card  # noqa: PLC0415 - for notebooks

        title = "why people decided otherwise" + ("" if self.by is None else f", by {self.by}")
        heads = ("guard", self.by or "slice", "answers", "reason", "share", "95 %")
        return figures_card(title, f"{self.cases:,} answers", heads, self.rows(), self.notes)


def overridden(
    queue: str | None = None, guard: str | None = None, *, by: str | None = None, since: clock.Duration = "30d"
) -> Overridden:
    """Return how often people decided otherwise, and for which reasons.

    An answer counts as decided otherwise when it changes or rejects the model's answer, or overrides a decision. Who was unsure gave
    none, and gold cases are left out. Each share has its exact 95 % interval (Clopper and Pearson 1934) by itself: among twenty
    slices one stands out by chance.

    Args:
        queue: Only of this queue.
        guard: Only of this guard.
        by: A field that reviewers are shown, "income" or "loan.amount": numbers are cut at their quartiles, the eight texts with the most
            answers are slices of their own. None: by guard alone. A field that is sealed for anybody is no slice.
        since: How far back to look.

    Raises:
        ConfigError: No case has the field; names those that there are.
        StoreError: The store cannot be read.
    """
    upkeep.catch_up_if_possible()
    begin = engine.now() - clock.seconds(since, "since")
    votes = engine.read(lambda connection: _votes(connection, queue, guard, begin, by)) if engine.exists() else []
    notes = [f"only the newest {_MOST:,} answers were looked at"] if len(votes) == _MOST else []
    answers: dict[str, list[tuple[Any, str | None]]] = {}  # by guard: where each belongs, and why it decided otherwise
    seen: set[str] = set()
    for vote in votes:
        counts, reason = _why(vote)
        if not counts:
            continue
        answers.setdefault(vote["guard"], []).append((None if by is None else _value(vote, by, seen), reason))
    if by is not None and answers and all(value is None for those in answers.values() for value, _ in those):
        known = f"there are {', '.join(sorted(seen))}" if seen else "the cases have no fields"
        raise ConfigError("no case has the field to slice by", hint=known)
    slices: list[Slice] = []
    for name in sorted(answers):
        if any(value is _CLOSED for value, _ in answers[name]):
            notes.append(f"{name}: {by} is personal or kept as a digest, and so no slice")
            slices.append(_slice(name, _ALL, [reason for _, reason in answers[name]]))
        else:
            slices += _cut(name, answers[name], sliced=by is not None)
    return Overridden(by, sum(map(len, answers.values())), tuple(slices), tuple(notes))


def _votes(connection: Connection, queue: str | None, guard: str | None, since: float, by: str | None) -> Sequence[Row]:
    of_claim = [claim.c[name] for name in ("reviewer", "verdict", "reason")]
    names = ("guard", "kind", "provisional", "actor", "reasons") + (() if by is None else ("arguments", "shown"))
    query = select(*of_claim, *(ticket.c[name] for name in names if name != "reasons"), ticket.c.reasons.label("against"))
    query = query.join(ticket, ticket.c.id == claim.c.ticket_id)
    query = query.where(claim.c.state == "voted", claim.c.voted >= since, claim.c.verdict != "unsure", ticket.c.kind != "gold")
    for column, text in ((ticket.c.queue, queue), (ticket.c.guard, guard)):
        if text is not None:
            query = query.where(column == plain(text))
    return connection.execute(query.order_by(claim.c.voted.desc()).limit(_MOST)).mappings().all()


def _why(vote: Row) -> tuple[bool, str | None]:
    """Return whether an answer counts, and for which reason it decided otherwise; None where it took what the model said."""
    if vote["kind"] == "override":
        asked = from_text(vote["actor"]) or {}
        if asked.get("id") == vote["reviewer"]:
            return True, vote["reason"] or "none"
        # A second person: only what they approved overrides anything, for the reason of whoever asked for it.
        against = from_text(vote["against"])
        return vote["verdict"] == "accept", (against[0] if against else "none")
    if vote["provisional"] is None:
        return False, None
    return True, None if vote["verdict"] == "accept" else vote["reason"] or "none"


def _value(vote: Row, path: str, seen: set[str]) -> Any:
    """Return what a case has in a field: a text, a number, a truth value; None where it has nothing, `_CLOSED` where nobody may look.

    What is sealed is read as it is stored, and so never opened.
    """
    shown = from_text(vote["shown"])
    found: Any = shown if isinstance(shown, Mapping) else from_text(vote["arguments"])
    if not isinstance(found, Mapping):
        return None
    seen.update(name for name in found if not name.startswith("$"))
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        if any(key.startswith("$") for key in found) and name not in found:
            return _CLOSED
        found = found.get(name)
    if isinstance(found, Mapping) and any(key.startswith("$") for key in found):
        return None if set(found) <= {"$float", "$int"} else _CLOSED
    if isinstance(found, Mapping | list):
        return None
    return None if isinstance(found, str) and found in _GONE else found


def _cut(guard: str, answers: Sequence[tuple[Any, str | None]], *, sliced: bool) -> list[Slice]:
    if not sliced:
        return [_slice(guard, _ALL, [reason for _, reason in answers])]
    given = [value for value, _ in answers if value is not None]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
    names, place = _bins([float(value) for value in given]) if numbers and given else _kinds(given)
    parts: dict[str, list[str | None]] = {name: [] for name in (*names, _OTHERS, _NOT_GIVEN)}
    for value, reason in answers:
        parts[_NOT_GIVEN if value is None else place(value)].append(reason)
    return [_slice(guard, name, reasons) for name, reasons in parts.items() if reasons]


def _bins(values: Sequence[float]) -> tuple[list[str], Any]:
    """Return bins between the quartiles, by name, and what tells in which a number lies."""
    if len(values) < _BINS * FEWEST:
        return [_ALL], lambda _: _ALL
    edges = sorted({_rounded(edge) for edge in statistics.quantiles(values, n=_BINS, method="inclusive")})
    told = [_told(edge) for edge in edges]
    names = [
        f"below {told[0]}",
        *(f"{low} to below {high}" for low, high in pairwise(told)),
        f"{told[-1]} or more",
    ]
    return names, lambda value: names[sum(value >= edge for edge in edges)]


def _rounded(number: float) -> float:
    return number if not number or not math.isfinite(number) else float(f"{number:.{_DIGITS}g}")


def _told(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) and abs(number) < 1e15 else f"{number:,g}"  # noqa: PLR2004 - digits of a float


def _kinds(values: Sequence[Any]) -> tuple[list[str], Any]:
    """Return the texts that enough cases share, those with the most first, and what tells to which a value belongs."""
    counts = Counter(_text(value) for value in values)
    names = [name for name, many in counts.most_common(_VALUES) if many >= FEWEST and name is not None]
    return names, lambda value: _text(value) if _text(value) in names else _OTHERS


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return text if len(text) <= _LONGEST else None


def _slice(guard: str, name: str, reasons: Sequence[str | None]) -> Slice:
    if len(reasons) < FEWEST:
        return Slice(guard, name, len(reasons), None, None)
    counts = Counter(reason for reason in reasons if reason is not None)
    shares = {reason: rate(many, len(reasons)) for reason, many in counts.most_common()}
    return Slice(guard, name, len(reasons), rate(sum(counts.values()), len(reasons)), shares)
