"""Asks the index: what somebody wants as one query, page after page, by the B-tree that leaves the least to look at."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

from guardrail.ledger.index_rows import COMMON, RARE, SHIFT, between, packed
from guardrail.ledger.moments import micros
from guardrail.ledger.record import iso
from guardrail.ledger.wanted import Wanted

_LINKED: Final = "SELECT place FROM link WHERE text IN (SELECT value FROM json_each(?))"


class Row(NamedTuple):
    """What the index says of one record: where it is, and what must be found there."""

    place: int
    ts: int
    seq: int
    id: bytes | str
    lane: str
    first: int


class _Condition(NamedTuple):
    """One condition: its text with `{}` before each column, which becomes a `+` where SQLite must not use its B-tree."""

    text: str
    values: list[Any]
    ordered: bool = True  # whether its B-tree has the moment behind it
    fixed: str = ""  # what the definition of a partial B-tree says, so that SQLite sees that it may use it


class Question:
    """What somebody wants.

    Args:
        wanted: What the records must be like.
        newest_first: The latest first.
    """

    def __init__(self, wanted: Wanted, *, newest_first: bool) -> None:
        self._wanted = wanted
        self._way, self._beyond = ("DESC", "<") if newest_first else ("ASC", ">")

    def page(self, db: sqlite3.Connection, after: Row | None, size: int) -> list[Row]:
        """Return the next rows in the order of (ts, lane, seq)."""
        conditions, values = [], []
        ordered = True
        for at, each in enumerate(_conditions(db, self._wanted)):
            conditions.append(each.text.replace("{}", "+" if at else ""))
            values += each.values
            if not at:
                ordered = each.ordered
                if each.fixed:
                    conditions.append(each.fixed)
        ts = "r.ts" if ordered else "+r.ts"
        for end, compared in ((self._wanted.since, ">="), (self._wanted.until, "<")):
            if end is not None:
                conditions.append(f"{ts} {compared} ?")
                values.append(micros(iso(end)))
        if after is not None:
            conditions += [f"{ts} {self._beyond}= ?", f"(r.ts, p.lane, r.seq) {self._beyond} (?, ?, ?)"]
            values += [after.ts, after.ts, after.lane, after.seq]
        way = self._way
        query = (  # put together from texts of ours; whatever somebody wants is bound
            f"SELECT r.place, r.ts, r.seq, r.id, p.lane, p.first FROM record r CROSS JOIN part p ON p.n = r.place >> {SHIFT} "  # noqa: S608
            f"WHERE {' AND '.join(conditions) or '1'} ORDER BY r.ts {way}, p.lane {way}, r.seq {way} LIMIT {size}"
        )
        return [Row._make(row) for row in db.execute(query, values)]


def _conditions(db: sqlite3.Connection, wanted: Wanted) -> Iterator[_Condition]:
    """Yield the conditions, that of the fewest records first."""
    if wanted.ids is not None:
        yield _Condition(f"{{}}r.id IN ({_marks(wanted.ids)})", [packed(each) for each in wanted.ids], ordered=False)
    if wanted.begins is not None:
        ranges = [*between(wanted.begins)]
        text = " OR ".join(["({}r.id >= ? AND {}r.id <= ?)"] * len(ranges))
        yield _Condition(f"({text})", [end for each in ranges for end in each], ordered=False)
    if wanted.business_id is not None:
        yield _Condition("{}r.business_id = ?", [wanted.business_id])
    if wanted.subject is not None:
        yield _Condition(f"{{}}r.place IN ({_LINKED})", [orjson.dumps([*wanted.subject]).decode()], ordered=False)
    if wanted.naming is not None:
        own = f"SELECT place FROM record WHERE id IN ({_marks(wanted.naming)})"  # noqa: S608 - question marks
        values = [orjson.dumps([*wanted.naming]).decode(), *(packed(each) for each in wanted.naming)]
        yield _Condition(f"{{}}r.place IN ({_LINKED} UNION {own})", values, ordered=False)
    common = []
    for name in ("actor", "event", "outcome", "guard"):
        which: frozenset[str] | None = getattr(wanted, name)
        if which is None:
            continue
        numbers = [n for each in which for (n,) in db.execute("SELECT n FROM word WHERE text = ?", (each,))]
        text = f"{{}}r.{name} = ?" if len(numbers) == 1 else f"{{}}r.{name} IN ({_marks(numbers)})"
        if name in RARE and not COMMON[name].isdisjoint(numbers):
            common.append(_Condition(text, numbers))  # it says little, and no B-tree has it
        else:
            yield _Condition(text, numbers, fixed=f"r.{RARE[name]}" if name in RARE else "")
    yield from common


def _marks(values: Any) -> str:
    return ",".join("?" * len(values))
