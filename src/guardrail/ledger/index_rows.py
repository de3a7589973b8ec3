"""What the index keeps of a record, and how its table is laid out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from guardrail.ledger.wanted import CALLS, PLAIN, actor_of, subjects_of, texts

FORMAT: Final = 1
SHIFT: Final = 36  # a place is the number of a part times 2 to this, plus the bytes before the record in its segment
# The words of CALLS and PLAIN get the first numbers, so that the partial indexes of what is rarer can name them.
_MANY_EVENTS: Final = "event NOT IN (1, 2, 3)"
_MANY_OUTCOMES: Final = "outcome NOT IN (0, 4, 5)"
RARE: Final = {"event": _MANY_EVENTS, "outcome": _MANY_OUTCOMES}
COMMON: Final = {"event": frozenset({1, 2, 3}), "outcome": frozenset({0, 4, 5})}

FIXED_WORDS: Final = len(CALLS) + len(PLAIN)  # the last number of these

TABLES: Final = f"""
CREATE TABLE word (n INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
INSERT INTO word (n, text) VALUES (0, ''), {", ".join(f"({n}, '{word}')" for n, word in enumerate((*CALLS, *PLAIN), 1))};
CREATE TABLE part (
    n INTEGER PRIMARY KEY, lane TEXT NOT NULL, first INTEGER NOT NULL, upto INTEGER NOT NULL, written INTEGER NOT NULL,
    tail BLOB NOT NULL, length INTEGER NOT NULL, closed INTEGER NOT NULL, UNIQUE (lane, first)
);
CREATE TABLE lane (name TEXT PRIMARY KEY, changed INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE record (
    place INTEGER PRIMARY KEY, seq INTEGER NOT NULL, ts INTEGER NOT NULL, id NOT NULL, event INTEGER NOT NULL,
    outcome INTEGER NOT NULL, guard INTEGER NOT NULL, actor INTEGER NOT NULL, business_id TEXT
);
CREATE TABLE link (text TEXT NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (text, place)) WITHOUT ROWID;
"""  # noqa: S608 - words of ours
INDEXES: Final = f"""
CREATE INDEX record_id ON record (id);
CREATE INDEX record_business_id ON record (business_id, ts) WHERE business_id IS NOT NULL;
CREATE INDEX record_actor ON record (actor, ts) WHERE actor <> 0;
CREATE INDEX record_guard ON record (guard, ts);
CREATE INDEX record_event ON record (event, ts) WHERE {_MANY_EVENTS};
CREATE INDEX record_outcome ON record (outcome, ts) WHERE {_MANY_OUTCOMES};
PRAGMA user_version = {FORMAT};
"""

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DASHES: Final = (8, 13, 18, 23)
_NAMING: Final = re.compile(r"[\w\-:.@/+=]{4,200}")  # texts of an event that may be an id of something
_LINKS: Final = 200  # of one record
_NOT_IDS: Final = frozenset({"id", "ts", "event", "guard", "mode", "version", "service", "origin", "host", "sdk", "spelled"})


def packed(identity: str) -> bytes | str:
    """Return an id as the index keeps it: a UUID in 16 bytes."""
    return bytes.fromhex(identity.replace("-", "")) if _UUID.fullmatch(identity) else identity


def between(begins: str) -> Iterator[tuple[bytes | str, bytes | str]]:
    """Yield the ranges (first, last) of kept ids that may begin so."""
    yield begins, begins + "\U0010ffff"
    dashed = all((letter == "-") == (at in _DASHES) for at, letter in enumerate(begins))
    digits = begins.replace("-", "")
    if dashed and len(digits) <= 32 and re.fullmatch("[0-9a-f]*", digits):  # noqa: PLR2004 - the digits of a UUID
        yield bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))


def links(record: dict[str, Any]) -> set[str]:
    """Return the ids that a record names besides its own: of a call its ticket, its parent and its subject."""
    found = set(subjects_of(record))
    if record.get("event") in CALLS:
        found.update(each for name in ("ticket", "parent") if isinstance(each := record.get(name), str))
        return found
    for name, value in record.items():
        if name not in _NOT_IDS:
            for each in texts(value):
                if len(found) >= _LINKS:
                    return found
                if _NAMING.fullmatch(each):
                    found.add(each)
    return found


def words_of(record: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return event, outcome, guard and actor, "" for what a record does not say."""
    event, outcome, guard = (each if isinstance(each := record.get(name), str) else "" for name in ("event", "outcome", "guard"))
    return event, outcome, guard, actor_of(record) or ""
