"""A fresh world: as if the process had just begun, with no state of earlier tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from guardrail import call, control, lifecycle, notices, registry, settings
from guardrail.telemetry import stats

FINISH_SECONDS = 2.0


def _reset() -> None:
    lifecycle.finish_all(FINISH_SECONDS)
    registry.reset()
    control.reset()
    settings.reset()
    notices.reset()
    stats.reset()
    call.latest.set(None)


@contextmanager
def fresh() -> Iterator[None]:
    """Begin anew, and end cleanly: no answers, breakers, permits, switches, settings, notices or open files of before.

    Settings are read again inside, so set `GUARDRAIL_HOME` and the like first.
    """
    _reset()
    try:
        yield
    finally:
        _reset()
