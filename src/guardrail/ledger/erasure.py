"""Erases one data subject: its key first, and with it all that was sealed, wherever copies are; then what else is kept of it.

The records stay, hashes, links and proofs with them, and one more says that it was done.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from guardrail import clock, settings
from guardrail.errors import AuditUnavailable, ConfigError, GuardrailError
from guardrail.ledger import blobs, holds, reader, sealing, subjects, writer
from guardrail.ledger.sealing_key import KeysUnavailable
from guardrail.ledger.wanted import Wanted
from guardrail.store.cache_keys import subject_pattern

_OWN_SECONDS: Final = 5.0  # for what this process has just recorded
_DECISIONS: Final = frozenset({"call", "row"})


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased, or with `dry_run` would be.

    Attributes:
        subject: The keyed digest that stands for the subject in records.
        keys: Keys that were destroyed.
        records: Records about the subject; they stay, what was sealed in them cannot be read any more.
        blobs: Files with the content of long records; as the records.
        tickets: Tickets that were cleared; open ones are cancelled.
        labels: Labels that were cleared.
        spool: Cases in the spool that were cleared.
        cache: Answers in the shared cache that were deleted.
        left: What went to sinks: of each, by name, its place (without secrets), how many records it has taken, and how many are
            still on their way, `waiting`. They are sealed as the ledger's own are; what was not sealed must be deleted there.
        undone: What could not be done now; erase again.
        id: Of the record that says so; None for a dry run.
        dry_run: Whether nothing was changed.
    """

    subject: str
    keys: int
    records: int
    blobs: int
    tickets: int
    labels: int
    spool: int
    cache: int
    left: dict[str, dict[str, Any]]
    undone: tuple[str, ...]
    id: str | None
    dry_run: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as a mapping that can be JSON."""
        return asdict(self)


def erase(subject: str, *, reason: str | None = None, by: str | None = None, dry_run: bool = False) -> Erasure:
    """Erase a data subject for good.

    Args:
        subject: Their own id, as calls give it in what is marked `Subject`.
        reason: Why, in words that stand in the ledger; not the subject's id.
        by: Who does it, where it is not the user of the operating system; recorded as asserted.
        dry_run: Only say what there is.

    Returns:
        What was done. Where `undone` is not empty, do it again.

    Raises:
        ConfigError: There is no subject, or the reason names it.
        KeysUnavailable: The store of keys does not work: nothing was erased.
        Held: A legal hold keeps the person; it is named, and nothing was erased.
        AuditUnavailable: It was done, but the ledger could not record it; do it again once it can.
    """
    from guardrail.review.case import Actor  # noqa: PLC0415 - loaded by who erases

    if not isinstance(subject, str) or not subject:
        raise ConfigError("nobody is named to be erased", hint='write erase("customer-17")')
    if reason is not None and subject in reason:
        raise ConfigError("the reason names the subject, and would stand in the ledger for ever", hint="say it without the id")
    actor = Actor.of(by)
    writer.flush(_OWN_SECONDS)
    keys, now = subjects.keys(), clock.wall()
    digest = subjects.digest(subject) if dry_run else keys.digest(subject)
    found = _Traces(digest)
    if dry_run:
        with holds.none_over(digest):
            return found.told(keys=len(keys.kids(digest)) if digest else 0, dry_run=True)
    with holds.none_over(digest):
        grave = keys.destroy(digest, now)
    sealing.poll()
    found.clear(actor, now)
    done = found.told(keys=grave.keys)
    counts = {name: getattr(done, name) for name in ("keys", "records", "blobs", "tickets", "labels", "spool", "cache")}
    fields: dict[str, Any] = {"subject": digest, "actor": {"id": actor.id, "known_by": actor.known_by}, "erased": counts}
    fields |= {"left": done.left, "undone": list(done.undone) or None, "reason": reason}
    try:
        identity = writer.event("erase", fields=fields, sync=True)
    except AuditUnavailable as problem:
        raise AuditUnavailable(
            "the subject is erased, but the ledger could not record it",
            policy="audit", hint="free or repair the disk under GUARDRAIL_HOME, and erase the subject again",
        ) from problem  # fmt: skip
    if not done.undone:
        keys.told(digest)
    return replace(done, id=identity)


class _Traces:
    """What there is of a subject besides its keys."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.decisions: set[str] = set()
        self.business: set[tuple[str, str]] = set()
        self.processes: set[tuple[Any, Any]] = set()
        self.records = self.blobs = self.cached = 0
        self.taken: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()
        self.undone: list[str] = []
        self.cleared: Any = None
        self.spool = 0
        self.sinks = settings.current().sinks
        self.routes = settings.current().routes
        self.needed = _needed() if self.sinks else {}
        if digest:
            for found in reader.stored(Wanted(subject=frozenset({digest}))):
                self._note(found)

    def _note(self, found: reader.Stored) -> None:
        record = found.record
        if record.get("event") not in _DECISIONS:
            return  # the record of an earlier erasure
        self.records += 1
        self.blobs += blobs.named(record) is not None
        self.decisions.add(record["id"])
        self.processes.add((record.get("host"), record.get("pid")))
        if isinstance(record.get("business_id"), str):
            self.business.add((str(record.get("guard")), record["business_id"]))
        for name in self.sinks:
            route = self.routes.get(name)
            if route is None or route.takes(record):
                first = self.needed[name](found.lane) if name in self.needed else None
                (self.taken if first is None or found.seq < first else self.waiting)[name] += 1

    def clear(self, actor: Any, now: float) -> None:
        """Clear tickets, drafts, spool and labels, and the shared cache; note what could not be done."""
        from guardrail.review import erasing  # noqa: PLC0415 - loads the store

        try:
            self.cleared = erasing.clear_store(self._about(), actor, now)
            if self.cleared.in_log:
                self.undone.append(
                    "the log of the store: somebody goes on reading it, and so what was cleared still stands in it"
                )
        except (GuardrailError, OSError) as problem:
            self.undone.append(f"tickets and labels: {_why(problem)}")
        try:
            self.spool = erasing.clear_spool(self._about())
        except OSError as problem:
            self.undone.append(f"spool: {_why(problem)}")
        try:
            self.cached = self._shared(delete=True)
        except GuardrailError as problem:
            self.undone.append(f"shared cache: {_why(problem)}")

    def told(self, *, keys: int, dry_run: bool = False) -> Erasure:
        """Return what was done; of a dry run, what there is."""
        from guardrail.review import erasing  # noqa: PLC0415 - as above

        if dry_run and self.digest:
            self.cleared = erasing.count(self._about())
            self.spool = self.cleared.spool
            self.cached = self._shared(delete=False)
        cleared = self.cleared or erasing.Cleared()
        return Erasure(
            subject=self.digest,
            keys=keys,
            records=self.records,
            blobs=self.blobs,
            tickets=cleared.tickets,
            labels=cleared.labels,
            spool=self.spool,
            cache=self.cached,
            left=self._left(),
            undone=tuple(self.undone),
            id=None,
            dry_run=dry_run,
        )

    def _about(self) -> Any:
        from guardrail.review import erasing  # noqa: PLC0415 - as above

        return erasing.About(self.digest, self.decisions, self.business)

    def _shared(self, *, delete: bool) -> int:
        now = settings.current()
        if now.cache_url is None or now.service is None:
            return 0
        from guardrail.store import redis_rows  # noqa: PLC0415 - an extra

        server, pattern = redis_rows.at(now.cache_url), subject_pattern(now.service, self.digest)
        return server.forget(pattern) if delete else server.count(pattern)

    def _left(self) -> dict[str, dict[str, Any]]:
        """Return the sinks that are configured now, and those of the processes that made the records."""
        if not self.records:
            return {}
        found: dict[str, dict[str, Any]] = {}
        for record in (each.record for each in reader.stored(Wanted(event=frozenset({"config"})), indexed=True)):
            started = record.get("started")
            sinks = started.get("sinks") if isinstance(started, dict) else None
            if isinstance(sinks, dict) and (record.get("host"), record.get("pid")) in self.processes:
                found |= {str(name): {"to": str(where)} for name, where in sinks.items()}
        for name, sink in self.sinks.items():
            found[name] = {"to": sink.address.shown(), "records": self.taken[name], "waiting": self.waiting[name]}
        return found


def _needed() -> dict[str, Callable[[str], int | None]]:
    """Return what says of each lane from which record on a sink has not had it."""
    from guardrail.delivery import status  # noqa: PLC0415 - for those who have sinks

    home = settings.home(create=False)
    return {name: functools.partial(needed, home) for name, needed in status.needed(home).items()}


def _why(problem: Exception) -> str:
    return str(problem) if isinstance(problem, GuardrailError) else getattr(problem, "strerror", None) or type(problem).__name__


__all__ = ["Erasure", "KeysUnavailable", "erase"]
