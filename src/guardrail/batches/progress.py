"""The progress bar of a batch: tqdm's, in a terminal or a notebook, and only where it lasts long enough to be worth one."""

from __future__ import annotations

import sys
import warnings
from typing import Any, Final

from guardrail.decision import Outcome

DELAY: Final = 1.0  # seconds before an automatic bar appears
_TOLD: Final = (Outcome.deferred, Outcome.refused, Outcome.late, Outcome.failed)  # what people want to see at once


class Progress:
    """Counts rows, and shows them.

    Args:
        wanted: Whether to show a bar; None for where somebody may be looking: a terminal or a notebook, after a second.
        total: How many rows there are, None where that is not known.
        what: In front of the bar.
    """

    def __init__(self, wanted: bool | None, total: int | None, what: str) -> None:  # noqa: FBT001 - a choice of three
        self._counts = dict.fromkeys(_TOLD, 0)
        self._bar: Any = None
        if wanted or (wanted is None and _somebody_looks()):
            with warnings.catch_warnings():  # without ipywidgets tqdm warns, and draws its bar with characters: as good
                warnings.simplefilter("ignore")
                from tqdm.auto import tqdm  # noqa: PLC0415 - only where there is a bar

            self._bar = tqdm(
                total=total, desc=what, unit=" rows", delay=0 if wanted else DELAY, file=sys.stderr, dynamic_ncols=True
            )

    def advance(self, outcomes: list[Outcome]) -> None:
        """Count some rows, each by how it ended."""
        if self._bar is None:
            return
        changed = False
        for outcome in outcomes:
            if outcome in self._counts:
                self._counts[outcome] += 1
                changed = True
        if changed:
            words = ", ".join(f"{outcome.value}: {count}" for outcome, count in self._counts.items() if count)
            self._bar.set_postfix_str(words, refresh=False)
        self._bar.update(len(outcomes))

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def _somebody_looks() -> bool:
    if "ipykernel.kernelapp" in sys.modules:
        return True
    stream = sys.stderr
    return stream is not None and not stream.closed and stream.isatty()
