"""One decision's whole story: what happened within it, around it and because of it, and whether its record is proven."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from guardrail import settings
from guardrail.errors import GuardrailError
from guardrail.ledger import blobs, postgres, reader
from guardrail.ledger.disk import FOLDER
from guardrail.ledger.proven import Proof, proof
from guardrail.ledger.reader import Stored
from guardrail.ledger.segments import forwards, parsed, segments
from guardrail.ledger.wanted import CALLS, Record, Wanted, subjects_of, texts
from guardrail.settings.sinks import EVENTS

_DECISIONS: Final = frozenset({"call", "row"})
_NAMING: Final = frozenset(EVENTS) - {*CALLS, "config", "erase"}
_INNER: Final = 10_000  # calls or rows within one that are given
_READS: Final = 1_000  # `read` events after it that are looked at
_OTHERS: Final = 1_000
_CASE: Final = ("id", "queue", "state", "reason", "created", "due", "steps")  # what is told of a case


@dataclass(kw_only=True)
class Story:
    """Everything the ledger and the queue know of one decision.

    Attributes:
        record: The decision's record.
        lane: The part of the ledger that holds it.
        seq: Its number there.
        proof: Whether a signed checkpoint covers it.
        parent: The call or batch around it, where it is recorded.
        inner: Calls it made, or rows of its batch, oldest first; at most 10,000.
        config: The record that spelled out the rules in force; its plan stands under `spelled`.
        process: The record of the start of its process.
        mode_before: The latest switch of its guard's mode before it.
        mode_after: The first one after it.
        events: What names it or its ticket: tickets, people's decisions, feedback, overrides, appeals, incidents…
        ticket: The case as the review queue has it now; None where there is none, or where the store cannot be read.
        erasure: Erasures of the person it is about.
        reads: Who has read it: `read` events that name it, or asked for such records without a limit.
        others: Earlier decisions about the same business id, where that was asked for.
    """

    record: Record
    lane: str
    seq: int
    proof: Proof
    parent: Record | None = None
    inner: list[Record] = field(default_factory=list)
    config: Record | None = None
    process: Record | None = None
    mode_before: Record | None = None
    mode_after: Record | None = None
    events: list[Record] = field(default_factory=list)
    ticket: dict[str, Any] | None = None
    erasure: list[Record] = field(default_factory=list)
    reads: list[Record] = field(default_factory=list)
    others: list[Record] = field(default_factory=list)

    @property
    def plan(self) -> dict[str, Any] | None:
        """The options in force, as they were spelled out."""
        found = self.config and self.config.get("spelled")
        return found if isinstance(found, dict) else None


def tell(what: str, guard: str | None = None, home: Path | None = None) -> Story | None:
    """Tell the story of a decision.

    Args:
        what: Its id, the beginning of one, a business id, of which the latest decision is told, or its ticket's id or the end of that.
        guard: For a business id: only this guard.
        home: The folder of the embedded store; None: this process's.

    Raises:
        ConfigError: Several ids begin so.
        OSError: The ledger cannot be read.
    """
    home = settings.home(create=False) if home is None else home
    others: list[Record] = []
    found = _found(what, home)
    if found is None:
        which = Wanted(business_id=what, event=_DECISIONS, guard=None if guard is None else frozenset({guard}))
        same = list(reader.stored(which, home, limit=_OTHERS, newest_first=True))
        found, others = (same[0], [each.record for each in same[1:]]) if same else (_of_ticket(what, home), [])
        if found is None:
            return None
    record = found.record
    story = Story(record=blobs.whole(record, home), lane=found.lane, seq=found.seq, proof=proof(home, found), others=others)
    _within(story, home)
    _rules(story, home)
    _people(story)
    _readers(story, home)
    return story


def _found(what: str, home: Path) -> Stored | None:
    record = reader.find(what, home)
    return None if record is None else next(reader.stored(Wanted(ids=frozenset({record["id"]})), home), None)


def _of_ticket(what: str, home: Path) -> Stored | None:
    """Return the decision that a ticket is about; of a part of the ticket's id only where the queue can be read."""
    from guardrail.store import engine  # noqa: PLC0415 - for those who ask by a ticket

    ticket = what
    with contextlib.suppress(GuardrailError):
        if engine.exists():
            from guardrail.review import desk  # noqa: PLC0415 - SQLAlchemy

            ticket = desk.resolve(what)
    which = Wanted(naming=frozenset({ticket}), event=_DECISIONS)
    return next((each for each in reader.stored(which, home) if each.record.get("ticket") == ticket), None)


def _within(story: Story, home: Path) -> None:
    """Gather what names the decision, its ticket or its person."""
    record = story.record
    own = record["id"]
    names = {each for each in (own, record.get("ticket")) if isinstance(each, str)}
    if isinstance(record.get("parent"), str):
        outer = next(reader.stored(Wanted(ids=frozenset({record["parent"]})), home), None)
        story.parent = None if outer is None else outer.record
    within = Wanted(naming=frozenset({own}), event=_DECISIONS)  # asked for apart, since a batch may have a million rows
    calls = reader.stored(within, home, limit=_INNER + 1)
    story.inner = [each.record for each in calls if each.record.get("parent") == own][:_INNER]
    for each in reader.stored(Wanted(naming=frozenset(names), event=_NAMING), home):
        if each.record["id"] != own:
            (story.reads if each.record["event"] == "read" else story.events).append(each.record)
    about = frozenset(subjects_of(record))
    if about:
        which = Wanted(naming=about, event=frozenset({"erase"}))
        story.erasure = [each.record for each in reader.stored(which, home)]


def _rules(story: Story, home: Path) -> None:
    """Find the rules in force: the plan that the process spelled out, its start, and the switches around the moment."""
    record = story.record
    guard, plan = record.get("guard"), record.get("plan")
    if isinstance(plan, str) and isinstance(guard, str):
        which = Wanted(naming=frozenset({plan}), event=frozenset({"config"}), guard=frozenset({guard}))
        for each in reader.stored(which, home):
            if each.record.get("plan") == plan and (story.config is None or each.lane == story.lane):
                story.config = each.record
                if each.lane == story.lane:
                    break
    story.process = _start(home, story.lane)
    if not isinstance(guard, str):
        return
    at = _seconds(record["ts"])
    mode, names = frozenset({"mode"}), frozenset({guard, "*"})
    before = reader.stored(Wanted(event=mode, guard=names, until=at), home, limit=1, newest_first=True, indexed=True)
    after = reader.stored(Wanted(event=mode, guard=names, since=at), home, limit=1, indexed=True)
    story.mode_before = next((each.record for each in before), None)
    story.mode_after = next((each.record for each in after), None)


def _start(home: Path, name: str) -> Record | None:
    if postgres.url(home) is not None:
        from guardrail.ledger.postgres import reading  # noqa: PLC0415 - brings psycopg

        return next((each for each in reading.first(home, name, 5) if each.get("event") == "config" and "started" in each), None)
    lane = home / FOLDER / name
    with contextlib.suppress(OSError):
        for segment in segments(lane)[:1]:
            for line in islice(forwards(segment.path), 5):
                record = parsed(line, segment, None)
                if record is not None and record.get("event") == "config" and "started" in record:
                    return record
    return None


def _people(story: Story) -> None:
    ticket = story.record.get("ticket")
    if not isinstance(ticket, str):
        return
    from guardrail.store import engine  # noqa: PLC0415 - SQLAlchemy, for decisions with a ticket

    if not engine.exists():
        return
    from guardrail.review import desk  # noqa: PLC0415 - as above

    with contextlib.suppress(
        GuardrailError
    ):  # the case has left the store, or the store cannot be read; the ledger's part stands
        found = desk.details(ticket).to_dict()  # the arguments stay in the queue: a story is told without personal data
        story.ticket = {name: found[name] for name in _CASE if name in found}


def _readers(story: Story, home: Path) -> None:
    """Add who got the record by asking for all that are like it."""
    known = {each["id"] for each in story.reads}
    which = Wanted(event=frozenset({"read"}), since=_seconds(story.record["ts"]))
    for each in reader.stored(which, home, limit=_READS, newest_first=True, indexed=True):
        if each.record["id"] not in known and _covers(each.record, story.record):
            story.reads.append(each.record)
    story.reads.sort(key=lambda each: each["ts"])


def _covers(read: Record, record: Record) -> bool:
    filters = read.get("filters")
    if not isinstance(filters, Mapping) or read.get("limit") is not None or any(name.endswith("_count") for name in filters):
        return False
    given: dict[str, Any] = {}
    for name, value in filters.items():
        if name in ("since", "until"):
            given[name] = _seconds(str(value))
        elif isinstance(value, list):
            given[name] = frozenset(texts(value))
        else:
            given[name] = value
    try:
        return Wanted(**given).matches(record)
    except TypeError:  # a filter of a later release
        return False


def _seconds(ts: str) -> float:
    try:
        return datetime.fromisoformat(ts).timestamp()
    except ValueError:
        return 0.0
