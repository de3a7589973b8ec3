"""Fixtures for pytest, found by themselves once guardrail is installed; nothing of the library is loaded before one is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from guardrail.testing.clock import FakeClock
    from guardrail.testing.recording import Recorded


@pytest.fixture
def guardrail_fresh(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A fresh world for one test: a home that vanishes, and no answers, breakers, switches or settings of earlier tests."""
    from guardrail.testing.world import fresh  # noqa: PLC0415 - as the module says

    monkeypatch.setenv("GUARDRAIL_HOME", str(tmp_path_factory.mktemp("guardrail")))
    with fresh():
        yield


@pytest.fixture
def guardrail_clock() -> Iterator[FakeClock]:
    """A clock in the test's hand: `guardrail_clock.advance(60)`."""
    from guardrail.testing.clock import fake_clock  # noqa: PLC0415 - as the module says

    with fake_clock() as clock:
        yield clock


@pytest.fixture
def guardrail_records(guardrail_fresh: None) -> Iterator[Recorded]:
    """The records that the test's guarded calls leave, in a fresh world."""
    from guardrail.testing.recording import recorded  # noqa: PLC0415 - as the module says

    del guardrail_fresh
    with recorded() as records:
        yield records
