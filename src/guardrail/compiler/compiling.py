"""One compilation: the mode in force, the facts that every record names, and the policies put in order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, get_origin

import orjson

from guardrail import control, registry, settings
from guardrail.compiler.annotations import returns_of
from guardrail.compiler.assembly import Assembly
from guardrail.compiler.mode import mode_of
from guardrail.compiler.words import words
from guardrail.decision import Prediction
from guardrail.guard_upkeep import spec_of
from guardrail.plan import Facts, Plan
from guardrail.policies.annotations import ANY
from guardrail.spec import get

if TYPE_CHECKING:
    from guardrail.guard import Guard
    from guardrail.policies.confidence import Confidence


def compile_plan(guard: Guard) -> Plan:
    """Return the plan for a guard as options, settings and switches stand now.

    Raises:
        ConfigError: An annotation or an option turns out to be unusable.
    """
    control.subscribe(registry.replan)
    settings.on_change(registry.reconfigure)
    mode, reason = mode_of(guard)
    facts = _facts(guard, mode)
    if mode == "off":
        return Plan(guard.instead or guard.fn, facts, bypass=True)
    assembly = Assembly
    if get(spec_of(guard), "batch"):
        from guardrail.compiler.tables import TableAssembly  # noqa: PLC0415 - only functions over tables load their policies

        assembly = TableAssembly
    plan = assembly(guard, facts, reason).plan()
    # What the policies would import in the middle of a call, they import now: start-up never counts against a budget.
    for policy in plan.policies:
        if hasattr(policy, "warm"):
            policy.warm()
    return plan


def _facts(guard: Guard, mode: str) -> Facts:
    spec = spec_of(guard)
    described = {name: words(given.value) for name, given in sorted(spec.items())}
    described.update(name=guard.name, version=guard.version, mode=mode, function=guard.kind)
    budget = get(spec, "budget")
    confidence: Confidence | None = get(spec, "confidence")
    returns = returns_of(guard)
    return Facts(
        name=guard.name,
        version=guard.version,
        mode=mode,
        kind=get(spec, "kind"),
        audit=get(spec, "audit"),
        digest=hashlib.blake2b(orjson.dumps(described, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest(),
        described=described,
        budget_ms=None if budget is None else budget.total * 1000,
        threshold=None if confidence is None else confidence.at_least,
        schema=_schema(guard),
        tags=get(spec, "tags"),
        returns_prediction=(get_origin(returns) or returns) is Prediction,
    )


def _schema(guard: Guard) -> str | None:
    if guard.shape is None:
        return None
    names = []
    for name, parameter in guard.shape.parameters.items():
        annotation = parameter.annotation
        shown = getattr(annotation, "__name__", None) or str(annotation)
        names.append(name if annotation is ANY else f"{name}: {shown}")
    return ", ".join(names)
