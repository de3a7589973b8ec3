"""A fresh world: as if the process had just begun, with no state of earlier tests."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from guardrail import call, control, lifecycle, notices, registry, settings
from guardrail.telemetry import stats

FINISH_SECONDS: Final = 2.0


def _reset(configured: Mapping[str, object] | None = None) -> None:
    lifecycle.finish_all(FINISH_SECONDS)
    registry.reset()
    control.reset()
    settings.reset(configured)
    notices.reset()
    stats.reset()
    if "guardrail.ledger.sealing" in sys.modules:
        sys.modules["guardrail.ledger.sealing"].reset()
    call.latest.set(None)


@contextmanager
def fresh() -> Iterator[None]:
    """Begin anew, and end cleanly: no answers, breakers, permits, switches, notices or open files of before.

    Settings are read again inside, without what `configure()` was told before, so set `GUARDRAIL_HOME` and the like first.
    Afterwards they are read once more, with it.
    """
    configured = settings.configured()
    _reset()
    try:
        yield
    finally:
        _reset(configured)


@contextmanager
def apart() -> Iterator[Path]:
    """Begin anew in a home that vanishes, whatever environment and files say: no shared cache, no sinks, no modes.

    Yields:
        The home.
    """
    with tempfile.TemporaryDirectory(prefix="guardrail-", ignore_cleanup_errors=True) as folder, fresh():
        home = Path(folder) / "home"
        settings.stand_alone(home)
        yield home
