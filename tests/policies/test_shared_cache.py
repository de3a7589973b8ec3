"""The cache that processes share: one answer for all, exactly; one who finds out; a store that is dead, slow or lying is a miss."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from pydantic import BaseModel, Field

from guardrail import (
    Budget,
    BudgetExceeded,
    Cache,
    ConfigError,
    Deferred,
    GuardrailError,
    Prediction,
    acting_as,
    decide,
    doctor,
    guard_of,
    guarded,
    last_decision,
    notices,
    settings,
    with_options,
)
from guardrail.policies import shared_cache
from guardrail.store import redis_connections

SOON = 20.0  # seconds; a wait that only ends so late has failed


@pytest.fixture
def service(redis_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A service of its own on the real server, so that nothing of another test is met; it may be as slow as this machine is."""
    monkeypatch.setattr(redis_connections, "ANSWER_SECONDS", SOON)
    name = f"loans-{uuid.uuid4().hex[:8]}"
    settings.configure(service=name, cache_url=redis_server)
    return name


@pytest.fixture
def server(redis_server: str, service: str):
    """A client that looks at what is stored."""
    with redis.Redis.from_url(redis_server) as client:
        yield client


def shared(fn, **options):
    """Guard a function; each time as another process would that has the same guard."""
    return guarded(fn, **{"name": "rate", "version": "1", "cache": "1h", **options})


def keys(server, service):
    return sorted(key.decode() for key in server.keys(f"{service}:*"))


def outcome(fn, *args):
    """Call, and return how the call ended."""
    return decide(fn, *args).outcome


def counting(answer=lambda x: x * 2, pause=0.0):
    """Return a function with annotations, and the list of the questions that it was asked."""
    asked = []

    def rate(x: int) -> int:
        asked.append(x)
        time.sleep(pause)
        return answer(x)

    return rate, asked


# ── across processes ──────────────────────────────────────────────────────────────────────────────────────────────────
PROGRAM = """
import asyncio, sys
from pydantic import BaseModel
from guardrail import Prediction, guarded, last_decision
from guardrail.store import redis_connections
redis_connections.ANSWER_SECONDS = 20

class Applicant(BaseModel):
    name: str
    income: float

class Terms(BaseModel):
    rate: float
    months: list[int]

@guarded(name="terms", version="3", cache="10m", confidence=0.5)
def terms(applicant: Applicant) -> Prediction[Terms]:
    print("ran", end=" ")
    return Prediction(Terms(rate=0.1 + applicant.income, months=[12, 24]), 0.875, ("income",))

@guarded(name="aterms", version="3", cache="10m")
async def aterms(applicant: Applicant) -> Terms | None:
    print("ran", end=" ")
    return Terms(rate=0.3, months=[]) if applicant.income else None

def main():
    print(terms(Applicant(name="Ann", income=0.2)), last_decision().outcome, last_decision().confidence, end=" | ")
    async def both():
        print(await aterms(Applicant(name="Ann", income=0.2)), last_decision().outcome, end=" | ")
        print(await aterms(Applicant(name="Bob", income=0)), last_decision().outcome)
    asyncio.run(both())

if __name__ == "__main__":
    import loans
    loans.main()
"""


def test_two_programs_share_an_answer(redis_server, service, tmp_path):
    """Models as questions and answers, a Prediction with its confidence, None as an answer; sync and async; no warnings."""
    (tmp_path / "loans.py").write_text(PROGRAM)
    environment = {**os.environ, "GUARDRAIL_CACHE_URL": redis_server, "GUARDRAIL_SERVICE": service, "PYTHONHASHSEED": "random"}
    shown = [
        subprocess.run(
            [sys.executable, "-W", "error", str(tmp_path / "loans.py")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        for _ in range(2)
    ]
    assert [each.stderr for each in shown] == ["", ""]
    said = "Prediction(Terms(rate=0.30000000000000004, months=[12, 24]), confidence=0.875, reasons=('income',)) {} 0.875"
    first = f"ran {said} | ran rate=0.3 months=[] {{}} | ran None {{}}\n"
    assert shown[0].stdout == first.format(*["answered"] * 3)
    assert shown[1].stdout == first.replace("ran ", "").format(*["cached"] * 3)


def fork(target, *args):
    process = multiprocessing.get_context("fork").Process(target=target, args=args)
    process.start()
    return process


def ask_at(start: float, log: Path, *, later: bool):
    """What each of several forked processes does: ask the same question at the same moment, and note each execution."""

    def rate(x: int) -> str:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.3)
        return "a"

    async def arate(x: int) -> str:
        return await asyncio.to_thread(rate, x)

    time.sleep(max(0.0, start - time.time()))
    if later:
        predict = shared(arate)

        async def several():
            return await asyncio.gather(*(predict(7) for _ in range(5)))

        assert asyncio.run(several()) == ["a"] * 5
    else:
        predict = shared(rate)
        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(predict, [7] * 5)) == ["a"] * 5


@pytest.mark.parametrize("later", [False, True])
def test_four_processes_with_one_question_run_the_function_once(service, tmp_path, later):
    """The lease is for all processes, the flight for the calls within one."""
    log = tmp_path / "ran"
    start = time.time() + 0.5
    processes = [fork(lambda: ask_at(start, log, later=later)) for _ in range(4)]
    for process in processes:
        process.join(SOON)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(log.read_text().split()) == 1


def test_who_is_killed_while_finding_out_is_replaced(service, tmp_path):
    """Its lease ends by itself, with its deadline; the other one answers well before its own."""
    started = tmp_path / "started"

    def hang(x: int) -> int:
        started.touch()
        time.sleep(60)
        return 0

    holder = fork(lambda: shared(hang, budget=Budget("1s", enforce="report"))(7))
    until = time.monotonic() + SOON
    while not started.exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(SOON)
    rate, asked = counting()
    assert shared(rate, budget="10s")(7) == 14
    assert asked == [7]
    assert last_decision().timings["total"] < 5


def test_a_forked_child_has_connections_of_its_own(service):
    """What the parent sends is never answered to the child."""
    rate, _ = counting()
    predict = shared(rate)
    assert predict(1) == 2

    def child():
        for at in range(50):
            assert predict(at) == at * 2

    processes = [fork(child) for _ in range(2)]
    child()
    for process in processes:
        process.join(SOON)
    assert [process.exitcode for process in processes] == [0, 0]
    assert not notices.counts()


# ── who finds out ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_others_wait_for_who_is_finding_out(service):
    """They get its answer as a cached one, soon after it is there."""
    entered, go_on = threading.Event(), threading.Event()

    def rate(x: int) -> int:
        entered.set()
        assert go_on.wait(SOON)
        return x * 2

    other, asked = counting()
    with ThreadPoolExecutor(4) as pool:
        leader = pool.submit(shared(rate), 7)
        assert entered.wait(SOON)
        followers = [pool.submit(outcome, shared(other), 7) for _ in range(3)]
        time.sleep(0.1)
        assert not any(each.done() for each in followers)
        go_on.set()
        assert leader.result(SOON) == 14
        assert [each.result(SOON) for each in followers] == ["cached"] * 3
    assert asked == []


def test_who_fails_lets_the_next_one_try(service):
    """The exception is its own process's; another process asks its own function, without waiting for any time to pass."""
    entered, go_on = threading.Event(), threading.Event()

    def rate(x: int) -> int:
        entered.set()
        assert go_on.wait(SOON)
        raise ZeroDivisionError

    other, asked = counting()
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(shared(rate), 7)
        assert entered.wait(SOON)
        follower = pool.submit(shared(other), 7)
        time.sleep(0.05)
        go_on.set()
        assert follower.result(SOON) == 14
        assert isinstance(leader.exception(SOON), ZeroDivisionError)
    assert asked == [7]


def test_a_cancelled_task_gives_the_lease_back(service, server):
    """Nobody else's call is cancelled, and nobody waits for the lease to end."""

    async def hang(x: int) -> int:
        await asyncio.sleep(60)
        return 0

    async def answer(x: int) -> int:
        return x * 2

    async def main():
        task = asyncio.create_task(shared(hang)(7))
        while not server.exists(*(keys(server, service) or ["none"])):
            await asyncio.sleep(0.01)
        follower = asyncio.create_task(shared(answer)(7))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(follower, SOON) == 14

    asyncio.run(main())


def test_waiting_ends_with_the_deadline(service, server, monkeypatch):
    """A lease that nobody gives back is not waited for longer than the call has time."""
    # A look may take a quarter of what is left. At the end that is a few ms, and a store that is slower counts as away.
    monkeypatch.setattr(shared_cache, "_SHARE", 1.0)
    rate, asked = counting()
    shared(rate)(7)
    (row,) = keys(server, service)
    server.delete(row)
    server.set(f"{row}:lease", "somebody")
    with pytest.raises(BudgetExceeded, match="another process|within the time"):  # worker and caller both see the end
        shared(rate, budget="2s")(7)
    assert asked == [7]


def test_a_call_never_waits_for_itself(service):
    """The same question inside its own answer is answered at once, by whatever guard of that name."""
    inner = shared(lambda x: None)

    def outer(x: int) -> int:
        return 1 + (other(x) if x else 0)

    def again(x: int) -> int:
        return 10

    other = shared(again)
    predict = shared(outer, budget="5s")
    assert predict(7) == 11
    assert last_decision().timings["total"] < 3
    assert inner is not None


# ── what is a different question ──────────────────────────────────────────────────────────────────────────────────────
def test_service_name_and_version_keep_answers_apart(redis_server, service):
    """Another service, guard or version asks for itself; names cannot run into each other."""
    rate, asked = counting()
    settings.configure(service=f"a-{uuid.uuid4().hex}", cache_url=redis_server)
    for name, version in [("a", "1"), ("a", "2"), ("b", "1"), ("a:1", "1"), ("a", "1:1"), ("a*", "1")]:
        assert outcome(shared(rate, name=name, version=version), 7) == "answered"
        assert outcome(shared(rate, name=name, version=version), 7) == "cached"
    settings.configure(service=f"b-{uuid.uuid4().hex}")
    assert outcome(shared(rate, name="a"), 7) == "answered"
    assert len(asked) == 7


@pytest.mark.parametrize("one, other", [(1, 1.0), (1, True), (0.0, -0.0), ("1", 1), ((1,), [1]), ({1: 2}, {1: 2.0}), (None, "")])
def test_questions_that_differ_never_share_an_answer(service, one, other):
    """As in memory."""

    def show(x) -> str:
        return repr(x)

    assert (shared(show)(one), shared(show)(other)) == (repr(one), repr(other))
    assert [outcome(shared(show), each) for each in (one, other)] == ["cached", "cached"]


def test_the_object_of_a_method_is_part_of_the_question(service):
    """Two models that differ do not answer for each other; equal ones do."""

    @dataclass
    class Local:
        factor: int

        def rate(self, x: int) -> int:
            return x * self.factor

    assert shared(Model(2).rate)(7) == 14
    assert shared(Model(3).rate)(7) == 21
    assert outcome(shared(Model(2).rate), 7) == "cached"
    predict = shared(Local(5).rate)
    assert (predict(7), outcome(predict, 7), outcome(shared(Local(5).rate), 7)) == (35, "cached", "answered")


@dataclass
class Model:
    factor: int

    def rate(self, x: int) -> int:
        return x * self.factor


def test_per_principal(service):
    """What one principal was told, another is not told from the cache."""
    rate, asked = counting()
    for who in ("ann", "ann", "bob"):
        with acting_as(who):
            shared(rate, cache=Cache("1h", per="principal"))(7)
    assert len(asked) == 2


def test_own_keys(service):
    """A key function is asked once a call, and what it returns is the question."""
    made = []

    def key(x):
        made.append(x)
        return x % 10

    rate, asked = counting()
    predict = [shared(rate, cache=Cache("1h", key=key)) for _ in range(2)]
    assert [predict[0](7), predict[1](17), predict[1](8)] == [14, 14, 16]
    assert (asked, made) == ([7, 8], [7, 17, 8])


def test_another_version_of_a_variant_asks_for_itself(service):
    """with_options(version=...) shares no answer, neither here nor in memory."""
    rate, asked = counting()
    predict = shared(rate)
    assert [predict(7), with_options(predict, version="2")(7), with_options(predict, tags={"a": "b"})(7)] == [14] * 3
    assert len(asked) == 2


def test_what_other_processes_cannot_name_stays_in_memory(service, server, caplog):
    """A class inside a function means something here only: its calls are cached here, and that is said once."""

    @dataclass(frozen=True)
    class Local:
        x: int

    asked = []

    def rate(applicant: Any) -> int:
        asked.append(1)
        return 1

    predict = shared(rate)
    assert [outcome(predict, Local(1)) for _ in range(3)] == ["answered", "cached", "cached"]
    assert len(asked) == 1
    assert not keys(server, service)
    (record,) = caplog.records
    assert record.message == (
        "rate: args[0] is of type Local, a class that other processes cannot find by its name; define it at the top of a module:"
        " such calls are cached in this process only"
    )


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────────
class Color(enum.Enum):
    RED = "r"
    BLUE = 2


class Address(BaseModel):
    street: str = Field("Main", alias="Street")
    at: dt.date | None = None


@pytest.mark.parametrize(
    "kind, answer",
    [
        (int, 10**40),
        (float, -0.0),
        (float, 0.1 + 0.2),
        (float | int, 1),
        (int | str, "1"),
        (str, "é\u2028\0"),
        (bytes, b"\xff\0"),
        (None, None),
        (bool, True),
        (Color, Color.BLUE),
        (tuple[int, str], (1, "a")),
        (dict[int, list[float]], {1: [0.5], 2: []}),
        (set[str], {"a", "b"}),
        (dt.datetime, dt.datetime(2026, 7, 1, 12, 30, 0, 5)),
        (dt.timedelta, dt.timedelta(milliseconds=1500)),
        (Address, Address(Street="High", at=dt.date(2026, 7, 1))),
        (list[Address], [Address(), Address(Street="Low")]),
        (Prediction[str], Prediction("yes", 0.75, ("income", "age"))),
        (Prediction[Address], Prediction(Address(), 1.0)),
        (Any, {"a": [1, 2.5, None, True]}),
    ],
)
def test_answers_come_back_as_they_were(service, kind, answer):
    """Type and content, a new object for each reader."""

    def predict(x: int):
        return answer

    predict.__annotations__["return"] = kind
    assert outcome(shared(predict), 1) == "answered"
    decision = decide(shared(predict), 1)
    assert decision.outcome == "cached"
    assert type(decision.value) is type(answer)
    assert decision.value == answer
    assert repr(decision.value) == repr(answer) or isinstance(answer, set)  # equal sets may come in another order
    if isinstance(answer, dict | list):
        decision.value.clear()
        assert repr(shared(predict)(1)) == repr(answer)


class Wide(Address):
    extra: int = 1


@pytest.mark.parametrize(
    "kind, answer",
    [
        (None, np.float64(0.5)),  # no annotation at all
        (float, np.float64(0.5)),
        (float, 1),
        (Any, (1, 2)),
        (dict, {1: 2}),
        (Address, Wide()),
        (np.ndarray, np.ones(2)),
        (Prediction, Prediction("a", 0.5)),
        (str, "x" * (2**20)),
    ],
)
def test_answers_that_json_would_change_stay_in_memory(service, server, caplog, kind, answer):
    """They are never stored; after a few of them the guard keeps its answers to itself, and says so once."""

    def predict(x: int):
        return answer

    if kind is not None:
        predict.__annotations__["return"] = kind
    guard = shared(predict, validate=False)
    for x in range(3):
        guard(x)
    assert [outcome(guard, 9) for _ in range(3)] == ["answered", "cached", "cached"]
    assert type(guard(9)) is type(answer)
    assert outcome(shared(predict, validate=False), 9) == "answered"
    assert not keys(server, service)
    assert (
        len({record.message for record in caplog.records})
        == len([record for record in caplog.records if "not shared" in record.message])
        == 1
    )


def test_nan_does_not_become_none(service):
    """JSON has no NaN; an optional float must not come back as None."""

    def predict(x: int) -> float | None:
        return float("nan")

    guard = [shared(predict, validate=False) for _ in range(2)]
    assert repr(guard[0](1)) == repr(guard[1](1)) == "nan"


@pytest.mark.parametrize("batch", [0.4, 0.6])
def test_unsure_answers_are_never_stored(service, server, batch):
    """Nor is anything else that is not a fresh, confident answer of the function on time; and no lease is left behind."""

    def predict(x: float) -> Prediction[str]:
        return Prediction("yes", x)

    for guard in (shared(predict, confidence=0.5), shared(predict, confidence=0.5, fallback="no")):
        try:
            guard(batch)
        except Deferred:
            assert batch < 0.5
    assert len(keys(server, service)) == (0 if batch < 0.5 else 1)


def test_failures_fallbacks_and_late_answers_are_not_stored(service, server):
    """As in memory."""

    def fails(x: int) -> int:
        raise ZeroDivisionError

    def slow(x: int) -> int:
        time.sleep(0.15)
        return 1

    assert shared(fails, fallback=0)(1) == 0
    with pytest.raises(ZeroDivisionError):
        shared(fails)(1)
    assert outcome(shared(slow, budget=Budget("100ms", enforce="report")), 1) == "late"
    time.sleep(0.1)  # the lease of a late call may end by itself
    assert not keys(server, service)


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_rows_have_a_time_to_live_with_jitter(service, server):
    """The server forgets them by itself, not all at once."""
    rate, _ = counting()
    predict = shared(rate, cache=Cache("100s", stale_for="50s", jitter=0.5))
    for x in range(20):
        predict(x)
    left = [server.pttl(key) / 1000 for key in keys(server, service)]
    assert len(set(left)) > 15
    assert all(95 < each <= 150 for each in left)


def test_a_shorter_ttl_holds_for_older_rows_too(service):
    """What was stored for an hour is not fresh for a guard that now keeps answers for a moment."""
    rate, asked = counting()
    shared(rate)(7)
    time.sleep(0.05)
    assert outcome(shared(rate, cache=0.04), 7) == "answered"
    assert len(asked) == 2


def test_stale_answers_bridge_a_failure_and_a_refresh(service):
    """Fresh for the ttl; then one call refreshes while others, here and in other processes, are served the old answer."""
    rate, asked = counting()
    option = Cache(0.05, stale_for="1h", jitter=0)
    shared(rate, cache=option)(7)
    time.sleep(0.06)

    def fails(x: int) -> int:
        raise ConnectionError

    assert outcome(shared(fails, cache=option), 7) == "stale"
    entered, go_on = threading.Event(), threading.Event()

    def slow(x: int) -> int:
        entered.set()
        assert go_on.wait(SOON)
        return 15

    refreshing = shared(slow, cache=option)
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(refreshing, 7)
        assert entered.wait(SOON)
        assert [outcome(each, 7) for each in (shared(rate, cache=option), refreshing)] == ["stale", "stale"]
        go_on.set()
        assert leader.result(SOON) == 15
    assert decide(shared(rate, cache=option), 7).value == 15
    assert asked == [7]


# ── reset ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_reset_empties_the_cache_for_all(service, server):
    """Only this guard's version; and what is being found out meanwhile is not stored afterwards."""
    rate, asked = counting()
    kept = shared(rate, name="other")
    entered, go_on = threading.Event(), threading.Event()

    def slow(x: int) -> int:
        entered.set()
        assert go_on.wait(SOON)
        return 0

    kept(7)
    for x in range(30):
        shared(rate)(x)
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(shared(slow), 99)
        assert entered.wait(SOON)
        guard_of(shared(rate)).reset()
        assert len(keys(server, service)) == 1
        go_on.set()
        assert leader.result(SOON) == 0
    assert len(keys(server, service)) == 1
    assert [outcome(shared(rate), 7), outcome(kept, 7), outcome(shared(rate), 99)] == ["answered", "cached", "answered"]


def test_a_reset_that_does_not_reach_the_server_says_so(redis_server):
    """It must not pass for done: other processes would go on with the old answers."""
    settings.configure(service="loans", cache_url="redis://127.0.0.1:1/0")
    rate, _ = counting()
    with pytest.raises(GuardrailError, match="could not be emptied"):
        guard_of(shared(rate)).reset()


# ── a server that is dead, slow or lying ──────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def silent():
    """A server that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(100)
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0?socket_timeout=30&socket_connect_timeout=30&retry_on_timeout=true"


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("dead", [False, True])
def test_a_dead_or_silent_server_is_a_miss(silent, caplog, dead, later):
    """Every call is answered; together they wait for the server only once in a while; said once, counted."""
    settings.configure(service="loans", cache_url="redis://127.0.0.1:1/0" if dead else silent)
    rate, asked = counting()

    async def arate(x: int) -> int:
        return rate(x)

    start = time.perf_counter()
    if later:
        predict = shared(arate)

        async def main():
            return [await predict(x % 10) for x in range(300)]

        answers = asyncio.run(main())
    else:
        predict = shared(rate)
        answers = [predict(x % 10) for x in range(300)]
    took = time.perf_counter() - start
    assert answers == [x % 10 * 2 for x in range(300)]
    assert len(asked) == 300
    assert took < 3  # 600 waits would take a minute
    assert len(caplog.records) == 1
    assert "does not answer" in caplog.text
    assert "socket_timeout=30" not in caplog.text
    ((count, _),) = notices.counts().values()
    assert 1 <= count < 20


def test_a_silent_server_does_not_use_up_the_budget(silent):
    """The function still has most of the time, at the first call too."""
    settings.configure(service="loans", cache_url=silent)
    rate, asked = counting(pause=0.02)
    start = time.perf_counter()
    assert shared(rate, budget="2s")(7)  # a quarter of it is what a busy store may take to answer == 14
    assert time.perf_counter() - start < 5
    assert last_decision().timings["total"] < 0.2
    assert asked == [7]


def test_calls_find_the_server_again(service, server, monkeypatch):
    """After a failure it is left alone for a moment, then tried out."""
    monkeypatch.setattr(redis_connections, "ANSWER_SECONDS", 0.1)
    rate, asked = counting()
    predict = shared(rate)
    predict(7)
    server.execute_command("CLIENT", "PAUSE", 300, "ALL")
    assert outcome(predict, 7) == "answered"
    until = time.monotonic() + SOON
    while outcome(predict, 7) != "cached":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert notices.counts()


def test_connections_that_the_server_closed_are_replaced(service, server):
    """An idle connection that was cut is no failure."""
    rate, _ = counting()
    predict = shared(rate)
    predict(7)
    server.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert outcome(predict, 7) == "cached"
    assert not notices.counts()


@pytest.mark.parametrize(
    "lie",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[3600000,0,null,15",
        b'[3600000,0,null,"15"]',
        b"[3600000,0,null]",
        b"[3600000,0,null,15,15]",
        b'["3600000",0,null,15]',
        b"[-1,0,null,15]",
        b"[1e400,0,null,15]",
        b"[" * 100_000,
        b"x" * (2**20 + 1),
        ["a", "list"],
        ("no", "expiry"),
    ],
)
def test_a_row_that_lies_is_a_miss(service, server, lie):
    """Not an error, not an answer; and it is replaced by a true one."""
    rate, asked = counting()
    shared(rate)(7)
    (row,) = keys(server, service)
    if isinstance(lie, list):
        server.delete(row)
        server.rpush(row, *lie)
    elif isinstance(lie, tuple):
        server.persist(row)
    else:
        server.set(row, lie, px=3_600_000)
    assert (outcome(shared(rate), 7), asked) == ("answered", [7, 7])
    assert outcome(shared(rate), 7) == "cached"
    assert keys(server, service) == [row]


def test_a_full_server_is_a_miss(service, server):
    """It gives the rows that it has, and takes no more."""
    rate, asked = counting()
    shared(rate)(7)
    limit = server.config_get("maxmemory")["maxmemory"]
    server.config_set("maxmemory", 1)
    try:
        assert [outcome(shared(rate), x) for x in (7, 8)] == ["cached", "answered"]
    finally:
        server.config_set("maxmemory", limit)
    assert asked == [7, 8]


# ── around it ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_observing_touches_nothing(service, server):
    """No row, no lease."""
    rate, asked = counting()
    predict = shared(rate, mode="observe")
    assert [predict(7), predict(7)] == [14, 14]
    assert asked == [7, 7]
    assert not keys(server, service)


def test_a_guard_without_name_or_version_is_refused(service):
    """Who an answer belongs to must be known to all processes."""
    for options in ({"name": "rate"}, {"version": "1"}, {}):
        with pytest.raises(ConfigError, match="which function and model"):
            guarded(lambda x: x, cache="1h", **options)


def test_the_extra_that_is_missing_is_named(monkeypatch):
    """With the distribution's own name; nothing is cached elsewhere instead."""
    settings.configure(service="loans", cache_url="redis://missing/0")
    monkeypatch.setitem(sys.modules, "guardrail.store.redis_connections", None)
    monkeypatch.delattr("guardrail.store.redis_connections")
    predict = shared(counting()[0])
    with pytest.raises(ConfigError, match=r"guardrail-sdk\[redis\]"):
        predict(7)


def test_a_url_that_the_client_does_not_understand(redis_server):
    """Said at the first call, without the URL."""
    settings.configure(service="loans", cache_url=f"{redis_server}?wait_for_ever=secret")
    with pytest.raises(ConfigError, match="GUARDRAIL_CACHE_URL") as caught:
        shared(counting()[0])(7)
    assert "secret" not in str(caught.value)


def test_the_client_is_loaded_only_for_a_shared_cache():
    """A cache in memory neither needs nor imports redis."""
    program = (
        "import sys; from guardrail import guarded\n"
        "f = guarded(lambda x: x, cache='1h'); f(1); f(1)\n"
        "assert not {'redis', 'guardrail.policies.shared_cache'} & set(sys.modules), 'loaded'"
    )
    done = subprocess.run([sys.executable, "-c", program], env=dict(os.environ), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_doctor_finds_the_server_well(redis_server, service):
    """A round trip with a key of its own."""
    found = [(each.level, each.text) for each in doctor.examine(stdout=False) if each.what == "cache"]
    assert found == [("ok", f"{redis_server} keeps and gives back a test key")]


def test_many_questions_at_once(service):
    """More tasks than connections: each gets its own answer, and almost all of them are shared."""

    async def rate(x: int) -> int:
        return x * 2

    async def main(predict):
        return await asyncio.gather(*(predict(x) for x in range(300)))

    assert asyncio.run(main(shared(rate))) == asyncio.run(main(shared(rate))) == [x * 2 for x in range(300)]
    with ThreadPoolExecutor(30) as pool:
        assert list(pool.map(shared(counting()[0]), range(300))) == [x * 2 for x in range(300)]
