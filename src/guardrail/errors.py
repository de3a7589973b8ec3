"""Every exception of the library, drawn as one tree; each says which guard and policy spoke and what to do about it.

    GuardrailError
    ├── ConfigError                       wrong use; raised at decoration, start or first call
    ├── Deferred                          a person decides; .ticket exists
    ├── PartialBatch                      some rows have no answer; .batch
    └── Refused                           a policy said no before or instead of an answer
        ├── InvalidInput (ValueError)     ├── InvalidOutput (ValueError)     ├── AssumptionBroken
        ├── AccessDenied (PermissionError)├── NotApproved (PermissionError)  ├── Stopped (kill switch)
        ├── BudgetExceeded (TimeoutError)
        ├── CircuitOpen (.retry_after)    ├── LimitExceeded (.retry_after)
        ├── ReviewUnavailable             the queue could not take the case
        └── AuditUnavailable              audit is required and cannot be written

The function's own exceptions are never wrapped in one of these. No error ever carries a rejected value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guardrail.batches.result import Batch
    from guardrail.review.ticket import Ticket

__all__ = [
    "AccessDenied",
    "AssumptionBroken",
    "AuditUnavailable",
    "BudgetExceeded",
    "CircuitOpen",
    "ConfigError",
    "Deferred",
    "GuardrailError",
    "InvalidInput",
    "InvalidOutput",
    "LimitExceeded",
    "NotApproved",
    "PartialBatch",
    "Refused",
    "ReviewUnavailable",
    "Stopped",
]


class GuardrailError(Exception):
    """The family of everything that this library raises of its own accord.

    Args:
        message: What is wrong and where, in plain words, without any rejected value.
        guard: Name of the guard that spoke.
        policy: Name of its policy, as in `policies()`.
        decision_id: Id of the decision, to be looked up with `guardrail show ID`.
        hint: What to write or do instead.
    """

    guard: str | None
    policy: str | None
    decision_id: str | None
    hint: str | None

    def __init__(
        self,
        message: str = "",
        *,
        guard: str | None = None,
        policy: str | None = None,
        decision_id: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.guard = guard
        self.policy = policy
        self.decision_id = decision_id
        self.hint = hint

    def __str__(self) -> str:
        """Return the message, and the hint after it when there is one."""
        message = str(self.args[0]) if self.args else ""
        return f"{message} ({self.hint})" if self.hint else message


class ConfigError(GuardrailError):
    """Wrong use: an option, a setting or a signature that cannot work. The text says what to write instead."""


class Deferred(GuardrailError):
    """No answer yet: a person decides, and `.ticket` durably exists."""

    ticket: Ticket

    def __init__(self, message: str = "", *, ticket: Ticket | None = None, **where: str | None) -> None:
        super().__init__(message, **where)
        self.ticket = ticket  # type: ignore[assignment]  # None only while being unpickled


class PartialBatch(GuardrailError):
    """A table of rows was judged, and some rows have no answer; `.batch` says what happened to each."""

    batch: Batch[Any]

    def __init__(self, message: str = "", *, batch: Batch[Any] | None = None, **where: str | None) -> None:
        super().__init__(message, **where)
        self.batch = batch  # type: ignore[assignment]  # None only while being unpickled


class Refused(GuardrailError):
    """A policy said no, before or instead of an answer."""


class InvalidInput(Refused, ValueError):
    """An argument does not fit its annotation. Names the argument and the rule, never the value."""


class InvalidOutput(Refused, ValueError):
    """The function returned something that does not fit its return annotation."""


class AssumptionBroken(Refused):
    """A declared assumption about the world no longer holds."""


class AccessDenied(Refused, PermissionError):
    """The principal may not ask this question. Final: no fallback, no review."""


class NotApproved(Refused, PermissionError):
    """This version of the model is not approved for use. Final."""


class Stopped(Refused):
    """The kill switch of this guard is on; the function was not run."""


class BudgetExceeded(Refused, TimeoutError):
    """The deadline of the call passed before there was an answer."""


class _Busy(Refused):
    """A refusal that passes by itself after a while."""

    retry_after: float | None

    def __init__(self, message: str = "", *, retry_after: float | None = None, **where: str | None) -> None:
        super().__init__(message, **where)
        self.retry_after = retry_after


class CircuitOpen(_Busy):
    """The breaker of a dependency is open; `.retry_after` is the time in seconds until it tries again."""


class LimitExceeded(_Busy):
    """The concurrency or rate limit is reached; `.retry_after` is in seconds, None where it cannot be known."""


class ReviewUnavailable(Refused):
    """Neither the review queue nor its local spool could take the case (fail closed)."""


class AuditUnavailable(Refused):
    """Audit is required and the record cannot be made durable, so there is no answer."""
