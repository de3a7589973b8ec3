"""What becomes of tickets and labels reaches the ledger even when the process dies in between.

An event is noted in the transaction that changes the store, and removed once the ledger has it: never lost, at worst
told twice.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select

from guardrail import lifecycle, notices
from guardrail.review.case import from_text, new_id, to_text
from guardrail.store import engine
from guardrail.store.prepared import Asked, Prepared, together
from guardrail.store.promise import Promise
from guardrail.store.tables import untold

_MOMENT: Final = 0.25  # seconds for which what was told is collected
_AT_ONCE: Final = 256
_LEFT_SECONDS: Final = 60.0  # older than this, whoever noted an event is not going to tell it any more
_note = Prepared(insert(untold))
_forgotten = Prepared(delete(untold).where(untold.c.id == bindparam("of")))
_left = select(untold).where(untold.c.at <= bindparam("before")).order_by(untold.c.id)


class Event(NamedTuple):
    """One event for the ledger: ids, states and who, never a value of the user's."""

    id: str
    kind: str
    guard: str | None
    fields: Mapping[str, Any]


def note(connection: Connection, kind: str, guard: str | None, fields: Mapping[str, Any], now: float) -> Event:
    """Note an event in the transaction that makes it true; `tell` it after the commit."""
    made = event(kind, guard, fields)
    together(connection, noting(made, now))
    return made


def event(kind: str, guard: str | None, fields: Mapping[str, Any]) -> Event:
    """Return a new event."""
    return Event(new_id(), kind, guard, fields)


def noting(what: Event, now: float) -> Asked:
    """Return the statement that notes an event."""
    return _note, {"id": what.id, "at": now, "kind": what.kind, "guard": what.guard, "fields": to_text(what.fields)}


def tell(events: Iterable[Event], *, soon: bool = True) -> Promise[None] | None:
    """Write events to the ledger, synced, and have them forgotten. What the ledger does not take is told later.

    Args:
        events: As noted.
        soon: Whether it is enough to forget them a moment later, with others: then many share one transaction.

    Returns:
        Without `soon` a future for the forgetting; None when there is nothing to forget.
    """
    from guardrail.ledger import writer  # noqa: PLC0415 - the ledger starts when there is something to write

    told = []
    for event in events:
        try:
            writer.event(event.kind, guard=event.guard, fields=event.fields, sync=True)
        except Exception as problem:  # noqa: BLE001 - the change is on disk and stands, and so does its event
            notices.say(
                "review-ledger",
                f"the ledger did not take an event of the review queue ({type(problem).__name__}); told later",
            )
        else:
            told.append(event.id)
    if not told:
        return None
    if soon and _forgetting.put(told):
        return None
    return engine.write(lambda connection: _forget(connection, told))


def left(connection: Connection, now: float) -> list[Event]:
    """Return the events that some process noted and did not live to tell."""
    rows = connection.execute(_left, {"before": now - _LEFT_SECONDS}).mappings()
    return [
        Event(row["id"], row["kind"], row["guard"], from_text(row["fields"])) for row in rows if not _forgetting.knows(row["id"])
    ]


def _forget(connection: Connection, ids: list[str]) -> None:
    for each in ids:
        _forgotten.run(connection, {"of": each})


class _Forgetting:
    """What the ledger has and the store may forget: collected for a moment by a thread that ends when it is done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: list[str] = []
        self._told: set[str] = set()  # what the ledger has and the store still holds
        self._thread: threading.Thread | None = None
        self._end = threading.Event()

    def put(self, ids: list[str]) -> bool:
        """Have some forgotten; return whether that can be done."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name="guardrail-review-told", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # an interpreter that is shutting down starts no thread
                    return False
                self._thread = thread
            self._ids += ids
            self._told.update(ids)
            return True

    def knows(self, event_id: str) -> bool:
        """Return whether an event has been told, and is only not yet forgotten."""
        return event_id in self._told

    def _serve(self) -> None:
        self._end.wait(_MOMENT)
        with self._lock:
            ids, self._ids, self._thread = self._ids, [], None
        for start in range(0, len(ids), _AT_ONCE):
            self._forget(ids[start : start + _AT_ONCE])

    def _forget(self, ids: list[str]) -> None:
        def done(future: Promise[None]) -> None:
            with self._lock:
                if future.exception() is None:
                    self._told.difference_update(ids)
                else:
                    self._ids += ids  # with the next ones

        engine.write(lambda connection: _forget(connection, ids)).add_done_callback(done)  # type: ignore[arg-type]

    def finish(self, seconds: float) -> bool:
        """Forget now; return whether that was asked of the store in time."""
        self._end.set()
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        self._end = threading.Event()
        return thread is None or not thread.is_alive()


_forgetting = _Forgetting()


def _in_child() -> None:
    global _forgetting  # noqa: PLW0603 - the parent forgets what the parent told
    _forgetting = _Forgetting()


def _finish(seconds: float) -> bool:
    return _forgetting.finish(seconds)


lifecycle.after_fork(_in_child)
lifecycle.at_exit(65, _finish)  # before the store
