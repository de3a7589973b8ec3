"""Checked by mypy (strict) and basedpyright, never run: what a type checker sees of a guarded function.

Lines with an ignore are mistakes that must be found; one that is no longer found is an unused ignore, which fails the check.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, assert_type

from guardrail import (
    Audit,
    Batch,
    Breaker,
    Budget,
    Cache,
    Confidence,
    Decision,
    Deferred,
    Fallback,
    Guard,
    GuardrailError,
    Limit,
    LimitExceeded,
    Outcome,
    PartialBatch,
    Prediction,
    Retry,
    Review,
    Ticket,
    acting_as,
    audited,
    batch,
    budgeted,
    cached,
    check_deadline,
    circuit_broken,
    confident,
    decide,
    feedback,
    flush,
    guard_of,
    guarded,
    last_decision,
    last_good,
    limited,
    remaining,
    retried,
    shutdown,
    stage,
    validated,
    warm,
    with_options,
)


class Applicant:
    """A row."""


class House(Applicant):
    """A row of a narrower type."""


applicant = Applicant()


# ── functions ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@guarded
def bare(applicant: Applicant, *, strict: bool = False) -> str:
    """Guarded without options."""
    return f"{applicant} {strict}"


@guarded(version="3.2.0", confidence=0.8, budget="250ms", retry=2, cache="10m", owner="credit-ml@bank.example")
def full(applicant: Applicant, *, strict: bool = False) -> Prediction[str]:
    """Guarded with the short form of each option."""
    return Prediction(f"{applicant} {strict}", 0.9)


@guarded(
    name="loans",
    version=None,
    tags={"team": "credit"},
    kind="model",
    validate=False,
    budget=Budget("1s", attempt="300ms", reserve=0.3, enforce="report", on_late="return", max_abandoned=4),
    cache=Cache("10m", size=10, max_bytes=2**20, stale_for=timedelta(minutes=1), jitter=0, per="all"),
    retry=Retry(3, on=[TimeoutError], wait=0.1, max_wait="5s", budget=0.1),
    breaker=Breaker("bureau", failure_rate=0.5, slow_after="1s", window="30s"),
    limit=Limit(8, rate="100/s", wait="50ms"),
    confidence=Confidence(0.8, of="score"),
    review=Review("credit", on=["low", "failed"], owner="desk", wait="30s"),
    fallback=Fallback(last_good, "no"),
    mode="observe",
    audit=Audit("sync", required=True, inputs="none", output="auto"),
    batch=False,
    explain=None,
    owner=None,
    runbook="https://bank.example/runbook",
)
def objects(applicant: Applicant) -> str:
    """Guarded with the object of each option."""
    return str(applicant)


@guarded(budget=0.25)
async def later(applicant: Applicant, *, strict: bool = False) -> str:
    """Guarded, and asynchronous."""
    return f"{applicant} {strict}"


assert_type(bare(applicant), str)
assert_type(bare(House(), strict=True), str)
assert_type(bare(applicant=applicant), str)
assert_type(full(applicant, strict=True), Prediction[str])
assert_type(full(applicant).value, str)
assert_type(objects(applicant), str)
bare(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
bare(applicant, True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
bare(applicant, strikt=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
bare()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
full("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
wrong_answer: int = bare(applicant)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
no_attributes = bare.stats  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]


async def _functions() -> None:
    assert_type(await later(applicant), str)
    assert_type(await later(applicant=House(), strict=True), str)
    await later(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    not_awaited: str = later(applicant)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del not_awaited


def _takes(plain: Callable[[Applicant], str], waiting: Callable[[Applicant], Awaitable[str]]) -> None:
    del plain, waiting


_takes(bare, later)
_takes(later, bare)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# ── the short forms, on each kind of function ─────────────────────────────────────────────────────────────────────────
@validated
@budgeted("250ms")
@cached("10m")
@retried(3)
@limited(8)
@circuit_broken()
@confident(0.8)
@audited("sync")
def stacked(applicant: Applicant, *, strict: bool = False) -> str:
    """All short forms on one function."""
    return f"{applicant} {strict}"


@validated()
@budgeted(timedelta(seconds=1))
@cached(Cache("10m"))
@retried(Retry(3))
@limited(Limit(rate="5/s"))
@circuit_broken(Breaker())
@confident(Confidence(0.8))
@audited(Audit())
async def stacked_later(applicant: Applicant, *, strict: bool = False) -> str:
    """All short forms, given objects, on an async function."""
    return f"{applicant} {strict}"


@validated
@budgeted(Budget("1s"))
@retried(2)
@limited(2)
@circuit_broken()
@audited("buffered")
def stacked_stream(count: int) -> Iterator[str]:
    """The short forms that fit a generator."""
    yield str(count)


@validated
@budgeted("1s")
@retried(2)
@limited(2)
@circuit_broken()
@audited("buffered")
async def stacked_stream_later(count: int) -> AsyncIterator[str]:
    """The short forms that fit an async generator."""
    yield str(count)


assert_type(stacked(applicant, strict=True), str)
assert_type(stacked_stream(3), Iterator[str])
assert_type(stacked_stream_later(3), AsyncIterator[str])
stacked(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
stacked_stream("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
stacked_stream_later("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def _short_forms() -> None:
    assert_type(await stacked_later(applicant, strict=True), str)
    await stacked_later(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@cached("10m")
@limited(8)
def every_parameter(x: int, /, y: str, *rest: bytes, z: bool = False, **more: float) -> tuple[str, float]:
    """Short forms on each kind of parameter."""
    return f"{x}{y}{rest}{z}{more}", 0.9


assert_type(every_parameter(1, "a", b"c", z=True, w=1.0), tuple[str, float])
every_parameter(x=1, y="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
every_parameter(1, "a", "c")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
every_parameter(1, "a", w="b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# Each short form alone: what it takes, and that the signature goes through it.
def _plain(x: float, *, note: str = "") -> str:
    return f"{x}{note}"


assert_type(validated(_plain)(1.0, note="a"), str)
assert_type(validated()(_plain)(1.0, note="a"), str)
assert_type(budgeted("1s")(_plain)(1.0, note="a"), str)
assert_type(cached(60)(_plain)(1.0, note="a"), str)
assert_type(retried(3)(_plain)(1.0, note="a"), str)
assert_type(limited(3)(_plain)(1.0, note="a"), str)
assert_type(circuit_broken()(_plain)(1.0, note="a"), str)
assert_type(confident(0.5)(_plain)(1.0, note="a"), str)
assert_type(audited("sync")(_plain)(1.0, note="a"), str)
assert_type(guarded()(_plain)(1.0, note="a"), str)
assert_type(guarded(_plain, budget="1s")(1.0, note="a"), str)
budgeted([])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
cached(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
retried("three")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
limited("8")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
circuit_broken(True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
confident("0.8")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
audited("maybe")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
audited("off")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
guarded(budgt="1s")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
guarded(budget=[])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
guarded(kind="oracle")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
guarded(access=None)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
guarded("250ms")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


# ── methods, classmethods, staticmethods ──────────────────────────────────────────────────────────────────────────────
class Model:
    """Every binding."""

    @guarded
    def predict(self, x: float, *, note: str = "") -> str:
        """Guard a method, bare."""
        return f"{self} {x} {note}"

    @guarded(budget="1s")
    async def predict_later(self, x: float, *, note: str = "") -> str:
        """Guard an async method, with options."""
        return f"{self} {x} {note}"

    @classmethod
    @guarded(budget="1s")
    def build(cls, x: float) -> Model:
        """Guard a classmethod."""
        del x
        return cls()

    @staticmethod
    @guarded
    def scale(x: float, *, by: float = 1.0) -> float:
        """Guard a staticmethod."""
        return x * by

    @budgeted("1s")
    @cached("1m")
    def score(self, x: float) -> float:
        """Guard a method by short forms."""
        return x

    @classmethod
    @retried(2)
    def load(cls, path: str) -> Model:
        """Guard a classmethod by a short form."""
        del path
        return cls()

    @staticmethod
    @limited(2)
    async def fetch(path: str) -> bytes:
        """Guard an async staticmethod by a short form."""
        return path.encode()

    @guarded
    def stream(self, count: int) -> Iterator[str]:
        """Guard a generator method."""
        yield f"{self}{count}"

    @guarded(budget="1s")
    async def stream_later(self, count: int) -> AsyncIterator[str]:
        """Guard an async generator method."""
        yield f"{self}{count}"

    def __call__(self, x: float) -> str:
        """Answer, as a callable object."""
        return f"{self}{x}"


model = Model()
assert_type(model.predict(1.0, note="a"), str)
assert_type(Model.predict(model, 1.0), str)
assert_type(Model.build(1.0), Model)
assert_type(model.build(1.0), Model)
assert_type(Model.scale(1.0, by=2.0), float)
assert_type(model.scale(1.0), float)
assert_type(model.score(1.0), float)
assert_type(Model.load("a"), Model)
assert_type(model.stream(2), Iterator[str])
assert_type(model.stream_later(2), AsyncIterator[str])
assert_type(guarded(model)(1.0), str)
assert_type(guarded(model.predict)(1.0, note="a"), str)
model.predict("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.predict(1.0, "a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
model.score("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.stream("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Model.build("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Model.scale("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Model.load(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def _methods() -> None:
    assert_type(await model.predict_later(1.0, note="a"), str)
    assert_type(await Model.fetch("a"), bytes)
    assert_type([item async for item in model.stream_later(2)], list[str])
    await model.predict_later("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await Model.fetch(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# ── generators ────────────────────────────────────────────────────────────────────────────────────────────────────────
@guarded
def tokens(count: int) -> Generator[str, int, bool]:
    """Guard a generator that is sent to and returns."""
    sent = yield "token"
    return sent > count


@guarded(budget="1s")
async def tokens_later(count: int) -> AsyncIterator[str]:
    """Guard an async generator."""
    yield str(count)


assert_type(tokens(3), Generator[str, int, bool])
assert_type(tokens(3).send(1), str)
assert_type(tokens_later(3), AsyncIterator[str])
tokens("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
tokens_later("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# ── what takes a guarded function ─────────────────────────────────────────────────────────────────────────────────────
assert_type(decide(bare, applicant, strict=True), Decision[str])
assert_type(decide(bare, applicant).value, str)
assert_type(decide(model.predict, 1.0, note="a").value, str)
assert_type(decide(Model.build, 1.0).value, Model)
assert_type(decide(Model.scale, 1.0).value, float)
assert_type(decide(full, applicant).outcome, Outcome)
assert_type(decide(full, applicant).ticket, Ticket | None)
decide(bare, 1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
decide(bare)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]

assert_type(batch(bare, [applicant]), Batch[str])
values: Sequence[str | None] = batch(bare, [applicant], workers=2, progress=False, chunk=100).values
assert_type(batch(bare, [applicant])[0], Decision[str])
assert_type([row.value for row in batch(bare, [applicant])], list[str])
batch(bare, [applicant], workers="2")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]

assert_type(with_options(bare, budget="1s")(applicant, strict=True), str)
assert_type(with_options(model.predict, budget="1s")(1.0, note="a"), str)
assert_type(with_options(tokens, budget="1s")(3), Generator[str, int, bool])
with_options(bare, budget="1s")(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
with_options(bare, budgt="1s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

assert_type(guard_of(bare), Guard)
assert_type(guard_of(Model.build).policies(), str)
assert_type(guard_of(bare).options, Mapping[str, Any])
assert_type(guard_of(bare).last(3), Sequence[Decision[Any]])
assert_type(last_decision(), Decision[Any] | None)
assert_type(remaining(), float | None)
assert_type(flush(), bool)
assert_type(shutdown("5s"), bool)
warm(bare, applicant)
check_deadline()
feedback("id", "bad", value=-100.0)
feedback(actual="bad", business_id="loan-17", guard="loans")

with stage("retrieve", budget="80ms"), acting_as("ana", purpose="credit"):
    pass

try:
    bare(applicant)
except Deferred as deferred:
    assert_type(deferred.ticket, Ticket)
except PartialBatch as partial:
    assert_type(partial.batch, Batch[Any])
except LimitExceeded as busy:
    assert_type(busy.retry_after, float | None)
except GuardrailError as error:
    assert_type(error.hint, str | None)


async def _taking() -> None:
    async with stage("retrieve"):
        assert_type(await decide(later, applicant, strict=True), Decision[str])
    assert_type((await decide(model.predict_later, 1.0)).value, str)
    assert_type(await batch(later, [applicant]), Batch[str])
    assert_type(await batch(model.predict_later, [1.0], workers=8), Batch[str])
    assert_type(await with_options(later, budget="1s")(applicant), str)
    assert_type(await deferred_answer(), Any)
    await decide(later, 1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def deferred_answer() -> Any:
    """Wait for the person."""
    ticket = decide(bare, applicant).ticket
    return None if ticket is None else await ticket
