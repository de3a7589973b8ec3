"""The couriers of this process: one thread for each sink, started by the first durable record, ended with the settings.

What other processes of the same home or database have written is delivered as well, by whichever process serves the sink.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Final

from guardrail import clock, lifecycle, notices, settings
from guardrail.delivery.courier import POLL, Courier
from guardrail.delivery.keeping import FileKeeping, Keeping
from guardrail.delivery.outbox import FileOutbox, Outbox
from guardrail.errors import ConfigError
from guardrail.ledger import postgres
from guardrail.settings import Route, Sink

EXIT_ORDER: Final = 85  # at exit: after the ledger, which may still hand something over
HANGS: Final = 60.0  # seconds after which a sink that is still being sent to is said to hang
_FIRST_PAUSE: Final = 1.0  # seconds until something unexpected is tried again


def outbox_of(home: Path) -> Outbox:
    """Return where the records of a home are read, which may be the database."""
    url = postgres.url(home)
    if url is None:
        return FileOutbox(home)
    from guardrail.delivery.shared import SharedOutbox  # noqa: PLC0415 - brings psycopg

    return SharedOutbox(url, settings.current().service)


def keeping_of(home: Path, name: str) -> Keeping:
    """Return where cursor and dead letters of a sink are kept."""
    url = postgres.url(home)
    if url is None:
        return FileKeeping(home, name)
    from guardrail.delivery.shared import SharedKeeping  # noqa: PLC0415 - as above

    return SharedKeeping(url, settings.current().service, name)


class _Round:
    """A courier and the thread that it runs on."""

    def __init__(self, home: Path, sink: Sink, route: Route | None) -> None:
        self.of = home, sink, route
        self.courier = Courier(sink, route, outbox_of(home), keeping_of(home, sink.name), _own_lane)
        self._changed = threading.Condition(threading.Lock())
        self._rung = True
        self._ending = False
        self._asked = self._answered = 0  # flushes
        self._thread: threading.Thread | None = threading.Thread(
            target=self._run, name=f"guardrail-sink-{sink.name}", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:  # an interpreter that is shutting down starts no thread: `finish` delivers in its place
            self._thread = None

    def ring(self) -> None:
        """Something new is durable."""
        if not self._rung:
            with self._changed:
                self._rung = True
                self._changed.notify_all()
        since = self.courier.sending_since
        if since and clock.now() - since > HANGS:
            notices.say(
                f"sink-{self.of[1].name}-hangs",
                f"the sink {self.of[1].name} has not answered for a minute; the ledger has everything",
            )

    @property
    def worth_waiting(self) -> bool:
        """Whether the end of this process should wait for its delivery. Before the first round nobody knows who serves it."""
        return not self.courier.failing and (self.courier.serving or not self.courier.looked)

    def ask(self) -> int:
        """Have everything that is durable now delivered without delay; return a number to wait for."""
        with self._changed:
            self._asked += 1
            self._rung = True
            self._changed.notify_all()
            return self._asked

    def wait(self, asked: int, until: float) -> bool:
        """Wait until a moment for what was asked for; return whether it has arrived."""
        if self._thread is None:
            return self._inline(until)
        with self._changed:
            return self._changed.wait_for(lambda: self._answered >= asked or self._ending, max(0.0, until - clock.now()))

    def end(self, until: float) -> None:
        """End the thread, and let another process serve the sink."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread is None:
            self.courier.close()
        else:
            self._thread.join(max(0.0, until - clock.now()))

    def _inline(self, until: float) -> bool:
        while clock.now() < until:
            due = self.courier.step(hurry=True)
            if due is None:
                return True
            if due and self.courier.failing:
                return False
        return False

    def _run(self) -> None:
        while True:
            with self._changed:
                asked = self._asked
                self._rung = False
                if self._ending:
                    break
            try:
                due = self.courier.step(hurry=asked > self._answered)
            except (OSError, ConfigError) as problem:
                self._say(getattr(problem, "strerror", None) or str(problem))
                due = _FIRST_PAUSE
            except Exception as problem:  # noqa: BLE001 - the thread outlives whatever is wrong with one round
                self._say(f"an unexpected {type(problem).__name__}")
                due = _FIRST_PAUSE
            with self._changed:
                if due is None:
                    self._answered = max(self._answered, asked)
                    self._changed.notify_all()
                if due != 0.0 and not self._ending:
                    if due is None:
                        self._changed.wait_for(lambda: self._rung or self._ending, POLL)
                    else:  # what is new wakes nobody who waits for the sink itself
                        self._patience(asked, due)
        self.courier.close()

    def _patience(self, asked: int, seconds: float) -> None:
        self._changed.wait_for(lambda: self._ending or self._asked > asked, seconds)

    def _say(self, why: str) -> None:
        name = self.of[1].name
        notices.say(f"sink-{name}-courier", f"the sink {name} cannot be served just now ({why}); the ledger has everything")


_rounds: Final[dict[str, _Round]] = {}
_lock = threading.Lock()


def ring() -> None:
    """Something new is durable. Called by the ledger's thread; it starts and ends threads as the settings say."""
    now = settings.current()
    if not now.sinks and not _rounds:
        return
    home = settings.home(create=False)
    with _lock:
        for name in [name for name, each in _rounds.items() if each.of != _wanted(home, now, name)]:
            _rounds.pop(name).end(0.0)
        for name in now.sinks.keys() - _rounds.keys():
            _rounds[name] = _Round(home, now.sinks[name], now.routes.get(name))
        for each in _rounds.values():
            each.ring()


def flush(timeout: float) -> bool:
    """Wait until every sink has what is durable now; return whether all have it, within seconds."""
    return _delivered(list(_rounds.values()), clock.now() + timeout)


def finish(timeout: float) -> bool:
    """Deliver what can be delivered and end every thread, within seconds. What is left, the next process delivers."""
    until = clock.now() + timeout
    with _lock:
        ending = list(_rounds.values())
        _rounds.clear()
    # Nobody waits for a sink that fails, nor for one that another process serves: that one goes on.
    ours = [each for each in ending if each.worth_waiting]
    done = _delivered(ours, until)
    for each in ending:
        each.end(until)
    return done and not any(each.courier.failing for each in ending)


def _delivered(rounds: list[_Round], until: float) -> bool:
    """Ask all, then wait for each: a slow one takes nothing of the time of the others."""
    asked = [each.ask() for each in rounds]
    return all([each.wait(number, until) for each, number in zip(rounds, asked, strict=True)])  # noqa: C419 - each is waited for


def _wanted(home: Path, now: settings.Settings, name: str) -> tuple[Path, Sink | None, Route | None]:
    return home, now.sinks.get(name), now.routes.get(name)


def _own_lane() -> str | None:
    from guardrail.ledger import writer  # noqa: PLC0415 - it is loaded by then

    return writer.lane()


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - the inherited one may be held
    _lock = threading.Lock()
    for each in _rounds.values():
        with contextlib.suppress(Exception):
            each.courier.abandon()
    _rounds.clear()


lifecycle.after_fork(_in_child)
lifecycle.at_exit(EXIT_ORDER, finish)
