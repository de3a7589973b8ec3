"""What a person may answer: the JSON schema of what the function returns, so that an answer of another type is refused at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, get_args, get_origin

from guardrail.decision import Prediction
from guardrail.policies.review import Review

_PAIR = 2


def schema_of(review: Review, returns: Any) -> Mapping[str, Any] | None:
    """Return the JSON schema for answers to a case, None where any answer is allowed.

    With `choices` these are the rule, and with `answer=` a choice need not be of the function's type.

    Args:
        review: The guard's option.
        returns: The function's return annotation, None where it has none.
    """
    if review.answer is not None or review.choices is not None or returns is None:
        return None
    try:
        return _schema(returns)
    except TypeError:  # an annotation that cannot be hashed
        return None


@lru_cache(maxsize=256)
def _schema(returns: Any) -> Mapping[str, Any] | None:
    from pydantic import PydanticUserError, TypeAdapter  # noqa: PLC0415 - loaded by whoever validates
    from pydantic.errors import PydanticSchemaGenerationError  # noqa: PLC0415 - as above

    origin, of = get_origin(returns), get_args(returns)
    if origin is Prediction or (origin is tuple and len(of) == _PAIR and of[1] is float):  # a person gives the value alone
        returns = of[0]
    elif returns is Prediction:
        return None
    try:
        return TypeAdapter(returns).json_schema()
    except (PydanticUserError, PydanticSchemaGenerationError, NameError, ValueError):
        return None  # what pydantic does not know, as an array, has no schema
