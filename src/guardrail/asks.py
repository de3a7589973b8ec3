"""All that a policy may want from the world. A hook that must wait returns a generator that yields these; a driver answers.

A hook's own answer is a turn: None (go on), ANSWERED (`call.result` is there, skip what is inside) or AGAIN (from `leave`
only: go in again from here).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, Final, Protocol


class Port(Protocol):
    """One operation on the outside world in both ways of waiting."""

    def now(self, *args: Any, **kwargs: Any) -> Any:
        """Do it, blocking the calling thread."""

    async def later(self, *args: Any, **kwargs: Any) -> Any:
        """Do it without blocking the event loop."""


class Sleep:
    """Wait for some seconds. Answered with None."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Wait:
    """Wait for a signal. Answered with True when it came, False when `until` (monotonic, None for ever) passed first."""

    __slots__ = ("signal", "until")

    def __init__(self, signal: Future[Any], until: float | None) -> None:
        self.signal = signal
        self.until = until


class Do:
    """Use a port. Answered with what it returns; what it raises is thrown into the hook."""

    __slots__ = ("args", "port")

    def __init__(self, port: Port, *args: Any) -> None:
        self.port = port
        self.args = args


class Run:
    """Run another function of the user on the same arguments, until `until` (monotonic, None for ever).

    Answered with the pair (value, error), one of them None: an error is data here, so that even a StopIteration passes.
    """

    __slots__ = ("fn", "until")

    def __init__(self, fn: Callable[..., Any], until: float | None) -> None:
        self.fn = fn
        self.until = until


ANSWERED: Final = "answered"
AGAIN: Final = "again"

Ask = Sleep | Wait | Do | Run
Asks = Generator[Ask, Any, str | None]
Steps = Generator[Ask, Any, Any]  # part of a hook: asks, and gives the hook something back
Turn = str | Asks | None
