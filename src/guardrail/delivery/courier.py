"""Gives durable records to the sinks that want them, each on a thread of its own: a sink that hangs delays nobody else.

What a sink does not take, or takes too slowly, is counted and said once; the ledger keeps everything.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import Final, Protocol

import orjson

from guardrail import clock, lifecycle, notices, settings
from guardrail.delivery.sinks.file import FileSink
from guardrail.delivery.sinks.stdout import StdoutSink
from guardrail.errors import ConfigError
from guardrail.settings import Route, Sink

CAPACITY: Final = 100_000  # lines that wait for one sink
EXIT_ORDER: Final = 85  # at exit: after the ledger, which may still hand something over


class Writable(Protocol):
    """What a sink is."""

    def write(self, lines: list[bytes]) -> None:
        """Take whole lines; an error means that they did not all arrive."""

    def close(self) -> None:
        """Let go of what is open."""


class Courier:
    """One sink, its thread, and the lines that wait for it.

    Args:
        sink: Where the lines go.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._to: Writable = StdoutSink() if sink.path is None else FileSink(sink.path)
        self._inbox: deque[list[bytes]] = deque()
        self._waiting = 0  # lines, those in hand included
        self._ending = False
        self._changed = threading.Condition(threading.Lock())
        self._alone = True
        with contextlib.suppress(RuntimeError):  # an interpreter that is shutting down starts no thread
            threading.Thread(target=self._serve, name=f"guardrail-sink-{sink.name}", daemon=True).start()
            self._alone = False

    def put(self, lines: list[bytes]) -> None:
        """Hand lines over without waiting; what finds no room is left out, and counted."""
        if self._alone:
            self._write(lines)
            return
        with self._changed:
            room = max(0, CAPACITY - self._waiting)
            taken = lines[:room]
            if taken:
                self._inbox.append(taken)
                self._waiting += len(taken)
                self._changed.notify_all()
        for _ in range(len(lines) - len(taken)):
            notices.say(
                f"sink-{self.sink.name}-full",
                f"the sink {self.sink.name} is slower than the records come, and was not sent some of them; the ledger has them",
            )

    def end(self) -> None:
        """Let the thread end when everything is written, and close the sink."""
        if self._alone:
            self._to.close()
        with self._changed:
            self._ending = True
            self._changed.notify_all()

    def empty(self, until: float) -> bool:
        """Wait until a moment (monotonic) for everything to be written; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, max(0.0, until - clock.now()))

    def close(self) -> None:
        """Close what is open, in a forked child; the rest is the parent's."""
        self._to.close()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._inbox and not self._ending:
                    self._changed.wait()
                if not self._inbox:
                    break
                lines = self._inbox.popleft()
            self._write(lines)
            with self._changed:
                self._waiting -= len(lines)
                self._changed.notify_all()
        with contextlib.suppress(OSError):
            self._to.close()

    def _write(self, lines: list[bytes]) -> None:
        try:
            self._to.write(lines)
        except Exception as problem:  # noqa: BLE001 - the thread outlives whatever a sink does
            why = str(problem) if isinstance(problem, ConfigError) else getattr(problem, "strerror", None)
            notices.say(
                f"sink-{self.sink.name}",
                f"the sink {self.sink.name} did not take records ({why or type(problem).__name__}); the ledger has them",
            )


_couriers: Final[dict[Sink, Courier]] = {}


def take(lines: list[bytes]) -> None:
    """Give lines to every sink whose route takes them. Called by the ledger's thread only."""
    now = settings.current()
    for sink in [sink for sink in _couriers if now.sinks.get(sink.name) != sink]:
        _couriers.pop(sink).end()
    for name, sink in now.sinks.items():
        route = now.routes.get(name)
        wanted = lines if route is None else _routed(lines, route)
        if wanted:
            found = _couriers.get(sink)
            if found is None:
                found = _couriers[sink] = Courier(sink)
            found.put(wanted)


def flush(timeout: float) -> bool:
    """Wait until every sink has what was handed over; return whether all have it, within seconds."""
    until = clock.now() + timeout
    return all(courier.empty(until) for courier in list(_couriers.values()))


def finish(timeout: float) -> bool:
    """Flush and close every sink; return whether all took everything in time. Later records open them again."""
    done = flush(timeout)
    while _couriers:
        _couriers.popitem()[1].end()
    return done


def _routed(lines: list[bytes], route: Route) -> list[bytes]:
    return [line for line in lines if route.takes(orjson.loads(line))]


def _in_child() -> None:
    for found in _couriers.values():
        found.close()
    _couriers.clear()


lifecycle.after_fork(_in_child)
lifecycle.at_exit(EXIT_ORDER, finish)
