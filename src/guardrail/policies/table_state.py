"""What is known of each row while one call over a table is on its way, and where the table stands among the arguments."""

from __future__ import annotations

from collections.abc import Collection, Iterable, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

from guardrail import markers
from guardrail.errors import ConfigError
from guardrail.tables import row_table

if TYPE_CHECKING:
    from guardrail.batches.result import Wanted
    from guardrail.call import Call
    from guardrail.policies.bar import Bar
    from guardrail.policies.table_outputs import Outputs
    from guardrail.shape import Shape
    from guardrail.tables import Table

_ANY_SEQUENCE: Final = (Sequence, MutableSequence, Collection, Iterable)


class Place:
    """Where the table stands among a bound call's arguments.

    Args:
        name: The parameter's name.
        at: Its position, None where it is given by keyword.
    """

    __slots__ = ("at", "name")

    def __init__(self, name: str, at: int | None) -> None:
        self.name = name
        self.at = at

    def get(self, call: Call) -> Any:
        """Return what stands there, None where Python does not know the parameters and nothing was given."""
        if self.at is None:
            return call.kwargs[self.name]
        return call.args[self.at] if self.at < len(call.args) else None

    def put(self, call: Call, value: Any) -> None:
        """Have the function receive something else there."""
        call.args, call.kwargs = self.with_value(call, value)

    def with_value(self, call: Call, value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the call's arguments with something else there."""
        if self.at is None:
            return call.args, {**call.kwargs, self.name: value}
        return (*call.args[: self.at], value, *call.args[self.at + 1 :]), call.kwargs

    def others(self, call: Call, skip: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the other arguments, without the first `skip` ones."""
        if self.at is None:
            return call.args[skip:], {name: value for name, value in call.kwargs.items() if name != self.name}
        return (*call.args[skip : self.at], *call.args[self.at + 1 :]), call.kwargs


def place_of(shape: Shape | None, guard: str) -> Place:
    """Return where the table stands: the first parameter after `self` or `cls`.

    Args:
        shape: The function's parameters, None where Python does not know them.
        guard: The guard's name, for the error.

    Raises:
        ConfigError: There is no such parameter.
    """
    if shape is None:
        return Place("argument 1", 0)
    for at, (name, parameter) in enumerate(shape.parameters.items()):
        if at == 0 and name in ("self", "cls") and parameter.annotation is parameter.empty:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY:
            return Place(name, None)
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            return Place(name, shape.positional.index(name))
        break
    raise ConfigError(
        "batch=True needs a first parameter that takes the table", guard=guard, hint="write def predict(rows: list[Row]): ..."
    )


def row_type(annotation: Any) -> tuple[Any, type | None, bool]:
    """Return the type of one row, by the annotation of the table.

    Returns:
        The type (None where there is none), the container in which the function wants rows of it (None for the caller's), and
        whether it receives the rows as validated: of `list[M]` yes, of `Annotated[DataFrame, Rows(M)]` no.
    """
    bare, marks = markers.peeled(annotation)
    item, container = _items(bare)
    for mark in marks:
        if isinstance(mark, markers.Rows) and mark.model != item:
            return mark.model, None, False
    return item, container, item is not None


def _items(bare: Any) -> tuple[Any, type | None]:
    """Return the type that a sequence's annotation gives its items, and which sequence it must be; None for neither."""
    origin, of = get_origin(bare), get_args(bare)
    if origin is tuple and len(of) == 2 and of[1] is Ellipsis:  # noqa: PLR2004 - tuple[M, ...]
        return of[0], tuple
    if len(of) == 1 and isinstance(origin, type) and (origin is list or origin in _ANY_SEQUENCE):
        return of[0], list if origin is list else None
    return None, None


class State:
    """The rows of one call. A row without an entry in `outcomes` is still to be answered.

    Args:
        given: The caller's table.
        table: Its rows.
        wanted: Where somebody waits for the whole Batch.
        container: What the function wants validated rows in; None for a list or tuple, as the caller's.
    """

    __slots__ = (
        "answered", "asked", "bars", "business", "container", "count", "digests", "errors", "fired", "found", "given", "keys", "likeness",
        "models", "outcomes", "pending", "provisional", "reasons", "seqs", "snapshots", "sure", "table", "tickets", "values",
        "wanted", "whole", "would",
    )  # fmt: skip

    def __init__(self, given: Any, table: Table, wanted: Wanted | None, container: type | None = None) -> None:
        count = len(table)
        self.given = given
        self.container = container or (tuple if type(given) is tuple else list)
        self.table = table
        self.count = count
        self.wanted = wanted
        self.models: list[Any] | None = None  # the rows as validated, where the function receives those
        self.snapshots: list[bytes | None] | None = None
        self.keys: Sequence[Any] | None = None  # for the cache and the latest good answers; None for a row without
        self.business: list[str | None] | None = None
        self.bars: list[Bar] | None = None  # what each row must reach, where that hangs on its group
        self.seqs: list[int] = []  # with the call's own moment, the rows' ids
        self.pending: Sequence[int] = range(count)  # the rows that the function is asked about
        self.asked: Any = given  # what the function receives
        self.found: Outputs | None = None  # the function's result, taken apart
        self.likeness: Any = None
        self.digests: list[Any] | None = None  # of the outputs, where they were made all at once
        self.whole: Exception | None = None  # the error that all pending rows share
        self.answered = False  # the function ran and gave one output per row
        self.values: list[Any] = [None] * count
        self.outcomes: list[str | None] = [None] * count
        self.sure: list[float | None] = [None] * count
        self.errors: dict[int, Exception] = {}
        self.tickets: dict[int, Any] = {}
        self.reasons: dict[int, tuple[str, ...]] = {}
        self.would: dict[int, tuple[str, ...]] = {}  # in mode observe: what enforcing would have done
        self.fired: dict[int, Any] = {}  # which conditions of the review hold
        self.provisional: dict[int, Any] = {}  # the function's own outputs that are not sure enough

    def rows(self, places: Sequence[int]) -> list[Any]:
        """Return some rows, as the function receives them or as a mapping of column to value."""
        if self.models is not None:
            return [self.models[at] for at in places]
        if len(places) == self.count:
            return list(self.table.rows())
        part = row_table(self.table.pick(places))
        return [] if part is None else list(part.rows())

    def bar(self, at: int, for_all: Bar) -> Bar:
        """Return what a row must reach."""
        return for_all if self.bars is None else self.bars[at]

    def part(self, places: Sequence[int]) -> Any:
        """Return some rows in the container in which the function receives them; the caller's own where it is all of them."""
        if self.models is not None:
            return self.container(self.models[at] for at in places)
        return self.given if len(places) == self.count else self.table.pick(places)

    def remark(self, at: int, reason: str) -> None:
        """Add a reason to a row."""
        self.reasons[at] = (*self.reasons.get(at, ()), reason)

    def settle(self, at: int, value: Any, outcome: str) -> None:
        """Let a value be the answer of a row."""
        self.values[at] = value
        self.outcomes[at] = outcome
        self.errors.pop(at, None)

    def fail(self, at: int, error: Exception) -> None:
        """Let an error be the end of a row."""
        self.errors[at] = error
