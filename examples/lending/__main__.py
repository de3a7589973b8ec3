"""Scores applicants that the model has never seen, then breaks things on purpose: `python -m examples.lending`."""

from __future__ import annotations

import statistics
from typing import Any

from rich.markup import escape

from examples.lending import bureau_server, cost, data, report
from examples.lending.bureau import credit_history
from examples.lending.data import Loans
from examples.lending.model import credit_model
from examples.lending.service import Verdict, at_the_counter, predict
from guardrail import Batch, Outcome, Prediction, batch, decide, flush, guard_of, review, warm
from guardrail.testing import chaos

Scored = Batch[Prediction[Verdict]]


def main() -> None:
    known, held_out = data.load()
    sound, _, _ = known.sound()
    credit_model()
    total = len(known.applications) + len(held_out.applications)
    report.say(
        f"Boston Fed mortgage data: {total:,} applications. The model learnt from {len(sound):,} of {len(known.applications):,} "
        f"(the others hold impossible values); {len(held_out.applications)} were held out, and nobody has checked those.\n"
    )
    spent = cost.measure([applicant.model_dump() for applicant in held_out.sound()[0]])
    with bureau_server.running(_histories(known, held_out)) as server:
        warm(predict, held_out.applications[0])
        waiting = review.open_count("credit-desk")
        first: Scored = batch(predict, held_out.applications)
        again: Scored = batch(predict, held_out.applications)
        opened = review.open_count("credit-desk") - waiting
        report.endings(
            f"{len(held_out.applications)} held-out applicants", {"first time": list(first), "asked again": list(again)}
        )
        _judge(first, held_out)
        report.cost(spent, statistics.median(d.timings["total"] for d in first if d.outcome == Outcome.answered))
        report.say()
        _break_things(first, known, held_out, server)
    _next_steps(first, opened)
    flush()


def _histories(*loans: Loans) -> dict[str, dict[str, Any]]:
    return {a["loan_id"]: history for each in loans for a, history in zip(each.applications, each.histories, strict=True)}


def _judge(first: Scored, held_out: Loans) -> None:
    """Compare with what the bank did."""
    model, sure, people = [], [], []
    for decision, approved in zip(first, held_out.approved, strict=True):
        if decision.outcome in (Outcome.answered, Outcome.cached):
            sure.append((decision.value.value, approved))
            model.append(sure[-1])
        elif decision.outcome == Outcome.human:
            people.append((decision.value.value, approved))
        elif decision.ticket is not None:
            model.append((decision.ticket.provisional["value"], approved))
    report.say("Compared with what the bank decided in the end:")
    report.accuracy(
        [
            ("if everybody were approved", [("approve", approved) for approved in held_out.approved]),
            ("if the model answered everybody", model),
            ("where the model was sure, and answered", sure),
            *([("where a person had answered", people)] if people else []),
        ]
    )


def _break_things(first: Scored, known: Loans, held_out: Loans, server: bureau_server.Stand) -> None:
    loan, other, *_ = known.sound()[0]
    at, refused = next((at, d) for at, d in enumerate(first) if d.outcome == Outcome.refused)
    report.event(
        "A broken input is refused",
        f"{held_out.applications[at]['loan_id']}, as it stands in the data: {type(refused.error).__name__}: {escape(str(refused.error))}",
    )

    with chaos(at_the_counter, latency="30s"):
        hung = decide(at_the_counter, loan)
    report.event(
        "A scorer that hangs is left behind on time",
        f"It hangs for 30 s; the counter has 200 ms. After {report.took(hung)}: {hung.outcome}, {hung.value.value!r} by the {hung.value.reasons[0]}.",
    )

    server.failing = 2
    retried = decide(credit_history, other.loan_id)
    scored = guard_of(credit_history).stats()
    report.event(
        "A flaky bureau is asked again",
        f"Twice 503, then an answer: {retried.outcome} after {retried.attempts} attempts and {report.took(retried)}. "
        f"Among the applicants above: {scored['retried'] - 1} times.",
    )

    unsure = next((d for d in first if d.ticket is not None), None)
    if unsure is not None and unsure.ticket is not None:
        report.event(
            "An unsure case goes to a person",
            f"{unsure.business_id}: {unsure.ticket.provisional['value']!r} with confidence {unsure.confidence:.2f}, less than "
            f"{unsure.threshold}. predict() raises {type(unsure.error).__name__}: {escape(str(unsure.error))}",
        )

    fresh, same = decide(predict, other), decide(predict, other)
    report.event(
        "The same question is answered once",
        f"{fresh.outcome} in {report.took(fresh)}, then {same.outcome} in {report.took(same)}.",
    )


def _next_steps(first: Scored, opened: int) -> None:
    guardrail = report.guardrail_command()
    waiting = review.find("credit-desk", state="open", limit=None)
    report.say(
        f"\n[bold]{len(waiting)} tickets wait for the credit desk[/bold], {opened} of them since this run. To look at them and decide:"
    )
    told = next((d for d in first if d.ticket is not None), first[0])
    if told.ticket is not None:
        short = told.ticket.id[-8:]
        report.command(f"{guardrail} review list")
        report.command(f"{guardrail} review show {short}")
        report.command(f"{guardrail} review decide {short} approve      (then run this again: the answer is used)")
    report.say("What was decided, why, and whether all is well:")
    for what in ("tail", f"show {told.business_id}", "doctor"):
        report.command(f"{guardrail} {what}")


if __name__ == "__main__":
    main()
