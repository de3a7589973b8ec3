"""What is known of each row while one call over a table is on its way, and where the table stands among the arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from guardrail.tables import row_table

if TYPE_CHECKING:
    from guardrail.batch_result import Wanted
    from guardrail.call import Call
    from guardrail.tables import Table


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
        """Return what stands there."""
        return call.kwargs[self.name] if self.at is None else call.args[self.at]

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


class State:
    """The rows of one call. A row without an entry in `outcomes` is still to be answered.

    Args:
        given: The caller's table.
        table: Its rows.
        wanted: Where somebody waits for the whole Batch.
    """

    __slots__ = (
        "answered", "asked", "business", "count", "errors", "given", "keys", "likeness", "models", "outcomes", "pending",
        "provisional", "reasons", "seqs", "snapshots", "sure", "table", "tickets", "values", "wanted", "whole",
    )  # fmt: skip

    def __init__(self, given: Any, table: Table, wanted: Wanted | None) -> None:
        count = len(table)
        self.given = given
        self.table = table
        self.count = count
        self.wanted = wanted
        self.models: list[Any] | None = None  # the rows as validated, where the function receives those
        self.snapshots: list[bytes | None] | None = None
        self.keys: list[Any] | None = None  # for the cache and the latest good answers; None for a row without
        self.business: list[str | None] | None = None
        self.seqs: list[int] = []  # with the call's own moment, the rows' ids
        self.pending: Sequence[int] = range(count)  # the rows that the function is asked about
        self.asked: Any = given  # what the function receives
        self.likeness: Any = None
        self.whole: Exception | None = None  # the error that all pending rows share
        self.answered = False  # the function ran and gave one output per row
        self.values: list[Any] = [None] * count
        self.outcomes: list[str | None] = [None] * count
        self.sure: list[float | None] = [None] * count
        self.errors: dict[int, Exception] = {}
        self.tickets: dict[int, Any] = {}
        self.reasons: dict[int, tuple[str, ...]] = {}
        self.provisional: dict[int, Any] = {}  # the function's own outputs that are not sure enough

    def rows(self, places: Sequence[int]) -> list[Any]:
        """Return some rows, as the function receives them or as a mapping of column to value."""
        if self.models is not None:
            return [self.models[at] for at in places]
        if len(places) == self.count:
            return list(self.table.rows())
        part = row_table(self.table.pick(places))
        return [] if part is None else list(part.rows())

    def part(self, places: Sequence[int]) -> Any:
        """Return some rows in the container in which the function receives them; the caller's own where it is all of them."""
        if self.models is not None:
            rows = [self.models[at] for at in places]
            return tuple(rows) if type(self.given) is tuple else rows
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
