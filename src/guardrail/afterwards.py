"""What is said of a decision after it was made: what really happened, another answer, an objection."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from guardrail.decision import Decision
from guardrail.errors import ConfigError
from guardrail.spec import UNSET

if TYPE_CHECKING:
    from guardrail.review.ticket import Ticket


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
