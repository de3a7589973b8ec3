"""What a person's answer becomes: something that the function could have returned, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guardrail.call import MISSING
from guardrail.decision import Prediction
from guardrail.errors import InvalidOutput
from guardrail.policies.annotations import explain
from guardrail.policies.review import accepted, as_answer, is_choice

if TYPE_CHECKING:
    from guardrail.policies.annotations import Check
    from guardrail.policies.review import Review
    from guardrail.review.case import Answer


def given_by(answer: Answer, review: Review, mine: Any, *, predicts: bool, check: Check | None) -> Any:
    """Return what the function would have returned, had it known a person's answer.

    Args:
        answer: The person's.
        review: The guard's option.
        mine: The function's own answer to the present call, None where it has none.
        predicts: Whether it returns a `Prediction`.
        check: What it may return, or what may stand in its predictions; None for anything.

    Raises:
        InvalidOutput: The answer fits neither as it is nor converted as an argument would be.
    """
    chosen = _without_confidence(answer.value, mine, predicts=predicts) or is_choice(review, answer.value, mine)
    if answer.verdict != "accept" or chosen:
        value = as_answer(review, answer.value, mine)
    elif mine is not None and _as_json(mine) == answer.value:
        return mine
    else:  # what was accepted is the model's answer to the ticket's own call, an earlier one
        value = accepted(answer.value, Prediction(None, 0.0) if predicts else mine)
    if not predicts:
        return _fitting(value, check, answer)
    if not isinstance(value, Prediction):
        return Prediction(_fitting(value, check, answer), 1.0, ("a person decided",))
    return Prediction(_fitting(value.value, check, answer), value.confidence, value.reasons)


def _without_confidence(value: Any, mine: Any, *, predicts: bool) -> bool:
    """Return whether a person gave the model's answer without how sure it was, as a choice is."""
    if predicts:
        return not isinstance(value, Mapping) or not {"value", "confidence"} <= set(value)
    return isinstance(mine, tuple) and not isinstance(value, list)


def _fitting(value: Any, check: Check | None, answer: Answer) -> Any:
    """Return a value as the function's type has it: JSON knows no dates and no models."""
    if check is None or (value.__class__ is check.exact and (check.exact is not float or value - value == 0.0)):
        return value
    try:
        check.fits(value)
    except ValueError:
        try:
            return check.validate(value)
        except ValueError as problem:
            raise InvalidOutput(
                f"what a person answered does not fit what the function returns: {_rule(problem, check)}",
                policy="review",
                hint=f"`guardrail review show {answer.ticket_id}` shows it; Review(answer=...) makes of a choice what the function returns",
            ) from None
    return value


def _rule(problem: ValueError, check: Check) -> str:
    from pydantic import ValidationError  # noqa: PLC0415 - imported long since, by whoever made the check

    return explain(problem, check, "the answer")[0] if isinstance(problem, ValidationError) else type(problem).__name__


def _as_json(value: Any) -> Any:
    from guardrail import content  # noqa: PLC0415 - loaded by the first case

    try:
        return content.jsonable(value)
    except content.Unencodable:
        return MISSING
