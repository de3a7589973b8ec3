"""The long forms of what `make test` does in seconds. They run for minutes, and only when they are asked for: `make faults`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

LEDGER = Path(__file__).parents[1] / "ledger"
sys.path.insert(0, str(LEDGER))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave them out of an ordinary run."""
    if os.environ.get("TEST_FAULTS"):
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="takes minutes: make faults"))
