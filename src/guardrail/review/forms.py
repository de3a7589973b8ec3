"""How a case is answered in another tool: which labels there are to choose from, and what is meant by what comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import orjson

from guardrail.call import MISSING
from guardrail.content.personal import SEALED
from guardrail.errors import InvalidInput
from guardrail.review.case import Row, Verdict, from_text, moment, plain
from guardrail.review.judge import said_by, spelled
from guardrail.review.training import without_sealed

Kind = Literal["choice", "number", "text", "json"]
AS_WRITTEN: Final = "(as written)"
VERDICTS: Final[Mapping[str, Verdict]] = {"(accept)": "accept", "(reject)": "reject", "(unsure)": "unsure"}
ANSWER: Final = "answer"  # what the questions of a form are called; all but the first may be left open
VERDICT: Final = "verdict"
REASON: Final = "reason"
NOTE: Final = "note"
_LONGEST: Final = 120  # characters of a label: tools have limits of their own, the lowest known is 200
_TAKEN: Final = '"$({[<'  # what a label does not begin with: tools read some of it as a variable, and the others are ours
_BLANK: Final[tuple[Any, ...]] = ("", None, [])


class Form(NamedTuple):
    """What is asked of whoever answers a case.

    Attributes:
        kind: What the answer is: one of the labels, a number, text, or JSON.
        labels: For "choice", what to choose from, without the verdicts.
        reviewers: How many people must answer.
    """

    kind: Kind
    labels: tuple[str, ...]
    reviewers: int

    def options(self, *, blind: bool) -> tuple[str, ...]:
        """Return the labels that decide a case: the choices or that the text counts, and the verdicts.

        Args:
            blind: Whether the model's answer is hidden, so that nobody can accept it.
        """
        if self.kind == "choice":
            return (*self.labels, "(reject)", "(unsure)")
        return (AS_WRITTEN, *(word for word, verdict in VERDICTS.items() if not (blind and verdict == "accept")))


class Written(NamedTuple):
    """What a person wrote into a form.

    Attributes:
        answer: A label, a number or a text; None where it was left open.
        verdict: A label of the question next to it, likewise.
        reason: A code, likewise.
        note: A text, likewise.
    """

    answer: Any = None
    verdict: str | None = None
    reason: str | None = None
    note: str | None = None


class Task(NamedTuple):
    """What the person who answers is shown of a case; what is sealed stays so.

    Attributes:
        ticket: The ticket's id.
        case: What there is to judge: names and texts.
        about: What else is known of it.
        facts: Of the ticket, for those who sort tasks: queue, guard, version, business_id, model_answer ("shown" or "hidden").
        suggestion: The model's own answer as a label, number or text; None where it is hidden or there is none.
        sure: What the model was sure of, likewise.
    """

    ticket: str
    case: Mapping[str, str]
    about: Mapping[str, str]
    facts: Mapping[str, str]
    suggestion: Any
    sure: float | None


def form_of(row: Row) -> Form:
    """Return the form for a ticket's row."""
    choices = _choices(row)
    if choices is not None:
        return Form("choice", tuple(labelled(choices)), row["reviewers"])
    kind = (from_text(row["answers"]) or {}).get("type")
    own = without_sealed(from_text(row["provisional"]))
    if kind in ("number", "integer") or (kind is None and isinstance(own, int | float)):
        return Form("number", (), row["reviewers"])
    text = kind == "string" or (kind is None and row["answers"] is None and (own is None or isinstance(own, str)))
    return Form("text" if text else "json", (), row["reviewers"])


def labelled(choices: Sequence[Any]) -> dict[str, Any]:
    """Return choices by labels that every tool gives back as they are: one line of printable text, all of them different."""
    found: dict[str, Any] = {}
    for number, choice in enumerate(choices, 1):
        label = spelled(choice)
        if not label.isprintable() or " ".join(label.split()) != label or label[:1] in _TAKEN:
            label = json.dumps(choice)  # in ASCII, with what cannot be printed spelled out
        if len(label) > _LONGEST or label in found:
            label = f"{label[:_LONGEST]}… ({number})"
        while label in found:
            label += "…"
        found[label] = choice
    return found


def task_of(row: Row, *, blind: bool) -> Task:
    """Return what is shown of a ticket's row.

    Args:
        row: The ticket.
        blind: Whether the model's answer, and what tells of it, is hidden.
    """
    shown = without_sealed(from_text(row["arguments"] if row["shown"] is None else row["shown"]))
    about = {
        "business id": row["business_id"],
        "guard": f"{row['guard']} {row['version']}",
        "guide": row["guide"],
        "due": None if row["due"] is None else moment(row["due"]).strftime("%Y-%m-%d %H:%M UTC"),
        "why": row["reason"],
    }
    if not blind:
        about |= {
            "what else speaks against it": ", ".join(from_text(row["reasons"])),
            "confidence": None if row["confidence"] is None else f"{row['confidence']:.3g}",
            "the model's own answer": None
            if row["provisional"] is None
            else _words(without_sealed(from_text(row["provisional"]))),
        }
    facts = {"queue": row["queue"], "guard": row["guard"], "version": row["version"], "business_id": row["business_id"]}
    return Task(
        ticket=row["id"],
        case={plain(name): _words(each) for name, each in (shown if isinstance(shown, Mapping) else {"shown": shown}).items()},
        about={name: text for name, text in about.items() if text},
        facts={name: text for name, text in facts.items() if text} | {"model_answer": "hidden" if blind else "shown"},
        suggestion=None if blind else _suggestion(row),
        sure=None if blind else row["confidence"],
    )


def _suggestion(row: Row) -> Any:
    """Return the model's own answer as it would be written into the form."""
    stored = row["provisional"]
    if stored is None or f'"{SEALED}"' in stored:
        return None
    own, form = from_text(stored), form_of(row)
    if form.kind == "choice":
        said = said_by(own, from_text(row["choices"]))
        return next((label for label, choice in labelled(_choices(row) or ()).items() if _same(choice, said)), None)
    if form.kind == "number":
        return own if isinstance(own, int | float) and not isinstance(own, bool) else None
    return own if form.kind == "text" and isinstance(own, str) else spelled(own)


def meant(row: Row, written: Written) -> tuple[Any, Verdict | None]:
    """Return the value and the verdict that `decide` takes for what was written into a form.

    Args:
        row: The ticket.
        written: As it came back.

    Returns:
        The value, or MISSING; the verdict, or None.

    Raises:
        InvalidInput: Nothing was said, or two things at once, or the answer is not what the form asks for. It is not named.
    """
    form = form_of(row)
    answer, said = written.answer, written.verdict
    if form.kind == "choice" and answer in VERDICTS:
        answer, said = None, answer
    verdict = None if said in (None, AS_WRITTEN) else VERDICTS.get(str(said))
    if said not in (None, AS_WRITTEN) and verdict is None:
        raise _misfit(row, "the verdict is none of the form's")
    if answer in _BLANK:
        if verdict is None:
            raise _misfit(row, "there is neither an answer nor a verdict")
        return MISSING, verdict
    if verdict is not None:
        if str(answer) != str(_suggestion(row)):  # else it is only what the tool had filled in
            raise _misfit(row, "there are an answer and a verdict, and they do not go together")
        return MISSING, verdict
    return _value(row, form, answer), None


def _value(row: Row, form: Form, answer: Any) -> Any:
    if form.kind == "choice":
        known = labelled(_choices(row) or ())
        if not isinstance(answer, str) or answer not in known:
            raise _misfit(row, "the answer is none of the choices")
        return known[answer]
    if form.kind == "text":
        if not isinstance(answer, str):
            raise _misfit(row, "the answer is no text")
        return answer
    found = answer
    if isinstance(answer, str):
        try:
            found = orjson.loads(answer)
        except orjson.JSONDecodeError:
            raise _misfit(row, "the answer is not JSON, as the model's own is") from None
    if form.kind == "json":
        return found
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise _misfit(row, "the answer is no number")
    # Tools do not tell 3 from 3.0: it is of the kind that the model's own answer is.
    own = from_text(row["provisional"])
    whole = (from_text(row["answers"]) or {}).get("type") == "integer" or isinstance(own, int)
    if whole and float(found).is_integer():
        return int(found)
    return float(found) if isinstance(own, float) else found


def _misfit(row: Row, text: str) -> InvalidInput:
    hint = f"`guardrail review show {row['id']}` says which answers the case allows"
    return InvalidInput(text, guard=row["guard"], policy="review", decision_id=row["decision_id"], hint=hint)


def _choices(row: Row) -> Sequence[Any] | None:
    """Return the only answers there are, None where any is allowed."""
    given: Sequence[Any] | None = from_text(row["choices"])
    if given is not None:
        return given
    schema = from_text(row["answers"]) or {}
    if schema.get("type") == "boolean":
        return (True, False)
    listed: Sequence[Any] | None = schema.get("enum")
    return listed


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _words(value: Any) -> str:
    return plain(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
