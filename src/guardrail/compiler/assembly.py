"""Which policies a guard has, in the one fixed order, with the state that each one uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from guardrail import registry
from guardrail.call import Call
from guardrail.compiler.annotations import STREAMS, binding_of, bound_of, checks_of
from guardrail.compiler.caches import caching_of
from guardrail.compiler.mode import how_to_revive
from guardrail.drivers import asynchronous, hand_off, streams, watchdog
from guardrail.guard_upkeep import spec_of
from guardrail.plan import Facts, Plan
from guardrail.policies.annotations import ANY
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
from guardrail.policies.validation import Output, PredictionOutput
from guardrail.spec import get

if TYPE_CHECKING:
    from guardrail.guard import Guard

S = TypeVar("S", bound=Snapshot)
MEMORY_ROWS: Final = 10_000  # of last_good, where there is no cache that says otherwise
MEMORY_BYTES: Final = 64 * 2**20


class Assembly:
    """One compilation."""

    def __init__(self, guard: Guard, facts: Facts, reason: str | None) -> None:
        self.guard = guard
        self.facts = facts
        self.reason = reason
        self.spec = spec_of(guard)
        self.states: dict[str, Any] = {}
        self.stream = guard.kind in STREAMS

    def get(self, name: str) -> Any:
        """Return an option in force."""
        return get(self.spec, name)

    def plan(self) -> Plan:
        """Put the policies in order."""
        guard, budget, mode = self.guard, self.get("budget"), self.facts.mode
        self.checks = checks_of(self.guard)
        self.snapshot = self._snapshot(Snapshot, guard.parts.get("annotations", {}), self.get("audit").business_id)
        confidence: Confidence | None = self.get("confidence")
        bar = bar_of(confidence)
        review = self.get("review") or (Review() if bar is not None else None)
        keepers: list[Callable[[Call], None]] = []
        gate = self._gate(bar, review, keepers)
        binding = binding_of(guard, self.checks)
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
    def _snapshot(self, make: type[S], annotations: Mapping[str, Any], business_id: str | Callable[..., str] | None) -> S:
        guard, audit, cache = self.guard, self.get("audit"), self.get("cache")
        first = None if guard.shape is None else next(iter(guard.shape.parameters), None)
        has_owner = first in ("self", "cls") and guard.shape is not None and guard.shape.parameters[first].annotation is ANY
        keyed = cache is not None or self.get("review") or self.get("confidence") or self._remembers()
        return make(
            guard.name,
            guard.shape,
            skip=int(has_owner),
            bound=bound_of(guard.fn),
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
