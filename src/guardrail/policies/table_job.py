"""What is the same for every call of a function over tables, and what it knows how to do with one: open, validate, read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guardrail import call as calls
from guardrail.batches import result as results_of
from guardrail.errors import InvalidInput
from guardrail.policies import table_outputs
from guardrail.policies.annotations import explain
from guardrail.policies.bar import GroupedBar
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
    from guardrail.tables import Table


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
        summarises: Whether records keep digests of outputs that are too large for them.
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
    confidence: Callable[[Any], float | None] | None
    own_reading: bool
    whole: Output | None
    output: Output | None
    explaining: Explaining | None
    returns: Any
    summarises: bool
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

    def read(self, result: Any, state: State) -> table_outputs.Outputs:
        """Take a result apart.

        Raises:
            InvalidOutput: It is not one output per row, or does not fit the return annotation.
        """
        if self.whole is not None:
            self.whole.judge(result)
        pairs = table_outputs.reads_pairs(self.returns) and (self.gate.bar is None or self.gate.bar.width is None)
        return table_outputs.read(result, state.asked, len(state.pending), pairs=pairs)

    def find_business_ids(self, call: Call, state: State) -> None:
        """Note the user's own key of each row, where there is one."""
        find = self.snapshot.business_id
        if find is not None:
            rows = state.rows(range(state.count))
            stand_ins = (calls.Call(self.plan, *self.place.with_value(call, row), None, call.start) for row in rows)
            state.business = [find(stand_in) for stand_in in stand_ins]

    def confidences(self, found: table_outputs.Outputs, unfit: Mapping[int, Exception]) -> Sequence[float | None]:
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

    def choose_bars(self, call: Call, state: State) -> None:
        """Note what each row must reach, where that hangs on its group."""
        bar = self.gate.bar
        if isinstance(bar, GroupedBar):
            shape = self.snapshot.shape
            names = () if shape is None else shape.positional
            asked = (self.place.with_value(call, row) for row in state.rows(range(state.count)))
            state.bars = [bar.chosen(args, kwargs, names, self.place.name) for args, kwargs in asked]


def opened(call: Call, job: Job) -> State:
    """Return the rows of a call's table.

    Raises:
        InvalidInput: There is no table.
    """
    wanted = results_of.wanted.get()
    if wanted is not None:
        results_of.wanted.set(None)  # what this call calls in turn is no concern of theirs
    given = job.place.get(call)
    table = row_table(given)
    if table is None:
        raise InvalidInput(
            f"{job.place.name}: should be a table of rows, such as a list, DataFrame or array",
            guard=job.guard,
            policy="validate",
            hint="for one row write [row]",
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
    for at, row in enumerate(_by_text(state.table)):
        if row.__class__ is exact and (exact is not float or _finite(row)):
            models.append(row)
            continue
        try:
            models.append(fits(row))
        except Exception as problem:  # noqa: BLE001 - from pydantic or a validator of the user's: it is this row's end
            models.append(row)
            if job.lenient:
                continue
            state.errors[at] = _refusal(problem, check, f"{name}[{at}]", job.guard)
    if job.converts:
        state.models = models


def _finite(number: Any) -> bool:
    return math.isfinite(number)


def _by_text(table: Table) -> Iterator[Any]:
    """Yield the rows under texts as names, as the fields of models have them."""
    if table.names is None or all(isinstance(column, str) for column in table.names):
        return table.rows()
    return ({str(column): cell for column, cell in row.items()} for row in table.rows())


def _refusal(problem: Exception, check: Check, where: str, guard: str) -> Exception:
    from pydantic import ValidationError  # noqa: PLC0415 - imported long since, by whoever made the check

    if not isinstance(problem, ValidationError):
        return problem
    text, hint = explain(problem, check, where)
    return InvalidInput(text, guard=guard, policy="validate", hint=hint)
