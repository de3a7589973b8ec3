"""One guarded function: its options, its plan in force, and what can be asked of it."""

from __future__ import annotations

import inspect
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from guardrail import guard_upkeep, registry
from guardrail.functions import default_name, inner
from guardrail.shape import own_shape_of, shape_of
from guardrail.spec import Given, get

if TYPE_CHECKING:
    from guardrail.decision import Decision
    from guardrail.plan import Plan

Kind = Literal["sync", "async", "stream", "astream"]
MARK: Final = "__guardrail__"  # the one private attribute on a guarded function


class Guard:
    """A guarded function's policies, state and numbers; what `guard_of(predict)` returns.

    Attributes:
        name: By which it is known in settings, records and on the command line.
        version: The model's version.
        mode: The mode in force: "enforce", "observe", "off" or "killed".
        options: The options in force, by name.
    """

    name: str
    version: str

    def __init__(
        self,
        fn: Callable[..., Any],
        given: Mapping[str, Given],
        local: Mapping[str, Any],
        *,
        short: bool = False,
        kin: Guard | None = None,
    ) -> None:
        self.fn = fn
        self.given = dict(given)
        self.local = local  # names of the defining function, until every annotation is resolved
        self.short = short  # made of short forms only, which merge with what stands next to them
        self.kin = kin  # the guard whose function this is under other options
        self._begin()
        guard_upkeep.reconfigure(self)
        registry.add(self)

    def _begin(self) -> None:
        self.kind: Kind = kind_of(self.fn)
        self.shape = shape_of(self.fn)
        self.own = own_shape_of(self.fn)  # what a decorator below takes, as long as its signature is believed
        self.name = get(self.given, "name") or default_name(self.fn)
        self.lock = threading.RLock()
        self.parts: dict[str, Any] = {}  # the state of this function object: checks, answers, flights
        self.instead: Callable[..., Any] | None = None  # what a test runs in the function's place
        self.wrapper: Callable[[], Any] = lambda: None
        self.variants: list[tuple[Mapping[str, Given], Callable[..., Any]]] = []
        self.planned: Plan | None = None
        self.in_force: Mapping[str, Given] | None = None  # the options in force; `guard_upkeep.spec_of`

    # ── what users ask ────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def mode(self) -> str:
        """The mode in force."""
        return self.plan.mode

    @property
    def options(self) -> Mapping[str, Any]:
        """The options in force, by name."""
        return types.MappingProxyType({name: given.value for name, given in guard_upkeep.spec_of(self).items()})

    @property
    def plan(self) -> Plan:
        """The policies as the drivers run them; compiled at the first use, and again after a change of mode. Not for users."""
        plan = self.planned
        return guard_upkeep.compiled(self) if plan is None else plan

    def policies(self) -> str:
        """Return what is in force, in order, a line each, and where each value came from."""
        from guardrail.compiler.words import policies_text  # noqa: PLC0415

        return policies_text(self)

    def stats(self) -> Mapping[str, Any]:
        """Return counts by outcome, durations, cache, breaker, limit and abandoned calls, up to the last call that ended."""
        from guardrail import figures  # noqa: PLC0415

        return figures.stats(self)

    def last(self, n: int = 10) -> Sequence[Decision[Any]]:
        """Return the latest decisions of this guard in this process, newest first.

        Args:
            n: How many at the most; at least 50 are kept. Answers are kept where they are numbers, booleans, enums or short
                texts.
        """
        from guardrail import figures  # noqa: PLC0415

        return figures.last(self, n)

    def reset(self) -> None:
        """Empty the cache, close the breaker, give all permits back and set the counters to nought.

        Raises:
            GuardrailError: The cache that processes share could not be emptied; all else is done.
        """
        from guardrail import figures  # noqa: PLC0415

        with self.lock:
            for name in ("cache", "memory"):
                self.parts.pop(name, None)
            for state in self.parts.get("states", {}).values():
                state.reset()
            self.planned = None
        figures.forget(self)
        if get(guard_upkeep.spec_of(self), "cache") is not None:
            from guardrail.compiler import caches  # noqa: PLC0415

            caches.forget(self)

    def __repr__(self) -> str:
        return f"<Guard {self.name} {self.version}, {self.mode}>"

    def _repr_html_(self) -> str:
        from guardrail import notebook  # noqa: PLC0415

        return notebook.guard_card(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # As state and not as arguments: the function's own globals may lead back to this guard.
        return _blank, (), (self.fn, self.given)

    def __setstate__(self, state: tuple[Callable[..., Any], Mapping[str, Given]]) -> None:
        self.fn, given = state
        self.given = dict(given)
        self.local = {}
        self.short = False
        self.kin = None
        self._begin()
        guard_upkeep.reconfigure(self)
        registry.add(self)


def _blank() -> Guard:
    return Guard.__new__(Guard)


def kind_of(fn: Callable[..., Any]) -> Kind:
    """Return which of the four kinds a callable is."""
    within = inner(fn)
    for candidate in (within, getattr(type(within), "__call__", None)):  # noqa: B004 - the method itself is wanted
        if inspect.iscoroutinefunction(candidate):
            return "async"
        if inspect.isasyncgenfunction(candidate):
            return "astream"
        if inspect.isgeneratorfunction(candidate):
            return "stream"
    return "sync"
