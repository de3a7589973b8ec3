"""Forces a policy's state, to see what a caller sees then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from guardrail.errors import ConfigError
from guardrail.guard import Guard
from guardrail.guard_upkeep import reconfigure
from guardrail.spec import Given, check
from guardrail.using import guard_of


@contextmanager
def force(
    fn: Callable[..., Any],
    *,
    breaker: Literal["open", "closed", "half_open"] | None = None,
    limit: Literal["full"] | None = None,
    mode: Literal["enforce", "observe", "off", "killed"] | None = None,
) -> Iterator[None]:
    """Force states of a guarded function's policies inside the block.

    Args:
        fn: A guarded function.
        breaker: The state of its breaker; afterwards it is closed.
        limit: "full" takes every permit that is free, so that no further call gets in. Permits are those of all callers
            together, not of a limit per principal or tenant.
        mode: The mode in force.

    Raises:
        ConfigError: The guard has no such policy, nothing is forced, or the mode is held by a switch or a setting.
    """
    guard = guard_of(fn)
    if breaker is None and limit is None and mode is None:
        raise ConfigError("nothing is forced", hint='write force(predict, breaker="open")')
    with ExitStack() as undo:
        if mode is not None:
            _force_mode(guard, mode, undo)
        if breaker is not None:
            circuit = _state(guard, "breaker")
            circuit.force(breaker)
            undo.callback(circuit.reset)
        if limit is not None:
            pool = _state(guard, "limit").common
            while (permit := pool.take()) is not None:
                undo.callback(permit.put_back)
        yield


def _force_mode(guard: Guard, mode: str, undo: ExitStack) -> None:
    undo.callback(_give, guard, guard.given)
    _give(guard, {**guard.given, **check({"mode": mode}, "force")})
    if guard.mode != mode:
        raise ConfigError(
            f"the mode cannot be forced: a run-time switch or a setting holds it at {guard.mode!r}",
            guard=guard.name,
            hint="begin with `with fresh():`, in an environment without GUARDRAIL_MODE",
        )


def _give(guard: Guard, given: Mapping[str, Given]) -> None:
    guard.given = dict(given)
    reconfigure(guard)


def _state(guard: Guard, name: str) -> Any:
    _ = guard.plan  # compiled, so that the state is there
    states = guard.parts.get("states", {})
    if name not in states:
        raise ConfigError(f"there is no {name} to force", guard=guard.name, hint=f"give the guard a {name}=")
    return states[name]
