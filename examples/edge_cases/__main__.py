"""A reader of handwritten digits says when it is unsure, and a person reads those: `python -m examples.edge_cases`.

The digits are real (UCI, in scikit-learn); a confident answer comes at once, a doubtful one becomes a ticket.
"""

from __future__ import annotations

import functools
from typing import Annotated

import numpy as np
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from guardrail import BusinessId, Outcome, Prediction, Review, batch, decide, guarded, review

LEARN = 1_200  # of 1,797 digits; the others are read
SHADES = " .:-=+*#%"


def picture(form: str, image: np.ndarray) -> dict[str, object]:
    """Return what the person sees: the digit, drawn with characters."""
    return {"form": form, "digit": "\n".join("".join(SHADES[int(dot) // 2] * 2 for dot in row).rstrip() for row in image)}


@functools.cache
def reader() -> LinearDiscriminantAnalysis:
    digits = load_digits()
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(digits.data[:LEARN], digits.target[:LEARN])


@guarded(
    name="digits",
    version="1.0.0",
    confidence=0.8,
    review=Review("digits", choices=list(range(10)), show=picture, guide="Read the digit.", reuse="30d"),
)
def read(form: Annotated[str, BusinessId], image: np.ndarray) -> Prediction[int]:  # noqa: ARG001 - the form is for people
    """Read one digit of a form."""
    shares = reader().predict_proba(image.reshape(1, -1))[0]
    return Prediction(int(shares.argmax()), float(shares.max()))


def main() -> None:
    digits = load_digits()
    rows = [(f"form-{at}", digits.images[at]) for at in range(LEARN, len(digits.images))]
    truth = digits.target[LEARN:].tolist()
    made = batch(read, rows)
    sure = [row.value.value == true for row, true in zip(made, truth, strict=True) if row.outcome == Outcome.answered]
    print(f"{len(made)} digits: {made.describe()}")
    print(f"right where it was sure: {sum(sure) / len(sure):.1%} of {len(sure)}")

    tickets = [(at, row.ticket, row.confidence or 0) for at, row in enumerate(made) if row.ticket is not None]
    if not tickets:
        print("People have read all the others already.")
        return
    guesses = [ticket.provisional["value"] == truth[at] for at, ticket, _ in tickets]
    print(f"right where it was not, had nobody looked: {sum(guesses) / len(guesses):.1%} of {len(guesses)}\n")

    # The least sure of all goes to a person, who reads it: here in Python, or with `guardrail review decide`.
    at, ticket, sureness = min(tickets, key=lambda case: case[2])
    case = review.details(ticket.id)
    print(f"{ticket.business_id}: the model reads {ticket.provisional['value']}, with confidence {sureness:.2f}")
    print(case.shown["digit"])
    review.decide(ticket.id, truth[at], actor="ann", note="A familiar hand.")
    again = decide(read, *rows[at])
    print(f"Ann decides. Asked again, the guard answers {again.value.value} ({again.outcome}).")
    print(f"{review.open_count('digits')} tickets are open: `guardrail review list --queue digits`")


if __name__ == "__main__":
    main()
