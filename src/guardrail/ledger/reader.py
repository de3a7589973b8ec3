"""Reads the ledger back: records of all lanes in the order in which they were made, as a stream with bounded memory."""

from __future__ import annotations

import contextlib
import heapq
from bisect import insort
from collections import Counter
from collections.abc import Collection, Generator, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from guardrail import clock, settings
from guardrail.errors import ConfigError
from guardrail.ledger import postgres
from guardrail.ledger.health import check
from guardrail.ledger.record import iso
from guardrail.ledger.segments import PACKED, Record, Segment, backwards, begun, forwards, lanes, parsed, segments, written
from guardrail.ledger.wanted import Moment, Wanted, Which, wanted

if TYPE_CHECKING:
    from guardrail.ledger.index_file import Cursors

__all__ = ["Record", "Stored", "check", "find", "find_business", "follow", "mentions", "read", "stored"]

_WINDOW: Final = 64  # records of a lane that are put in order: calls are written as they end, and stamped as they begin
_SLACK: Final = 3_600.0  # seconds by which a record may be older than its lane's name, or newer than its file, says
_POLL: Final = 0.2


class Stored(NamedTuple):
    """A record as it lies in the ledger.

    Attributes:
        lane: Its process's part of the ledger.
        seq: Its number there.
        line: Its bytes as stored, with the newline.
        record: What they say.
    """

    lane: str
    seq: int
    line: bytes
    record: Record

    @property
    def order(self) -> tuple[str, str, int]:
        """What records of all lanes are ordered by."""
        return self.record["ts"], self.lane, self.seq


def read(
    home: Path | None = None,
    *,
    guard: Which | None = None,
    outcome: Which | None = None,
    event: Which | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    ids: Collection[str] | None = None,
    business_id: str | None = None,
    actor: Which | None = None,
    subject: Which | None = None,
    limit: int | None = None,
    newest_first: bool = False,
    skipped: Counter[str] | None = None,
) -> Iterator[Record]:
    """Yield records, merged over all lanes by (ts, lane, seq). What is torn or corrupt is passed over.

    This is the library's own way in, which leaves no `read` event; users have `guardrail.ledger.read`.

    Args:
        home: The folder of the embedded store; None: this process's.
        guard: One name, or several.
        outcome: One outcome, or several.
        event: One kind of event, or several.
        since: Seconds since the epoch, a moment (one without a time zone is local), or a text: a date or how long ago.
        until: As `since`; records of that very moment are left out.
        ids: Only these ids.
        business_id: Only this one.
        actor: Id of whoever asked, or several.
        subject: The data subject, by its own id or by its digest, or several.
        limit: At most so many.
        newest_first: The latest first.
        skipped: Counts what was passed over, as "torn" and "corrupt".

    Raises:
        OSError: A lane cannot be read at all.
        ConfigError: A moment is none.
    """
    which = wanted(
        guard=guard, outcome=outcome, event=event, since=since, until=until, ids=ids, business_id=business_id, actor=actor,
        subject=subject,
    )  # fmt: skip
    for found in stored(which, home, limit=limit, newest_first=newest_first, skipped=skipped):
        yield found.record


def stored(
    which: Wanted,
    home: Path | None = None,
    *,
    limit: int | None = None,
    newest_first: bool = False,
    skipped: Counter[str] | None = None,
    indexed: bool | None = None,
) -> Iterator[Stored]:
    """Yield records as they lie in the ledger, in the same order as `read`.

    Args:
        which: What they must be like.
        home: As for `read`.
        limit: As for `read`.
        newest_first: As for `read`.
        skipped: As for `read`; without an index only.
        indexed: Whether to look them up in the index; None: where few of them are wanted and none is to be counted.

    Raises:
        OSError: A lane, or the database, cannot be read at all.
    """
    home = settings.home(create=False) if home is None else home
    url = postgres.url(home)
    if url is not None:
        from guardrail.ledger.postgres import reading  # noqa: PLC0415 - brings psycopg

        with contextlib.closing(reading.stored(url, which, newest_first=newest_first)) as rows:
            yield from islice(rows, limit)
        return
    if indexed is None:
        indexed = which.selective and skipped is None
    if indexed and which.indexed:
        found = _looked_up(home, which, newest_first=newest_first)
    else:
        found = _scanned(home, which, skipped, newest_first=newest_first)
    with contextlib.closing(found):
        yield from islice(found, limit)


def find(text: str, home: Path | None = None) -> Record | None:
    """Return the record with an id, or with the only id that begins so; None where there is none.

    Raises:
        ConfigError: Several ids begin so.
    """
    exact = next(stored(Wanted(ids=frozenset({text})), home), None)
    if exact is not None:
        return exact.record
    found: dict[str, Record] = {}
    for each in stored(Wanted(begins=text), home):
        found[each.record["id"]] = each.record
        if len(found) > 1:
            raise ConfigError("several records have an id that begins so", hint="give more of it")
    return next(iter(found.values()), None)


def find_business(business_id: str, guard: str | None = None, home: Path | None = None) -> list[Record]:
    """Return the decisions about something of the user's own, the newest first."""
    return list(read(home, business_id=business_id, guard=guard, event=("call", "row"), newest_first=True))


def mentions(texts: Collection[str], home: Path | None = None) -> Iterator[Record]:
    """Yield every record that has one of some ids or names it, oldest first: of a call its ticket and its parent count."""
    for each in stored(Wanted(naming=frozenset(texts)), home):
        yield each.record


def follow(home: Path | None = None) -> Iterator[Record | None]:
    """Return what yields records as they are written from this moment on, of lanes that begin later too.

    It yields None whenever there is none just now, and looks again a fifth of a second later.
    """
    home = settings.home(create=False) if home is None else home
    url = postgres.url(home)
    if url is not None:
        from guardrail.ledger.postgres import reading  # noqa: PLC0415 - brings psycopg

        return reading.follow(url)
    places = {segment.path: _size(segment) for lane in lanes(home) for segment in segments(lane)}
    return _following(home, places)


def _following(home: Path, places: dict[Path, int]) -> Iterator[Record | None]:
    while True:
        fresh = [
            (record["ts"], lane.name, record["seq"], record)
            for lane in lanes(home)
            for segment in segments(lane)
            if not segment.path.name.endswith(PACKED)  # it was closed, and read, long before it was compressed
            for record in _grown(segment, places)
        ]
        for *_, record in sorted(fresh, key=lambda each: each[:3]):
            yield record
        yield None
        clock.sleep(_POLL)


def _grown(segment: Segment, places: dict[Path, int]) -> Iterator[Record]:
    """Yield the whole lines that a file has got since the last time."""
    at = places.get(segment.path, 0)
    if _size(segment) <= at:
        return
    try:
        file = segment.path.open("rb")
    except FileNotFoundError:  # compressed or pruned since its name was read: what is in it was yielded long ago
        return
    with file:
        file.seek(at)
        for line in file:
            if not line.endswith(b"\n"):
                break  # it is being written
            at += len(line)
            record = parsed(line, segment, None)
            if record is not None:
                yield record
    places[segment.path] = at


def _size(segment: Segment) -> int:
    try:
        return segment.path.stat().st_size
    except FileNotFoundError:
        return 0


# ── by the index ──────────────────────────────────────────────────────────────────────────────────────────────────────
def _looked_up(home: Path, which: Wanted, *, newest_first: bool) -> Generator[Stored]:
    """Yield what the index finds, and what it does not reach yet from the segments; all from there where it is of no use."""
    import sqlite3  # noqa: PLC0415 - for those who look something up

    from guardrail.ledger.index import Distrusted, Index, Unusable, damaged  # noqa: PLC0415 - as above

    index = Index(home)
    last: tuple[str, str, int] | None = None
    try:
        cursors = index.refresh()
        hits = index.search(which, cursors, newest_first=newest_first)
        if which.ids is not None:
            known = list(hits)
            if which.ids <= {each.record["id"] for each in known}:  # no two records have the same: there is nothing left to find
                yield from known
                return
            hits = iter(known)
        rest = _scanned(home, which, None, newest_first=newest_first, beyond=cursors)
        with contextlib.closing(rest):
            for each in heapq.merge(hits, rest, key=lambda found: found.order, reverse=newest_first):
                last = each.order
                yield each
    except Unusable:
        pass
    except (sqlite3.Error, Distrusted) as problem:
        if isinstance(problem, Distrusted) or damaged(problem):
            index.discard()
    else:
        return
    for each in _scanned(home, which, None, newest_first=newest_first):
        if last is None or (each.order < last if newest_first else each.order > last):
            yield each


# ── by reading everything ─────────────────────────────────────────────────────────────────────────────────────────────
def _scanned(
    home: Path, which: Wanted, skipped: Counter[str] | None, *, newest_first: bool, beyond: Cursors | None = None
) -> Generator[Stored]:
    """Yield what is wanted, out of all records or those beyond the cursors of the index."""
    seek = which.seek()
    after = which.since
    if after is None and which.ids is not None and beyond is None:
        moments = [_moment_of(each) for each in which.ids]
        after = min((at for at in moments if at is not None), default=None) if None not in moments else None
    first = "" if after is None else iso(after - (0.0 if which.since is not None else _SLACK))
    with contextlib.closing(_merged(home, seek, after, which.until, skipped, beyond, backward=newest_first)) as found:
        for each in found:
            if each.record["ts"] < first:
                if newest_first:
                    return
            elif which.matches(each.record):
                yield each


def _moment_of(identity: str) -> float | None:
    """Return the moment in a whole UUIDv7, in seconds since the epoch; None of anything else."""
    digits = identity.replace("-", "")
    try:
        return int(digits[:12], 16) / 1000 if len(digits) == 32 else None  # noqa: PLR2004 - the digits of a UUID
    except ValueError:
        return None


def _merged(  # noqa: PLR0917 - what every lane is asked
    home: Path,
    seek: list[bytes],
    after: float | None,
    before: float | None,
    skipped: Counter[str] | None,
    beyond: Cursors | None,
    *,
    backward: bool,
) -> Generator[Stored]:
    """Merge the lanes. Each begins with a placeholder, so that its files are opened only when their time has come."""
    those = lanes(home)
    if before is not None:
        those = [lane for lane in those if (begin := begun(lane)) is None or _earlier(begin) < iso(before)]
    if beyond is not None:
        those = [lane for lane in those if lane.name not in beyond.done]
    streams = [_lane(lane, seek, after, skipped, beyond, backward=backward) for lane in those]
    try:
        for *_, found in heapq.merge(*streams, key=lambda each: each[:3], reverse=backward):
            if found is not None:
                yield found
    finally:
        for stream in streams:  # whoever has seen enough leaves no file open
            stream.close()


_Place = tuple[str, str, int, Stored | None]


def _lane(
    lane: Path, seek: list[bytes], after: float | None, skipped: Counter[str] | None, beyond: Cursors | None, *, backward: bool
) -> Generator[_Place]:
    files = [(each, 0) for each in segments(lane)]
    if beyond is not None:
        files = [(each, begin) for each, _ in files if (begin := _left(lane, each, beyond)) is not None]
    if after is not None:
        files = [(each, begin) for each, begin in files if written(each.path) >= after - _SLACK]
    if not files:
        return
    if backward:
        files.reverse()
        yield (iso(written(files[0][0].path) + _SLACK), lane.name, 2**63, None)
    else:
        named = begun(lane)
        yield ("" if named is None else _earlier(named), lane.name, -1, None)
    window: list[_Place] = []
    for segment, start in files:
        for line in _lines(segment, start, backward=backward):
            if seek and not any(each in line for each in seek):
                continue
            record = parsed(line, segment, skipped)
            if record is None:
                continue
            found = Stored(lane.name, record["seq"], line, record)
            insort(window, (record["ts"], lane.name, record["seq"], found), key=lambda each: each[:3])
            if len(window) > _WINDOW:
                yield window.pop(-1 if backward else 0)
    yield from reversed(window) if backward else window


def _left(lane: Path, segment: Segment, beyond: Cursors) -> int | None:
    """Return where in a segment the index ends, None where it knows all of it."""
    begin = beyond.begin(lane.name, segment)
    if begin and not segment.path.name.endswith(PACKED) and _size(segment) <= begin:
        return None
    return begin


def _lines(segment: Segment, start: int, *, backward: bool) -> Iterator[bytes]:
    try:
        yield from (backwards if backward else forwards)(segment.path, start)
    except FileNotFoundError:  # a process whose disk is full takes an empty file back
        return


def _earlier(moment: str) -> str:
    return iso(datetime.fromisoformat(moment).astimezone(UTC).timestamp() - _SLACK)
