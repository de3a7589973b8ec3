"""`batch=True`: the policies of a function over a table act on each row, and the function answers the rows that are left.

One policy around retry, breaker, limit and the function: on the way in it takes out the rows that need no answer of the
function's, on the way out it judges the outputs row by row, and puts the whole together again.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from guardrail import call as calls
from guardrail import clock
from guardrail.asks import ANSWERED, Asks
from guardrail.batches.result import Batch, outcome_of
from guardrail.decision import Prediction
from guardrail.errors import AuditUnavailable, ConfigError, GuardrailError, PartialBatch
from guardrail.policies import table_outputs
from guardrail.policies.gate import trigger_of
from guardrail.policies.table_job import Job, opened, validate
from guardrail.policies.table_records import record_rows
from guardrail.tables.likeness import likeness_for

if TYPE_CHECKING:
    from guardrail.call import Call
    from guardrail.policies.bar import Bar
    from guardrail.policies.explain import Explaining
    from guardrail.policies.row_cache import RowCache
    from guardrail.policies.table_state import State

_STOPS: Final = (ConfigError, AuditUnavailable)
_GRAVITY: Final = ("failed", "late", "refused", "deferred")  # which outcome a call has whose rows ended differently


class Tabular:
    """Takes a call over a table apart into rows, and together again."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def warm(self) -> None:
        """Import what the first case would import."""
        self.job.gate.warm()

    # ── in ────────────────────────────────────────────────────────────────────────────────────────────────────────────
    def enter(self, call: Call) -> None:
        """Judge, encode and look up each row; the function receives those that are still to be answered.

        Raises:
            InvalidInput: There is no table where one should be.
        """
        job = self.job
        state = call.table = opened(call, job)
        validate(state, job)
        self._encode(call, state)
        if state.keys is not None and job.caching is not None:
            self._look_up(call, state, job.caching, job.gate.bar)
        if state.errors or any(state.outcomes):
            state.pending = [at for at, outcome in enumerate(state.outcomes) if outcome is None and at not in state.errors]
        if state.count and not state.pending:
            return
        state.asked = state.part(state.pending)
        if state.asked is not job.place.get(call):
            job.place.put(call, state.asked)

    def convert(self, call: Call) -> None:
        """Let a rehearsal's function receive what it would receive.

        Raises:
            Exception: What the first row that does not fit ends with.
        """
        state = opened(call, self.job)
        validate(state, self.job)
        for error in state.errors.values():
            raise error
        self.job.place.put(call, state.part(state.pending))

    def _encode(self, call: Call, state: State) -> None:
        job, snapshot = self.job, self.job.snapshot
        if snapshot.encode:
            snapshot.of_rows(call, state)
        job.choose_bars(call, state)
        if job.caching is not None or job.gate.memory is not None:
            state.keys = snapshot.keys(call, state)
        job.find_business_ids(call, state)

    @staticmethod
    def _look_up(call: Call, state: State, caching: RowCache, bar: Bar | None) -> None:
        get = caching.rows.get
        for at, key in enumerate(state.keys or ()):
            row = get(key) if key is not None and at not in state.errors else None
            if row is not None and row.expires > call.start:
                answer = row.answer()
                if bar is not None and not state.bar(at, bar).passes(
                    row.confidence, answer
                ):  # it was sure enough when it was kept
                    continue
                state.values[at] = answer
                state.sure[at] = row.confidence
                state.outcomes[at] = "cached"

    # ── out ───────────────────────────────────────────────────────────────────────────────────────────────────────────
    def leave(self, call: Call) -> Asks | None:
        """Judge the outputs and end every row."""
        state = call.table
        if state is None or (
            call.error is not None and (not isinstance(call.error, Exception) or isinstance(call.error, _STOPS))
        ):
            call.table = None
            return None
        return self._end(call, state)

    def _end(self, call: Call, state: State) -> Asks:
        job = self.job
        _ = call.id  # the rows' ids share its moment
        next_seq = calls.next_seq
        state.seqs = [next_seq() for _ in range(state.count)]
        trouble: dict[int, str | None] = {}
        for at, error in state.errors.items():
            if isinstance(error, GuardrailError):
                error.decision_id = calls.decision_id(call.at, state.seqs[at])
            trouble[at] = trigger_of(error)
        self._judge(call, state, trouble)
        call.error = None
        if job.gate.looks:
            job.gate.look(call, state, trouble)
        if trouble:
            yield from job.gate.recover_rows(call, state, trouble)
        for at, error in state.errors.items():
            state.outcomes[at] = state.outcomes[at] or outcome_of(error)
        self._keep(call, state)
        took = (clock.now() - call.start) / max(1, state.count)
        batch = Batch[Any](state.table.index) if state.errors or state.wanted is not None else None
        yield from record_rows(call, state, job.plan, took, batch)
        self._put_together(call, state, batch)
        call.table = None
        return None

    def _judge(self, call: Call, state: State, trouble: dict[int, str | None]) -> None:
        """Give each row its output, or note what is wrong with it."""
        job = self.job
        problem = call.error
        found = state.found
        if isinstance(problem, Exception):
            state.whole = problem
            trigger = trigger_of(problem)
            for at in state.pending:
                state.errors[at] = problem
                trouble[at] = trigger
        elif found is not None:
            state.answered = True
            state.likeness = found.likeness
            if job.summarises:
                state.digests = found.digests()
            self._judge_rows(call, state, found, trouble)

    def _judge_rows(self, call: Call, state: State, found: table_outputs.Outputs, trouble: dict[int, str | None]) -> None:
        job = self.job
        unfit = job.unfit(found.items)
        for place, problem in unfit.items():
            at = state.pending[place]
            if isinstance(problem, GuardrailError):
                problem.guard, problem.decision_id = job.guard, calls.decision_id(call.at, state.seqs[at])
            state.errors[at] = problem
            trouble[at] = trigger_of(problem)
        bars = state.bars
        values, outcomes, sureness, bar = state.values, state.outcomes, state.sure, job.gate.bar
        for at, item, sure in zip(state.pending, found.items, job.confidences(found, unfit), strict=True):
            if at in state.errors:
                continue
            sureness[at] = sure
            if item.__class__ is Prediction and item.reasons and job.confidence is not None:
                state.reasons[at] = tuple(str(reason) for reason in item.reasons)
            if bar is not None and not (bar if bars is None else bars[at]).passes(sure, item):
                state.provisional[at] = item
                trouble[at] = "low"
            else:
                values[at] = item
                outcomes[at] = "answered"
        if job.explaining is not None:
            self._explain(call, state, found, job.explaining)

    def _explain(self, call: Call, state: State, found: table_outputs.Outputs, explaining: Explaining) -> None:
        rows = state.rows(state.pending)
        for at, item, row in zip(state.pending, found.items, rows, strict=True):
            if at not in state.errors:
                made = self.job.gate.row_call(call, state, at, row)
                made.result = item
                explaining.leave(made)
                if made.reasons:
                    state.reasons[at] = made.reasons

    # ── afterwards ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _keep(self, call: Call, state: State) -> None:
        """Store fresh, confident answers, and how the function puts them."""
        job, caching, memory = self.job, self.job.caching, self.job.gate.memory
        if caching is not None:
            if state.answered:
                caching.likeness = state.likeness
            elif state.likeness is None:
                state.likeness = caching.likeness
        if state.keys is None or not state.answered or call.late:
            return
        stores = [store.rows for store in (caching, memory) if store is not None]
        for at in state.pending:
            key = state.keys[at]
            if key is not None and state.outcomes[at] == "answered":
                expires = 0.0 if caching is None else caching.expiry()
                row = stores[0].row_of(state.values[at], state.sure[at], expires, job.guard)
                if row is None:
                    continue  # an answer that cannot be copied, which has been said
                for store in stores:
                    store.put(key, row)

    def _put_together(self, call: Call, state: State, batch: Batch[Any] | None) -> None:
        """Let the call end with the function's own result, with one like it, or with what says which rows have none."""
        if state.wanted is not None:
            state.wanted.batch = batch
        if not state.errors:
            outcomes = set(state.outcomes)
            if not state.answered or outcomes - {"answered"}:
                likeness = state.likeness or likeness_for(self.job.returns, state.given)
                call.result = likeness.rebuild(state.values, self._sureness(state), state.table)
            if len(outcomes) == 1:
                call.outcome = outcomes.pop() or "answered"
            return
        if (
            state.whole is not None
            and len(state.errors) == state.count
            and all(error is state.whole for error in state.errors.values())
        ):
            call.error = state.whole  # nothing was said of any row: it is the call that ended so
            return
        missing = Counter(state.outcomes[at] for at in state.errors)
        call.outcome = max(_GRAVITY, key=lambda outcome: missing[outcome])
        call.result = calls.MISSING
        call.error = PartialBatch(
            f"{len(state.errors):,} of {state.count:,} rows have no answer: {'' if batch is None else batch.describe()}",
            batch=batch,
            guard=self.job.guard,
            decision_id=call.id,
            hint="batch(predict, rows) returns every answer there is, and what became of each row",
        )
        call.error.__cause__ = state.whole

    @staticmethod
    def _sureness(state: State) -> list[float | None]:
        """Return what a result with confidences says of each row: a person is sure, a fallback is not."""
        known = {"human": 1.0, "fallback": 0.0}
        return [known.get(outcome or "", sure) for outcome, sure in zip(state.outcomes, state.sure, strict=True)]


class TakenApart:
    """Stands where the output check stands, inside retry and breaker: what is not one output per row is no answer."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def leave(self, call: Call) -> None:
        """Take the result of an attempt apart that did not fail.

        Raises:
            InvalidOutput: It is not one output per row, or does not fit the return annotation.
        """
        if call.error is None:
            call.table.found = self.job.read(call.result, call.table)


class AllAnswered:
    """Stands before the function: where no row is left to be answered, it is not run."""

    def enter(self, call: Call) -> str | None:
        """Skip what is inside, unless the table was empty from the start."""
        state: State | None = call.table
        return ANSWERED if state is not None and state.count and not state.pending else None
