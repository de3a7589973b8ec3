"""A saved threshold beside labels as they are now: the same, more, or others, and whether they still certify it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from guardrail import ConfigError, NoThreshold, Threshold, calibrate
from guardrail.review import recheck


def world(many: int, seed: int = 1, *, slope: float = 0.4) -> tuple[list[float], list[bool]]:
    """A model that is wrong the more often, the less sure it is."""
    chance = random.Random(seed)
    sure = [chance.random() for _ in range(many)]
    return sure, [chance.random() >= slope * (1 - each) for each in sure]


SURE, RIGHT = world(2_000)


def saved(**more: Any) -> Threshold:
    """A threshold of that model, by way of JSON."""
    made = calibrate(SURE, RIGHT, max_error=0.1, version="2", **more)
    found = Threshold.from_json(made.to_json())  # type: ignore[union-attr]
    assert isinstance(found, Threshold)
    return found


def test_the_same_labels_are_known_by_their_digest() -> None:
    """And certify it, since they did; in another order, or with one label changed, they are others."""
    made = saved()
    found = recheck(made, SURE, RIGHT, version="2")
    (part,) = found.parts
    assert (found.made_from, found.holds, part.certified, found.then, found.now) == ("same", True, made.at_least, 2_000, 2_000)
    assert part.errors / part.accepted < part.interval[1] < 0.14
    assert repr(found) == "<Recheck: today's labels certify it; made from these 2,000 labels>"
    other = recheck(made, SURE, [not RIGHT[0], *RIGHT[1:]])
    assert (other.made_from, other.holds) == ("others", True)


def test_more_labels_of_the_same_kind_make_nothing_wrong() -> None:
    """It was made from fewer, and holds; of less than there were then some are missing."""
    sure, right = world(4_000, 3)
    found = recheck(saved(), SURE + sure, RIGHT + right)
    assert (found.made_from, found.holds, found.now) == ("fewer", True, 6_000)
    few = recheck(saved(), SURE[:1_500], RIGHT[:1_500])
    assert (few.made_from, few.labels) == (
        "more",
        "made from 2,000 labels, of which 1,500 at most are still found: look further back",
    )


def test_labels_of_a_model_that_has_become_worse_no_longer_certify_it() -> None:
    """Though it is the same version, and has not expired."""
    sure, right = world(4_000, 3, slope=0.9)
    found = recheck(saved(), sure, right, version="2")
    (part,) = found.parts
    assert (found.holds, part.broken) == (False, True)
    assert found.verdict == "more answers are wrong than it promises"
    assert part.errors / part.accepted > 0.1
    assert part.certified is None or part.certified > part.at_least
    assert "does not hold" in found._repr_html_()


def test_labels_that_only_fail_to_certify_it_say_so() -> None:
    """Nine in a hundred are wrong, and ten are promised: that is no proof of either."""
    sure, right = world(4_000, 2)
    found = recheck(saved(), SURE + sure, RIGHT + right)
    (part,) = found.parts
    assert (found.holds, part.broken) == (False, False)
    assert part.errors / part.accepted < part.max_error < part.interval[1]
    assert found.verdict == "today's labels neither certify it nor speak against it"


def test_too_few_labels_certify_nothing() -> None:
    """However right they all are: what cannot be told is no promise."""
    found = recheck(saved(), [0.99] * 20, [True] * 20)
    assert (found.holds, found.parts[0].certified, found.parts[0].broken) == (False, None, False)
    nothing = recheck(saved(), [0.01] * 300, [True] * 300)
    assert (nothing.holds, nothing.parts[0].accepted) == (False, 0)
    assert nothing.rows()[0][3] == ""


def test_what_a_guard_would_refuse_does_not_hold() -> None:
    """An expired one, or one for another version; a version that nobody asks for is none."""
    over = replace(saved(), expires=datetime(2020, 1, 1, tzinfo=UTC))
    assert recheck(over, SURE, RIGHT).verdict == "it has expired"
    other = recheck(saved(), SURE, RIGHT, version="3")
    assert (other.holds, other.problems) == (False, ("it is for another version of the model than 3",))
    assert recheck(replace(saved(), version="0"), SURE, RIGHT, version="3").holds


def test_each_group_is_held_against_its_own_labels() -> None:
    """One that has become worse takes the promise with it, and is named; where only groups have a threshold they are looked at alone."""
    names = ["north", "south"] * 1_000
    made = saved(groups=names)
    good = recheck(made, SURE, RIGHT, groups=names)
    assert [(part.group, part.holds) for part in good.parts] == [(None, True), ("north", True), ("south", True)]
    assert good.made_from == "same"
    worse = [right and (name == "north" or at % 3 > 0) for at, (right, name) in enumerate(zip(RIGHT, names, strict=True))]
    bad = recheck(made, SURE, worse, groups=names)
    assert [(part.group, part.holds) for part in bad.parts] == [(None, False), ("north", True), ("south", False)]
    gone = recheck(made, SURE, RIGHT, groups=["north"] * 2_000)
    assert [part.holds for part in gone.parts if part.group == "south"] == [False]
    few = calibrate([*SURE, 0.9], [*RIGHT, True], max_error=0.1, groups=["north"] * 2_000 + ["south"])
    assert isinstance(few, NoThreshold)
    alone = recheck(few, [*SURE, 0.9], [*RIGHT, True], groups=["north"] * 2_000 + ["south"])
    assert ([part.group for part in alone.parts], alone.holds, alone.made_from) == (["north"], True, "same")


def test_what_cannot_be_compared_is_refused() -> None:
    """Groups on one side only, and what is no threshold."""
    with pytest.raises(ConfigError, match="made without groups"):
        recheck(saved(), SURE, RIGHT, groups=["a"] * 2_000)
    with pytest.raises(ConfigError, match="made with groups"):
        recheck(saved(groups=["a", "b"] * 1_000), SURE, RIGHT)
    with pytest.raises(ConfigError, match="no threshold"):
        recheck(NoThreshold(5, 100, "few"), SURE, RIGHT)


def test_a_good_threshold_fails_its_check_about_as_seldom_as_it_says() -> None:
    """Of thresholds that keep their promise with room to spare, fresh labels certify nearly all."""
    made = replace(saved(), at_least=0.9)  # 2 % wrong on average there, 10 % promised
    held = [recheck(made, *world(2_000, seed)).holds for seed in range(10, 30)]
    assert sum(held) >= 19
