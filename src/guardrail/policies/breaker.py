"""`breaker`: while a dependency fails or crawls its callers are refused at once, and a few try whether it is back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from guardrail import clock, notices
from guardrail.call import Call
from guardrail.errors import BudgetExceeded, ConfigError, GuardrailError
from guardrail.policies.circuit import Circuit, Lease
from guardrail.policies.options import Frozen, is_share, is_whole


class Breaker(Frozen):
    """When to stop calling a dependency, and when to try again.

    Args:
        name: The dependency. Guards that give the same name share one breaker; default: the guard's own.
        failure_rate: Share of failures, in (0, 1], from which on it opens.
        slow_rate: Share of slow calls, in (0, 1], from which on it opens; needs `slow_after`.
        slow_after: How long a call takes to be slow, its wait for a permit included; None: no call is.
        window: How far back calls count.
        min_calls: Fewer calls than these within the window open nothing.
        open_for: How long it stays open; up to a tenth is added at random.
        probes: Trial calls after that, at most so many at once. All good: it closes. One bad: it is open again.
        counts: Says of an exception of the function whether it is the dependency's failure; if not, the call was a
            good one. Default: every Exception is. Refusals by guardrail, invalid values and cancellations count
            neither way.

    Raises:
        ConfigError: A value is of the wrong type or out of range.
    """

    __slots__ = (
        "counts", "failure_rate", "min_calls", "name", "open_for", "probes", "slow_after", "slow_rate", "window",
    )  # fmt: skip

    name: str | None
    failure_rate: float
    slow_rate: float
    slow_after: float | None
    window: float
    min_calls: int
    open_for: float
    probes: int
    counts: Callable[[Exception], bool] | None

    def __init__(
        self,
        name: str | None = None,
        *,
        failure_rate: float = 0.5,
        slow_rate: float = 0.8,
        slow_after: clock.Duration | None = None,
        window: clock.Duration = "30s",
        min_calls: int = 20,
        open_for: clock.Duration = "10s",
        probes: int = 3,
        counts: Callable[[Exception], bool] | None = None,
    ) -> None:
        if name == "" or not isinstance(name, str | None):
            raise ConfigError("the name of a breaker must be a non-empty text", hint='write Breaker("bureau")')
        for what, share in (("failure_rate", failure_rate), ("slow_rate", slow_rate)):
            if not is_share(share):
                raise ConfigError(f"Breaker({what}=...) must be a share in (0, 1]", hint=f"write {what}=0.5")
        for what, count in (("min_calls", min_calls), ("probes", probes)):
            if not is_whole(count):
                raise ConfigError(f"Breaker({what}=...) must be a whole number of at least 1", hint=f"write {what}=3")
        if counts is not None and (isinstance(counts, type) or not callable(counts)):
            raise ConfigError(
                "Breaker(counts=...) must be a predicate on the exception",
                hint="write counts=lambda error: isinstance(error, ConnectionError)",
            )
        self._set(
            name=name,
            failure_rate=float(failure_rate),
            slow_rate=float(slow_rate),
            slow_after=None if slow_after is None else clock.seconds(slow_after, "slow_after of the breaker"),
            window=clock.seconds(window, "window of the breaker"),
            min_calls=min_calls,
            open_for=clock.seconds(open_for, "open_for of the breaker"),
            probes=probes,
            counts=counts,
        )


def breaker_of(option: Any) -> Breaker | None:
    """Return the object behind the option `breaker=`: True for the defaults, False or None for none, an object."""
    if option is None or option is False:
        return None
    if option is True:
        return Breaker()
    if isinstance(option, Breaker):
        return option
    raise ConfigError(f"breaker is of type {type(option).__name__}", hint='write breaker=True or breaker=Breaker("bureau")')


class Breaking:
    """The breaker in front of one guard's function, inside its retry: every attempt counts.

    Args:
        option: What counts, and what is slow.
        circuit: The state, which belongs to the breaker's name.
    """

    def __init__(self, option: Breaker, circuit: Circuit) -> None:
        self.option = option
        self.circuit = circuit
        self._slow_after = option.slow_after

    def enter(self, call: Call) -> None:
        """Let the call pass with a lease.

        Raises:
            CircuitOpen: The breaker is open, or half open and its trial calls are under way.
        """
        lease = self.circuit.closed
        if lease is None:
            call.lease = None
            lease = self.circuit.admit(call.plan.name)
        elif self._slow_after is not None:
            lease = Lease(lease.generation, clock.now())
        call.lease = lease

    def leave(self, call: Call) -> None:
        """Count how the attempt ended."""
        lease = call.lease
        if lease is None:  # refused, and run all the same: the guard only observes
            return
        circuit = self.circuit
        now = clock.now()
        slow = self._slow_after is not None and now - lease.start > self._slow_after
        error = call.error
        if error is None and not slow and not lease.probe:  # as most calls end
            if lease.generation == circuit.generation:
                if now >= circuit.bucket_ends:
                    circuit.move_on(now)
                circuit.good()
        elif error is not None and self._neutral(call, error):
            circuit.give_back(lease)
        else:
            circuit.record(lease, bad=error is not None and self._counts(call, error), slow=slow)

    @staticmethod
    def _neutral(call: Call, error: BaseException) -> bool:
        """Return whether an ending says nothing of the dependency: a refusal, a wrong value, a caller gone away."""
        if not isinstance(error, Exception) or call.misshapen:
            return True
        if not isinstance(error, GuardrailError):
            return False
        # A deadline that passed before the function ever began is the caller's, not the dependency's.
        return not isinstance(error, BudgetExceeded) or not call.attempts

    def _counts(self, call: Call, error: BaseException) -> bool:
        counts = self.option.counts
        if counts is None or not isinstance(error, Exception):
            return True
        try:
            return bool(counts(error))
        except Exception as problem:  # noqa: BLE001 - the function's own error must not be lost to a bug in the predicate
            notices.say(
                "breaker_predicate",
                f"the predicate of Breaker(counts=...) raised {type(problem).__name__}: such errors count as failures",
                guard=call.plan.name,
            )
            return True
