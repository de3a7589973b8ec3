"""The state of a concurrency limit: permits that come back to where they belong, and a fair line of those who wait.

Lock-free: a permit is an object that is in one place only, a free pool or a call; deques hand it over atomically. A
finaliser or a signal handler that gives one back can therefore never meet a lock that its own thread holds.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from guardrail import clock
from guardrail.asks import Ask, Wait
from guardrail.call import Call
from guardrail.policies.by_key import ByKey

if TYPE_CHECKING:
    from guardrail.policies.limit import Limit

_NEWEST: Final = 0.2  # weight of the newest hand-over in the average interval between them


class Permit:
    """One place among those who may run at once."""

    __slots__ = ("_home", "call", "held", "pool")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.call: Call | None = None
        self.held = (self.give_back,)
        self._home = pool.free  # a forked child starts with another one: what the parent's calls hold comes back here

    def lend(self, call: Call) -> None:
        """Let a call hold it until its work ends."""
        self.call = call
        call.permit = self
        call.held += self.held

    def give_back(self) -> None:
        """Take it back from the call; a second time changes nothing."""
        if self.call is not None:
            self.call = None
            self._home.append(self)
            if self.pool.line:
                self.pool.serve()

    def put_back(self) -> None:
        """Make it free for the next in line, or for whoever comes."""
        self._home.append(self)
        if self.pool.line:
            self.pool.serve()


class _Place:
    """One caller's place in the line: either the pool closes it by granting a permit, or the caller by going away."""

    __slots__ = ("_open", "permit", "signal")

    def __init__(self) -> None:
        self.signal: Future[None] = Future()
        self.permit: Permit | None = None  # set before the place is closed, so that it is there for whoever finds it closed
        self._open = [True]

    def __bool__(self) -> bool:
        return bool(self._open)

    def close(self) -> bool:
        """Close the place, and return whether it was still open: exactly one of the two sides gets True."""
        try:
            return self._open.pop()
        except IndexError:
            return False


class Pool:
    """Permits that are free, and the line of those who wait for one, first come first served.

    Args:
        size: How many permits there are; each is made when first needed.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.after_fork()

    def after_fork(self) -> None:
        """Begin with every permit free and nobody in line: those who hold or wait are in the parent."""
        self.free: deque[Permit] = deque()
        self.line: deque[_Place] = deque()
        self.pins = 0  # callers who are about to stand in line
        self._next = itertools.count().__next__
        self._made: list[Permit] = []
        self._all_made = False
        self._pace = 0.0  # average seconds from one hand-over to the next while somebody waits
        self._since = 0.0

    @property
    def in_use(self) -> int:
        """How many calls hold a permit."""
        return len(self._made) - len(self.free)

    @property
    def idle(self) -> bool:
        """Whether nobody holds a permit or waits for one."""
        return not self.pins and not self.in_use

    def take(self) -> Permit | None:
        """Return a free permit, None when all are out."""
        try:
            return self.free.pop()
        except IndexError:
            if self._all_made:
                return None
        if self._next() >= self.size:
            self._all_made = True
            return None
        permit = Permit(self)
        self._made.append(permit)
        return permit

    def lent_above(self, call: Call) -> bool:
        """Return whether a call that this one is part of holds a permit of this pool: then it needs none of its own."""
        outer = call.parent
        while outer is not None:
            permit = outer.permit
            if permit is not None and permit.pool is self and permit.call is outer and not outer.ended:
                return True
            outer = outer.parent
        return False

    def stand(self, call: Call, until: float) -> Generator[Ask, Any, bool]:
        """Wait in line for a permit (a generator of asks), and return whether it came before `until` (monotonic).

        Who cannot expect one in time does not wait at all, unless he would be the first: somebody has to find out.
        """
        self._tidy()
        line, now = self.line, clock.now()
        if not line:
            self._since = now
        elif self._pace * (len(line) + 1) > until - now:
            return False
        place = _Place()
        line.append(place)
        self.serve()  # one may have come back meanwhile
        try:
            if place:
                yield Wait(place.signal, until)
        except BaseException:
            if place.close():
                self._tidy()
            elif place.permit is not None:
                place.permit.put_back()  # granted in that very instant
            raise
        if place.close():
            self._tidy()
            return False
        assert place.permit is not None  # noqa: S101 - set before the pool closes a place
        place.permit.lend(call)
        return True

    def serve(self) -> None:
        """Hand free permits to those in line."""
        line = self.line
        while line:
            permit = self.take()
            if permit is None:
                return  # whoever has it looks at the line when it comes back
            if not self._grant(permit):
                # The line was empty after all. Look again after that: who joined meanwhile may have found no permit.
                self.free.append(permit)

    def _grant(self, permit: Permit) -> bool:
        while True:
            try:
                place = self.line.popleft()
            except IndexError:
                return False
            place.permit = permit
            if place.close():
                now = clock.now()
                took = now - self._since
                self._pace += (took - self._pace) * (_NEWEST if self._pace else 1.0)
                self._since = now
                place.signal.set_result(None)
                return True
            place.permit = None

    def _tidy(self) -> None:
        """Take those who went away from the head of the line, so that it does not grow while nothing comes back."""
        line = self.line
        while True:
            try:
                if line[0]:
                    return
                place = line.popleft()
            except IndexError:
                return
            if place:  # another thread took the head that was looked at
                line.appendleft(place)
                self.serve()
                return

    def forget_pace(self) -> None:
        """Forget how fast permits came back."""
        self._pace = 0.0


class Permits:
    """The permits of one guard, common to all callers or apart for each principal or tenant.

    Args:
        option: How many.
    """

    def __init__(self, option: Limit) -> None:
        size = option.concurrency or 0
        self.common = Pool(size)
        self._keys = ByKey(lambda: Pool(size), lambda pool: pool.idle)
        self.refused = 0

    def reset(self) -> None:
        """Forget the counts. Permits that are out stay out until their work ends."""
        self.refused = 0
        for pool in (self.common, *self._keys.all()):
            pool.forget_pace()

    def after_fork(self) -> None:
        """Begin with every permit free."""
        self.common.after_fork()
        self._keys.fresh_lock()
        self._keys.clear()

    def take(self, call: Call, key: str | None) -> bool:
        """Lend a call a permit if one is free and nobody waits for it; return whether it may run."""
        if key is None:
            return self._take(call, self.common)
        with self._keys.lock:  # a pool must not be dropped as idle between finding and using it
            return self._take(call, self._keys.find(key))

    @staticmethod
    def _take(call: Call, pool: Pool) -> bool:
        if call.parent is not None and pool.lent_above(call):
            return True
        permit = None if pool.line else pool.take()
        if permit is None:
            return False
        permit.lend(call)
        return True

    def count_refusal(self) -> None:
        """Count a call that got no permit."""
        with self._keys.lock:
            self.refused += 1

    @contextmanager
    def pool(self, key: str | None) -> Iterator[Pool]:
        """Use the pool of a key for as long as one waits in it."""
        if key is None:
            yield self.common
            return
        with self._keys.lock:
            pool = self._keys.find(key)
            pool.pins += 1
        try:
            yield pool
        finally:
            with self._keys.lock:
                pool.pins -= 1

    def snapshot(self) -> dict[str, Any]:
        """Return the present state, for `stats()`."""
        pools = [self.common, *self._keys.all()]
        return {
            "permits": self.common.size,
            "in_use": sum(pool.in_use for pool in pools),
            "waiting": sum(sum(map(bool, list(pool.line))) for pool in pools),
            "refused": self.refused,
            "keys": len(self._keys),
        }
