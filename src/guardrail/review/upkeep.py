"""What time or a failure has left to do: move the spool into the store, close what is overdue, tell the ledger."""

from __future__ import annotations

from typing import Final

from guardrail import clock, notices
from guardrail.review import rows, spool, tell
from guardrail.store import engine
from guardrail.store.engine import StoreError

_PATIENCE: Final = 2.0  # seconds that something else waits for this to be done


def expire_due(within: float = engine.PATIENCE) -> list[str]:
    """Close every open ticket whose time is up, unless it is held, and return their ids; every reading does it."""
    if not engine.exists():
        return []
    now = clock.wall()
    if not engine.read(lambda connection: rows.overdue(connection, now), within):
        return []
    ids, events = engine.result(engine.write(lambda connection: rows.expire(connection, now)), within)
    tell.tell(events)
    return ids


def catch_up(within: float = engine.PATIENCE) -> None:
    """Do what time or a failure has left to do: move the spool into the store, close what is overdue, tell the ledger.

    Raises:
        StoreError: The store cannot be read, or cannot take what there is to do.
    """
    if spool.waiting():
        spool.replay(within)
    if not engine.exists():
        return
    now = clock.wall()
    overdue, left = engine.read(lambda connection: (rows.overdue(connection, now), tell.left(connection, now)), within)
    if overdue:
        expire_due(within)
    if forgotten := tell.tell(left):
        engine.result(forgotten, within)


def catch_up_if_possible() -> None:
    """Catch up before reading. What the store cannot take now does not keep anyone from reading it."""
    try:
        catch_up(_PATIENCE)
    except StoreError as problem:
        notices.say("review-store", f"the review queue may be behind: {problem}")
