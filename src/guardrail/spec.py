"""The options of a guard: their names and types, checked when given, merged from the decorator, short forms and settings."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypedDict

from guardrail.clock import Duration
from guardrail.errors import ConfigError
from guardrail.policies.audit import Audit, Owner, audit_of, owner_of
from guardrail.policies.breaker import Breaker, breaker_of
from guardrail.policies.budget import Budget, budget_of
from guardrail.policies.cache import Cache, cache_of
from guardrail.policies.confidence import Confidence, check_version, confidence_of, judges
from guardrail.policies.fallback import Fallback, last_good
from guardrail.policies.limit import Limit, limit_of
from guardrail.policies.retry import Retry, retry_of
from guardrail.policies.review import Review, review_of
from guardrail.thresholds.threshold import NoThreshold, Threshold

ModeName = str
MODES: Final = ("enforce", "observe", "off", "killed")
LATER: Final = ("access", "sources", "assume", "watch", "card", "slo", "incumbent")
STREAMS_LACK: Final = ("cache", "confidence", "review", "batch")


class Unset:
    """The type of UNSET."""

    def __repr__(self) -> str:
        return "UNSET"

    def __reduce__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()  # "not given", where None is a value


class Options(TypedDict, total=False):
    """The options of `guarded`; each takes a short form or its object."""

    name: str
    version: str | None
    tags: Mapping[str, str]
    kind: Literal["model", "llm", "dependency"]
    validate: bool
    budget: Duration | Budget | None
    cache: Duration | Cache | None
    retry: int | Retry | Any | None
    breaker: bool | Breaker | None
    limit: int | Limit | None
    confidence: float | Confidence | Threshold | NoThreshold | None
    review: str | Review | None
    fallback: Any
    mode: ModeName
    audit: Literal["buffered", "sync", "off"] | Audit
    batch: bool
    explain: Callable[..., Any] | None
    owner: str | Owner | None
    runbook: str | None


def _text(name: str, *, none: bool = False) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if (none and value is None) or (isinstance(value, str) and value):
            return value
        raise ConfigError(f"{name} must be a non-empty text, not {type(value).__name__}", hint=f'write {name}="..."')

    return check


def _flag(name: str) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        raise ConfigError(f"{name} must be True or False, not {type(value).__name__}", hint=f"write {name}=True")

    return check


def mode_name(value: Any) -> str:
    """Return a mode's name.

    Raises:
        ConfigError: It is unknown, or belongs to a later release.
    """
    if value in MODES:
        return value  # type: ignore[no-any-return]
    if isinstance(value, str) and value.partition(":")[0] in ("shadow", "advise", "canary"):
        raise ConfigError("modes shadow, advise and canary are not in this release", hint='write mode="observe"')
    raise ConfigError("mode is unknown", hint=f"choose from {', '.join(map(repr, MODES))}")


def _kind(value: Any) -> str:
    if value in ("model", "llm", "dependency"):
        return value  # type: ignore[no-any-return]
    raise ConfigError("kind is unknown", hint='write "model", "llm" or "dependency"')


def _tags(value: Any) -> Mapping[str, str]:
    if isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
        return MappingProxyType(dict(value))
    raise ConfigError("tags must map texts to texts", hint='write tags={"team": "credit"}')


def _explain(value: Any) -> Any:
    if value is None or (callable(value) and not inspect.iscoroutinefunction(value)):
        return value
    raise ConfigError("explain must be a plain function", hint="write explain=lambda answer, *args: ['...']")


def _fallback(value: Any) -> Fallback | None:
    return None if value is UNSET else value if isinstance(value, Fallback) else Fallback(value)


CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "name": _text("name"),
    "version": _text("version", none=True),
    "tags": _tags,
    "kind": _kind,
    "validate": _flag("validate"),
    "budget": budget_of,
    "cache": cache_of,
    "retry": retry_of,
    "breaker": breaker_of,
    "limit": limit_of,
    "confidence": confidence_of,
    "review": review_of,
    "fallback": _fallback,
    "mode": mode_name,
    "audit": audit_of,
    "batch": _flag("batch"),
    "explain": _explain,
    "owner": owner_of,
    "runbook": _text("runbook", none=True),
}
DEFAULTS: Final[Mapping[str, Any]] = {
    "validate": True, "mode": "enforce", "audit": Audit(), "batch": False, "kind": "model", "tags": MappingProxyType({}),
}  # fmt: skip


class Given(NamedTuple):
    """One option as it is in force: its value and where it came from."""

    value: Any
    origin: str


def check(options: Mapping[str, Any], origin: str) -> dict[str, Given]:
    """Check options one by one.

    Args:
        options: As the user wrote them.
        origin: Where they were written: "decorator", "with_options", "environment", ...

    Raises:
        ConfigError: A name or a value is wrong; says what to write.
    """
    checked = {}
    for name, value in options.items():
        if name in LATER:
            raise ConfigError(f"the option {name} is reserved for a later release", hint=f"leave {name} out")
        if name not in CHECKS:
            near = difflib.get_close_matches(name, CHECKS, 1)
            raise ConfigError(
                f"there is no option {name!r}", hint=f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(CHECKS)}"
            )
        checked[name] = Given(CHECKS[name](value), origin)
    return checked


def get(spec: Mapping[str, Given], name: str) -> Any:
    """Return the value of an option, or its default."""
    given = spec.get(name)
    return DEFAULTS.get(name) if given is None else given.value


def check_together(spec: Mapping[str, Given], kind: str, guard: str) -> None:
    """Check what no option can know alone.

    Args:
        spec: All options in force.
        kind: "sync", "async", "stream" or "astream".
        guard: The guard's name, for the error.

    Raises:
        ConfigError: Two options, or an option and the kind of function, exclude each other.
    """

    def refuse(text: str, hint: str) -> None:
        raise ConfigError(text, guard=guard, hint=hint)

    stream = kind in ("stream", "astream")
    budget: Budget | None = get(spec, "budget")
    review: Review | None = get(spec, "review")
    fallback: Fallback | None = get(spec, "fallback")
    confidence: Confidence | None = get(spec, "confidence")
    if confidence is not None:
        check_version(confidence, get(spec, "version"), guard)
    if stream:
        for name in STREAMS_LACK:
            if get(spec, name):
                refuse(f"{name} on a generator: its items are with the consumer before there is an answer", f"leave {name} out")
    if budget is not None and budget.enforce == "process" and (kind != "sync" or get(spec, "batch")):
        refuse("a process can only run a plain function", "leave enforce out: async functions are stopped by cancellation")
    if get(spec, "batch") and get(spec, "cache") is not None and get(spec, "cache").stale_for:
        refuse("stale_for does not go with batch=True", "leave stale_for out")
    for rung in fallback.rungs if fallback is not None else ():
        if kind in ("sync", "stream") and (inspect.iscoroutinefunction(rung) or inspect.isasyncgenfunction(rung)):
            refuse(
                "the fallback is a coroutine function and the guarded function is not", "write a plain function as the fallback"
            )
        if rung is last_good and stream:
            refuse("last_good on a generator: its items are not kept", "write another fallback")
    if confidence is not None and judges(confidence) and review is not None and fallback is None and "low" not in review.on:
        refuse("unsure answers would have nowhere to go", 'add "low" to Review(on=...), or a fallback')
    if review is not None and review.on_expiry == "fallback" and fallback is None:
        refuse('Review(on_expiry="fallback") without a fallback', 'add fallback=..., or write Review(on_expiry="reject")')
    if get(spec, "retry") is not None and budget is not None and budget.attempt is not None and budget.attempt >= budget.total:
        refuse("the time of one attempt is not smaller than the whole budget", "write a smaller attempt")
