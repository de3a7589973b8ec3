"""Finds the lowest confidence from which on answers are wrong at most so often, with a stated certainty.

Learn then Test (Angelopoulos, Bates, Candès, Jordan, Lei 2021, arXiv:2110.01052): the hypothesis "at this threshold more than
`max_error` are wrong" is tested by its exact binomial p-value, from strict thresholds to loose ones, each at the whole level
`delta`, until one cannot be rejected (fixed-sequence testing); all before it hold at once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from guardrail import clock
from guardrail.errors import ConfigError
from guardrail.review.given import labelled
from guardrail.review.worth import scored
from guardrail.thresholds.interval import UNBOUND
from guardrail.thresholds.threshold import NoThreshold, Point, Threshold

_GRID: Final = 200  # thresholds that are looked at: quantiles of the confidence, without regard to the labels
_START: Final = 2.0  # times the fewest cases that could certify anything: where the sequence begins
_SEEN: Final = 20  # cases from which on a share of errors says something
_LEVEL: Final = 0.05  # of the intervals
_MOST_LABELS: Final = 10**7


def calibrate(
    confidence: Any,
    correct: Any,
    *,
    max_error: float = 0.02,
    delta: float = 0.05,
    groups: Any | None = None,
    version: str = UNBOUND,
    expires: clock.Duration | None = "90d",
) -> Threshold | NoThreshold:
    """Find a threshold for `confidence=` from labelled cases that the model was not trained on.

    Args:
        confidence: How sure each answer was, n numbers in [0, 1]: a sequence, array or Series. NaN counts as never sure.
        correct: Whether each was right, n booleans (or 0 and 1).
        max_error: The share of wrong answers among those that reach the threshold, at most.
        delta: The probability that this does not hold, over the draw of the cases.
        groups: To which group each case belongs, n texts or numbers. Then the threshold holds in each of them: a hypothesis is
            rejected only where it is in every group (an intersection-union test, which needs no correction); and
            `Threshold.groups` has one of its own for each, at delta divided by their number, so that all of those hold at once.
        version: The model's version; a guard of another version refuses the threshold. "0" binds it to none.
        expires: For how long it is used; None for ever.

    Returns:
        The threshold, or why there is none and how many labels are missing.

    Raises:
        ConfigError: The arguments are of different lengths, or not what they should be.
    """
    sure, wrong, named = labelled(confidence, correct, groups)
    for share, what in ((max_error, "max_error"), (delta, "delta")):
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 < share < 1.0:
            raise ConfigError(f"{what} must lie between 0 and 1", hint=f"write {what}=0.05")
    if not isinstance(version, str) or not version:
        raise ConfigError("version must be a non-empty text", hint='write version="3.2.0"')
    until = None
    if expires is not None:
        until = datetime.fromtimestamp(clock.wall() + clock.seconds(expires, "expires"), UTC)
    digest = digest_of(sure, wrong, named)
    of_each: dict[str, Threshold | NoThreshold] = {}
    members: list[list[int]] = [list(range(len(sure)))]
    if named is not None:
        names = sorted(set(named))
        members = [[at for at, name in enumerate(named) if name == each] for each in names]
        for name, those in zip(names, members, strict=True):
            found = search(
                [sure[at] for at in those], [wrong[at] for at in those], [list(range(len(those)))], max_error, delta / len(names)
            )
            of_each[name] = _result(found, max_error, delta / len(names), version, until, digest, {})
    return _result(search(sure, wrong, members, max_error, delta), max_error, delta, version, until, digest, of_each)


class Found:
    """What the search saw: the curve, and how far down it is certified."""

    def __init__(self, sure: Sequence[float], wrong: Sequence[bool]) -> None:
        self.labels = len(sure)
        self.points: list[Point] = []
        self.at_least: float | None = None
        self.enough = False  # whether any threshold had the cases that a test needs
        self.sure, self.wrong = sure, wrong


def search(
    sure: Sequence[float], wrong: Sequence[bool], members: Sequence[Sequence[int]], max_error: float, delta: float
) -> Found:
    """Test thresholds from strict to loose, until one cannot be certified.

    Args:
        sure: How sure each answer was; NaN for never.
        wrong: Whether each was wrong.
        members: The groups in each of which a threshold must hold, each as the places of its cases.
        max_error: As for `calibrate`; delta likewise.
        delta: As said.
    """
    found = Found(sure, wrong)
    ranked = [sorted(((sure[at], wrong[at]) for at in those), key=lambda each: -each[0]) for those in members]
    places = [0] * len(ranked)
    errors = [0] * len(ranked)
    least = _START * math.log(delta) / math.log1p(-max_error)
    going = True
    for threshold in _grid(sure):
        for which, cases in enumerate(ranked):
            while places[which] < len(cases) and cases[places[which]][0] >= threshold:
                errors[which] += cases[places[which]][1]
                places[which] += 1
        accepted, mistakes = sum(places), sum(errors)
        certified = False
        if all(place >= least for place in places):
            p_value = max(binomial_cdf(bad, place, max_error) for bad, place in zip(errors, places, strict=True))
            found.enough = True
            going = going and p_value <= delta
            certified = going
            if certified:
                found.at_least = threshold
        found.points.append(Point(threshold, accepted / len(sure), accepted, mistakes, certified))
    return found


def _grid(sure: Sequence[float]) -> list[float]:
    """Return thresholds from strict to loose: quantiles of the confidence, so that labels have no say in where tests are made."""
    known = sorted((each for each in sure if not math.isnan(each)), reverse=True)
    if not known:
        return []
    many = min(_GRID, len(known))
    return sorted({known[math.ceil(len(known) * step / many) - 1] for step in range(1, many + 1)}, reverse=True)


def _result(  # noqa: PLR0917 - what stands in a threshold
    found: Found, max_error: float, delta: float, version: str, until: datetime | None, digest: str,
    groups: dict[str, Threshold | NoThreshold],
) -> Threshold | NoThreshold:  # fmt: skip
    if found.at_least is None:
        return replace(_none(found, max_error, delta, groups), groups=groups)
    accepted = sum(each >= found.at_least for each in found.sure)
    return Threshold(
        found.at_least, max_error=max_error, delta=delta, coverage=accepted / found.labels,
        coverage_interval=interval(accepted, found.labels), labels=found.labels, version=version, expires=until, data=digest,
        groups=groups, points=tuple(found.points), scores=scored(found.sure, found.wrong),
    )  # fmt: skip


def _none(found: Found, max_error: float, delta: float, groups: dict[str, Threshold | NoThreshold]) -> NoThreshold:
    fewest: float = _START * math.log(delta) / math.log1p(-max_error) * max(1, len(groups))
    if not found.enough:
        half = math.ceil(fewest / 0.5)  # as if a half were sure enough
        return _empty(found, max(half, found.labels + 1), "there are too few labels to certify anything")
    seen = [point for point in found.points if point.accepted >= _SEEN and not _too_often(point, max_error)]
    if not seen:
        return _empty(found, 0, "even where the model is surest, too many answers are wrong: more of the same would not help")
    needed = math.ceil(min(_labels_for(point, found.labels, max_error, delta) for point in seen))
    needed = min(_MOST_LABELS, max(needed, found.labels + 1))
    return _empty(found, needed, "the labels do not certify any threshold yet")


def _empty(found: Found, needed: int, reason: str) -> NoThreshold:
    return NoThreshold(found.labels, needed, reason, points=tuple(found.points), scores=scored(found.sure, found.wrong))


def _too_often(point: Point, max_error: float) -> bool:
    """Return whether so many errors can hardly be chance."""
    return point.errors > 0 and 1.0 - binomial_cdf(point.errors - 1, point.accepted, max_error) < _LEVEL / 2


def _labels_for(point: Point, labels: int, max_error: float, delta: float) -> float:
    """Return about how many labels would certify a threshold, with one error more than were seen, since it was picked for few."""
    risk = (point.errors + 1) / (point.accepted + 1)
    return _sample_size(risk if risk < max_error else max_error / 2, max_error, delta) * labels / point.accepted


def _sample_size(risk: float, max_error: float, delta: float) -> int:
    """Return about how many accepted cases with this share of errors certify it."""
    many = math.ceil(_START * math.log(delta) / math.log1p(-max_error))
    while many < _MOST_LABELS and binomial_cdf(math.ceil(risk * many), many, max_error) > delta:
        many = math.ceil(many * 1.1)
    return many


def binomial_cdf(errors: int, cases: int, share: float) -> float:
    """Return the exact probability of at most so many errors among cases that are each wrong with a probability.

    Args:
        errors: k.
        cases: n.
        share: p, between 0 and 1.
    """
    if errors >= cases:
        return 1.0
    # The smaller tail is summed, outwards from its largest term, so that nothing cancels.
    low = errors <= cases * share
    begin, end, step = (errors, -1, -1) if low else (errors + 1, cases + 1, 1)
    log_odds = math.log(share) - math.log1p(-share)
    term = math.exp(
        math.lgamma(cases + 1) - math.lgamma(begin + 1) - math.lgamma(cases - begin + 1)
        + begin * math.log(share) + (cases - begin) * math.log1p(-share)
    )  # fmt: skip
    odds = math.exp(log_odds)
    total = 0.0
    for at in range(begin, end, step):
        total += term
        if term < total * 1e-17:
            break
        term *= at / (cases - at + 1) / odds if low else (cases - at) / (at + 1) * odds
    return min(1.0, total) if low else max(0.0, 1.0 - total)


def interval(errors: int, cases: int, level: float = _LEVEL) -> tuple[float, float]:
    """Return the exact two-sided interval of a share (Clopper and Pearson 1934), by bisection of the binomial distribution.

    Args:
        errors: How many of the cases.
        cases: Of how many.
        level: The probability that the interval does not hold the share.
    """
    if not cases:
        return 0.0, 1.0

    def where(tail: float, upto: int) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            if binomial_cdf(upto, cases, middle) > tail:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    return (
        0.0 if not errors else where(1 - level / 2, errors - 1),
        1.0 if errors == cases else where(level / 2, errors),
    )


def digest_of(sure: Sequence[float], wrong: Sequence[bool], named: Sequence[str] | None) -> str:
    """Return the digest (SHA-256, in hexadecimal) of labelled cases in their order; arguments as `given.labelled` returns them."""
    digest = hashlib.sha256()
    for at, each in enumerate(sure):
        digest.update(f"{each.hex()} {wrong[at]:d} {'' if named is None else named[at]}\n".encode())
    return digest.hexdigest()
