"""PostgreSQL killed and started again, many times over, while it is written to."""

from __future__ import annotations

import pytest
from test_ledger_postgres_faults import test_a_server_killed_under_load_loses_and_doubles_nothing as killed_under_load


@pytest.mark.parametrize("_again", range(10))
def test_a_server_killed_again_and_again_loses_and_doubles_nothing(postgres_server, url, home, _again: int) -> None:
    """Twice in each of ten ledgers."""
    killed_under_load(postgres_server, url, home)
