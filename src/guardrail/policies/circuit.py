"""The state of a breaker: what happened in the last seconds, and leases for those who try whether a dependency is back.

The lock covers counters only, never a call, and a success does not take it.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

from guardrail import clock
from guardrail.errors import CircuitOpen, ConfigError

if TYPE_CHECKING:
    from guardrail.policies.breaker import Breaker

State = Literal["closed", "open", "half_open"]
BUCKETS: Final = 10  # the window moves on by tenths
JITTER: Final = 0.1  # share of `open_for` added at random, so that a fleet does not try again in step


class Lease:
    """The right to make one call; it remembers which period of the circuit it belongs to."""

    __slots__ = ("generation", "probe", "start")

    def __init__(self, generation: int, start: float, *, probe: bool = False) -> None:
        self.generation = generation
        self.start = start
        self.probe = probe


class _Bucket:
    """One tenth of the window. Successes are counted by an atomic `next()`, without the lock."""

    __slots__ = ("_reads", "bad", "good", "slow")

    def __init__(self) -> None:
        self.good = itertools.count().__next__
        self._reads = 0
        self.bad = 0
        self.slow = 0

    def successes(self) -> int:
        """Return how often `good` was called; reading it counts too, so what was read is taken off."""
        count = self.good() - self._reads
        self._reads += 1
        return count


class Circuit:
    """One breaker, shared by every guard that names it.

    Args:
        option: The thresholds and times.
    """

    state: State

    def __init__(self, option: Breaker) -> None:
        self.option = option
        self.generation = 0
        self.opened = 0
        self._width = option.window / BUCKETS
        self.after_fork()
        self.reset()

    def after_fork(self) -> None:
        """Take a fresh lock, and drop the leases of probes that run in the parent."""
        # Re-entrant: the finaliser of a coroutine that was dropped may run under it, and give its lease back.
        self._lock = threading.RLock()
        self._leases: dict[Lease, None] = {}

    def reset(self) -> None:
        """Close, and forget what happened."""
        with self._lock:
            self.opened = 0
            self._turn("closed", clock.now())

    def force(self, state: State) -> None:
        """Put the circuit into a state, for tests and drills. Forced open, it stays so until it is forced or reset."""
        if state not in ("closed", "open", "half_open"):
            raise ConfigError("a circuit has no such state", policy="breaker", hint='force "closed", "open" or "half_open"')
        with self._lock:
            self._turn(state, clock.now(), "it was forced open")
            if state == "open":
                self._until = math.inf

    def admit(self, guard: str) -> Lease:
        """Return a lease where the circuit is not plainly closed.

        Raises:
            CircuitOpen: It is open, or enough others are trying already.
        """
        with self._lock:
            if self.closed is not None:  # by now
                return self.closed
            now = clock.now()
            if self.state == "open":
                if now < self._until:
                    raise self._refusal(guard, self._until - now)
                self._turn("half_open", now)
            self._drop_overdue(now)
            if len(self._leases) + self._passed >= self.option.probes:
                oldest = min((lease.start for lease in self._leases), default=now)
                raise self._refusal(guard, oldest + self.option.open_for - now)
            lease = Lease(self.generation, now, probe=True)
            self._leases[lease] = None
            return lease

    def record(self, lease: Lease, *, bad: bool, slow: bool) -> None:
        """Take note of how a call ended; one that began in an earlier period says nothing of this one."""
        with self._lock:
            self._leases.pop(lease, None)
            if lease.generation != self.generation:
                return
            now = clock.now()
            if not lease.probe:
                self._count(now, bad=bad, slow=slow)
            elif bad or slow:
                self._turn("open", now, "a trial call failed" if bad else "a trial call was slow")
            else:
                self._passed += 1
                if self._passed >= self.option.probes:
                    self._turn("closed", now)

    def give_back(self, lease: Lease) -> None:
        """Take a lease back from a call whose end says nothing of the dependency."""
        if lease.probe:
            with self._lock:
                self._leases.pop(lease, None)

    def move_on(self, now: float) -> None:
        """Begin the bucket of the present moment."""
        with self._lock:
            self._move_on(now)

    def snapshot(self) -> dict[str, Any]:
        """Return the present state, for `stats()`."""
        with self._lock:
            now = clock.now()
            self._move_on(now)
            calls, bad, slow = self._totals()
            left = self._until - now if self.state == "open" else 0.0
            return {
                "state": self.state,
                "calls": calls,
                "failures": bad,
                "slow": slow,
                "opened": self.opened,
                "retry_after": round(max(0.0, left), 3) if math.isfinite(left) else None,
            }

    # ── under the lock ────────────────────────────────────────────────────────────────────────────────────────────────
    def _turn(self, state: State, now: float, why: str = "") -> None:
        self.state = state
        self.generation += 1
        self._leases = {}
        self._passed = 0
        self._until = 0.0
        self._why = why
        # A caller that still sees the old lease is sorted out by its generation when it leaves.
        self.closed: Lease | None = Lease(self.generation, now) if state == "closed" else None
        if state == "closed":
            self._buckets = deque([_Bucket()], maxlen=BUCKETS)
            self.good = self._buckets[-1].good
            self.bucket_ends = now + self._width
        elif state == "open":
            self._until = now + self.option.open_for * (1 + JITTER * clock.chance())
            self.opened += 1

    def _move_on(self, now: float) -> None:
        steps = math.floor((now - self.bucket_ends) / self._width) + 1
        if steps <= 0:
            return
        for _ in range(min(steps, BUCKETS)):
            self._buckets.append(_Bucket())
        self.good = self._buckets[-1].good
        self.bucket_ends += steps * self._width

    def _totals(self) -> tuple[int, int, int]:
        bad = sum(bucket.bad for bucket in self._buckets)
        return (
            sum(bucket.successes() for bucket in self._buckets) + bad,
            bad,
            sum(bucket.slow for bucket in self._buckets),
        )

    def _count(self, now: float, *, bad: bool, slow: bool) -> None:
        self._move_on(now)
        bucket = self._buckets[-1]
        if bad:
            bucket.bad += 1
        else:
            bucket.good()
        bucket.slow += slow
        if not (bad or slow):
            return
        calls, failures, slows = self._totals()
        if calls < self.option.min_calls:
            return
        if failures and failures >= self.option.failure_rate * calls:
            self._turn("open", now, f"{failures} of the last {calls} calls failed")
        elif slows and slows >= self.option.slow_rate * calls:
            self._turn("open", now, f"{slows} of the last {calls} calls were slow")

    def _drop_overdue(self, now: float) -> None:
        """Let another caller try where a probe is not back within `open_for`; its answer counts all the same."""
        for lease in list(self._leases):
            if now - lease.start < self.option.open_for:
                return
            self._leases.pop(lease, None)

    def _refusal(self, guard: str, seconds: float) -> CircuitOpen:
        known = math.isfinite(seconds)
        when = f"; it is tried again in {seconds:.1f} s" if known else ""
        doing = "open" if self.state == "open" else "half open, and its trial calls are under way"
        why = f": {self._why}" if self._why else ""
        return CircuitOpen(
            f"the breaker of {self.option.name or guard} is {doing}{why}{when}",
            guard=guard,
            policy="breaker",
            retry_after=max(0.0, seconds) if known else None,
            hint="a fallback=... answers meanwhile",
        )
