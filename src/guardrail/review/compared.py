"""Whether a model's answer was right, as far as what is kept of it can be held against what turned out to be true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from guardrail.ledger.opening import ERASED, UNREADABLE

_PAIR: Final = 2
_ABOUT: Final = frozenset({"confidence", "reasons"})  # what stands beside an answer and is no part of it
_SUM: Final = 1e-3
_GONE: Final = object()


def same(answer: Any, actual: Any, *, sure: float | None = None, choices: Sequence[Any] | None = None) -> bool | None:
    """Return whether an answer was right; None where the two are not of a kind, and cannot be compared.

    Args:
        answer: The model's, as JSON knows it, with or without how sure it was.
        actual: What was true, likewise; for a vector of probabilities the place, the choice or a vector of which it is the largest.
        sure: The confidence that was read from the answer.
        choices: What the reviewer could choose among, in the order of a vector's entries.
    """
    answer, actual = _bare(answer, sure), _bare(actual, None)
    if answer is _GONE or actual is _GONE:
        return None
    if answer == actual and _kind(answer) == _kind(actual):
        return True
    place = _largest(answer)
    if place is not None:
        found = _place_of(actual, choices)
        return None if found is None else found == place
    if isinstance(answer, dict) and not isinstance(actual, dict):
        if len(answer) != 1:
            return None
        (answer,) = answer.values()
    if _kind(answer) != _kind(actual):
        return None
    return bool(answer == actual)


def largest(answer: Any) -> int | None:
    """Return which entry of a vector of probabilities, also of an array of one row, is the largest; None of anything else.

    Args:
        answer: As JSON knows it.
    """
    return _largest(_bare(answer, None))


def _bare(value: Any, sure: float | None) -> Any:
    """Return an answer without its confidence and its reasons."""
    if isinstance(value, str) and value in (ERASED, UNREADABLE):
        return _GONE
    if isinstance(value, Mapping):
        if "$ndarray" in value:
            rows = value["$ndarray"]
            return rows[0] if isinstance(rows, list) and len(rows) == 1 and isinstance(rows[0], list) else rows
        if "value" in value and "confidence" in value:  # a Prediction
            return _bare(value["value"], None)
        return {name: each for name, each in value.items() if name not in _ABOUT}
    if isinstance(value, list) and len(value) == _PAIR and sure is not None and value[1] == sure and _largest(value) is None:
        return value[0]
    return value


def _largest(value: Any) -> int | None:
    """Return which entry of a vector of probabilities is the largest; None of anything else."""
    if not isinstance(value, list) or len(value) < _PAIR or any(isinstance(each, bool) for each in value):
        return None
    if not all(isinstance(each, int | float) and 0 <= each <= 1 for each in value) or abs(sum(value) - 1) > _SUM:
        return None
    return max(range(len(value)), key=value.__getitem__)


def _place_of(actual: Any, choices: Sequence[Any] | None) -> int | None:
    place = _largest(actual)
    if place is None and choices is not None and actual in choices:
        return list(choices).index(actual)
    return actual if place is None and isinstance(actual, int) and not isinstance(actual, bool) else place


def _kind(value: Any) -> str:
    """Return what a value is compared with: numbers and truth values with each other (1 is True), all else with its own kind."""
    return "number" if isinstance(value, int | float) else type(value).__name__
