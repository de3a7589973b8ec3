"""What all upkeep of old records shares: one process at a time, and a pace that leaves the machine to others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from guardrail import clock
from guardrail.store import file_lock

WORK: Final = "keep.lock"  # held while a segment is compressed, or a lane's old records are looked at and pruned
HOLDS: Final = "holds.lock"  # held for moments: while something is held, erased or pruned, so that none of them overtakes another
WAIT_SECONDS: Final = 60.0
_POLL: Final = 0.02

Pace = Callable[[int], None]  # told how many bytes were read or written since; it may wait, or raise to stop


def unhurried(_many: int) -> None:
    """Wait for nothing."""


@contextlib.contextmanager
def alone(folder: Path, name: str, seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold a lock of a ledger.

    Args:
        folder: The ledger's, which exists.
        name: `WORK`, then `HOLDS` where both are needed.
        seconds: The most to wait for another process.

    Raises:
        TimeoutError: Another process has held it for that long.
        OSError: Its file cannot be made.
    """
    until = clock.now() + seconds
    while True:
        with file_lock.held(folder / name, block=False) as mine:
            if mine:
                yield
                return
        if clock.now() >= until:
            raise TimeoutError(f"another process has held {folder / name} for {seconds:g} s; try again")
        clock.sleep(_POLL)
