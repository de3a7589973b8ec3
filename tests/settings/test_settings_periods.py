"""How long records are kept, as people write it."""

from __future__ import annotations

import pytest

from guardrail import ConfigError, settings
from guardrail.settings import periods


@pytest.mark.parametrize(
    "written, days",
    [("180d", 180), (" 26W ", 182), ("7y", 7 * 366), ("1d", 1), ("AI_ACT", 184), ("hipaa", 2_192), ("soc2", 366), ("keep", None)],
)
def test_periods_are_days_weeks_years_or_rules(written: str, days: int | None) -> None:
    """Never shorter than what was meant: a year is 366 days, and a rule's months are the longest there are."""
    assert periods.seconds(periods.period(written, "retention")) == (None if days is None else days * 86_400)


@pytest.mark.parametrize("written", ["180", "12h", "0d", "-1d", "1.5y", "for ever", "", 180, None, "hippa", "1d\n2d", "999999d"])
def test_what_is_no_period_is_refused(written: object) -> None:
    """A number alone too: seconds would prune what was made a moment ago."""
    with pytest.raises(ConfigError):
        periods.period(written, "retention")


def test_a_misspelled_rule_names_the_nearest() -> None:
    """As names of settings do."""
    with pytest.raises(ConfigError, match="did you mean hipaa"):
        periods.period("hippa", "retention")


def test_the_setting_is_read_like_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment; `keep` there undoes what a file says."""
    assert (settings.current().retention, settings.current().compress) == (None, True)
    settings.configure(retention="180d", compress=False)
    assert (settings.current().retention, settings.current().compress) == ("180d", False)
    monkeypatch.setenv("GUARDRAIL_RETENTION", "keep")
    monkeypatch.setenv("GUARDRAIL_COMPRESS", "off")
    settings.configure()
    assert (settings.current().retention, settings.current().compress) == ("keep", False)


def test_every_rule_says_where_it_says_so() -> None:
    """A source, and what it does not say."""
    for profile in periods.PROFILES.values():
        assert profile.days >= 180 and len(profile.source) > 40
