"""The plan of a guard with `batch=True`: the same policies in the same order, acting on the rows of a table."""

from __future__ import annotations

from typing import Any, get_args, get_origin

from guardrail import content
from guardrail.compiler.annotations import ANYTHING, binding_of, checks_of
from guardrail.compiler.assembly import Assembly
from guardrail.compiler.mode import how_to_revive
from guardrail.decision import Prediction
from guardrail.guard_upkeep import changed
from guardrail.plan import Plan
from guardrail.policies.annotations import Check, check_for
from guardrail.policies.answers import nothing
from guardrail.policies.bar import Bar, bar_of
from guardrail.policies.budget import AttemptDeadline, Deadline
from guardrail.policies.confidence import Confidence, Reading
from guardrail.policies.explain import Explaining
from guardrail.policies.review import Review
from guardrail.policies.row_cache import RowCache
from guardrail.policies.row_snapshot import RowSnapshot
from guardrail.policies.rows import Rows
from guardrail.policies.switch import Leniently, Stop
from guardrail.policies.table import AllAnswered, Tabular, TakenApart
from guardrail.policies.table_endings import RowsGate
from guardrail.policies.table_job import Job
from guardrail.policies.table_observe import ObserveTable
from guardrail.policies.table_outputs import item_type
from guardrail.policies.table_state import Place, place_of, row_type
from guardrail.policies.validation import Output, PredictionOutput


class TableAssembly(Assembly):
    """One compilation for a function over a table."""

    def plan(self) -> Plan:
        """Put the policies in order."""
        guard, budget, mode = self.guard, self.get("budget"), self.facts.mode
        self.checks = checks_of(guard)
        confidence: Confidence | None = self.get("confidence")
        bar = bar_of(confidence)
        fallback = self.get("fallback")
        review = self.get("review") or (Review() if bar is not None else None)
        job = self._job(confidence, bar, review)
        binding, inside = binding_of(guard, self.checks), self._inside()
        policies: list[Any] = []
        if mode == "observe":
            observe = ObserveTable(
                ahead=[*(("validate", policy) for policy in binding), *(each for each in inside if each[0] != "retry")],
                behind=[],
                counting=[policy for name, policy in inside if name == "breaker"],
                retry=next((policy for name, policy in inside if name == "retry"), None),
                budget=budget,
                bar=bar,
                fallback=fallback,
                gate=job.gate,
            )
            observe.job = job
            policies.append(observe)
        else:
            if budget is not None:
                policies.append(Deadline(budget, guard.name, bool(bar is not None or fallback or review)))
            policies += map(Leniently, binding) if mode == "killed" else binding
            policies += [Tabular(job), AllAnswered()]
            if mode == "killed":
                policies.append(Stop(guard.name, self.reason, how_to_revive(guard)))
            else:
                policies += [policy for _, policy in inside]
                if budget is not None:
                    policies.append(AttemptDeadline(budget))
                policies.append(TakenApart(job))
        guard.parts["states"] = self.states
        perform, aside = self._ways() if mode == "enforce" else (None, None)
        plan = Plan(
            guard.instead or guard.fn, self.facts, policies, perform=perform, aside=aside, snapshot=job.snapshot,
            summarise=nothing,  # the answers stand in the records of the rows
        )  # fmt: skip
        plan.budget, plan.bar = budget, bar
        return plan

    def _job(self, confidence: Confidence | None, bar: Bar | None, review: Review | None) -> Job:
        guard, mode = self.guard, self.facts.mode
        place = place_of(guard.shape, guard.name)
        annotations = dict(guard.parts.get("annotations", {}))
        kind, container, converts = row_type(annotations.get(place.name))
        row = None
        if kind is not None and self.get("validate"):
            row = check_for(kind, f"a row of {place.name}", guard.name)
            if converts:
                self.checks.pop(place.name, None)
        snapshot = self._snapshot(RowSnapshot, {**annotations, place.name: kind}, self._business_id(place))
        snapshot.place = place
        returns = guard.parts["returns"]
        item = item_type(returns)
        snapshot.returns = item or returns
        predicts = (get_origin(item) or item) is Prediction
        plan = Plan(
            guard.fn,
            self.facts._replace(returns_prediction=predicts),
            snapshot=snapshot,
            summarise=self._summarise(item or returns),
        )
        known = self._gate(bar, review, [])
        whole, output = self._outputs(item, predicts=predicts)
        gate = RowsGate(
            bar,
            self.get("fallback"),
            None if known is None else known.memory,
            review,
            check=None if output is None else output.check,
        )
        gate.plan, gate.place, gate.row = plan, place, place.name
        confidence = self._reading(confidence, review, table=True)
        return Job(
            guard=guard.name,
            place=place,
            row=row,
            converts=converts and self.get("validate"),
            container=container,
            plan=plan,
            snapshot=snapshot,
            gate=gate,
            caching=None if mode in ("killed", "observe") else self._row_cache(),
            confidence=None if confidence is None else Reading(confidence).read,
            own_reading=confidence is not None and (confidence.of is not None or confidence.max_width is not None),
            whole=whole,
            output=output,
            explaining=None if self.get("explain") is None else Explaining(self.get("explain"), guard.name),
            returns=returns,
            summarises=plan.summarise in (content.summary, content.digested),
            lenient=mode == "killed",
        )

    def _business_id(self, place: Place) -> Any:
        """Return the option, with the table's parameter put in front of the name of a column."""
        option = self.get("audit").business_id
        if not isinstance(option, str) or (self.guard.shape is not None and option.split(".")[0] in self.guard.shape.parameters):
            return option
        return f"{place.name}.{option}"

    def _outputs(self, item: Any, *, predicts: bool) -> tuple[Output | None, Output | None]:
        """Return the check of the whole result, or of each output where the return annotation says its type."""
        check: Check | None
        if item is None:
            check = self.checks.get("return")
            return (None if check is None or self.facts.returns_prediction else Output(check)), None
        if predicts:
            of = get_args(item)
            check = check_for(of[0] if of else Any, "an answer", self.guard.name) or ANYTHING
            return None, PredictionOutput(check)
        check = check_for(item, "an answer", self.guard.name)
        return None, None if check is None else Output(check)

    def _row_cache(self) -> RowCache | None:
        option = self.get("cache")
        if option is None:
            return None
        parts, kin = self.guard.parts, self.guard.kin
        caching: RowCache | None = parts.get("cache")
        if caching is None or caching.option != option:
            shared = None if kin is None or changed(self.guard) & {"cache", "version"} else kin.parts.get("cache")
            caching = parts["cache"] = shared or RowCache(option, Rows(option.size, option.max_bytes))
        return caching
