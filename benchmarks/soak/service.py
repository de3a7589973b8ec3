"""The service that is tried: one guarded function behind HTTP, in several workers. SIGUSR2 moves the wall clock of a worker."""

from __future__ import annotations

import os
import signal
import time
from typing import Annotated, Any, Literal

from fastapi import FastAPI

from guardrail import Audit, BusinessId, Limit, Prediction, Retry, Review, clock, decide, guarded
from guardrail.integrations.fastapi import install

HOUR = 3600.0
_shift = 0.0


def _jump(_number: int, _frame: Any) -> None:
    global _shift
    _shift = HOUR if not _shift else 0.0


signal.signal(signal.SIGUSR2, _jump)
clock.wall = lambda: time.time() + _shift
app = FastAPI()
install(app)


@guarded(
    name="soak",
    version="1",
    budget="5s",
    cache="30s",
    retry=Retry(3, on=(ConnectionError,)),
    breaker=True,
    limit=Limit(64, wait="1s"),
    confidence=0.8,
    review=Review("soak"),
    audit=Audit("sync", required=True),
)
def predict(number: Annotated[str, BusinessId], amount: float) -> Prediction[Literal["yes", "no"]]:
    """Answer; every tenth amount is hard, every hundredth a failure of the model's own."""
    if amount % 100 == 99:
        raise LookupError("the model knows nothing of this")
    return Prediction("yes" if amount % 2 else "no", 0.5 if amount % 10 == 0 else 0.95)


@app.post("/predict")
def ask(body: dict[str, Any]) -> dict[str, Any]:
    """Return what became of the call, whatever it was."""
    made = decide(predict, body["number"], body["amount"])
    return {
        "id": made.id,
        "outcome": made.outcome,
        "error": None if made.error is None else type(made.error).__name__,
        "ticket": None if made.ticket is None else made.ticket.id,
        "pid": os.getpid(),
    }
