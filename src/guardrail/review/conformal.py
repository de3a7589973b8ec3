"""Calibrates intervals around numbers: split conformal prediction, with absolute or scaled errors or around a model's quantiles.

Vovk, Gammerman, Shafer 2005 (Algorithmic Learning in a Random World); Lei, G'Sell, Rinaldo, Tibshirani, Wasserman 2018,
arXiv:1604.04173 (split conformal, and errors scaled by their expected size); Romano, Patterson, Candès 2019, arXiv:1905.03222
(conformalised quantile regression).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.review.given import listed
from guardrail.thresholds.interval import UNBOUND, Interval, Intervals, Kind

__all__ = ["Interval", "Intervals", "intervals"]
_PAIR: Final = 2


def intervals(
    predicted: Any,
    actual: Any,
    *,
    alpha: float = 0.1,
    scale: Any | None = None,
    version: str = UNBOUND,
    expires: clock.Duration | None = "90d",
) -> Intervals:
    """Calibrate intervals from labelled cases that the model was not trained on.

    The margin is the ceil((n + 1)(1 - alpha))-th smallest of the n errors: with it a new case, exchangeable with these, lies inside
    with probability at least 1 - alpha, whatever the model.

    Args:
        predicted: What the model said: n numbers; or its lower and upper quantiles, as a tuple of n numbers each.
        actual: What was true, n numbers.
        alpha: The share of cases whose truth may lie outside.
        scale: How large each error was expected to be, n numbers above 0, such as the spread of an ensemble: then intervals are
            wide where the model knows little. Not with quantiles, which say so themselves.
        version: The model's version; a guard of another version refuses the intervals. "0" binds them to none.
        expires: For how long they are used; None for ever.

    Returns:
        What makes intervals. Where there are too few labels these have no end, so that no width lets them pass.

    Raises:
        ConfigError: The arguments are of different lengths, or not what they should be.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0.0 < alpha < 1.0:
        raise ConfigError("alpha must lie between 0 and 1", hint="write alpha=0.1")
    if not isinstance(version, str) or not version:
        raise ConfigError("version must be a non-empty text", hint='write version="3.2.0"')
    truth = _numbers(actual, "actual")
    if not truth:
        raise ConfigError(
            "there are no labelled cases", hint=f"give some; {Intervals(0, alpha, 'absolute', 0).labels_needed} at least"
        )
    kind: Kind
    if isinstance(predicted, tuple) and len(predicted) == _PAIR and all(hasattr(each, "__iter__") for each in predicted):
        if scale is not None:
            raise ConfigError("quantiles and a scale are given at once", hint="leave scale out: the quantiles say it")
        kind, columns = "quantiles", [_as_long(each, truth, "predicted") for each in predicted]
        errors = [max(low - true, true - high) for low, high, true in zip(*columns, truth, strict=True)]
    else:
        columns = [_as_long(predicted, truth, "predicted")]
        errors = [abs(true - said) for said, true in zip(columns[0], truth, strict=True)]
        kind = "absolute"
        if scale is not None:
            sizes = _as_long(scale, truth, "scale")
            if min(sizes) <= 0:
                raise ConfigError("a scale is not above 0", hint="add a small number to all of them")
            kind, columns = "scaled", [*columns, sizes]
            errors = [error / size for error, size in zip(errors, sizes, strict=True)]
    until = None
    if expires is not None:
        until = datetime.fromtimestamp(clock.wall() + clock.seconds(expires, "expires"), UTC)
    return Intervals(_margin(errors, float(alpha)), float(alpha), kind, len(truth), version, until, _digest([*columns, truth]))


def _margin(errors: Sequence[float], alpha: float) -> float:
    place = math.ceil((len(errors) + 1) * (1 - Fraction(repr(alpha))))  # exact: a float may round past a whole number
    return sorted(errors)[place - 1] if place <= len(errors) else math.inf


def _as_long(values: Any, truth: Sequence[float], what: str) -> list[float]:
    found = _numbers(values, what)
    if len(found) != len(truth):
        raise ConfigError(f"{what} and actual are of different lengths", hint="give one of each for every case")
    return found


def _numbers(values: Any, what: str) -> list[float]:
    try:
        found = [math.nan if isinstance(each, bool | str | bytes) else float(each) for each in listed(values, what)]
    except (TypeError, ValueError):
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise ConfigError(f"{what} must be finite numbers", hint="leave cases out where one is missing")
    return found


def _digest(columns: Sequence[Sequence[float]]) -> str:
    digest = hashlib.sha256()
    for row in zip(*columns, strict=True):
        digest.update((" ".join(each.hex() for each in row) + "\n").encode())
    return digest.hexdigest()
