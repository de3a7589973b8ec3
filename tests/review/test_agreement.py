"""How far reviewers agree: published examples, the known paradox, and what holds for any answers."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.review.agreement import ac1, agreements, alpha, kappa, percent

# Krippendorff 2011, section C: four observers, twelve units, some answers missing.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
UNITS = [list(unit) for unit in zip(*OBSERVERS, strict=True)]
# Fleiss 1971 as in Wikipedia's worked example: fourteen reviewers, ten cases, five answers.
FLEISS = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1), (7, 7, 0, 0, 0), (3, 2, 6, 3, 0),
    (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip


@pytest.mark.parametrize(("scale", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_its_inventor(scale: Any, value: float) -> None:
    """The example of the paper, with missing answers, on three scales."""
    assert alpha(UNITS, scale=scale) == pytest.approx(value, abs=5e-4)


def test_kappa_is_that_of_its_inventor() -> None:
    """Fourteen reviewers: 0.210."""
    rows = [[answer for answer, times in enumerate(case) for _ in range(times)] for case in FLEISS]
    assert kappa(rows) == pytest.approx(0.210, abs=5e-4)
    assert percent(rows) == pytest.approx(0.378, abs=5e-4)


def test_the_paradox_of_rare_answers() -> None:
    """Two people agree on 94 of 100 cases, of which 3 in 100 are positive: kappa says chance, AC1 does not."""
    rows = [["no", "no"]] * 94 + [["yes", "no"]] * 3 + [["no", "yes"]] * 3
    found = agreements(rows, draws=200)
    assert found.percent.value == pytest.approx(0.94)
    assert found.kappa.value == pytest.approx(-0.031, abs=1e-3)
    assert found.ac1.value == pytest.approx(0.936, abs=1e-3)
    assert found.ac1.low < found.ac1.value < found.ac1.high
    assert found.ac1.cases == 100


def test_what_one_person_answered_says_nothing() -> None:
    """Cases with fewer than two answers are left out; without any there is no number."""
    found = agreements([["yes", None], [None, None]])
    assert all(math.isnan(each.value) and each.cases == 0 for each in found)
    assert agreements([["yes", None], ["no", "no"], ["yes", "no"]], draws=50).percent == (0.5, 0.0, 1.0, 2)


answers = st.lists(st.lists(st.sampled_from(["a", "b", "c"]), min_size=2, max_size=4), min_size=2, max_size=12)


@settings(max_examples=60, deadline=None)
@given(answers, st.randoms(use_true_random=False))
def test_order_changes_nothing(rows: list[list[str]], chance: Any) -> None:
    """Neither the order of cases nor that of reviewers; and no measure is above 1."""
    mixed = [chance.sample(row, len(row)) for row in chance.sample(rows, len(rows))]
    for measure in (percent, kappa, ac1, alpha):
        value = measure(rows)
        assert value == pytest.approx(measure(mixed), abs=1e-9)
        assert value <= 1 + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=2, max_size=12))
def test_who_always_agrees_has_one(said: list[str]) -> None:
    """On every measure, also where only one answer was ever given."""
    rows = [[each, each, each] for each in said]
    assert [measure(rows) for measure in (percent, kappa, ac1, alpha)] == pytest.approx([1.0] * 4)
