"""What calls are asked with: rows from a file, in turn or by chance, and how a row becomes the arguments of a function."""

from __future__ import annotations

import csv
import inspect
import itertools
import json
import random
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from guardrail.errors import ConfigError
from guardrail.samples import Sample, read_lines

_VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_JSON_NUMBER: Final = frozenset("-0123456789")


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def read(path: Path) -> list[Any]:
    """Return the rows of a file: .csv, .json (a list), .jsonl or .ndjson (a value on each line), .parquet.

    Raises:
        ConfigError: It is of no such kind, holds no row, or cannot be read as what it says it is.
        OSError: It cannot be opened.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path.name} is of no known kind", hint=f"give one that ends in {', '.join(_READERS)}")
    rows = reader(path)
    if not rows:
        raise ConfigError(f"{path.name} holds no row", hint="give one row or more")
    return rows


def _csv(path: Path) -> list[Any]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines, strict=True))
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise ConfigError(
                f"row {number} of {path.name} has not as many cells as there are columns",
                hint="put a cell with a comma into quotes",
            )
    return rows


def _json(path: Path) -> list[Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError:
        raise ConfigError(f"{path.name} is not JSON", hint="for a value on each line, name it .jsonl") from None
    return found if isinstance(found, list) else [found]


def _parquet(path: Path) -> list[Any]:
    try:
        from pyarrow import parquet  # noqa: PLC0415 - only where there is such a file
    except ImportError:
        raise ConfigError("reading Parquet needs the extra parquet", hint='pip install "guardrail-sdk[parquet]"') from None
    rows: list[Any] = parquet.read_table(path).to_pylist()
    return rows


_READERS: Final[Mapping[str, Callable[[Path], list[Any]]]] = {
    ".csv": _csv, ".json": _json, ".jsonl": read_lines, ".ndjson": read_lines, ".parquet": _parquet,
}  # fmt: skip


def typed(row: Any) -> Any:
    """Return a row of text with numbers in the place of what JSON would read as a number."""
    return {name: _number(cell) for name, cell in row.items()} if isinstance(row, Mapping) else row


def _number(cell: Any) -> Any:
    if not isinstance(cell, str) or cell[:1] not in _JSON_NUMBER:
        return cell
    try:
        return json.loads(cell)  # strict: 007 and 1_000 stay text
    except ValueError:
        return cell


# ── which row is next ─────────────────────────────────────────────────────────────────────────────────────────────────
def weights_of(rows: Sequence[Any], column: str) -> tuple[list[Any], list[float]]:
    """Return the rows without a column, and what stands in it: how often each row is drawn, beside the others.

    Raises:
        ConfigError: A row has no such column, or no number from 0 on in it.
    """
    left: list[Any] = []
    weights: list[float] = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping) or column not in row:
            raise ConfigError(
                f"row {number} has no column {column} to weigh it by",
                hint="give the column to every row, or leave the weights out",
            )
        try:
            weight = float(row[column])
        except (TypeError, ValueError):
            weight = -1.0
        if not 0 <= weight < float("inf"):
            raise ConfigError(
                f"the weight of row {number} is no number from 0 on", hint="write 1, or 0 for a row that is never sent"
            )
        weights.append(weight)
        left.append({name: cell for name, cell in row.items() if name != column})
    if not sum(weights):
        raise ConfigError("no row has a weight of more than 0", hint="give at least one row a weight of 1")
    return left, weights


def endless(rows: Sequence[Any], *, sample: bool, weights: Sequence[float] | None, seed: int) -> Iterator[Any]:
    """Yield rows without end: in turn; or drawn by chance, the same for the same seed, where `sample` or weights say so."""
    if not sample and weights is None:
        return itertools.cycle(rows)
    draw = random.Random(seed).choices  # noqa: S311 - load, not secrets
    return iter(lambda: draw(rows, weights)[0], object())


# ── arguments ─────────────────────────────────────────────────────────────────────────────────────────────────────────
class Fitting:
    """How the rows of a file become the arguments of a function.

    A row with columns gives arguments by keyword, where it has one for each parameter that must be given; columns that the
    function has no parameter for are left out. Where one argument must be given, and is none of the columns, it is the row
    itself. A row without columns gives arguments by position, or the one argument.

    Args:
        fn: The function.
        checked: Whether the function's own guard turns text into what the annotations say.

    Attributes:
        left_out: The columns that the first row has and the function does not take.
    """

    def __init__(self, fn: Callable[..., Any], *, checked: bool) -> None:
        self._parameters = dict(inspect.signature(fn).parameters)
        self._required = [
            each.name for each in self._parameters.values() if each.default is each.empty and each.kind not in _VARIABLE
        ]
        self._takes_any = any(each.kind is each.VAR_KEYWORD for each in self._parameters.values())
        self._checked = checked
        self._name = getattr(fn, "__name__", "the function")
        self.left_out: list[str] = []

    def fit(self, row: Any, *, text: bool = False) -> Sample:
        """Return the arguments that a row gives.

        Args:
            row: As read.
            text: Whether all its cells are text (CSV), and numbers among them are to be found out.

        Raises:
            ConfigError: It does not fit; names the columns that are missing.
        """
        if isinstance(row, Mapping):
            if all(name in row for name in self._required):
                taken = {name: cell for name, cell in row.items() if name in self._parameters or self._takes_any}
                self.left_out = [str(name) for name in row if name not in taken]
                return self._by_name({name: self._cell(name, cell) if text else cell for name, cell in taken.items()})
            if len(self._required) > 1:
                missing = [name for name in self._required if name not in row]
                raise ConfigError(
                    f"the data have no column {', '.join(missing)}, which {self._name} needs",
                    hint=f"their columns are {', '.join(map(str, row)) or 'none'}",
                )
            return self._whole(row if self._checked or not text else typed(row))
        if isinstance(row, list | tuple) and len(self._required) > 1:
            return Sample(tuple(row), {})
        return self._whole(row)

    def _by_name(self, cells: dict[str, Any]) -> Sample:
        only = [
            name
            for name in cells
            if name in self._parameters and self._parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY
        ]
        return Sample(tuple(cells.pop(name) for name in only), cells)

    def _whole(self, value: Any) -> Sample:
        name = self._required[0] if self._required else next(iter(self._parameters), None)
        if name is not None and self._parameters[name].kind is inspect.Parameter.KEYWORD_ONLY:
            return Sample((), {name: value})
        return Sample((value,), {})

    def _cell(self, name: str, cell: Any) -> Any:
        known = self._parameters.get(name)
        annotated = known is not None and known.annotation is not inspect.Parameter.empty
        says_text = known is not None and known.annotation in (str, "str")
        return cell if (self._checked and annotated) or says_text else _number(cell)


def container_of(fn: Callable[..., Any]) -> Callable[[list[Any]], Any]:
    """Return what makes of a list of rows the kind of table that a function's first parameter is annotated with."""
    try:
        hints = typing.get_type_hints(fn)
    except (NameError, TypeError):  # annotations that cannot be resolved: a list it is
        return list
    kind = next((hints[name] for name in inspect.signature(fn).parameters if name in hints), list)
    library = getattr(kind, "__module__", "").partition(".")[0]
    if library in ("pandas", "polars") and getattr(kind, "__name__", "") == "DataFrame":
        return typing.cast("Callable[[list[Any]], Any]", kind)
    if library == "pyarrow":
        import pyarrow as pa  # noqa: PLC0415 - the function's own module has it

        return pa.Table.from_pylist  # type: ignore[no-any-return]
    if library == "numpy" or "ndarray" in str(kind):
        import numpy as np  # noqa: PLC0415 - as above

        return lambda rows: np.array([list(row.values()) if isinstance(row, Mapping) else row for row in rows])
    return list
