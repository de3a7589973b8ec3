"""Mode `observe` for a function over a table: every row is judged, none is changed, and the verdicts are counted."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from guardrail import call as calls
from guardrail import clock
from guardrail.asks import Asks
from guardrail.batches.result import Batch, outcome_of
from guardrail.errors import ConfigError, GuardrailError, InvalidInput
from guardrail.policies.observe import Observe
from guardrail.policies.table_job import opened, validate
from guardrail.policies.table_records import record_rows
from guardrail.review.judging import NOTHING, Fired
from guardrail.tables import table_of

if TYPE_CHECKING:
    from guardrail.call import Call
    from guardrail.policies.bar import Bar
    from guardrail.policies.table_job import Job
    from guardrail.policies.table_state import State


class ObserveTable(Observe):
    """As `Observe`; `job` says how rows are judged. The verdicts on rows stand on the call: "validate: 7 of 1000 rows refused"."""

    job: Job

    def enter(self, call: Call) -> None:
        """Judge the call, then each row, on the caller's own table."""
        super().enter(call)
        trial, job = call.trial, self.job
        if trial is None or table_of(job.place.get(trial)) is None:
            return  # an iterator gives its rows only once, and they are the function's
        state = opened(trial, job)
        validate(state, job)
        if job.snapshot.encode:
            job.snapshot.of_rows(trial, state)
            call.snapshot = trial.snapshot
        job.find_business_ids(trial, state)
        job.choose_bars(trial, state)
        call.table = state

    def leave(self, call: Call) -> Asks | None:  # type: ignore[override]  # it may have to wait for room in the ledger
        """Judge how the call ended, then each row."""
        state = call.table
        call.table = None
        super().leave(call)
        if state is None or (call.error is not None and not isinstance(call.error, Exception)):
            return None
        return self._end(call, state)

    def _end(self, call: Call, state: State) -> Asks:
        _ = call.id
        next_seq = calls.next_seq
        state.seqs = [next_seq() for _ in range(state.count)]
        verdicts = self._refused(state)
        error = call.error
        if error is None:
            verdicts += self._judge(call, state)
        elif isinstance(error, Exception):
            for at in range(state.count):
                state.fail(at, error)
                state.outcomes[at] = outcome_of(error)
        call.would = (*call.would, *verdicts)
        batch = None if state.wanted is None else Batch[Any](state.table.index)
        took = (clock.now() - call.start) / max(1, state.count)
        yield from record_rows(call, state, self.job.plan, took, batch)
        if state.wanted is not None:
            state.wanted.batch = batch
        return None

    @staticmethod
    def _refused(state: State) -> list[str]:
        """Turn the errors of rows that do not fit into verdicts."""
        refused, state.errors = state.errors, {}
        for at, error in refused.items():
            state.would[at] = (f"validate: refused ({error.args[0]})" if isinstance(error, InvalidInput) else "validate: failed",)
        return [f"validate: {len(refused)} of {state.count} rows refused"] if refused else []

    def _judge(self, call: Call, state: State) -> list[str]:
        """Read the outputs; each is its row's answer, whatever enforcing would have made of it."""
        job, count = self.job, state.count
        try:
            found = job.read(call.result, state)
        except GuardrailError as problem:
            state.outcomes[:] = ["answered"] * count
            return [f"validate: refused ({problem.args[0]})"]
        state.values[:] = found.items
        state.outcomes[:] = ["answered"] * count
        verdicts = []
        unfit = job.unfit(found.items)
        for at, misfit in unfit.items():
            state.would[at] = (*state.would.get(at, ()), f"validate: refused ({misfit.args[0]})")
        if unfit:
            verdicts.append(f"validate: {len(unfit)} of {count} answers refused")
        try:
            sure = job.confidences(found, unfit)
        except ConfigError as problem:
            return [*verdicts, f"confidence: unreadable ({problem.args[0]})"]
        state.sure[:] = sure
        bar, low = self.bar, list[int]()
        if bar is not None:
            try:
                low = [
                    at for at, one in enumerate(sure) if at not in unfit and not state.bar(at, bar).passes(one, found.items[at])
                ]
            except ConfigError as problem:
                return [*verdicts, f"confidence: unreadable ({problem.args[0]})"]
            for at in low:
                why = state.bar(at, bar).why_low(sure[at], found.items[at])
                state.would[at] = (*state.would.get(at, ()), f"confidence: low ({why})")
        if low and self.fallback is not None:
            verdicts.append(f"fallback: answered {len(low)} of {count} rows instead (low)")
        elif low:
            verdicts.append(f"confidence: {len(low)} of {count} rows deferred")
        return verdicts + self._looked_at(call, state, {*low, *unfit})

    def _bar_of(self, trial: Call) -> Bar | None:  # noqa: ARG002 - each row has its own
        return self.bar

    def _fired(self, trial: Call) -> Fired:  # noqa: ARG002 - conditions are about rows
        return NOTHING

    def _looked_at(self, call: Call, state: State, otherwise: Collection[int]) -> list[str]:
        """Ask the conditions about each row that would have been answered."""
        found = [at for at, _ in self.job.gate.looked_at(call, state, dict.fromkeys(otherwise))]
        word = "review: deferred" if self.fallback is None else "fallback: answered instead"
        for at in found:
            state.would[at] = (*state.would.get(at, ()), f"{word} ({state.fired[at].text})")
        if not found:
            return []
        if self.fallback is not None:
            return [f"fallback: answered {len(found)} of {state.count} rows instead (a condition of the review holds)"]
        return [f"review: {len(found)} of {state.count} rows deferred"]
