"""How delivery goes, for whoever asks: people, `doctor`, metrics, and retention, which keeps what a sink has not had."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import orjson

from guardrail import clock, settings
from guardrail.delivery.couriers import keeping_of, outbox_of
from guardrail.delivery.keeping import Keeping, State
from guardrail.delivery.outbox import Outbox


class Lag(NamedTuple):
    """How far a sink is behind the ledger.

    Attributes:
        behind: Records that it has not been asked to take, those that its route leaves out included.
        oldest: Seconds since the oldest of them was made; 0 if there is none.
        dead: Dead letters.
        state: How its courier does.
    """

    behind: int
    oldest: float
    dead: int
    state: State


def lags(home: Path) -> dict[str, Lag]:
    """Return the lag of every configured sink that one process serves for all.

    Raises:
        OSError: The ledger, or the database, cannot be read.
    """
    found: dict[str, Lag] = {}
    with contextlib.closing(outbox_of(home)) as outbox:
        for name, sink in settings.current().sinks.items():
            if getattr(getattr(sink.kind, "caps", None), "per_process", False):
                continue
            keeping = keeping_of(home, name)
            try:
                behind, oldest = _behind(outbox, keeping.positions(), keeping.done(), name)
                found[name] = Lag(behind, oldest, len(keeping.dead()), keeping.state())
            finally:
                keeping.release()
    return found


def _behind(outbox: Outbox, positions: Mapping[str, int] | None, done: set[str], sink: str) -> tuple[int, float]:
    behind, since = 0, ""
    for lane in outbox.lanes():
        if lane in done or (positions is None and not outbox.owes(lane, sink)):
            continue
        at = (positions or {}).get(lane, 0)
        missing = outbox.last(lane) - at
        if missing > 0:
            behind += missing
            items, _ = outbox.read(lane, at, 1)
            with contextlib.suppress(orjson.JSONDecodeError, KeyError, IndexError):
                ts = str(items[0].record["ts"])
                since = min(since or ts, ts)
    with contextlib.suppress(ValueError):
        return behind, max(0.0, clock.wall() - datetime.fromisoformat(since).timestamp())
    return behind, 0.0


def needed(home: Path) -> dict[str, Callable[[Path, str], int | None]]:
    """Return, for every configured sink, what says from which record on it still needs a lane; None for none."""
    return {
        name: _Needed(keeping_of(home, name))
        for name, sink in settings.current().sinks.items()
        if not getattr(getattr(sink.kind, "caps", None), "per_process", False)
    }


class _Needed:
    """Which records of a lane one sink still needs. Read once: what arrives meanwhile is kept until the next look."""

    def __init__(self, keeping: Keeping) -> None:
        try:
            self._positions = keeping.positions()
            self._done = keeping.done()
        finally:
            keeping.release()

    def __call__(self, _: Path, lane: str) -> int | None:
        if self._positions is None or lane in self._done:  # a sink that was never served begins with what comes
            return None
        return self._positions.get(lane, 0) + 1
