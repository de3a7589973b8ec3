"""One call: its id, deadline, principal, stages and attempts. The context variable that nested guards find lives here.

A `Call` is the only mutable state of a guarded call; plans and policies hold none. When it ends, nothing of the user's stays.
"""

from __future__ import annotations

import contextvars
import itertools
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

from guardrail import clock, lifecycle
from guardrail.errors import BudgetExceeded, ConfigError

if TYPE_CHECKING:
    from guardrail.plan import Plan

T = TypeVar("T")
MISSING: Final = object()

current: contextvars.ContextVar[Call | None] = contextvars.ContextVar("guardrail_call", default=None)
acting: contextvars.ContextVar[tuple[Principal, str | None] | None] = contextvars.ContextVar("guardrail_acting", default=None)
_stage_limit: contextvars.ContextVar[tuple[Call | None, float] | None] = contextvars.ContextVar("guardrail_stage", default=None)


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


# ── who is asking ─────────────────────────────────────────────────────────────────────────────────────────────────────
class Principal:
    """Who is asking: a user or a service, with roles and an optional tenant.

    Args:
        id: A stable identifier; not a secret.
        roles: Role names.
        tenant: The customer or organisation on whose behalf.
        claims: Further facts, such as those of a verified token.
        kind: "user" or "service".
    """

    __slots__ = ("claims", "id", "kind", "roles", "tenant")

    def __init__(
        self,
        id: str,  # noqa: A002 - the field's name in every standard
        *,
        roles: Iterable[str] = (),
        tenant: str | None = None,
        claims: Mapping[str, Any] | None = None,
        kind: Literal["user", "service"] = "user",
    ) -> None:
        if not isinstance(id, str) or not id:
            raise ConfigError("a Principal needs a non-empty text as its id")
        if isinstance(roles, str):
            raise ConfigError("roles is one text", hint='write a list: roles=["underwriter"]')
        if kind not in ("user", "service"):
            raise ConfigError("kind of a Principal is unknown", hint='write "user" or "service"')
        self.id = id
        self.roles = frozenset(roles)
        self.tenant = tenant
        self.claims = dict(claims or {})
        self.kind = kind

    def __repr__(self) -> str:
        return f"Principal({self.id!r}, roles={sorted(self.roles)!r})"


class _ActingAs(AbstractContextManager[None]):
    def __init__(self, principal: Principal, purpose: str | None) -> None:
        self._now = (principal, purpose)
        self._before: list[tuple[Principal, str | None] | None] = []

    def __enter__(self) -> None:
        self._before.append(acting.get())
        acting.set(self._now)

    def __exit__(self, *exc: object) -> None:
        # By value, not by token: a generator may leave this block in another context than it entered.
        acting.set(self._before.pop())


def acting_as(principal: Principal | str, *, purpose: str | None = None) -> AbstractContextManager[None]:
    """Say who is asking, and for what purpose, for every guarded call inside the `with` block.

    Args:
        principal: A `Principal`, or the id of a user.
        purpose: Why the question is asked; stands in each record.

    Returns:
        A context manager, for threads and tasks alike.
    """
    return _ActingAs(principal if isinstance(principal, Principal) else Principal(principal), purpose)


# ── time left ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _limit() -> tuple[float | None, Call | None]:
    """Return the deadline in force (monotonic) and the call it belongs to. It ends with its call."""
    call = current.get()
    if call is not None and call.ended:
        call = None
    until = None if call is None else call.until or call.deadline
    stage_limit = _stage_limit.get()
    if stage_limit is not None:
        owner, stage_until = stage_limit
        if owner is call and (until is None or stage_until < until):
            until = stage_until
    return until, call


def remaining() -> float | None:
    """Return the seconds left of the deadline in force, never below 0, or None where there is none.

    Made for clients that take a timeout: `httpx.get(url, timeout=remaining())`.
    """
    until, _ = _limit()
    return None if until is None else max(0.0, until - clock.now())


def check_deadline() -> None:
    """Raise when the deadline in force, or the budget of the present stage, has passed.

    Raises:
        BudgetExceeded: It has; a loop that calls this can be stopped where no thread can be interrupted.
    """
    until, call = _limit()
    if until is not None and clock.now() >= until:
        raise BudgetExceeded(
            "the deadline has passed",
            guard=None if call is None else call.plan.name,
            policy="budget",
            decision_id=None if call is None else call.id,
        )


class Stage(AbstractContextManager[None], AbstractAsyncContextManager[None]):
    """One named part of a call; see `stage`."""

    def __init__(self, name: str, budget: float | None) -> None:
        self.name = name
        self.budget = budget
        self._entered: list[tuple[Call | None, float, tuple[Call | None, float] | None]] = []

    def __enter__(self) -> None:
        call = current.get()
        if call is not None and call.ended:
            call = None
        start = clock.now()
        outer = _stage_limit.get()
        self._entered.append((call, start, outer))
        if call is not None:
            if call.inside is None:
                call.inside = []
            call.inside.append((self.name, start))
        if self.budget is not None:
            until = start + self.budget
            if outer is not None and outer[0] is call:
                until = min(until, outer[1])
            _stage_limit.set((call, until))

    def __exit__(self, *exc: object) -> None:
        call, start, outer = self._entered.pop()
        if self.budget is not None:
            _stage_limit.set(outer)
        if call is not None and not call.ended and _leave(call, (self.name, start)):
            took = clock.now() - start
            note_stage(call, self.name, took)
            if self.budget is not None and took > self.budget:
                call.reasons = (*call.reasons, f"stage {self.name} took longer than its budget")

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(self, *exc: object) -> None:
        self.__exit__(*exc)


def _leave(call: Call, begun: tuple[str, float]) -> bool:
    """Take a stage off those that have begun; return whether it stood there, and was not cut off meanwhile."""
    if call.inside is None or begun not in call.inside:
        return False
    call.inside.remove(begun)
    return True


def cut_off_stages(call: Call) -> None:
    """Note the stages that abandoned work was in, up to now: which of them the time went into is what one wants to know."""
    begun, call.inside = call.inside, None
    for name, start in begun or ():
        note_stage(call, name, clock.now() - start)


def note_stage(call: Call, name: str, took: float) -> None:
    """Add seconds to a stage of a call; a stage entered twice counts as one."""
    stages = call.stages
    if stages is None:
        stages = call.stages = {}
    stages[name] = stages.get(name, 0.0) + took


def stage(name: str, *, budget: clock.Duration | None = None) -> Stage:
    """Name a part of the present call; its time lands in the decision's `timings`. Works with `with` and `async with`.

    Args:
        name: Any short word; the same name twice adds up.
        budget: A smaller deadline inside the block, for `remaining()` and `check_deadline()`. An overrun is recorded; it
            raises only through `check_deadline()`.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError("a stage needs a name", hint='write stage("retrieve")')
    return Stage(name, None if budget is None else clock.seconds(budget, f"budget of stage {name!r}"))


# ── what was decided last, in this thread or task ─────────────────────────────────────────────────────────────────────
latest: contextvars.ContextVar[Any] = contextvars.ContextVar("guardrail_latest", default=None)
