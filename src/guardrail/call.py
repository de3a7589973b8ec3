"""One call: its id, deadline and attempts. The context variable that nested guards find lives here.

A `Call` is the only mutable state of a guarded call; plans and policies hold none. When it ends, nothing of the user's stays.
"""

from __future__ import annotations

import contextvars
import itertools
import os
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from guardrail import clock, lifecycle

if TYPE_CHECKING:
    from guardrail.plan import Plan

T = TypeVar("T")
MISSING: Final = object()

current: contextvars.ContextVar[Call | None] = contextvars.ContextVar("guardrail_call", default=None)


class _Rare(Generic[T]):
    """A fact that most calls do not have: kept in `call.extra`, so that the end of a call tests one field, not ten."""

    def __init__(self, default: T) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, call: Call | None, owner: type) -> T:
        if call is None or call.extra is None:
            return self.default
        return call.extra.get(self.name, self.default)  # type: ignore[no-any-return]

    def __set__(self, call: Call, value: T) -> None:
        if call.extra is None:
            call.extra = {}
        call.extra[self.name] = value


class Call:
    """One guarded call on its way through the policies.

    Unset fields are class attributes, so that a call which never waits, retries or defers pays for five fields only.
    Times are monotonic seconds; `deadline` is the end of the present phase (attempts first, then the fallback's reserve),
    `last_moment` the end of the whole call and `until` the end of the present attempt.
    """

    seq = 0
    at: float = 0.0  # wall clock seconds, fixed when the id is first asked for, else at the end
    deadline: float | None = None
    last_moment: float | None = None
    until: float | None = None
    result: Any = MISSING
    error: BaseException | None = None
    outcome: str = "answered"
    attempts = 0
    ended = False
    snapshot: bytes | None = None  # the exact encoding of the validated arguments
    key: Any = None
    confidence: float | None = None
    held: tuple[Any, ...] = ()  # what gives the permits back, called when the work ends
    lease: Any = None
    permit: Any = None  # of the concurrency limit; it knows by itself whether it is still out
    tries: Any = None  # what the retry policy remembers between the attempts of one call
    leads = False  # whether it is finding out what others may be asking at the same time
    landed: Any = None  # of who leads, a Future: made by the first that follows, since most calls have no follower
    flown: Any = None  # the row that keeps the answer
    crashed: Exception | None = None  # the function's own error, for those who follow
    stale: Any = None  # an old row, served if the function fails
    shared: Any = None  # what it asks of a cache that processes share
    misshapen = False  # Python refused the arguments: no record
    opens: Any = None  # of a generator: turns a function into one that starts it and gives the first item
    stream: Any = None
    table: Any = None  # of a function over a table: what is known of each row
    gathers: str | None = None  # the id of a batch, for what stands above the calls of its rows
    trial: Call | None = None  # in mode observe: the call that the policies judge
    inside: list[tuple[str, float]] | None = None  # the stages that have begun and not ended: their names, and since when
    extra: dict[str, Any] | None = None  # the rare facts, by name; what stands here goes into the entry as it is

    ticket = _Rare[Any](None)  # Ticket
    would = _Rare[tuple[str, ...]](())  # verdicts of observe mode
    stages = _Rare[dict[str, float] | None](None)  # seconds by name
    reasons = _Rare[tuple[str, ...]](())
    stop_reason = _Rare[str | None](None)  # why there was no further attempt
    business_id = _Rare[str | None](None)
    late = _Rare[bool](False)  # noqa: FBT003 - a default, not an argument
    asked = _Rare[Any](None)  # the Bar of the call's own group, where each group has its own
    span = _Rare[Any](None)  # what the tracer left, to build the span from later
    batch = _Rare[str | None](None)  # id of the batch that this row belongs to

    def __init__(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], parent: Call | None, start: float) -> None:
        self.plan = plan
        self.args = args
        self.kwargs = kwargs
        self.parent = parent
        self.start = start
        if parent is not None and not parent.ended:
            self.deadline = parent.until or parent.deadline

    @property
    def id(self) -> str:
        """The id of this call's decision; asking for it fixes it."""
        if not self.seq:
            self.seq = next_seq()
            self.at = clock.wall()
        return decision_id(self.at, self.seq)


# ── ids: UUIDv7 (RFC 9562, section 5.7), made from what the record holds anyway, so that most calls never make one ────
next_seq = itertools.count(1).__next__
_process = 0
_head = (0, 0, 0, "")  # the latest millisecond, the process, the upper part of the number, and how their ids begin


def _new_process() -> None:
    global _process  # noqa: PLW0603 - a process has one identity, and a forked child is another process
    _process = int.from_bytes(os.urandom(6), "big")


_new_process()
lifecycle.after_fork(_new_process)


def decision_id(at: float, seq: int) -> str:
    """Return the id for a moment (wall clock seconds) and a number within this process: ordered by both."""
    global _head  # noqa: PLW0603 - one tuple, swapped as a whole: most ids share their millisecond with the one before
    millis, upper = int(at * 1000), seq >> 18 & 0x3FFF
    known, process, shared, head = _head
    if known != millis or process != _process or shared != upper:
        process = _process
        high = f"{(millis & 0xFFFFFFFFFFFF) << 16 | 0x7000 | process >> 30 & 0xFFF:016x}"
        head = f"{high[:8]}-{high[8:12]}-{high[12:]}-{0x8000 | upper:04x}-"
        _head = (millis, process, upper, head)
    return f"{head}{(seq & 0x3FFFF) << 30 | process & 0x3FFFFFFF:012x}"


# ── what was decided last, in this thread or task ─────────────────────────────────────────────────────────────────────
latest: contextvars.ContextVar[Any] = contextvars.ContextVar("guardrail_latest", default=None)
