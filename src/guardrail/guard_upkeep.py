"""What the house does with a guard, and no user asks of it: reading the settings, compiling, renewing, beginning in a child."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guardrail import registry
from guardrail.errors import ConfigError
from guardrail.functions import code_hash
from guardrail.spec import Given, check_together, get
from guardrail.store import forks

if TYPE_CHECKING:
    from guardrail.guard import Guard
    from guardrail.plan import Plan
    from guardrail.settings import Said


def spec_of(guard: Guard) -> Mapping[str, Given]:
    """Return the options in force, each with where it came from."""
    if guard.in_force is None:
        reconfigure(guard)
    return guard.in_force or {}


def reconfigure(guard: Guard) -> None:
    """Put the settings over what the decorator says, and compile again at the next call.

    Raises:
        ConfigError: They do not go together.
    """
    from guardrail import overlay, settings  # noqa: PLC0415 - settings are read at the first decoration

    said = settings.current().said(guard.name)
    spec = overlay.overlaid(guard.given, said, guard.name)
    _check_together(guard, spec, said)
    if get(spec, "batch"):
        from guardrail.policies.table_state import place_of  # noqa: PLC0415 - for functions over tables

        place_of(guard.shape, guard.name)
    review = get(spec, "review")
    if settings.current().cache_url is not None and get(spec, "cache") is not None:
        _check_shared(guard, spec, "a cache that processes share needs", "cache=...")
    if review is not None and review.reuse is not None:
        _check_shared(guard, spec, "people's answers that are used again need", "review=Review(reuse=...)")
    guard.version = get(spec, "version") or f"auto:{code_hash(guard.fn)}"
    guard.in_force = spec
    guard.planned = None


def _check_together(guard: Guard, spec: Mapping[str, Given], said: Sequence[Said]) -> None:
    try:
        check_together(spec, guard.kind, guard.name)
    except ConfigError as problem:
        if not said:
            raise
        check_together(guard.given, guard.kind, guard.name)  # wrong by itself: settings have nothing to do with it
        named = ", ".join(dict.fromkeys(each.where for each in said))
        raise ConfigError(
            f"{named}: with this the options do not go together: {problem.args[0]}", guard=guard.name, hint=problem.hint
        ) from None


def _check_shared(guard: Guard, spec: Mapping[str, Given], what: str, option: str) -> None:
    if not (get(spec, "name") and get(spec, "version")):
        raise ConfigError(
            f"{what} to know which function and model an answer belongs to",
            guard=guard.name,
            hint=f'write @guarded(name="loans", version="3.2.0", {option})',
        )


def compiled(guard: Guard) -> Plan:
    """Return a guard's plan, compiled if it is not."""
    with forks.apart(forks.LOADING):  # a child that is forked in the middle of an import could never import that module
        from guardrail.compiler import compiling  # noqa: PLC0415 - pydantic and all the policies are loaded here, not at import

        with guard.lock:
            if guard.planned is None:
                registry.add(guard)
                guard.planned = compiling.compile_plan(guard)
            return guard.planned


def changed(guard: Guard) -> set[str]:
    """Return the options in which this guard differs from the one it was derived from."""
    kin = {} if guard.kin is None else guard.kin.given
    return {name for name, given in guard.given.items() if name not in kin or kin[name].value != given.value}


def stands_for(guard: Guard, wrapper: Any) -> None:
    """Note the function that users call, without keeping it alive."""
    guard.wrapper = weakref.ref(wrapper)


def inject(guard: Guard, instead: Callable[..., Any] | None) -> None:
    """Run something else in the place of the user's function, for tests; None ends it."""
    guard.instead = instead
    guard.planned = None


def replan(guard: Guard) -> None:
    """Compile again at the next call: a switch or a setting has changed."""
    with guard.lock:
        guard.planned = None


def renew(guard: Guard) -> None:
    """Begin with new state, as a fresh definition would."""
    with guard.lock:
        guard.parts.clear()
        guard.variants.clear()
        guard.in_force = guard.planned = None


def after_fork(guard: Guard) -> None:
    """Begin in a child process: nothing that a lost thread may hold, none of its answers."""
    guard.lock = threading.RLock()
    for name in ("cache", "memory"):
        guard.parts.pop(name, None)
    guard.planned = None


def forget_personal(guard: Guard) -> None:
    """Drop the answers and latest decisions that are kept in this process, where they may be about a person."""
    plan = guard.planned
    if plan is not None and plan.snapshot is not None and not plan.snapshot.about_people:
        return
    with guard.lock:
        for name in ("cache", "memory"):
            guard.parts.pop(name, None)
        guard.planned = None
    from guardrail.telemetry import stats  # noqa: PLC0415 - only an erasure asks for it

    stats.forget_latest(guard.name)
