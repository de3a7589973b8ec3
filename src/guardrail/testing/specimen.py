"""A small guarded function of our own: what `guardrail selftest` checks when it is asked about the installation alone."""

from __future__ import annotations

from guardrail import Prediction, guarded


@guarded(name="guardrail:specimen", version="1", confidence=0.8, review="specimen", budget="5s", retry=2, cache="1m", limit=8)
def predict(income: float, debts: float) -> Prediction[str]:
    """Return whether somebody is lent money."""
    share = debts / income if income > 0 else 1.0
    return Prediction("approve" if share < 0.4 else "refuse", confidence=min(1.0, 0.5 + 2 * abs(share - 0.4)))  # noqa: PLR2004
