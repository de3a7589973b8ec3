"""What came of a call, as a value: `Outcome`, `Prediction` and `Decision`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args

from guardrail.errors import GuardrailError

if TYPE_CHECKING:
    from guardrail.ledger.entry import Entry
    from guardrail.review.ticket import Ticket

R = TypeVar("R")


class _NotKept:
    """Stands for an answer that an earlier decision does not hold; a class, so that it is the same one in every process."""


class Outcome(StrEnum):
    """How a call ended."""

    answered = "answered"
    cached = "cached"
    stale = "stale"
    fallback = "fallback"
    human = "human"
    deferred = "deferred"
    refused = "refused"
    late = "late"
    failed = "failed"
    cancelled = "cancelled"


class Prediction(Generic[R]):
    """An answer that says how sure the model is. Frozen, compared by value.

    Args:
        value: The answer.
        confidence: How sure, in [0, 1].
        reasons: Why, in words for people.
    """

    __slots__ = ("confidence", "reasons", "value")

    value: R
    confidence: float
    reasons: Sequence[str]

    def __init__(self, value: R, confidence: float, reasons: Sequence[str] = ()) -> None:
        put = object.__setattr__
        put(self, "value", value)
        put(self, "confidence", confidence)
        put(self, "reasons", reasons if reasons.__class__ is tuple else tuple(reasons))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Prediction is frozen; make a new one to change its {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Prediction is frozen; its {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prediction) or other.__class__ is not self.__class__:
            return NotImplemented
        return (self.value, self.confidence, self.reasons) == (other.value, other.confidence, other.reasons)

    def __hash__(self) -> int:
        return hash((self.value, self.confidence, self.reasons))

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.value, self.confidence, self.reasons)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let pydantic, and FastAPI with it, read and write it as {"value": ..., "confidence": ..., "reasons": [...]}."""
        from pydantic_core import core_schema  # noqa: PLC0415 - imported already, by who asks

        of = get_args(source)
        fields = core_schema.typed_dict_schema(
            {
                "value": core_schema.typed_dict_field(handler.generate_schema(of[0]) if of else core_schema.any_schema()),
                "confidence": core_schema.typed_dict_field(core_schema.float_schema()),
                "reasons": core_schema.typed_dict_field(core_schema.list_schema(core_schema.str_schema()), required=False),
            }
        )
        made = core_schema.no_info_after_validator_function(lambda found: cls(**found), fields)
        return core_schema.json_or_python_schema(
            made,
            core_schema.union_schema([core_schema.is_instance_schema(cls), made]),
            serialization=core_schema.plain_serializer_function_ser_schema(_as_fields, return_schema=fields),
        )

    def __repr__(self) -> str:
        reasons = f", reasons={self.reasons!r}" if self.reasons else ""
        return f"Prediction({self.value!r}, confidence={self.confidence!r}{reasons})"


def _as_fields(prediction: Prediction[Any]) -> dict[str, Any]:
    return {"value": prediction.value, "confidence": prediction.confidence, "reasons": list(prediction.reasons)}


class Decision(Generic[R]):
    """Everything about one call: what came out, how, and why. Returned by `decide`, `last_decision` and `Guard.last`."""

    __slots__ = (
        "_value", "at", "attempts", "business_id", "confidence", "error", "guard", "id", "mode", "ok", "outcome", "reasons",
        "stop_reason", "threshold", "ticket", "timings", "trace_id", "version", "would",
    )  # fmt: skip

    id: str
    guard: str
    version: str
    mode: str
    outcome: Outcome
    ok: bool
    at: datetime
    confidence: float | None
    threshold: float | None
    reasons: Sequence[str]
    ticket: Ticket | None
    error: BaseException | None
    attempts: int
    stop_reason: str | None
    timings: Mapping[str, float]
    would: Sequence[str]
    trace_id: str | None
    business_id: str | None

    def __init__(self, value: Any, **fields: Any) -> None:
        self._value = value
        for name, content in fields.items():
            setattr(self, name, content)

    def __getstate__(self) -> dict[str, Any]:
        from guardrail.ledger.entry import without_frames  # noqa: PLC0415 - avoids a cycle at import

        state = {name: getattr(self, name) for name in self.__slots__}
        if self.error is not None:  # it goes without its frames; one that cannot be made anew in another process as a name
            state["error"] = without_frames(self.error)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, content in state.items():
            setattr(self, name, content)

    @property
    def value(self) -> R:
        """The answer.

        Raises:
            Exception: The error of the call, when there is no answer.
            Deferred: A person decides.
        """
        if self.error is not None:
            raise self.error
        if self._value is _NotKept:
            raise GuardrailError(
                "the answer of this earlier decision was not kept", guard=self.guard, decision_id=self.id,
                hint="call decide(predict, ...) to hold on to an answer",
            )  # fmt: skip
        return self._value  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        sure = "" if self.confidence is None else f", confidence={self.confidence:.3g}"
        wrong = "" if self.error is None else f", error={type(self.error).__name__}"
        return f"<Decision {self.outcome.value} by {self.guard} {self.version}{sure}{wrong}, id={self.id}>"

    def _repr_html_(self) -> str:
        from guardrail import notebook  # noqa: PLC0415 - only a notebook pays for it

        return notebook.decision_card(self)


def decision_of(entry: Entry, value: Any = None, error: BaseException | None = None) -> Decision[Any]:
    """Return the decision behind what a call left for the ledger.

    Args:
        entry: What the call left.
        value: The answer; MISSING where only what the entry kept of it is at hand.
        error: The error itself; without one, the entry's copy.
    """
    from guardrail.call import MISSING, decision_id  # noqa: PLC0415 - avoids a cycle at import
    from guardrail.telemetry import traces  # noqa: PLC0415

    extra = entry.extra or {}
    if error is None:
        error = extra.get("error")
    if value is MISSING and error is None:
        value = _NotKept if isinstance(entry.output, Mapping) or entry.output == () else entry.output
        if entry.plan.returns_prediction and isinstance(value, tuple) and len(value) == 2:  # noqa: PLR2004 - kept as a pair
            value = Prediction(*value)
    span = extra.get("span")
    return Decision(
        value,
        id=decision_id(entry.at, entry.seq),
        guard=entry.plan.name,
        version=entry.plan.version,
        mode=entry.plan.mode,
        outcome=Outcome(entry.outcome),
        ok=error is None,
        at=datetime.fromtimestamp(entry.at, UTC),
        confidence=entry.confidence,
        threshold=entry.plan.threshold if "asked" not in extra else extra["asked"].at_least,
        reasons=extra.get("reasons", ()),
        ticket=extra.get("ticket"),
        error=error,
        attempts=entry.attempts,
        stop_reason=extra.get("stop_reason"),
        timings={**(extra.get("stages") or {}), "total": entry.took},
        would=extra.get("would", ()),
        trace_id=None if span is None else traces.ids(span)[0],
        business_id=extra.get("business_id"),
    )
