"""A thousand kills, and kills at every step with other chances."""

from __future__ import annotations

import pytest
from test_ledger_crashes import nursery


@pytest.mark.parametrize("seed", range(20))
def test_a_thousand_kills_lose_nothing_that_was_acknowledged(seed: int) -> None:
    """Fifty rounds each in twenty ledgers; one or two processes die in each round."""
    assert nursery(do="kills", rounds=50, seed=1_000 + seed)["kills"] >= 50


@pytest.mark.parametrize("seed", range(10))
def test_kills_at_each_step_lose_nothing_that_was_acknowledged(seed: int) -> None:
    """Before a step or in the middle of it, as chance has it."""
    assert nursery(do="steps", every=1, seed=2_000 + seed)["kills"] >= 50
