"""The function that the self-test is about: how it is called, bare and guarded, and when two answers are the same."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import functools
import inspect
import itertools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar

from guardrail import call as calls
from guardrail import clock, content
from guardrail.errors import ConfigError, InvalidInput
from guardrail.guard_upkeep import spec_of
from guardrail.policies.table import Tabular
from guardrail.policies.validation import Binding
from guardrail.samples import Sample
from guardrail.spec import get
from guardrail.using import guard_of

T = TypeVar("T")
_ITEMS: Final = 1_000  # of a generator, per call
_OWN: Final = ("answered", "cached", "failed")  # endings in which the function itself has spoken


class Ran(NamedTuple):
    """What came of one call.

    Attributes:
        value: The answer; of a generator its items, as a list.
        error: What it raised instead.
        outcome: The outcome of a guarded call, None where the function ran bare.
    """

    value: Any = None
    error: Exception | None = None
    outcome: str | None = None

    @property
    def own(self) -> bool:
        """Whether the function itself has answered or failed, rather than a policy."""
        return self.outcome is None or self.outcome in _OWN


class Case(NamedTuple):
    """One sample, and what the bare function makes of it.

    Attributes:
        sample: The arguments as given.
        inner: The arguments as validation hands them on, None where it refuses them.
        bare: What the bare function makes of them, None where it does not get them.
        steady: Whether it makes the same of them twice; None where that cannot be told.
    """

    sample: Sample
    inner: Sample | None = None
    bare: Ran | None = None
    steady: bool | None = None


class Subject:
    """A guarded function under test.

    Args:
        fn: As its users call it: also a bound method.
        samples: Arguments to run it with.
    """

    def __init__(self, fn: Callable[..., Any], samples: list[Sample]) -> None:
        if isinstance(fn, functools.partial):
            raise ConfigError("a partial of a guarded function is not guarded itself", hint="test the function inside")
        self.fn = fn
        self.guard = guard_of(fn)
        self.kind = self.guard.kind
        self.owner: tuple[Any, ...] = () if getattr(fn, "__self__", None) is None else (fn.__self__,)  # type: ignore[attr-defined]
        self.signature = inspect.signature(fn)
        self.loop = Loop()
        self.cases = [self._case(sample) for sample in samples]

    def option(self, name: str) -> Any:
        """Return an option in force."""
        return get(spec_of(self.guard), name)

    @property
    def in_child(self) -> bool:
        """Whether the function runs in a child process."""
        budget = self.option("budget")
        return budget is not None and budget.enforce == "process"

    def _case(self, sample: Sample) -> Case:
        inner = self._validated(sample)
        if inner is None:
            return Case(sample)
        first, second = self.bare(inner), self.bare(inner)
        return Case(sample, inner, first, same(first, second))

    def _validated(self, sample: Sample) -> Sample | None:
        plan = self.guard.plan
        args, kwargs = _copied(sample)
        call = calls.Call(plan, (*self.owner, *args), kwargs, None, clock.now())
        try:
            for policy in plan.policies:
                if isinstance(policy, Binding):
                    policy.enter(call)
                elif isinstance(policy, Tabular):
                    policy.convert(call)
        except InvalidInput:
            return None
        return Sample(call.args[len(self.owner) :], call.kwargs)

    # ── calling ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def bare(self, inner: Sample) -> Ran:
        """Call the user's function itself, on a copy of validated arguments."""
        args, kwargs = _copied(inner)
        return self._run(self.guard.fn, (*self.owner, *args), kwargs)._replace(outcome=None)

    def call(self, sample: Sample, fn: Callable[..., Any] | None = None) -> Ran:
        """Call the guarded function, or one derived from it, on a copy of the arguments."""
        args, kwargs = _copied(sample)
        return self._run(fn or self.fn, args, kwargs)

    def call_at_once(self, samples: list[Sample], threads: int, *, bare: bool = False) -> list[Ran]:
        """Call it for many samples at once: in threads, or where it is asynchronous in as many tasks as there are samples."""
        prefix = self.owner if bare else ()
        fn = self.guard.fn if bare else self.fn
        ready = [((*prefix, *args), kwargs) for args, kwargs in map(_copied, samples)]
        if self.kind in ("async", "astream"):

            async def all_of_them() -> list[Ran]:
                return await asyncio.gather(*(self._later(fn, args, kwargs) for args, kwargs in ready))

            return self.loop.run(all_of_them())
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda each: self._run(fn, *each), ready))

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ran:
        if self.kind in ("async", "astream"):
            return self.loop.run(self._later(fn, args, kwargs))
        before = calls.latest.get()
        try:
            value = fn(*args, **kwargs)
            if self.kind == "stream":
                value = list(itertools.islice(value, _ITEMS))
        except Exception as error:  # noqa: BLE001 - what it raises is what is compared
            return Ran(error=error, outcome=self._outcome(before))
        return Ran(value, outcome=self._outcome(before))

    async def _later(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ran:
        before = calls.latest.get()
        try:
            if self.kind == "async":
                value = await fn(*args, **kwargs)
            else:
                value = [item async for item in fn(*args, **kwargs)]
        except Exception as error:  # noqa: BLE001 - as above
            return Ran(error=error, outcome=self._outcome(before))
        return Ran(value, outcome=self._outcome(before))

    def _outcome(self, before: Any) -> str | None:
        entry = calls.latest.get()
        return None if entry is before or entry is None or entry[3].name != self.guard.name else entry[4]


class Loop:
    """One event loop for all calls, since clients that a function keeps belong to their loop; also where one is running."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="guardrail-selftest")

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the caller's context to its end."""
        context = contextvars.copy_context()
        return self._thread.submit(self._run, coroutine, context).result()

    def _run(self, coroutine: Coroutine[Any, Any, T], context: contextvars.Context) -> T:
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(coroutine, context=context)

    def close(self) -> None:
        """End the loop and its thread."""
        if self._runner is not None:
            self._thread.submit(self._runner.close).result()
        self._thread.shutdown()


def _copied(sample: Sample) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Copy arguments, so that a function that changes them does not change the next run's; what cannot be copied is shared."""
    try:
        return copy.deepcopy((sample.args, sample.kwargs))
    except Exception:  # noqa: BLE001 - a class of the user's may raise anything
        return sample.args, dict(sample.kwargs)


# ── comparing ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def same(first: Ran, second: Ran) -> bool | None:
    """Return whether two calls came to the same: an equal answer, or an error of the same type and arguments.

    None where that cannot be told: answers of a class that compares by identity.
    """
    if first.error is not None or second.error is not None:
        return type(first.error) is type(second.error) and _equal(_args(first.error), _args(second.error)) is not False
    return _equal(first.value, second.value)


def _args(error: Exception | None) -> Any:
    return getattr(error, "args", None)


def _equal(first: Any, second: Any) -> bool | None:
    if type(first) is not type(second):
        return False
    with contextlib.suppress(Exception):  # what cannot be encoded exactly is compared as its class says
        return content.encode(first) == content.encode(second)
    if inspect.getattr_static(type(first), "__eq__") is inspect.getattr_static(object, "__eq__"):
        return None  # by identity
    try:
        return bool(first == second)
    except Exception:  # noqa: BLE001 - an array's, or a class of the user's
        return None
