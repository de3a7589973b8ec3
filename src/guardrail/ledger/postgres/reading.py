"""Reads and searches a ledger in PostgreSQL: `record` finds, the stored line is what is given. Nothing stays open between pages."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from guardrail import clock
from guardrail.ledger import postgres
from guardrail.ledger.postgres import rows
from guardrail.ledger.postgres.link import Link
from guardrail.ledger.reader import Stored
from guardrail.ledger.record import iso
from guardrail.ledger.wanted import CALLS, PLAIN, Record, Wanted

_POLL: Final = 0.5
_FIRST_PAGE: Final = 200
_TS: Final = "(record ->> 'ts') COLLATE \"C\""


def stored(url: str, which: Wanted, *, newest_first: bool) -> Generator[Stored]:
    """Yield records, merged over all lanes by (ts, lane, seq).

    Raises:
        OSError: The database cannot be used.
    """
    link = Link(url, writing=False)
    tests, values = _tests(which)
    sign, way = ("<", "DESC") if newest_first else (">", "ASC")
    order = f"ORDER BY {_TS} {way}, lane {way}, seq {way} LIMIT %s"
    of, conditions = "guardrail_ledger", tests
    if which.selective:  # or the database may read all in the order of time, hoping to meet enough of them soon
        of = f"(SELECT lane, seq, line, record FROM guardrail_ledger WHERE {' AND '.join(tests)} OFFSET 0) AS found"  # noqa: S608
        conditions = ["true"]
    after: tuple[Any, ...] = ()
    many = _FIRST_PAGE
    try:
        while True:
            beyond = [f"({_TS}, lane, seq) {sign} (%s, %s, %s)"] if after else []
            query = f"SELECT lane, seq, line FROM {of} WHERE {' AND '.join([*conditions, *beyond])} {order}"  # noqa: S608 - own words
            page = link.run(query, [*values, *after, many])
            for lane, seq, line in page:
                found = _parsed(line)
                if found is None:
                    continue
                last = Stored(lane, seq, line + b"\n", found)
                if which.matches(found):
                    yield last
            if len(page) < many:
                return
            lane, seq, line = page[-1]
            said = _parsed(line)
            if said is None:  # nobody knows where it stands; what the database thinks of it tells where to go on
                said = {
                    "ts": link.run("SELECT record ->> 'ts' FROM guardrail_ledger WHERE lane = %s AND seq = %s", (lane, seq))[0][0]
                }
            after = (said["ts"], lane, seq)
            many = rows.PAGE
    finally:
        link.drop()


def first(home: Path, lane: str, many: int) -> list[Record]:
    """Return the first records of a lane of a home's ledger."""
    link = Link(postgres.url(home) or "", writing=False)
    query = "SELECT line FROM guardrail_ledger WHERE lane = %s AND line IS NOT NULL ORDER BY seq LIMIT %s"
    try:
        found = [_parsed(line) for (line,) in link.run(query, (lane, many))]
    finally:
        link.drop()
    return [each for each in found if each is not None]


def follow(url: str) -> Iterator[Record | None]:
    """Return what yields records as they get into the database from now on; see `reader.follow`."""
    link = Link(url, writing=False)
    return _following(link, {lane: rows.last(link, lane) for (lane,) in link.run(rows.LANES)})


def _following(link: Link, places: dict[str, int]) -> Iterator[Record | None]:
    query = f"""
        SELECT lanes.lane, new.seq, new.line FROM ({rows.LANES}) AS lanes
        LEFT JOIN unnest(%s::text[], %s::bigint[]) AS known (lane, seq) ON known.lane = lanes.lane
        CROSS JOIN LATERAL (
            SELECT seq, line FROM guardrail_ledger AS each
            WHERE each.lane = lanes.lane AND each.seq > coalesce(known.seq, 0) AND line IS NOT NULL ORDER BY seq LIMIT %s
        ) AS new
    """  # noqa: S608 - of our own words only
    try:
        while True:
            found = link.run(query, (list(places), list(places.values()), rows.PAGE))
            fresh = []
            for lane, seq, line in found:
                places[lane] = seq
                record = _parsed(line)
                if record is not None:
                    fresh.append((record["ts"], lane, seq, record))
            for *_, record in sorted(fresh, key=lambda each: each[:3]):
                yield record
            yield None
            if not found:
                clock.sleep(_POLL)
    finally:
        link.drop()


def _parsed(line: bytes) -> Record | None:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("ts"), str) else None


def _tests(which: Wanted) -> tuple[list[str], list[Any]]:
    """Return conditions that no wanted record fails, spelled as the indexes are, and their values."""
    tests = ["line IS NOT NULL"]
    values: list[Any] = []

    def add(test: str, *value: Any) -> None:
        tests.append(test)
        values.extend(value)

    for name, wanted in (("guard", which.guard), ("outcome", which.outcome), ("event", which.event), ("id", which.ids)):
        if wanted is not None:
            add(f"((record ->> '{name}') COLLATE \"C\") = ANY(%s)", sorted(wanted))
    if which.event is not None and which.event.isdisjoint(CALLS):
        add("NOT (record ->> 'event') IN ('call', 'row', 'beat')")
    if which.outcome is not None and which.outcome.isdisjoint(PLAIN):
        add("NOT (record ->> 'outcome') IN ('answered', 'cached')")
    if which.begins is not None:
        add(
            "((record ->> 'id') COLLATE \"C\") >= %s AND ((record ->> 'id') COLLATE \"C\") < %s",
            which.begins,
            f"{which.begins}\U0010ffff",
        )
    if which.business_id is not None:
        add("record ? 'business_id' AND ((record ->> 'business_id') COLLATE \"C\") = %s", _plain(which.business_id))
    if which.actor is not None:
        add("record ? 'actor' AND ((record -> 'actor' ->> 'id') COLLATE \"C\") = ANY(%s)", sorted(map(_plain, which.actor)))
    if which.subject is not None:
        digests = sorted(which.subject)
        add(
            "record ? 'subject' AND ((record -> 'subject') ?| %s OR record -> 'subject' ->> 'digest' = ANY(%s))", digests, digests
        )
    if which.naming is not None:
        names = sorted(which.naming)
        seek = " OR ".join("position(%s::bytea IN line) > 0" for _ in names)
        quick = (
            "((record ? 'parent' AND ((record ->> 'parent') COLLATE \"C\") = ANY(%s))"
            " OR (record ? 'ticket' AND ((record ->> 'ticket') COLLATE \"C\") = ANY(%s))"
            " OR ((record ->> 'id') COLLATE \"C\") = ANY(%s)"
            f" OR (NOT (record ->> 'event') IN ('call', 'row', 'beat') AND ({seek})))"
        )
        add(quick, names, names, names, *(orjson.dumps(each) for each in names))
    if which.since is not None:
        add(f"{_TS} >= %s", iso(which.since))
    if which.until is not None:
        add(f"{_TS} < %s", iso(which.until))
    return tests, values


def _plain(text: str) -> str:
    return text.replace("\0", "\ufffd")  # as the column has it
