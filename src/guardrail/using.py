"""What takes a guarded function instead of hanging on it: guard_of, decide, last_decision, with_options, warm."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, ParamSpec, TypeVar, Unpack, overload

from guardrail import call as calls
from guardrail import clock, lifecycle
from guardrail.decision import Decision, decision_of
from guardrail.errors import ConfigError
from guardrail.guard import MARK, Guard
from guardrail.guard_upkeep import spec_of
from guardrail.ledger import writer
from guardrail.ledger.entry import Entry
from guardrail.policies.confidence import stricter
from guardrail.policies.review import stricter as stricter_review
from guardrail.shape import Misshapen
from guardrail.spec import Given, Options, check, get

P = ParamSpec("P")
R = TypeVar("R")
_DURABILITY: Final = ("off", "buffered", "sync")


def guard_of(fn: Callable[..., Any]) -> Guard:
    """Return the guard of a guarded function: its name, options, policies, numbers and latest decisions.

    Args:
        fn: A guarded function, also as a bound method or inside a partial.

    Raises:
        ConfigError: It is not guarded.
    """
    candidate: Any = fn
    while isinstance(candidate, functools.partial):
        candidate = candidate.func
    guard = getattr(candidate, MARK, None)
    if not isinstance(guard, Guard):
        raise ConfigError(f"{getattr(fn, '__qualname__', type(fn).__name__)} is not guarded", hint="put @guarded above its def")
    return guard


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@overload
def decide(  # type: ignore[overload-overlap]  # a coroutine function is a function too; the first that fits is meant
    fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, Decision[R]]: ...
@overload
def decide(fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Decision[R]: ...
def decide(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a guarded function and return everything about the call, whatever its end.

    Args:
        fn: The guarded function; a coroutine function gives an awaitable.
        args: Its arguments by position.
        kwargs: Its arguments by name.

    Returns:
        A `Decision`; its `.value` gives the answer or raises the error.

    Raises:
        ConfigError: Wrong use of the guard, or a generator: iterate it, then ask `last_decision()`.
        TypeError: The arguments do not fit the parameters.
    """
    guard = guard_of(fn)
    if guard.kind in ("stream", "astream"):
        raise ConfigError(
            "a generator has no one answer to decide on", guard=guard.name, hint="iterate it, then call last_decision()"
        )
    if guard.kind == "async":
        return _adecide(guard, fn, args, kwargs)
    before, start = calls.latest.get(), clock.now()
    value, error = calls.MISSING, None
    try:
        value = fn(*args, **kwargs)
    except ConfigError:
        raise
    except Exception as problem:  # noqa: BLE001 - it is the decision's to carry
        error = problem
    return _decision(guard, before=before, start=start, value=value, error=error, asked=(args, kwargs))


async def _adecide(guard: Guard, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Decision[Any]:
    before, start = calls.latest.get(), clock.now()
    value, error = calls.MISSING, None
    try:
        value = await fn(*args, **kwargs)
    except ConfigError:
        raise
    except Exception as problem:  # noqa: BLE001 - it is the decision's to carry
        error = problem
    return _decision(guard, before=before, start=start, value=value, error=error, asked=(args, kwargs))


def _decision(
    guard: Guard,
    *,
    before: Any,
    start: float,
    value: Any,
    error: Exception | None,
    asked: tuple[tuple[Any, ...], dict[str, Any]],
) -> Decision[Any]:
    entry = calls.latest.get()
    if entry is not before and entry is not None and entry[3].name == guard.name:
        return decision_of(Entry._make(entry), value, error)
    # No entry: the call had the wrong shape, or the function ran bare.
    if error is not None and (not guard.plan.bypass or not _fits(guard, *asked)):
        raise error
    entry = Entry(
        calls.next_seq(), clock.wall(), clock.now() - start, guard.plan, "answered" if error is None else "failed",
        None, None, None, 1, None,
    )  # fmt: skip
    return decision_of(entry, value, error)


def _fits(guard: Guard, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if guard.shape is None:
        return True
    try:
        guard.shape.bind(args, kwargs)
    except Misshapen:
        return False
    return True


def last_decision() -> Decision[Any] | None:
    """Return the decision of the guarded call that ended last in this thread or task, None before the first.

    Its `.value` is kept where the answer is a number, boolean, enum or short text.
    """
    entry = calls.latest.get()
    return None if entry is None else decision_of(Entry._make(entry), calls.MISSING)


# ── the same function otherwise ───────────────────────────────────────────────────────────────────────────────────────
def with_options(fn: Callable[P, R], **options: Unpack[Options]) -> Callable[P, R]:
    """Return the same function under other options; the same options give the same function again.

    What the options do not change (cached answers, breaker, permits) is shared with the original.

    Args:
        fn: A guarded function.
        options: Those that differ.

    Raises:
        ConfigError: An option is wrong, or would weaken access, audit or review.
    """
    guard = guard_of(fn)
    changes = check(options, "with_options")
    for name in ("name", "batch"):
        if name in changes:
            raise ConfigError(f"{name} cannot be changed by with_options()", guard=guard.name, hint="define another guard")
    _refuse_weaker(guard, changes)
    key = {name: given.value for name, given in changes.items()}
    owner = getattr(fn, "__self__", None)
    with guard.lock:
        for known, variant in guard.variants:
            if known == key:
                return variant if owner is None else variant.__get__(owner)
        from guardrail.decorator import wrap  # noqa: PLC0415 - guarded imports the drivers, which a reader of guards may not need

        variant = wrap(Guard(guard.fn, {**guard.given, **changes}, guard.local, kin=guard))
        guard.variants.append((key, variant))
    return variant if owner is None else variant.__get__(owner)  # type: ignore[no-any-return]


def _refuse_weaker(guard: Guard, changes: Mapping[str, Given]) -> None:
    def refuse(what: str) -> None:
        raise ConfigError(
            f"with_options() cannot weaken {what}", guard=guard.name, hint="change it in the decorator, where a review sees it"
        )

    if "mode" in changes and get(guard.given, "mode") == "killed" and changes["mode"].value != "killed":
        refuse("a kill")
    if "audit" in changes:
        mine, theirs = get(spec_of(guard), "audit"), changes["audit"].value
        if _DURABILITY.index(theirs.durability) < _DURABILITY.index(mine.durability) or (mine.required and not theirs.required):
            refuse("the audit")
    review = get(spec_of(guard), "review")
    if review is not None and "review" in changes:
        theirs = changes["review"].value
        if theirs is None or stricter_review(review, theirs):
            refuse("the review")
    confidence = get(spec_of(guard), "confidence")
    if confidence is not None and "confidence" in changes and stricter(confidence, changes["confidence"].value):
        refuse("the confidence that it must reach")
    if "mode" in changes and changes["mode"].value in ("off", "observe") and (review is not None or "audit" in spec_of(guard)):
        refuse("audit and review by its mode")


def warm(fn: Callable[..., Any], *sample: Any) -> None:
    """Do before traffic what the first call would otherwise pay for: imports, validators, stores, and one unrecorded run.

    Args:
        fn: A guarded function.
        sample: Arguments to run it with; without any, it is not run. Whatever it raises passes.
    """
    guard = guard_of(fn)
    _ = guard.plan  # compiled now
    writer.start()
    lifecycle.arm()
    if get(spec_of(guard), "review") is not None or get(spec_of(guard), "confidence") is not None:
        from guardrail import review as queue  # noqa: PLC0415

        queue.open_count()
    budget = get(spec_of(guard), "budget")
    if budget is not None and budget.enforce == "process":
        from guardrail.drivers import processes  # noqa: PLC0415

        processes.warm(guard.fn, guard.name)
    if not sample:
        return
    from guardrail.drivers import rehearsal  # noqa: PLC0415

    rehearsal.run(fn, guard, sample)
