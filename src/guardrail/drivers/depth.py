"""Says what helps where a function that calls itself through its guard came to the end of Python's stack."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Final

from guardrail.theirs import add_note

_HERE: Final = str(Path(__file__).parent)
_SHARE: Final = 0.25  # of the frames; with fewer of ours it was not the guard that made the stack deep


def explain_depth(error: RecursionError) -> None:
    """Add a note with the way out where a good part of the frames that an exception came through are a guard's."""
    ours = whole = 0
    step: TracebackType | None = error.__traceback__
    while step is not None:
        whole += 1
        ours += step.tb_frame.f_code.co_filename.startswith(_HERE)
        step = step.tb_next
    if ours > _SHARE * whole and whole > sys.getrecursionlimit() // 4:
        add_note(
            error,
            f"guardrail: {ours} of these {whole} frames are a guard's, for the function calls itself through its guard. Let it call a "
            "function without a guard, which does the recursion, and guard the one that calls that first; or raise "
            "sys.setrecursionlimit().",
        )
