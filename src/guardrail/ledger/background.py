"""Work for a home in the background: one thread of a kind in a process, gone in a forked child, ended within a bound at exit."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from guardrail import lifecycle


class Worker:
    """A thread that works for one home until it is told to end. Subclasses say what it does, in `work`.

    Args:
        home: The folder of the embedded store.
        name: Of the thread.
    """

    def __init__(self, home: Path, name: str) -> None:
        self.home = home
        self._end = threading.Event()
        self._thread = threading.Thread(target=self.work, name=name, daemon=True)

    def work(self) -> None:
        """Work, and return soon after `_end` was set."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin.

        Raises:
            RuntimeError: No thread can be started any more.
        """
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End, soon; return whether it has."""
        self._end.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()


class Post:
    """The place of the one worker of a kind in this process.

    Args:
        exit_order: When it is ended at exit, as `lifecycle.at_exit` counts.

    Attributes:
        worker: Who works now, if anybody does.
    """

    def __init__(self, exit_order: int) -> None:
        self.worker: Worker | None = None
        self._lock = threading.Lock()
        lifecycle.after_fork(self._in_child)
        lifecycle.at_exit(exit_order, self.finish)

    def begin(self, fresh: Worker) -> None:
        """Have a worker begin, in the place of one for another home; one for the same home goes on instead."""
        with self._lock:
            if self.worker is not None and self.worker.home == fresh.home:
                return
            if self.worker is not None:
                self.worker.stop(0.0)
                self.worker = None
            with contextlib.suppress(RuntimeError):  # no thread can be started any more
                fresh.start()
                self.worker = fresh

    def finish(self, seconds: float) -> bool:
        """End it; a later record begins one anew."""
        with self._lock:
            worker, self.worker = self.worker, None
        return worker is None or worker.stop(seconds)

    def _in_child(self) -> None:
        self.worker, self._lock = None, threading.Lock()
