"""Plants gold cases: cases whose answer is known, among those that wait, so that nobody can tell them and `quality` can count them.

All that a reviewer sees of one but the question itself is that of a real case that waits. Copies of what is personal are not made.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select

from guardrail.call import MISSING
from guardrail.errors import ConfigError, InvalidInput
from guardrail.review import filing, rows, upkeep
from guardrail.review.case import Row, from_text, new_id, plain, to_text
from guardrail.review.dossier import Details
from guardrail.review.judge import judged
from guardrail.store import engine
from guardrail.store.tables import claim, label, step, ticket, was_decided

_SHARE: Final = 0.05  # of the cases that wait, where no number is given
_JITTER: Final = 60.0  # seconds after the case that it stands behind
_NEWEST: Final = 2_000  # decided cases that are looked at
_KNOWN: Final = frozenset({"arguments", "expected", "provisional", "confidence", "business_id", "reasons"})
_QUESTION: Final = (
    "guard", "business_id", "reason", "reasons", "triggers", "arguments", "shown", "provisional", "confidence", "choices", "answers", "actor",
)  # fmt: skip


class Planted(NamedTuple):
    """What was planted. Which cases they are, nobody is told.

    Attributes:
        planted: How many.
        wrong: In how many of them the model's own answer is wrong.
        waiting: Among how many real cases.
    """

    planted: int
    wrong: int
    waiting: int


class _Gold(NamedTuple):
    """A question with its answer: what stands in the row of a ticket, and the answer, as JSON text."""

    facts: Mapping[str, Any]
    expected: str


def plant(
    queue: str,
    given: Sequence[Mapping[str, Any]] | None = None,
    *,
    guard: str | None = None,
    count: int | None = None,
    wrong: float = 0.5,
    agreed: int = 2,
) -> Planted:
    """Plant cases whose answer is known among those that wait.

    They come from cases of this queue that people have decided, or are given. Each goes to people as a real one: same version, people,
    levels and deadline as a case that waits, filed about when that was. They make no labels, their answers are not sent to a callback,
    and `quality` counts them as `gold`. What holds something personal is not used.

    Args:
        queue: Into this queue.
        given: Cases of your own, each with `arguments` and `expected`, and if you like `provisional`, `confidence`, `reasons` and `business_id`.
            They need `guard` where several guards use the queue.
        guard: Only of this guard.
        count: How many; by default one for each twenty that wait, at least one, or all that are given. No more than wait.
        wrong: The share of them in which the model's own answer is to be wrong, so that who only agrees with it is found. Where there are
            choices another one is shown; else only cases that the model got wrong are.
        agreed: Of decided cases: how many people must have given the answer that counted.

    Raises:
        ConfigError: Nothing waits that they could hide among, there are none to plant, or one that is given cannot be used.
        StoreError: The store cannot be read, or does not take them.
    """
    if isinstance(wrong, bool) or not 0.0 <= wrong <= 1.0:
        raise ConfigError("wrong is no share", hint="write wrong=0.5")
    if (count is not None and count < 1) or agreed < 1:
        raise ConfigError("count and agreed are at least 1", hint="write count=5, agreed=2")
    upkeep.catch_up_if_possible()
    lots = random.SystemRandom()
    waiting = _waiting(queue, guard)
    if not waiting:
        raise ConfigError(
            f"nothing waits in {plain(queue)} that gold cases could hide among",
            hint="plant when there are cases, from a few at a time",
        )
    found = _given(given, waiting) if given is not None else _decided(queue, guard, {row["guard"] for row in waiting}, agreed)
    most = len(waiting)
    wanted = count or (len(found) if given is not None else max(1, int(most * _SHARE)))
    if not found:
        raise ConfigError(
            "no decided case can be used",
            hint=f"{agreed} people must have agreed on it, or write agreed=1, or give cases with the answer that you know",
        )
    if wanted > most:
        raise ConfigError(f"{wanted} gold cases among {most} would stand out", hint=f"write count={most} or less")
    chosen = lots.sample(found, min(wanted, len(found)))
    made = [
        _row(each, lots.choice([row for row in waiting if row["guard"] == each.facts["guard"]]), wrong, lots) for each in chosen
    ]
    engine.result(engine.write(lambda connection: [rows.put(connection, row, engine.now()) for row in made]))
    for row in made:
        filing.watch_over(row)
    return Planted(len(made), sum(row["provisional"] not in (None, row["expected"]) for row in made), most)


def _waiting(queue: str, guard: str | None) -> list[Row]:
    """Return the real cases that nobody has begun with."""
    if not engine.exists():
        return []
    now = engine.now()
    found = engine.read(
        lambda connection: rows.find(
            connection, queue=queue, guard=guard, business_id=None, states=("pending",), limit=None, now=now
        )
    )
    return [
        row for row in found if row["kind"] == "case" and row["voted"] == 0 and row["level"] == 0 and not rows.overdue(row, now)
    ]


def _decided(queue: str, guard: str | None, guards: set[str], agreed: int) -> list[_Gold]:
    """Return questions that people have decided, and agreed on, of guards that have cases waiting."""

    def read(connection: Connection) -> list[_Gold]:
        query = (
            select(ticket, step.c.value.label("said"))
            .join(step, (step.c.ticket_id == ticket.c.id) & (step.c.what == "decided"))
            .where(was_decided, ticket.c.queue == plain(queue), ticket.c.kind.in_(("case", "audit")), step.c.value.is_not(None))
            .order_by(ticket.c.id.desc())
            .limit(_NEWEST)
        )
        if guard is not None:
            query = query.where(ticket.c.guard == plain(guard))
        found = [row for row in connection.execute(query).mappings() if row["guard"] in guards and not _personal(row)]
        used = set(connection.execute(select(ticket.c.key).where(ticket.c.kind == "gold")).scalars())
        disputed = set(
            connection.execute(select(label.c.decision_id).where(label.c.source.in_(("appeal", "override")))).scalars()
        )
        fresh = [row for row in found if _key(row["id"]) not in used and row["decision_id"] not in disputed]
        votes: Counter[tuple[str, str]] = Counter()
        for row in connection.execute(
            select(claim.c.ticket_id, claim.c.value).where(claim.c.state == "voted", claim.c.value.is_not(None))
        ):
            votes[row.ticket_id, row.value] += 1
        return [
            _Gold({name: row[name] for name in _QUESTION} | {"key": _key(row["id"])}, row["said"])
            for row in fresh
            if votes[row["id"], row["said"]] >= agreed
        ]

    return engine.read(read)


def _personal(row: Row) -> bool:
    """Return whether a case holds anything sealed: a copy would be one more place to erase."""
    return any('"$' in (row[name] or "") for name in ("arguments", "shown", "provisional", "said"))


def _given(given: Sequence[Mapping[str, Any]], waiting: Sequence[Row]) -> list[_Gold]:
    """Return questions as they were given, checked against a case that waits."""
    if len({row["guard"] for row in waiting}) > 1:
        raise ConfigError("several guards use this queue", hint='name the one that would have asked: guard="loans"')
    like, found = waiting[0], []
    for number, each in enumerate(given, 1):
        if (
            not isinstance(each, Mapping)
            or not {"arguments", "expected"} <= set(each) <= _KNOWN
            or not isinstance(each["arguments"], Mapping)
        ):
            raise ConfigError(
                f"case {number} cannot be used: it needs arguments and expected",
                hint=f"besides there may be {', '.join(sorted(_KNOWN))}",
            )
        text, about = to_text(each["expected"]), each.get("business_id")
        try:
            judged(Details.of_rows({**like, "provisional": None}, (), (), 0.0), from_text(text), "change")
        except InvalidInput as problem:
            raise ConfigError(f"case {number} cannot be used: expected: {problem.args[0]}", hint=problem.hint) from None
        facts = {name: like[name] for name in _QUESTION} | {
            "arguments": to_text(dict(each["arguments"])),
            "shown": None,
            "provisional": to_text(each["provisional"]) if each.get("provisional", MISSING) is not MISSING else text,
            "confidence": each.get("confidence", like["confidence"]),
            "business_id": None if about is None else plain(str(about)),
            "reasons": to_text(list(each.get("reasons", ()))),
        }
        found.append(_Gold(facts | {"key": _key(facts["arguments"])}, text))
    return found


def _row(gold: _Gold, like: Row, wrong: float, lots: random.Random) -> dict[str, Any]:
    """Return the row of a gold case: the question of the one, and all else from a case that waits."""
    after = lots.uniform(0.0, min(_JITTER, max(0.0, engine.now() - like["created"])))
    created = like["created"] + after
    row: dict[str, Any] = {**like, **gold.facts}
    return {
        **row,
        "id": new_id(created),
        "kind": "gold",
        "decision_id": new_id(created),
        "expected": gold.expected,
        "provisional": _shown_answer(row, gold.expected, lots, wrong=lots.random() < wrong),
        "created": created,
        "due": None if like["due"] is None else like["due"] + after,
        "state": "pending",
        "free_at": 0.0,
        "act_at": None if like["act_at"] is None else like["act_at"] + after,
        "delivery": "none" if like["delivery"] == "none" else "queued",  # a case that is pushed was so from the beginning
        "delivery_at": None if like["delivery"] == "none" else engine.now(),
        "delivery_tries": 0,
    }


def _shown_answer(row: Row, expected: str, lots: random.Random, *, wrong: bool) -> str | None:
    """Return what is shown as the model's own answer, as JSON text."""
    own: str | None = row["provisional"]
    if own is None:
        return None
    if not wrong:
        return expected
    others = [text for each in from_text(row["choices"]) or () if (text := to_text(each)) != expected]
    return own if own != expected or not others else lots.choice(others)


def _key(about: str) -> bytes:
    """Return what a gold case is known by: the same question is not planted twice."""
    return hashlib.blake2b(about.encode(), digest_size=20, person=b"guardrail gold").digest()
