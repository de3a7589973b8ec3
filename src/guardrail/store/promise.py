"""A future of the store, which can tell a long line from a line that does not move."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Promise(Future[T]):
    """A future that knows how far its thread has come.

    Args:
        progress: Returns a number that grows with everything that the thread gets done.
    """

    def __init__(self, progress: Callable[[], int]) -> None:
        super().__init__()
        self.progress = progress
