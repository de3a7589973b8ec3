"""Makes the lines of one lane. What the process is, and each plan, is told once, before the first record that needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

from guardrail import call as calls
from guardrail import notices, settings
from guardrail.errors import ConfigError
from guardrail.ledger.entry import Entry
from guardrail.ledger.keys import digest_key
from guardrail.ledger.moulds import Moulds, pour
from guardrail.ledger.queued import Event, Losses
from guardrail.ledger.record import Key, call_body, event_body, sameness
from guardrail.ledger.surroundings import surroundings

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
        self._plans: dict[tuple[str, str, str, str], Moulds] = {}
        self._key: Key | None = None

    def again(self) -> None:
        """Tell all that again: another file was begun, and the one that has it may be pruned long before."""
        self._begun = False
        self._plans.clear()

    def calls(self, entries: Iterable[Entry], lost: Callable[[Entry, Exception], None], *, awaited: bool = False) -> list[bytes]:
        """Make the lines of calls.

        Args:
            entries: What the calls left, in order.
            lost: Told of each call whose line cannot be made, and why.
            awaited: Whether their records are waited for: then also the calls of a plan without audit have one.
        """

        def of(entry: Entry) -> Moulds | None:
            try:
                return self._of(entry) if awaited or entry[3].audit.durability != "off" else None
            except Exception as problem:  # noqa: BLE001 - one odd call must not stop the ledger
                lost(entry, problem)
                return None

        def whole(entry: Entry, moulds: Moulds) -> bytes | None:
            try:
                return call_body(entry, moulds.same, self._around, self._key)
            except Exception as problem:  # noqa: BLE001 - as above
                lost(entry, problem)
                return None

        return pour(entries, of, whole)

    def call(self, entry: Entry) -> bytes:
        """Make the line of one call, ordinary or not."""
        return call_body(entry, self._of(entry).same, self._around, self._key)

    def _of(self, entry: Entry) -> Moulds:
        """Return the moulds of a call's plan, which is spelled out if that is not done yet."""
        plan = entry[3]
        known = (plan.digest, plan.mode, plan.name, plan.version)
        return self._plans.get(known) or self._spell_out(entry, known)

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
        return {"sinks": {name: sink.address.shown() for name, sink in sinks.items()}} if sinks else {}

    def _spell_out(self, entry: Entry, known: tuple[str, str, str, str]) -> Moulds:
        """Tell what a plan says of itself; its calls name it by digest."""
        at, plan = entry[1], entry[3]
        self.begin(at)
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        same = sameness(plan)
        moulds = self._plans[known] = Moulds(same, self._around, self._key)
        fields = {"version": same.version, "plan": same.plan, "mode": same.mode, "spelled": plan.describe()}
        self._keep(self._own("config", at, fields, guard=plan.name))
        return moulds

    def _own(self, kind: str, at: float, fields: dict[str, Any], guard: str | None = None) -> bytes:
        identity = calls.decision_id(at, calls.next_seq())
        return event_body(identity, at, kind, guard=guard, fields=fields, around=self._around)
