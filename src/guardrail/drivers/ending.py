"""How every call ends, whatever its kind: one entry for the ledger, and nothing of the user's left on the call."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from guardrail import call as calls
from guardrail import clock
from guardrail.call import MISSING, Call, next_seq
from guardrail.drivers.depth import explain_depth
from guardrail.errors import AuditUnavailable, GuardrailError, Refused
from guardrail.ledger import writer
from guardrail.ledger.entry import Entry, without_frames
from guardrail.principal import acting
from guardrail.stages import note_stage
from guardrail.telemetry import traces

_acting = acting.get
_latest = calls.latest.set
_entries = writer.entries
_hand_over = _entries.append
_CAPACITY = writer.CAPACITY
_NO_KWARGS: dict[str, Any] = {}


def finish(call: Call, error: BaseException | None) -> Future[None] | None:
    """End a call: store what may be stored, tell the outer call and the ledger.

    Returns:
        What the answer must wait for, where the guard or the event wants the record durable first; else None.
    """
    call.ended = True
    plan = call.plan
    result = call.result
    outcome = call.outcome
    if error is not None:
        if outcome == "answered":
            outcome = _failure(error)
    elif outcome == "answered":
        if call.extra is not None and call.late:
            outcome = "late"
        else:
            for keep in plan.keepers:
                keep(call)
    call.args = ()
    call.kwargs = _NO_KWARGS
    took = clock.now() - call.start
    parent = call.parent
    who = _acting()
    if error is not None or parent is not None or who is not None:
        if call.misshapen:
            return None
        _rare_facts(call, error, parent, who, took)
    extra = call.extra
    if extra is not None and "span" in extra:
        traces.end(extra["span"], call, outcome)
    if not call.seq:
        call.seq = next_seq()
        call.at = clock.wall()
    entry = (
        call.seq,
        call.at,
        took,
        plan,
        outcome,
        call.snapshot,
        None if result is MISSING else plan.summarise(result),
        call.confidence,
        call.attempts,
        extra,
    )
    _latest(entry)
    # Who is cancelled gets no answer that could wait for its record.
    if (plan.durable or (error is not None and plan.forces(error))) and (error is None or isinstance(error, Exception)):
        return writer.acknowledge(Entry._make(entry))
    if len(_entries) >= _CAPACITY and not _room(call):
        writer.lose(call.at)
        return None
    _hand_over(entry)
    if writer.parked:
        writer.wake()
    return None


def _failure(error: BaseException) -> str:
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
        if parent is None and isinstance(error, RecursionError):  # here, where there are frames to spare
            explain_depth(error)
        extra["error"] = without_frames(error)
    if who is not None:
        extra["actor"] = who
    if parent is not None and not parent.ended:
        if parent.gathers is not None:
            extra["batch"] = parent.gathers
        else:
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
    entry = calls.latest.get()
    if entry is not None and entry[0] == call.seq:  # whatever it was, nobody gets it
        _latest((*entry[:4], "refused", *entry[5:]))
    raise AuditUnavailable(
        "the record of this decision could not be made durable",
        guard=call.plan.name,
        policy="audit",
        decision_id=call.id,
        hint="free or repair the disk under GUARDRAIL_HOME; `guardrail doctor` shows what is wrong",
    ) from problem
