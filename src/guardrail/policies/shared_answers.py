"""Answers as JSON for other processes, and back: exactly, or not at all."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, get_args, get_origin

from guardrail import content, markers, notices
from guardrail.decision import Prediction
from guardrail.policies.annotations import ANY

MOST_BYTES: Final = 2**20  # of one row
_TRIES: Final = 3  # answers that do not survive before one has done, until it is the type that counts as unfit


class Kept(NamedTuple):
    """What a row holds.

    Attributes:
        answer: The answer, a new object for each reader.
        confidence: How sure the model was, None where that is not read.
        fresh: For how many ms it was to be fresh, when it was stored; stale: for how many more it may be served stale.
    """

    answer: Any
    confidence: float | None
    fresh: int
    stale: int


class Answers:
    """The JSON of one guard's answers, made and read by pydantic from the return annotation.

    What is stored has been read back and compared, type and exact content, so that a reader gets what the function returned.

    Args:
        guard: The guard's name, for what must be said.
        returns: The return annotation, `inspect.Parameter.empty` where there is none or it cannot be resolved.
    """

    def __init__(self, guard: str, returns: Any) -> None:
        self.guard = guard
        self.predicts = (get_origin(returns) or returns) is Prediction
        self._unfit = 0
        self._fits = False
        self._adapter: Any = None
        if returns is ANY:
            self._say("its function has no return annotation (or none that can be resolved) that says how to read them")
        elif markers.holds(returns, markers.PII, markers.Subject, markers.Secret):
            self._say("their type marks them as personal or secret, and other processes' answers are not sealed")
        elif self.predicts and not get_args(returns):
            self._say("Prediction does not say of what: annotate it as Prediction[str], say")
        else:
            self._adapter = self._made(returns)

    @property
    def usable(self) -> bool:
        """Whether answers can be shared, as far as is known by now."""
        return self._adapter is not None

    def dump(self, answer: Any, confidence: float | None, fresh: int, stale: int) -> bytes | None:
        """Return the row for an answer, None where it would not come back as it is (said once)."""
        adapter = self._adapter
        if adapter is None:
            return None
        body = b""
        try:
            plain = (answer.value, answer.confidence, answer.reasons) if self.predicts else answer
            sure = None if confidence is None else float(confidence)
            body = adapter.dump_json((fresh, stale, sure, plain), exclude_unset=True, by_alias=False, warnings="error")
            exact = len(body) <= MOST_BYTES and self._same(answer, self.load(body))
        except Exception:  # noqa: BLE001 - serializers of the user's may raise anything; the text may show the value
            exact = False
        if exact:
            self._fits = True
            return body
        self._note(type(answer).__name__)
        return None

    def load(self, body: bytes) -> Kept | None:
        """Return what a row holds, None for one that cannot be read."""
        adapter = self._adapter
        if adapter is None or len(body) > MOST_BYTES:
            return None
        try:
            fresh, stale, sure, plain = adapter.validate_json(body, strict=True, by_alias=False, by_name=True)
            return Kept(Prediction(*plain) if self.predicts else plain, sure, fresh, stale)
        except Exception:  # noqa: BLE001 - a row is anybody's text, and validators of the user's may raise anything
            return None

    @staticmethod
    def _same(answer: Any, kept: Kept | None) -> bool:
        return kept is not None and type(kept.answer) is type(answer) and content.encode(kept.answer) == content.encode(answer)

    def _made(self, returns: Any) -> Any:
        from pydantic import ConfigDict, TypeAdapter  # noqa: PLC0415 - the import costs more than all of ours

        kind = returns if returns is not None else type(None)
        if self.predicts:
            kind = tuple[get_args(returns)[0], float, tuple[str, ...]]  # type: ignore[misc]
        config = ConfigDict(ser_json_inf_nan="constants", ser_json_bytes="base64", val_json_bytes="base64")
        try:
            return TypeAdapter(tuple[int, int, float | None, kind], config=config)  # type: ignore[valid-type]
        except Exception as problem:  # noqa: BLE001 - a type is the user's: building its schema may raise anything
            self._say(f"their type has no JSON form ({type(problem).__name__})")
            return None

    def _note(self, kind: str) -> None:
        if self._fits:
            notices.say(
                "unshared-answer",
                f"an answer of type {kind} was not stored: it is larger than {MOST_BYTES >> 20} MiB as JSON, or does not come"
                " back from JSON as it was",
                guard=self.guard,
            )
            return
        self._unfit += 1
        if self._unfit >= _TRIES:
            self._adapter = None
            self._say(f"those of type {kind} are larger than {MOST_BYTES >> 20} MiB as JSON, or do not come back as they were")

    def _say(self, why: str) -> None:
        notices.say(
            "unshared-answers",
            f"answers are not shared between processes, but kept in the memory of each: {why}",
            guard=self.guard,
        )
