"""`cache`: the same question is answered once, exactly; while one call finds out, the others wait for it (single flight)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal

from guardrail import clock
from guardrail.asks import ANSWERED, Asks, Turn, Wait
from guardrail.call import Call
from guardrail.errors import BudgetExceeded, ConfigError, GuardrailError
from guardrail.ledger.entry import without_frames
from guardrail.policies.options import Frozen

if TYPE_CHECKING:
    from guardrail.policies.rows import Row, Rows


class Cache(Frozen):
    """Keep answers for a while, keyed by the exact content of the validated arguments.

    Args:
        ttl: How long an answer is fresh.
        size: The most entries in memory.
        max_bytes: The most bytes in memory, as estimated.
        stale_for: How long after that an answer may still be served, while one call refreshes it or the function fails.
        jitter: Share of the ttl by which it is shortened at random, so that entries do not expire together.
        key: Computes the key from the arguments instead; must return something that can be keyed exactly.
        per: Whose answers they are: "all", "principal" or "tenant" (of `acting_as`).

    Raises:
        ConfigError: A value is of the wrong type or out of range.
    """

    __slots__ = ("jitter", "key", "max_bytes", "per", "size", "stale_for", "ttl")

    ttl: float
    size: int
    max_bytes: int
    stale_for: float
    jitter: float
    key: Callable[..., object] | None
    per: Literal["all", "principal", "tenant"] | None

    def __init__(
        self,
        ttl: clock.Duration,
        *,
        size: int = 10_000,
        max_bytes: int = 256 * 2**20,
        stale_for: clock.Duration = 0,
        jitter: float = 0.1,
        key: Callable[..., object] | None = None,
        per: Literal["all", "principal", "tenant"] | None = None,
    ) -> None:
        for name, count in (("size", size), ("max_bytes", max_bytes)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ConfigError(f"Cache({name}=...) must be a whole number of at least 1", hint=f"write {name}=10_000")
        if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter < 1:
            raise ConfigError("Cache(jitter=...) must be a share in [0, 1)", hint="write jitter=0.1")
        if key is not None and not callable(key):
            raise ConfigError(f"Cache(key=...) is of type {type(key).__name__}", hint="write key=lambda x: x.id")
        if per not in (None, "all", "principal", "tenant"):
            raise ConfigError("Cache(per=...) is unknown", hint='write "all", "principal" or "tenant"')
        self._set(
            ttl=clock.seconds(ttl, "ttl of the cache"),
            size=size,
            max_bytes=max_bytes,
            stale_for=clock.seconds(stale_for, "stale_for of the cache", zero=True),
            jitter=float(jitter),
            key=key,
            per=per,
        )


def cache_of(option: Any) -> Cache | None:
    """Return the object behind the option `cache=`: a duration, an object or None."""
    return option if option is None or isinstance(option, Cache) else Cache(option)


class Caching:
    """The cache of one function object.

    Args:
        option: How long and how many.
        rows: The answers in memory.

    Attributes:
        place: Where its answers stand beside the memory: a shared store and what its keys begin with; None where nowhere.
        outermost: The policies that it needs around all others.
    """

    place: tuple[Any, str] | None = None
    outermost: tuple[Any, ...] = ()

    def __init__(self, option: Cache, rows: Rows) -> None:
        self.option = option
        self.rows = rows
        self._ttl = option.ttl
        self._jitter = option.ttl * option.jitter
        self.flights: dict[Any, Call] = {}  # by key, the call that is finding out, for all who ask the same meanwhile
        self.lock = threading.RLock()  # over a flight's Future only, never over the call; a coroutine may be dropped inside it

    def enter(self, call: Call) -> Turn:
        """Answer from memory, join who is finding out, or find out."""
        keys = call.plan.snapshot
        if keys.bare:  # the snapshot is the key
            call.key = key = call.snapshot
        else:
            key = keys.key_of(call)
        if key is None:
            return None
        row = self.rows.get(key)
        if row is not None:
            if row.expires > call.start:
                return self._answer(call, row, "cached")
            if row.expires + self.option.stale_for <= call.start:
                row = None
            elif key in self.flights:
                return self._answer(call, row, "stale")
            call.stale = row
        leader = self.flights.setdefault(key, call)
        if leader is call:
            call.leads = True
            return None
        return self._behind(call, key, leader)

    def board(self, call: Call, key: Any) -> Turn:
        """Lead the flight for a key, or follow the call that leads it."""
        leader = self.flights.setdefault(key, call)
        if leader is call:
            call.leads = True
            return None
        return self._behind(call, key, leader)

    def _behind(self, call: Call, key: Any, leader: Call) -> Turn:
        if _around(leader, call):  # recursion never waits for itself
            return None
        return self._follow(call, key, leader)

    def _follow(self, call: Call, key: Any, leader: Call) -> Asks:
        while True:
            if not (yield Wait(self._landing(key, leader), call.deadline)):
                raise BudgetExceeded(
                    "the deadline passed while another call was answering the same question",
                    policy="budget",
                    hint="give the guard a larger budget: the answer is cached once it is there",
                )
            if leader.flown is not None:
                return self._answer(call, leader.flown, "cached")
            if leader.crashed is not None:
                twin = without_frames(leader.crashed)
                raise twin if type(twin) is type(leader.crashed) else leader.crashed
            leader = self.flights.setdefault(key, call)
            if leader is call:  # the leader was cancelled, refused or out of time: one who waited takes over
                call.leads = True
                return None

    def _answer(self, call: Call, row: Row, outcome: str) -> str:
        call.result = row.kept if row.thaw is None else row.thaw(row.kept)
        call.confidence = row.confidence
        call.outcome = outcome
        return ANSWERED

    def _landing(self, key: Any, leader: Call) -> Future[None]:
        with self.lock:
            landed: Future[None] | None = leader.landed
            if landed is None:
                landed = leader.landed = Future()
            if self.flights.get(key) is not leader and not landed.done():
                landed.set_result(None)
        return landed

    def leave(self, call: Call) -> Turn:
        """Land: tell those who follow, and serve stale where the function failed and that is allowed."""
        if not call.leads:
            return None
        error = call.error
        if error is None:
            expires = clock.now() + self._ttl - self._jitter * clock.chance()
            call.flown = self.rows.row_of(call.result, call.confidence, expires, call.plan.name)
        elif isinstance(error, Exception) and not isinstance(error, GuardrailError):
            call.crashed = error
        self.land(call)
        if call.stale is not None and isinstance(error, Exception) and call.plan.recoverable(error):
            call.error = None
            call.reasons = (*call.reasons, f"served stale: {type(error).__name__}")
            self._answer(call, call.stale, "stale")
        return None

    def land(self, call: Call) -> None:
        """End a call's flight, and wake those who follow."""
        call.leads = False
        self.flights.pop(call.key, None)
        if call.landed is not None:
            with self.lock:
                if not call.landed.done():
                    call.landed.set_result(None)

    def keep(self, call: Call) -> None:
        """Store a fresh, confident answer; called at the end, when the outcome is known."""
        if call.flown is not None:
            self.rows.put(call.key, call.flown)


def _around(leader: Call, call: Call | None) -> bool:
    while call is not None:
        if call is leader:
            return True
        call = call.parent
    return False
