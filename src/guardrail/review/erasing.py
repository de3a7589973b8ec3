"""Clears what tickets, drafts, the spool and labels hold of one subject, when it is erased."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, RowMapping, or_, select, update

from guardrail import clock
from guardrail.review import rows, spool, tell, upkeep
from guardrail.review.case import Actor, Row, from_text, to_text
from guardrail.review.personal import ERASED, GONE, KEY, OF, SUBJECT
from guardrail.store import engine, file_lock
from guardrail.store.states import OPEN_STATES
from guardrail.store.tables import claim, label, step, ticket

_AT_ONCE: Final = 400
_CLOSE_SECONDS: Final = 5.0
_LOG_SECONDS: Final = 5.0
_DRAFT_SECONDS: Final = 10.0
_WHY: Final = "the data of the subject were erased"


@dataclass(frozen=True, slots=True)
class About:
    """What tells that something is about a subject.

    Attributes:
        digest: The subject's.
        decisions: Ids of the decisions about it.
        business: Pairs of guard and business id of these decisions.
    """

    digest: str
    decisions: Collection[str]
    business: Collection[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Cleared:
    """How many tickets, labels and cases in the spool were, or would be, cleared.

    Attributes:
        in_log: Whether the store's log may still hold what was cleared, because somebody went on reading it.
    """

    tickets: int = 0
    labels: int = 0
    spool: int = 0
    in_log: bool = False


def count(about: About) -> Cleared:
    """Return how much would be cleared."""
    waiting = sum(1 for _, row in spool.cases() if _fits(row, about))
    if not engine.exists():
        return Cleared(spool=waiting)
    tickets, labels = engine.read(lambda connection: _found(connection, about))
    return Cleared(len(tickets), len(labels), waiting)


def clear_store(about: About, actor: Actor, now: float) -> Cleared:
    """Clear tickets and labels; open tickets are cancelled, and whoever waits for them is told.

    Raises:
        StoreError: The store cannot take it.
    """
    upkeep.catch_up_if_possible()  # what can leave the spool does
    if not engine.exists():
        return Cleared()
    tickets, labels, events = engine.result(engine.write(lambda connection: _clear(connection, about, actor, now)))
    tell.tell(events)
    engine.finish(_CLOSE_SECONDS)
    # What the log still holds of the old content goes, too; whoever reads meanwhile, in any process, keeps it for as long.
    return Cleared(tickets, labels, in_log=not engine.write_back(_LOG_SECONDS))


# ── the store ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _found(connection: Connection, about: About) -> tuple[list[RowMapping], list[str]]:
    found = {row["id"]: row for row in _rows(connection, ticket, ticket.c.arguments.contains(about.digest, autoescape=True))}
    for some in _parts(about.decisions):
        found |= {row["id"]: row for row in _rows(connection, ticket, ticket.c.decision_id.in_(some))}
    # What an earlier erasure has cleared counts no more, unless it was in the spool then and is still open.
    found = {name: row for name, row in found.items() if f'"{GONE}"' not in row["arguments"] or row["state"] in OPEN_STATES}
    matters = {*about.business, *((row["guard"], row["business_id"]) for row in found.values() if row["business_id"] is not None)}
    labels: set[str] = set()
    for some in _parts(about.decisions):
        labels |= _labels(connection, label.c.decision_id.in_(some))
    for some in _parts(list(found)):
        labels |= _labels(connection, label.c.ticket_id.in_(some))
    for guard, business_id in matters:
        mine = (label.c.business_id == business_id) & or_(label.c.guard == guard, label.c.guard.is_(None))
        labels |= _labels(connection, mine)
    return list(found.values()), sorted(labels)


def _labels(connection: Connection, fits: ColumnElement[bool]) -> set[str]:
    return {row["id"] for row in _rows(connection, label, fits & (label.c.actual != ERASED))}


def _rows(connection: Connection, table: Any, fits: ColumnElement[bool]) -> list[RowMapping]:
    return list(connection.execute(select(table).where(fits)).mappings())


def _parts(ids: Collection[str]) -> Iterator[Sequence[str]]:
    listed = list(ids)
    for start in range(0, len(listed), _AT_ONCE):
        yield listed[start : start + _AT_ONCE]


def _clear(connection: Connection, about: About, actor: Actor, now: float) -> tuple[int, int, list[tell.Event]]:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")  # what is overwritten here is overwritten in the file
    tickets, labels = _found(connection, about)
    events: list[tell.Event] = []
    for row in tickets:
        connection.execute(update(ticket).where(ticket.c.id == row["id"]).values(**_emptied(row)))
        mine = step.c.ticket_id == row["id"]
        connection.execute(update(step).where(mine, step.c.value.is_not(None)).values(value=ERASED))
        connection.execute(update(step).where(mine).values(note=None))
        part = claim.c.ticket_id == row["id"]
        connection.execute(update(claim).where(part, claim.c.value.is_not(None)).values(value=ERASED))
        connection.execute(update(claim).where(part).values(note=None))
        if row["state"] in OPEN_STATES:
            _, told = rows.cancel(connection, row["id"], now, actor, _WHY, late=True)
            events += told
    for some in _parts(labels):
        connection.execute(update(label).where(label.c.id.in_(some)).values(actual=ERASED, value=None, business_id=None))
    return len(tickets), len(labels), events


def _emptied(row: Row) -> dict[str, Any]:
    """Return what becomes of a ticket's columns that may hold something of the subject's."""
    arguments = from_text(row["arguments"])
    names = [name for name in arguments if name not in (SUBJECT, KEY, GONE, OF)] if isinstance(arguments, dict) else []
    return {
        "arguments": to_text({**dict.fromkeys(names, from_text(ERASED)), GONE: True}),
        "shown": None if row["shown"] is None else ERASED,
        "provisional": None if row["provisional"] is None else ERASED,
        "expected": None if row.get("expected") is None else ERASED,
        "business_id": None,
        "reasons": "[]",
        "key": os.urandom(20),  # it was a digest of the arguments
    }


# ── the spool ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _fits(row: Row, about: About) -> bool:
    return f'"{GONE}"' not in row["arguments"] and (about.digest in row["arguments"] or row["decision_id"] in about.decisions)


def clear_spool(about: About) -> int:
    """Clear the cases that wait here, and remove drafts and what could not be read; return how many that were.

    Raises:
        OSError: The spool cannot be written.
    """
    cleared = 0
    folder = spool.folder()
    with contextlib.suppress(FileNotFoundError), file_lock.held(folder / "lock"):
        for place, row in spool.cases():
            if _fits(row, about):
                empty = {**row, **_emptied(row)}
                spool.replace(place, empty)
                cleared += 1
        for place in folder.iterdir():
            if place.suffix in (".tmp", ".unreadable") and _mentions(place, about):
                place.unlink(missing_ok=True)
                cleared += 1
    return cleared


def _mentions(place: Path, about: About) -> bool:
    try:
        if place.stat().st_mtime > clock.wall() - _DRAFT_SECONDS:
            return False  # somebody is writing it; what is personal in it is sealed under a key that is gone
        content = place.read_bytes()
    except OSError:
        return False
    return about.digest.encode() in content or any(orjson.dumps(each) in content for each in about.decisions)
