"""One record per row, behind one another in the ledger's queue before the record of the call, so that its durability is theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock
from guardrail.asks import Ask, Asks, Sleep
from guardrail.batches.result import Same, add
from guardrail.call import Call
from guardrail.errors import GuardrailError
from guardrail.ledger import writer
from guardrail.ledger.entry import without_frames
from guardrail.principal import acting

if TYPE_CHECKING:
    from guardrail.batches.result import Batch
    from guardrail.plan import Plan
    from guardrail.policies.table_state import Place, State

_ANSWERS: Final = frozenset({"answered", "cached", "fallback", "human"})
_LOOK: Final = 256  # rows between two looks at the queue's room
_PAUSE: Final = 0.002  # seconds
_PATIENCE: Final = 5.0  # seconds; a disk that takes nothing for so long is not going to


def record_rows(call: Call, state: State, plan: Plan, took: float, batch: Batch[Any] | None) -> Asks:
    """Hand one entry per row to the ledger, note on the call how many ended how, and fill the Batch where there is one.

    Args:
        call: The call over the table; its id is the parent of the rows.
        state: Its rows, each with its end.
        plan: What each record repeats.
        took: Seconds, a row's share of the call's.
        batch: To be filled.
    """
    if call.extra is None:
        call.extra = {}
    call.extra["rows"] = dict(Counter(state.outcomes))
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
    digests = None if state.digests is None else dict(zip(state.pending, state.digests, strict=True))
    room = True
    for place, (seq, outcome, value, sure) in enumerate(zip(state.seqs, state.outcomes, state.values, state.sure, strict=True)):
        attempts = call.attempts if asked[place] else 0
        facts, told = rare.get(place, (shared, None))
        snapshot = None if snapshots is None else snapshots[place]
        output = None
        if outcome in _ANSWERS:
            output = digests[place] if digests is not None and outcome == "answered" else summarise(value)
        entry = (seq, at, took, plan, outcome, snapshot, output, sure, attempts, facts)
        if place % _LOOK == 0 and not plan.durable:
            room = room and (yield from _room(call, state.count))
        if room:
            entries.append(entry)
        else:
            writer.lose(at)
        if batch is not None:
            add(batch, value, outcome or "", seq, at, took, sure, attempts, same, told)
    return None


def _room(call: Call, count: int) -> Generator[Ask, Any, bool]:
    """Wait for room in the queue, as long as so many single calls would, without blocking an event loop; return whether there is some."""
    until = clock.now() + min(writer.ROOM_SECONDS * count, _PATIENCE)
    if call.last_moment is not None:
        until = min(until, max(call.last_moment, clock.now() + writer.ROOM_SECONDS))
    if writer.parked or writer.full():
        writer.wake()
    while writer.full():
        if clock.now() >= until:
            return False
        writer.wake()
        yield Sleep(_PAUSE)
    return True


def _rare_facts(
    call: Call, state: State, plan: Plan, shared: dict[str, Any]
) -> dict[int, tuple[dict[str, Any], dict[str, Any] | None]]:
    """Return, for rows that have more to say than the others: what the record gets, and what the Batch gets."""
    found: dict[int, tuple[dict[str, Any], dict[str, Any] | None]] = {}
    twins: dict[int, BaseException] = {}  # one copy for all rows that share an error
    everybody = state.business is not None or plan.snapshot.tells or state.bars is not None
    for at in range(state.count) if everybody else sorted({*state.errors, *state.tickets, *state.reasons, *state.would}):
        told: dict[str, Any] = {}
        if at in state.tickets:
            told["ticket"] = state.tickets[at]
        if state.bars is not None:
            told["asked"] = state.bars[at]
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
    if plan.snapshot.tells:
        _add_content(call, state, plan, found)
    return found


def _add_content(call: Call, state: State, plan: Plan, found: dict[int, tuple[dict[str, Any], dict[str, Any] | None]]) -> None:
    """Add what each record is to say of its row: itself, what is personal in it, and whose it is."""
    place: Place = plan.snapshot.place
    for at, row in enumerate(state.rows(range(state.count))):
        args, kwargs = place.with_value(call, row)
        made = Call(plan, args, kwargs, None, call.start)
        found[at][0].update(plan.snapshot.facts(made))
