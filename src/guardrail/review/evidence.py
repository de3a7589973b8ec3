"""What is known of a guard's answers: how sure all of them were, and which were right, each with the chance that it was checked."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, or_, select

from guardrail.ledger import reader, writer
from guardrail.ledger.wanted import Record
from guardrail.review.case import for_people, from_text, plain
from guardrail.review.compared import same
from guardrail.store import engine
from guardrail.store.tables import label, step, ticket

_OWN_SECONDS: Final = 1.0  # how long a reader waits for what its own process has just done
_WENT: Final = frozenset({"answered", "late"})
_HELD: Final = frozenset({"deferred", "human", "fallback"})
_COPIES: Final = frozenset({"cached", "stale"})
_DISPUTES: Final = ("appeal", "override")  # they say what is true of a case, but which cases they are about is no chance
_MISSING: Final = object()


class Truth(NamedTuple):
    """The last label about a decision or a matter.

    Attributes:
        text: What was true, as JSON text.
        identity: What it is sealed with.
        chosen: Whether what it is about was checked for another reason than that somebody disputes it.
    """

    text: str
    identity: str
    chosen: bool


class Checked(NamedTuple):
    """An answer of which it is known whether it was right.

    Attributes:
        decision_id: Of the answer.
        sure: Its confidence.
        right: Whether it was.
        went: Whether it went out.
        drawn: The probability with which it was drawn to be checked; None where nobody drew it.
        group: Its group, None where none was asked for.
    """

    decision_id: str
    sure: float
    right: bool
    went: bool
    drawn: float | None
    group: str | None


@dataclass
class Evidence:
    """All that was found.

    Attributes:
        version: The model's version that it is about; None where there is no record at all.
        sure: The confidence of every answer of that version, copies from a cache left out.
        went: How many of those went out, or would have but for a draw.
        held: How many were held back.
        checked: Those of which it is known whether they were right.
        counts: How many records and labels were of no use, and why.
        bar: The highest confidence that was asked for.
        begin: The moment of the first record, in seconds since the epoch; end: of the last.
    """

    version: str | None
    sure: array[float] = field(default_factory=lambda: array("d"))
    went: int = 0
    held: int = 0
    checked: list[Checked] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    bar: float = 0.0
    begin: float = math.inf
    end: float = -math.inf


class _Case(NamedTuple):
    """What the queue keeps of a decision."""

    row: Mapping[str, Any]
    rejected: bool


class _Asked(NamedTuple):
    """What was asked for: the argument that names a case's group, and what says whether an answer was right."""

    groups: str | None
    correct: Callable[[Any, Any], bool] | None


def gather(
    guard: str,
    *,
    version: str | None,
    since: float,
    groups: str | None = None,
    correct: Callable[[Any, Any], bool] | None = None,
) -> Evidence:
    """Gather what is known of a guard's answers.

    Args:
        guard: Its name.
        version: Of the model; None for that of the latest record.
        since: The earliest moment, in seconds since the epoch.
        groups: The name of the argument whose value is a case's group.
        correct: Says whether an answer was right: (answer, actual), both as JSON knows them. Equality, if not given.

    Raises:
        StoreError: The store cannot be read.
    """
    writer.flush(_OWN_SECONDS)
    kinds = ("call", "row")
    if version is None:
        latest = next(reader.read(guard=guard, event=kinds, since=since, limit=1, newest_first=True), None)
        version = None if latest is None else latest.get("version")
    found = Evidence(version)
    if version is None:
        return found
    by_decision, by_matter, cases = (
        engine.read(lambda connection: _kept(connection, guard, since)) if engine.exists() else ({}, {}, {})
    )
    matters: dict[str, Record] = {}
    asked = _Asked(groups, correct)
    for record in reader.read(guard=guard, event=kinds, since=since):
        identity, matter = record["id"], record.get("business_id")
        truth, case = by_decision.get(identity), cases.get(identity)
        if not _counts(record, version, case, found):
            continue
        if truth is None and matter in by_matter and not (case is not None and case.rejected):
            matters[matter] = record  # the latest decision about a matter is the one that its label is about
        elif truth is not None or (case is not None and case.rejected):
            _check(found, record, truth, case, asked)
    for matter, record in matters.items():
        _check(found, record, by_matter[matter], cases.get(record["id"]), asked)
    return found


def _counts(record: Record, version: str, case: _Case | None, found: Evidence) -> bool:
    """Count a record in, and return whether it is an answer that counts."""
    if record.get("version") != version:
        found.counts["other versions"] += 1
        return False
    outcome, sure = record.get("outcome"), record.get("confidence")
    if outcome in _COPIES:
        found.counts["copies"] += 1
        return False
    if outcome not in _WENT | _HELD or (outcome in _WENT and "error" in record) or (outcome in _HELD and sure is None):
        return False
    if sure is None:
        if "rows" in record.get("output", {}):  # a call over a table, whose answers have records of their own
            return False
        found.counts["without a confidence"] += 1
        return False
    found.sure.append(_number(sure))
    if outcome in _WENT or (case is not None and case.row["inclusion"] < 1):
        found.went += 1
    else:
        found.held += 1
    if isinstance(record.get("threshold"), int | float):
        found.bar = max(found.bar, record["threshold"])
    at = datetime.fromisoformat(record["ts"]).timestamp()
    found.begin, found.end = min(found.begin, at), max(found.end, at)
    return True


def _check(found: Evidence, record: Record, truth: Truth | None, case: _Case | None, asked: _Asked) -> None:
    """Find out whether an answer was right."""
    sure, went = _number(record["confidence"]), record["outcome"] in _WENT
    if truth is not None and not truth.chosen and (case is None or case.row["state"] != "decided"):
        found.counts["disputed only"] += 1
        return
    answer = record.get("output", {}).get("value", _MISSING) if went else _MISSING
    row = None if case is None else case.row
    if answer is _MISSING and row is not None and row["provisional"] is not None:
        answer = for_people(row["provisional"], row["id"])
    right: bool | None
    if truth is None:
        right = False  # a person rejected it, and gave no other
    elif answer is _MISSING:
        found.counts["answers not kept"] += 1
        return
    else:
        actual = for_people(truth.text, truth.identity)
        choices = None if row is None else from_text(row["choices"])
        right = same(answer, actual, sure=sure, choices=choices) if asked.correct is None else bool(asked.correct(answer, actual))
    if right is None:
        found.counts["not comparable"] += 1
        return
    group = None
    if asked.groups is not None:
        named = _argument(record, row, asked.groups)
        if named is _MISSING:
            found.counts["without the group"] += 1
            return
        group = str(named)
    drawn = None if row is None or (row["kind"] != "audit" and row["inclusion"] >= 1) else float(row["inclusion"])
    found.checked.append(Checked(record["id"], sure, right, went, drawn, group))


def _argument(record: Record, row: Mapping[str, Any] | None, name: str) -> Any:
    """Return an argument of a call: from its record where that holds inputs in plain, or from its ticket."""
    shown = record.get("input", {}).get("value")
    for place in (shown, None if row is None else for_people(row["arguments"], row["id"])):
        if isinstance(place, dict) and isinstance(place.get(name, _MISSING), str | int | float | bool):
            return place[name]
    return _MISSING


def _number(sure: Any) -> float:
    return float(sure) if isinstance(sure, int | float) and 0 <= sure <= 1 else math.nan


def _kept(connection: Connection, guard: str, since: float) -> tuple[dict[str, Truth], dict[str, Truth], dict[str, _Case]]:
    """Return the last labels, by decision and by matter, and the queue's cases, by decision."""
    name = plain(guard)
    mine = or_(label.c.guard == name, label.c.guard.is_(None))
    about = select(label).where(mine, label.c.stored >= since).order_by(label.c.seq)  # no label is older than what it is about
    decisions: dict[str, Truth] = {}
    matters: dict[str, Truth] = {}
    for row in connection.execute(about).mappings():
        where, key = (decisions, row["decision_id"]) if row["decision_id"] else (matters, row["business_id"])
        before = where.get(key)
        chosen = row["source"] not in _DISPUTES or (before is not None and before.chosen)
        where[key] = Truth(row["actual"], row["ticket_id"] or row["id"], chosen)
    refused = select(step.c.ticket_id).where(step.c.at >= since, step.c.state == "decided", step.c.verdict == "reject")
    rejected = set(connection.execute(refused).scalars())
    columns = [
        ticket.c[each] for each in ("id", "decision_id", "kind", "inclusion", "state", "provisional", "arguments", "choices")
    ]
    asked = ticket.c.guard == name, ticket.c.kind.in_(("case", "audit")), ticket.c.created >= since
    filed = select(*columns).where(*asked).order_by(ticket.c.id)
    cases = {
        row["decision_id"]: _Case(dict(row), row["state"] == "decided" and row["id"] in rejected)
        for row in connection.execute(filed).mappings()
    }
    return decisions, matters, cases


def evenly(those: Sequence[tuple[Checked, float]]) -> Iterator[Checked]:
    """Yield checked cases thinned out, so that each case there is had the same chance to be among them.

    Rejection sampling: each stays with the smallest chance of all divided by its own. What stays is a plain random sample,
    of which exact binomial tests hold; weights would only estimate. The draw is a hash of the id: the same every time.

    Args:
        those: Each with the chance that it was checked.
    """
    least = min((chance for _, chance in those), default=1.0)
    for each, chance in those:
        digest = hashlib.sha256(f"guardrail calibration {each.decision_id}".encode()).digest()
        if int.from_bytes(digest[:8], "big") / 2**64 < least / chance:
            yield each
