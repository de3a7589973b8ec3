"""Everything that takes a guarded function instead of hanging on it: decide, guard_of, with_options, warm, feedback, flush."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, Unpack, overload

from guardrail import call as calls
from guardrail import clock, lifecycle
from guardrail.decision import Decision
from guardrail.errors import ConfigError
from guardrail.guard import MARK, Guard
from guardrail.ledger import writer
from guardrail.ledger.entry import Entry
from guardrail.shape import Misshapen
from guardrail.spec import UNSET, Given, Options, check, get

P = ParamSpec("P")
R = TypeVar("R")
_DURABILITY: Final = ("off", "buffered", "sync")

if TYPE_CHECKING:
    from guardrail.review.ticket import Ticket


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
        return Decision.of_entry(Entry._make(entry), value, error)
    # No entry: the call had the wrong shape, or the function ran bare.
    if error is not None and (not guard.plan.bypass or not _fits(guard, *asked)):
        raise error
    entry = Entry(
        calls.next_seq(), clock.wall(), clock.now() - start, guard.plan, "answered" if error is None else "failed",
        None, None, None, 1, None,
    )  # fmt: skip
    return Decision.of_entry(entry, value, error)


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
    return None if entry is None else Decision.of_entry(Entry._make(entry), calls.MISSING)


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
        mine, theirs = get(guard.spec, "audit"), changes["audit"].value
        if _DURABILITY.index(theirs.durability) < _DURABILITY.index(mine.durability) or (mine.required and not theirs.required):
            refuse("the audit")
    review = get(guard.spec, "review")
    if review is not None and "review" in changes:
        theirs = changes["review"].value
        if theirs is None or not set(review.on) <= set(theirs.on):
            refuse("the review")
    confidence = get(guard.spec, "confidence")
    if confidence is not None and "confidence" in changes and confidence.stricter_than(changes["confidence"].value):
        refuse("the confidence that it must reach")
    if "mode" in changes and changes["mode"].value in ("off", "observe") and (review is not None or "audit" in guard.spec):
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
    if get(guard.spec, "review") is not None or get(guard.spec, "confidence") is not None:
        from guardrail import review as queue  # noqa: PLC0415

        queue.open_count()
    budget = get(guard.spec, "budget")
    if budget is not None and budget.enforce == "process":
        from guardrail.drivers import processes  # noqa: PLC0415

        processes.warm(guard.fn, guard.name)
    if not sample:
        return
    from guardrail.drivers import rehearsal  # noqa: PLC0415

    rehearsal.run(fn, guard, sample)


# ── afterwards ────────────────────────────────────────────────────────────────────────────────────────────────────────
def feedback(
    decision_id: str | None = None,
    actual: Any = UNSET,
    *,
    business_id: str | None = None,
    guard: str | None = None,
    value: float | None = None,
    at: datetime | None = None,
    source: str = "caller",
) -> None:
    """Tell what really happened, once it is known: a label for the decision, stored durably.

    Args:
        decision_id: The decision; or
        business_id: the user's own key, with `guard` where several guards decide on the same matter.
        actual: The true answer.
        guard: Name of the guard, for a business id.
        value: What the decision was worth, in the user's unit.
        at: When it became known; now by default.
        source: Who says so: "caller", or a system's name.

    Raises:
        ConfigError: Neither id or both are given, or there is neither an actual answer nor a value.
    """
    if (decision_id is None) == (business_id is None):
        raise ConfigError(
            "feedback needs one id", hint='write feedback(decision.id, actual) or feedback(actual=..., business_id="loan-17")'
        )
    if actual is UNSET and value is None:
        raise ConfigError("feedback says nothing", hint="give the actual answer, or what the decision was worth as value=")
    from guardrail.review import labels  # noqa: PLC0415 - the store is loaded by the first label

    said = {} if actual is UNSET else {"actual": actual}
    labels.add(decision_id=decision_id, business_id=business_id, guard=guard, value=value, at=at, source=source, **said)


def override(
    decision_id: str | None = None,
    value: Any = ...,
    *,
    business_id: str | None = None,
    guard: str | None = None,
    reason: str,
    note: str | None = None,
    actor: str,
) -> Decision[Any]:
    """Put a person's answer in the place of a decision. The old one stays in the ledger; the new one stands beside it.

    It becomes a label, answers the next deferred call of the same business id where `Review(reuse=...)` allows, and is called
    back. Where the guard's tag `risk` is one of the setting `second_approval`, it holds when a second person has approved it.

    Args:
        decision_id: The decision; or
        value: The answer that is right, able to be JSON, and one that the case allows.
        business_id: the user's own key, with `guard` where several guards decide on the same matter: the newest decision.
        guard: Name of the guard, for a business id.
        reason: Why, as a code: "wrong_input", "missing_context", "model_error", "policy_exception", "ambiguous", "fraud",
            "other" (which needs a note), or one of the setting `review_reasons`.
        note: Why, for the next reader.
        actor: Who overrides it.

    Returns:
        The decision that stands now: outcome "human", or "deferred" with the ticket while a second person has to approve.

    Raises:
        ConfigError: Not one id is given, there is no value, or the reason is none of the codes.
        DecisionNotFound: There is no such decision.
        InvalidInput: The value is not one that the case allows.
        StoreError: The store cannot take it.
    """
    from guardrail.review import overriding  # noqa: PLC0415 - the store is loaded by who needs it

    return overriding.override(decision_id, value, business_id=business_id, guard=guard, reason=reason, note=note, actor=actor)


def appeal(
    decision_id: str | None = None, text: str = "", *, business_id: str | None = None, guard: str | None = None, by: str
) -> Ticket:
    """Object to a decision, a person's or an automated one: another person looks at it, a senior where there is one.

    Whoever decided it is not handed the case, and whoever looks at it is not told who that was. The case waits in the queue
    "appeals", due in 30 days; `guardrail.review.reply(ticket.id)` is what the person concerned is told, in plain words.

    Args:
        decision_id: The decision; or
        text: Why, in the words of the person concerned.
        business_id: the user's own key, with `guard` where several guards decide on the same matter: the newest decision.
        guard: Name of the guard, for a business id.
        by: Who objects.

    Returns:
        The ticket; that of an appeal which is still open, if there is one.

    Raises:
        ConfigError: Not one id is given, or the text says nothing.
        DecisionNotFound: There is no such decision.
        StoreError: The store cannot take it.
    """
    from guardrail.review import appeals  # noqa: PLC0415 - as above

    return appeals.appeal(decision_id, text, business_id=business_id, guard=guard, by=by)


def configure(**settings: Any) -> None:
    """Set settings for this process, over `guardrail.toml` and below the environment. May be called again.

    Args:
        settings: By the names of the variables in lower case: `configure(service="loans", mode="observe")`.

    Raises:
        ConfigError: A name or value is wrong; names the nearest.
    """
    from guardrail import registry  # noqa: PLC0415
    from guardrail import settings as table  # noqa: PLC0415

    table.on_change(registry.reconfigure)
    table.configure(**settings)


def flush(timeout: clock.Duration = 5) -> bool:
    """Wait until every record so far is durable and with the sinks, and telemetry is handed on.

    Args:
        timeout: The most that it takes.

    Returns:
        Whether all of it was done in time.
    """
    seconds = clock.seconds(timeout, "timeout of flush", zero=True)
    until = clock.now() + seconds
    done = writer.flush(seconds)
    couriers = sys.modules.get("guardrail.delivery.couriers")  # loaded by the first record of a process that has sinks
    if couriers is not None:
        done = couriers.flush(max(0.0, until - clock.now())) and done
    provider = sys.modules.get("guardrail.telemetry.provider")
    return done if provider is None else provider.flush(max(0.0, until - clock.now())) and done


def shutdown(timeout: clock.Duration = 5) -> bool:
    """Flush, then stop what runs in the background; a later guarded call starts it again.

    Args:
        timeout: The most that it takes.

    Returns:
        Whether all of it was done in time.
    """
    return lifecycle.finish_all(clock.seconds(timeout, "timeout of shutdown", zero=True))


__all__ = [
    "configure", "decide", "feedback", "flush", "guard_of", "last_decision", "shutdown", "warm", "with_options",
]  # fmt: skip
