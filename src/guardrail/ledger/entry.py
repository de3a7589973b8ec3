"""The seam between the call path and the ledger: one tuple of immutable values per call, made as the call ends."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from guardrail.errors import PartialBatch

if TYPE_CHECKING:
    from guardrail.plan import Plan


class Entry(NamedTuple):
    """What the ledger thread receives. The call path appends the bare tuple; `Entry._make` names its parts again.

    Attributes:
        seq: Number of the call within this process.
        at: Wall clock seconds when it ended (or when its id was first asked for); with `seq` it makes the id.
        took: Seconds from entry to end.
        plan: The compiled plan, which holds all that is the same for every call of the guard.
        outcome: The text of an `Outcome`.
        snapshot: Exact encoding of the validated arguments, None where they were not encoded.
        output: What `plan.summarise` made of the answer (immutable, nothing of the user's), None where there is none.
        confidence: As read from the answer.
        attempts: How often the function was started.
        extra: Everything rare by name, or None: error (a copy without frames), policy, ticket (a Ticket), would, stages,
            stop_reason, reasons, asked (the Bar of the call's group), business_id, parent (id of the outer decision), batch (id of the batch, for a row),
            actor (Principal, purpose), span (what the tracer left), late, plain (JSON bytes of the arguments),
            rows (of a call over a table: how many of its rows ended how).
    """

    seq: int
    at: float
    took: float
    plan: Plan
    outcome: str
    snapshot: bytes | None
    output: Any
    confidence: float | None
    attempts: int
    extra: dict[str, Any] | None


class NotCopied(Exception):
    """Stands in for an exception of the user's that cannot be copied."""


def without_frames(error: BaseException) -> BaseException:
    """Return a copy of an error without traceback, cause and context, and so without the user's objects in their frames."""
    try:
        twin = copy.copy(error)
    except Exception:  # noqa: BLE001 - the constructor of the user's exception may do anything
        twin = None
    if isinstance(twin, PartialBatch):
        twin.batch = None  # type: ignore[assignment]  # a table of the user's answers; the counts stand in its text
    return NotCopied(f"{type(error).__name__} was raised") if twin is None or type(twin) is not type(error) else twin
