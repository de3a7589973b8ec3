"""The credit model: a logistic regression of scikit-learn on what the applicant and the bureau say. Nothing of guardrail here."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from examples.lending import data
from examples.lending.data import Applicant, CreditHistory

FEATURES = (
    "size of the loan", "price of the house", "loan for its price", "income", "a second income", "liquid assets",
    "housing cost for the income", "debts for the income", "term", "years in work", "number of credit lines",
    "credit guidelines", "what could be verified", "self-employment", "a cosigner",
    "mortgage payments so far", "consumer payments so far", "bankruptcy",
)  # fmt: skip


def features(applicant: Applicant, history: CreditHistory) -> list[float]:
    """Return one row for the model, in the order of FEATURES."""
    a, h = applicant, history
    return [
        *np.log1p([a.loan_amount, a.price]), a.loan_amount / a.price, *np.log1p([a.income, a.co_income, a.liquid_assets]),
        a.housing_ratio, a.debt_ratio, a.term_months, a.years_in_work, np.log1p(a.credit_lines),
        a.meets_guidelines, a.unverified, a.self_employed, a.cosigner,
        h.mortgage_payments, h.consumer_payments, h.bankruptcy,
    ]  # fmt: skip


class CreditModel:
    """Approves or refuses, and says how sure it is and what weighed most."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    @classmethod
    def train(cls, applicants: Sequence[Applicant], histories: Sequence[CreditHistory], approved: Sequence[bool]) -> CreditModel:
        rows = np.array([features(*pair) for pair in zip(applicants, histories, strict=True)], dtype=float)
        return cls(make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000)).fit(rows, approved))

    def judge(self, applicant: Applicant, history: CreditHistory) -> tuple[float, list[str]]:
        """Return the probability that the loan is approved, and the two facts that speak loudest for the model's view."""
        row = self.pipeline[0].transform(np.array([features(applicant, history)], dtype=float))
        probability = float(self.pipeline[1].predict_proba(row)[0, 1])
        push = row[0] * self.pipeline[1].coef_[0] * (1 if probability >= 0.5 else -1)
        return probability, [FEATURES[at] for at in np.argsort(push)[::-1][:2]]


@functools.cache
def credit_model() -> CreditModel:
    """Return the model, trained at the first call: a second of work that a real service would load from its registry."""
    known, _ = data.load()
    return CreditModel.train(*known.sound())
