"""guardrail: one decorator that lets a predict function survive production. The names people import, each loaded at first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guardrail.afterwards import appeal, feedback, override
    from guardrail.batches.batch import batch
    from guardrail.batches.result import Batch
    from guardrail.clock import Duration
    from guardrail.decision import Decision, Outcome, Prediction
    from guardrail.decorator import (
        Decorator,
        audited,
        budgeted,
        cached,
        circuit_broken,
        confident,
        guarded,
        limited,
        retried,
        validated,
    )
    from guardrail.errors import (
        AccessDenied,
        AssumptionBroken,
        AuditUnavailable,
        BudgetExceeded,
        CircuitOpen,
        ConfigError,
        Deferred,
        GuardrailError,
        InvalidInput,
        InvalidOutput,
        LimitExceeded,
        NotApproved,
        PartialBatch,
        Refused,
        ReviewUnavailable,
        Stopped,
    )
    from guardrail.guard import Guard
    from guardrail.markers import PII, AllowNaN, BusinessId, Rows, Secret, Subject
    from guardrail.policies.audit import Audit, Owner
    from guardrail.policies.breaker import Breaker
    from guardrail.policies.budget import Budget
    from guardrail.policies.cache import Cache
    from guardrail.policies.confidence import Confidence
    from guardrail.policies.fallback import Fallback, last_good
    from guardrail.policies.limit import Limit
    from guardrail.policies.retry import Retry
    from guardrail.policies.review import Level, Review, Trigger
    from guardrail.principal import Principal, acting_as
    from guardrail.process import configure, flush, shutdown
    from guardrail.review.calibrate import calibrate
    from guardrail.review.ticket import Ticket
    from guardrail.spec import UNSET, ModeName, Options
    from guardrail.stages import Stage, check_deadline, remaining, stage
    from guardrail.thresholds.threshold import NoThreshold, Threshold
    from guardrail.using import decide, guard_of, last_decision, warm, with_options

_HOMES = {
    "batches.batch": ("batch",),
    "batches.result": ("Batch",),
    "principal": ("Principal", "acting_as"),
    "stages": ("Stage", "check_deadline", "remaining", "stage"),
    "clock": ("Duration",),
    "decision": ("Decision", "Outcome", "Prediction"),
    "errors": (
        "AccessDenied", "AssumptionBroken", "AuditUnavailable", "BudgetExceeded", "CircuitOpen", "ConfigError", "Deferred",
        "GuardrailError", "InvalidInput", "InvalidOutput", "LimitExceeded", "NotApproved", "PartialBatch", "Refused",
        "ReviewUnavailable", "Stopped",
    ),
    "guard": ("Guard",),
    "decorator": (
        "Decorator", "audited", "budgeted", "cached", "circuit_broken", "confident", "guarded", "limited", "retried",
        "validated",
    ),
    "markers": ("AllowNaN", "BusinessId", "PII", "Rows", "Secret", "Subject"),
    "policies.audit": ("Audit", "Owner"),
    "policies.breaker": ("Breaker",),
    "policies.budget": ("Budget",),
    "policies.cache": ("Cache",),
    "policies.confidence": ("Confidence",),
    "policies.fallback": ("Fallback", "last_good"),
    "policies.limit": ("Limit",),
    "policies.retry": ("Retry",),
    "policies.review": ("Level", "Review", "Trigger"),
    "thresholds.threshold": ("NoThreshold", "Threshold"),
    "review.calibrate": ("calibrate",),
    "review.ticket": ("Ticket",),
    "spec": ("UNSET", "ModeName", "Options"),
    "afterwards": ("appeal", "feedback", "override"),
    "process": ("configure", "flush", "shutdown"),
    "using": ("decide", "guard_of", "last_decision", "warm", "with_options"),
}  # fmt: skip
_ROOMS = ("errors", "ledger", "review", "testing")  # with names of their own: `guardrail.review.queue("loans")`
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "PII", "UNSET", "AccessDenied", "AllowNaN", "AssumptionBroken", "Audit", "AuditUnavailable", "Batch", "Breaker",
    "Budget", "BudgetExceeded", "BusinessId", "Cache", "CircuitOpen", "Confidence", "ConfigError", "Decision",
    "Decorator", "Deferred", "Duration", "Fallback", "Guard", "GuardrailError", "InvalidInput", "InvalidOutput",
    "Level", "Limit", "LimitExceeded", "ModeName", "NoThreshold", "NotApproved", "Options", "Outcome", "Owner", "PartialBatch", "Prediction",
    "Principal", "Refused", "Retry", "Review", "ReviewUnavailable", "Rows", "Secret", "Stage", "Stopped", "Subject",
    "Threshold", "Ticket", "Trigger", "acting_as", "appeal", "audited", "batch", "budgeted", "cached", "calibrate", "check_deadline", "circuit_broken",
    "confident", "configure", "decide", "feedback", "flush", "guard_of", "guarded", "last_decision", "last_good",
    "limited", "override", "remaining", "retried", "shutdown", "stage", "validated", "warm", "with_options",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is not None:
        value = getattr(importlib.import_module(f"guardrail.{module}"), name)
    elif name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - 38 ms that only who asks should pay

        value = version("guardrail-sdk")
    elif name in _ROOMS:
        value = importlib.import_module(f"guardrail.{name}")
    else:
        raise AttributeError(f"module 'guardrail' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
