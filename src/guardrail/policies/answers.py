"""What a record keeps of an answer, by the option `output` and by what the return annotation marks as personal or secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args, get_origin

from guardrail import content, markers
from guardrail.content.summaries import Digested
from guardrail.decision import Prediction

_ROOT = "output.value"


def nothing(_answer: Any) -> tuple[()]:
    """Keep nothing of an answer; an empty tuple says that, where None would be an answer."""
    return ()


def keeper(output: str, annotation: Any) -> Callable[[Any], Any]:
    """Return what makes of an answer what its record keeps.

    Args:
        output: "auto", "digest", "sealed" or "plain".
        annotation: The declared type of the answer, for the markers in it.
    """
    if markers.marked(_value_of(annotation), markers.Secret):
        return nothing
    if output == "digest":
        return content.digested
    if output == "sealed":
        return _Whole(annotation)
    if markers.holds(annotation, markers.PII, markers.Subject, markers.Secret):
        return _Short(annotation) if output == "auto" else _Apart(annotation)
    return {"auto": content.summary, "plain": content.shown}[output]


def _value_of(annotation: Any) -> Any:
    """Return the type of the answer itself, where it stands in a Prediction."""
    bare, _ = markers.peeled(annotation)
    of = get_args(bare)
    return of[0] if get_origin(bare) is Prediction and of else annotation


class _Whole:
    """Seals the whole answer."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = _value_of(annotation)

    def __call__(self, answer: Any) -> Any:
        """Return digest, size and type, and the answer to be sealed; without the latter where it cannot be shown."""
        from guardrail.content import personal  # noqa: PLC0415 - for those who have something personal

        known = content.digested(answer)
        value = answer.value if type(answer) is Prediction else answer
        try:
            shown, parts = personal.apart_value(value, self.annotation, root=_ROOT, whole=True)
        except content.Unencodable:
            return known
        return content.Sealed(known.encoding, known.schema, None, (personal.Part(_ROOT, personal.text_of(shown), None), *parts))


class _Short(_Whole):
    """Seals what would be kept as it is, unless a part of it is secret."""

    def __init__(self, annotation: Any) -> None:
        super().__init__(annotation)
        self.secret = markers.holds(annotation, markers.Secret)

    def __call__(self, answer: Any) -> Any:
        found = content.summary(answer)
        if isinstance(found, Digested):
            return found
        return () if self.secret else super().__call__(answer)


class _Apart(_Whole):
    """Shows the answer with what is personal taken out."""

    def __call__(self, answer: Any) -> Any:
        from guardrail.content import personal  # noqa: PLC0415 - as above

        known = content.digested(answer)
        value = answer.value if type(answer) is Prediction else answer
        try:
            shown, parts = personal.apart_value(value, self.annotation, root=_ROOT)
        except content.Unencodable:
            return known
        return content.Sealed(known.encoding, known.schema, shown, parts)
