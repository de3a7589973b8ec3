"""One guarded function: its options, its plan in force, and what can be asked of it."""

from __future__ import annotations

import inspect
import threading
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from guardrail import registry
from guardrail.errors import ConfigError
from guardrail.functions import code_hash, default_name, inner
from guardrail.shape import Misshapen, Shape, own_shape_of, shape_of
from guardrail.spec import Given, check_together, get
from guardrail.store import forks

if TYPE_CHECKING:
    from guardrail.decision import Decision
    from guardrail.plan import Plan
    from guardrail.settings import Said

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
        self.reconfigure()
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
        self._spec: Mapping[str, Given] | None = None

    @property
    def spec(self) -> Mapping[str, Given]:
        """The options in force, each with where it came from."""
        if self._spec is None:
            self.reconfigure()
        return self._spec or {}

    def reconfigure(self) -> None:
        """Put the settings over what the decorator says, and compile again at the next call.

        Raises:
            ConfigError: They do not go together.
        """
        from guardrail import overlay, settings  # noqa: PLC0415 - settings are read at the first decoration

        said = settings.current().said(self.name)
        spec = overlay.overlaid(self.given, said, self.name)
        self._check_together(spec, said)
        if get(spec, "batch"):
            from guardrail.policies.table_state import place_of  # noqa: PLC0415 - for functions over tables

            place_of(self.shape, self.name)
        review = get(spec, "review")
        if settings.current().cache_url is not None and get(spec, "cache") is not None:
            self._check_shared(spec, "a cache that processes share needs", "cache=...")
        if review is not None and review.reuse is not None:
            self._check_shared(spec, "people's answers that are used again need", "review=Review(reuse=...)")
        self.version = get(spec, "version") or f"auto:{code_hash(self.fn)}"
        self._spec = spec
        self.planned = None

    def _check_together(self, spec: Mapping[str, Given], said: Sequence[Said]) -> None:
        try:
            check_together(spec, self.kind, self.name)
        except ConfigError as problem:
            if not said:
                raise
            check_together(self.given, self.kind, self.name)  # wrong by itself: settings have nothing to do with it
            named = ", ".join(dict.fromkeys(each.where for each in said))
            raise ConfigError(
                f"{named}: with this the options do not go together: {problem.args[0]}", guard=self.name, hint=problem.hint
            ) from None

    def _check_shared(self, spec: Mapping[str, Given], what: str, option: str) -> None:
        if not (get(spec, "name") and get(spec, "version")):
            raise ConfigError(
                f"{what} to know which function and model an answer belongs to",
                guard=self.name,
                hint=f'write @guarded(name="loans", version="3.2.0", {option})',
            )

    def settle(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Shape | None:
        """Find out by the first call whether the signature of a decorated function is true; it counts for all that follow.

        A call that fits it shows that it is. One that only the decorator below can take shows that it may not be, and its arguments
        are passed on unchecked: whoever calls then sees whether the function took them (`believe`). Nobody turns checks
        off by a later call. A signature that marks parameters as secret, personal or as a business id is always kept: what
        stands where could not be told any more; and so is that of a guard which hides the function's own TypeError.

        Returns:
            The signature that is in doubt, None where it is believed.
        """
        own, shape = self.own, self.shape
        if own is None or shape is None:
            return None
        try:
            shape.bind(args, kwargs)
        except Misshapen:
            try:
                own.bind(args, kwargs)
            except Misshapen:
                return None
            _ = self.plan  # which resolves the annotations and merges the options
            from guardrail import markers  # noqa: PLC0415 - only such guards need them

            marks = (markers.Secret, markers.PII, markers.Subject, markers.BusinessId)
            marked = any(markers.holds(kind, *marks) for kind in self.parts.get("annotations", {}).values())
            if marked or any(get(self._spec or {}, name) is not None for name in ("fallback", "review")):
                return None
            with self.lock:
                if self.own is None:
                    return None
                self._trust(own)
            return shape
        self.own = None
        return None

    def believe(self, shape: Shape, problem: BaseException | None) -> None:
        """Judge a signature that was in doubt by how the call ended.

        An answer shows that it is untrue, a TypeError that it is true after all; a refusal or any other error shows nothing.
        """
        if problem is not None:
            with self.lock:
                own = self.shape
                self._trust(shape)
                if not isinstance(problem, TypeError):
                    self.own = own
            return
        from guardrail import notices  # noqa: PLC0415 - only such guards need them

        notices.say(
            "unchecked", "arguments are not checked: a decorator below takes others than its signature says", guard=self.name
        )

    def _trust(self, shape: Shape) -> None:
        self.shape, self.own = shape, None
        self.parts.pop("checks", None)
        self.reconfigure()

    def stands_for(self, wrapper: Any) -> None:
        """Note the function that users call, without keeping it alive."""
        self.wrapper = weakref.ref(wrapper)

    def changed(self) -> set[str]:
        """Return the options in which this guard differs from the one it was derived from."""
        kin = {} if self.kin is None else self.kin.given
        return {name for name, given in self.given.items() if name not in kin or kin[name].value != given.value}

    @property
    def plan(self) -> Plan:
        """The plan in force; compiled at the first use, and again after a change of mode."""
        plan = self.planned
        return self._compile() if plan is None else plan

    def _compile(self) -> Plan:
        with forks.apart(forks.LOADING):  # a child that is forked in the middle of an import could never import that module
            from guardrail import compiler  # noqa: PLC0415 - pydantic and all the policies are loaded here, not at import

            with self.lock:
                if self.planned is None:
                    registry.add(self)
                    self.planned = compiler.compile_plan(self)
                return self.planned

    def inject(self, instead: Callable[..., Any] | None) -> None:
        """Run something else in the place of the user's function, for tests; None ends it."""
        self.instead = instead
        self.planned = None

    def replan(self) -> None:
        """Compile again at the next call: a switch or a setting has changed."""
        with self.lock:
            self.planned = None

    def renew(self) -> None:
        """Begin with new state, as a fresh definition would."""
        with self.lock:
            self.parts.clear()
            self.variants.clear()
            self._spec = self.planned = None

    def after_fork(self) -> None:
        """Begin in a child process: nothing that a lost thread may hold, none of its answers."""
        self.lock = threading.RLock()
        for name in ("cache", "memory"):
            self.parts.pop(name, None)
        self.planned = None

    # ── what users ask ────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def mode(self) -> str:
        """The mode in force."""
        return self.plan.mode

    @property
    def options(self) -> Mapping[str, Any]:
        """The options in force, by name."""
        return types.MappingProxyType({name: given.value for name, given in self.spec.items()})

    def policies(self) -> str:
        """Return what is in force, in order, a line each, and where each value came from."""
        from guardrail.policies_text import policies_text  # noqa: PLC0415

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
        if get(self.spec, "cache") is not None:
            from guardrail import compiler_shared  # noqa: PLC0415

            compiler_shared.forget(self)

    def forget_personal(self) -> None:
        """Drop the answers and latest decisions that are kept in this process, where they may be about a person."""
        plan = self.planned
        if plan is not None and plan.snapshot is not None and not plan.snapshot.about_people:
            return
        with self.lock:
            for name in ("cache", "memory"):
                self.parts.pop(name, None)
            self.planned = None
        from guardrail.telemetry import stats  # noqa: PLC0415 - only an erasure asks for it

        stats.forget_latest(self.name)

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
        self.reconfigure()
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
