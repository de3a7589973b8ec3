"""The policies of one guard in their fixed order, compiled to flat rows of hooks. Frozen; a change of mode swaps the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from guardrail.errors import AccessDenied, NotApproved, Stopped

if TYPE_CHECKING:
    from guardrail.call import Call
    from guardrail.policies.audit import Audit
    from guardrail.policies.bar import Bar
    from guardrail.policies.budget import Budget

_FORCED = (AccessDenied, NotApproved, Stopped)  # a refusal that must be on disk before it is known


# "stale" is no miss: an old answer was served. A call that was refused before the cache was asked has no word.
CACHE_WORDS: Mapping[str, str] = {
    "answered": "miss", "cached": "hit", "deferred": "miss", "failed": "miss", "fallback": "miss", "late": "miss", "stale": "stale",
}  # fmt: skip


class Facts(NamedTuple):
    """What is the same for every call of a guard, for its records, spans and metrics.

    Attributes:
        name: The guard's name.
        version: The model's version.
        mode: The mode in force.
        kind: "model", "llm" or "dependency".
        audit: How the record is kept.
        digest: Names the plan in each record; `described` is what it stands for.
        described: The options in force, in words.
        budget_ms: The budget in milliseconds, if any.
        threshold: The confidence asked for, if any.
        schema: The parameters and their types, in words.
        tags: The user's own labels.
        returns_prediction: Whether the function is annotated to return a `Prediction`.
        recovers: Whether anything follows a failure (fallback, review).
    """

    name: str
    version: str
    mode: str
    kind: str
    audit: Audit
    digest: str
    described: Mapping[str, Any]
    budget_ms: float | None
    threshold: float | None
    schema: str | None
    tags: Mapping[str, str]
    returns_prediction: bool


class Plan:
    """The compiled guard.

    Args:
        fn: The user's function.
        facts: What is the same for every call.
        policies: Outermost first; each has `enter`, `leave` or both.
        bypass: Whether the function runs bare.
        perform: How an attempt is run, None for in place.
        aside: How a fallback is run, None for in place.
        keepers: Called with each call that was answered freshly.
        snapshot: What makes keys and shows arguments.
        summarise: Makes of an answer what the record may keep.
        caches: Whether the guard has a cache.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        facts: Facts,
        policies: Sequence[Any] = (),
        *,
        bypass: bool = False,
        perform: Callable[..., Any] | None = None,
        aside: Callable[..., Any] | None = None,
        keepers: Sequence[Callable[[Call], None]] = (),
        snapshot: Any = None,
        summarise: Callable[[Any], Any] = lambda _answer: None,
        caches: bool = False,
    ) -> None:
        self.fn = fn
        self.facts = facts
        self.name = facts.name
        self.version = facts.version
        self.mode = facts.mode
        self.kind = facts.kind
        self.audit = facts.audit
        self.digest = facts.digest
        self.budget_ms = facts.budget_ms
        self.threshold = facts.threshold
        self.schema = facts.schema
        self.tags = facts.tags
        self.returns_prediction = facts.returns_prediction
        self.otel = _otel()
        self.bypass = bypass
        self.perform = perform
        self.aside = aside
        self.keepers = tuple(keepers)
        self.snapshot = snapshot
        self.summarise = summarise
        self.durable = facts.audit.durability == "sync" or facts.audit.required
        self.budget: Budget | None = None
        self.bar: Bar | None = None
        self.cache_words = CACHE_WORDS if caches else {}  # by outcome: what the cache did
        self.policies = tuple(policies)
        self.depth = len(self.policies)
        enters = [(at, policy.enter) for at, policy in enumerate(self.policies) if hasattr(policy, "enter")]
        leaves = [(at, policy.leave) for at, policy in enumerate(self.policies) if hasattr(policy, "leave")][::-1]
        # ins[i]: the way in from policy i on; outs[d]: the way out for a call that came as deep as policy d.
        self.ins = tuple(tuple(hook for hook in enters if hook[0] >= start) for start in range(self.depth + 1))
        self.outs = tuple(tuple(hook for hook in leaves if hook[0] < depth) for depth in range(self.depth + 1))
        on_error = {at for at, policy in enumerate(self.policies) if getattr(policy, "leave_on_error_only", False)}
        self.good = tuple(hook for hook in leaves if hook[0] not in on_error)
        self.first = self.ins[0]

    def describe(self) -> Mapping[str, Any]:
        """Return the options in force, in words that stand in the ledger."""
        return self.facts.described

    def key_of(self, call: Call) -> Any:
        """Return the exact key of a call's question, or None where it cannot be keyed."""
        return self.snapshot.key_of(call)

    def arguments(self, call: Call) -> dict[str, Any]:
        """Return a call's arguments by name, able to be JSON, without secrets."""
        return self.snapshot.arguments(call)  # type: ignore[no-any-return]

    def forces(self, error: BaseException | None) -> bool:
        """Return whether an ending must be durable before it is known, whatever `audit` says."""
        return isinstance(error, _FORCED)

    def recoverable(self, error: BaseException) -> bool:
        """Return whether something else may answer in place of this error."""
        from guardrail.policies.gate import trigger_of  # noqa: PLC0415 - only a failed call asks

        return trigger_of(error) not in (None, "invalid")


def _otel() -> Any:
    """Return the module in which the application's tracer provider stands, so that a call looks at one attribute."""
    from opentelemetry import trace  # noqa: PLC0415 - 33 ms, paid by the first compilation

    return trace if hasattr(trace, "_TRACER_PROVIDER") else _Unknown


class _Unknown:
    """Where OpenTelemetry keeps its provider elsewhere: every call then asks properly."""

    _TRACER_PROVIDER = True
