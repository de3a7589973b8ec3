"""`limit`: how many calls may run at once and how often, with a short fair wait if wanted; shed before any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from guardrail import clock
from guardrail.asks import Asks, Sleep, Turn
from guardrail.call import Call
from guardrail.errors import BudgetExceeded, ConfigError, LimitExceeded
from guardrail.policies.options import Frozen, is_whole
from guardrail.policies.permits import Permits
from guardrail.policies.rate import Rate
from guardrail.principal import acting


class Limit(Frozen):
    """Bound the load on a function.

    Args:
        concurrency: How many calls may run at once. A permit is held until the work ends, also where nobody waits for
            its answer any more. A nested call of the same guard takes no second one.
        rate: How often, as "100/s", "5/m", "1000/h" or "10/30s": that many at once, and then evenly spread.
        wait: How long a call may wait for its turn, first come first served; nought: it is refused at once.
        per: "all" callers together, or a limit of its own for each "principal" or "tenant" of `acting_as`. Calls
            without one share one limit.

    Raises:
        ConfigError: Neither a concurrency nor a rate is given, or a value is of the wrong type or out of range.
    """

    __slots__ = ("concurrency", "per", "rate", "wait")

    concurrency: int | None
    rate: str | None
    wait: float
    per: Literal["all", "principal", "tenant"]

    def __init__(
        self,
        concurrency: int | None = None,
        *,
        rate: str | None = None,
        wait: clock.Duration = 0,
        per: Literal["all", "principal", "tenant"] = "all",
    ) -> None:
        if concurrency is None and rate is None:
            raise ConfigError("Limit() limits nothing", hint='write Limit(8), Limit(rate="100/s") or both')
        if concurrency is not None and not is_whole(concurrency):
            raise ConfigError(
                "the concurrency of limit must be a whole number of at least 1",
                hint="write limit=8; to stop every call use the kill switch",
            )
        if rate is not None:
            clock.rate(rate, "the rate of limit")
        if per not in ("all", "principal", "tenant"):
            raise ConfigError("Limit(per=...) is unknown", hint='write "all", "principal" or "tenant"')
        self._set(concurrency=concurrency, rate=rate, wait=clock.seconds(wait, "wait of limit", zero=True), per=per)


def limit_of(option: Any) -> Limit | None:
    """Return the object behind the option `limit=`: calls at once, an object or None."""
    if option is None or isinstance(option, Limit):
        return option
    if isinstance(option, int) and not isinstance(option, bool):
        return Limit(option)
    raise ConfigError(
        f"limit is of type {type(option).__name__}",
        hint='write limit=8 (calls at once), Limit(8, rate="100/s") or None',
    )


class Limiting:
    """The limits of one guard, innermost of all that may refuse: who is refused elsewhere uses nothing up here.

    Args:
        option: How many, how often, how long to wait.
        permits: The state of its concurrency; needed if the option has one.
        rate: The state of its rate; needed if the option has one.
    """

    def __init__(self, option: Limit, permits: Permits | None, rate: Rate | None) -> None:
        self.option = option
        self.permits = permits if option.concurrency is not None else None
        self.rate = rate if option.rate is not None else None
        self._per = option.per
        if self.permits is not None and self.rate is None and option.per == "all":
            self._pool = self.permits.common
            self.enter: Callable[[Call], Turn] = self._enter_pool
        else:
            self.enter = self._enter

    def _enter_pool(self, call: Call) -> Turn:
        """Do what `_enter` does, where there is nothing but a concurrency for all callers: flat, for its cost."""
        if call.deadline is not None and clock.now() >= call.deadline:
            raise self._too_late(call)
        pool = self._pool
        if call.parent is not None and pool.lent_above(call):
            return None
        if not pool.line:
            try:
                permit = pool.free.pop()
            except IndexError:
                fresh = pool.take()
                if fresh is not None:
                    fresh.lend(call)
                    return None
            else:
                permit.call = call
                call.permit = permit
                call.held += permit.held
                return None
        if self.option.wait:
            return self._wait(call, None)
        raise self._refusal(call, 0.0)

    def _enter(self, call: Call) -> Turn:
        """Take a permit and a token, wait for them within bounds, or refuse.

        Raises:
            BudgetExceeded: The deadline has passed before any work.
            LimitExceeded: The limit is reached.
        """
        if call.deadline is not None and clock.now() >= call.deadline:
            raise self._too_late(call)
        key = None if self._per == "all" else self._key()
        permits, rate = self.permits, self.rate
        delay = 0.0 if rate is None else rate.take(key)
        if not delay:
            if permits is None or permits.take(call, key):
                return None
            if rate is not None:
                rate.give_back(key)
        if self.option.wait:
            return self._wait(call, key)
        raise self._refusal(call, delay)

    @staticmethod
    def _too_late(call: Call) -> BudgetExceeded:
        return BudgetExceeded(
            "the deadline passed before the work began",
            guard=call.plan.name,
            policy="limit",
            hint="wait less with Limit(wait=...), or give the guard a larger budget",
        )

    def _key(self) -> str | None:
        who = acting.get()
        if who is None:
            return None
        return who[0].id if self._per == "principal" else who[0].tenant

    def _wait(self, call: Call, key: str | None) -> Asks:
        """Wait for a token and then, in line, for a permit, as long as the option and the deadline allow."""
        until = clock.now() + self.option.wait
        if call.deadline is not None:
            until = min(until, call.deadline)
        rate, permits = self.rate, self.permits
        delay = 0.0
        if rate is not None:
            most = until - clock.now()
            delay = rate.take(key, most)
            if delay > most:
                raise self._refusal(call, delay)
        came = False
        try:
            if delay:
                yield Sleep(delay)
            if permits is None or permits.take(call, key):
                came = True
            else:
                with permits.pool(key) as pool:
                    came = yield from pool.stand(call, until)
        finally:
            if not came and rate is not None:  # refused, or gone away: the token is left to another
                rate.give_back(key)
        if not came:
            raise self._refusal(call, 0.0)
        return None

    def _refusal(self, call: Call, delay: float) -> LimitExceeded:
        if delay and self.rate is not None:
            self.rate.count_refusal()
            return LimitExceeded(
                f"the rate of {self.option.rate} is used up; it allows the next call in {delay:.3g} s",
                guard=call.plan.name,
                policy="limit",
                retry_after=delay,
                hint="ask again then, or raise Limit(rate=...)",
            )
        if self.permits is not None:
            self.permits.count_refusal()
        permits = self.option.concurrency
        return LimitExceeded(
            f"all permits ({permits}) are taken{', and none came free in time' if self.option.wait else ''}",
            guard=call.plan.name,
            policy="limit",
            hint=None if self.option.wait else f'Limit({permits}, wait="50ms") lets calls wait a little',
        )
