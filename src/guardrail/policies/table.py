"""`batch=True`: the policies of a function over a table act on each row, and the function answers the rows that are left.

One policy around retry, breaker, limit and the function: on the way in it takes out the rows that need no answer of the
function's, on the way out it judges the outputs row by row, and puts the whole together again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from guardrail import batch_result, clock, outputs
from guardrail import call as calls
from guardrail.asks import ANSWERED, Asks
from guardrail.batch_result import Batch, outcome_of
from guardrail.decision import Prediction
from guardrail.errors import AuditUnavailable, ConfigError, GuardrailError, InvalidInput, PartialBatch
from guardrail.policies.annotations import explain
from guardrail.policies.gate import trigger_of
from guardrail.policies.row_snapshot import named_fields
from guardrail.policies.table_records import record_rows
from guardrail.policies.table_state import Place, State
from guardrail.tables import is_rows, row_table

if TYPE_CHECKING:
    from guardrail.call import Call
    from guardrail.plan import Plan
    from guardrail.policies.annotations import Check
    from guardrail.policies.explain import Explaining
    from guardrail.policies.row_cache import RowCache
    from guardrail.policies.row_snapshot import RowSnapshot
    from guardrail.policies.table_endings import RowsGate
    from guardrail.policies.validation import Output

_STOPS: Final = (ConfigError, AuditUnavailable)
_GRAVITY: Final = ("failed", "late", "refused", "deferred")  # which outcome a call has whose rows ended differently


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is the same for every call over a table.

    Attributes:
        guard: The guard's name.
        place: Where the table stands among the arguments.
        row: The check of one row, None where rows are not validated one by one.
        converts: Whether the function receives the rows as validated, rather than the caller's table.
        container: In what: list, tuple, or None for what the caller gave.
        plan: What each row's record repeats; its snapshot knows a row's content.
        gate: Where rows go that must not be answered as they are.
        caching: The answers in memory, None without a cache.
        confidence: Reads how sure one output is, None where that is not asked for.
        own_reading: Whether the user said where the confidence stands.
        whole: The check of the whole result, output: of one row's; None where there is nothing to check.
        explaining: The user's reasons for an answer.
        lenient: Whether rows that do not fit go on as they are: to a stopped guard, whose answer is the same for all.
        returns: The return annotation.
    """

    guard: str
    place: Place
    row: Check | None
    converts: bool
    container: type | None
    plan: Plan
    snapshot: RowSnapshot
    gate: RowsGate
    caching: RowCache | None
    confidence: Callable[[Any], float] | None
    own_reading: bool
    whole: Output | None
    output: Output | None
    explaining: Explaining | None
    returns: Any
    lenient: bool

    def unfit(self, items: Sequence[Any]) -> dict[int, Exception]:
        """Return the errors of outputs that do not fit the return annotation, by their place."""
        found: dict[int, Exception] = {}
        if self.output is not None:
            stand_in = calls.Call(self.plan, (), {}, None, 0.0)
            for place, item in enumerate(items):
                stand_in.result = item
                try:
                    self.output.leave(stand_in)
                except ValueError as problem:  # InvalidOutput, or from a validator of the user's
                    found[place] = problem
        return found

    def confidences(self, found: outputs.Outputs, unfit: Mapping[int, Exception]) -> Sequence[float | None]:
        """Return how sure each output is, as far as that is asked for; None for those that are unfit.

        Raises:
            ConfigError: It cannot be read.
        """
        if found.sure is not None and not self.own_reading:
            return found.sure
        read = self.confidence
        if read is None:
            return [None] * len(found.items)
        vectors = None if self.own_reading else found.vector_confidences()
        if vectors is not None:
            return vectors
        return [None if place in unfit else read(item) for place, item in enumerate(found.items)]


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
            self._look_up(call, state, job.caching)
        if state.errors or any(state.outcomes):
            state.pending = [at for at, outcome in enumerate(state.outcomes) if outcome is None and at not in state.errors]
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
        if job.caching is not None or job.gate.memory is not None:
            state.keys = snapshot.keys(call, state)
        if snapshot.business_id is not None:
            state.business = []
            rows = state.rows(range(state.count))
            for row in rows:
                stand_in = calls.Call(job.plan, *job.place.with_value(call, row), None, call.start)
                state.business.append(snapshot.business_id(stand_in))

    @staticmethod
    def _look_up(call: Call, state: State, caching: RowCache) -> None:
        get = caching.rows.get
        for at, key in enumerate(state.keys or ()):
            row = get(key) if key is not None and at not in state.errors else None
            if row is not None and row.expires > call.start:
                state.values[at] = row.answer()
                state.sure[at] = row.confidence
                state.outcomes[at] = "cached"

    # ── out ───────────────────────────────────────────────────────────────────────────────────────────────────────────
    def leave(self, call: Call) -> Asks | None:
        """Judge the outputs and end every row."""
        state = call.table
        if state is None or (call.error is not None and (not isinstance(call.error, Exception) or isinstance(call.error, _STOPS))):
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
        found = None
        if problem is None and (state.pending or not state.count):
            try:
                if job.whole is not None:
                    job.whole.judge(call.result)
                found = outputs.read(call.result, state.asked, len(state.pending), pairs=outputs.reads_pairs(job.returns))
            except ValueError as error:  # InvalidOutput, or from a validator of the user's
                problem = error
        if isinstance(problem, Exception):
            state.whole = problem
            trigger = trigger_of(problem)
            for at in state.pending:
                state.errors[at] = problem
                trouble[at] = trigger
        elif found is not None:
            state.answered = True
            state.likeness = found.likeness
            self._judge_rows(call, state, found, trouble)

    def _judge_rows(self, call: Call, state: State, found: outputs.Outputs, trouble: dict[int, str | None]) -> None:
        job = self.job
        unfit = job.unfit(found.items)
        for place, problem in unfit.items():
            at = state.pending[place]
            if isinstance(problem, GuardrailError):
                problem.guard, problem.decision_id = job.guard, calls.decision_id(call.at, state.seqs[at])
            state.errors[at] = problem
            trouble[at] = trigger_of(problem)
        values, outcomes, sureness, is_low = state.values, state.outcomes, state.sure, job.gate.is_low
        bounded = job.gate.at_least is not None
        for at, item, sure in zip(state.pending, found.items, job.confidences(found, unfit), strict=True):
            if at in state.errors:
                continue
            sureness[at] = sure
            if item.__class__ is Prediction and item.reasons and job.confidence is not None:
                state.reasons[at] = tuple(str(reason) for reason in item.reasons)
            if bounded and is_low(sure):
                state.provisional[at] = item
                trouble[at] = "low"
            else:
                values[at] = item
                outcomes[at] = "answered"
        if job.explaining is not None:
            self._explain(call, state, found, job.explaining)

    def _explain(self, call: Call, state: State, found: outputs.Outputs, explaining: Explaining) -> None:
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
                likeness = state.likeness or outputs.likeness_for(self.job.returns, state.given)
                call.result = likeness.rebuild(state.values, self._sureness(state), state.table)
            if len(outcomes) == 1:
                call.outcome = outcomes.pop() or "answered"
            return
        if state.whole is not None and len(state.errors) == state.count and all(
            error is state.whole for error in state.errors.values()
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


class AllAnswered:
    """Stands before the function: where no row is left to be answered, it is not run."""

    def enter(self, call: Call) -> str | None:
        """Skip what is inside, unless the table was empty from the start."""
        state: State | None = call.table
        return ANSWERED if state is not None and state.count and not state.pending else None


def opened(call: Call, job: Job) -> State:
    """Return the rows of a call's table.

    Raises:
        InvalidInput: There is no table.
    """
    wanted = batch_result.wanted.get()
    if wanted is not None:
        batch_result.wanted.set(None)  # what this call calls in turn is no concern of theirs
    given = job.place.get(call)
    table = row_table(given)
    if table is None:
        raise InvalidInput(
            f"{job.place.name}: should be a table of rows, such as a list, DataFrame or array", guard=job.guard, policy="validate"
        )
    if not hasattr(given, "__len__") and is_rows(given) and not hasattr(given, "shape"):
        given = table.whole  # an iterator gives its rows only once
    return State(given, table, wanted, job.container)


def validate(state: State, job: Job) -> None:
    """Check each row; those that do not fit get their error, which names the row, its field and the rule, not the value."""
    check = job.row
    if check is None:
        if job.converts:
            state.models = list(state.table.rows())
        return
    models: list[Any] = []
    exact, fits, name = check.exact, check.validate, job.place.name
    for at, row in enumerate(state.table.rows()):
        if row.__class__ is exact and (exact is not float or row - row == 0.0):
            models.append(row)
            continue
        try:
            models.append(fits(named_fields(row)))
        except Exception as problem:  # noqa: BLE001 - from pydantic or a validator of the user's: it is this row's end
            models.append(row)
            if job.lenient:
                continue
            state.errors[at] = _refusal(problem, check, f"{name}[{at}]", job.guard)
    if job.converts:
        state.models = models


def _refusal(problem: Exception, check: Check, where: str, guard: str) -> Exception:
    from pydantic import ValidationError  # noqa: PLC0415 - imported long since, by whoever made the check

    if not isinstance(problem, ValidationError):
        return problem
    text, hint = explain(problem, check, where)
    return InvalidInput(text, guard=guard, policy="validate", hint=hint)

