"""What load is put on: a guarded function through `decide`, a table of rows through `batch`, or a function without a guard."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from guardrail.errors import ConfigError
from guardrail.guard_upkeep import spec_of
from guardrail.load.tally import Ended
from guardrail.samples import Sample
from guardrail.spec import get

_TOTAL: Final = "total"
WORKERS: Final = 16  # threads


class Target(Protocol):
    """Something that can be asked.

    Attributes:
        name: For people.
        version: Of the model, "" where nobody says.
        budget: Seconds that a call may take, None where it has none.
        later: Whether it is asked in an event loop, and not on threads.
        workers: On how many threads, where nobody says.
        notes: What a reader of the figures has to know.
    """

    name: str
    version: str
    budget: float | None
    later: bool
    workers: int
    notes: list[str]

    def ask(self, item: Any) -> Any:
        """Ask once, and return an `Ended`; an awaitable one, where `later`.

        Raises:
            ConfigError: It is used in a wrong way, and so would all further calls be.
        """

    def close(self) -> None:
        """Give back what asking has taken."""


class _Called:
    """What all functions have in common."""

    workers = WORKERS

    def __init__(self, fn: Callable[..., Any], name: str, *, later: bool) -> None:
        self.fn = fn
        self.name = name
        self.version = ""
        self.budget: float | None = None
        self.later = later
        self.notes: list[str] = []

    def close(self) -> None:
        """Nothing was taken."""


class Guarded(_Called):
    """A guarded function of one row a call."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        from guardrail.using import guard_of  # noqa: PLC0415 - a load on an address needs no guard

        guard = guard_of(fn)
        super().__init__(fn, guard.name, later=guard.kind == "async")
        self.version = guard.version
        self.budget = _budget_of(guard)
        self.ask = self._ask_later if self.later else self._ask

    def _ask(self, item: Sample) -> Ended:
        from guardrail.using import decide  # noqa: PLC0415 - as above

        try:
            return _ended(decide(self.fn, *item.args, **item.kwargs))
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - Python refused the arguments: a row that does not fit
            return Ended({"failed": 1}, error=type(error).__name__)

    async def _ask_later(self, item: Sample) -> Ended:
        from guardrail.using import decide  # noqa: PLC0415 - as above

        try:
            return _ended(await decide(self.fn, *item.args, **item.kwargs))
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            return Ended({"failed": 1}, error=type(error).__name__)


class Tables(_Called):
    """A guarded function with `batch=True`: each call is a table of rows."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        from guardrail.using import guard_of  # noqa: PLC0415 - as above

        guard = guard_of(fn)
        super().__init__(fn, guard.name, later=guard.kind == "async")
        self.version = guard.version
        self.budget = _budget_of(guard)
        self.notes.append("Outcomes are those of the rows; latencies are those of the calls, each with a table of rows.")
        self.ask = self._ask_later if self.later else self._ask

    def _ask(self, item: Any) -> Ended:
        from guardrail.batches.batch import batch  # noqa: PLC0415 - as above

        return _of_rows(batch(self.fn, item, progress=False))

    async def _ask_later(self, item: Any) -> Ended:
        from guardrail.batches.batch import batch  # noqa: PLC0415 - as above

        return _of_rows(await batch(self.fn, item, progress=False))


class Plain(_Called):
    """A function without a guard: it answers or fails, and nobody knows where its time goes."""

    def __init__(self, fn: Callable[..., Any], name: str) -> None:
        super().__init__(fn, name, later=inspect.iscoroutinefunction(fn))
        self.notes.append(f"{name} is not guarded: its stages, outcomes and budget are not known. Put @guarded above its def.")
        self.ask = self._ask_later if self.later else self._ask

    def _ask(self, item: Sample) -> Ended:
        try:
            self.fn(*item.args, **item.kwargs)
        except Exception as error:  # noqa: BLE001 - that is what came of it
            return Ended({"failed": 1}, error=type(error).__name__)
        return Ended({"answered": 1})

    async def _ask_later(self, item: Sample) -> Ended:
        try:
            await self.fn(*item.args, **item.kwargs)
        except Exception as error:  # noqa: BLE001 - as above
            return Ended({"failed": 1}, error=type(error).__name__)
        return Ended({"answered": 1})


def target_of(fn: Callable[..., Any], name: str, *, tables: bool) -> Target:
    """Return how a function is asked.

    Args:
        fn: With a guard or without.
        name: What to call it where it has no guard.
        tables: Whether a call is to have several rows.

    Raises:
        ConfigError: It cannot be asked that way, or is a generator.
    """
    if not callable(fn):
        raise ConfigError(f"{name} is no function", hint="name a function: guardrail load package.module:predict")
    try:
        from guardrail.using import guard_of  # noqa: PLC0415 - as above

        guard = guard_of(fn)
    except ConfigError:
        if tables:
            raise ConfigError("--rows needs a guard with batch=True", hint="leave --rows out") from None
        if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
            raise ConfigError(
                f"{name} is a generator, which has no one answer to wait for", hint="load a function that returns"
            ) from None
        return Plain(fn, name)
    if guard.kind in ("stream", "astream"):
        raise ConfigError("a generator has no one answer to wait for", guard=guard.name, hint="load a function that returns")
    takes_tables = bool(get(spec_of(guard), "batch"))
    if tables and not takes_tables:
        raise ConfigError("--rows needs a guard with batch=True", guard=guard.name, hint="leave --rows out")
    return Tables(fn) if takes_tables else Guarded(fn)


def _budget_of(guard: Any) -> float | None:
    budget = get(spec_of(guard), "budget")
    return None if budget is None else budget.total


def _ended(decision: Any) -> Ended:
    stages = {name: seconds for name, seconds in decision.timings.items() if name != _TOTAL}
    return Ended({decision.outcome.value: 1}, stages, None if decision.error is None else type(decision.error).__name__)


def _of_rows(made: Any) -> Ended:
    outcomes = {outcome.value: many for outcome, many in made.counts.items()}
    stages: dict[str, float] = {}
    errors: Counter[str] = Counter()
    for decision in made:
        _keep_longest(stages, decision.timings)
        if decision.error is not None:
            errors[type(decision.error).__name__] += 1
    return Ended(outcomes, stages, errors.most_common(1)[0][0] if errors else None)


def _keep_longest(stages: dict[str, float], timings: Mapping[str, float]) -> None:
    """A stage of the call stands with each of its rows, and is still one stage."""
    for name, seconds in timings.items():
        if name != _TOTAL:
            stages[name] = max(stages.get(name, 0.0), seconds)
