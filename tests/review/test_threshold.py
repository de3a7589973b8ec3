"""What a threshold says besides its number: scores, people's time, pictures, and the file that goes with the model."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

import pytest

from guardrail import Confidence, ConfigError, Deferred, NoThreshold, Threshold, calibrate, configure, guard_of, guarded
from guardrail.review import scores
from guardrail.review.capacity import reviews
from guardrail.review.curves import svg, thinned
from guardrail.thresholds.threshold import Point


def world(many: int, seed: int = 1) -> tuple[list[float], list[bool]]:
    """A model that is wrong the more often, the less sure it is."""
    chance = random.Random(seed)
    sure = [chance.random() for _ in range(many)]
    return sure, [chance.random() >= 0.4 * (1 - each) for each in sure]


def found(**more) -> Threshold:
    """A threshold of that model."""
    return calibrate(*world(2_000), max_error=0.1, **more)


# ── scores ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_scores_of_a_handful_of_cases_are_those_by_hand():
    """Two bins, four cases; risks 0, 0, 1/3, 1/2 from the surest on."""
    made = scores([0.9, 0.9, 0.6, 0.6], [True, True, False, False])
    assert made.ece == pytest.approx((2 * 0.1 + 2 * 0.6) / 4)
    assert made.brier == pytest.approx((2 * 0.01 + 2 * 0.36) / 4)
    assert made.aurc == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    assert made.augrc == pytest.approx(0.5 * 0.5**2)


def test_augrc_is_what_its_closed_form_says():
    """(1 - AUROC) acc (1 - acc) + (1 - acc)² / 2, ties counting half (Traub and others 2024, equation 7)."""
    chance = random.Random(3)
    sure = [round(chance.random(), 1) for _ in range(400)]
    right = [chance.random() < 0.5 + each / 2 for each in sure]
    good, bad = ([each for each, ok in zip(sure, right, strict=True) if ok is want] for want in (True, False))
    auroc = sum((g > b) + (g == b) / 2 for g in good for b in bad) / len(good) / len(bad)
    accuracy = len(good) / 400
    assert scores(sure, right).augrc == pytest.approx((1 - auroc) * accuracy * (1 - accuracy) + (1 - accuracy) ** 2 / 2)


def test_scores_know_ties_and_gaps():
    """What is equally sure has no order, and NaN is as unsure as can be."""
    flat = scores([0.7] * 10, [True] * 7 + [False] * 3)
    assert flat.ece == pytest.approx(0)
    assert flat.aurc == pytest.approx(0.3)
    assert flat == scores([0.7] * 10, [False] * 3 + [True] * 7)
    assert scores([math.nan, 1.0], [False, True]) == scores([0.0, 1.0], [False, True])
    assert found().scores == scores(*world(2_000))
    assert calibrate([0.9] * 30, [True] * 30).scores.brier == pytest.approx(0.01)


# ── people's time ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_one_reviewer_is_an_m_m_1_queue():
    """Whose wait is rho / (mu - lambda); cases that wait are, by Little's law, those that come in that time."""
    made = reviews(80, (70, 90), reviewers=1, per_hour=20, hours=8)
    assert made.utilisation == pytest.approx(0.5)
    assert made.utilisation_interval == pytest.approx((70 / 160, 90 / 160))
    assert made.waiting == pytest.approx(0.5 / (20 - 10) * 3600)
    assert made.backlog == pytest.approx(0.5)
    assert (made.reviewers_needed, made.warning) == (1, None)


def test_several_reviewers_wait_as_erlang_says():
    """Beside the sum of Erlang's C formula."""
    made = reviews(300, (290, 310), reviewers=4, per_hour=12, hours=8)
    offered = 300 / 8 / 12
    last = offered**4 / math.factorial(4) / (1 - offered / 4)
    waits = last / (sum(offered**k / math.factorial(k) for k in range(4)) + last)
    assert made.waiting == pytest.approx(waits / (4 * 12 - 300 / 8) * 3600)


def test_a_queue_without_end_is_said():
    """For certain where the expected cases are too many, perhaps where only the upper end is."""
    sure = reviews(1_000, (900, 1_100), reviewers=2, per_hour=20)
    assert (sure.waiting, sure.backlog, sure.reviewers_needed) == (math.inf, math.inf, 7)
    assert (
        sure.warning
        == "the queue grows without end: about 1,000 cases a day come, and 2 reviewers decide 320; 7 reviewers are needed"
    )
    perhaps = reviews(300, (250, 350), reviewers=2, per_hour=20)
    assert perhaps.warning.startswith("the queue may grow without end: up to 350")
    assert math.isfinite(perhaps.waiting)
    assert reviews(160, (160, 160), reviewers=1, per_hour=20).warning is not None
    assert reviews(0, (0, 0), reviewers=1, per_hour=20).waiting == 0


def test_a_threshold_knows_how_many_cases_it_sends():
    """With the interval of its coverage."""
    made = found()
    told = made.reviews(1_000, reviewers=5, per_hour=20)
    assert told.a_day == pytest.approx(1_000 * (1 - made.coverage))
    assert told.a_day_interval[0] < told.a_day < told.a_day_interval[1]
    for wrong in ({"reviewers": 0}, {"per_hour": 0}, {"hours": 25}, {"per_day": -1}, {"per_day": math.nan}):
        with pytest.raises(ConfigError):
            made.reviews(**{"per_day": 10, "reviewers": 1, "per_hour": 5} | wrong)


# ── pictures ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_curve_is_a_picture():
    """Well-formed SVG with the curve, its band, what is allowed and where the threshold stands, and no script."""
    made = found()
    drawn = ET.fromstring(svg(made.points, max_error=0.1, title="a <b> & c", coverage=made.coverage))
    names = [each.tag.partition("}")[2] for each in drawn.iter()]
    assert (names.count("polyline"), names.count("polygon"), "script" in names) == (1, 1, False)
    assert drawn[0].text == "a <b> & c"
    assert ET.fromstring(svg([], title="nothing")).tag.endswith("svg")
    few = thinned(made.points, 20)
    assert 20 <= len(few) <= 22
    assert few[-1] == made.points[-1]
    assert made.at_least in [point.at_least for point in few]


def test_notebooks_show_a_card():
    """Of a threshold, of one that is none, and nothing of either can be HTML of somebody else's."""
    made = found(groups=["<script>", "b"] * 1_000, version="<i>")
    page = made._repr_html_()
    assert "<svg" in page
    assert "<script" not in page
    assert "<i>" not in page
    none = calibrate(*world(100))._repr_html_()
    assert "more labels" in none
    assert "<svg" in none
    assert "few" in NoThreshold(1, 2, "few")._repr_html_()


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_threshold_goes_with_the_model_as_a_file(tmp_path):
    """Whole; signed; and whoever trusts one key takes no other."""
    made = found(groups=["a", "b"] * 1_000)
    path = tmp_path / "credit.json"
    key = made.save(path)
    assert Threshold.load(path) == made
    assert Threshold.load(path, signed_by=key).groups["b"].points
    with pytest.raises(ConfigError, match="another key"):
        Threshold.load(path, signed_by="A" * 43 + "=")
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".json"] == ["credit.json"]


def test_a_threshold_that_was_lowered_by_hand_is_refused(tmp_path):
    """And so is one whose signature was taken off, where a key is asked for."""
    path = tmp_path / "credit.json"
    key = found().save(path)
    kept = json.loads(path.read_text())
    for change in (
        {"threshold": kept["threshold"] | {"at_least": 0.1}},
        {"signature": {"key": "?", "value": "?"}},
        {"signature": {}},
    ):
        path.write_text(json.dumps(kept | change))
        with pytest.raises(ConfigError, match="not as it was signed"):
            Threshold.load(path)
    path.write_text(found().to_json())
    assert isinstance(Threshold.load(path), Threshold)
    with pytest.raises(ConfigError, match="not as it was signed"):
        Threshold.load(path, signed_by=key)
    for text in ("{", "[]", "{}", '{"threshold": 3}'):
        path.write_text(text)
        with pytest.raises(ConfigError, match="no threshold"):
            Threshold.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Threshold.load(tmp_path / "missing.json")


def few() -> NoThreshold:
    """One group with a threshold, one with too few labels for any."""
    sure, right = world(2_000)
    made = calibrate(
        [*sure, *[0.9] * 5], [*right, *[True] * 5], max_error=0.1, groups=["north"] * 2_000 + ["south"] * 5, version="2"
    )
    assert isinstance(made, NoThreshold)
    return made


def test_groups_are_saved_where_all_together_have_no_threshold(tmp_path):
    """Signed like any other, and as JSON; a change by hand is refused; one by which nothing is answered is never deployed."""
    made, path = few(), tmp_path / "regions.json"
    key = made.save(path)
    assert made.certified == ("north",)
    assert Threshold.load(path, signed_by=key) == made
    assert Threshold.from_json(made.to_json()) == made
    assert "only groups certified" in made._repr_html_()
    kept = json.loads(path.read_text())
    kept["threshold"]["groups"]["south"] = kept["threshold"]["groups"]["north"]
    path.write_text(json.dumps(kept))
    with pytest.raises(ConfigError, match="not as it was signed"):
        Threshold.load(path)
    none = NoThreshold(5, 200, "few", groups={"south": made.groups["south"]})
    with pytest.raises(ConfigError, match="nothing is certified"):
        none.save(path)
    path.write_text(none.to_json())
    with pytest.raises(ConfigError, match="no threshold in"):
        Threshold.load(path)
    with pytest.raises(ConfigError, match="this is no threshold"):
        Threshold.from_json(none.to_json())


def test_a_setting_names_a_file_of_groups(home, tmp_path):
    """Certified groups are answered; all else is deferred, and everything where the code says no group; version and end still count."""
    path = tmp_path / "regions.json"
    made = few()
    made.save(path)
    configure(guards={"credit": {"confidence": str(path)}})

    def guard(version="2", **more):
        option = Confidence(0.1, of="sure") if not more else Confidence(found(groups=["a", "b"] * 1_000), of="sure", **more)
        return guarded(name="credit", version=version, confidence=option)(lambda region, sure: {"sure": sure})

    north = guard(group="region")
    assert north("north", 0.99) == {"sure": 0.99}
    for region in ("south", "atlantis"):
        with pytest.raises(Deferred):
            north(region, 0.99)
    with pytest.raises(Deferred):
        guard()("north", 0.99)
    with pytest.raises(ConfigError, match="another version"):
        guard(version="3", group="region")
    north = made.groups["north"]
    over = NoThreshold(5, 200, "few", groups={"north": replace(north, expires=datetime(2020, 1, 1, tzinfo=UTC))})
    over.save(path)
    with pytest.raises(ConfigError, match="expired"):
        Confidence(Threshold.load(path), group="region")


def test_a_setting_names_the_file(home, tmp_path, monkeypatch):
    """In place of a number; the option object of the code keeps its other fields; a missing file stops the start."""
    path = tmp_path / "credit.json"
    made = found(version="2")
    monkeypatch.setenv("GUARDRAIL_GUARD__CREDIT__CONFIDENCE", str(path))
    path.write_text(made.to_json())
    predict = guarded(name="credit", version="2", confidence=Confidence(0.1, of="sure"))(lambda sure: {"sure": sure})
    assert predict(made.at_least) == {"sure": made.at_least}
    with pytest.raises(Deferred):
        predict(made.at_least - 0.01)
    assert guard_of(predict).options["confidence"].threshold == made
    with pytest.raises(ConfigError, match="another version"):
        guarded(name="credit", version="3", confidence=Confidence(0.1, of="sure"))(lambda sure: {"sure": sure})


def test_a_setting_that_names_no_threshold_is_an_error(home, tmp_path):
    """At once, by the name of the setting."""
    with pytest.raises(ConfigError, match="credit.*cannot be read"):
        configure(guards={"credit": {"confidence": str(tmp_path / "none.json")}})


def test_a_point_without_cases_is_drawn(tmp_path):
    """A curve of one point is a curve."""
    assert "polyline" in svg([Point(0.9, 0.1, 5, 0, False)], title="one", max_error=0.02)
