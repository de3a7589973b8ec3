"""`review`: which cases go to people, what they see, may answer and must follow, and how a choice becomes an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from guardrail import clock
from guardrail.decision import Prediction
from guardrail.errors import ConfigError
from guardrail.policies.options import Frozen

TRIGGERS: Final = ("low", "invalid", "failed", "late", "open", "stopped")
ON_EXPIRY: Final = ("hold", "reject", "fallback", "provisional")

Trigger = Literal["low", "invalid", "failed", "late", "open", "stopped"]


class Review(Frozen):
    """Send hard cases to people.

    Args:
        queue: Name of the queue.
        on: Which endings go to people: "low" (confidence), "invalid" (input), "failed", "late", "open" (breaker or limit),
            "stopped" (kill switch).
        triggers: Composable conditions; in a later release.
        show: What the reviewer sees: names of arguments, or a callable on the arguments. All arguments by default.
        choices: The only answers allowed.
        guide: What the reviewer must follow, as text or a link.
        answer: Turns (choice, provisional answer) into what the function returns. By default a `Prediction` gets the choice
            as its value, a probability vector becomes one-hot over `choices`, and everything else is the choice itself.
        owner: Who is told about the queue.
        priority: Higher comes first.
        skills: What a reviewer must know.
        reviewers: How many distinct people; more than one in a later release.
        sample: Share of sure answers that people check all the same; in a later release.
        sla: How soon an answer is due.
        levels: Escalation; in a later release.
        on_expiry: What happens when nobody answered in time: "hold" the ticket open, "reject" it, let the caller's wait end
            in the "fallback" (which then waits for the person too), or in the "provisional" answer (only if you say so here).
        wait: How long a call waits for the person, outside its own budget but inside an inherited one.
        reuse: How long a person's answer also answers the next deferred call of the same business id.
        callback: A webhook; in a later release.

    Raises:
        ConfigError: A value is unknown or of the wrong type, or belongs to a later release.
    """

    __slots__ = (
        "answer", "choices", "guide", "on", "on_expiry", "owner", "priority", "queue", "reuse", "show", "skills", "sla", "wait",
    )  # fmt: skip

    queue: str
    on: tuple[Trigger, ...]
    show: tuple[str, ...] | Callable[..., Any] | None
    choices: tuple[Any, ...] | None
    guide: str | None
    answer: Callable[[Any, Any], Any] | None
    owner: str | None
    priority: int
    skills: tuple[str, ...]
    sla: float | None
    on_expiry: Literal["hold", "reject", "fallback", "provisional"]
    wait: float | None
    reuse: float | None

    def __init__(
        self,
        queue: str = "default",
        *,
        on: Sequence[Trigger] = ("low",),
        triggers: Sequence[Any] = (),
        show: Sequence[str] | Callable[..., Any] | None = None,
        choices: Sequence[Any] | None = None,
        guide: str | None = None,
        answer: Callable[[Any, Any], Any] | None = None,
        owner: str | None = None,
        priority: int = 0,
        skills: Sequence[str] = (),
        reviewers: int = 1,
        sample: float = 0.0,
        sla: clock.Duration | None = None,
        levels: Sequence[Any] = (),
        on_expiry: Literal["hold", "reject", "fallback", "provisional"] = "hold",
        wait: clock.Duration | None = None,
        reuse: clock.Duration | None = None,
        callback: str | None = None,
    ) -> None:
        for name, later in (
            ("triggers", bool(triggers)), ("reviewers", reviewers != 1), ("sample", sample != 0), ("levels", bool(levels)),
            ("callback", callback is not None),
        ):  # fmt: skip
            if later:
                raise ConfigError(f"Review({name}=...) is not in this release", hint=f"leave {name} out")
        if not isinstance(queue, str) or not queue:
            raise ConfigError("a review queue needs a name", hint='write review="loans"')
        on = (on,) if isinstance(on, str) else tuple(on)  # type: ignore[assignment]
        unknown = [word for word in on if word not in TRIGGERS]
        if unknown or not on:
            raise ConfigError("Review(on=...) is unknown or empty", hint=f"choose from {', '.join(map(repr, TRIGGERS))}")
        if on_expiry not in ON_EXPIRY:
            raise ConfigError("Review(on_expiry=...) is unknown", hint=f"choose from {', '.join(map(repr, ON_EXPIRY))}")
        if on_expiry != "hold" and sla is None:
            raise ConfigError("Review(on_expiry=...) without sla= never happens", hint='add sla="4h"')
        if isinstance(show, str):
            raise ConfigError("Review(show=...) is one text", hint='write a list: show=["income"]')
        if choices is not None and (isinstance(choices, str) or len(choices) == 0):
            raise ConfigError("Review(choices=...) must be a list of answers", hint='write choices=["approve", "refuse"]')
        if answer is not None and not callable(answer):
            raise ConfigError("Review(answer=...) must be callable", hint="write answer=lambda choice, provisional: ...")
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise ConfigError("Review(priority=...) must be a whole number")
        self._set(
            queue=queue,
            on=on,
            show=show if show is None or callable(show) else tuple(show),
            choices=None if choices is None else tuple(choices),
            guide=guide,
            answer=answer,
            owner=owner,
            priority=priority,
            skills=tuple(skills),
            sla=None if sla is None else clock.seconds(sla, "sla of the review"),
            on_expiry=on_expiry,
            wait=None if wait is None else clock.seconds(wait, "wait of the review"),
            reuse=None if reuse is None else clock.seconds(reuse, "reuse of the review"),
        )

    @classmethod
    def of(cls, option: Any) -> Review | None:
        """Return the object behind the option `review=`: a queue's name, an object or None."""
        if option is None or isinstance(option, cls):
            return option
        if not isinstance(option, str):
            raise ConfigError(f"review is of type {type(option).__name__}", hint='write review="loans" or Review("loans", ...)')
        return cls(option)

    def as_answer(self, choice: Any, provisional: Any) -> Any:
        """Return what the function would have returned, had it known the person's choice.

        Args:
            choice: The person's answer, as JSON gives it back.
            provisional: The function's own result, None where it has none.
        """
        if self.answer is not None:
            return self.answer(choice, provisional)
        if isinstance(provisional, Prediction):
            return Prediction(choice, 1.0, ("a person decided",))
        if isinstance(provisional, tuple) and len(provisional) == 2 and isinstance(provisional[1], float):  # noqa: PLR2004
            return (choice, 1.0)
        if self.choices is not None and choice in self.choices and _is_vector(provisional, len(self.choices)):
            return _one_hot(provisional, self.choices.index(choice))
        return choice


def _is_vector(value: Any, length: int) -> bool:
    if hasattr(value, "shape"):
        return tuple(value.shape) in ((length,), (1, length))
    return isinstance(value, list | tuple) and len(value) == length and all(isinstance(entry, float) for entry in value)


def _one_hot(like: Any, at: int) -> Any:
    """Return a vector of the same kind with all its weight in one place."""
    if not hasattr(like, "shape"):
        return type(like)(1.0 if place == at else 0.0 for place in range(len(like)))
    vector = like.copy()
    vector[...] = 0
    vector[..., at] = 1
    return vector


def accepted(value: Any, like: Any) -> Any:
    """Return a model's answer as it was before it became JSON.

    Args:
        value: The JSON of an answer that a person accepted.
        like: The present answer of the same function, which has the same form; None where it has none.
    """
    if isinstance(like, Prediction) and isinstance(value, dict):
        return Prediction(value["value"], value["confidence"], value.get("reasons", ()))
    if isinstance(like, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict) and "$ndarray" in value:
        import numpy as np  # noqa: PLC0415 - the answer was an array, so numpy is loaded

        return np.asarray(value["$ndarray"], dtype=value["dtype"])
    return value
