"""The decorator and its short forms: options in, a real function of the same kind out."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Literal, ParamSpec, Protocol, TypeVar, Unpack, overload

from guardrail.clock import Duration
from guardrail.doubt import settling
from guardrail.drivers import asynchronous, streams, sync
from guardrail.errors import ConfigError
from guardrail.guard import MARK, Guard
from guardrail.guard_upkeep import stands_for
from guardrail.policies.audit import Audit
from guardrail.policies.breaker import Breaker
from guardrail.policies.budget import Budget
from guardrail.policies.cache import Cache
from guardrail.policies.confidence import Confidence
from guardrail.policies.limit import Limit
from guardrail.policies.retry import Retry
from guardrail.spec import Given, Options, check
from guardrail.thresholds.threshold import NoThreshold, Threshold

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """What `guarded(...)` returns: the signature goes through unchanged."""

    def __call__(self, fn: Callable[P, R], /) -> Callable[P, R]:
        """Guard a function."""
        ...


@overload
def guarded(fn: Callable[P, R], /, **options: Unpack[Options]) -> Callable[P, R]: ...
@overload
def guarded(**options: Unpack[Options]) -> Decorator: ...
def guarded(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Guard a predict function, so that it survives production.

    The result is a real function of the same kind (def, async def, generator, async generator), with the same signature
    and the same exceptions. Around it every call is validated, bounded in time, cached, retried, gated on confidence,
    recorded and traced, as far as the options ask for it, in one fixed order that `guard_of(fn).policies()` prints.

    Args:
        fn: The function; also a method inside its class, a partial, a callable object or a bound method.
        options: See `Options`; each has a short form (`cache="10m"`) and an object (`cache=Cache("10m", size=100)`).

    Returns:
        The guarded function, or a decorator when only options are given.

    Raises:
        ConfigError: Wrong use; the text says what to write instead.
    """
    given = check(options, "decorator")
    if fn is None:
        return lambda function: _guard(function, given)
    return _guard(fn, given)


def _short(**options: Any) -> Any:
    given = check(options, "short form")
    return lambda function: _guard(function, given, short=True)


@overload
def validated(fn: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def validated() -> Decorator: ...
def validated(fn: Callable[..., Any] | None = None, /) -> Any:
    """Check arguments and answer by their annotations. Short for `guarded(validate=True)`; short forms merge into one guard."""
    decorate = _short(validate=True)
    return decorate if fn is None else decorate(fn)


def budgeted(total: Duration | Budget, /) -> Decorator:
    """Give each call a deadline. Short for `guarded(budget=total)`."""
    return _short(budget=total)  # type: ignore[no-any-return]


def cached(ttl: Duration | Cache, /) -> Decorator:
    """Answer the same question once. Short for `guarded(cache=ttl)`."""
    return _short(cache=ttl)  # type: ignore[no-any-return]


def retried(attempts: int | Retry, /) -> Decorator:
    """Try again after a transient failure. Short for `guarded(retry=attempts)`."""
    return _short(retry=attempts)  # type: ignore[no-any-return]


def limited(limit: int | Limit, /) -> Decorator:
    """Bound the calls at once, or a second. Short for `guarded(limit=limit)`."""
    return _short(limit=limit)  # type: ignore[no-any-return]


def circuit_broken(breaker: Breaker | None = None, /) -> Decorator:
    """Stop asking a dependency that fails. Short for `guarded(breaker=True)`."""
    return _short(breaker=True if breaker is None else breaker)  # type: ignore[no-any-return]


def confident(at_least: float | Confidence | Threshold | NoThreshold, /) -> Decorator:
    """Send unsure answers to people. Short for `guarded(confidence=at_least)`."""
    return _short(confidence=at_least)  # type: ignore[no-any-return]


def audited(audit: Literal["buffered", "sync"] | Audit, /) -> Decorator:
    """Choose how the record is kept. Short for `guarded(audit=audit)`."""
    return _short(audit=audit)  # type: ignore[no-any-return]


def _guard(fn: Any, given: Mapping[str, Given], *, short: bool = False) -> Any:
    known = getattr(fn, MARK, None)
    if known is not None and known.wrapper() is getattr(fn, "__func__", fn):
        return _merge(known, given, short=short)
    _check_target(fn)
    return wrap(Guard(fn, given, _local_names(fn), short=short))


def _merge(guard: Guard, given: Mapping[str, Given], *, short: bool) -> Any:
    """Merge a short form with the guard next to it into one guard: one order, one record."""
    name = guard.fn.__qualname__
    if not (short or guard.short):
        raise ConfigError(
            f"{name} is guarded already", guard=guard.name, hint="put all options into one @guarded(...), or use with_options()"
        )
    twice = sorted(option for option in given.keys() & guard.given.keys() if option != "validate")
    if twice:
        raise ConfigError(f"{name} is given {twice[0]} twice", guard=guard.name, hint="leave one of them out")
    return wrap(Guard(guard.fn, {**guard.given, **given}, guard.local, short=short and guard.short))


def _local_names(fn: Any) -> dict[str, Any]:
    """Return the local names that annotations given as text refer to: classes defined inside a function, most often."""
    annotations = getattr(fn, "__annotations__", None) or {}
    wanted = {word for text in annotations.values() if isinstance(text, str) for word in re.findall(r"[^\W\d]\w*", text)}
    wanted -= getattr(fn, "__globals__", {}).keys()
    found: dict[str, Any] = {}
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the caller's names without building a traceback
    while frame is not None and wanted:
        if frame.f_globals is getattr(fn, "__globals__", None) and frame.f_locals is not frame.f_globals:
            names = frame.f_locals  # from Python 3.13 on a view of the frame, and no dict
            found.update({name: names[name] for name in wanted if name in names})
            wanted -= found.keys()
        frame = frame.f_back
    return found


def _check_target(fn: Any) -> None:
    for kind in (classmethod, staticmethod, property):
        if isinstance(fn, kind):
            raise ConfigError(
                f"@guarded stands above @{kind.__name__}", hint=f"put @{kind.__name__} on top and @guarded right above the def"
            )
    if inspect.isclass(fn):
        raise ConfigError(f"{fn.__name__} is a class", hint="put @guarded on its predict method")
    if not callable(fn):
        raise ConfigError(
            f"@guarded was given a {type(fn).__name__}, which cannot be called", hint='write @guarded(budget="250ms"), by keyword'
        )


def wrap(guard: Guard) -> Any:
    """Return the real function that stands for a guard: of the same kind, with one closure cell, so that it can be pickled."""
    wrapper: Any
    if guard.kind == "sync":

        def plain(*args: Any, **kwargs: Any) -> Any:
            return sync.invoke(guard, args, kwargs)

        wrapper = plain

    elif guard.kind == "async":

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await asynchronous.invoke(guard, args, kwargs)

        wrapper = coroutine

    elif guard.kind == "stream":

        def stream(*args: Any, **kwargs: Any) -> Any:
            return (yield from streams.invoke(guard, args, kwargs))

        wrapper = stream

    else:

        async def astream(*args: Any, **kwargs: Any) -> Any:
            items = streams.ainvoke(guard, args, kwargs)
            try:
                item = await anext(items)
                while True:
                    try:
                        sent = yield item
                    except GeneratorExit:
                        await items.aclose()
                        raise
                    except BaseException as thrown:  # noqa: BLE001 - the consumer's athrow() belongs to the generator
                        item = await items.athrow(thrown)
                    else:
                        item = await items.asend(sent)
            except StopAsyncIteration:
                return

        wrapper = astream
    if guard.own is not None:
        wrapper = settling(guard, wrapper)
    fn = guard.fn
    if inspect.isroutine(fn):
        functools.update_wrapper(wrapper, fn)
    else:
        functools.update_wrapper(wrapper, fn, updated=())  # the attributes of a callable object stay its own
        like = getattr(fn, "func", type(fn))
        wrapper.__name__ = getattr(like, "__name__", type(fn).__name__)
        wrapper.__qualname__ = getattr(like, "__qualname__", wrapper.__name__)
        wrapper.__module__ = getattr(like, "__module__", None) or "builtins"
    setattr(wrapper, MARK, guard)
    stands_for(guard, wrapper)
    return wrapper
