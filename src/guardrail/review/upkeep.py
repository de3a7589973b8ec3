"""What time or a failure has left to do: move the spool into the store, act on what is due, tell the ledger, call back.

Whoever reads the queue does it first, and so does every process that has filed a case (`sweeper`), and `guardrail review tick`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from guardrail import notices, settings
from guardrail.review import callbacks, spool, sweeper, tell, time_passes
from guardrail.store import engine
from guardrail.store.engine import StoreError

_PATIENCE: Final = 2.0  # seconds that something else waits for this to be done
_AGAIN: Final = 1.0  # seconds in which nothing else becomes due that anybody would miss
_caught_up: tuple[object, float] = (None, 0.0)
_ROUNDS: Final = 50  # of `time_passes.AT_ONCE` tickets each, then somebody else goes on


class Ticked(NamedTuple):
    """What a tick did.

    Attributes:
        expired: How many tickets ended because nobody answered in time.
        escalated: How many went to another level.
        reminded: For how many people were reminded.
        unopened: How many queues were found that nobody opens.
        delivered: How many answers were sent to where they were wanted.
    """

    expired: int
    escalated: int
    reminded: int
    unopened: int
    delivered: int


def act(within: float = engine.PATIENCE) -> tuple[list[str], int, int]:
    """Do what time has to do; return the ids of expired tickets, and how many were escalated and reminded of.

    Raises:
        StoreError: The store cannot be read, or cannot take it.
    """
    expired: list[str] = []
    escalated = reminded = 0
    if not engine.exists():
        return expired, 0, 0
    for _ in range(_ROUNDS):
        now, words = engine.now(), settings.current().working_hours
        if not engine.read(lambda connection, now=now: time_passes.anything(connection, now), within):  # type: ignore[misc]
            break
        done = engine.result(
            engine.write(lambda connection, now=now, words=words: time_passes.act(connection, now, words)),  # type: ignore[misc]
            within,
        )
        tell.tell(done.events)
        expired += done.expired
        escalated += len(done.escalated)
        reminded += len(done.reminded)
        if not done.events:
            break  # another process is at it
    return expired, escalated, reminded


def expire_due(within: float = engine.PATIENCE) -> list[str]:
    """Close every open ticket whose time is up, unless it is held, and return their ids; every reading does it."""
    return act(within)[0]


def catch_up(within: float = engine.PATIENCE) -> None:
    """Do what time or a failure has left to do, but for what needs the network.

    Raises:
        StoreError: The store cannot be read, or cannot take what there is to do.
    """
    if spool.waiting():
        spool.replay(within)
    if not engine.exists():
        return
    now = engine.now()
    due, left, unsent = engine.read(
        lambda connection: (time_passes.anything(connection, now), tell.left(connection, now), callbacks.soonest(connection)),
        within,
    )
    if due:
        act(within)
    if unsent is not None:
        sweeper.ensure()
    if forgotten := tell.tell(left, soon=False):
        engine.result(forgotten, within)


def catch_up_if_possible() -> None:
    """Catch up before reading, once a second. What the store cannot take now does not keep anyone from reading it."""
    global _caught_up  # noqa: PLW0603 - when this process last did it
    now, place = engine.now(), engine.where()
    if _caught_up[0] == place and abs(now - _caught_up[1]) < _AGAIN and not spool.waiting():
        return
    _caught_up = place, now
    try:
        catch_up(_PATIENCE)
    except StoreError as problem:
        notices.say("review-store", f"the review queue may be behind: {problem}")


def tick(within: float = engine.PATIENCE) -> Ticked:
    """Do all that is due, as cron may ask for by `guardrail review tick`: a process that files cases does it by itself.

    Raises:
        StoreError: The store cannot be read, or cannot take what there is to do.
    """
    if spool.waiting():
        spool.replay(within)
    if not engine.exists():
        return Ticked(0, 0, 0, 0, 0)
    expired, escalated, reminded = act(within)
    events = engine.result(engine.write(lambda connection: time_passes.unopened(connection, engine.now())), within)
    tell.tell(events)
    catch_up(within)
    return Ticked(len(expired), escalated, reminded, len(events), callbacks.deliver_due(within))
