"""How wide the interval of an answer is, read from it in one documented way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from guardrail.decision import Prediction
from guardrail.errors import ConfigError

_PAIR: Final = 2
_GONE: Final = object()


def reader(of: Callable[[Any], Any] | str | None) -> Callable[[Any], float]:
    """Return what reads the width of an answer.

    Args:
        of: As in `Confidence(of=...)`: a callable on the answer, or the name of its key or attribute, which gives an interval, a pair
            of its ends, or the width itself. None where the answer is the interval.
    """
    if of is None:
        return width
    if isinstance(of, str):
        name = of

        def named(answer: Any) -> float:
            found = _named(_bare(answer), name)
            return _cannot(answer) if found is _GONE else _width(found, answer, number=True)

        return named
    source = of

    def computed(answer: Any) -> float:
        return _width(source(answer), answer, number=True)

    return computed


def width(answer: Any) -> float:
    """Return how wide an answer's interval is: its `high` less its `low`, as keys, attributes or a pair (low, high).

    A `Prediction` is asked for its value. NaN where an end is NaN or the interval ends before it begins; then it is none.

    Raises:
        ConfigError: The answer holds no interval.
    """
    return _width(_bare(answer), answer, number=False)


def _bare(answer: Any) -> Any:
    return answer.value if answer.__class__ is Prediction else answer


def _width(found: Any, answer: Any, *, number: bool) -> float:
    low, high = _named(found, "low"), _named(found, "high")
    if low is not _GONE and high is not _GONE:
        return _between(low, high, answer)
    if hasattr(found, "tolist"):
        found = found.tolist()
    if isinstance(found, tuple | list) and len(found) == _PAIR:
        return _between(found[0], found[1], answer)
    if number:
        return number_in(found, answer, _cannot)
    return _cannot(answer)


def _between(low: Any, high: Any, answer: Any) -> float:
    begin, end = number_in(low, answer, _cannot), number_in(high, answer, _cannot)
    wide = end - begin if begin != end else 0.0
    return wide if wide >= 0 else math.nan


def _named(found: Any, name: str) -> Any:
    return found.get(name, _GONE) if isinstance(found, Mapping) else getattr(found, name, _GONE)


def number_in(value: Any, answer: Any, cannot: Callable[[Any], NoReturn]) -> float:
    """Return a number that stands in an answer; where it is none, `cannot` raises what is to be said of the answer."""
    if isinstance(value, bool | str | bytes):
        cannot(answer)
    try:
        return float(value)
    except (TypeError, ValueError):
        cannot(answer)


def _cannot(answer: Any) -> NoReturn:
    raise ConfigError(
        f"no interval can be read from an answer of type {type(answer).__name__}",
        policy="confidence",
        hint='return an Interval or (low, high), or say where it stands: Confidence(max_width=40.0, of="interval")',
    )
