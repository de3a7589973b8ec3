"""What the guard itself costs: the options of the real one around a function that does nothing, minus that function bare."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from examples.lending.data import Applicant
from examples.lending.service import Verdict, predict
from guardrail import Prediction, flush, guard_of, guarded, warm

ROUNDS = 7


class Cost(NamedTuple):
    """CPU seconds per call.

    Attributes:
        caller: On the thread that calls.
        process: On all threads, until every record is on disk.
    """

    caller: float
    process: float


def _at_once(applicant: Applicant) -> Prediction[Verdict]:  # noqa: ARG001 - it has the real one's parameters, and does nothing
    return Prediction("approve", 1.0)


def measure(applications: Sequence[dict[str, Any]]) -> Cost:
    """Measure with sound applications, which are validated, keyed, missed in the cache, stored there, judged and recorded.

    Bare and guarded rounds take turns, and the least of each counts: what else the machine does can only add.
    """
    applications = [{**each, "loan_id": f"nobody-{at}"} for at, each in enumerate(applications)]  # no real loan's story
    nothing = guarded(_at_once, **{**guard_of(predict).options, "name": "loans-cost"})
    least: dict[bool, Cost] = {}
    for _ in range(ROUNDS):
        guard_of(nothing).reset()  # nothing comes from the cache
        warm(nothing, applications[0])
        for is_guarded, fn in ((False, _at_once), (True, nothing)):
            spent = _spent(fn, applications)
            least[is_guarded] = Cost(*map(min, spent, least.get(is_guarded, spent)))
    return Cost(*(with_it - bare for with_it, bare in zip(least[True], least[False], strict=True)))


def _spent(fn: Callable[..., Any], applications: Sequence[dict[str, Any]]) -> Cost:
    flush()
    process, thread = time.process_time(), time.thread_time()
    for application in applications:
        fn(application)
    thread = time.thread_time() - thread
    flush()
    return Cost(thread / len(applications), (time.process_time() - process) / len(applications))
