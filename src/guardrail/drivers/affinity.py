"""Recognises an exception that was raised because a function ran on another thread than usual, and says what helps."""

from __future__ import annotations

import re
from typing import Final

# ProgrammingError and InterfaceError: database drivers. ValueError: `signal`. AcceleratorError, CudaError, LogicError: GPU libraries.
_KINDS: Final = frozenset(
    {"AcceleratorError", "CudaError", "InterfaceError", "LogicError", "ProgrammingError", "RuntimeError", "TclError", "ValueError"}
)
_SIGNS: Final = re.compile(
    r"(same|main|different|another|other|wrong|current|calling) thread|in thread '|main loop|running event loop|cuda.*thread",
    re.IGNORECASE,
)
_NOTE: Final = (
    "guardrail ran this function on a worker thread, as budgets do by default, and the error looks as if it must stay on the thread "
    'of its caller. If so, write budget=Budget(..., enforce="report"): it then runs there, and an overrun is reported instead of ended.'
)


def explain_affinity(error: BaseException) -> None:
    """Add a note with the way out to an exception that looks like one of thread affinity (sqlite3, CUDA, event loop, signal)."""
    if type(error).__name__ not in _KINDS:
        return
    try:
        looks_like_it = _SIGNS.search(str(error)) is not None
    except Exception:  # noqa: BLE001 - the text of a user's exception is the user's code
        return
    if looks_like_it and _NOTE not in getattr(error, "__notes__", ()):
        error.add_note(_NOTE)
