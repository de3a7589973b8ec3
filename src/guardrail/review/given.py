"""Columns of numbers and words as people give them for a calibration: sequences, arrays, Series."""

from __future__ import annotations

import math
from typing import Any

from guardrail.errors import ConfigError


def listed(values: Any, what: str) -> list[Any]:
    """Return a column as a list.

    Args:
        values: A sequence, array or Series.
        what: What to call it in an error.

    Raises:
        ConfigError: It is none, or has more than one dimension.
    """
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise ConfigError(f"{what} must be a sequence, not {type(values).__name__}", hint="give one value for every case")
    found = values.tolist() if hasattr(values, "tolist") else list(values)
    if not isinstance(found, list) or any(isinstance(each, list) for each in found):
        raise ConfigError(f"{what} must have one dimension", hint="give one value for every case")
    return found


def labelled(confidence: Any, correct: Any, groups: Any | None) -> tuple[list[float], list[bool], list[str] | None]:
    """Return labelled cases: how sure each answer was (NaN: not at all), whether it was wrong, and its group.

    Raises:
        ConfigError: They are of different lengths, or not what they should be.
    """
    sure = [_number(each) for each in listed(confidence, "confidence")]
    right = listed(correct, "correct")
    if len(sure) != len(right):
        raise ConfigError("confidence and correct are of different lengths", hint="give one of each for every case")
    if not sure:
        raise ConfigError("there are no labelled cases", hint="give at least one; some hundred are needed to certify anything")
    if any(each < 0 or each > 1 for each in sure):
        raise ConfigError("a confidence lies outside [0, 1]", hint="give shares, as the guard reads them")
    if not all(each in {0, 1} for each in right):
        raise ConfigError("correct must be booleans", hint="give prediction == actual for every case")
    named = None if groups is None else [str(each) for each in listed(groups, "groups")]
    if named is not None and len(named) != len(sure):
        raise ConfigError("groups and confidence are of different lengths", hint="give one of each for every case")
    return sure, [not each for each in right], named


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool | str | bytes):
        raise ConfigError("confidence must be numbers", hint="give shares, as the guard reads them")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ConfigError("confidence must be numbers", hint="give shares, as the guard reads them") from None
