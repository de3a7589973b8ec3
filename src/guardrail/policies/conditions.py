"""What a guard's conditions ask of it, found out when it is made rather than at its first case."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from guardrail.errors import ConfigError
from guardrail.policies.confidence import Confidence
from guardrail.review.triggers import ANSWER, CONFIDENCE, Simple

if TYPE_CHECKING:
    from guardrail.policies.review import Review

_READ: Final = Confidence()


def reading_for(
    review: Review | None, confidence: Confidence | None, parameters: Collection[str], guard: str, *, table: bool = False
) -> Confidence | None:
    """Return how the confidence of answers is read: by the option, or because a condition asks for it; None where nobody does.

    Args:
        review: The guard's option, with the conditions.
        confidence: The guard's option.
        parameters: Names of the function's parameters.
        guard: Its name, for the error.
        table: Whether it takes a table: then a condition may name a column.

    Raises:
        ConfigError: A condition cannot be asked here.
    """

    def refuse(text: str, hint: str) -> None:
        raise ConfigError(text, guard=guard, policy="review", hint=hint)

    group = None if confidence is None else confidence.group
    if isinstance(group, str) and not table and group.split(".")[0] not in parameters:
        raise ConfigError(
            "Confidence(group=...) names no argument of the function", guard=guard, policy="confidence",
            hint=f"its arguments are {', '.join(parameters) or 'unknown'}",
        )  # fmt: skip
    reads = False
    for part in (part for trigger in (() if review is None else review.triggers) for part in trigger.parts()):
        if not isinstance(part, Simple):
            continue
        if part.argument is not None and not table and part.argument.split(".")[0] not in parameters:
            refuse(f"{part.name} names no argument of the function", f"its arguments are {', '.join(parameters) or 'unknown'}")
        if part.reads == ANSWER and ANSWER in parameters:
            refuse(
                f"{part.name} gets the answer as answer, and an argument of the function has that name too",
                "rename the function's parameter, or leave answer out of the condition",
            )
        if part.reads == CONFIDENCE:
            reads = True
            if confidence is not None and confidence.max_width is not None:
                refuse(f"{part.name} asks how sure an answer is, and max_width reads how wide it is", "write rule(...) instead")
    return confidence or (_READ if reads else None)
