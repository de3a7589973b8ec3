"""What may stand in the ledger's queue besides plain entries, and the count of what found no room in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from guardrail.ledger.entry import Entry
from guardrail.telemetry import sums


class _Awaited:
    """Something that somebody may wait for."""

    __slots__ = ("future",)

    future: Future[None] | None

    def settle(self, problem: Exception | None) -> None:
        """Tell who waits, if anybody still does."""
        future = self.future
        if future is None or future.done() or not future.set_running_or_notify_cancel():
            return
        if problem is None:
            future.set_result(None)
        else:
            future.set_exception(problem)


class Pledge(_Awaited):
    """A call whose answer waits for its record."""

    __slots__ = ("entry",)

    def __init__(self, entry: Entry, future: Future[None]) -> None:
        self.entry = entry
        self.future = future


class Event(_Awaited):
    """A record that is no call."""

    __slots__ = ("at", "fields", "guard", "id", "kind")

    def __init__(
        self, identity: str, at: float, kind: str, *, guard: str | None, fields: Mapping[str, Any], future: Future[None] | None
    ) -> None:
        self.id = identity
        self.at = at
        self.kind = kind
        self.guard = guard
        self.fields = fields
        self.future = future


class Mark(_Awaited):
    """A place in the queue: everything before it has been tapped, and with `durable` written as well."""

    __slots__ = ("durable",)

    def __init__(self, future: Future[None], *, durable: bool) -> None:
        self.future = future
        self.durable = durable


class Losses:
    """How many records were lost, since when, until when, and why; safe to count from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, tuple[int, float, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def count(self, reason: str, at: float, many: int = 1, until: float | None = None) -> None:
        """Count records as lost."""
        sums.lose(reason, many)
        self._add(reason, many, at, at if until is None else until)

    def _add(self, reason: str, many: int, at: float, until: float) -> None:
        with self._lock:
            before = self._found.get(reason, (0, at, until))
            self._found[reason] = (before[0] + many, min(before[1], at), max(before[2], until))

    def take(self) -> Losses:
        """Return all that was counted, and begin anew."""
        taken = Losses()
        with self._lock:
            taken._found, self._found = self._found, {}
        return taken

    def give_back(self, taken: Losses) -> None:
        """Add what was taken and could not be recorded."""
        for reason, (many, since, until) in taken._found.items():
            self._add(reason, many, since, until)

    def records(self) -> Iterator[tuple[float, dict[str, Any]]]:
        """Yield moment and fields of one gap record for each reason."""
        from guardrail.ledger.record import iso  # noqa: PLC0415 - brings the encoder, which only the thread needs

        for reason, (many, since, until) in self._found.items():
            yield until, {"count": many, "from": iso(since), "to": iso(until), "reason": reason}
