"""A thread that does one thing after another, for an event loop that must not wait itself."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from guardrail.store.promise import Promise

T = TypeVar("T")


class Lane:
    """A daemon thread with an inbox; `stop` ends it after all that was put in before."""

    def __init__(self, name: str) -> None:
        self._inbox: queue.SimpleQueue[tuple[Callable[[], Any], Promise[Any]] | None] = queue.SimpleQueue()
        self._done = 0
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def put(self, do: Callable[[], T]) -> Promise[T]:
        """Have something done; return a future with what it returns or raises."""
        future: Promise[T] = Promise(lambda: self._done)
        self._inbox.put((do, future))
        return future

    def stop(self) -> None:
        """Let the thread end. Nothing may be put in afterwards."""
        self._inbox.put(None)

    def _serve(self) -> None:
        while True:
            asked = self._inbox.get()
            if asked is None:
                return
            do, future = asked
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(do())
                except BaseException as problem:  # noqa: BLE001 - it belongs to whoever waits
                    future.set_exception(problem)
            self._done += 1
            del asked, do, future  # an idle thread keeps nothing of the user's alive
