"""The call path as a whole: cache, single flight, retries, deadlines, streams, observe mode, context, memory."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from guardrail import (
    Breaker,
    Budget,
    BudgetExceeded,
    Cache,
    InvalidInput,
    Limit,
    LimitExceeded,
    Prediction,
    Retry,
    acting_as,
    check_deadline,
    decide,
    guard_of,
    guarded,
    last_decision,
    remaining,
    stage,
)
from guardrail import call as calls
from guardrail.testing import chaos, fake_clock, force

variable = contextvars.ContextVar("variable", default=0)


# ── cache and single flight ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "one, other",
    [(1, 1.0), (1, True), (0, False), (0.0, -0.0), ("1", 1), (b"a", "a"), ((1,), [1]), ({1: 2}, {1: 2.0}), (None, 0), ("", None)],
)
def test_questions_that_differ_never_share_an_answer(one, other):
    """Python calls some of them equal; a model may not."""
    predict = guarded(lambda x: repr(x), cache="1h")
    assert (predict(one), predict(other)) == (repr(one), repr(other))


def test_a_thousand_arrays_have_a_thousand_answers():
    """Content, not identity, and not a shortened text."""
    import numpy as np

    predict = guarded(lambda x: float(x.sum()), cache=Cache("1h", size=5000))
    arrays = [np.full(5000, i, dtype="float64") for i in range(1000)]
    assert [predict(array) for array in arrays] == [float(array.sum()) for array in arrays]
    arrays[0][0] = 7.0
    assert predict(arrays[0]) == 7.0
    assert predict(np.zeros(4, dtype="float32")) == predict(np.zeros((2, 2)))


def test_a_cached_answer_cannot_be_corrupted():
    """Neither by the first caller nor by a later one; None is an answer like any other."""
    predict = guarded(lambda x: {"scores": [1, 2]}, cache="1h")
    first = predict(1)
    first["scores"].append(3)
    second = predict(1)
    assert second == {"scores": [1, 2]}
    second.clear()
    assert predict(1) == {"scores": [1, 2]}
    ran = []
    nothing = guarded(lambda x: ran.append(x), cache="1h")
    assert nothing(1) is nothing(1) is None
    assert ran == [1]


def test_the_model_version_is_part_of_the_key():
    """Two versions of one guard do not answer for each other."""
    answers = [guarded(lambda x, v=v: v, name="model", version=str(v), cache="1h")(1) for v in (1, 2)]
    assert answers == [1, 2]


def test_what_has_no_exact_key_is_not_cached_and_said_once(caplog):
    """An object without exact content is asked every time."""
    ran = []
    predict = guarded(lambda x: ran.append(1), cache="1h", name="odd")
    for _ in range(3):
        predict(object())
    assert len(ran) == 3
    assert sum("odd" in record.message for record in caplog.records) == 1


def test_entries_expire_and_stale_answers_bridge_a_failure():
    """Fresh for the ttl; then refreshed; stale while the function fails."""
    broken, ran = [], []

    def predict(x: int) -> int:
        ran.append(x)
        if broken:
            raise ConnectionError
        return len(ran)

    with fake_clock() as clock:
        predict = guarded(predict, cache=Cache("10s", stale_for="20s", jitter=0))
        assert (predict(1), predict(1)) == (1, 1)
        clock.advance(11)
        assert (predict(1), last_decision().outcome) == (2, "answered")
        broken.append(True)
        clock.advance(11)
        assert (predict(1), last_decision().outcome) == (2, "stale")
        clock.advance(30)
        with pytest.raises(ConnectionError):
            predict(1)


def test_size_bounds_hold():
    """The least recently used entry goes first; an answer larger than all bytes is not kept."""
    ran = []
    predict = guarded(lambda x: ran.append(x) or x, cache=Cache("1h", size=2))
    for x in (1, 2, 1, 3, 1, 2):
        predict(x)
    assert ran == [1, 2, 3, 2]
    big = guarded(lambda x: ran.append(x) or b"x" * 10_000, cache=Cache("1h", max_bytes=1000))
    big(7), big(7)
    assert ran[-2:] == [7, 7]


def test_one_execution_for_many_threads():
    """Those who ask the same meanwhile wait for the one that finds out, and share its exception."""
    ran = []

    def predict(x: int) -> int:
        ran.append(x)
        time.sleep(0.1)
        if x < 0:
            raise KeyError(x)
        return x

    predict = guarded(predict, cache="1h")
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(predict, [5] * 16)) == [5] * 16
        assert ran == [5]
        errors = list(pool.map(lambda x: type(decide(predict, x).error), [-1] * 16))
    assert set(errors) == {KeyError}
    assert len(ran) < 16


def test_nobodys_cancellation_cancels_another():
    """The leader and a follower are cancelled; fourteen others get the answer."""
    ran = []

    async def predict(x: int) -> int:
        ran.append(x)
        await asyncio.sleep(0.05)
        return x

    predict = guarded(predict, cache="1h")

    async def main():
        tasks = [asyncio.create_task(predict(1)) for _ in range(16)]
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        tasks[3].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(main())
    assert [type(result).__name__ for result in results].count("CancelledError") == 2
    assert results.count(1) == 14
    assert len(ran) == 2


def test_recursion_through_the_cache_never_waits_for_itself():
    """A guarded function that asks itself the same question runs again inside."""
    depth = []

    @guarded(cache="1h", limit=1)
    def predict(x: int) -> int:
        depth.append(x)
        return predict(x) if len(depth) < 3 else len(depth)

    assert predict(1) == 3


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("enforce", ["thread", "report"])
def test_a_call_within_its_budget_is_untouched(enforce):
    """Context variables go in and come out, and the function's own exception passes."""

    def predict(x: int) -> int:
        variable.set(variable.get() + x)
        if x < 0:
            raise KeyError(x)
        return variable.get()

    predict = guarded(predict, budget=Budget("30s", enforce=enforce), name=f"within-{enforce}")
    variable.set(5)
    assert predict(2) == variable.get() == 7
    with pytest.raises(KeyError):
        predict(-1)


def test_the_smaller_deadline_wins_and_ends_with_its_call():
    """Nested guards inherit; work after the call does not."""
    seen = {}

    @guarded(budget="60s")
    def inner() -> None:
        seen["inner"] = remaining()

    @guarded(budget="5s")
    def outer() -> None:
        inner()
        seen["outer"] = remaining()
        seen["context"] = contextvars.copy_context()

    outer()
    assert seen["inner"] <= seen["outer"] + 0.5
    assert seen["inner"] <= 5
    assert seen["context"].run(remaining) is None
    assert remaining() is None


def test_stages_split_the_time():
    """Their names and times land in the decision; an overrun raises only when asked."""

    @guarded
    def predict() -> float:
        with stage("retrieve", budget="1ms"):
            time.sleep(0.01)
            left = remaining()
            with pytest.raises(BudgetExceeded):
                check_deadline()
        check_deadline()
        with stage("rank"), stage("rank"):
            pass
        return left

    assert predict() == 0.0
    decision = last_decision()
    assert set(decision.timings) == {"total", "retrieve", "rank"}
    assert "retrieve" in decision.reasons[0]


def test_a_stage_that_the_deadline_cuts_off_is_told():
    """Which stage the budget went into stands in the decision, though the stage itself has not ended, and not twice once it has."""
    end = threading.Event()

    @guarded(budget=Budget("100ms", attempt="50ms"), fallback=lambda: end.set() or time.sleep(0.01))
    def predict() -> float:
        with stage("load"):
            pass
        with stage("retrieve"):
            end.wait(5)
        return 1.0

    decision = decide(predict)
    assert decision.outcome == "fallback"
    assert set(decision.timings) == {"total", "load", "retrieve"}
    assert 10 * decision.timings["load"] < decision.timings["retrieve"] < decision.timings["total"]


def test_a_nested_guard_is_a_stage_of_the_outer_call():
    """Its time stands under its name, its record names its parent."""

    @guarded(name="bureau")
    def bureau() -> int:
        return 1

    @guarded(name="scorer")
    def scorer() -> int:
        return bureau()

    scorer()
    assert set(last_decision().timings) == {"total", "bureau"}


def test_async_calls_are_stopped_by_cancellation():
    """On time, with the function's own cleanup run; its own TimeoutError stays its own."""
    cleaned = []

    async def predict(x: float) -> float:
        try:
            await asyncio.sleep(x)
        finally:
            cleaned.append(x)
        return x

    bounded = guarded(predict, budget="50ms")
    with pytest.raises(BudgetExceeded):
        asyncio.run(bounded(5.0))
    assert cleaned == [5.0]

    async def own():
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine") as caught:
        asyncio.run(guarded(own, budget="5s")())
    assert not isinstance(caught.value, BudgetExceeded)


def test_total_time_of_retries_stays_within_the_deadline():
    """Attempts, pauses and the last attempt together."""

    def predict(x: int) -> int:
        time.sleep(0.05)
        raise ConnectionError

    predict = guarded(predict, retry=Retry(50, wait="20ms"), budget="300ms")
    start = time.monotonic()
    with pytest.raises((ConnectionError, BudgetExceeded)):
        predict(1)
    assert time.monotonic() - start < 1.5
    assert last_decision().stop_reason in ("deadline", "attempts", "retry_budget", None)


def test_retries_only_what_is_transient():
    """ValueError and TypeError never; KeyboardInterrupt never."""
    ran = []

    def predict(kind):
        ran.append(kind)
        raise kind("x")

    for kind, attempts in ((TimeoutError, 3), (ConnectionError, 3), (ValueError, 1), (TypeError, 1), (KeyboardInterrupt, 1)):
        ran.clear()
        with pytest.raises(kind):
            guarded(predict, retry=Retry(3, wait="1ms"), name=kind.__name__)(kind)
        assert len(ran) == attempts


# ── limits, streams ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_stream_holds_its_permit_until_it_ends():
    """Also when its consumer stops early; context is never left behind."""

    @guarded(limit=1)
    def items(n: int):
        for i in range(n):
            yield i, calls.current.get() is not None

    stream = items(3)
    assert next(stream) == (0, True)
    assert calls.current.get() is None
    with pytest.raises(LimitExceeded):
        next(items(1))
    stream.close()
    assert list(items(1)) == [(0, True)]


def test_streams_keep_send_throw_and_return_values():
    """A generator's whole protocol goes through."""

    def conversation():
        heard = yield "ready"
        try:
            yield heard * 2
        except KeyError:
            yield "caught"
        return "done"

    def collect(generator):
        out = [next(generator), generator.send(4), generator.throw(KeyError("x"))]
        try:
            next(generator)
        except StopIteration as end:
            out.append(end.value)
        return out

    assert collect(guarded(conversation)()) == collect(conversation()) == ["ready", 8, "caught", "done"]


def test_a_stream_is_retried_only_before_its_first_item():
    """What has been delivered cannot be taken back."""
    ran = []

    def items(fail_at):
        ran.append(fail_at)
        for i in range(3):
            if i == fail_at and len(ran) < 2:
                raise ConnectionError
            yield i

    stream = guarded(items, retry=Retry(3, wait="1ms"))
    assert list(stream(0)) == [0, 1, 2]
    ran.clear()
    with pytest.raises(ConnectionError):
        list(stream(1))


def test_an_async_stream_closed_elsewhere_leaves_nothing_behind():
    """`aclose` from another task; no context error, and the permit is back."""

    @guarded(limit=1)
    async def items():
        yield 1
        yield 2

    async def main():
        stream = items()
        assert await anext(stream) == 1
        await asyncio.create_task(stream.aclose())
        return [item async for item in items()]

    assert asyncio.run(main()) == [1, 2]


def test_a_breaker_never_holds_its_lock_over_the_call():
    """Four sleepers on one breaker sleep side by side."""
    predict = guarded(lambda: time.sleep(0.2), breaker=True)
    start = time.monotonic()
    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - start < 0.6


def test_an_async_breaker_opens():
    """Failures of coroutines count."""

    async def fail():
        raise ConnectionError

    predict = guarded(fail, breaker=Breaker(min_calls=3))

    async def main():
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await predict()
        return (await decide(predict)).outcome

    assert asyncio.run(main()) == "refused"


# ── modes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_observe_changes_nothing_and_says_what_it_would_have_done():
    """The caller's own arguments, one run, no ticket; verdicts in `would`."""
    seen = []

    def predict(x: int) -> Prediction[str]:
        seen.append(x)
        return Prediction("no", 0.3)

    predict = guarded(predict, mode="observe", confidence=0.8, cache="1h", limit=1)
    assert predict("7").value == "no"
    assert seen == ["7"]
    assert last_decision().would == ("confidence: deferred (confidence 0.3 is below 0.8)",)
    assert last_decision().ticket is None
    predict("seven")
    assert seen == ["7", "seven"]
    assert last_decision().would[0].startswith("validate: refused (x: ")
    predict("7")
    assert len(seen) == 3


def test_off_runs_the_bare_function():
    """No validation, no record; a killed guard stays killed."""
    predict = guarded(lambda x: x, mode="off", confidence=0.8)
    assert predict("anything") == "anything"
    assert last_decision() is None
    assert decide(predict, 1).outcome == "answered"


def test_disabled_by_the_environment_does_not_open_a_kill(monkeypatch):
    """GUARDRAIL_DISABLED=1 switches guards off, not kill switches open."""
    from guardrail import Stopped, control, settings

    monkeypatch.setenv("GUARDRAIL_DISABLED", "1")
    settings.reset()

    def predict(x: int) -> int:
        return x

    predict = guarded(predict, name="victim")
    assert predict("x") == "x"
    control.kill("victim", "wrong answers", by="anna")
    with pytest.raises(Stopped, match="wrong answers"):
        predict("x")


def test_who_asks_stands_in_the_decision_record():
    """`acting_as` reaches nested calls and threads started by us."""
    from guardrail.testing import recorded

    predict = guarded(lambda: 1, budget="5s", name="asked")
    with recorded() as records:
        with acting_as("anna", purpose="credit check"):
            predict()
        [record] = records.of("call")
    assert (record["actor"]["id"], record["purpose"]) == ("anna", "credit check")


def test_no_rejected_value_reaches_an_error_or_a_record():
    """Nor a text that the user's own validator made of it."""
    from typing import Annotated, Literal

    from pydantic import AfterValidator, BaseModel, Field

    from guardrail.testing import recorded

    secret = "4111-1111"

    def refuse(value: str) -> str:
        raise ValueError(f"bad value {value}")

    class Cat(BaseModel):
        kind: Literal["cat"]

    class Dog(BaseModel):
        kind: Literal["dog"]

    @guarded
    def predict(
        a: Annotated[str, AfterValidator(refuse)] | None = None,
        b: dict[str, int] | None = None,
        c: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None,
    ) -> int:
        return 1

    with recorded() as records:
        for kwargs in ({"a": secret}, {"b": {secret: "x"}}, {"c": {"kind": secret}}):
            with pytest.raises(InvalidInput) as caught:
                predict(**kwargs)
            assert secret not in str(caught.value) + repr(caught.value) + repr(caught.value.__context__)
            assert caught.value.__cause__ is None
        assert len(records) == 3
        assert secret not in repr(list(records))


def test_nan_is_refused_unless_it_is_allowed():
    """For annotated floats and containers of them; the error says what to write."""
    from typing import Annotated

    from guardrail import AllowNaN

    @guarded
    def predict(x: float, xs: list[float] | None = None) -> int:
        return 1

    for args in ((float("nan"),), (float("inf"),), (1.0, [float("nan")])):
        with pytest.raises(InvalidInput, match="AllowNaN"):
            predict(*args)

    @guarded
    def lenient(x: Annotated[float, AllowNaN]) -> int:
        return 1

    assert lenient(float("nan")) == 1


def test_memory_stays_flat():
    """A hundred thousand calls leave nothing behind."""
    import tracemalloc

    predict = guarded(lambda x: x, cache=Cache("1h", size=100), breaker=True, limit=4, audit="off")
    for i in range(3000):
        predict(i)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for i in range(20_000):
        predict(i)
    guard_of(predict).stats()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 300_000


def test_nothing_of_the_users_outlives_the_call():
    """Arguments and answers are free as soon as the caller lets go of them, also with a worker thread."""
    import weakref

    class Big:
        pass

    for option in ({}, {"budget": "5s"}, {"budget": Budget("5s", enforce="report")}):
        predict = guarded(lambda x: Big(), **option)
        argument, alive = Big(), []
        alive.append(weakref.ref(argument))
        alive.append(weakref.ref(predict(argument)))
        del argument
        gc.collect()
        assert [ref() for ref in alive] == [None, None]


def test_chaos_is_seeded_and_innermost():
    """The same seed hits the same calls, and every policy has to deal with them."""
    predict = guarded(lambda x: x, retry=Retry(2, wait="1ms"), name="victim2")
    outcomes = []
    for _ in range(2):
        with chaos(predict, fault=ConnectionError("injected"), rate=0.5, seed=3) as did:
            outcomes.append([decide(predict, x).ok for x in range(8)])
        assert did.faults > 0
        guard_of(predict).reset()
    assert outcomes[0] == outcomes[1]
    assert predict(1) == 1
    with force(guarded(lambda: 1, limit=Limit(1), name="full"), limit="full"):
        pass
