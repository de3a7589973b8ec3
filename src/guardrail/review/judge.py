"""Which answers a case allows, and what kind of verdict an answer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from guardrail.call import MISSING
from guardrail.errors import ConfigError, InvalidInput
from guardrail.review.case import Verdict, to_text
from guardrail.review.compared import largest
from guardrail.review.dossier import Details

_TOLD: Final = ("type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "format")  # fmt: skip
_JSON_PLEASE: Final = 'write JSON, such as 0.25, true or {"grade": 2}'


def judged(case: Details, value: Any, verdict: Verdict | None) -> tuple[Verdict, str | None]:
    """Return the verdict, and the value as JSON text (None where no answer is given), of an answer that the case allows.

    Args:
        case: The ticket with its case.
        value: The answer, or MISSING.
        verdict: As given to `queue.decide`.

    Raises:
        InvalidInput: The value is none of the choices, or does not go with the verdict. It is not named.
    """
    own = None if case.ticket.provisional is None else to_text(case.ticket.provisional)
    if verdict not in (None, "accept", "change", "reject", "unsure"):
        raise ConfigError("there is no such verdict", hint='write "accept", "change", "reject" or "unsure"')
    if verdict in ("reject", "unsure"):
        if value is not MISSING:
            what = "a rejection" if verdict == "reject" else "who is unsure"
            raise _invalid(case, f"{what} gives no answer", 'leave the value out, or write verdict="change"')
        return verdict, None
    if value is MISSING:
        if verdict != "accept":
            raise _invalid(case, "a decision needs an answer", _allowed(case))
        if own is None:
            raise _invalid(case, "there is no answer of the model that could be accepted", _allowed(case))
        return "accept", own
    text = to_text(value)
    if case.choices is not None and text not in [to_text(choice) for choice in case.choices]:
        raise _invalid(case, "value is none of the choices", _allowed(case))
    # Who gives the model's answer without how sure it was agrees with it.
    same = own is not None and text in (own, to_text(said_by(case.ticket.provisional, case.choices)))
    if verdict == "accept" and not same:
        raise _invalid(case, "value is not the model's answer", 'leave the value out, or write verdict="change"')
    if same:
        return "accept", text
    if case.answers is not None:
        _fits(case, case.answers, orjson.loads(text))
    return "change", text


def said_by(own: Any, choices: Sequence[Any] | None = None) -> Any:
    """Return what a model's own answer says without how sure it is: the value of a `Prediction`, else the answer itself.

    Args:
        own: The answer, as JSON knows it.
        choices: The only answers allowed. With them a pair of an answer and how sure it is says the answer, and a vector of
            probabilities, one for each choice, the choice whose probability is the largest (of equal ones the first).
    """
    if isinstance(own, Mapping) and set(own) == {"value", "confidence", "reasons"}:
        own = own["value"]
    if choices is None or own in choices:
        return own
    pair = isinstance(own, list) and len(own) == 2 and isinstance(own[1], float)  # noqa: PLR2004
    if pair and (not isinstance(own[0], float) or any(isinstance(each, float) and each == own[0] for each in choices)):
        return own[0]
    place = largest(own)
    return own if place is None or _entries(own) != len(choices) else choices[place]


def _entries(vector: Any) -> int:
    rows = vector["$ndarray"] if isinstance(vector, Mapping) else vector
    return len(rows[0] if isinstance(rows[0], list) else rows)


def _fits(case: Details, schema: Mapping[str, Any], value: Any) -> None:
    """See that an answer is of the type that the function returns, by its JSON schema (draft 2020-12, as pydantic writes it).

    Raises:
        InvalidInput: It is not. Field and rule are named, never the value.
    """
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - 40 ms that only who decides pays

    found = min(
        Draft202012Validator(dict(schema)).iter_errors(value), key=lambda each: (len(each.path), each.json_path), default=None
    )
    if found is None:
        return
    place = "value" + found.json_path[1:]
    if found.validator == "required":
        lacking = [name for name in found.validator_value if name not in found.instance]
        raise _invalid(case, f"{place} lacks {', '.join(lacking)}", "write all fields that the function returns")
    wanted = found.validator_value if found.validator in _TOLD else None
    rule = f"{found.validator} {to_text(wanted)}" if wanted is not None else f"the rule {found.validator}"
    raise _invalid(case, f"{place} does not fit what the function returns: {rule}", "write an answer of that type")


def from_words(case: Details, words: str, *, as_json: bool) -> Any:
    """Return the answer that a person typed.

    With choices it is the choice that is spelled so (text without quotes). Without, it is text where the model's own
    answer is text or missing, else JSON.

    Args:
        case: The ticket with its case.
        words: What was typed.
        as_json: Whether the person said that it is JSON.

    Raises:
        InvalidInput: It is none of the choices, or not JSON where it must be.
    """
    if case.choices is not None and not as_json:
        for choice in case.choices:
            if words == spelled(choice):
                return choice
        raise _invalid(case, "value is none of the choices", _allowed(case))
    if not as_json and (case.ticket.provisional is None or isinstance(case.ticket.provisional, str)):
        return words
    try:
        return orjson.loads(words)
    except orjson.JSONDecodeError:
        raise _invalid(case, "value is not JSON, as the model's own answer is", _JSON_PLEASE) from None


def spelled(choice: Any) -> str:
    """Return a choice as a person types it: text as it is, anything else as JSON."""
    return choice if isinstance(choice, str) else to_text(choice)


def _allowed(case: Details) -> str:
    if case.choices is None:
        return "any answer is allowed"
    return "write one of: " + ", ".join(choice if isinstance(choice, str) else to_text(choice) for choice in case.choices)


def _invalid(case: Details, text: str, hint: str) -> InvalidInput:
    ticket = case.ticket
    return InvalidInput(text, guard=ticket.guard, policy="review", decision_id=ticket.decision_id, hint=hint)
