"""Mode `observe`: every policy judges, nothing is changed; the verdicts are kept as what enforcing would have done."""

from __future__ import annotations

from collections.abc import Sequence
from types import GeneratorType
from typing import Any

from guardrail import clock
from guardrail.call import Call
from guardrail.errors import ConfigError, GuardrailError
from guardrail.policies.bar import Bar
from guardrail.policies.budget import Budget, span
from guardrail.policies.cases import LOOKED
from guardrail.policies.fallback import Fallback
from guardrail.policies.gate import Gate, trigger_of
from guardrail.review.judging import NOTHING, Fired


class Observe:
    """Stands alone around the function, which runs once, on the caller's own arguments.

    Verdicts are texts of the form "policy: verdict (detail)".

    Args:
        ahead: (option name, policy) of those that judge before the function, in their order.
        behind: (option name, policy) of those that judge its answer, in their order.
        counting: Policies that must hear of the end, to keep their windows.
        retry: Judges whether a failure would have been tried again, None without retries.
        budget: The option.
        bar: What an answer must reach.
        fallback: The option.
        gate: Knows which endings people see; None where nothing is caught.
    """

    def __init__(
        self,
        *,
        ahead: Sequence[tuple[str, Any]],
        behind: Sequence[tuple[str, Any]],
        counting: Sequence[Any],
        retry: Any,
        budget: Budget | None,
        bar: Bar | None,
        fallback: Fallback | None,
        gate: Gate | None,
    ) -> None:
        self.ahead = tuple(ahead)
        self.behind = tuple(behind)
        self.counting = tuple(counting)
        self.retry = retry
        self.budget = budget
        self.bar = bar
        self.fallback = fallback
        self.gate = gate

    def enter(self, call: Call) -> None:
        """Let each policy judge a trial of the call; what they would change, they change on the trial."""
        trial = Call(call.plan, call.args, call.kwargs, call.parent, call.start)
        would: list[str] = []
        for name, policy in self.ahead:
            try:
                turn = policy.enter(trial)
                if turn.__class__ is GeneratorType:  # it would wait for its turn
                    turn.close()
                    would.append(f"{name}: waited")
            except GuardrailError as problem:
                would.append(f"{name}: refused ({problem.args[0]})")
            except TypeError:
                if trial.misshapen:
                    call.misshapen = True
                raise
        call.held, trial.held = trial.held, ()
        if trial.permit is not None:
            call.permit, trial.permit.call = trial.permit, call
        call.snapshot = trial.snapshot
        call.business_id = trial.business_id
        call.trial = trial
        call.would = tuple(would)

    def leave(self, call: Call) -> None:
        """Let the rest judge how it ended."""
        trial = call.trial
        if trial is None:
            return
        call.trial = None
        would = list(call.would)
        refused = bool(would)
        trial.result, trial.error = call.result, call.error
        trial.attempts = call.attempts
        if call.error is None:
            for name, policy in self.behind:
                try:
                    policy.leave(trial)
                except ConfigError as problem:
                    would.append(f"{name}: unreadable ({problem.args[0]})")
                except GuardrailError as problem:
                    would.append(f"{name}: refused ({problem.args[0]})")
        for policy in self.counting:
            turn = policy.leave(trial)
            if turn.__class__ is GeneratorType:
                turn.close()
        call.confidence, call.reasons = trial.confidence, trial.reasons
        bar = self._bar_of(trial)
        if trial.asked is not None:
            call.asked = trial.asked
        if not refused:
            would.extend(self._endings(call, self._fired(trial), bar))
        call.would = tuple(would)

    def _bar_of(self, trial: Call) -> Bar | None:
        """Return what the answer must reach."""
        return None if self.bar is None else self.bar.of(trial)

    def _fired(self, trial: Call) -> Fired:
        """Return which conditions of the review hold."""
        return NOTHING if self.gate is None else self.gate.fired(trial)

    def _endings(self, call: Call, fired: Fired, bar: Bar | None) -> list[str]:
        """Return the verdicts on an ending that policies before the function would have let happen."""
        would: list[str] = []
        took = clock.now() - call.start
        if self.budget is not None and took > self.budget.total:
            would.append(f"budget: late ({span(took)} > {span(self.budget.total)})")
        trigger = why = None if call.error is None else trigger_of(call.error)
        if trigger is not None and call.error is not None:
            if self.retry is not None and self.retry.would_retry(call.error):
                would.append(f"retry: tried again ({type(call.error).__name__})")
        elif call.error is None and bar is not None and (bar.width or call.confidence is not None):
            try:
                if not bar.passes(call.confidence, call.result):
                    trigger = "low"
                    why = bar.why_low(call.confidence, call.result)
            except ConfigError as problem:
                would.append(f"confidence: unreadable ({problem.args[0]})")
            if trigger == "low" and self.fallback is None:
                would.append(f"confidence: deferred ({why})")
                return would
        if self.gate is not None and trigger != "low" and (trigger is not None or call.error is None):
            trigger = fired.reason if trigger is None else self.gate.reason_for(trigger, fired)
            why = fired.text if trigger in LOOKED else trigger
        if trigger is not None and trigger != "invalid":
            if self.fallback is not None:
                would.append(f"fallback: answered instead ({why})")
            elif self.gate is not None and trigger in self.gate.on:
                would.append(f"review: deferred ({why})")
        return would
