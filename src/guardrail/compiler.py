"""From a guard's options to its plan: which policies it has, in the one fixed order, with the state that each one uses."""

from __future__ import annotations

import functools
import hashlib
import inspect
import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args, get_origin

import orjson

from guardrail import control, markers, notices, registry, settings
from guardrail.call import Call
from guardrail.compiler_shared import caching_of
from guardrail.decision import Prediction
from guardrail.drivers import asynchronous, hand_off, streams, watchdog
from guardrail.functions import inner
from guardrail.plan import Facts, Plan
from guardrail.policies.annotations import ANY, Check, check_for, resolve
from guardrail.policies.answers import keeper, nothing
from guardrail.policies.bar import Bar, bar_of
from guardrail.policies.breaker import Breaking
from guardrail.policies.budget import AttemptDeadline, Deadline
from guardrail.policies.business_id import finder, subject_finder
from guardrail.policies.circuit import Circuit
from guardrail.policies.conditions import reading_for
from guardrail.policies.confidence import Confidence, Reading
from guardrail.policies.explain import Explaining
from guardrail.policies.fallback import Memory, last_good
from guardrail.policies.gate import Gate, InvalidGate
from guardrail.policies.limit import Limiting
from guardrail.policies.observe import Observe
from guardrail.policies.permits import Permits
from guardrail.policies.rate import Rate
from guardrail.policies.retry import Retrying
from guardrail.policies.retry_budget import RetryBudget
from guardrail.policies.review import Review
from guardrail.policies.rows import Rows
from guardrail.policies.snapshot import Snapshot
from guardrail.policies.switch import Leniently, Stop
from guardrail.policies.validation import Binding, Output, PredictionOutput, Validation
from guardrail.policies_text import words
from guardrail.spec import get, mode_name

if TYPE_CHECKING:
    from guardrail.guard import Guard

S = TypeVar("S", bound=Snapshot)
KILLED: Final = ("mode", "killed")  # an option and its value
MEMORY_ROWS: Final = 10_000  # of last_good, where there is no cache that says otherwise
MEMORY_BYTES: Final = 64 * 2**20


def compile_plan(guard: Guard) -> Plan:
    """Return the plan for a guard as options, settings and switches stand now.

    Raises:
        ConfigError: An annotation or an option turns out to be unusable.
    """
    control.subscribe(registry.replan)
    settings.on_change(registry.reconfigure)
    mode, reason = mode_of(guard)
    facts = _facts(guard, mode)
    if mode == "off":
        return Plan(guard.instead or guard.fn, facts, bypass=True)
    assembly: type[Assembly] = Assembly
    if get(guard.spec, "batch"):
        from guardrail.compiler_tables import TableAssembly  # noqa: PLC0415 - builds on this module

        assembly = TableAssembly
    plan = assembly(guard, facts, reason).plan()
    # What the policies would import in the middle of a call, they import now: start-up never counts against a budget.
    for policy in plan.policies:
        if hasattr(policy, "warm"):
            policy.warm()
    return plan


def mode_of(guard: Guard) -> tuple[str, str | None]:
    """Return the mode in force and, for a killed guard, why. No mode and no setting opens a kill."""
    switched, killed = control.state_of(guard.name)
    option = get(guard.spec, "mode")
    if killed or "killed" in (option, get(guard.given, "mode")):
        return "killed", control.why_killed(guard.name)
    if settings.current().disabled:
        return "off", None
    return mode_name(switched or option), None


def how_to_revive(guard: Guard) -> str:
    """Return what lets a killed guard run again: one thing for each place where it is said."""
    switches = control.switches()
    switched = [name for name in (guard.name, control.EVERY) if name in switches and switches[name].killed]
    steps = [f"guardrail revive {shlex.quote(name)}" for name in switched]
    given = guard.given.get("mode")
    if given is not None and given.value == "killed":
        steps.append(f'take mode="killed" out of its {given.origin}')
    steps += [f"change {said.where}" for said in settings.current().said(guard.name) if (said.option, said.value) == KILLED]
    return ", and ".join(steps)


def _facts(guard: Guard, mode: str) -> Facts:
    spec = guard.spec
    described = {name: words(given.value) for name, given in sorted(spec.items())}
    described.update(name=guard.name, version=guard.version, mode=mode, function=guard.kind)
    budget = get(spec, "budget")
    confidence: Confidence | None = get(spec, "confidence")
    returns = guard.parts.get("returns")
    if returns is None:
        returns = guard.parts["returns"] = _return_annotation(guard)
    return Facts(
        name=guard.name,
        version=guard.version,
        mode=mode,
        kind=get(spec, "kind"),
        audit=get(spec, "audit"),
        digest=hashlib.blake2b(orjson.dumps(described, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest(),
        described=described,
        budget_ms=None if budget is None else budget.total * 1000,
        threshold=None if confidence is None else confidence.at_least,
        schema=_schema(guard),
        tags=get(spec, "tags"),
        returns_prediction=(get_origin(returns) or returns) is Prediction,
    )


def _schema(guard: Guard) -> str | None:
    if guard.shape is None:
        return None
    names = []
    for name, parameter in guard.shape.parameters.items():
        annotation = parameter.annotation
        shown = getattr(annotation, "__name__", None) or str(annotation)
        names.append(name if annotation is ANY else f"{name}: {shown}")
    return ", ".join(names)


def _return_annotation(guard: Guard) -> Any:
    annotation = ANY if guard.shape is None else inspect.signature(guard.fn).return_annotation
    try:
        return resolve(_plain(guard.fn), "return", annotation, guard.local)
    except Exception:  # noqa: BLE001 - an annotation is the user's text: whatever it raises, it cannot be checked
        return ANY


def _plain(fn: Any) -> Any:
    """Return the function whose module an annotation's names stand in."""
    fn = inspect.unwrap(inner(fn))
    return getattr(fn, "__func__", fn) if inspect.isroutine(fn) else type(fn).__call__


class Assembly:
    """One compilation."""

    def __init__(self, guard: Guard, facts: Facts, reason: str | None) -> None:
        self.guard = guard
        self.facts = facts
        self.reason = reason
        self.spec = guard.spec
        self.states: dict[str, Any] = {}
        self.stream = guard.kind in ("stream", "astream")

    def get(self, name: str) -> Any:
        """Return an option in force."""
        return get(self.spec, name)

    def plan(self) -> Plan:
        """Put the policies in order."""
        guard, budget, mode = self.guard, self.get("budget"), self.facts.mode
        self.checks = self._checks()
        self.snapshot = self._snapshot(Snapshot, guard.parts.get("annotations", {}), self.get("audit").business_id)
        confidence: Confidence | None = self.get("confidence")
        bar = bar_of(confidence)
        review = self.get("review") or (Review() if bar is not None else None)
        keepers: list[Callable[[Call], None]] = []
        gate = self._gate(bar, review, keepers)
        binding = self._binding()
        inside = self._inside()
        answer = self._answer(self._reading(confidence, review))
        policies: list[Any] = []
        if mode == "observe":
            policies.append(self._observe(binding, inside, answer, bar, gate))
        else:
            if budget is not None:
                policies.append(Deadline(budget, guard.name, gate is not None))
            if review is not None and "invalid" in review.on and gate is not None:
                policies.append(InvalidGate(gate))
            policies += [*(map(Leniently, binding) if mode == "killed" else binding), self.snapshot]
            if gate is not None:
                policies.append(gate)
            if mode == "killed":
                policies.append(Stop(guard.name, self.reason, how_to_revive(guard)))
            else:
                caching = self._caching(keepers)
                policies = [*(settling for each in caching for settling in each.outermost), *policies, *caching]
                policies += [policy for _, policy in inside]
                if budget is not None:
                    policies.append(AttemptDeadline(budget))
                policies += [policy for _, policy in reversed(answer)]
        guard.parts["states"] = self.states
        perform, aside = self._ways() if mode == "enforce" else (None, None)
        if self.stream:
            perform = streams.holding(perform)
        plan = Plan(
            guard.instead or guard.fn, self.facts, policies, perform=perform, aside=aside, keepers=keepers, snapshot=self.snapshot,
            summarise=self._summarise(guard.parts["returns"]), caches=bool(self.get("cache")),
        )  # fmt: skip
        plan.budget, plan.bar = budget, bar
        return plan

    # ── arguments ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _checks(self) -> dict[str, Check]:
        """Return the check of each annotated parameter (and "return"); what cannot be resolved yet is tried at each compile."""
        guard = self.guard
        known: dict[str, Check | None] = guard.parts.setdefault("checks", {})
        if guard.shape is None:
            return {}
        wanted = {name: parameter.annotation for name, parameter in guard.shape.parameters.items()}
        first = next(iter(wanted), None)
        if first in ("self", "cls") and wanted[first] is ANY:
            del wanted[first]
        if not self.stream:
            wanted["return"] = guard.parts["returns"]
        fn = _plain(guard.fn)
        for name, annotation in wanted.items():
            if name not in known:
                known[name] = self._check(fn, name, annotation)
        if not self.get("validate"):
            return {}  # the annotations were resolved all the same: they carry the marks of what is secret
        return {name: check for name, check in known.items() if check is not None}

    def _check(self, fn: Any, name: str, annotation: Any) -> Check | None:
        guard = self.guard
        try:
            kind = resolve(fn, name, annotation, guard.local)
            self.guard.parts.setdefault("annotations", {})[name] = kind
            if not self.get("validate"):
                return None
            if name == "return" and (get_origin(kind) or kind) is Prediction:
                of = get_args(kind)
                return check_for(of[0] if of else Any, "the answer", guard.name) or ANYTHING
            if name == "return" and kind is None:
                return check_for(type(None), "the answer", guard.name)
            return check_for(kind, name, guard.name)
        except Exception as problem:  # noqa: BLE001 - an annotation is the user's text: whatever it raises, it cannot be checked
            if isinstance(annotation, str):  # what it marks must not get out for that
                guard.parts.setdefault("annotations", {}).setdefault(name, markers.guessed(annotation))
            notices.say(
                "unresolved",
                f"{name} is not checked: its annotation cannot be resolved ({type(problem).__name__}: {problem})",
                guard=guard.name,
            )
            return None

    def _binding(self) -> list[Any]:
        guard = self.guard
        if guard.shape is None:
            return []
        refuse = _refusal(guard)
        checks = {name: check for name, check in self.checks.items() if name != "return"}
        return [Validation(guard.shape, checks, refuse) if checks else Binding(guard.shape, refuse)]

    def _snapshot(self, make: type[S], annotations: Mapping[str, Any], business_id: str | Callable[..., str] | None) -> S:
        guard, audit, cache = self.guard, self.get("audit"), self.get("cache")
        first = None if guard.shape is None else next(iter(guard.shape.parameters), None)
        has_owner = first in ("self", "cls") and guard.shape is not None and guard.shape.parameters[first].annotation is ANY
        keyed = cache is not None or self.get("review") or self.get("confidence") or self._remembers()
        return make(
            guard.name,
            guard.shape,
            skip=int(has_owner),
            bound=_bound(guard.fn),
            annotations=dict(annotations),
            encode=bool(keyed) or (audit.durability != "off" and audit.inputs != "none"),
            key=None if cache is None else cache.key,
            per=None if cache is None else cache.per,
            business_id=None if guard.shape is None else finder(guard.shape.positional, annotations, business_id),
            inputs="off" if audit.durability == "off" else audit.inputs,
            subject=None if guard.shape is None else subject_finder(guard.shape.positional, annotations),
        )

    def _remembers(self) -> bool:
        fallback = self.get("fallback")
        return fallback is not None and last_good in fallback.rungs

    # ── endings ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def _gate(self, bar: Bar | None, review: Review | None, keepers: list[Callable[[Call], None]]) -> Gate | None:
        fallback = self.get("fallback")
        if bar is None and fallback is None and review is None:
            return None
        memory = None
        if self._remembers():
            memory = self.guard.parts.get("memory")
            if memory is None:
                memory = self.guard.parts["memory"] = Memory(Rows(MEMORY_ROWS, MEMORY_BYTES))
            keepers.append(memory.keep)
        if review is not None and review.callback is not None:
            from guardrail.review import signing  # noqa: PLC0415 - for those who have callbacks

            signing.key()
        check = None if self.stream else self.checks.get("return")
        return Gate(bar, fallback, memory, review, check=check)

    def _caching(self, keepers: list[Callable[[Call], None]]) -> list[Any]:
        option = self.get("cache")
        if option is None:
            return []
        caching = self.guard.parts["cache"] = caching_of(self.guard, option)
        keepers.insert(0, caching.keep)
        return [caching]

    # ── around the function ───────────────────────────────────────────────────────────────────────────────────────────
    def _inside(self) -> list[tuple[str, Any]]:
        """Return retry, breaker, rate and concurrency: what stands between the cache and the function."""
        name = self.guard.name
        inside: list[tuple[str, Any]] = []
        retry, breaker, limit = self.get("retry"), self.get("breaker"), self.get("limit")
        if retry is not None:
            tokens = self.states["retry"] = registry.state("retry", name, retry, lambda: RetryBudget(retry))
            inside.append(("retry", Retrying(retry, tokens)))
        if breaker is not None:
            shared = breaker.name or name
            circuit = self.states["breaker"] = registry.state("circuit", shared, breaker, lambda: Circuit(breaker), name)
            inside.append(("breaker", Breaking(breaker, circuit)))
        if limit is not None:
            rate = permits = None
            if limit.rate is not None:
                rate = self.states["rate"] = registry.state("rate", name, limit, lambda: Rate(limit))
            if limit.concurrency is not None:
                permits = self.states["limit"] = registry.state("permits", name, limit, lambda: Permits(limit))
            inside.append(("limit", Limiting(limit, permits, rate)))
        return inside

    def _reading(self, confidence: Confidence | None, review: Review | None, *, table: bool = False) -> Confidence | None:
        """Return how the confidence is read, None where nobody asks for it."""
        shape = self.guard.shape
        return reading_for(review, confidence, () if shape is None else tuple(shape.parameters), self.guard.name, table=table)

    def _answer(self, confidence: Confidence | None) -> list[tuple[str, Any]]:
        """Return what judges an answer, in the order of judging."""
        answer: list[tuple[str, Any]] = []
        if "return" in self.checks and not self.stream:
            judge = PredictionOutput if self.facts.returns_prediction else Output
            answer.append(("validate", judge(self.checks["return"])))
        if not self.stream:
            if confidence is not None:
                answer.append(("confidence", Reading(confidence)))
            if self.get("explain") is not None:
                answer.append(("explain", Explaining(self.get("explain"), self.guard.name)))
        return answer

    def _observe(
        self, binding: list[Any], inside: list[tuple[str, Any]], answer: list[tuple[str, Any]], bar: Bar | None,
        gate: Gate | None,
    ) -> Observe:  # fmt: skip
        return Observe(
            ahead=[*(("validate", policy) for policy in binding), ("audit", self.snapshot)]
            + [(name, policy) for name, policy in inside if name != "retry"],
            behind=answer,
            counting=[policy for name, policy in inside if name == "breaker"],
            retry=next((policy for name, policy in inside if name == "retry"), None),
            budget=self.get("budget"),
            bar=bar,
            fallback=self.get("fallback"),
            gate=gate,
        )

    def _ways(self) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
        """Return how an attempt and how a fallback is run."""
        budget, kind = self.get("budget"), self.guard.kind
        if kind in ("async", "astream"):
            if budget is None:
                return None, None
            return (watchdog.aperform if budget.enforce == "report" else asynchronous.bounded), None
        if budget is None:
            return None, None
        if budget.enforce == "report":
            return watchdog.perform, None
        if budget.enforce == "thread":
            return hand_off.perform, hand_off.aside
        from guardrail.drivers import processes  # noqa: PLC0415 - 10 ms that only guards with processes pay

        return processes.perform, hand_off.aside

    def _summarise(self, returns: Any) -> Callable[[Any], Any]:
        """Return what makes of an answer of some type what its record keeps."""
        audit = self.get("audit")
        if audit.durability == "off" or self.stream:
            return nothing
        return keeper(audit.output, returns)


def _same(value: Any) -> Any:
    return value


ANYTHING: Final = Check(None, _same, _same, frozenset())


def _refusal(guard: Guard) -> Callable[..., Any]:
    """Return what raises Python's own TypeError for a call of the wrong shape."""
    fn = guard.fn
    if inspect.isfunction(fn) and not hasattr(fn, "__wrapped__") and not hasattr(fn, "__signature__"):
        return fn  # its arguments do not fit, so calling it raises before anything runs
    return inspect.signature(fn).bind


def _bound(fn: Any) -> tuple[Any, ...] | None:
    """Return the bound object and a partial's arguments: they are part of the question."""
    parts: list[Any] = []
    while isinstance(fn, functools.partial):
        parts += [fn.args, dict(fn.keywords)]
        fn = fn.func
    if inspect.ismethod(fn):
        parts.append(fn.__self__)
    elif not inspect.isroutine(fn):
        parts.append(fn)
    elif inspect.isbuiltin(fn) and not inspect.ismodule(getattr(fn, "__self__", None)):
        parts.append(fn.__self__)
    return tuple(parts) or None
