"""Lets time pass in a process that has filed or decided cases, so that deadlines fire without anybody who looks at the queue.

One daemon thread, which ends when nothing is due any more; every process may have one, and each thing is done once.
"""

from __future__ import annotations

import threading
from typing import Final

from guardrail import lifecycle, notices
from guardrail.store import engine

_LONGEST: Final = 30.0  # seconds between two looks: another process may have filed what is due sooner
_AGAIN: Final = 5.0  # while the store cannot be read


class _Sweeper:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wake = threading.Event()
        self.thread: threading.Thread | None = None
        self.stopped = False

    def stop(self, seconds: float) -> bool:
        """End after what is being done; the next case that is filed starts it again."""
        with self.lock:
            thread, self.stopped = self.thread, True
        self.wake.set()
        if thread is not None:
            thread.join(seconds)
        return thread is None or not thread.is_alive()

    def ensure(self) -> None:
        with self.lock:
            self.stopped = False
            if self.thread is None:
                lifecycle.arm()
                self.thread = threading.Thread(target=self.serve, name="guardrail-review-sweeper", daemon=True)
                try:
                    self.thread.start()
                except RuntimeError:  # an interpreter that is shutting down starts no thread: others will do it
                    self.thread = None
        self.wake.set()

    def serve(self) -> None:
        pause = 0.0
        while True:
            self.wake.wait(pause)
            self.wake.clear()
            with self.lock:
                if self.stopped:
                    self.thread = None
                    return
            try:
                soonest = self.sweep()
            except Exception as problem:  # noqa: BLE001 - deadlines need this thread
                if not isinstance(problem, engine.StoreError):
                    notices.say(
                        "review-sweeper", f"what is due in the review queue failed ({type(problem).__name__}); tried again"
                    )
                pause = _AGAIN
                continue
            if soonest is None:
                with self.lock:
                    if not self.wake.is_set():
                        self.thread = None
                        return
                soonest = 0.0
            pause = min(_LONGEST, max(0.05, soonest - engine.now()))

    @staticmethod
    def sweep() -> float | None:
        from guardrail.review import callbacks, time_passes, upkeep  # noqa: PLC0415 - on this thread, with SQLAlchemy

        upkeep.tick()
        *coming, wanted = engine.read(
            lambda connection: (time_passes.soonest(connection), callbacks.soonest(connection), callbacks.wanted(connection))
        )
        return min((each for each in coming if each is not None), default=engine.now() + _LONGEST if wanted else None)


_sweeper = _Sweeper()


def ensure() -> None:
    """See that this process does what becomes due."""
    _sweeper.ensure()


def _afresh() -> None:
    global _sweeper  # noqa: PLW0603 - the parent's thread is not in the child
    _sweeper = _Sweeper()


def _finish(seconds: float) -> bool:
    return _sweeper.stop(seconds)


lifecycle.after_fork(_afresh)
lifecycle.at_exit(5, _finish)
