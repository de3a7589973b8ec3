"""What option objects have in common: they show themselves as one would write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail import Audit, Breaker, Budget, Cache, Confidence, ConfigError, Limit, Retry, Review, clock
from guardrail.policies.audit import Owner
from guardrail.policies.options import written


@pytest.mark.parametrize(
    "text",
    [
        "Cache('10m')", "Cache('1h', size=10, stale_for='1d')", "Cache('90s', jitter=0.0, per='tenant')", "Budget('250ms')",
        "Budget('1m', attempt='500ms', enforce='report')", "Retry()", "Retry(2, on=(TimeoutError, ConnectionError), wait='20ms')",
        "Retry(2, on=(OSError,), wait='0s')", "Limit(8, rate='5/s', wait='1s')", "Breaker('bureau', slow_after='2s', open_for='1m')",
        "Confidence(0.8, of='score')", "Review('desk', on=('low', 'failed'), sla='4h', wait='30s', reuse='30d')", "Review()",
        "Audit('sync', required=True)", "Audit()", "Owner('credit', contact='a@b', escalation=('c@d',))",
    ],
)  # fmt: skip
def test_an_option_shows_itself_as_one_would_write_it(text):
    """Durations with their unit, defaults left out; and what is shown makes the same object again."""
    kinds = (Audit, Breaker, Budget, Cache, Confidence, Limit, Owner, Retry, Review)
    assert repr(eval(text, {kind.__name__: kind for kind in kinds})) == text


@given(st.one_of(st.floats(1e-9, 1e9), st.integers(1, 10**8).map(float), st.integers(1, 10**8).map(lambda ms: ms / 1000)))
def test_a_duration_reads_back_as_itself(seconds):
    """The digest of a plan is made of these texts: two durations never look alike."""
    assert clock.seconds(written(seconds)) == seconds


def test_some_fields_changed_are_checked_like_any_other():
    """The others stay as they are."""
    assert Budget("1s", attempt="200ms", enforce="report").but(total="2s") == Budget("2s", attempt="200ms", enforce="report")
    with pytest.raises(ConfigError, match="attempt"):
        Budget("1s", attempt="200ms").but(total="100ms")
    with pytest.raises(TypeError):
        Cache("1s").but(tll="2s")
