"""Recognises an exception that was raised because a function ran on another thread than usual, and says what helps."""

from __future__ import annotations

import re
from typing import Final

from guardrail.theirs import add_note, notes

# Database drivers raise the first two, GPU libraries the next three, then Tk, `signal` and context variables, event loops.
_KINDS: Final = frozenset(
    (
        *("ProgrammingError", "InterfaceError", "AcceleratorError", "CudaError", "LogicError"),
        *("TclError", "ValueError", "RuntimeError"),
    )
)
_SIGNS: Final = re.compile(
    r"(same|main|different|another|other|wrong|current|calling) thread|in thread '|main loop|running event loop"
    r"|cuda.*thread|created in a different Context",
    re.IGNORECASE,
)
_NOTE: Final = (
    "guardrail ran this function on a worker thread, as budgets do by default, and the error looks as if it had to "
    'stay on its caller\'s. If so, write budget=Budget(..., enforce="report"): it then runs there, and an overrun is '
    "reported instead of ended."
)


def explain_affinity(error: BaseException) -> None:
    """Add a note with the way out to an exception that looks like one of thread affinity.

    Known: sqlite3 and other database drivers, CUDA, Tk, event loops, `signal`, and the token of a context variable that the
    caller set.
    """
    if type(error).__name__ not in _KINDS:
        return
    try:
        looks_like_it = _SIGNS.search(str(error)) is not None
    except Exception:  # noqa: BLE001 - the text of a user's exception is the user's code
        return
    if looks_like_it and _NOTE not in notes(error):
        add_note(error, _NOTE)
