"""Calls of client libraries that keep no end of their own: on a thread aside, which is left behind where it does not come back."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_GRACE: Final = 1.0  # seconds for what the library does beside waiting


class Aside(Generic[T]):
    """Makes calls one after the other, each with an end.

    A timeout of a socket begins anew with each byte, so an answer that drips would hold a courier for as long as it likes.

    Args:
        timeout: Seconds of the address: one for connecting, one for the answer.
    """

    def __init__(self, timeout: float) -> None:
        self._limit = 2 * timeout + _GRACE
        self._left: threading.Thread | None = None

    def call(self, work: Callable[[], T], more: float = 0.0) -> T:
        """Return what a call returns, or raise what it raises.

        Args:
            work: What is called.
            more: Seconds that it may take beyond, such as for a long body on a slow line.

        Raises:
            TimeoutError: It did not come back in time, or one before it still has not.
        """
        if self._left is not None and self._left.is_alive():
            raise TimeoutError("a call before this one has not come back")
        found: list[T] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                found.append(work())
            except BaseException as problem:  # noqa: BLE001 - it is raised where the result is wanted
                raised.append(problem)

        context = contextvars.copy_context()
        self._left = thread = threading.Thread(target=context.run, args=(run,), name="guardrail-aside", daemon=True)
        thread.start()
        thread.join(self._limit + more)
        if thread.is_alive():
            raise TimeoutError("it did not come back in time")
        self._left = None
        if raised:
            raise raised[0]
        return found[0]
