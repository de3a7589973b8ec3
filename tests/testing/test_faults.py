"""Faults on purpose: where they strike, how often, and that nothing of them stays."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from guardrail import Budget, BudgetExceeded, ConfigError, InvalidOutput, Retry, guarded
from guardrail.testing import chaos, fake_clock


@guarded
def predict(x: int) -> int:
    return x + 1


@guarded
async def apredict(x: int) -> int:
    return x + 1


@guarded
def items(n: int):
    yield from range(n)


@guarded(budget=Budget("1s", enforce="process"))
def elsewhere(x: int) -> int:
    return x


def test_a_fault_comes_in_place_of_the_function():
    """The very error, innermost, and only inside the block."""
    fault = OSError(5, "disk")
    with chaos(predict, fault=fault) as did:
        with pytest.raises(OSError, match="disk") as caught:
            predict(1)
        assert caught.value is fault
    assert (did.calls, did.faults, did.delays, did.outputs) == (1, 1, 0, 0)
    assert predict(1) == 2
    assert did.calls == 1


def test_an_async_function_is_hit_the_same():
    """Also where it is a coroutine that fails, waits and answers wrongly."""

    async def main() -> None:
        with chaos(apredict, fault=TimeoutError), pytest.raises(TimeoutError):
            await apredict(1)
        with fake_clock() as fake, chaos(apredict, latency="10s", output=7) as did:
            assert await apredict(1) == 7
        assert fake.slept == [10.0]
        assert (did.calls, did.delays, did.outputs) == (1, 1, 1)
        assert await apredict(1) == 2

    asyncio.run(main())


def test_the_same_seed_hits_the_same_calls():
    """A share of the calls, reproducibly."""

    def run(seed: int) -> list[bool]:
        hits = []
        with chaos(predict, fault=KeyError, rate=0.3, seed=seed) as did:
            for x in range(200):
                try:
                    predict(x)
                    hits.append(False)
                except KeyError:
                    hits.append(True)
        assert (did.calls, did.faults) == (200, sum(hits))
        return hits

    assert run(1) == run(1) != run(2)
    assert 30 < sum(run(1)) < 90


@pytest.mark.parametrize(("rate", "hits"), [(0.0, 0), (1.0, 50)])
def test_none_and_all(rate, hits):
    """The ends of the share are exact."""
    with chaos(predict, output=0, rate=rate) as did:
        assert sum(predict(x) == 0 for x in range(50)) == hits
    assert did.outputs == hits


def test_policies_have_to_deal_with_it():
    """Retries try again, a deadline ends what is too slow, validation refuses a wrong answer."""

    @guarded(retry=Retry(4, on=(OSError,), wait="1ms"))
    def flaky(x: int) -> int:
        return x

    with chaos(flaky, fault=OSError, rate=0.3, seed=3) as did:
        assert [flaky(x) for x in range(10)] == list(range(10))
    assert did.calls > 10

    @guarded(budget="30ms")
    def slow(x: int) -> int:
        return x

    with chaos(slow, latency="200ms"), pytest.raises(BudgetExceeded):
        slow(1)
    with chaos(predict, output="a text"), pytest.raises(InvalidOutput):
        predict(1)
    with chaos(predict, output=lambda answer: answer * 10):
        assert predict(1) == 20


def test_threads_are_counted_exactly():
    """Eight threads at once, and no hit is lost."""
    with chaos(predict, output=0) as did, ThreadPoolExecutor(8) as threads:
        list(threads.map(predict, range(800)))
    assert (did.calls, did.outputs) == (800, 800)


def test_wrong_use_says_what_to_write():
    """Nothing to inject, no share, nothing guarded, a generator, another process."""
    for wrong, words in (
        (lambda: chaos(predict), "give fault=, latency= or output="),
        (lambda: chaos(predict, fault=OSError, rate=1.5), r"\[0, 1\]"),
        (lambda: chaos(predict, fault=OSError, rate=float("nan")), r"\[0, 1\]"),
        (lambda: chaos(predict, latency="soon"), "latency of chaos"),
        (lambda: chaos(len, fault=OSError), "not guarded"),
        (lambda: chaos(items, fault=OSError), "generators"),
        (lambda: chaos(elsewhere, fault=OSError), 'enforce="thread"'),
    ):
        with pytest.raises(ConfigError, match=words), wrong():
            pass
