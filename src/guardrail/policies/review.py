"""`review`: which cases go to people, what they see, may answer and must follow, and how a choice becomes an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from guardrail import clock
from guardrail.decision import Prediction
from guardrail.errors import ConfigError
from guardrail.policies.confidence import SUM_TOLERANCE
from guardrail.policies.options import Frozen
from guardrail.review.triggers import Trigger as Condition

TRIGGERS: Final = ("low", "invalid", "failed", "late", "open", "stopped")
ON_EXPIRY: Final = ("hold", "reject", "fallback", "provisional")

_MOST_REVIEWERS: Final = 16

Trigger = Literal["low", "invalid", "failed", "late", "open", "stopped"]


class Level(Frozen):
    """One step of an escalation.

    Args:
        role: Who may decide at it; `guardrail review people set NAME --role ROLE` gives people roles.
        within: How long the case stays at this level, in working hours. What is still open then goes to the next level.
        notify: Names of sinks that are told when the case comes to this level, and reminded at 50 % and 80 % of its time.

    Raises:
        ConfigError: A value is of the wrong type.
    """

    __slots__ = ("notify", "role", "within")

    role: str
    within: float
    notify: tuple[str, ...]

    def __init__(self, role: str, *, within: clock.Duration, notify: Sequence[str] = ()) -> None:
        if not isinstance(role, str) or not role.strip():
            raise ConfigError("a level has a role", hint='write Level("senior", within="1h")')
        if isinstance(notify, str) or not all(isinstance(name, str) for name in notify):
            raise ConfigError("Level(notify=...) is a list of names of sinks", hint='write notify=["pager"]')
        self._set(role=role.strip(), within=clock.seconds(within, "within of the level"), notify=tuple(notify))


class Review(Frozen):
    """Send hard cases to people.

    Args:
        queue: Name of the queue.
        on: Which endings go to people: "low" (confidence), "invalid" (input), "failed", "late", "open" (breaker or limit),
            "stopped" (kill switch).
        triggers: Conditions that send a sure answer to people too: `guardrail.review.below(0.9)`, `outside`, `rule`, `failed`,
            `always`, `sample`, joined by `|`, `&` and `~`. One that fails itself sends the case to people.
        show: What the reviewer sees: names of arguments, or a callable on the arguments. All arguments by default.
        choices: The only answers allowed.
        guide: What the reviewer must follow, as text or a link.
        answer: Turns (choice, provisional answer) into what the function returns. By default a `Prediction` gets the choice
            as its value, a probability vector becomes one-hot over `choices`, and everything else is the choice itself.
        owner: Who is told about the queue.
        priority: Higher comes first.
        skills: What a reviewer must know.
        reviewers: How many distinct people must answer.
        agree: How many of them must give the same answer, more than half: it is the decision as soon as so many have given it, and as soon
            as no answer can get there any more, one more person decides. By default all of them.
        sample: Share of sure answers that people check afterwards: the caller has the answer, and the case waits beside it.
        sla: How soon an answer is due.
        levels: Whom an open case goes to in turn: `Level("clerk", within="15m"), Level("senior", within="1h", notify=["pager"])`.
        on_expiry: What happens when nobody answered in time: "hold" the ticket open, "reject" it, let the caller's wait end
            in the "fallback" (which then waits for the person too), or in the "provisional" answer (only if you say so here).
        wait: How long a call waits for the person, outside its own budget but inside an inherited one.
        reuse: How long a person's answer also answers the next deferred call of the same business id.
        callback: An https URL that is told how a case ended, signed as Standard Webhooks has it; see `callback_secret`.
        push: Whether that address is also told of each new case, with what a reviewer sees: a tool there can be where people answer,
            by `guardrail.review.receive`.

    Raises:
        ConfigError: A value is unknown or of the wrong type.
    """

    __slots__ = (
        "agree", "answer", "callback", "choices", "guide", "levels", "on", "on_expiry", "owner", "priority", "push", "queue", "reuse", "reviewers", "sample",
        "show", "skills", "sla", "triggers", "wait",
    )  # fmt: skip

    queue: str
    on: tuple[Trigger, ...]
    triggers: tuple[Condition, ...]
    show: tuple[str, ...] | Callable[..., Any] | None
    choices: tuple[Any, ...] | None
    guide: str | None
    answer: Callable[[Any, Any], Any] | None
    owner: str | None
    priority: int
    skills: tuple[str, ...]
    reviewers: int
    agree: int | None
    sample: float
    sla: float | None
    levels: tuple[Level, ...]
    on_expiry: Literal["hold", "reject", "fallback", "provisional"]
    wait: float | None
    reuse: float | None
    callback: str | None
    push: bool

    def __init__(
        self,
        queue: str = "default",
        *,
        on: Sequence[Trigger] = ("low",),
        triggers: Sequence[Condition] = (),
        show: Sequence[str] | Callable[..., Any] | None = None,
        choices: Sequence[Any] | None = None,
        guide: str | None = None,
        answer: Callable[[Any, Any], Any] | None = None,
        owner: str | None = None,
        priority: int = 0,
        skills: Sequence[str] = (),
        reviewers: int = 1,
        agree: int | None = None,
        sample: float = 0.0,
        sla: clock.Duration | None = None,
        levels: Sequence[Level] = (),
        on_expiry: Literal["hold", "reject", "fallback", "provisional"] = "hold",
        wait: clock.Duration | None = None,
        reuse: clock.Duration | None = None,
        callback: str | None = None,
        push: bool = False,
    ) -> None:
        if not isinstance(queue, str) or not queue:
            raise ConfigError("a review queue needs a name", hint='write review="loans"')
        on = (on,) if isinstance(on, str) else tuple(on)  # type: ignore[assignment]
        unknown = [word for word in on if word not in TRIGGERS]
        if unknown or not on:
            raise ConfigError("Review(on=...) is unknown or empty", hint=f"choose from {', '.join(map(repr, TRIGGERS))}")
        if on_expiry not in ON_EXPIRY:
            raise ConfigError("Review(on_expiry=...) is unknown", hint=f"choose from {', '.join(map(repr, ON_EXPIRY))}")
        if on_expiry != "hold" and sla is None and not levels:
            raise ConfigError("Review(on_expiry=...) without sla= never happens", hint='add sla="4h"')
        if isinstance(triggers, Condition) or not all(isinstance(each, Condition) for each in triggers):
            raise ConfigError("Review(triggers=...) is no list of conditions", hint="write triggers=[review.below(0.9)]")
        if not all(isinstance(level, Level) for level in levels):
            raise ConfigError("Review(levels=...) is no list of levels", hint='write levels=[Level("senior", within="1h")]')
        if isinstance(reviewers, bool) or not isinstance(reviewers, int) or not 1 <= reviewers <= _MOST_REVIEWERS:
            raise ConfigError(
                f"Review(reviewers=...) must be a whole number from 1 to {_MOST_REVIEWERS}", hint="write reviewers=2"
            )
        if agree is not None and (
            isinstance(agree, bool) or not isinstance(agree, int) or not reviewers < 2 * agree <= 2 * reviewers
        ):
            raise ConfigError("Review(agree=...) must be more than half of reviewers", hint="write reviewers=3, agree=2")
        if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0.0 <= sample <= 1.0:
            raise ConfigError("Review(sample=...) must be a share between 0 and 1", hint="write sample=0.02")
        if callback is not None and (not isinstance(callback, str) or not callback.startswith("https://")):
            raise ConfigError("Review(callback=...) must be an https URL", hint='write callback="https://…"')
        if not isinstance(push, bool) or (push and callback is None):
            raise ConfigError("Review(push=True) needs an address", hint='write callback="https://…" too')
        if isinstance(show, str):
            raise ConfigError("Review(show=...) is one text", hint='write a list: show=["income"]')
        if choices is not None and (isinstance(choices, str) or len(choices) == 0):
            raise ConfigError("Review(choices=...) must be a list of answers", hint='write choices=["approve", "refuse"]')
        if answer is not None and not callable(answer):
            raise ConfigError("Review(answer=...) must be callable", hint="write answer=lambda choice, provisional: ...")
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise ConfigError("Review(priority=...) must be a whole number", hint="write priority=10; the highest come first")
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
            triggers=tuple(triggers),
            reviewers=reviewers,
            agree=None if agree == reviewers else agree,
            sample=float(sample),
            levels=tuple(levels),
            callback=callback,
            push=push,
            sla=None if sla is None else clock.seconds(sla, "sla of the review"),
            on_expiry=on_expiry,
            wait=None if wait is None else clock.seconds(wait, "wait of the review"),
            reuse=None if reuse is None else clock.seconds(reuse, "reuse of the review"),
        )


def stricter(review: Review, other: Review) -> bool:
    """Return whether something goes to people, or to as many of them, that another option would keep from them."""
    missing = set(review.on) - set(other.on) or set(review.triggers) - set(other.triggers)
    more = review.reviewers > other.reviewers or equal_answers(review) > equal_answers(other)
    return bool(missing) or review.sample > other.sample or more


def equal_answers(review: Review) -> int:
    """Return how many equal answers a decision takes."""
    return review.agree or review.reviewers


def time_given(review: Review) -> float | None:
    """Return how long people have in all, in seconds of working time; None for no limit."""
    if review.sla is not None or review.on_expiry == "hold":
        return review.sla
    return sum(level.within for level in review.levels)


def as_answer(review: Review, choice: Any, provisional: Any) -> Any:
    """Return what the function would have returned, had it known the person's choice.

    Args:
        review: The option.
        choice: The person's answer, as JSON gives it back.
        provisional: The function's own result, None where it has none.
    """
    if review.answer is not None:
        return review.answer(choice, provisional)
    if isinstance(provisional, Prediction):
        return Prediction(choice, 1.0, ("a person decided",))
    pair = isinstance(provisional, tuple) and len(provisional) == 2 and isinstance(provisional[1], float)  # noqa: PLR2004
    if pair and not _shares(review, provisional):
        return (choice, 1.0)
    if review.choices is not None and choice in review.choices and _is_vector(provisional, len(review.choices)):
        return _one_hot(provisional, review.choices.index(choice))
    return choice


def is_choice(review: Review, value: Any, provisional: Any) -> bool:
    """Return whether what a person accepted is a choice that stands for a vector of probabilities, and not the vector itself.

    Args:
        review: The option.
        value: The JSON of what was accepted.
        provisional: The function's own result, None where it has none: then a choice is taken for one.
    """
    if review.choices is None or value not in review.choices:
        return False
    return provisional is None or _is_vector(provisional, len(review.choices))


def review_of(option: Any) -> Review | None:
    """Return the object behind the option `review=`: a queue's name, an object or None."""
    if option is None or isinstance(option, Review):
        return option
    if not isinstance(option, str):
        raise ConfigError(f"review is of type {type(option).__name__}", hint='write review="loans" or Review("loans", ...)')
    return Review(option)


def _is_vector(value: Any, length: int) -> bool:
    if hasattr(value, "shape"):
        return tuple(value.shape) in ((length,), (1, length))
    return isinstance(value, list | tuple) and len(value) == length and all(isinstance(entry, float) for entry in value)


def _shares(review: Review, pair: tuple[Any, ...]) -> bool:
    """Return whether two numbers are the probabilities of two choices, and not an answer and how sure it is."""
    if review.choices is None or not _is_vector(pair, len(review.choices)):
        return False
    answer = any(isinstance(each, float) and each == pair[0] for each in review.choices)
    return not answer and abs(sum(pair) - 1) <= SUM_TOLERANCE


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
