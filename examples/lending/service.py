"""The guarded function: what to copy. Retry and breaker stand where the network is, in bureau.py."""

from __future__ import annotations

from typing import Literal

from examples.lending.bureau import credit_history
from examples.lending.data import Applicant
from examples.lending.model import credit_model
from guardrail import Audit, Limit, Owner, Prediction, Review, guarded, stage, with_options

Verdict = Literal["approve", "refuse"]


def case(applicant: Applicant) -> dict[str, object]:
    """Return what the credit desk sees of a case."""
    seen = credit_history(applicant.loan_id)  # from the bureau's cache: the model has just asked
    return {
        "asks for": f"${applicant.loan_amount:,.0f}k over {applicant.term_months:.0f} months, for a house of ${applicant.price:,.0f}k",
        "income": f"${applicant.income + applicant.co_income:,.0f} a month, {applicant.debt_ratio:.0f} % of it for debts",
        "credit": f"mortgage payments {seen.mortgage_payments} of 4, consumer {seen.consumer_payments} of 6 (1 is best)",
        "bankruptcy": seen.bankruptcy,
        "could not be verified": applicant.unverified,
    }


@guarded(
    name="loans",
    version="1.0.0",
    owner=Owner("credit-ml", contact="credit-ml@bank.example"),
    runbook="https://wiki.bank.example/loans",
    budget="750ms",
    cache="10m",
    limit=Limit(32, wait="100ms"),
    confidence=0.8,
    review=Review(
        "credit-desk",
        choices=["approve", "refuse"],
        guide="Approve if the applicant can pay the rate from the income after debts. Say why in the note.",
        show=case,
        sla="4h",
        reuse="30d",
    ),
    audit=Audit("buffered", inputs="digest"),
)
def predict(applicant: Applicant) -> Prediction[Verdict]:
    """Approve or refuse a mortgage."""
    history = credit_history(applicant.loan_id)  # a guard of its own, inside this one's deadline
    with stage("model"):
        probability, because = credit_model().judge(applicant, history)
    return Prediction("approve" if probability >= 0.5 else "refuse", max(probability, 1 - probability), because)


def rule_of_thumb(applicant: Applicant) -> Prediction[Verdict]:
    """Answer as banks did before they had models: the debts may take no more than 36 % of the income."""
    return Prediction("approve" if applicant.debt_ratio <= 36 else "refuse", 0.5, ["rule of thumb: debts for the income"])


# The same guard for the counter, where somebody waits: in 200 ms there is an answer, and the desk looks at unsure ones afterwards.
at_the_counter = with_options(predict, budget="200ms", fallback=rule_of_thumb)
