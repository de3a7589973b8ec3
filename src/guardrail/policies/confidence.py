"""`confidence`: how sure an answer is, read from it in one documented way, and the threshold that it must reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from guardrail.call import Call
from guardrail.decision import Prediction
from guardrail.errors import ConfigError
from guardrail.policies.options import Frozen
from guardrail.policies.width import number_in
from guardrail.thresholds.interval import UNBOUND, Intervals
from guardrail.thresholds.threshold import NoThreshold, Threshold

NAN: Final = float("nan")
SUM_TOLERANCE: Final = 1e-3  # how far from 1 the entries of a probability vector may add up
_UNREAD: Final = object()


class Confidence(Frozen):
    """How sure the function must be, and where that is read.

    Args:
        at_least: The threshold: a number in [0, 1], or what `calibrate` returned, which is refused when it is stale; a `NoThreshold`
            defers everything. With `max_width` it is what `guardrail.review.intervals` returned, which is refused likewise, or left
            out. None, without `max_width`, only reads the confidence, for the record.
        of: Where the confidence stands: a callable on the answer, or the name of its key or attribute. Without it, it is read
            from a `Prediction`, a pair `(value, float)`, a key or attribute named `confidence`, or a vector of two or more
            probabilities (its maximum). A `score` or a `probability` needs `of`: 0.03 may be a sure no.
        group: Which group a case belongs to, where the threshold was calibrated with `groups=`: each call must then reach the threshold of
            its own group. The name of an argument, with the names of fields after it ("loan.region"), of a table's row also a column; or
            a callable that takes the same arguments as the function. Its text is the group's name. What belongs to no group of
            the threshold, or to one without a certified threshold, is deferred. Without it the threshold of all groups together holds.
        max_width: How wide the answer's interval may be, in its own unit: then the width decides, and no confidence is read. The
            interval is the answer itself, an `Interval`, a pair (low, high) or what has `low` and `high`; or it stands where `of`
            says, which may also give the width alone.

    Raises:
        ConfigError: The threshold is outside [0, 1] or has expired, `group` is asked for and it has none, the width is no number of 0 or more, both are asked for, or
            `of` is of another type.

    Attributes:
        at_least: The number that must be reached; infinity where nothing passes.
        threshold: What `calibrate` returned, if it came from there.
    """

    __slots__ = ("at_least", "group", "max_width", "of", "threshold")

    at_least: float | None
    threshold: Threshold | NoThreshold | Intervals | None
    of: Callable[[Any], Any] | str | None
    group: Callable[..., Any] | str | None
    max_width: float | None

    def __init__(
        self,
        at_least: float | Threshold | NoThreshold | Intervals | None = None,
        *,
        of: Callable[[Any], Any] | str | None = None,
        group: Callable[..., Any] | str | None = None,
        max_width: float | None = None,
    ) -> None:
        threshold = at_least if isinstance(at_least, Threshold | NoThreshold | Intervals) else None
        if any(isinstance(each, Threshold | Intervals) and each.stale for each in _all_of(threshold)):
            raise ConfigError("the threshold has expired", hint="calibrate it anew, on cases as they are now")
        if max_width is not None:
            max_width = _wide(max_width)
            if at_least is not None and not isinstance(at_least, Intervals):
                raise ConfigError("a confidence and a width are asked for at once", hint="write Confidence(max_width=40.0) alone")
            at_least = None
        elif isinstance(at_least, Intervals):
            raise ConfigError("intervals without a width say nothing", hint="write Confidence(intervals, max_width=40.0)")
        elif isinstance(at_least, NoThreshold):
            at_least = math.inf
        elif isinstance(at_least, Threshold):
            at_least = at_least.at_least
        elif at_least is not None:
            if isinstance(at_least, bool) or not isinstance(at_least, int | float):
                raise ConfigError(f"confidence is of type {type(at_least).__name__}", hint="write a number in [0, 1], as 0.8")
            at_least = float(at_least)
            if not 0.0 <= at_least <= 1.0:
                raise ConfigError("the confidence threshold lies outside [0, 1]", hint="write a share, as 0.8")
        if of is not None and not callable(of) and not (isinstance(of, str) and of):
            raise ConfigError(
                f"Confidence(of=...) is of type {type(of).__name__}", hint='write of="score" or of=lambda answer: answer.score'
            )
        if group is not None:
            _check_group(group, threshold)
        self._set(at_least=at_least, max_width=max_width, of=of, group=group, threshold=threshold)

    def but(self, **fields: Any) -> Confidence:
        """Return the same with some fields changed; a calibrated threshold is kept as what it is."""
        if "at_least" not in fields and self.threshold is not None:
            fields["at_least"] = self.threshold
        if not getattr(fields.get("at_least"), "groups", None):
            fields.setdefault("group", None)  # another threshold, of no groups
        return super().but(**fields)


def check_version(confidence: Confidence, version: str | None, guard: str) -> None:
    """Refuse a threshold that was calibrated for another version of the model.

    Raises:
        ConfigError: It was.
    """
    bound = {getattr(each, "version", UNBOUND) for each in _all_of(confidence.threshold)}
    if bound - {UNBOUND, version}:
        raise ConfigError(
            f"the threshold was calibrated for another version of the model than {version or 'an unnamed one'}",
            guard=guard, policy="confidence", hint="calibrate it for this one; a threshold says nothing of other models",
        )  # fmt: skip


def judges(confidence: Confidence) -> bool:
    """Return whether there is anything that an answer must reach."""
    return confidence.at_least is not None or confidence.max_width is not None


def stricter(confidence: Confidence, other: Confidence | None) -> bool:
    """Return whether another option would let answers out that this one holds back."""
    if not judges(confidence):
        return False
    if other is None:
        return True
    if confidence.group is not None or other.group is not None:  # which of them holds back more hangs on the case
        return (confidence.group, confidence.threshold) != (other.group, other.threshold)
    if confidence.max_width is not None:
        return other.max_width is None or other.max_width > confidence.max_width
    return other.at_least is None or confidence.at_least is None or other.at_least < confidence.at_least


def expires(confidence: Confidence) -> float | None:
    """Return when the threshold ends, in seconds since the epoch; None for never."""
    until = getattr(confidence.threshold, "expires", None)
    return None if until is None else until.timestamp()


def confidence_of(option: Any) -> Confidence | None:
    """Return the object behind the option `confidence=`: a number, an object or None."""
    if option is None or isinstance(option, Confidence):
        return option
    if isinstance(option, bool) or not isinstance(option, int | float | Threshold | NoThreshold | Intervals):
        raise ConfigError(f"confidence is of type {type(option).__name__}", hint="write confidence=0.8 or Confidence(...)")
    return Confidence(option)


def _all_of(threshold: Any) -> list[Any]:
    """Return a threshold and those of its groups."""
    return [threshold, *getattr(threshold, "groups", {}).values()]


def _check_group(group: object, threshold: object) -> None:
    if not callable(group) and not (isinstance(group, str) and group):
        raise ConfigError(
            f"Confidence(group=...) is of type {type(group).__name__}",
            hint='write group="region" or group=lambda loan: loan.region',
        )
    if not getattr(threshold, "groups", None):
        raise ConfigError(
            "the threshold was calibrated without groups, and so has none for each",
            hint='write Confidence(calibrate(confidence, correct, groups=regions), group="region")',
        )


class Reading:
    """Reads the confidence of each answer, and the reasons of a `Prediction`. Innermost, so that the cache keeps both."""

    def __init__(self, confidence: Confidence) -> None:
        self.read: Callable[[Any], float | None] = _reader(confidence.of) if confidence.max_width is None else _nothing

    def leave(self, call: Call) -> None:
        """Note how sure the answer is.

        Raises:
            ConfigError: The confidence cannot be read; names `of=`.
        """
        if call.error is not None:
            return
        answer = call.result
        if answer.__class__ is Prediction and answer.reasons and not call.reasons:
            call.reasons = tuple(str(reason) for reason in answer.reasons)
        call.confidence = self.read(answer)


def _nothing(_answer: Any) -> None:
    """Read no confidence: the width decides."""


def _wide(width: Any) -> float:
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 <= width < math.inf:
        raise ConfigError("max_width is no number of 0 or more", hint="write the widest interval that may go out, as 40.0")
    return float(width)


def _reader(of: Callable[[Any], float] | str | None) -> Callable[[Any], float]:
    if of is None:
        return read
    if isinstance(of, str):
        name = of

        def named(answer: Any) -> float:
            found = _named(answer, name)
            return _cannot(answer) if found is _UNREAD else number_in(found, answer, _cannot)

        return named
    source = of

    def computed(answer: Any) -> float:
        return number_in(source(answer), answer, _cannot)

    return computed


def read(answer: Any) -> float:
    """Return the confidence of an answer that says it in one of the documented ways; NaN counts as low.

    Raises:
        ConfigError: The answer does not say it.
    """
    kind = answer.__class__
    if kind is Prediction:
        return number_in(answer.confidence, answer, _cannot)
    if kind is tuple and len(answer) == 2 and _is_float(answer[1]):  # noqa: PLR2004 - a pair
        return float(answer[1])
    named = _named(answer, "confidence")
    if named is not _UNREAD:
        return number_in(named, answer, _cannot)
    return _vector(answer)


def _named(answer: Any, name: str) -> Any:
    if isinstance(answer, Mapping):
        return answer.get(name, _UNREAD)
    return getattr(answer, name, _UNREAD)


def _is_float(value: Any) -> bool:
    if isinstance(value, float):
        return True
    # numpy's float32 and float16 are no floats of Python's
    return type(value).__module__ == "numpy" and type(value).__name__.startswith("float") and getattr(value, "ndim", 1) == 0


def _vector(answer: Any) -> float:
    """Return the maximum of a vector of two or more entries in [0, 1] that sum to 1 ± 1e-3; shape (1, k) too."""
    if isinstance(answer, str | bytes | Mapping) or not hasattr(answer, "__len__"):
        _cannot(answer)
    shape = getattr(answer, "shape", None)
    if shape is not None and len(shape) == 2:  # noqa: PLR2004 - a matrix
        if shape[0] != 1:
            raise ConfigError(
                f"the answer has {shape[0]} rows: one confidence for a table says nothing",
                policy="confidence",
                hint="write batch=True, so that each row is judged by itself",
            )
        answer = answer[0] if not hasattr(answer, "iloc") else answer.iloc[0]
    elif shape is None and len(answer) == 1 and hasattr(answer[0], "__len__") and not isinstance(answer[0], str):
        answer = answer[0]
    try:
        entries = [float(entry) for entry in answer]
    except (TypeError, ValueError):
        return _cannot(answer)
    if any(math.isnan(entry) for entry in entries) and len(entries) > 1:
        return NAN
    if len(entries) < 2 or min(entries) < 0 or max(entries) > 1 or abs(math.fsum(entries) - 1) > SUM_TOLERANCE:  # noqa: PLR2004
        return _cannot(answer)
    return max(entries)


def _cannot(answer: Any) -> NoReturn:
    raise ConfigError(
        f"no confidence can be read from an answer of type {type(answer).__name__}",
        policy="confidence",
        hint='return a Prediction or (value, confidence), or say where it stands: Confidence(0.8, of="score")',
    )
