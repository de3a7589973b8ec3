"""One record per row, behind one another in the ledger's queue before the record of the call, so that its durability is theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guardrail import clock, content
from guardrail.asks import Asks, Sleep
from guardrail.batch_result import Same
from guardrail.call import acting
from guardrail.errors import GuardrailError
from guardrail.ledger import writer
from guardrail.ledger.entry import without_frames

if TYPE_CHECKING:
    from guardrail.batch_result import Batch
    from guardrail.call import Call
    from guardrail.plan import Plan
    from guardrail.policies.table_state import State

_ANSWERS = frozenset({"answered", "cached", "fallback", "human"})
_LOOK = 256  # rows between two looks at the queue's room
_PAUSE = 0.002  # seconds


def record_rows(call: Call, state: State, plan: Plan, took: float, batch: Batch[Any] | None) -> Asks:
    """Hand one entry per row to the ledger, and fill the Batch where there is one.

    Args:
        call: The call over the table; its id is the parent of the rows.
        state: Its rows, each with its end.
        plan: What each record repeats.
        took: Seconds, a row's share of the call's.
        batch: To be filled.
    """
    shared: dict[str, Any] = {"batch": call.id}
    who = acting.get()
    if who is not None:
        shared["actor"] = who
    if call.late:
        shared["late"] = True
    rare = _rare_facts(call, state, plan, shared)
    same, summarise, entries, at = Same.of(plan), plan.summarise, writer.entries, call.at
    asked = bytearray(state.count)
    if call.attempts:
        for place in state.pending:
            asked[place] = 1
    snapshots = state.snapshots
    room = True
    for place, (seq, outcome, value, sure) in enumerate(
        zip(state.seqs, state.outcomes, state.values, state.sure, strict=True)
    ):
        attempts = call.attempts if asked[place] else 0
        facts, told = rare.get(place, (shared, None))
        snapshot = None if snapshots is None else snapshots[place]
        output = summarise(value) if outcome in _ANSWERS else None
        entry = (seq, at, took, plan, outcome, snapshot, output, sure, attempts, facts)
        if place % _LOOK == 0 and not plan.durable:
            room = room and (yield from _room())
        if room:
            entries.append(entry)
        else:
            writer.lose(at)
        if batch is not None:
            batch.add(value, outcome or "", seq, at, took, sure, attempts, same, told)
    return None


def _room() -> Asks:
    """Wait for room in the queue as a single call would, without blocking an event loop; return whether there is some."""
    until = clock.now() + writer.ROOM_SECONDS
    if writer.parked or writer.full():
        writer.wake()
    while writer.full():
        if clock.now() >= until:
            return False  # type: ignore[return-value]  # a turn of ours, not of a hook
        writer.wake()
        yield Sleep(_PAUSE)
    return True  # type: ignore[return-value]


def _rare_facts(
    call: Call, state: State, plan: Plan, shared: dict[str, Any]
) -> dict[int, tuple[dict[str, Any], dict[str, Any] | None]]:
    """Return, for rows that have more to say than the others: what the record gets, and what the Batch gets."""
    found: dict[int, tuple[dict[str, Any], dict[str, Any] | None]] = {}
    twins: dict[int, BaseException] = {}  # one copy for all rows that share an error
    everybody = state.business is not None or plan.snapshot.plain
    for at in range(state.count) if everybody else sorted({*state.errors, *state.tickets, *state.reasons, *state.would}):
        told: dict[str, Any] = {}
        if at in state.tickets:
            told["ticket"] = state.tickets[at]
        if at in state.reasons:
            told["reasons"] = state.reasons[at]
        if state.business is not None and state.business[at] is not None:
            told["business_id"] = state.business[at]
        facts = {**shared, **told}
        error = state.errors.get(at)
        if error is not None:
            told["error"] = error
            if id(error) not in twins:
                twins[id(error)] = without_frames(error)
            facts["error"] = twins[id(error)]
            if isinstance(error, GuardrailError):
                facts["policy"] = error.policy
        if at in state.would:
            told["would"] = state.would[at]
        found[at] = (facts, told or None)
    if plan.snapshot.plain:
        _add_plain(call, state, plan, found)
    return found


def _add_plain(call: Call, state: State, plan: Plan, found: dict[int, tuple[dict[str, Any], dict[str, Any] | None]]) -> None:
    """Add the rows themselves, where the record is to hold them."""
    place = plan.snapshot.place
    for at, row in enumerate(state.rows(range(state.count))):
        made = type(call)(plan, *place.with_value(call, row), None, call.start)
        found[at][0]["plain"] = content.dumps(plan.arguments(made))
