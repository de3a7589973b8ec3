"""The clock in a test's hand: everything in the library goes by it."""

from __future__ import annotations

import asyncio
import time

import pytest

from guardrail import BudgetExceeded, Retry, check_deadline, clock, decide, guarded, remaining
from guardrail.testing import FakeClock, fake_clock, recorded


def test_time_stands_still_until_it_is_let_go():
    """Both clocks go together, by as much as is said."""
    with fake_clock(at=1_700_000_000.0) as fake:
        assert isinstance(fake, FakeClock)
        assert clock.wall() == clock.wall() == 1_700_000_000.0
        now = clock.now()
        fake.advance("10m")
        fake.advance(0.5)
        assert clock.now() - now == 600.5
        assert clock.wall() == 1_700_000_600.5
    assert abs(clock.wall() - time.time()) < 5
    assert clock.now is time.monotonic


def test_it_is_put_back_after_an_error():
    """A failing test does not stop time for the next."""
    with pytest.raises(KeyError), fake_clock():
        raise KeyError
    assert clock.now is time.monotonic


def test_pauses_take_no_time_and_are_listed():
    """A retry with a long wait is tested in no time; the jitter is what the test says."""
    calls = []

    @guarded(retry=Retry(3, wait="10s", max_wait="1m", on=(OSError,)))
    def predict(x: int) -> int:
        calls.append(x)
        if len(calls) < 3:
            raise OSError
        return x

    start = time.monotonic()
    with fake_clock() as fake:
        fake.chance = 0.5
        assert predict(1) == 1
    assert fake.slept == [5.0, 10.0]
    assert time.monotonic() - start < 5


def test_pauses_of_tasks_let_others_run():
    """Under asyncio too, and other tasks have their turn."""
    order = []

    async def waits(name: str) -> None:
        order.append(f"{name} waits")
        await clock.asleep(60)
        order.append(f"{name} goes on")

    async def main() -> None:
        await asyncio.gather(waits("a"), waits("b"))

    with fake_clock() as fake:
        asyncio.run(main())
    assert order == ["a waits", "b waits", "a goes on", "b goes on"]
    assert fake.slept == [60, 60]


def test_deadlines_go_by_it():
    """A budget runs out when the test says so."""
    seen = []

    @guarded(budget="1s")
    def predict(x: int) -> int:
        seen.append(remaining())
        fake.advance("2s")
        check_deadline()
        return x

    with fake_clock() as fake, pytest.raises(BudgetExceeded):
        predict(1)
    assert seen == [1.0]


def test_records_are_the_same_each_time():
    """With time and ids in hand, what a call leaves is the same but for the process that left it."""

    @guarded(name="loans", version="1")
    def predict(x: int) -> int:
        return x

    kept = []
    for _ in range(2):
        with fake_clock(), recorded() as records:
            assert decide(predict, 1).ok
            kept.append({name: value for name, value in records[0].items() if name not in ("id", "seq", "prev")})
    assert kept[0] == kept[1]
    assert kept[0]["ts"] == "2025-06-15T15:06:40.000000Z"
    assert kept[0]["timings"] == {"total": 0.0}
