"""Records as rows of a table, for data frames, Parquet and CSV: the columns, and what a record has in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from guardrail.ledger.reader import Stored
from guardrail.ledger.wanted import Record

Kind = Literal["text", "moment", "float", "int", "bool", "any", "texts"]


class Column(NamedTuple):
    """One column.

    Attributes:
        name: Its name.
        path: Where in a record its value stands: a field, or a field and a key in it.
        kind: What it holds; "any" is whatever JSON knows.
    """

    name: str
    path: tuple[str, ...]
    kind: Kind


def _of(name: str, kind: Kind = "text", *path: str) -> Column:
    return Column(name, path or (name,), kind)


COLUMNS: Final = (
    _of("id"), _of("ts", "moment"), _of("event"), _of("outcome"), _of("guard"), _of("version"), _of("plan"), _of("mode"),
    _of("actor", "text", "actor", "id"), _of("known_by", "text", "actor", "known_by"), _of("purpose"), _of("business_id"),
    _of("output", "any", "output", "value"), _of("confidence", "float"), _of("threshold", "float"), _of("reasons", "texts"),
    _of("ticket"), _of("parent"), _of("attempts", "int"), _of("stop_reason"), _of("seconds", "float", "timings", "total"),
    _of("budget_ms", "float"), _of("cache"), _of("error", "text", "error", "type"), _of("policy", "text", "error", "policy"),
    _of("late", "bool"), _of("would", "texts"), _of("input_digest", "text", "input", "digest"),
    _of("output_digest", "text", "output", "digest"), _of("trace_id"), _of("span_id"), _of("service"), _of("origin"),
    _of("host"), _of("pid", "int"), _of("sdk"), _of("tags", "any"),
)  # fmt: skip
MORE: Final = "more"  # the column of all that has none of its own
_WIDE: Final = 2**63
_KNOWN: Final = frozenset({"v", "seq", "prev", *(each.path[0] for each in COLUMNS if len(each.path) == 1)})


def row(found: Stored) -> dict[str, Any]:
    """Return a record as a row: every column, `lane` and `seq`; what a record does not say, or says in a wrong form, is None."""
    record = found.record
    cells = {column.name: _cell(record, column) for column in COLUMNS}
    cells["lane"], cells["seq"] = found.lane, found.seq
    cells[MORE] = more(record) or None
    return cells


def more(record: Record) -> dict[str, Any]:
    """Return the parts of a record that have no column."""
    left: dict[str, Any] = {}
    told: dict[str, set[str]] = {}
    for column in COLUMNS:
        if len(column.path) > 1:
            told.setdefault(column.path[0], set()).add(column.path[1])
    for name, value in record.items():
        if name in _KNOWN:
            continue
        if name in told and isinstance(value, Mapping):
            value = {key: each for key, each in value.items() if key not in told[name]}  # noqa: PLW2901 - what is left of it
            if not value:
                continue
        left[name] = value
    return left


def _cell(record: Record, column: Column) -> Any:
    value: Any = record
    for name in column.path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return None if value is None else _FITS[column.kind](value)


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)  # "NaN" and "Infinity", as records spell what JSON has no number for, too
    except ValueError:
        return None


_FITS: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    "text": lambda value: value if isinstance(value, str) else None,
    "moment": lambda value: value if isinstance(value, str) else None,
    "float": _float,
    "int": lambda value: value if isinstance(value, int) and not isinstance(value, bool) and -_WIDE <= value < _WIDE else None,
    "bool": lambda value: value if isinstance(value, bool) else None,
    "any": lambda value: value,
    "texts": lambda value: [str(each) for each in value] if isinstance(value, list) else None,
}
