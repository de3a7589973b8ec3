"""Makes the lines of one lane. What the process is, and each plan, is told once, before the first record that needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from guardrail import call as calls
from guardrail import notices, settings
from guardrail.errors import ConfigError
from guardrail.ledger.entry import Entry
from guardrail.ledger.keys import digest_key
from guardrail.ledger.moulds import Moulds
from guardrail.ledger.queued import Event, Losses
from guardrail.ledger.record import Key, Sameness, call_body, event_body, sameness
from guardrail.ledger.surroundings import surroundings
from guardrail.settings.values import masked

if TYPE_CHECKING:
    from guardrail.plan import Plan

_PLANS: Final = 4_096


class Lines:
    """Makes lines, without number and newline.

    Args:
        keep: Takes the lines that come before the one that was asked for.
    """

    def __init__(self, keep: Callable[[bytes], None]) -> None:
        self._keep = keep
        self._begun = False
        self._around: dict[str, Any] = {}
        self._same: dict[tuple[str, str, str, str], tuple[Sameness, Moulds]] = {}
        self._latest: tuple[Plan, Sameness, Moulds] | None = None  # most batches are one guard's
        self._key: Key | None = None

    def again(self) -> None:
        """Tell all that again: another file was begun, and the one that has it may be pruned long before."""
        self._begun = False
        self._same.clear()
        self._latest = None

    def calls(self, entries: Iterable[Entry], lost: Callable[[Entry, Exception], None], *, awaited: bool = False) -> list[bytes]:
        """Make the lines of calls.

        Args:
            entries: What the calls left, in order.
            lost: Told of each call whose line cannot be made, and why.
            awaited: Whether their records are waited for: then also the calls of a plan without audit have one.
        """
        made: list[bytes] = []
        rest = iter(entries)
        entry = next(rest, None)
        while entry is not None:
            plan, another = entry[3], None
            try:
                if awaited or plan.audit.durability != "off":
                    _, same, moulds = self._of(entry)
                    another = moulds.pour(plan, chain((entry,), rest), made)
                    if another is not None and another[3] is plan:  # not an ordinary one
                        entry, another = another, None
                        made.append(call_body(entry, same, self._around, self._key))
                    elif another is None:
                        return made
            except Exception as problem:  # noqa: BLE001 - one odd call must not stop the ledger
                lost(entry, problem)
            entry = another or next(rest, None)
        return made

    def call(self, entry: Entry) -> bytes:
        """Make the line of one call, ordinary or not."""
        return call_body(entry, self._of(entry)[1], self._around, self._key)

    def _of(self, entry: Entry) -> tuple[Plan, Sameness, Moulds]:
        """Return what the calls of a plan have in common, and spell it out if that is not done yet."""
        plan, latest = entry[3], self._latest
        if latest is None or latest[0] is not plan:
            known = (plan.digest, plan.mode, plan.name, plan.version)
            latest = self._latest = (plan, *(self._same.get(known) or self._spell_out(entry, known)))
        return latest

    def event(self, item: Event) -> bytes:
        """Make the line of an event."""
        self.begin(item.at)
        return event_body(item.id, item.at, item.kind, guard=item.guard, fields=item.fields, around=self._around)

    def gaps(self, lost: Losses) -> list[bytes]:
        """Make the lines that tell of lost records."""
        return [self._own("gap", at, fields) for at, fields in lost.records()]

    def begin(self, at: float) -> None:
        """Begin the lane with a record of the process, at the moment (seconds since the epoch) of the first other record."""
        if self._begun:
            return
        self._begun = True
        try:
            service = settings.current().service
        except ConfigError:  # it is told where the settings are used; records go on without
            service = None
        self._around = surroundings(service)
        started = {"python": sys.version.split()[0], "implementation": sys.implementation.name, "platform": sys.platform}
        self._keep(self._own("config", at, {"started": started | self._sinks()}))
        try:
            self._key = Key(digest_key())
        except (OSError, RuntimeError) as problem:  # RuntimeError: the user has no home folder
            notices.say(
                "digest-key",
                "inputs are recorded without digests, for their key is not usable"
                f" ({getattr(problem, 'strerror', None) or problem}); make ~/.config/guardrail, or XDG_CONFIG_HOME, writable",
            )

    @staticmethod
    def _sinks() -> dict[str, Any]:
        """Return where records of this process go besides the ledger: whoever erases must know what has left."""
        try:
            sinks = settings.current().sinks
        except ConfigError:
            return {}
        return {"sinks": {name: masked(sink.url) for name, sink in sinks.items()}} if sinks else {}

    def _spell_out(self, entry: Entry, known: tuple[str, str, str, str]) -> tuple[Sameness, Moulds]:
        """Tell what a plan says of itself; its calls name it by digest."""
        at, plan = entry[1], entry[3]
        self.begin(at)
        if len(self._same) >= _PLANS:
            self._same.clear()
        same = sameness(plan)
        self._same[known] = same, Moulds(same, self._around, self._key)
        fields = {"version": same.version, "plan": same.plan, "mode": same.mode, "spelled": plan.describe()}
        self._keep(self._own("config", at, fields, guard=plan.name))
        return self._same[known]

    def _own(self, kind: str, at: float, fields: dict[str, Any], guard: str | None = None) -> bytes:
        identity = calls.decision_id(at, calls.next_seq())
        return event_body(identity, at, kind, guard=guard, fields=fields, around=self._around)
