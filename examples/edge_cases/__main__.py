"""A reader of handwritten digits says when it is unsure, and a person reads those: `python -m examples.edge_cases`.

The digits are real (UCI, in scikit-learn); every confident answer comes at once, every doubtful one becomes a ticket.
"""

from __future__ import annotations

import functools
from typing import Annotated

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from guardrail import BusinessId, Outcome, Prediction, Review, batch, decide, guarded
from guardrail.review import queue

LEARN = 1_200  # of 1,797 digits; the others are read
SHADES = " .:-=+*#%"


def picture(form: str, image: np.ndarray) -> dict[str, object]:
    """Return what the person sees: the digit, drawn with characters."""
    return {"form": form, "image": "\n".join("".join(SHADES[int(dot) // 2] * 2 for dot in row) for row in image)}


@functools.cache
def reader() -> LogisticRegression:
    digits = load_digits()
    return LogisticRegression(max_iter=2_000, C=0.001).fit(digits.data[:LEARN], digits.target[:LEARN])


@guarded(
    name="digits",
    version="1.0.0",
    confidence=0.6,
    review=Review("digits", choices=list(range(10)), show=picture, guide="Read the digit.", reuse="30d"),
)
def read(form: Annotated[str, BusinessId], image: np.ndarray) -> Prediction[int]:
    """Read one digit of a form."""
    shares = reader().predict_proba(image.reshape(1, -1))[0]
    return Prediction(int(shares.argmax()), float(shares.max()))


def main() -> None:
    digits = load_digits()
    rows = [(f"form-{at}", image) for at, image in enumerate(digits.images) if at >= LEARN]
    truth = digits.target[LEARN:].tolist()
    read_ones = batch(read, rows)
    sure = [(row.value.value, true) for row, true in zip(read_ones, truth, strict=True) if row.outcome == Outcome.answered]
    unsure = [(row, true) for row, true in zip(read_ones, truth, strict=True) if row.outcome == Outcome.deferred]
    print(f"{len(rows)} digits: {read_ones.describe()}")
    print(f"right among those it was sure of: {sum(a == b for a, b in sure) / len(sure):.1%}")
    if not unsure:
        return
    print(f"right among the others, had they been let through: {sum(row.ticket.provisional['value'] == true for row, true in unsure) / len(unsure):.1%}")

    # The least sure of all goes to a person, who reads it; here, or with `guardrail review decide`.
    hard, true = min(unsure, key=lambda pair: pair[0].confidence)
    case = queue.details(hard.ticket.id)
    print(f"\n{case.shown['form']}: the model says {hard.ticket.provisional['value']}, with confidence {hard.confidence:.2f}")
    print(case.shown["image"])
    queue.decide(hard.ticket.id, true, actor="ann", note="I know this handwriting")
    again = decide(read, *rows[list(read_ones.values).index(None) if False else next(at for at, row in enumerate(read_ones) if row.id == hard.id)])
    print(f"ann reads {again.value.value}; asked again, the guard answers {again.value.value} ({again.outcome})")
    print(f"{queue.open_count('digits')} tickets are open: `guardrail review list`")


if __name__ == "__main__":
    main()
