"""How every call ends, whatever its kind: one entry for the ledger, and nothing of the user's left on the call."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from guardrail import call as calls
from guardrail import clock
from guardrail.call import MISSING, Call, acting, note_stage
from guardrail.errors import AuditUnavailable, GuardrailError, Refused
from guardrail.ledger import writer
from guardrail.ledger.entry import without_frames
from guardrail.telemetry import traces


def finish(call: Call, error: BaseException | None) -> Future[None] | None:
    """End a call: store what may be stored, tell the outer call and the ledger.

    Returns:
        What the answer must wait for, where the guard or the event wants the record durable first; else None.
    """
    call.ended = True
    plan = call.plan
    result = call.result
    outcome = call.outcome
    if error is None:
        if outcome == "answered" and plan.keepers:
            for keep in plan.keepers:
                keep(call)
    elif outcome == "answered":
        outcome = _failure(call, error)
    call.args = ()
    call.kwargs = {}
    took = clock.now() - call.start
    parent = call.parent
    who = acting.get()
    if error is not None or parent is not None or who is not None:
        if call.misshapen:
            return None
        _rare_facts(call, error, parent, who, took)
    extra = call.extra
    if extra is not None and "span" in extra:
        traces.end(extra["span"], call, outcome)
    seq = call.seq
    if not seq:
        seq = calls.next_seq()
        call.at = clock.wall()
    entry = (
        seq, call.at, took, plan, outcome, call.snapshot, None if result is MISSING else plan.summarise(result),
        call.confidence, call.attempts, extra,
    )  # fmt: skip
    calls.latest.set(entry)
    if plan.durable or (error is not None and plan.forces(error)):
        if error is None or isinstance(error, Exception):  # who is cancelled gets no answer that could wait
            return writer.acknowledge(entry)
    if len(writer.entries) >= writer.CAPACITY and not _room(call):
        writer.lose(call.at)
        return None
    writer.entries.append(entry)
    if writer.parked:
        writer.wake()
    return None


def _failure(call: Call, error: BaseException) -> str:
    if not isinstance(error, Exception):
        return "cancelled"
    if isinstance(error, TimeoutError) and isinstance(error, Refused):
        return "late"
    return "refused" if isinstance(error, Refused) else "failed"


def _rare_facts(call: Call, error: BaseException | None, parent: Call | None, who: Any, took: float) -> None:
    extra = call.extra
    if extra is None:
        extra = call.extra = {}
    if error is not None:
        if isinstance(error, GuardrailError):
            if error.guard is None:
                error.guard = call.plan.name
            if error.decision_id is None:
                error.decision_id = call.id
            extra["policy"] = error.policy
        extra["error"] = without_frames(error)
    if who is not None:
        extra["actor"] = who
    if parent is not None and not parent.ended:
        extra["parent"] = parent.id
        note_stage(parent, call.plan.name, took)


def _room(call: Call) -> bool:
    """Slow a caller down that outruns the disk, within its own deadline; what then finds no room becomes a gap record."""
    until = clock.now() + writer.ROOM_SECONDS
    return writer.wait_for_room(until if call.last_moment is None else min(until, call.last_moment))


def settled(call: Call, durable: bool, problem: BaseException | None) -> None:  # noqa: FBT001 - one fact, positional by design
    """Judge an awaited record: with `Audit(required=True)` there is no answer without one.

    Raises:
        AuditUnavailable: The record is required and is not durable within the bound.
    """
    if (durable and problem is None) or not call.plan.audit.required:
        return
    raise AuditUnavailable(
        "the record of this decision could not be made durable",
        guard=call.plan.name,
        policy="audit",
        decision_id=call.id,
        hint="free or repair the disk under GUARDRAIL_HOME; `guardrail doctor` shows what is wrong",
    ) from problem
