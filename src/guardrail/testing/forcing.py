"""Forces a policy's state, to see what a caller sees then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from guardrail.errors import ConfigError
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
        breaker: The state of its breaker.
        limit: "full" takes every permit, so that no further call gets in (of a limit on concurrency for all callers together).
        mode: The mode in force.

    Raises:
        ConfigError: The guard has no such policy, or nothing is forced.
    """
    guard = guard_of(fn)
    if breaker is None and limit is None and mode is None:
        raise ConfigError("nothing is forced", hint='write force(predict, breaker="open")')
    with ExitStack() as undo:
        if mode is not None:
            given = dict(guard.given)
            undo.callback(_give, guard, given)
            from guardrail.spec import check  # noqa: PLC0415

            _give(guard, {**given, **check({"mode": mode}, "force")})
        states = guard.plan and guard.parts.get("states", {})
        if breaker is not None:
            circuit = _state(states, "breaker", guard.name)
            circuit.force(breaker)
            undo.callback(circuit.reset)
        if limit is not None:
            pool = _state(states, "limit", guard.name).common
            while (permit := pool.take()) is not None:
                undo.callback(permit.give_back)
        yield


def _state(states: dict[str, Any], name: str, guard: str) -> Any:
    if name not in states:
        raise ConfigError(f"there is no {name} to force", guard=guard, hint=f"give the guard a {name}=")
    return states[name]


def _give(guard: Any, given: dict[str, Any]) -> None:
    guard.given = given
    guard.reconfigure()
