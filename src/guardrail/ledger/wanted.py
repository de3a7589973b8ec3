"""Which records somebody wants: the filters of every way to read the ledger, in one place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.ledger.record import iso

Record = dict[str, Any]
Which = str | Collection[str]
Moment = float | datetime | str
CALLS: Final = ("call", "row", "beat")  # the events that there are most of
PLAIN: Final = ("answered", "cached")  # the outcomes that there are most of
_LOOKED_UP: Final = 10_000  # ids; of more, reading everything is not slower
_EASY_TO_SEEK: Final = 8  # texts looked for in a line before it is parsed
_TOLD: Final = 20  # ids of one filter that are recorded when the ledger was read


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a record must be like. None where that does not matter.

    Attributes:
        guard: Names of which it has one.
        outcome: As for the guard.
        event: As for the guard.
        ids: As for the guard.
        begins: What its id begins with.
        business_id: The user's own key.
        actor: Ids of which the actor has one.
        subject: Digests of which its data subject has one.
        naming: Texts of which one stands somewhere in it.
        since: The earliest moment, in seconds since the epoch.
        until: The moment that it must be before.
    """

    guard: frozenset[str] | None = None
    outcome: frozenset[str] | None = None
    event: frozenset[str] | None = None
    ids: frozenset[str] | None = None
    begins: str | None = None
    business_id: str | None = None
    actor: frozenset[str] | None = None
    subject: frozenset[str] | None = None
    naming: frozenset[str] | None = None
    since: float | None = None
    until: float | None = None
    _tests: tuple[Callable[[Record], bool], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tests", tuple(self._made()))

    @property
    def selective(self) -> bool:
        """Whether few records are like this, so that looking them up beats reading all."""
        if self.ids is not None and len(self.ids) > _LOOKED_UP:
            return False
        named = (self.ids, self.begins, self.business_id, self.actor, self.subject, self.naming)
        return any(each is not None for each in named)

    @property
    def indexed(self) -> bool:
        """Whether the index has an order for this: something besides the moment and what most records have in common."""
        rare = (self.event is not None and self.event.isdisjoint(CALLS)) or (
            self.outcome is not None and self.outcome.isdisjoint(PLAIN)
        )
        return self.selective or self.guard is not None or rare

    def matches(self, record: Record) -> bool:
        """Return whether a record is like this."""
        return all(test(record) for test in self._tests)

    def seek(self) -> list[bytes]:
        """Return byte strings of which one stands in the line of every such record; none where that is not known."""
        if self.ids is not None and len(self.ids) <= _EASY_TO_SEEK:
            return [orjson.dumps(each) for each in self.ids]
        if self.begins is not None:
            return [b'"id":' + orjson.dumps(self.begins)[:-1]]
        if self.naming is not None:
            return [orjson.dumps(each) for each in self.naming]
        if self.business_id is not None:
            return [b'"business_id":' + orjson.dumps(self.business_id)]
        return [orjson.dumps(each) for each in self.subject or ()]

    def told(self) -> dict[str, Any]:
        """Return what is recorded of it when somebody reads; of many ids only the first few, and how many there were."""
        found: dict[str, Any] = {}
        for name in ("guard", "outcome", "event", "ids", "actor", "subject", "naming"):
            each: frozenset[str] | None = getattr(self, name)
            if each is not None:
                found[name] = sorted(each)[:_TOLD]
                if len(each) > _TOLD:
                    found[f"{name}_count"] = len(each)
        for name in ("begins", "business_id"):
            if getattr(self, name) is not None:
                found[name] = getattr(self, name)
        for name in ("since", "until"):
            at = getattr(self, name)
            if at is not None:
                found[name] = iso(at)
        return found

    def _made(self) -> Iterator[Callable[[Record], bool]]:
        fields = {"guard": self.guard, "outcome": self.outcome, "event": self.event, "id": self.ids}
        for name, values in fields.items():
            if values is not None:
                yield _one_of(name, values)
        if self.begins is not None:
            begins = self.begins
            yield lambda record: str(record.get("id", "")).startswith(begins)
        if self.business_id is not None:
            yield _one_of("business_id", frozenset({self.business_id}))
        if self.actor is not None:
            actors = self.actor
            yield lambda record: actor_of(record) in actors
        if self.subject is not None:
            subjects = self.subject
            yield lambda record: not subjects.isdisjoint(subjects_of(record))
        if self.naming is not None:
            naming = self.naming
            yield lambda record: any(each in naming for each in texts(record))
        if self.since is not None:
            first = iso(self.since)
            yield lambda record: record["ts"] >= first
        if self.until is not None:
            end = iso(self.until)
            yield lambda record: record["ts"] < end


def wanted(
    *,
    guard: Which | None = None,
    outcome: Which | None = None,
    event: Which | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    ids: Which | None = None,
    business_id: str | None = None,
    actor: Which | None = None,
    subject: Which | None = None,
) -> Wanted:
    """Make the filters out of what people write: one text or several, moments in any form.

    Raises:
        ConfigError: A moment is none.
    """
    if subject is not None:
        from guardrail.ledger.whose import digests  # noqa: PLC0415 - the store of keys is asked only where a subject is named

        subject = digests(_several(subject) or frozenset())
    return Wanted(
        guard=_several(guard), outcome=_several(outcome), event=_several(event), ids=_several(ids), business_id=business_id,
        actor=_several(actor), subject=_several(subject), since=_at(since, "since"), until=_at(until, "until"),
    )  # fmt: skip


def actor_of(record: Mapping[str, Any]) -> str | None:
    """Return the id of who did it, None where nobody is named."""
    actor = record.get("actor")
    found = actor.get("id") if isinstance(actor, Mapping) else None
    return found if isinstance(found, str) else None


def subjects_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the digests that stand in a record for the person it is about; none where it names nobody."""
    found = record.get("subject")
    if isinstance(found, str):
        return (found,)
    if isinstance(found, Mapping):
        found = [found.get("digest")]
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else ()


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def _one_of(name: str, values: frozenset[str]) -> Callable[[Record], bool]:
    def test(record: Record) -> bool:
        found = record.get(name)
        return isinstance(found, str) and found in values

    return test


def _several(which: Which | None) -> frozenset[str] | None:
    return None if which is None else frozenset({which} if isinstance(which, str) else which)


def _at(moment: Moment | None, what: str) -> float | None:
    """Return seconds since the epoch; a text is a date, a moment, or a duration before now."""
    if moment is None:
        return None
    if isinstance(moment, str):
        try:
            return datetime.fromisoformat(moment).timestamp()
        except ValueError:
            pass
        try:
            return clock.wall() - clock.seconds(moment, what)
        except ConfigError:
            raise ConfigError(
                f"{what} is no moment", hint='write "2026-01-31", "2026-01-31T12:00", or how long ago: "12h", "30d"'
            ) from None
    return moment.timestamp() if isinstance(moment, datetime) else float(moment)
