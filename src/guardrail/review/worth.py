"""How much a confidence is worth, in four numbers. They are for reading: no guarantee follows from any of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from guardrail.review.given import labelled
from guardrail.thresholds.threshold import Scores

__all__ = ["Scores", "scored", "scores"]
_BINS: Final = 15  # as in Guo, Pleiss, Sun, Weinberger 2017, arXiv:1706.04599


def scores(confidence: Any, correct: Any) -> Scores:
    """Return how much a confidence is worth on labelled cases.

    Args:
        confidence: How sure each answer was, n numbers in [0, 1]; NaN counts as 0.
        correct: Whether each was right, n booleans.

    Raises:
        ConfigError: They are of different lengths, or not what they should be.
    """
    sure, wrong, _ = labelled(confidence, correct, None)
    return scored(sure, wrong)


def scored(sure: Sequence[float], wrong: Sequence[bool]) -> Scores:
    """Return the four numbers of cases that have been checked."""
    cases = sorted(
        ((0.0 if math.isnan(each) else each, bad) for each, bad in zip(sure, wrong, strict=True)), key=lambda case: -case[0]
    )
    many = len(cases)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for each, bad in cases:
        bins.setdefault(min(_BINS - 1, int(each * _BINS)), []).append((each, bad))
    ece = math.fsum(abs(math.fsum(each + bad - 1 for each, bad in inside)) for inside in bins.values()) / many
    brier = math.fsum((each - 1 + bad) ** 2 for each, bad in cases) / many
    risks, joint = _areas([[bad for _, bad in tied] for _, tied in groupby(cases, key=lambda case: case[0])])
    return Scores(ece, brier, risks / many, joint / many**2)


def _areas(blocks: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """Return the sums behind AURC and AUGRC; what is equally sure stands in no order, and its errors are spread evenly."""
    risks: list[float] = []
    joint: list[float] = []
    accepted, errors = 0, 0.0
    for block in blocks:
        each = sum(block) / len(block)
        for _ in block:
            accepted += 1
            joint.append(errors + each / 2)  # trapezoids: exact for the area under a line of steps and ties
            errors += each
            risks.append(errors / accepted)
    return math.fsum(risks), math.fsum(joint)
