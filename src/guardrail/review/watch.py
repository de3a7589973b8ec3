"""Wakes those who wait for a ticket, whichever process decides it: one thread, which looks only while someone waits."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

from guardrail import lifecycle, notices
from guardrail.review.case import Answer
from guardrail.store import engine
from guardrail.store.changes import Changes

_LOOK_SECONDS: Final = 0.01  # one look costs 8 µs where it is a file
_AGAIN_SECONDS: Final = 0.5  # between tries while the store cannot be read
_LOOK_PATIENCE: Final = 2.0  # seconds for a store that is locked
_SWEEP: Final = 100  # looks between two sweeps; the thread ends when a sweep finds that nobody waits


class _Watch:
    """Who waits for what in this process. Futures are held weakly: one that nobody awaits any more is dropped."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wake = threading.Event()
        self.waiting: dict[str, weakref.WeakSet[Future[Answer]]] = {}
        self.new = False
        self.thread: threading.Thread | None = None

    def add(self, ticket_id: str, future: Future[Answer]) -> None:
        with self.lock:
            self.waiting.setdefault(ticket_id, weakref.WeakSet()).add(future)
            self.new = True
            if self.thread is None:
                lifecycle.arm()
                thread = threading.Thread(target=self.serve, name="guardrail-review-watch", daemon=True)
                thread.start()
                self.thread = thread
        self.wake.set()

    def drop_unawaited(self) -> bool:
        """Forget the futures that nobody holds any more; return whether the thread has nothing left to do, and ends."""
        with self.lock:
            self.waiting = {ticket_id: futures for ticket_id, futures in self.waiting.items() if futures}
            if self.waiting:
                return False
            self.thread = None
            return True

    def awaited(self) -> list[str]:
        """Return the ids that someone waits for, new ones among them."""
        with self.lock:
            self.new = False
            return list(self.waiting)

    def serve(self) -> None:
        changes, soonest, pause = Changes(), None, _LOOK_SECONDS
        try:
            for turn in itertools.count(1):
                if pause > _LOOK_SECONDS:
                    self.wake.wait(pause)
                    self.wake.clear()
                if turn % _SWEEP == 0 and self.drop_unawaited():
                    return
                pause = _LOOK_SECONDS
                try:
                    if changes.wait(_LOOK_SECONDS) or self.new or (soonest is not None and soonest <= engine.now()):
                        ids = self.awaited()
                        soonest, all_known = self.look(ids) if ids else (None, True)
                        if not all_known:  # some wait in the spool for a store that takes them
                            pause, self.new = _AGAIN_SECONDS, True
                except Exception as problem:  # noqa: BLE001 - those who wait need this thread
                    if not isinstance(problem, engine.StoreError):
                        notices.say("review-watch", f"looking for answers failed ({type(problem).__name__}); tried again")
                    pause, self.new = _AGAIN_SECONDS, True
        finally:
            changes.close()

    def look(self, ids: Sequence[str]) -> tuple[float | None, bool]:
        """Settle who waits for an ended ticket; return when the next one expires, and whether all are in the store."""
        from guardrail.review import rows, spool, time_passes, upkeep  # noqa: PLC0415 - on this thread, with SQLAlchemy

        upkeep.catch_up(within=_LOOK_PATIENCE)
        ended, known, soonest = engine.read(
            lambda connection: (rows.endings(connection, ids), rows.known(connection, ids), time_passes.soonest(connection))
        )
        for ticket_id, answer in ended.items():
            for future in self.leave(ticket_id):
                future.set_result(answer)
        missing = set(ids) - known
        gone = [ticket_id for ticket_id in missing if not spool.holds(ticket_id)]
        if gone:  # another process may have moved them into the store between the two looks
            moved = engine.read(lambda connection: rows.known(connection, gone))
            for ticket_id in set(gone) - moved:
                for future in self.leave(ticket_id):
                    future.set_exception(rows.missing(ticket_id))
        return soonest, not missing

    def leave(self, ticket_id: str) -> list[Future[Answer]]:
        with self.lock:
            return list(self.waiting.pop(ticket_id, ()))


_watch = _Watch()


def signal(ticket_id: str) -> Future[Answer]:
    """Return a future for the end of a ticket: decided, expired or cancelled, in this or any other process.

    Keep the future for as long as you wait: one that nobody holds is dropped. Cancelling it does nothing to the ticket.

    Args:
        ticket_id: The ticket's id.

    Returns:
        A future with the `Answer`; it raises `TicketNotFound` where there is no such ticket.
    """
    future: Future[Answer] = Future()
    future.set_running_or_notify_cancel()  # from here on nobody's cancellation can get between us and its result
    _watch.add(ticket_id, future)
    return future


async def signal_later(ticket_id: str) -> Answer:
    """Wait for the end of a ticket without holding a thread."""
    loop, came, future = asyncio.get_running_loop(), asyncio.Event(), signal(ticket_id)

    def tell(_: Future[Answer]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(came.set)

    future.add_done_callback(tell)
    await came.wait()
    return future.result()


def _afresh() -> None:
    global _watch  # noqa: PLW0603 - the parent's waiters are not in the child
    _inherited.append(_watch)
    _watch = _Watch()


_inherited: list[_Watch] = []  # its thread's connection must not be closed in the child
lifecycle.after_fork(_afresh)
