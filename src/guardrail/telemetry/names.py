"""The names under which people's tools see guarded calls: the attributes of spans, and the one table of metrics."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple


class Metric(NamedTuple):
    """One metric, for OpenTelemetry and for Prometheus.

    Attributes:
        name: As OpenTelemetry has it.
        kind: A counter never falls; a gauge is as it is now; a histogram counts values by size.
        unit: As UCUM writes it: "s", "1" for a share, "{call}" for a number of things.
        labels: In the order in which figures have them. OpenTelemetry's attributes are these with `guardrail.` before them.
        doc: What it means.
        shared: Whether every process of a home sees the same value, so that values must not be added up.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    labels: tuple[str, ...]
    doc: str
    shared: bool = False

    @property
    def prometheus(self) -> str:
        """The name in Prometheus' text, by the rules that translate OpenTelemetry's names."""
        unit = "_seconds" if self.unit == "s" else ""
        return f"{self.name.replace('.', '_')}{unit}{'_total' if self.kind == 'counter' else ''}"


CALLS: Final = Metric(
    "guardrail.calls", "counter", "{call}", ("guard", "outcome", "cache"),
    "Guarded calls that ended; of a function over a table, its rows.",
)  # fmt: skip
DURATION: Final = Metric(
    "guardrail.duration", "histogram", "s", ("guard", "outcome", "cache"),
    "Time from a guarded call to its answer; of a row, its share.",
)  # fmt: skip
RETRIES: Final = Metric("guardrail.retries", "counter", "{attempt}", ("guard", "outcome", "cache"), "Attempts after the first.")
WOULD: Final = Metric(
    "guardrail.would", "counter", "{call}", ("guard",), "Calls of mode observe that enforcing would have changed.",
)  # fmt: skip
BUDGET: Final = Metric("guardrail.budget", "gauge", "s", ("guard",), "The budget in force, of guards that have one.", shared=True)
USED: Final = Metric(
    "guardrail.budget.used", "histogram", "1", ("guard",), "Share of its budget that a call took; above 1 it was too long.",
)  # fmt: skip
STAGE: Final = Metric(
    "guardrail.stage.duration", "histogram", "s", ("guard", "stage"), "Time of a stage of a call, and of guards called inside it.",
)  # fmt: skip
BREAKER: Final = Metric(
    "guardrail.breaker.state", "gauge", "{process}", ("breaker", "state"), "Processes in which a breaker is in a state.",
)  # fmt: skip
OPENED: Final = Metric("guardrail.breaker.opened", "counter", "{opening}", ("breaker",), "How often a breaker has opened.")
OPEN_CASES: Final = Metric(
    "guardrail.review.open", "gauge", "{case}", ("queue",), "Cases that wait for a person.", shared=True,
)  # fmt: skip
OVERDUE: Final = Metric(
    "guardrail.review.overdue", "gauge", "{case}", ("queue",), "Of these, those that should have been decided.", shared=True,
)  # fmt: skip
OLDEST: Final = Metric(
    "guardrail.review.oldest", "gauge", "s", ("queue",), "How long the oldest of them has waited.", shared=True,
)  # fmt: skip
SPOOLED: Final = Metric(
    "guardrail.review.spooled", "gauge", "{case}", (), "Cases that wait in files for a store that takes them.", shared=True,
)  # fmt: skip
BEHIND: Final = Metric(
    "guardrail.sink.behind", "gauge", "{record}", ("sink",), "Records that a sink has not had yet.", shared=True,
)  # fmt: skip
LAG: Final = Metric("guardrail.sink.lag", "gauge", "s", ("sink",), "Age of the oldest of them; 0 if there is none.", shared=True)
DEAD: Final = Metric(
    "guardrail.sink.dead", "gauge", "{record}", ("sink",), "Records that a sink would not take: its dead letters.", shared=True,
)  # fmt: skip
LOST: Final = Metric(
    "guardrail.ledger.lost", "counter", "{record}", ("reason",), "Records that were lost, each told by a gap record.",
)  # fmt: skip
WAITING: Final = Metric("guardrail.ledger.queue", "gauge", "{record}", (), "Records that wait in memory to be written.")
PROCESSES: Final = Metric("guardrail.processes", "gauge", "{process}", (), "Living processes that have made guarded calls.")

METRICS: Final = (
    CALLS, DURATION, RETRIES, WOULD, BUDGET, USED, STAGE, BREAKER, OPENED, OPEN_CASES, OVERDUE, OLDEST, SPOOLED, BEHIND, LAG,
    DEAD, LOST, WAITING, PROCESSES,
)  # fmt: skip

SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
SHARES: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0, 5.0)
BOUNDS: Final = {DURATION: SECONDS, STAGE: SECONDS, USED: SHARES}  # upper ends of the buckets, themselves included

ATTRIBUTES: Final = {
    "guardrail.guard": "the guard's name",
    "guardrail.version": "the model's version",
    "guardrail.mode": "the mode in force",
    "guardrail.kind": "`llm` or `dependency`, where the guard says so",
    "guardrail.budget_ms": "the budget in milliseconds, if any",
    "guardrail.threshold": "the confidence asked for, if any",
    "guardrail.group": "the group whose threshold that is, if each has its own",
    "guardrail.outcome": "how the call ended",
    "guardrail.decision_id": "id of the decision, which its record has too",
    "guardrail.attempts": "how often the function was started",
    "guardrail.confidence": "as read from the answer, if it was",
    "guardrail.cache": "`hit`, `miss` or `stale`, where the guard has a cache",
    "guardrail.ticket": "id of the case that a person is to decide, if any",
    "error.type": "type of the error that the call ended with, never its text",
    "gen_ai.operation.name": 'only with `kind="llm"`: `generate_content`, unless a tag of that name says more exactly',
    "gen_ai.*": 'only with `kind="llm"`: the guard\'s tags whose names begin so, such as `gen_ai.request.model`',
}
