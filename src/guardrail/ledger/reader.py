"""Reads the ledger back: records of all lanes in the order in which they were made, as a stream with bounded memory."""

from __future__ import annotations

import heapq
from bisect import insort
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson

from guardrail import clock, settings
from guardrail.errors import ConfigError
from guardrail.ledger.health import check
from guardrail.ledger.record import iso
from guardrail.ledger.segments import Record, Segment, backwards, begun, forwards, lanes, parsed, segments

__all__ = ["Record", "check", "find", "find_business", "follow", "mentions", "read"]

_WINDOW: Final = 64  # records of a lane that are put in order: calls are written as they end, and stamped as they begin
_SLACK: Final = 3_600.0  # seconds by which a record may be older than its lane's name, or newer than its file, says
_EASY_TO_SEEK: Final = 8  # texts looked for in a line before it is parsed
_POLL: Final = 0.2
_AT_END: Final = "9999"

Which = str | Collection[str]


def read(
    home: Path | None = None,
    *,
    guard: Which | None = None,
    outcome: Which | None = None,
    event: Which | None = None,
    since: float | datetime | None = None,
    ids: Collection[str] | None = None,
    business_id: str | None = None,
    limit: int | None = None,
    newest_first: bool = False,
    skipped: Counter[str] | None = None,
) -> Iterator[Record]:
    """Yield records, merged over all lanes by (ts, lane, seq). What is torn or corrupt is passed over.

    Args:
        home: The folder of the embedded store; None: this process's.
        guard: One name, or several.
        outcome: One outcome, or several.
        event: One kind of event, or several.
        since: Seconds since the epoch, or a moment; one without a time zone is local.
        ids: Only these ids.
        business_id: Only this one.
        limit: At most so many.
        newest_first: The latest first.
        skipped: Counts what was passed over, as "torn" and "corrupt".

    Raises:
        OSError: A lane cannot be read at all.
    """
    home = settings.home(create=False) if home is None else home
    after = None if since is None else since if isinstance(since, float | int) else since.timestamp()
    seek: list[bytes] = []
    if ids is not None and len(ids) <= _EASY_TO_SEEK:
        seek = [orjson.dumps(each) for each in ids]
    elif business_id is not None:
        seek = [b'"business_id":' + orjson.dumps(business_id)]
    tests = _tests(guard=guard, outcome=outcome, event=event, ids=ids, business_id=business_id)
    first = "" if after is None else iso(after)
    given = 0
    for record in _merged(home, seek, after, skipped, backward=newest_first):
        if record["ts"] < first:
            if newest_first:
                return
            continue
        if all(test(record) for test in tests):
            if limit is not None and given >= limit:
                return
            given += 1
            yield record


def find(text: str, home: Path | None = None) -> Record | None:
    """Return the record with an id, or with the only id that begins so; None where there is none.

    Raises:
        ConfigError: Several ids begin so.
    """
    home = settings.home(create=False) if home is None else home
    found: dict[str, Record] = {}
    for record in _merged(home, [b'"id":' + orjson.dumps(text)[:-1]], _moment_of(text), None, backward=False):
        if record["id"].startswith(text):
            found[record["id"]] = record
            if record["id"] == text:
                return record
            if len(found) > 1:
                raise ConfigError("several records have an id that begins so", hint="give more of it")
    return next(iter(found.values()), None)


def find_business(business_id: str, guard: str | None = None, home: Path | None = None) -> list[Record]:
    """Return the decisions about something of the user's own, the newest first."""
    return list(read(home, business_id=business_id, guard=guard, event=("call", "row"), newest_first=True))


def mentions(texts: Collection[str], home: Path | None = None) -> Iterator[Record]:
    """Yield every record in which one of some ids stands anywhere, oldest first."""
    home = settings.home(create=False) if home is None else home
    yield from _merged(home, [orjson.dumps(text) for text in texts], None, None, backward=False)


def follow(home: Path | None = None) -> Iterator[Record | None]:
    """Return what yields records as they are written from this moment on, of lanes that begin later too.

    It yields None whenever there is none just now, and looks again a fifth of a second later.
    """
    home = settings.home(create=False) if home is None else home
    places = {segment.path: _size(segment) for lane in lanes(home) for segment in segments(lane)}
    return _following(home, places)


def _following(home: Path, places: dict[Path, int]) -> Iterator[Record | None]:
    while True:
        fresh = [
            (record["ts"], lane.name, record["seq"], record)
            for lane in lanes(home)
            for segment in segments(lane)
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
    with segment.path.open("rb") as file:
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


def _tests(**wanted: Which | None) -> list[Callable[[Record], bool]]:
    def test_for(field: str, values: frozenset[str]) -> Callable[[Record], bool]:
        return lambda record: record.get(field) in values

    names = {"ids": "id"}
    return [
        test_for(names.get(name, name), frozenset({which} if isinstance(which, str) else which))
        for name, which in wanted.items()
        if which is not None
    ]


def _moment_of(identity: str) -> float | None:
    """Return the moment in a whole UUIDv7, in seconds since the epoch; None of anything else."""
    digits = identity.replace("-", "")
    try:
        return int(digits[:12], 16) / 1000 if len(digits) == 32 else None  # noqa: PLR2004 - the digits of a UUID
    except ValueError:
        return None


def _merged(
    home: Path, seek: list[bytes], after: float | None, skipped: Counter[str] | None, *, backward: bool
) -> Generator[Record]:
    """Merge the lanes. Each begins with a placeholder, so that its files are opened only when their time has come."""
    streams = [_lane(lane, seek, after, skipped, backward=backward) for lane in lanes(home)]
    try:
        for *_, record in heapq.merge(*streams, key=lambda each: each[:3], reverse=backward):
            if record is not None:
                yield record
    finally:
        for stream in streams:  # whoever has seen enough leaves no file open
            stream.close()


_Place = tuple[str, str, int, Record | None]


def _lane(
    lane: Path, seek: list[bytes], after: float | None, skipped: Counter[str] | None, *, backward: bool
) -> Generator[_Place]:
    files = segments(lane)
    if after is not None:
        files = [each for each in files if _written(each) >= after - _SLACK]
    if not files:
        return
    if backward:
        files.reverse()
        yield (iso(_written(files[0]) + _SLACK), lane.name, 2**63, None)
    else:
        begin = begun(lane)
        yield ("" if begin is None else _earlier(begin), lane.name, -1, None)
    window: list[_Place] = []
    for segment in files:
        for line in _lines(segment, backward=backward):
            if seek and not any(each in line for each in seek):
                continue
            record = parsed(line, segment, skipped)
            if record is None:
                continue
            insort(window, (record["ts"], lane.name, record["seq"], record), key=lambda each: each[:3])
            if len(window) > _WINDOW:
                yield window.pop(-1 if backward else 0)
    yield from reversed(window) if backward else window


def _lines(segment: Segment, *, backward: bool) -> Iterator[bytes]:
    try:
        yield from (backwards if backward else forwards)(segment.path)
    except FileNotFoundError:  # a process whose disk is full takes an empty file back
        return


def _written(segment: Segment) -> float:
    """Return when a file was written last, in seconds since the epoch; 0 where it is gone."""
    try:
        return segment.path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _earlier(moment: str) -> str:
    return iso(datetime.fromisoformat(moment).astimezone(UTC).timestamp() - _SLACK)
